"""Training by the cross-entropy, docs/theory.md (5.37) and (5.38): exact identities, and convergence in nodes."""

import numpy as np
import pytest

from analysis.stages import stages
from analysis.theory import flow
from analysis.theory.composite import TENSORS, initial, train_indices
from analysis.theory.cumulants import Cumulants
from analysis.theory.frozen import frozen_outputs
from analysis.theory.losses import LOSSES, LossDerivatives
from analysis.theory.nodes import by_nodes, nodes
from analysis.theory.order_n import trained_to_order_n

X = np.array([[1.0, 0.3, -0.5], [-0.4, 1.1, 0.6], [0.7, 0.2, 0.9]])
SIGNS = np.array([[1.0], [-1.0]])
NAMES = ("mean", "covariance", "mean1", "covariance1", "frozen_covariance1", "taylor_errors")


def test_networks_of_the_frozen_kernel_have_the_law_at_infinite_width() -> None:
    """Single networks that start at the nodes average to the record, and for the mse to the closed form, by rounding.
    Negative control: another step size."""
    settings = {"eta": 0.5, "algorithm": "momentum", "momentum": 0.4}
    at_start = flow("tanh", 2, 0.1, 1.2, X, 1.0, 1.0)
    assert at_start.Theta is not None
    z, share = nodes(at_start.K[-1], np.arange(2), 12)
    for loss in LOSSES:
        record = trained_to_order_n("tanh", 2, 0.1, 1.2, X, SIGNS, steps=[0, 2, 5], loss=loss, lambda_b=1.0, **settings)
        for eta in (0.5, 0.51):
            given = {**settings, "eta": eta}
            found = frozen_outputs(at_start.Theta[-1], z[:, None], SIGNS, loss, steps=[0, 2, 5], **given)[:, :, 0]
            mean = np.einsum("m,msp->sp", share, found)
            apart = found - mean
            covariance = np.einsum("m,msp,msq->spq", share, apart, apart)
            same = np.allclose(mean, record.mean, rtol=0, atol=1e-12)
            assert (same and np.allclose(covariance, record.covariance, rtol=0, atol=1e-12)) is (eta == 0.5)


def test_two_classes_are_the_logistic_loss_of_the_difference_at_infinite_width() -> None:
    """With d = z_0 - z_1 the softmax of two outputs is log(1 + exp(-y d)), and both outputs move d: the dynamics are
    those of one output with 2 Theta, by rounding. Negative control: Theta itself."""
    Theta = flow("tanh", 2, 0.1, 1.2, X, 1.0, 1.0).Theta
    assert Theta is not None
    start = np.random.default_rng(0).standard_normal((20, 2, 3))
    both = frozen_outputs(Theta[-1], start, np.eye(2), "cross_entropy", 0.3, [1, 7])
    difference, first = both[:, :, :1] - both[:, :, 1:], start[:, :1] - start[:, 1:]
    one, half = (frozen_outputs(c * Theta[-1], first, SIGNS, "cross_entropy", 0.3, [1, 7]) for c in (2, 1))
    np.testing.assert_allclose(difference, one, rtol=0, atol=1e-13)
    np.testing.assert_allclose(both.sum(axis=2), np.stack([start.sum(axis=1)] * 2, axis=1), rtol=0, atol=1e-13)
    assert np.abs(difference - half).max() > 0.1


def stretched(by: float) -> LossDerivatives:
    """The logistic loss of `by` times the output."""
    one = LOSSES["cross_entropy"]
    return LossDerivatives(
        "stretched",
        lambda z, y: by * one.slope(by * z, y),
        lambda z, y: by**2 * one.curvature(by * z, y),
        lambda z, y: by**3 * one.third(by * z, y),
    )


def test_two_classes_are_the_logistic_loss_of_the_difference_at_order_n() -> None:
    """The difference of two outputs is at every width 2^(1/2) times one network's output u, which is trained by the
    logistic loss of 2^(1/2) u: its last weights are (W_0 - W_1) / 2^(1/2), and their sum learns nothing. So E d is
    2^(1/2) E u and Cov d is 2 Cov u, each with its coefficient of 1/n. Only the nodes differ. Negative control: the
    loss of u."""
    at_start = flow("tanh", 2, 0.1, 1.2, X[:2], 1.0, 1.0, tensors=TENSORS)

    def run(outputs: int, loss: LossDerivatives, y: list[float]) -> Cumulants:
        train = 2 * np.arange(outputs)
        given = (
            initial(at_start, outputs),
            train,
            np.array([y]),
            loss,
            np.full(6, 0.4),
            [6],
            stages("gradient_descent"),
        )
        (record,) = by_nodes(*given, 24)
        return record

    two, wrong = run(2, LOSSES["cross_entropy"], [1.0, 0.0]), run(1, stretched(1.0), [1.0])
    one, d = run(1, stretched(np.sqrt(2)), [1.0]), np.array([[1, 0, -1, 0], [0, 1, 0, -1]])
    for name in NAMES:
        of_two, of_one, of_wrong = (getattr(record, name) for record in (two, one, wrong))
        if "covariance" in name:
            pair = d @ of_two @ d.T, 2 * of_one, 2 * of_wrong
        else:
            pair = of_two @ d.T, np.sqrt(2) * of_one, np.sqrt(2) * of_wrong
        np.testing.assert_allclose(pair[0], pair[1], rtol=0, atol=1e-6 * np.abs(pair[1]).max(), err_msg=name)
        assert np.abs(pair[0] - pair[2]).max() > 1e-2 * np.abs(pair[1]).max(), name


def by_count(y: np.ndarray, D: int, *counts: int) -> list[Cumulants]:
    at_start, outputs = flow("tanh", 2, 0.0, 1.0, X[:D], 1.0, 1.0, tensors=TENSORS), y.shape[1]
    train = train_indices(len(y), outputs, D)
    given = initial(at_start, outputs), train, y, LOSSES["cross_entropy"], np.full(6, 0.3), [6]
    return [next(by_nodes(*given, stages("gradient_descent"), count)) for count in counts]


def apart(record: Cumulants, reference: Cumulants) -> float:
    """The largest difference, in units of the largest value of its tensor; of a part, of the whole."""
    found = []
    for name in NAMES:
        unit = np.abs(getattr(reference, name.removeprefix("frozen_"))).max()
        found.append(float(np.abs(getattr(record, name) - getattr(reference, name)).max() / unit))
    return max(found)


def test_nodes_converge() -> None:
    """Twelve nodes an axis give six digits of every coefficient of the logistic loss, and four do not."""
    few, right, reference = by_count(SIGNS, 3, 4, 12, 20)
    assert apart(right, reference) < 1e-6
    assert apart(few, reference) > 1e-5


def test_points_converge() -> None:
    """Six train outputs are more than a grid takes: of three classes and two samples, 2^9 points and their negatives
    give each coefficient to 5 %, and 2^4 do not."""
    few, right, reference = by_count(np.eye(3)[:2], 2, 4, 9, 11)
    assert apart(right, reference) < 0.05
    assert apart(few, reference) > 0.05


def test_frozen_outputs_refuse() -> None:
    given = np.eye(2), np.zeros((1, 1, 2)), np.ones((1, 1))
    with pytest.raises(ValueError, match="loss='huber': known are mse, cross_entropy"):
        frozen_outputs(*given, "huber", 0.1, [1])
    with pytest.raises(ValueError, match="algorithm='sgd': the batches of a network are not known"):
        frozen_outputs(*given, "mse", 0.1, [1], "sgd")
    with pytest.raises(ValueError, match="algorithm='adam': linear in past gradients are"):
        frozen_outputs(*given, "mse", 0.1, [1], "adam")
