"""Cumulants of trained outputs at order 1/n at every recorded step, with controls (docs/theory.md (5.29) to (5.32)).

A control is made from each network's start, and its mean is known. z_frozen is what the outputs would be if the NTK
were the frozen one, z^(1) if they answered to first order to the network's own NTK at the start.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from analysis import estimators
from analysis.estimators import Array, Estimate
from analysis.measures.measured import Layers, Measured, label_of, measure
from analysis.measures.solved import (
    closed_form,
    closed_form_known,
    order_n,
    order_n_known,
    response,
    targets,
    with_own_kernels,
)
from analysis.measures.trained import ROUNDING, SPREAD, linear_in_z, outputs, test_samples_known
from analysis.points import Point

# Share of the variance at the start. Where less is left, an output's fluctuations at order 1/n are at usual widths as
# large as its own, and the cumulants of third and fourth order are beyond the expansion.
WIDE = 0.2

Index = tuple[int, ...]


def every_step_known(point: Point) -> Iterator[str]:
    """Needs of coefficients at every step that are measured from a network's own start."""
    yield from closed_form_known(point)
    yield from order_n_known(point)


def curve_known(point: Point) -> Iterator[str]:
    """Needs of coefficients at test samples, at every step."""
    yield from test_samples_known(point)
    yield from order_n_known(point)


def composite(point: Point, z: Array) -> Array:
    """(M, n_L, D) as (M, P), output first."""
    return z.reshape(len(z), -1)


def with_spread(point: Point, step: int, least: float) -> list[int]:
    """Composite indices of outputs that have at infinite width more than this share of their variance at the start."""
    _, covariance = closed_form(point, step)
    size = point.flow(("K", "Theta")).K[-1].diagonal()
    kept = covariance.diagonal() > least * size
    return [i * point.D + a for i in range(targets(point).shape[1]) for a in range(point.D) if kept[a]]


def _symmetric(columns: Array, pairs: Iterable[Index], P: int) -> Array:
    """Columns (M, pairs) as matrices (M, P, P), in which NaN stands for those of other pairs."""
    place = np.full((P, P), -1)
    for k, (p, q) in enumerate(pairs):
        place[p, q] = place[q, p] = k
    return np.where(place < 0, np.nan, columns[:, place])


def kernels(point: Point) -> Array:
    """H(0) of every network between all outputs of all samples, (M, P, P)."""
    D = point.D
    pairs = [(i * D + a, j * D + b) for i, j, a, b in point.columns("H")]
    return _symmetric(point.read("H", point.depth, 0), pairs, targets(point).shape[1] * D)


def last_kernels(point: Point) -> Array:
    """g(0) of the last layer of every network, (M, D, D), given which z(0) is Gaussian with this covariance."""
    return _symmetric(point.read("g", point.depth, 0), point.columns("g"), point.D)


def over_steps(
    point: Point,
    tensor: str,
    components: Callable[[int], list[Index]],
    estimates: Callable[[int, int, list[Index]], Estimate],
    predicted: Array,
    sizes: Array | None = None,
    label: Callable[[Point, Index], str] | None = None,
) -> Iterator[Measured]:
    """n_{L-1} times the estimates at every recorded step of training.

    components(step): composite indices. estimates(place, step, components): of the step at this place among those that
    are recorded. predicted (S, P, ..): of the steps. Deviations are in units of the largest size of each component over
    the steps; sizes are those of the predictions if none are given. label: what names a component, if not its output
    and samples.
    """
    at = [(place, step) for place, step in enumerate(point.data.layout.steps) if step]
    chosen = {step: components(step) for _, step in at}
    size: dict[Index, float] = {}
    unit = predicted if sizes is None else sizes
    for place, step in at:
        for index in chosen[step]:
            size[index] = max(size.get(index, 0.0), abs(unit[place][index]))
    for place, step in at:
        if chosen[step]:
            yield Measured(
                tensor=tensor,
                layer=point.depth,
                step=step,
                samples=[(label or _label)(point, index) for index in chosen[step]],
                estimate=estimates(place, step, chosen[step]).scaled(point.last_width),
                theory=np.array([predicted[place][index] for index in chosen[step]]),
                scale=np.array([size[index] for index in chosen[step]]),
            )


def _label(point: Point, index: Index) -> str:
    """The output and the samples: those of a cumulant of one output at one sample stand there once."""
    samples = [p % point.D for p in index]
    return label_of((index[0] // point.D,), samples if len(samples) == 2 else samples[:1])


def beyond_own_kernel(point: Point) -> tuple[Callable[[int, int], Array], Array]:
    """z - z^(1) of every network, (M, P), as a function of the place of a step among those recorded and the step, and
    the coefficients (S, P) of 1/n of its mean, docs/theory.md (5.29) without the term with Theta1."""
    own, exact, y = with_own_kernels(point), order_n(point), targets(point).T.ravel()
    start, H = composite(point, outputs(point, 0)), kernels(point)

    def left(place: int, step: int) -> Array:
        return composite(point, outputs(point, step) - linear_in_z(point, step)) - own[place].shift(start, H, y)

    return left, exact.mean1 - np.stack([at_step.mean1 for at_step in own])


def at_test_samples(point: Point) -> list[int]:
    """Composite indices of test samples."""
    N = len(targets(point))
    return [p for p in range(targets(point).shape[1] * point.D) if p % point.D >= N]


_of_own_kernels = partial(
    measure, families=("z", "H"), steps="both", smooth=True, any_widths=True, needs=every_step_known
)
_of_curves = partial(_of_own_kernels, needs=curve_known)


def _means(point: Point, components: Callable[[int], list[Index]]) -> Iterator[Measured]:
    """n E(z - z^(1)) of the components at every recorded step."""
    left, predicted = beyond_own_kernel(point)

    def estimate(place: int, step: int, chosen: list[Index]) -> Estimate:
        return estimators.mean(left(place, step)[:, [p for (p,) in chosen]])

    yield from over_steps(point, "n dz(t)", components, estimate, predicted)


def _in_units_of_the_largest(curves: Iterator[Measured]) -> Iterator[Measured]:
    """At each step the largest prediction is the unit of all: a curve may cross zero."""
    for curve in curves:
        yield replace(curve, scale=np.full_like(curve.scale, np.abs(curve.theory).max()))


@_of_own_kernels("trained_mean1", tensor="n dz(t)", symbol=r"$n\,(\mathrm{E}\,z-z_\infty)$")
def trained_mean1(point: Point, layers: Layers) -> Iterator[Measured]:
    """n E(z - z^(1)) at every recorded step: docs/theory.md (5.29) without its first term.

    E z^(1) is the infinite-width mean but for l[E fH](-y), exactly at every width; at order 1/n that is the term with
    Theta1, which is not tested here. The variance of n (z - z^(1)) stays finite as n grows, where that of
    n (z - z_frozen) grows as n.
    """
    yield from _means(point, lambda step: [(p,) for p in with_spread(point, step, ROUNDING)])


@_of_curves("trained_curve1", tensor="n dz(t)", symbol=r"$n\,(\mathrm{E}\,z-z_\infty)$")
def trained_curve1(point: Point, layers: Layers) -> Iterator[Measured]:
    """What `trained_mean1` is, docs/theory.md (5.29), at test samples alone and in units of the largest that is
    predicted there at that step."""
    curve: list[Index] = [(p,) for p in at_test_samples(point)]
    yield from _in_units_of_the_largest(_means(point, lambda step: curve))


def _covariances(point: Point, components: Callable[[int], list[Index]]) -> Iterator[Measured]:
    """n times the covariances of `trained_covariance1` of the components at every recorded step."""
    own, exact, y = with_own_kernels(point), order_n(point), targets(point).T.ravel()
    start, H = composite(point, outputs(point, 0)), kernels(point)

    def estimate(place: int, step: int, chosen: list[Index]) -> Estimate:
        frozen, d = composite(point, linear_in_z(point, step)), own[place].shift(start, H, y)
        covariance = partial(estimators.covariance, pairs=[(p, q) for p, q in chosen])
        crossed = (covariance(frozen + d) - covariance(frozen - d)).scaled(0.5)
        return covariance(composite(point, outputs(point, step))) - covariance(frozen) - crossed

    predicted = exact.covariance1 - np.stack([at_step.covariance1 for at_step in own])
    yield from over_steps(point, "n dCov(t)", components, estimate, predicted)


@_of_own_kernels("trained_covariance1", tensor="n dCov(t)", symbol=r"$n\,\Delta\mathrm{Cov}\,z$")
def trained_covariance1(point: Point, layers: Layers) -> Iterator[Measured]:
    """n times the covariance of two trained outputs less the part of Cov z^(1) that is not of second order in fH, at
    every recorded step: docs/theory.md (5.30) without G1, Theta1 and kz.

    With d = l[fH](e0) that part is Cov(z_frozen, z_frozen) + Cov(z_frozen, d) + Cov(d, z_frozen), and its coefficients
    of 1/n are the terms with G1, Theta1 and kz, which are not tested here.
    """

    def pairs(step: int) -> list[Index]:
        kept = with_spread(point, step, SPREAD)
        return [(p, q) for p in kept for q in kept if p <= q and p // point.D == q // point.D]

    yield from _covariances(point, pairs)


@_of_curves("trained_band1", tensor="n dCov(t)", symbol=r"$n\,\Delta\mathrm{Var}\,z$")
def trained_band1(point: Point, layers: Layers) -> Iterator[Measured]:
    """What `trained_covariance1` is, docs/theory.md (5.30), of the variance of each test sample, the band around the
    mean, in units of the largest that is predicted there at that step."""
    band: list[Index] = [(p, p) for p in at_test_samples(point)]
    yield from _in_units_of_the_largest(_covariances(point, lambda step: band))


@measure(
    "trained_third",
    tensor="n k3(t)",
    symbol=r"$n\,\kappa_3(z)$",
    families=("z",),
    steps="both",
    smooth=True,
    needs=every_step_known,
)
def trained_third(point: Point, layers: Layers) -> Iterator[Measured]:
    """n times the third cumulant of trained outputs at every recorded step: docs/theory.md (5.31).

    That of z_frozen, which is zero at every width by the sign of the last layer, is subtracted.
    """

    def estimate(place: int, step: int, chosen: list[Index]) -> Estimate:
        columns = [index[0] for index in chosen]
        z, frozen = (composite(point, x)[:, columns] for x in (outputs(point, step), linear_in_z(point, step)))
        return estimators.third_cumulant(z) - estimators.third_cumulant(frozen)

    third = order_n(point).third
    assert third is not None
    yield from over_steps(
        point, "n k3(t)", lambda step: [(p,) * 3 for p in with_spread(point, step, WIDE)], estimate, third
    )


@measure(
    "trained_fourth",
    tensor="n k4(t)",
    symbol=r"$n\,\kappa_4(z)$",
    families=("z", "g"),
    steps="both",
    smooth=True,
    needs=every_step_known,
)
def trained_fourth(point: Point, layers: Layers) -> Iterator[Measured]:
    """n times the fourth cumulant of trained outputs at every recorded step: docs/theory.md (5.32).

    That of z_frozen = u.z(0) + a constant is replaced by three times the variance of u.g(0)u, which it is at every
    width, since outputs are Gaussian given the kernel g(0) of the last layer.
    """
    g, N = last_kernels(point), len(targets(point))

    def estimate(place: int, step: int, chosen: list[Index]) -> Estimate:
        columns, u = [index[0] for index in chosen], np.eye(point.D)
        u[:, :N] -= response(point, step)
        z, frozen = (composite(point, x)[:, columns] for x in (outputs(point, step), linear_in_z(point, step)))
        size = np.einsum("ac,Ncd,ad->Na", u, g, u)[:, [p % point.D for p in columns]]
        spread = estimators.covariance(size, [(k, k) for k in range(len(columns))])
        return estimators.fourth_cumulant(z) - estimators.fourth_cumulant(frozen) + spread.scaled(3.0)

    fourth = order_n(point).fourth
    assert fourth is not None
    yield from over_steps(
        point, "n k4(t)", lambda step: [(p,) * 4 for p in with_spread(point, step, WIDE)], estimate, fourth
    )
