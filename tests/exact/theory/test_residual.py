"""Residual networks in the theory: reference values, limits that are known exactly, and refusals."""

import math

import numpy as np
import pytest

from analysis import theory
from analysis.theory import residual
from analysis.theory.hermite import check, rule

TENSORS = ("K", "Theta", *residual.ORDER_N)
# V, G1, Theta1, A, B, D and F of layers 2, 4 and 8 by another program, from K1 and Theta = 2 on, with rates of 1.
REFERENCE = {
    ("relu", 0.5, 0.0, 1.5, 1.0): {
        2: (3.5625, 0.0, 0.0, 5, 6, 3.25, 3),
        4: (14.39691629, 0.8622888298, 2.922772386, 80.3557463, 63.44367973, 27.98867414, 18.34064738),
        8: (39.71057931, 3.48850769, 23.83664971, 848.8836682, 562.2070611, 155.2339385, 88.95074685),
    },
    ("relu", 0.8, 0.0, 0.7199999999999998, 1.0): {
        2: (1.5696, 0.0, 0.0, 2.4884, 2.88, 1.7992, 1.44),
        4: (6.333700888, 0.3300937081, 1.617743576, 40.03213507, 31.47911419, 13.71511319, 8.790416107),
        8: (19.62671258, 1.854439345, 14.2063246, 458.4589963, 291.0379651, 82.22390337, 44.87542321),
    },
    ("tanh", 0.5, 0.0, 0.75, 1.0): {
        2: (0.1912053688, 0.0, 0.0, 0.05648017072, 1.46500007, -0.09124868038, 0.2207805882),
        4: (0.113874069, -0.06357662795, -0.01355026498, 0.6877364597, 7.18341965, -0.2717409717, 0.4112679915),
        8: (0.04935545422, -0.1210886696, 0.2775212703, 6.225075129, 35.11356016, -0.4947181035, 0.6505043322),
    },
    ("gelu", 0.5, 0.1296917925, 1.487293695, 3.5615528128088303): {
        2: (44.50573824, 0.0, 0.0, 23.91640763, 6.133792228, 31.06344328, 10.73230491),
        4: (178.1991946, 3.05108047, 5.756943032, 475.5436675, 127.3796449, 268.7539698, 86.31859293),
        8: (489.3123862, 12.28834755, 43.85610042, 6177.926598, 1484.214832, 1603.245057, 486.3082374),
    },
    ("sin", 0.5, 0.0, 0.75, 1.0): {
        2: (0.1692619129, 0.0, 0.0, 0.03011575578, 1.847598005, -0.07900745447, 0.242079288),
        4: (0.1627121552, -0.09316994143, -0.1448683978, 0.6530476003, 10.50745444, -0.3233612312, 0.6248897242),
        8: (0.1046463484, -0.2002474197, -0.4902429597, 7.117892737, 53.96457543, -0.763940225, 1.203358065),
    },
}


def flow(name: str, skip: object, C_b: float, C_W: float, K1: float, depth: int = 8) -> theory.Flow:
    """The flow from a kernel K1 and an NTK of 2 in layer 1, with rates of one above it."""
    square = (K1 - C_b) / C_W
    rates = [max(2 - square, 0.0)] + [1.0] * (depth - 1), [1.0 if square < 2 else 2 / square] + [1.0] * (depth - 1)
    return theory.flow(name, depth, C_b, C_W, [[math.sqrt(square)]], *rates, tensors=TENSORS, skip=skip)


def values(of: theory.Flow, layer: int, names: tuple[str, ...] = residual.ORDER_N) -> np.ndarray:
    return np.array([of[name][layer - 1].item() for name in names])


@pytest.mark.parametrize("case", REFERENCE)
def test_reference_values(case: tuple[str, float, float, float, float], monkeypatch: pytest.MonkeyPatch) -> None:
    """All tensors of docs/theory.md (11.4) and (11.5) at three depths. Negative control: without the towers V, A, B, D
    and F of layer 8 are off by 0.3 % at least."""
    found = flow(*case)
    for layer, numbers in REFERENCE[case].items():
        np.testing.assert_allclose(values(found, layer), numbers, rtol=2e-9, atol=1e-10)
    monkeypatch.setattr(residual.State, "tower", lambda state, name: np.zeros(state.count))
    off = values(flow(*case), 8, tuple("VABDF")) / values(found, 8, tuple("VABDF"))
    assert (abs(off - 1) > 0.003).all()


def test_without_skip_it_is_the_plain_network() -> None:
    """The one-input recursions of docs/theory.md (11.5) at gamma = 0 are those of docs/theory.md (1.10) and (2.12) to
    (2.16), which other code integrates. A step without a skip after others is one, too."""
    for name, C_b, C_W in (("tanh", 0.2, 1.3), ("gelu", 0.1, 1.9), ("relu", 0.0, 2.0)):
        plain = theory.flow(name, 5, C_b, C_W, [[1.1]], 0.5, 1.2, tensors=TENSORS)
        steps = [residual.Step(C_b, C_W, 0.0, 0.5, 1.2)] * 4
        K, Theta = plain.K[:, 0, 0], np.asarray(plain.Theta)[:, 0, 0]
        found = residual.order_n(theory.activation(name), K, Theta, steps)
        for tensor in residual.ORDER_N:
            np.testing.assert_allclose(found[tensor], plain[tensor].reshape(5), rtol=1e-8, atol=1e-9)
    assert theory.flow("tanh", 3, 0.0, 1.0, [[1.0]], skip=0.0).V is not None


def test_linear_networks_are_exact() -> None:
    """V of docs/theory.md (11.8) is n K^2 ((1 + 2 (1 - gamma^4)/n)^(l-1) - 1) at criticality, of which order one is
    2 (1 - gamma^4)(l - 1) K^2, docs/theory.md (11.7). The kernel moves neither at order one nor at 1/n."""
    for skip in (0.3, 0.9):
        at = theory.critical("linear", skip)
        found = theory.flow("linear", 6, at.C_b, at.C_W, [[1.0]], tensors=TENSORS, skip=skip)
        K = at.C_W
        np.testing.assert_allclose(found.K[:, 0, 0], K, rtol=1e-12)
        assert found.V is not None
        assert found.G1 is not None
        np.testing.assert_allclose(found.V.ravel(), 2 * (1 - skip**4) * np.arange(6) * K**2, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found.G1.ravel(), 0, atol=1e-10)
        exact = theory.finite_width.residual_vertex(6, 8, at.C_W, K, skip)
        assert exact == pytest.approx(8 * K**2 * ((1 + 2 * (1 - skip**4) / 8) ** 5 - 1), rel=1e-12)


def relu_slope(gamma: float) -> float:
    """nu of docs/theory.md (11.7) as a sum over layers, with the closed form of the mean of s^2 s^2 at two layers."""
    angle = np.arccos(gamma ** np.arange(1, 400))
    J = (3 * np.sin(angle) * np.cos(angle) + (np.pi - angle) * (1 + 2 * np.cos(angle) ** 2)) / (2 * np.pi)
    return float(4 * (1 - gamma**2) ** 2 * (5 / 4 + 2 * np.sum(J - 1 / 4)))


@pytest.mark.parametrize("skip", [0.2, 0.449, 0.749, 0.9])
def test_slopes_of_relu(skip: float) -> None:
    """V/(n K^2) grows by nu a layer once the towers have settled, docs/theory.md (11.7). Negative control: the slope
    without towers, (1 - gamma^2)((1 - gamma^2) 5 + 4 gamma^2), is another one."""
    at, depth = theory.critical("relu", skip), 3 + math.ceil(math.log(1e-7) / math.log(skip))
    found = theory.flow("relu", depth, at.C_b, at.C_W, [[1.0]], tensors=("V",), skip=skip)
    assert found.V is not None
    growth = np.diff(found.V.ravel())[-1] / found.K[-1, 0, 0] ** 2
    assert growth == pytest.approx(relu_slope(skip), rel=1e-6)
    assert theory.residual_growth("relu", skip)["V"] == pytest.approx(relu_slope(skip), rel=1e-9)
    assert abs((1 - skip**2) * ((1 - skip**2) * 5 + 4 * skip**2) / growth - 1) > 0.1


def test_slopes_of_other_tensors() -> None:
    """The slopes of docs/theory.md (11.7) of another program, those of the plain network without a skip, and those of
    the recursion for GELU. Negative control: without the towers."""
    for skip, B, F, G1 in ((0.5, 0.53555, 1.13420, 0.69851), (0.8, 0.30395, 0.73537, 0.62861)):
        found = theory.residual_growth("relu", skip)
        np.testing.assert_allclose([found[name] for name in ("B", "F", "G1")], [B, F, G1], atol=1e-5)
    for name in ("relu", "gelu", "tanh"):
        plain, found = theory.exponents(name).coefficient, theory.residual_growth(name, 0.0)
        np.testing.assert_allclose(list(found.values()), [plain[key] for key in found], rtol=1e-9, atol=1e-12)
    at = theory.critical("gelu", 0.5)
    x = [[math.sqrt((at.K_star - at.C_b) / at.C_W)]]
    V = theory.flow("gelu", 40, at.C_b, at.C_W, x, tensors=("V",), skip=0.5)["V"].ravel() / at.K_star**2
    nu = theory.residual_growth("gelu", 0.5)["V"]
    assert V[-1] - V[-2] == pytest.approx(nu, rel=3e-3)
    assert abs(0.75 * (0.75 * theory.exponents("gelu").coefficient["V"] + 4 * 0.25) - nu) > 0.1 * nu


def test_critical_points() -> None:
    """Kernels stay where they are at the critical point of docs/theory.md (11.3)."""
    for name, skip in (("relu", 0.5), ("gelu", 0.7)):
        at, plain = theory.critical(name, skip), theory.critical(name)
        K = 1.0 if math.isnan(at.K_star) else at.K_star
        x = math.sqrt((K - at.C_b) / at.C_W)
        found = theory.flow(name, 5, at.C_b, at.C_W, [[x]], tensors=("K",), skip=skip)
        np.testing.assert_allclose(found.K.ravel(), K, rtol=1e-8)
        assert (at.K_star, at.C_W) == (pytest.approx(plain.K_star, nan_ok=True), (1 - skip**2) * plain.C_W)


def test_branch() -> None:
    """A branch alpha in all steps makes alpha^2 C_W of C_W and alpha^2 lambda_W of lambda_W, docs/theory.md (11.2).
    Negative control: without it all is other."""
    alpha, C_b, C_W, b, W = 0.7, 0.1, 1.3, np.array([0.3, 0.5, 0.7, 0.2]), np.array([1.1, 0.9, 1.3, 0.8])
    branched = theory.flow("tanh", 4, C_b, C_W, [[1.2]], b, W, tensors=TENSORS, skip=0.5, branch=alpha)
    scaled = theory.flow("tanh", 4, C_b, C_W * alpha**2, [[1.2 / alpha]], b, W * alpha**2, tensors=TENSORS, skip=0.5)
    without = theory.flow("tanh", 4, C_b, C_W, [[1.2]], b, W, tensors=TENSORS, skip=0.5)
    for name in (*TENSORS, "chi_perp", "chi_parallel"):
        np.testing.assert_allclose(branched[name], scaled[name], rtol=1e-12)
        assert not np.allclose(branched[name][1:], without[name][1:], rtol=1e-2), name
    at, plain = theory.critical("gelu", 0.6, 0.8), theory.critical("gelu")
    np.testing.assert_allclose([at.C_W, at.C_b], [plain.C_W, 0.64 * plain.C_b], rtol=1e-12)


def test_kernels_of_several_inputs() -> None:
    """K and Theta of docs/theory.md (11.1) for two inputs are the limits of wide networks: by the sums over layers of a
    linear network, where K' = (C_W + gamma^2) K."""
    x = np.array([[1.0, 0.5], [-0.3, 1.2]])
    found = theory.flow("linear", 4, 0.0, 0.8, x, 0.0, 1.0, tensors=("K", "Theta"), skip=[0.5, 0.2, 0.0])
    growth = 0.8 + np.array([0.25, 0.04, 0.0])
    np.testing.assert_allclose(found.K, np.multiply.outer(np.cumprod([1, *growth]), 0.8 * x @ x.T / 2), rtol=1e-12)
    Theta, K = x @ x.T / 2, 0.8 * x @ x.T / 2
    for factor in growth:
        Theta, K = K + factor * Theta, factor * K
    assert found.Theta is not None
    np.testing.assert_allclose(found.Theta[-1], Theta, rtol=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"skip": -0.1}, "skip=-0.1: a number >= 0"),
        ({"skip": [0.5]}, r"skip=\[0.5\]: a number >= 0, or one for each of the 3 steps"),
        ({"branch": 0.0}, "branch=0.0: numbers > 0"),
        ({"skip": 0.0, "branch": 0.5}, "branch=0.5: numbers > 0, and 1 where there is no skip"),
        ({"tensors": ("P", "V", "six")}, "unknown"),
        ({"tensors": ("P", "V", "T")}, "P, T not known for skip=0.5, .*: each neuron remembers its past"),
        ({"inputs": [[1.0], [-1.0]]}, "G1 of residual networks is not known where two different inputs are parallel"),
        ({"inputs": [[1.0], [0.0]]}, "kernels above zero"),
        ({"width_ratios": (1.0, 1.0, 2.0)}, "one width in all hidden layers"),
        ({"inputs": [[0.0]]}, "kernels above zero"),
        ({"skip": 1.0, "C_W": 1e-8}, "too near one"),
    ],
)
def test_refusals(changes: dict, message: str) -> None:
    """What is not known is refused by name."""
    given = {"activation": "tanh", "depth": 4, "C_b": 0.0, "C_W": 1.0, "inputs": [[1.0]], "skip": 0.5} | changes
    with pytest.raises(ValueError, match=message):
        theory.flow(**given)


def test_means_of_one_variable() -> None:
    """The rule integrates powers and a kink to rounding, and averages that it does not know are refused."""
    for K in (1e-6, 1.0, 400.0):
        x, w = rule(K)
        np.testing.assert_allclose([w.sum(), w @ x**2, w @ x**8], [1, 1, 105], rtol=1e-12)
        np.testing.assert_allclose(w @ np.maximum(x, 0) ** 4, 1.5, rtol=1e-12)
    with pytest.raises(ValueError, match=r"averages at a kernel of 1e\+06 do not converge"):
        check(theory.activation("sin").derivatives[:2], 1e6)
