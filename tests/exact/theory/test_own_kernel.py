"""Networks that answer to first order to their own NTK, against descent itself with an NTK that is changed a little."""

import numpy as np
import pytest

from analysis import theory
from analysis.theory import composite
from analysis.theory.own_kernel import OwnKernel, own_kernel
from analysis.theory.recursion import Flow
from tests.exact.measures.rows import Array, inputs_of

GRAM = np.array([[1.0, 0.2, 0.5], [0.2, 1.1, -0.3], [0.5, -0.3, 0.9]])
Y, ETA, STEPS = np.array([1.0, -0.6]), 0.3, (0, 2, 7)


def first_order(Theta: Array, h: Array, start: Array, y: Array, eta: float, steps: int) -> tuple[Array, Array]:
    """Outputs (M, P) of descent with the NTK Theta (P, P), train samples first, and their change to first order in a
    change h (M, P, P) of the NTK."""
    z, change, t = start.copy(), np.zeros_like(start), slice(len(y))
    for _ in range(steps):
        error = z[:, t] - y
        change = change - eta * (change[:, t] @ Theta[:, t].T + np.einsum("Mij,Mj->Mi", h[:, :, t], error))
        z = z - eta * error @ Theta[:, t].T
    return z, change


def exact(Theta: Array, h: Array, start: Array, y: Array, eta: float, steps: int) -> Array:
    """Outputs (P,) of descent with the NTK Theta + h."""
    z, t = start.copy(), slice(len(y))
    for _ in range(steps):
        z = z - eta * (Theta + h)[:, t] @ (z[t] - y)
    return np.asarray(z)


@pytest.fixture(scope="module")
def flow() -> Flow:
    return theory.flow("sin", 3, 0.0, 1.0, inputs_of(GRAM), 0.5, 1.0, tensors=composite.TENSORS)


@pytest.fixture(scope="module")
def found(flow: Flow) -> list[OwnKernel]:
    return own_kernel(flow, Y[:, None], ETA, STEPS, "gradient_descent")


def test_the_shift_is_the_derivative_of_descent(flow: Flow, found: list[OwnKernel]) -> None:
    rng = np.random.default_rng(0)
    z, h = rng.normal(size=(4, 3)), rng.normal(size=(4, 3, 3))
    h, Theta, small = h + h.transpose(0, 2, 1), found[0].Theta, 1e-5
    for step, at_step in zip(STEPS, found, strict=True):
        shift = at_step.shift(z, Theta + h, Y)
        np.testing.assert_allclose(shift, first_order(Theta, h, z, Y, ETA, step)[1], rtol=0, atol=1e-12)
        for start, moved, answer in zip(z, h, shift, strict=True):
            up, down = (exact(Theta, sign * small * moved, start, Y, ETA, step) for sign in (1, -1))
            np.testing.assert_allclose(answer, (up - down) / (2 * small), rtol=1e-7, atol=1e-8)
    assert np.abs(found[-1].shift(z, Theta + h, Y)).min() > 1e-2


def test_mean_and_covariance_at_order_1_over_n(flow: Flow, found: list[OwnKernel]) -> None:
    """E z^(1) is moved by n E fH = Theta1 alone, and Cov z^(1), to first order in fH, by G1 and by
    n E[fH_ij z_c z_d] = Theta1_ij K_cd + kz_cd,ij. Negative control: without kz."""
    start = composite.initial(flow, 1)
    moment = np.einsum("ij,cd->cdij", start.Theta1, start.K) + start.kz
    for step, at_step in zip(STEPS[1:], found[1:], strict=True):
        mean = first_order(start.Theta, start.Theta1[None], np.zeros((1, 3)), Y, ETA, step)[1][0]
        np.testing.assert_allclose(at_step.mean1, mean, rtol=1e-9, atol=1e-12)
        A = first_order(start.Theta, np.zeros((3, 3, 3)), np.eye(3), 0 * Y, ETA, step)[0].T

        def crossed(moment: Array, A: Array = A, step: int = step) -> Array:
            """n Cov(d_i, z_frozen,j): the change is linear in what z_c(0) multiplies."""
            none = 0 * Y
            each = [
                first_order(start.Theta, moment[c, d][None], np.eye(3)[[c]], none, ETA, step)[1][0]
                for c in range(3)
                for d in range(3)
            ]
            return np.einsum("cdi,jd->ij", np.reshape(each, (3, 3, 3)), A)

        X = crossed(moment)
        np.testing.assert_allclose(at_step.covariance1, A @ start.G1 @ A.T + X + X.T, rtol=1e-9, atol=1e-12)
        X = crossed(moment - start.kz)
        assert np.abs(at_step.covariance1 - A @ start.G1 @ A.T - X - X.T).max() > 1e-2
