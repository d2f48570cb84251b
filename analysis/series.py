"""Series: one component of a measure over the widths of a sweep, or over widths and layers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag

from analysis import claims, estimators, tails
from analysis.estimators import Array
from analysis.measures.measured import Layers, Measure, Measured
from analysis.models import MODELS, Series
from analysis.points import OUT_OF_RANGE, Point, Variant


@dataclass(frozen=True)
class NotTested:
    """A test, or one variant or series of it, that could not be judged."""

    test: str
    name: str  # label of the variant or name of the series; empty for the whole test
    reason: str

    @property
    def label(self) -> str:
        """The test and what of it, where a name does not begin with the test's anyway."""
        return self.name if self.name.startswith(f"{self.test} ") else f"{self.test} {self.name}".rstrip()


@dataclass(frozen=True)
class Judgeable:
    """A test and the variants of a sweep, each with the variant of the reference of a paired test, that it can judge.
    measure: None where there is no test of this name. refused: the other variants. predicts_nothing: why theory
    predicts nothing where it does not."""

    name: str
    measure: Measure | None
    options: Mapping[str, Any]
    variants: tuple[tuple[Variant, Variant | None], ...]
    refused: tuple[NotTested, ...]
    predicts_nothing: str = "theory predicts nothing at these settings"

    def points(self) -> Iterator[tuple[Point, Point | None]]:
        """Every point at which it is measured, and the point of the reference."""
        for variant, reference in self.variants:
            others = reference.points if reference else (None,) * len(variant.points)
            yield from zip(variant.points, others, strict=True)


Measuring = Callable[[Measure, Point, Point | None, Layers], list[Measured]]


def measured_here(measure: Measure, point: Point, reference: Point | None, layers: Layers) -> list[Measured]:
    """What the measure yields at a point. Raises `OUT_OF_RANGE` as it does."""
    return list(measure(point, layers) if reference is None else measure(point, reference, layers))


def judgeable(name: str, options: Mapping[str, Any], sweep: Sequence[Variant]) -> Judgeable:
    """Where one test of a claim can be judged. options: those of the test in the claim, precision, and layers or
    reference."""
    if reasons := list(claims.unknown(name)):
        return Judgeable(name, None, options, (), tuple(NotTested(name, "", reason) for reason in reasons))
    measure = claims.tests()[name]
    if reasons := list(claims.of_sweep(measure, options, sweep)):
        return Judgeable(name, measure, options, (), (NotTested(name, "", reasons[0]),))
    reference = claims.reference_of(options, sweep) if measure.paired else None
    accepted: list[tuple[Variant, Variant | None]] = []
    refused: list[NotTested] = []
    left_out: list[str] = []
    for variant in sweep:
        if variant is reference:
            continue
        try:
            if reason := claims.undefined(measure, variant, reference):
                left_out.append(reason)
            elif reasons := list(claims.of_variant(measure, options, variant)):
                refused.append(NotTested(name, variant.label, reasons[0]))
            else:
                accepted.append((variant, reference))
        except OUT_OF_RANGE as error:
            refused.append(NotTested(name, variant.label, str(error)))
    return Judgeable(name, measure, options, tuple(accepted), tuple(refused), *left_out[:1])


def series(test: Judgeable, measuring: Measuring = measured_here) -> tuple[list[Series], list[NotTested]]:
    """All series of one test of a claim, and what could not be tested. measuring: where its measurements come from."""
    found: list[Series] = []
    refused = list(test.refused)
    for variant, reference in test.variants:
        try:
            for made, dominated, networks in list(_of_variant(test, variant, reference, measuring)):
                lighter = without_tails(made, dominated, networks)
                if isinstance(lighter, Series):
                    found.append(lighter)
                else:
                    refused.append(lighter)
        except OUT_OF_RANGE as error:
            refused.append(NotTested(test.name, variant.label, str(error)))
    if not found and not refused:
        refused.append(NotTested(test.name, "", test.predicts_nothing))
    return found, refused


def without_tails(made: Series, dominated: NDArray[np.bool_], networks: Array) -> Series | NotTested:
    """The series without the points whose tails are too heavy for their error bars, or why too few widths remain.

    dominated, networks: (k,), whether a point is tail-dominated (`analysis.tails`), and its number of networks. A point
    whose whole size is below a tenth of the deviation that the claim asks to see stays, with its size as its error.
    """
    if not MODELS[made.model].logarithmic:
        size = np.abs(made.value) + np.sqrt(made.covariance.diagonal())
        small = dominated & (size < made.precision * made.scale / 10)
        made = replace(made, covariance=made.covariance + np.diag(np.where(small, size, 0.0) ** 2))
        dominated = dominated & ~small
    if not dominated.any():
        return made
    # Narrower and deeper networks have heavier tails. An estimate there that is not tail-dominated is likely one whose
    # networks missed the tail, which makes it small: whether it stays must not depend on its own networks alone.
    n, l = made.n, made.l
    heavier = (n[:, None] <= n[dominated]) & (l[:, None] >= l[dominated]) & (networks[:, None] <= networks[dominated])
    out = heavier.any(axis=1)
    kept = replace(
        made,
        n=n[~out],
        l=l[~out],
        value=made.value[~out],
        covariance=made.covariance[np.ix_(~out, ~out)],
        left_out=np.stack([n, l, made.value], axis=1)[out],
        networks=networks[~out],
    )
    widths, fewest = len(set(kept.n.tolist())), MODELS[made.model].fewest_widths
    if widths >= fewest:
        return kept
    reason = (
        f"{tails.WORD}: a few of {networks[out].min():,.0f} networks carry the estimates at {kept.without}, and "
        f"{widths} of the {fewest} widths that a fit needs are left; draw more networks (ensemble.networks), or wider "
        "ones (network.width)"
    )
    return NotTested(made.test, made.name, reason)


Made = Iterator[tuple[Series, NDArray[np.bool_], Array]]  # a series; of its points (k,), `without_tails` has the rest


def _of_variant(test: Judgeable, variant: Variant, reference: Variant | None, measuring: Measuring) -> Made:
    measure, options = test.measure, test.options
    assert measure
    layers, precision = options.get("layers"), float(options["precision"])
    others = reference.points if reference else (None,) * len(variant.points)
    measured = [measuring(measure, point, other, layers) for point, other in zip(variant.points, others, strict=True)]
    if MODELS[measure.model].joint:
        yield from _over_layers(measure.name, measure.model, precision, variant, measured)
        return
    for same in zip(*measured, strict=True):
        yield from _at_one_layer(measure.name, measure.model, precision, variant, same)


def _at_one_layer(name: str, model: str, precision: float, variant: Variant, same: Sequence[Measured]) -> Made:
    """A series of each component over the widths at one step, at one layer or at layers in a fixed ratio to widths."""
    first = same[0]
    layers = [m.layer for m in same]
    errors = np.array([m.estimate.error for m in same])
    dominated = np.array([m.estimate.tail_dominated for m in same])
    networks = np.array([float(p.networks) for p in variant.points])
    following = np.nan if first.theory_next is None else (first.theory_next - first.theory) * variant.points[0].n
    slopes = np.broadcast_to(following / first.layer, len(first.samples))
    for k, label in enumerate(first.samples):
        made = Series(
            test=name,
            tensor=first.tensor,
            layer=first.layer if len(set(layers)) == 1 else None,
            step=first.step,
            samples=label,
            model=model,
            n=np.array([float(p.n) for p in variant.points]),
            l=np.array(layers, dtype=float),
            value=np.array([m.estimate.value[k] for m in same]),
            covariance=np.diag(errors[:, k] ** 2),
            prediction=float(first.theory[k]),
            scale=float(first.scale[k]),
            size=None if first.size is None else float(first.size[k]),
            precision=precision,
            dof=min(len(m.estimate.replicates) for m in same) - 1,
            variant=variant.label,
            networks=networks,
            following=float(slopes[k]),
        )
        yield made, dominated[:, k], networks


def _over_layers(
    name: str, model: str, precision: float, variant: Variant, measured: Sequence[Sequence[Measured]]
) -> Made:
    """A series of each component over all layers and widths; layers of one width are correlated."""
    if not any(measured):
        return
    first = measured[0][0]
    for k, label in enumerate(first.samples):
        joint = [estimators.join([m.estimate.chosen([k]) for m in at]) for at in measured]
        layers = [[float(m.layer) for m in at] for at in measured]
        each = list(zip(variant.points, layers, strict=True))
        networks = np.concatenate([np.full(len(l), float(p.networks)) for p, l in each])
        made = Series(
            test=name,
            tensor=first.tensor,
            layer=None,
            step=None,
            samples=label,
            model=model,
            n=np.concatenate([np.full(len(l), float(p.n)) for p, l in each]),
            l=np.concatenate(layers),
            value=np.concatenate([estimate.value for estimate in joint]),
            covariance=block_diag(*(estimate.covariance for estimate in joint)),
            prediction=float(first.theory[k]),
            scale=float(first.scale[k]),
            size=None if first.size is None else float(first.size[k]),
            precision=precision,
            dof=min(len(estimate.replicates) for estimate in joint) - 1,
            variant=variant.label,
            networks=networks,
        )
        dominated = np.concatenate([estimate.tail_dominated for estimate in joint])
        yield made, dominated, networks
