"""The stages of algorithms that are linear in past gradients, docs/theory.md (5.24), on gradients that are numbers."""

from collections.abc import Callable

import numpy as np
import pytest

from analysis.stages import STAGES, stages


def ran(algorithm: str, G: Callable[[float], float], X: float, eta: float, steps: int, momentum: float = 0.0) -> float:
    """X after so many steps of the recursion, as `Stage` tells it."""
    vel = 0.0
    for _ in range(steps):
        for stage in stages(algorithm, momentum):
            vel = stage.keep * vel + G(X - eta * stage.look * vel)
            X = X - eta * stage.move * vel
    return X


@pytest.mark.parametrize("name", ["gradient_descent", "sgd"])
def test_descent_is_a_power(name: str) -> None:
    assert ran(name, lambda X: 2.0 * X, 1.5, 0.1, 7) == pytest.approx(1.5 * (1 - 0.2) ** 7, rel=1e-14)


@pytest.mark.parametrize("name", ["momentum", "nesterov"])
def test_momentum_and_nesterov_are_their_difference_equations(name: str) -> None:
    """For G = p X a step is X(t+1) = X + mu (X - X(t-1)) - eta p X, where Nesterov has X + mu (X - X(t-1)) for the last
    X: the power of a matrix. Negative control: the other of the two."""
    mu, x = 0.7, 0.3
    ahead = mu if name == "nesterov" else 0.0
    matrix = np.array([[1 + mu - x * (1 + ahead), -mu + x * ahead], [1.0, 0.0]])
    want = (np.linalg.matrix_power(matrix, 9) @ [1.5, 1.5])[0]
    assert ran(name, lambda X: 3.0 * X, 1.5, x / 3, 9, mu) == pytest.approx(want, rel=1e-12)
    other = "momentum" if name == "nesterov" else "nesterov"
    assert ran(other, lambda X: 3.0 * X, 1.5, x / 3, 9, mu) != pytest.approx(want, rel=0.1)


def test_the_flow_is_of_order_four() -> None:
    """dX/dtau = -X^3 has X = (1 + 2 tau)^(-1/2) from 1. Halving eta divides the error by 16. Negative control: momentum
    is of order one."""
    exact = 5**-0.5

    def orders(name: str) -> np.ndarray:
        errors = [abs(ran(name, lambda X: X**3, 1.0, 2 / steps, steps) - exact) for steps in (8, 16, 32, 64)]
        return np.log2(np.array(errors[:-1]) / errors[1:])

    np.testing.assert_allclose(orders("gradient_flow"), 4, atol=0.3)
    np.testing.assert_allclose(orders("momentum"), 1, atol=0.3)


def test_an_algorithm_without_stages_is_named() -> None:
    with pytest.raises(ValueError, match=f"algorithm='adam': linear in past gradients are {', '.join(STAGES)}"):
        stages("adam")
