"""Training at order 1/n agrees with reference numbers and with iterated steps."""

import numpy as np
import pytest

from analysis import theory
from analysis.theory import composite
from tests.exact.theory import nearly_kernel
from tests.exact.theory.reference import REFERENCE

PIECES = {"Theta1": "Th1", "fluctuation": "delta", "dH": "dN", "ddI": "I", "ddII": "II"}


@pytest.mark.parametrize(
    ("name", "depth", "tolerance"), [("nearly_kernel_tanh_L2", 2, 4e-4), ("nearly_kernel_tanh_L3", 3, 6e-5)]
)
def test_nearly_kernel_reference(name: str, depth: int, tolerance: float) -> None:
    """Every piece of docs/theory.md (5.11) to (5.20), and their sum of docs/theory.md (5.21), for one and two outputs,
    flow and two step sizes.

    The tolerance is the error of the reference's integrals over three inputs (Gauss and Hermite, 80 nodes an axis). The
    code's integrals change by less than 1e-9 on a finer grid.
    """
    case = REFERENCE[name]
    x, y = np.array(case["X_columns_are_samples"]).T, np.array(case["y_rows_are_outputs"])
    rates = case["lambda_b"], case["lambda_W"]
    flow = theory.flow("tanh", depth, case["C_b"], case["C_W"], x, *rates, tensors=composite.TENSORS)
    for known in case["cases"]:
        targets = y[: known["n_L"]].T
        pieces = nearly_kernel.trained_mean_pieces(flow, targets, known["eta"])
        for piece, key in PIECES.items():
            np.testing.assert_allclose(pieces[piece][2], known["projected_pieces_test"][key], atol=tolerance)
            np.testing.assert_allclose(pieces[piece][:2], 0, atol=1e-12)
        total = nearly_kernel.trained_mean(flow, targets, known["eta"])[2]
        np.testing.assert_allclose(total, known["projected_pieces_test"]["tot"], atol=2 * tolerance)


def test_nearly_kernel_of_a_network_of_one_layer_vanishes() -> None:
    """Networks of one layer are linear in their parameters, docs/theory.md (5.4), so docs/theory.md (5.21) vanishes."""
    x = np.random.default_rng(0).standard_normal((3, 4))
    flow = theory.flow("tanh", 1, 0.1, 1.2, x, 0.5, 1.0, tensors=composite.TENSORS)
    np.testing.assert_array_equal(nearly_kernel.trained_mean(flow, np.ones((2, 1)), 0.1), 0)


def test_ntk_change_of_small_steps_is_that_of_the_flow() -> None:
    """docs/theory.md (5.6) and (5.7) averaged over z(0) and summed step by step, at two small eta extrapolated to none,
    end at docs/theory.md (5.9); their first step is docs/theory.md (5.10)."""
    flow = theory.flow("tanh", 3, 0.0, 1.0, np.ones((1, 4)), 1.0, 1.0, tensors=composite.TENSORS)
    K, Theta, y = float(flow.K[-1, 0, 0]), float(flow.Theta[-1, 0, 0]), 0.7
    P, Q, R, S, T, U = (float(np.ravel(getattr(flow, name)[-1])[0]) for name in "PQRSTU")
    first, second, e = P + 2 * Q, S + T + U, K + y**2
    ends = []
    for eta in (2e-3, 1e-3):
        total, dH, left = 0.0, 0.0, 1.0  # ddI + 2 ddII change dH e(0)
        for step in range(10_000):
            change = -2 * eta * left * (first + dH) + eta**2 * left**2 * (3 * R + second) * e
            if step == 0:
                first_step = nearly_kernel.ntk_change_of_step(flow, np.array([[y]]), eta)[0, 0]
                assert abs(first_step / change - 1) < 1e-12
            total += change
            dH -= eta * left * (3 * R + 2 * second) * e
            left *= 1 - eta * Theta
        ends.append(total)
    assert abs((2 * ends[1] - ends[0]) / nearly_kernel.ntk_change_of_flow(flow, y) - 1) < 1e-4


def test_nearly_kernel_refuses() -> None:
    """docs/theory.md (5.21) needs a step that converges, few train samples and all tensors."""
    x = np.random.default_rng(0).standard_normal((3, 4))
    flow = theory.flow("tanh", 2, 0.1, 1.2, x, 0.5, 1.0, tensors=composite.TENSORS)
    with pytest.raises(ValueError, match="converges only below"):
        nearly_kernel.trained_mean(flow, np.ones((2, 1)), 100.0)
    with pytest.raises(ValueError, match="at most 6"):
        nearly_kernel.trained_mean(flow, np.ones((7, 1)), 0.1)
    with pytest.raises(ValueError, match="B is needed"):
        nearly_kernel.trained_mean(theory.flow("tanh", 2, 0.1, 1.2, x, tensors=["Theta1", "A"]), np.ones((2, 1)), 0.1)
    with pytest.raises(ValueError, match="P is needed"):
        nearly_kernel.ntk_change_of_flow(theory.flow("tanh", 2, 0.1, 1.2, x), 0.5)
