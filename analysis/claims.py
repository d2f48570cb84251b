"""The tests that a claim can name, and why data, or settings before there are data, cannot be judged by them."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from analysis.estimators import FEWEST
from analysis.measures import (  # noqa: F401 each enters its measures
    against_training,
    algorithms,
    aspect_ratio,
    bayesian,
    controls,
    coordinates,
    correlation,
    derivative_orders,
    differentials,
    differentials_controlled,
    exact,
    generalisation,
    information,
    kinks,
    laws,
    linear_models,
    losses,
    many_samples,
    models,
    next_order,
    next_order_ntk,
    ntk,
    ntk_controlled,
    ntk_signs,
    posterior_networks,
    preactivations,
    quadratic,
    random_features,
    representations,
    shown,
    trained,
    trained_cumulants,
)
from analysis.measures.depth import exponent_of, slope_of
from analysis.measures.measured import MEASURES, Measure
from analysis.models import MODELS
from analysis.points import OUT_OF_RANGE, Point, Variant, variants


def tests() -> dict[str, Measure]:
    """All tests by name: the measures, and the slopes and exponents of those that grow with depth."""
    growing = [measure for measure in MEASURES.values() if measure.grows]
    derived = [derive(measure) for derive in (slope_of, exponent_of) for measure in growing]
    return dict(MEASURES) | {measure.name: measure for measure in derived}


def measures() -> dict[str, Measure]:
    """The tests, and what figures show, by name."""
    return tests() | shown.SHOWN


def symbol(test: str, tensor: str) -> str:
    """The symbol in TeX of a tensor that a test measures."""
    return tests()[test].symbols[tensor]


def unknown(name: str) -> Iterator[str]:
    """Why a test of that name cannot be judged, if it is not known."""
    known = tests()
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        yield f"no such test; did you mean {near[0]}?" if near else f"no such test; known are {', '.join(known)}"


def reference_of(options: Mapping[str, Any], sweep: Sequence[Variant]) -> Variant | None:
    """The variant whose dynamics or depth a paired test names as its reference."""
    named = [v for v in sweep if options.get("reference") in (_dynamics(v), v.points[0].depth)]
    return named[0] if named else None


def _dynamics(variant: Variant) -> str:
    return str(variant.points[0].settings["dynamics"]["name"])


def _same_widths(variant: Variant, reference: Variant) -> bool:
    """Whether the points have the same hidden widths, layer by layer; those of unequal depth have one width each."""
    if len(variant.points) != len(reference.points):
        return False
    return all(
        p.widths == q.widths if p.depth == q.depth else len({*p.widths, *q.widths}) == 1
        for p, q in zip(variant.points, reference.points, strict=True)
    )


def of_sweep(measure: Measure, options: Mapping[str, Any], sweep: Sequence[Variant]) -> Iterator[str]:
    """Why a test cannot be judged over a sweep as a whole."""
    if not measure.paired:
        return
    reference = reference_of(options, sweep)
    if reference is None:
        names = ", ".join(sorted({_dynamics(variant) for variant in sweep}))
        depths = ", ".join(map(str, sorted({variant.points[0].depth for variant in sweep})))
        yield f"reference={options.get('reference')}: the sweep has dynamics={names} and network.depth={depths}"
        return
    others = [variant for variant in sweep if variant is not reference]
    for variant in others:
        if not _same_widths(variant, reference):
            yield f"network.width: {variant.label} and {reference.label} need the same widths"
        if [p.addresses for p in variant.points] != [p.addresses for p in reference.points]:
            yield f"ensemble: {variant.label} and {reference.label} need the same networks"
    if not others:
        yield f"reference={options.get('reference')}: the sweep has no other dynamics or depth"
    yield from of_variant(measure, options, reference)


def undefined(measure: Measure, variant: Variant, reference: Variant | None) -> str | None:
    """Why theory predicts nothing for a test at the points of a variant, if it does not."""
    pairs: list[tuple[Point, ...]] = [(point,) for point in variant.points]
    if reference is not None:
        pairs = list(zip(variant.points, reference.points, strict=True))
    return next((reason for points in pairs for reason in measure.undefined(*points)), None)


def of_variant(measure: Measure, options: Mapping[str, Any], variant: Variant) -> Iterator[str]:
    """Why a test cannot be judged at the points of a sweep that differ in width alone."""
    for point in variant.points:
        yield from measure.missing(point, options.get("layers"))
        if point.networks < FEWEST:
            yield f"ensemble.networks={point.networks}: at least {FEWEST} are needed for an error bar"
    shapes = {point.shape: point.widths for point in variant.points}
    if len(shapes) > 1:
        first, second, *_ = shapes.values()
        yield f"network.width={first},{second}: a fit in 1/n needs widths in the same ratios at all points"
    widths, fewest = sorted({point.n for point in variant.points}), MODELS[measure.model].fewest_widths
    if len(widths) < fewest:
        yield f"network.width={','.join(map(str, widths))}: a fit in 1/n needs at least {fewest} widths"


def check(claim: Mapping[str, Any], points: Sequence[Point]) -> Iterator[str]:
    """Why tests of a claim cannot be judged at these points, one line each, before anything is drawn for them.

    points: those of the claim's sweep, with or without data (`analysis.planned.Planned`).
    """
    sweep = variants(points)
    for name, options in claim["tests"].items():
        reasons = list(unknown(name))
        if not reasons:
            measure = tests()[name]
            reasons = list(of_sweep(measure, options, sweep)) or list(_of_variants(measure, options, sweep))
            if measure.partner and measure.partner not in claim["tests"]:
                reasons.append(
                    f"a fault that its controls hide is seen by {measure.partner}: add this test to the claim"
                )
        for reason in dict.fromkeys(reasons):
            yield f"claim.tests.{name}: {reason}"


def _of_variants(measure: Measure, options: Mapping[str, Any], sweep: Sequence[Variant]) -> Iterator[str]:
    """Why a test cannot be judged at some variant for which theory predicts something, or why it does so at none."""
    reference = reference_of(options, sweep) if measure.paired else None
    others = [variant for variant in sweep if variant is not reference]
    try:
        left_out = [undefined(measure, variant, reference) for variant in others]
    except OUT_OF_RANGE as error:
        yield str(error)
        return
    if all(left_out):
        yield from filter(None, left_out)
    for variant, reason in zip(others, left_out, strict=True):
        if reason is None:
            yield from of_variant(measure, options, variant)
