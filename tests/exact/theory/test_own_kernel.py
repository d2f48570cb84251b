"""Networks that answer to first order to their own NTK, against descent itself with an NTK that is changed a little."""

import numpy as np
import pytest

from analysis import theory
from analysis.theory import composite
from analysis.theory.frozen import own_answers
from analysis.theory.nodes import nodes
from analysis.theory.own_kernel import OwnKernel, own_answer_mean1, own_kernel
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


def test_answers_are_derivatives_of_momentum_on_a_softmax() -> None:
    """Three outputs, two train samples and a test sample, and an NTK that couples all of them."""
    rng, y, small = np.random.default_rng(1), np.eye(3)[:2], 1e-5
    start, h, train = rng.normal(size=(4, 3, 3)), rng.normal(size=(4, 9, 9)), np.array([0, 1, 3, 4, 6, 7])
    h = h + h.transpose(0, 2, 1)

    def trained(kernel: Array, z: Array) -> Array:
        z, velocity = z.ravel().copy(), np.zeros(6)
        for _ in range(5):
            p = np.exp(z.reshape(3, 3)[:, :2])
            velocity = 0.5 * velocity + (p / p.sum(axis=0) - y.T).ravel()
            z = z - ETA * kernel[:, train] @ velocity
        return np.asarray(z.reshape(3, 3))

    Theta = np.kron(np.eye(3), GRAM)
    found = own_answers(GRAM, Theta + h, start, y, "cross_entropy", ETA, [5], "momentum", 0.5)[:, 0]
    for z, moved, answer in zip(start, h, found, strict=True):
        up, down = (trained(Theta + sign * small * moved, z) for sign in (1, -1))
        np.testing.assert_allclose(answer, (up - down) / (2 * small), rtol=1e-6, atol=1e-7)
    assert np.abs(found).min() > 1e-3


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_the_mean_of_answers_at_order_1_over_n(loss: str, flow: Flow, found: list[OwnKernel]) -> None:
    """The average over z(0) of the answer to n E[fH | z(0)] = Theta1 + kz He2/2. Negative control: without kz."""
    y, start = np.sign(Y)[:, None] if loss == "cross_entropy" else Y[:, None], composite.initial(flow, 1)
    z, share = nodes(start.K, np.arange(2), 12)
    inverse = np.linalg.inv(start.K)
    second = np.einsum("mc,md->mcd", z @ inverse, z @ inverse) - inverse

    def average(kz: Array) -> Array:
        kernels = start.Theta + start.Theta1 + np.tensordot(second, kz, axes=2) / 2
        return np.einsum(
            "m,msia->sa", share, own_answers(np.asarray(flow["Theta"][-1]), kernels, z[:, None], y, loss, ETA, STEPS)
        )

    mean1 = own_answer_mean1(flow, y, ETA, STEPS, "gradient_descent", loss=loss)
    np.testing.assert_allclose(mean1, average(start.kz), rtol=1e-9, atol=1e-12)
    if loss == "mse":
        np.testing.assert_allclose(mean1, [at_step.mean1 for at_step in found], rtol=1e-9, atol=1e-12)
    else:
        assert np.abs(mean1 - average(0 * start.kz)).max() > 1e-3
