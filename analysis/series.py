"""From measures to series: one component over the widths of a sweep, or over widths and layers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.linalg import block_diag

from analysis import estimators
from analysis.claims import PAIRED, TESTS
from analysis.estimators import Estimate
from analysis.fits import JOINT, Series
from analysis.measures.measured import Measured
from analysis.points import Variant


def series(name: str, options: Mapping[str, Any], variants: Sequence[Variant]) -> list[Series]:
    """All series of one test of a claim over the points of its sweep, variant by variant."""
    if name in PAIRED:
        return _paired(name, options, variants)
    if name not in TESTS:
        raise ValueError(f"claim.tests.{name}: no such test; known are {', '.join((*TESTS, *PAIRED))}")
    test, layers, precision = TESTS[name], options.get("layers"), float(options["precision"])
    out: list[Series] = []
    for variant in variants:
        measured = [list(test.measure(point, layers)) for point in variant.points]
        if test.model in JOINT:
            out += _over_layers(name, test.model, precision, variant, measured)
        else:
            for same in zip(*measured, strict=True):
                out += _at_one_layer(name, test.model, precision, variant, same)
    return out


def _paired(name: str, options: Mapping[str, Any], variants: Sequence[Variant]) -> list[Series]:
    """Each variant against the reference, width by width."""
    measure, model = PAIRED[name]
    wanted = options.get("reference")
    named = [v for v in variants if v.points[0].settings["dynamics"]["name"] == wanted]
    if not named:
        there = sorted({v.points[0].settings["dynamics"]["name"] for v in variants})
        raise ValueError(f"claim.tests.{name}.reference={wanted!r}: the sweep has {', '.join(there)}")
    reference = named[0]
    if any([p.n for p in v.points] != [p.n for p in reference.points] for v in variants):
        raise ValueError(f"claim.tests.{name}: its variants need the same widths")
    out: list[Series] = []
    for variant in variants:
        if variant is reference:
            continue
        pairs = zip(variant.points, reference.points, strict=True)
        measured = [list(measure(point, other, options.get("layers"))) for point, other in pairs]
        for same in zip(*measured, strict=True):
            out += _at_one_layer(name, model, float(options["precision"]), variant, same)
    return out


def _at_one_layer(
    name: str, model: str, precision: float, variant: Variant, same: Sequence[Measured]
) -> Iterator[Series]:
    """A series of each component at one layer and step, over the widths."""
    first = same[0]
    for k, label in enumerate(first.samples):
        yield Series(
            name,
            first.tensor,
            first.layer,
            first.step,
            label,
            model,
            np.array([float(p.n) for p in variant.points]),
            np.full(len(same), float(first.layer)),
            np.array([m.estimate.value[k] for m in same]),
            np.diag([m.estimate.error[k] ** 2 for m in same]),
            float(first.theory[k]),
            float(first.scale[k]),
            precision,
            min(len(m.estimate.replicates) for m in same) - 1,
            variant.label,
        )


def _over_layers(
    name: str, model: str, precision: float, variant: Variant, measured: Sequence[Sequence[Measured]]
) -> Iterator[Series]:
    """A series of each component over all layers and widths; layers of one width are correlated."""
    if not any(measured):
        return
    first = measured[0][0]
    for k, label in enumerate(first.samples):
        joint = [
            estimators.join([Estimate(m.estimate.value[k : k + 1], m.estimate.replicates[:, k : k + 1]) for m in at])
            for at in measured
        ]
        layers = [[float(m.layer) for m in at] for at in measured]
        yield Series(
            name,
            first.tensor,
            None,
            None,
            label,
            model,
            np.concatenate([np.full(len(at), float(p.n)) for p, at in zip(variant.points, layers, strict=True)]),
            np.concatenate(layers),
            np.concatenate([e.value for e in joint]),
            block_diag(*(e.covariance for e in joint)),
            float(first.theory[k]),
            float(first.scale[k]),
            precision,
            min(len(e.replicates) for e in joint) - 1,
            variant.label,
        )
