"""The exact law of g at finite width agrees with closed forms, brute force, tables and the expansion in 1/n."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from analysis import theory
from analysis.theory.finite_width import kernel_moments
from analysis.theory.gauss_rule import gauss_rule, sum_of_copies, sum_rule

REFERENCE = json.loads((Path(__file__).parents[2] / "data" / "next_order_reference.json").read_text())


def settings(name: str) -> tuple[float, float, float]:
    """C_b, C_W and the kernel K1 of layer 1 of the reference tables."""
    chain = REFERENCE["chain"][name]
    return chain["C_b"], chain["C_W"], chain["K1"]


def test_a_gauss_rule_has_the_moments_of_its_law() -> None:
    """A rule of 6 nodes for docs/theory.md (17.5) has 11 moments of a law on 400 points, and not the next. Small
    weights keep their digits: the nodes of the normal law are those of Hermite, with weights down to 1e-22."""
    rng = np.random.default_rng(1)
    points, weights = rng.normal(size=(3, 400)), rng.random((3, 400))
    weights = weights / weights.sum(axis=1, keepdims=True)
    nodes, shares = gauss_rule((points, weights), 6)
    assert nodes.shape == shares.shape == (3, 6)
    for k in range(12):
        np.testing.assert_allclose((shares * nodes**k).sum(axis=1), (weights * points**k).sum(axis=1), rtol=1e-9)
    assert np.abs((shares * nodes**12).sum(axis=1) / (weights * points**12).sum(axis=1) - 1).min() > 1e-3
    x = np.linspace(-14, 14, 561)
    density = np.exp(-(x**2) / 2)
    want = np.polynomial.hermite_e.hermegauss(24)
    got = gauss_rule((x, density / density.sum()), 24)
    np.testing.assert_allclose(got[0], want[0], rtol=0, atol=1e-10)
    np.testing.assert_allclose(got[1], want[1] / math.sqrt(2 * math.pi), rtol=1e-7)


def test_rules_of_sums() -> None:
    """Sums of copies for docs/theory.md (17.5) have the moments of gamma laws, also where a law has two points only."""
    x = np.linspace(0, 60, 60001)[1:]
    one = gauss_rule((x, np.exp(-x) / np.exp(-x).sum()), 8)
    for n in (1, 2, 3, 8, 13):
        nodes, shares = sum_of_copies(one, n)
        for k in range(1, 5):
            assert shares @ nodes**k == pytest.approx(math.prod(n + j for j in range(k)), rel=2e-3), (n, k)
            exact = sum_rule(sum_of_copies(one, n), one, 8)
            assert exact[1] @ exact[0] ** k == pytest.approx(math.prod(n + 1 + j for j in range(k)), rel=2e-3)
    nodes, shares = sum_of_copies(gauss_rule((np.array([0.0, 1.0]), np.array([0.75, 0.25])), 5), 3)
    for k, want in enumerate([1, 0.75, 0.75 + 6 / 16, 0.75 + 18 / 16 + 6 / 64]):  # of a binomial number of three
        assert shares @ nodes**k == pytest.approx(want, rel=1e-13)


@pytest.mark.parametrize(("name", "widths"), [("linear", [3, 7, 1, 20]), ("relu", [8] * 8), ("relu", [32] * 32),
                                              ("leaky_relu(slope=0.3)", [5, 40, 16])])  # fmt: skip
def test_scale_invariant_activations_have_closed_forms(name: str, widths: list[int]) -> None:
    """docs/theory.md (17.5) is docs/theory.md (6.4) to 1e-12, also with the heavy tails of 33 layers at n = 32.
    Negative control: one neuron fewer in one layer."""
    C_W = theory.critical(name).C_W
    moments = theory.exact_chain(name, len(widths) + 1, 0.0, C_W, 0.7, widths, 3)
    for layer in range(1, len(widths) + 2):
        np.testing.assert_allclose(moments[layer - 1], kernel_moments(name, widths[: layer - 1], C_W, 0.7), rtol=1e-12)
    law = theory.exact_law(name, len(widths) + 1, 0.0, C_W, 0.7, widths)
    first, second, third = kernel_moments(name, widths, C_W, 0.7)
    np.testing.assert_allclose(law.mean, 0.7, rtol=1e-12)
    assert law.variance[-1] == pytest.approx(second - first**2, rel=1e-11)
    assert law.third[-1] == pytest.approx(third - 3 * first * second + 2 * first**3, rel=1e-11)
    assert law.excess_kurtosis[-1] == pytest.approx(3 * second / first**2 - 3, rel=1e-11)
    fewer = kernel_moments(name, [*widths[:-1], widths[-1] + 1], C_W, 0.7)
    assert abs(moments[-1, 1] / fewer[1] - 1) > 1e-3


@pytest.mark.parametrize("name", ["tanh", "softplus", "expression(tanh(8*(z-4)))"])
def test_single_neurons_by_brute_force(name: str) -> None:
    """One neuron in each of two layers, docs/theory.md (1.11), by a double sum over normal numbers; with a bias."""
    s, C_b, C_W, K1 = theory.activation(name), 0.2, 1.3, 0.9
    u = np.linspace(-9, 9, 1201)
    weight = np.exp(-(u**2) / 2)
    weight = weight / weight.sum()
    second = C_b + C_W * s(math.sqrt(K1) * u) ** 2
    third = C_b + C_W * s(np.sqrt(second)[:, None] * u) ** 2
    got = theory.exact_chain(name, 3, C_b, C_W, K1, 1, 4)
    want = [weight @ third**k @ weight for k in (1, 2, 3, 4)]
    np.testing.assert_allclose(got[2], want, rtol=1e-7)
    mean = want[0]
    law = theory.exact_law(name, 3, C_b, C_W, K1, [1, 1])
    assert law.third[2] == pytest.approx(weight @ (third - mean) ** 3 @ weight, rel=1e-6)


@pytest.mark.parametrize(("name", "n"), [("tanh", 8), ("tanh", 16), ("tanh", 64), ("gelu", 64)])
def test_moments_of_the_reference(name: str, n: int) -> None:
    """Tables of docs/theory.md (17.5) by an independent code, to twice the error that it states plus 3e-8, the error of
    its grid, which E g^3 of layer 2 shows: that is known exactly. Negative control: n - 1."""
    table = REFERENCE["exact_finite_n"][name][str(n)]

    def excess(width: int) -> float:
        """The largest difference over the tolerance."""
        got = theory.exact_chain(name, 6, *settings(name), width, 3)
        out = []
        for layer in range(1, 7):
            row = table[str(layer)]
            want, stated = np.array([row["Eg"], row["Eg2"], row["Eg3"]]), np.array(row["numerical_difference_m6_m7"])
            out.append(np.abs(got[layer - 1] - want) / (2 * stated + 3e-8 * want))
        return float(np.max(out))

    assert excess(n) < 1
    assert excess(n - 1) > 10


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu"])
def test_expansion_in_the_width(name: str) -> None:
    """Richardson's extrapolation of docs/theory.md (17.5) gives the coefficients of docs/theory.md (17.2). Negative
    control: n + 1 for n."""
    depth, sizes = 5, (512, 1024, 2048, 4096)
    want = theory.next_order(name, depth, *settings(name))
    laws = [theory.exact_law(name, depth, *settings(name), n) for n in sizes]

    def coefficients(key: str, power: int, offset: int = 0) -> np.ndarray:
        n = np.array(sizes) + offset
        table = n[:, None] ** power * np.array([getattr(law, key) for law in laws])
        return np.asarray(np.linalg.solve(np.vander(1 / n, 4, increasing=True), table))

    for key, wanted in (("shift", [want.G1, want.G2]), ("variance", [want.V, want.V2])):
        for got, coefficient in zip(coefficients(key, 1), wanted, strict=False):
            np.testing.assert_allclose(got, coefficient, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(coefficients("third", 2)[0], want.W, rtol=1e-7)
    assert np.abs(coefficients("variance", 1, 1)[1] - want.V2).max() > 1e-2


def test_two_layers_are_known_exactly() -> None:
    """Given layer 1 the first three cumulants of docs/theory.md (17.5) are those of one neuron: V and W of
    docs/theory.md (17.2) at layer 2 are exact."""
    for name in ("tanh", "gelu", "sin", "relu"):
        law, want = theory.exact_law(name, 2, *settings("tanh"), 5), theory.next_order(name, 2, *settings("tanh"))
        np.testing.assert_allclose([law.shift[1], want.G1[1], want.G2[1], want.V2[1]], 0, atol=1e-15)
        assert 5 * law.variance[1] == pytest.approx(want.V[1], rel=1e-12), name
        assert 25 * law.third[1] == pytest.approx(want.W[1], rel=1e-11), name


def test_depth_and_widths_are_those_of_the_layers() -> None:
    """Layer l of docs/theory.md (17.5) knows n_1..n_{l-1} alone, and equal widths may be one number."""
    whole = theory.exact_law("tanh", 4, 0.1, 1.2, 1.0, [9, 17, 30])
    part = theory.exact_law("tanh", 3, 0.1, 1.2, 1.0, [9, 17])
    np.testing.assert_allclose(whole.variance[:3], part.variance, rtol=1e-9)
    one, same = (theory.exact_law("tanh", 3, 0.1, 1.2, 1.0, widths) for widths in (9, [9, 9]))
    np.testing.assert_array_equal(one.third, same.third)
    other = theory.exact_law("tanh", 3, 0.1, 1.2, 1.0, [17, 9])
    assert abs(other.variance[2] / part.variance[2] - 1) > 0.1
    assert theory.exact_law("relu", 1, 0.0, 2.0, 2.0, 8).variance.tolist() == [0.0]


def test_no_digits_are_lost_at_large_width() -> None:
    """At n = 10^6 the parts of docs/theory.md (17.5) beyond K keep seven digits, where E g^3 - .. would keep none."""
    n = 10**6
    law, want = (theory.exact_law("tanh", 4, 0.0, 1.0, 1.0, n), theory.next_order("tanh", 4, 0.0, 1.0, 1.0))
    np.testing.assert_allclose(n * law.shift[1:], want.G1[1:] + want.G2[1:] / n, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(n * law.variance, want.V + want.V2 / n, rtol=1e-9)
    np.testing.assert_allclose(n**2 * law.third, want.W, rtol=1e-5)


def test_a_kernel_that_does_not_fluctuate() -> None:
    """An input of zero, or weights of zero, leave no fluctuations in docs/theory.md (17.5)."""
    for C_b, C_W, K1 in ((0.0, 1.0, 0.0), (0.3, 0.0, 1.0), (0.0, 0.0, 1.0)):
        law = theory.exact_law("tanh", 4, C_b, C_W, K1, 8)
        np.testing.assert_allclose(law.variance, 0, atol=1e-30)
        np.testing.assert_allclose(law.mean[1:], C_b, atol=1e-15)


def test_what_does_not_converge_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules of docs/theory.md (17.5) that differ are an error that names the settings. With one more rule they
    agree."""
    monkeypatch.setattr("analysis.theory.kernel_chain.NODES", (4, 6))
    with pytest.raises(ValueError, match=r"activation=gelu, C_b=0.0, C_W=2.0, K1=1, widths=8: the exact law of g is "):
        theory.exact_law("gelu", 4, 0.0, 2.0, 1.0, 8)
    with pytest.raises(ValueError, match="1e-06 is promised; a larger width converges faster"):
        theory.exact_chain("gelu", 4, 0.0, 2.0, 1.0, 8, 2)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"C_W": -1.0}, "C_W=-1.0: a finite number, zero or larger"),
        ({"K1": math.nan}, "K1=nan: a finite number"),
        ({"depth": 0}, "depth=0: one layer or more"),
        ({"widths": [8, 8]}, r"widths=\[8, 8\]: 3 hidden widths for depth=4, or one for all"),
        ({"widths": 0}, "widths=0: one neuron or more in each layer"),
        ({"moments": 9}, "moments=9: 1 to 8"),
        ({"activation": "sin", "K1": 1e5}, r"activation=sin: K=1e\+05: the law of g is resolved up to K=10000"),
        ({"activation": "cosine"}, "activation='cosine': known are"),
    ],
)
def test_wrong_arguments(change: dict, reason: str) -> None:
    given = {"activation": "tanh", "depth": 4, "C_b": 0.0, "C_W": 1.0, "K1": 1.0, "widths": 8, "moments": 2} | change
    with pytest.raises(ValueError, match=reason):
        theory.exact_chain(**given)
