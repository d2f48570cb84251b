"""The flow against the project's reference numbers, exact limits, and its own invariances."""

import json
from pathlib import Path

import numpy as np
import pytest

from analysis import theory
from analysis.theory import gaussian
from analysis.theory.finite_width import ntk_moments, six_point, vertex
from analysis.theory.preactivations import _moments
from analysis.theory.quadrature import calibrate_step

REFERENCE = json.loads((Path(__file__).parents[1] / "data" / "theory_reference.json").read_text())


KEYS = {"Theta": "Th", "Theta1": "Th1"}  # where the reference names a tensor differently
ALL = ("K", "Theta", "G1", "Theta1", "V", "A", "B", "D", "F", "P", "Q", "R", "S", "T", "U")
KINKED = ALL[:9]


@pytest.mark.parametrize("name", ["tanh", "sin", "linear", "gelu", "relu"])
def test_single_input_reference(name: str) -> None:
    """Every tensor of theory_reference.json; tanh was made there by a quadrature that is good to 1e-9."""
    case, tensors = REFERENCE[name], KINKED if name == "relu" else ALL
    flow = theory.flow(
        name, 8, case["C_b"], case["C_W"], np.ones((1, 3)), case["lambda_b"], case["lambda_W"], tensors=tensors
    )
    for layer in range(8):
        want = case["layers"][str(layer + 1)]
        for key in tensors:
            if (value := want.get(KEYS.get(key, key))) is not None:
                assert getattr(flow, key)[layer].item() == pytest.approx(value, rel=3e-9, abs=1e-11), (key, layer + 1)


@pytest.mark.parametrize(("name", "accuracy"), [("tanh", 1e-7), ("sin", 1e-12)])
def test_two_input_reference(name: str, accuracy: float) -> None:
    """All components; the reference's Gauss-Hermite rule leaves 7e-8 in T and U of tanh."""
    case = REFERENCE[f"two_input_{name}"]
    x = np.array(case["X_columns_are_samples"]).T
    flow = theory.flow(name, 4, case["C_b"], case["C_W"], x, case["lambda_b"], case["lambda_W"], tensors=ALL)
    for layer in range(4):
        want = case["layers"][str(layer + 1)]
        for key in ALL:
            value = np.array(want[KEYS.get(key, key)])
            scale = np.abs(value).max()
            np.testing.assert_allclose(getattr(flow, key)[layer], value, rtol=0, atol=accuracy * scale + 1e-15)


def test_tensors_of_two_inputs_have_converged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same flow on a grid 1.4 times as fine: what stands above is the reference's error, not ours."""
    case = REFERENCE["two_input_tanh"]
    x = np.array(case["X_columns_are_samples"]).T

    def go() -> theory.Flow:
        return theory.flow("tanh", 4, case["C_b"], case["C_W"], x, case["lambda_b"], case["lambda_W"], tensors=ALL)

    coarse, step = go(), calibrate_step
    monkeypatch.setattr(gaussian, "calibrate_step", lambda *a: step(*a) / 1.4)
    fine = go()
    for key in ALL:
        a, b = getattr(coarse, key), getattr(fine, key)
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10 * np.abs(b).max(), err_msg=key)


def test_symmetries_of_the_tensors() -> None:
    """T_acdb = T_bdca and A_(ab)(cd) = A_(cd)(ab) hold by no construction of the code (theory.md 3.12)."""
    x = np.random.default_rng(5).standard_normal((3, 6))
    flow = theory.flow("gelu", 3, 0.1, 1.7, x, 0.4, 0.9, tensors=["A", "T", "D", "B"])
    T, A, D, B = flow.T[2], flow.A[2], flow.D[2], flow.B[2]
    np.testing.assert_allclose(T, T.transpose(3, 2, 1, 0), rtol=1e-9)
    np.testing.assert_allclose(A, A.transpose(2, 3, 0, 1), rtol=1e-9)
    np.testing.assert_allclose(D, D.transpose(1, 0, 2, 3), rtol=1e-9)
    np.testing.assert_allclose(D, D.transpose(0, 1, 3, 2), rtol=1e-9)
    np.testing.assert_allclose(B, B.transpose(2, 3, 0, 1), rtol=1e-9)
    assert not np.allclose(D, D.transpose(2, 3, 0, 1))


@pytest.mark.parametrize("name", ["linear", "relu"])
def test_ntk_tensors_at_unequal_widths_against_the_exact_law(name: str) -> None:
    """A, B, D, F from the exact recursion at widths N (1, 2, 0.5): the leading order is the flow with those ratios."""
    C_W = theory.critical(name).C_W
    flow = theory.flow(name, 4, 0.0, C_W, np.ones((1, 2)), 0.6, 0.8, [1.0, 2.0, 0.25], tensors=["A", "B", "D", "F"])
    N = 10**5
    widths = [N, 2 * N, N // 2]
    m = ntk_moments(name, widths, C_W, C_W, 0.6, 0.8, 1.0)
    got = {"A": m.HH - m.H**2, "B": m.H2, "D": m.z2H - m.z2 * m.H, "F": m.zzH}
    for key, value in got.items():
        assert widths[-1] * value == pytest.approx(getattr(flow, key)[3].item(), rel=5e-4), key


def test_kinked_differentials_are_refused_not_nan() -> None:
    for tensor in ("P", "Q", "R", "S", "T", "U"):
        with pytest.raises(ValueError, match="smooth s only"):
            theory.flow("relu", 3, 0.0, 2.0, np.ones((1, 2)), tensors=[tensor])
    x = np.random.default_rng(6).standard_normal((3, 4))
    flow = theory.flow("leaky_relu(slope=0.1)", 4, 0.1, 1.9, x, 0.3, 1.0, tensors=KINKED)
    assert all(np.all(np.isfinite(getattr(flow, key))) for key in KINKED)


def test_repeated_inputs_are_one_input() -> None:
    x = np.random.default_rng(0).standard_normal((2, 5))
    for name in ("tanh", "relu"):
        once = theory.flow(name, 4, 0.1, 1.2, x)
        again = theory.flow(name, 4, 0.1, 1.2, x[[0, 1, 0]])
        np.testing.assert_array_equal(again.V[:, 2, 1, 0, 1], once.V[:, 0, 1, 0, 1])
        np.testing.assert_array_equal(again.G1[:, 0, 2], once.G1[:, 0, 0])


def test_more_inputs_change_nothing() -> None:
    x = np.random.default_rng(1).standard_normal((3, 6))
    for name in ("gelu", "leaky_relu(slope=0.2)"):
        two, three = theory.flow(name, 3, 0.1, 1.5, x[:2]), theory.flow(name, 3, 0.1, 1.5, x)
        np.testing.assert_allclose(three.V[:, :2, :2, :2, :2], two.V, rtol=1e-9, atol=1e-13)
        np.testing.assert_allclose(three.G1[:, :2, :2], two.G1, rtol=1e-9, atol=1e-13)


def test_symmetries_of_the_vertex() -> None:
    V = theory.flow("relu", 3, 0.0, 2.0, np.random.default_rng(2).standard_normal((4, 6))).V[2]
    np.testing.assert_allclose(V, V.transpose(1, 0, 2, 3), rtol=1e-10)
    np.testing.assert_allclose(V, V.transpose(2, 3, 0, 1), rtol=1e-8)
    assert not np.allclose(V, V.transpose(0, 2, 1, 3))


@pytest.mark.parametrize(("name", "nu"), [("linear", 2.0), ("relu", 5.0), ("leaky_relu(slope=0.5)", None)])
def test_scale_invariant_closed_forms(name: str, nu: float | None) -> None:
    """V = nu K^2 (l - 1), Theta = w l, G1 = 0 at criticality (theory.md 4.2)."""
    critical = theory.critical(name)
    plus, minus = theory.activation(name).slopes
    A2, A4 = (plus**2 + minus**2) / 2, (plus**4 + minus**4) / 2
    nu = nu or 3 * A4 / A2**2 - 1
    flow = theory.flow(name, 6, critical.C_b, critical.C_W, np.ones((1, 4)), 0.3, 0.7)
    K = critical.C_W
    layers = np.arange(1, 7)
    np.testing.assert_allclose(flow.K[:, 0, 0], K, rtol=1e-13)
    np.testing.assert_allclose(flow.V[:, 0, 0, 0, 0], nu * K**2 * (layers - 1), rtol=1e-12)
    np.testing.assert_allclose(flow.Theta[:, 0, 0], (0.3 + 0.7 * A2 * K) * layers, rtol=1e-12)
    np.testing.assert_allclose(flow.G1, 0, atol=1e-12)
    np.testing.assert_allclose(flow.chi_parallel, 1, rtol=1e-12)
    np.testing.assert_allclose(flow.chi_perp, 1, rtol=1e-12)


@pytest.mark.parametrize("name", ["linear", "relu"])
def test_unequal_widths_against_the_exact_law(name: str) -> None:
    """The exact V at widths N (1, 2, 0.5, 3) tends to the flow with these ratios; the rest is O(1/N)."""
    shape = np.array([1.0, 2.0, 0.5, 3.0])
    C_W = theory.critical(name).C_W
    flow = theory.flow(name, 5, 0.0, C_W, np.ones((1, 2)), width_ratios=[1.0, 2.0, 0.25, 6.0])
    want = flow.V[4].item()
    errors = []
    for N in (10_000, 20_000):
        errors.append(vertex(name, (N * shape).astype(int).tolist(), C_W, C_W) / want - 1)
    assert abs(errors[1]) < 1e-2
    assert errors[0] / errors[1] == pytest.approx(2.0, rel=1e-2)


def test_two_linear_inputs_to_first_order() -> None:
    """Deep linear, two inputs, two layers: Cov(g_ab, g_cd) = c^2 (K_ac K_bd + K_ad K_bc) exactly."""
    x = np.random.default_rng(3).standard_normal((2, 4))
    flow = theory.flow("linear", 2, 0.0, 1.3, x)
    K = flow.K[0]
    want = 1.3**2 * (np.einsum("ac,bd->abcd", K, K) + np.einsum("ad,bc->abcd", K, K))
    np.testing.assert_allclose(flow.V[1], want, rtol=1e-11)


def test_susceptibilities_are_derivatives_of_the_flow() -> None:
    h = 1e-5

    def next_K(scale: float) -> float:
        return theory.flow("swish", 2, 0.2, 1.7, scale * np.ones((1, 1)), tensors=["K"]).K[1].item()

    K = theory.flow("swish", 2, 0.2, 1.7, np.ones((1, 1)))
    slope = (next_K(1 + h) - next_K(1 - h)) / (1.7 * ((1 + h) ** 2 - (1 - h) ** 2))
    assert K.chi_parallel[0, 0] == pytest.approx(slope, rel=1e-8)


def test_tensors_not_asked_for_are_not_there() -> None:
    flow = theory.flow("tanh", 3, 0.0, 1.0, np.ones((1, 2)), tensors=["K"])
    assert flow.V is None
    assert flow.Theta is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"activation": "tanhh"}, "activation"),
        ({"depth": 0}, "depth=0"),
        ({"inputs": np.ones(3)}, "inputs"),
        ({"inputs": np.full((1, 2), np.nan)}, "inputs"),
        ({"lambda_b": [1.0, 2.0]}, "lambda_b"),
        ({"lambda_W": -1.0}, "lambda_W"),
        ({"width_ratios": [1.0]}, "width_ratios"),
        ({"tensors": ["W"]}, "tensors"),
    ],
)
def test_bad_arguments(arguments: dict, message: str) -> None:
    good = {"activation": "tanh", "depth": 3, "C_b": 0.0, "C_W": 1.0, "inputs": np.ones((1, 2))}
    with pytest.raises(ValueError, match=message):
        theory.flow(**(good | arguments))


def test_parallel_inputs_of_a_kink_are_refused_not_nan() -> None:
    x = np.array([[1.0, 0.0], [2.0, 0.0]])
    with pytest.raises(ValueError, match="G1 diverges"):
        theory.flow("relu", 4, 0.0, 2.0, x)
    assert np.all(np.isfinite(theory.flow("relu", 4, 0.0, 2.0, x, tensors=["K", "Theta", "V"]).V))


@pytest.mark.parametrize(
    ("name", "C_b", "C_W", "K_star", "kind"),
    [
        ("linear", 0.0, 1.0, None, "scale-invariant"),
        ("relu", 0.0, 2.0, None, "scale-invariant"),
        ("tanh", 0.0, 1.0, 0.0, "K* = 0"),
        ("sin", 0.0, 1.0, 0.0, "K* = 0"),
        ("erf", 0.0, np.pi / 4, 0.0, "K* = 0"),
        ("gelu", 0.17292239, 1.98305826, (3 + np.sqrt(17)) / 2, "half-stable"),
        ("swish", 0.55514317, 1.98800468, 14.3201736, "half-stable"),
    ],
)
def test_critical(name: str, C_b: float, C_W: float, K_star: float | None, kind: str) -> None:
    got = theory.critical(name)
    assert got.universality_class == kind
    assert got.C_b == pytest.approx(C_b, abs=1e-8)
    assert pytest.approx(C_W, abs=1e-8) == got.C_W
    if K_star is None:
        assert np.isnan(got.K_star)
    else:
        assert got.K_star == pytest.approx(K_star, abs=1e-6)


@pytest.mark.parametrize("name", ["sigmoid", "softplus"])
def test_no_critical_point(name: str) -> None:
    with pytest.raises(ValueError, match="no critical"):
        theory.critical(name)


@pytest.mark.parametrize("name", ["linear", "relu"])
def test_exact_ntk_moments_reference(name: str) -> None:
    """The tables of exact finite-width values, and the leading order from them as n grows."""
    for n in ("16", "64"):
        for layer in range(2, 7):
            want = REFERENCE[f"exact_{name}"][n][str(layer)]
            C_W = theory.critical(name).C_W
            m = ntk_moments(name, [int(n)] * (layer - 1), C_W, C_W, 1.0, 1.0, 1.0)
            got = {
                "V": m.z2z2 - m.z2**2,
                "A": m.HH - m.H**2,
                "B": m.H2,
                "D": m.z2H - m.z2 * m.H,
                "F": m.zzH,
            }
            for key, value in got.items():
                assert int(n) * value == pytest.approx(want[key], rel=1e-9), (n, layer, key)


def test_exact_six_point_leading_order() -> None:
    """kappa_3(g) n^2 tends to the recursion of theory.md 1.12: for linear C_W = 1, W' = 8 + 12 V + W... at large n."""
    W, V = 0.0, 0.0
    for _ in range(4):
        # m' = 1, m'' = 0, v = 2 K^2 so v' = 4, t = <(z^2 - 1)^3> = 8 (K = 1)
        W, V = 8 + 3 * 4 * V + W, 2 + V
    n = 10**4
    assert n**2 * six_point("linear", [n] * 4, 1.0, 1.0) == pytest.approx(W, rel=2e-3)
    assert theory.six_point("linear", 5, 0.0, 1.0, 1.0)[4] == pytest.approx(W, rel=1e-12)


def test_six_point_reference() -> None:
    """The reference took its derivatives in K by differences, which leaves it 7e-8 off; ours are exact."""
    case = REFERENCE["tanh"]
    want = [case["layers"][str(layer)]["W6"] for layer in range(1, 9)]
    np.testing.assert_allclose(theory.six_point("tanh", 8, 0.0, 1.0, 1.0), want, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("name", ["tanh", "gelu", "relu"])
def test_six_point_derivatives_in_the_kernel(name: str) -> None:
    s, K, h = theory.activation(name), 0.7, 1e-3
    up, here, down = (_moments(s, k) for k in (K + h, K, K - h))
    assert here[3] == pytest.approx((up[0] - down[0]) / (2 * h), rel=1e-5)
    assert here[4] == pytest.approx((up[1] - down[1]) / (2 * h), rel=1e-5)
    assert here[5] == pytest.approx((up[0] - 2 * here[0] + down[0]) / h**2, rel=1e-4, abs=1e-8)


def test_six_point_of_relu_is_the_exact_law_at_large_width() -> None:
    n, W = 10**4, theory.six_point("relu", 5, 0.0, 2.0, 2.0)
    assert n**2 * six_point("relu", [n] * 4, 2.0, 2.0) == pytest.approx(W[4], rel=1e-2)
