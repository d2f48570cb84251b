"""The movement of hidden kernels agrees with reference numbers."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from analysis import theory
from analysis.theory import composite, movement
from analysis.theory.order_n import of_flow

REFERENCE = json.loads((Path(__file__).parents[2] / "data" / "training_reference.json").read_text())


def test_hidden_tensors_reference() -> None:
    """p, r and s of docs/theory.md (5.34) and (5.35) at one input, for the layers l of networks of depth L."""
    known = REFERENCE["hidden tensors tanh one input"]
    for L in (2, 3, 4, 5):
        flow = theory.flow("tanh", L, 0.0, 1.0, np.ones((1, 1)), 1.0, 1.0, tensors=composite.TENSORS)
        hidden = movement.hidden_tensors(flow, "tanh", 0.0, 1.0, [1.0] * L)
        for layer, tensors in hidden.items():
            found = [float(np.ravel(x)[0]) for x in (tensors.p, tensors.r, tensors.s)]
            np.testing.assert_allclose(found, known[f"l={layer} L={L}"], rtol=1e-6)


def test_wide_layers_in_between_leave_the_kernels_below_unmoved() -> None:
    """A kernel moves by 1/n of the layers above it and its own, docs/theory.md (5.35): with n_2 / n_1 large its
    movement in units of 1/n_2 is n_2 / n_1 times what comes from layer 1."""
    moved = []
    for ratio in (1.0, 100.0):
        flow = theory.flow(
            "tanh", 3, 0.0, 1.0, np.ones((1, 1)), 1.0, 1.0, width_ratios=[1.0, ratio], tensors=composite.TENSORS
        )
        hidden = movement.hidden_tensors(flow, "tanh", 0.0, 1.0, [1.0] * 3, [1.0, ratio])
        moved.append([float(np.ravel(x)[0]) for x in (hidden[2].p, hidden[2].r)])
    np.testing.assert_allclose(moved[1], np.multiply(100, moved[0]), rtol=1e-12)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_growth_with_depth(rate: float) -> None:
    """At 128 layers the NTK and the last kernel move as docs/theory.md (5.53) says, up to log(L)/L. Negative control:
    the laws of the other phi."""
    L, y = 128, 1.0
    rates = rate * np.array(theory.equal_shares("sin", L)[0])
    flow = theory.flow("sin", L, 0.0, 1.0, np.ones((1, 1)), rates, 1.0, tensors=composite.TENSORS)
    hidden = {L: movement.hidden_tensors(flow, "sin", 0.0, 1.0, [1.0] * L)[L]}
    assert flow.Theta is not None
    K, Theta = flow.K[-1, 0, 0], flow.Theta[-1, 0, 0]
    end = of_flow(flow, hidden, np.array([[y]]), 0.1 / Theta, 120, "gradient_flow")
    moved = np.array([end.ntk_change[-1, 0, 0] / Theta, end.kernel_change[-1, 0, 0, 0] / K]) / L

    def law(phi: float) -> list[float]:
        S = 1 + y**2 / K
        return [1 / 6 + phi / 4 - S * (4 + 5 * phi - 3 * phi**2) / 48, -1 / 2 + S * (4 - phi) / 16]

    np.testing.assert_allclose(moved, law(rate / 2), rtol=np.log(L) / L)
    assert np.all(np.abs(moved / law(1 / 2 - rate / 2) - 1) > 0.1)


def test_refusals() -> None:
    flow = theory.flow("relu", 2, 0.0, 2.0, np.ones((1, 1)), tensors=["Theta"])
    with pytest.raises(ValueError, match="activation=relu: hidden kernels move"):
        movement.hidden_tensors(flow, "relu", 0.0, 2.0, [1.0, 1.0])


@pytest.mark.parametrize("name", ["relu", "leaky_relu(slope=0.3)", "tanh"])
def test_kinked_movement(name: str) -> None:
    """docs/theory.md (5.52) against a layer of 1e12 neurons: each is z + slope d below or above the kink, with d the
    movement of slope one, and its slope squared multiplies W^2 Theta(1). The average is by quadrature over W and z(0)
    and by the normal distribution over z. Negative control: a_+ - a_- in place of its square."""
    C_b, C_W, rate, x, target, learnt, n = 0.3, 1.6, 0.5, 0.8, 1.3, 0.7, 1e12
    flow = theory.flow(name, 2, C_b, C_W, np.full((1, 1), np.sqrt(x)), rate, 1.0)
    assert flow.Theta is not None
    found, of_unit = movement.kinked_movement(flow, name, C_W, target, learnt)
    plus, minus = theory.activation(name).slopes or (1.0, 1.0)
    (K1, K), (Theta1, Theta) = flow.K[:, 0, 0], flow.Theta[:, 0, 0]
    w, z = (grid.ravel() for grid in np.meshgrid(np.linspace(-9, 9, 1201), np.linspace(-9, 9, 1201)))
    weight = norm.pdf(w) * norm.pdf(z) / (norm.pdf(w) * norm.pdf(z)).sum()
    d = -np.sqrt(C_W / n) * w * Theta1 * learnt * (np.sqrt(K) * z - target) / Theta
    down = norm.cdf(np.maximum(-plus * d, 0) / np.sqrt(K1)) - 0.5
    up = norm.cdf(np.maximum(minus * d, 0) / np.sqrt(K1)) - 0.5
    change = Theta1 * C_W * np.sum(weight * w**2 * (plus**2 - minus**2) * (up - down))
    assert found == pytest.approx(np.sqrt(n) * change, rel=1e-3, abs=1e-12)
    assert of_unit < 0
    assert (found == 0) == (name == "tanh")
    if 0 < minus < plus:
        assert found / (plus - minus) != pytest.approx(np.sqrt(n) * change, rel=0.1)


def test_kinked_movement_is_refused_elsewhere() -> None:
    flow = theory.flow("relu", 2, 0.0, 2.0, np.ones((1, 1)))
    with pytest.raises(ValueError, match=r"slopes >= 0 are needed, got 1 and -0\.5"):
        movement.kinked_movement(flow, "leaky_relu(slope=-0.5)", 2.0, 1.0, 1.0)
    for wrong in (theory.flow("relu", 3, 0.0, 2.0, np.ones((1, 1))), theory.flow("relu", 2, 0.0, 2.0, np.eye(2))):
        with pytest.raises(ValueError, match="K and Theta of two layers and one input"):
            movement.kinked_movement(wrong, "relu", 2.0, 1.0, 1.0)
