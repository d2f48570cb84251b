"""Errors of trained networks on test samples at order 1/n (docs/theory.md (5.41) and (5.42))."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from scipy.special import ndtr

from analysis import estimators
from analysis.estimators import Array, Estimate
from analysis.measures.measured import Layers, Measured, measure, test_targets_known
from analysis.measures.solved import closed_form, order_n, response, targets, with_own_kernels
from analysis.measures.trained import linear_in_z, outputs
from analysis.measures.trained_cumulants import Index, composite, every_step_known, kernels, last_kernels, over_steps
from analysis.points import Point
from analysis.theory import generalisation


def errors_known(point: Point) -> Iterator[str]:
    """Needs of measures of errors on test samples."""
    yield from test_targets_known(point)
    yield from every_step_known(point)


def signs_known(point: Point) -> Iterator[str]:
    """Needs of measures of signs of test samples."""
    _, y, _ = point.samples
    if y is not None and np.any(y == 0):
        yield "inputs: targets other than 0 are needed"
    yield from errors_known(point)


def _all_targets(point: Point) -> Array:
    """(D, n_L)"""
    _, y, _ = point.samples
    assert y is not None
    return y


def _tested(point: Point) -> list[Index]:
    """Composite indices of the test samples."""
    return [(i * point.D + a,) for i in range(targets(point).shape[1]) for a in range(len(targets(point)), point.D)]


@measure(
    "squared_error",
    tensor="n d(z - y)^2",
    symbol=r"$n\,\Delta\mathrm{E}(z-y)^2$",
    families=("z", "H"),
    steps="both",
    smooth=True,
    needs=errors_known,
)
def squared_error(point: Point, layers: Layers) -> Iterator[Measured]:
    """n times the mean squared error of each test sample at every recorded step, less that of z^(1) without what is of
    second order in fH: docs/theory.md (5.41) without the terms with G1, Theta1 and kz.

    Deviations are in units of the sum of the sizes of bias and variance, which nearly cancel.
    """
    own, record, y = with_own_kernels(point), order_n(point), _all_targets(point).T.ravel()
    start, H = composite(point, outputs(point, 0)), kernels(point)
    beyond = replace(
        record,
        mean1=record.mean1 - np.stack([at_step.mean1 for at_step in own]),
        covariance1=record.covariance1 - np.stack([at_step.covariance1 for at_step in own]),
    )
    predicted = generalisation.squared_error(beyond, _all_targets(point))

    def estimate(place: int, step: int, chosen: list[Index]) -> Estimate:
        z, frozen = (composite(point, x) for x in (outputs(point, step), linear_in_z(point, step)))
        d, apart = own[place].shift(start, H, targets(point).T.ravel()), frozen - y
        return estimators.mean(((z - y) ** 2 - apart**2 - 2 * apart * d)[:, [p for (p,) in chosen]])

    yield from over_steps(
        point, "n d(z - y)^2", lambda step: _tested(point), estimate, predicted.coefficient, predicted.size
    )


@measure(
    "wrong_sign",
    tensor="n dP",
    symbol=r"$n\,\Delta P(zy<0)$",
    families=("z", "g"),
    steps="both",
    smooth=True,
    needs=signs_known,
)
def wrong_sign(point: Point, layers: Layers) -> Iterator[Measured]:
    """n times the probability that z and y differ in sign, less that at infinite width, for each test sample at every
    recorded step: docs/theory.md (5.42).

    Whether the frozen output u.z(0) + a constant has the wrong sign is subtracted, and its probability given the kernel
    g(0) of the last layer is added, which is exact at every width. Deviations are in units of the sum of the sizes of
    the four parts of the coefficient.
    """
    predicted, apart = generalisation.wrong_sign(order_n(point), _all_targets(point)), _beyond_frozen(point)

    def estimate(place: int, step: int, chosen: list[Index]) -> Estimate:
        return estimators.mean(apart(step, chosen))

    yield from over_steps(point, "n dP", lambda step: _tested(point), estimate, predicted.coefficient, predicted.size)


@measure(
    "wrong_signs",
    tensor="n dP test",
    symbol=r"$n\,\Delta\langle P(zy<0)\rangle$",
    families=("z", "g"),
    steps="both",
    smooth=True,
    needs=signs_known,
)
def wrong_signs(point: Point, layers: Layers) -> Iterator[Measured]:
    """n times the share of test outputs with the wrong sign, less that at infinite width, at every recorded step: the
    average of docs/theory.md (5.42) over outputs and test samples.

    Training turns the signs of different samples in different networks, so that an average over samples has less noise
    than `wrong_sign` at one of them. Deviations are in units of the average of its sizes.
    """
    y, apart, N = _all_targets(point), _beyond_frozen(point), len(targets(point))
    alone = [[*range(N), a] for a in range(N, point.D)]
    predicted = [generalisation.wrong_sign(order_n(point, chosen), y[chosen]) for chosen in alone]
    coefficient, size = (
        np.mean([getattr(sample, name)[:, N :: N + 1] for sample in predicted], axis=(0, 2))[:, None]
        for name in ("coefficient", "size")
    )

    def estimate(place: int, step: int, chosen: list[Index]) -> Estimate:
        return estimators.mean(apart(step, _tested(point)).mean(axis=1, keepdims=True))

    yield from over_steps(
        point, "n dP test", lambda step: [(0,)], estimate, coefficient, size, label=lambda *_: "test samples"
    )


def _beyond_frozen(point: Point) -> Callable[[int, list[Index]], Array]:
    """By step and composite indices, for every network, (M, k): whether z is wrong, less whether the frozen output is,
    plus the probability of the latter given g(0), less that at infinite width."""
    sign, g, N = np.sign(_all_targets(point)).T.ravel(), last_kernels(point), len(targets(point))

    def apart(step: int, chosen: list[Index]) -> Array:
        columns, u = [p for (p,) in chosen], np.eye(point.D)
        u[:, :N] -= response(point, step)
        samples, (mean, covariance) = [p % point.D for p in columns], closed_form(point, step)
        z, frozen = (composite(point, x)[:, columns] for x in (outputs(point, step), linear_in_z(point, step)))
        size = np.einsum("ac,Ncd,ad->Na", u, g, u)[:, samples]
        known, infinite = (
            ndtr(-sign[columns] * mean.T.ravel()[columns] / np.sqrt(variance))
            for variance in (size, covariance.diagonal()[samples])
        )
        wrong, of_frozen = ((sign[columns] * x < 0).astype(np.float64) for x in (z, frozen))
        return wrong - of_frozen + known - infinite

    return apart
