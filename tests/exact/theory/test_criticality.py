"""Critical points, closed forms on them, depth scaling of rates, and fixed points off criticality."""

import numpy as np
import pytest

from analysis import theory
from tests.exact.theory.reference import fixed_input


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
    """The critical points are those of docs/theory.md (4.2), (4.3) and (4.4); both susceptibilities are 1 at K*, as
    docs/theory.md (4.1) requires, and not off it."""
    got = theory.critical(name)
    assert got.universality_class == kind
    assert got.C_b == pytest.approx(C_b, abs=1e-8)
    assert pytest.approx(C_W, abs=1e-8) == got.C_W
    if K_star is None:
        assert np.isnan(got.K_star)
    else:
        assert got.K_star == pytest.approx(K_star, abs=1e-6)

    def susceptibilities(K: float) -> list[float]:
        x = np.full((1, 1), np.sqrt((K - got.C_b) / got.C_W))
        flow = theory.flow(name, 1, got.C_b, got.C_W, x, tensors=["K"])
        return [flow.chi_parallel.item(), flow.chi_perp.item()]

    fixed = got.K_star if got.K_star > 0 else 1e-9
    assert susceptibilities(fixed) == pytest.approx([1, 1], abs=1e-8)
    if kind != "scale-invariant":
        assert susceptibilities(fixed + 0.5) != pytest.approx([1, 1], abs=1e-4)


@pytest.mark.parametrize(("name", "branch"), [("tanh", 1e-300), ("tanh", 1e300), ("leaky_relu(slope=1e200)", 1.0)])
def test_a_critical_point_beyond_all_numbers(name: str, branch: float) -> None:
    with pytest.raises(ValueError, match="the critical C_W is beyond the range of float64"):
        theory.critical(name, 0.5, branch)


@pytest.mark.parametrize("name", ["sigmoid", "softplus"])
def test_no_critical_point(name: str) -> None:
    """Softplus and sigmoid are not critical anywhere, docs/theory.md (4.6)."""
    with pytest.raises(ValueError, match="no critical"):
        theory.critical(name)


@pytest.mark.parametrize(("name", "nu"), [("linear", 2.0), ("relu", 5.0), ("leaky_relu(slope=0.5)", None)])
def test_scale_invariant_closed_forms(name: str, nu: float | None) -> None:
    """V = nu K^2 (l - 1), Theta = w l and G1 = 0 at criticality, docs/theory.md (4.2)."""
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


@pytest.mark.parametrize("name", ["relu", "tanh", "sin", "erf", "gelu"])
def test_equal_shares(name: str) -> None:
    """With the rates of docs/theory.md (4.5) the NTK at the output is of order one at any depth, and layers contribute
    equally: the lower half gives half of it. Unscaled rates, as a control, give an NTK that grows with depth."""
    point = theory.critical(name)

    def ntk(b: list[float], W: list[float]) -> np.ndarray:
        flow = theory.flow(name, len(b), point.C_b, point.C_W, fixed_input(point), b, W, tensors=["Theta"])
        return flow.Theta[:, 0, 0]

    def output(depth: int, upto: int) -> float:
        shares = theory.equal_shares(name, depth)
        b, W = ([rate if layer < upto else 0.0 for layer, rate in enumerate(rates)] for rates in shares)
        return float(ntk(b, W)[-1])

    whole = output(600, 600)
    assert whole == pytest.approx(output(300, 300), rel=0.05)
    assert output(600, 300) / whole == pytest.approx(0.5, abs=0.02)
    unscaled = ntk([1.0] * 600, [1.0] * 600)
    assert unscaled[599] > 1.5 * unscaled[299]


@pytest.mark.parametrize(
    ("name", "C_b", "C_W", "K", "where", "chi"),
    [
        ("linear", 0.0, 0.8, 1.0, 0.0, 0.8),
        ("relu", 0.0, 2.4, 1.0, np.inf, 1.2),
        ("relu", 0.5, 1.0, 3.0, 1.0, 0.5),
        ("tanh", 0.0, 0.9, 1.0, 0.0, 0.9),
        ("tanh", 0.2, 1.1, 1.0, None, None),
        ("gelu", 0.1, 1.5, 2.0, None, None),
    ],
)
def test_attractor(name: str, C_b: float, C_W: float, K: float, where: float | None, chi: float | None) -> None:
    """The fixed point is that of a closed form or of the flow. The rate is chi_parallel of docs/theory.md (1.7) and
    (4.6): the factor by which the distance of two kernels changes in a layer."""
    got, rate = theory.attractor(name, C_b, C_W, K)
    depth = int(16 / abs(np.log(rate)))  # distances shrink or grow by e^16, well within double precision
    x = np.sqrt([[K / C_W], [1.01 * K / C_W]])
    kernels = theory.flow(name, depth, C_b, C_W, x, tensors=["K"]).K[:, [0, 1], [0, 1]]
    apart = kernels[:, 1] - kernels[:, 0]
    assert rate == pytest.approx(apart[-1] / apart[-2], rel=1e-3)
    if where is not None:
        assert got == pytest.approx(where)
        assert rate == pytest.approx(chi, rel=1e-6)
    else:
        assert got == pytest.approx(kernels[-1, 0], rel=1e-4)


def test_refusals() -> None:
    """Settings that docs/theory.md (4.6) rules out raise errors."""
    with pytest.raises(ValueError, match="does not flow exponentially"):
        theory.attractor("tanh", 0.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="no critical"):
        theory.equal_shares("softplus", 3)


@pytest.mark.parametrize("name", ["linear", "relu", "leaky_relu(slope=0.5)"])
def test_scale_invariant_closed_forms_of_the_ntk(name: str) -> None:
    """A, B, D, F and Theta1, and P and Q of linear networks, are those of docs/theory.md (4.2) at every layer."""
    s, point, lb, lW = theory.activation(name), theory.critical(name), 0.3, 0.7
    assert s.slopes is not None
    A2, A4 = ((s.slopes[0] ** k + s.slopes[1] ** k) / 2 for k in (2, 4))
    K, nu, ratio = point.C_W, 3 * A4 / A2**2 - 1, A4 / A2**2
    tensors = ["A", "B", "D", "F", "Theta1"] + ["P", "Q"] * (name == "linear")
    flow = theory.flow(name, 6, 0.0, point.C_W, np.ones((1, 4)), lb, lW, tensors=tensors)
    l, w, W = np.arange(1, 7), lb + lW * A2 * K, lW * A2
    V, D = nu * K**2 * (l - 1), (W * nu * K**2 + (ratio - 1) * K * w) * l * (l - 1) / 2
    steps = W**2 * nu * K**2 + 2 * W * K * (ratio - 1) * w * l + (ratio - 1) * w**2 * l**2 + W**2 * V + 2 * W * D
    want = {
        "F": ratio * K * w * l * (l - 1) / 2,
        "B": ratio * w**2 * (l - 1) * l * (2 * l - 1) / 6,
        "D": D,
        "A": np.concatenate([[0.0], np.cumsum(steps)[:-1]]),
        "Theta1": 0 * l,
        "P": 0 * l,
        "Q": lW * A4 / A2 * K * w * (l - 1) * l * (l + 1) / 6,
    }
    for tensor in tensors:
        np.testing.assert_allclose(flow[tensor].reshape(6), want[tensor], rtol=1e-11, atol=1e-11, err_msg=tensor)


@pytest.mark.parametrize(("name", "parallel", "perp"), [("gelu", -2.872e-4, 9.334e-3), ("swish", 5.7e-6, 1.733e-3)])
def test_half_stable_susceptibilities_in_the_kernel(name: str, parallel: float, perp: float) -> None:
    """d chi_parallel/dK and d chi_perp/dK at K* have the signs and sizes of docs/theory.md (4.4)."""
    point, h = theory.critical(name), 1e-2
    kernels = [point.K_star - h, point.K_star + h]
    x = np.sqrt((np.array(kernels)[:, None] - point.C_b) / point.C_W)
    flow = theory.flow(name, 1, point.C_b, point.C_W, x, tensors=["K"])
    slopes = [float(chi[0, 1] - chi[0, 0]) / (2 * h) for chi in (flow.chi_parallel, flow.chi_perp)]
    assert slopes[0] == pytest.approx(parallel, rel=1e-2)
    assert slopes[1] == pytest.approx(perp, rel=1e-3)


@pytest.mark.parametrize("name", ["tanh", "sin", "erf"])
def test_perturbations_of_a_vanishing_kernel(name: str) -> None:
    """Parallel perturbations fall as l^-2 and perpendicular ones as l^-1 for odd s, docs/theory.md (4.3): products of
    chi between two depths approach these powers as the depths grow."""
    point = theory.critical(name)
    flow = theory.flow(name, 1600, point.C_b, point.C_W, fixed_input(point), tensors=["K"])

    def power(chi: np.ndarray, first: int) -> float:
        return float(np.log(chi[first : 2 * first, 0]).sum() / np.log(2))

    for chi, want in ((flow.chi_parallel, -2), (flow.chi_perp, -1)):
        early, late = (abs(power(chi, first) - want) for first in (100, 800))
        assert late < early
        assert late < 0.02 * abs(want)
