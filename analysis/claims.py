"""The tests that a claim can name: each turns the points of a sweep into series with a prediction.

A test is a generator of Measured: one component at one layer with, per point, an estimate and what theory
says of it. `series` gathers a component over the widths. To add a test, write such a function and enter it
in TESTS under the name that `claim.tests` will use.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import block_diag

from analysis import estimators, ntk_tensors, theory, training, universality
from analysis.estimators import Estimate
from analysis.fits import JOINT, Series
from analysis.measured import Measured, chosen_layers, label_of
from analysis.points import FOUR_POINT_SAMPLES, Point, Variant
from analysis.preactivations import (
    cumulant,
    kernel_mean,
    metric,
    six_point,
    vertex,
    vertex_of_neurons,
    vertex_over_theory,
)


def ntk_mean(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """E H_ij;ab -> delta_ij Theta_ab as n grows (theory.md 2.3, PDLT ch. 8)."""
    flow, columns = point.flow(), point.columns("H")
    assert flow.Theta is not None
    for layer in chosen_layers(point, "H", layers):
        Theta = flow.Theta[layer - 1]
        size = np.sqrt(Theta.diagonal())
        yield Measured(
            "H",
            layer,
            0,
            [label_of((i, j), (a, b)) for i, j, a, b in columns],
            estimators.mean(point.read("H", layer)),
            np.array([Theta[a, b] if i == j else 0.0 for i, j, a, b in columns]),
            np.array([size[a] * size[b] for i, j, a, b in columns]),
            np.full(len(columns), np.nan),
        )


def ntk_variance(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """log Var H_ii;aa: falls as 1/n, so its exponent is 1 (theory.md 2.5, PDLT ch. 8)."""
    columns = [k for k, (i, j, a, b) in enumerate(point.columns("H")) if i == j and a == b]
    tuples = [point.columns("H")[k] for k in columns]
    for layer in chosen_layers(point, "H", layers):
        H = point.read("H", layer)[:, columns]
        yield Measured(
            "log Var H",
            layer,
            0,
            [label_of((i, j), (a, b)) for i, j, a, b in tuples],
            estimators.covariance(H, [(k, k) for k in range(len(columns))]).log(),
            np.ones(len(columns)),
            np.ones(len(columns)),
            np.full(len(columns), np.nan),
        )


Measure = universality.Measure
PairedMeasure = Callable[[Point, Point, Sequence[int] | None], Iterator[Measured]]


@dataclass(frozen=True)
class Test:
    measure: Measure
    model: str


TESTS: dict[str, Test] = {
    "V": Test(vertex, "powers"),
    "V_of_neurons": Test(vertex_of_neurons, "powers"),
    "cumulant": Test(cumulant, "powers"),
    "G1": Test(metric, "powers"),
    "six_point": Test(six_point, "powers"),
    "Theta1": Test(ntk_tensors.Theta1, "powers"),
    "A": Test(ntk_tensors.A, "powers"),
    "B": Test(ntk_tensors.B, "powers"),
    "D": Test(ntk_tensors.D, "powers"),
    "F": Test(ntk_tensors.F, "powers"),
    "P": Test(ntk_tensors.P, "powers"),
    "Q": Test(ntk_tensors.Q, "powers"),
    "R": Test(ntk_tensors.R, "powers"),
    "S": Test(ntk_tensors.S, "powers"),
    "T": Test(ntk_tensors.T, "powers"),
    "U": Test(ntk_tensors.U, "powers"),
    "dntk_size": Test(ntk_tensors.dntk_size, "exponent"),
    "ddntk_size": Test(ntk_tensors.ddntk_size, "exponent"),
    "fourth_size": Test(ntk_tensors.fourth_size, "exponent"),
    "V_collapse": Test(vertex_over_theory, "collapse"),
    "K": Test(kernel_mean, "powers"),
    "K_power_law": Test(universality.flow_on_criticality, "power_law"),
    "K_exponential": Test(universality.flow_off_criticality, "exponential"),
    "ntk_mean": Test(ntk_mean, "powers"),
    "ntk_variance": Test(ntk_variance, "exponent"),
    "trained_mean": Test(training.trained_mean, "powers"),
    "trained_covariance": Test(training.trained_covariance, "powers"),
    "trained_skewness": Test(training.trained_skewness, "powers"),
    "trained_kurtosis": Test(training.trained_kurtosis, "powers"),
    "trained_mean_coefficient": Test(training.trained_mean_coefficient, "powers"),
    "ntk_change": Test(training.ntk_change, "powers"),
    "ntk_change_of_step": Test(training.ntk_change_of_step, "powers"),
    "ntk_change_size": Test(training.ntk_change_size, "exponent"),
    "kernel_change_size": Test(training.kernel_change_size, "exponent"),
    "taylor_error": Test(training.taylor_error, "network_exponent"),
    "one_layer": Test(training.one_layer, "tolerance"),
}
# Tests between two variants of a sweep, of which `reference` names one by its dynamics.
PAIRED: dict[str, tuple[PairedMeasure, str]] = {
    "algorithm_difference": (training.algorithm_difference, "powers"),
    "algorithm_coefficient": (training.algorithm_coefficient, "powers"),
}

GROWING = {"V": vertex, **{name: getattr(ntk_tensors, name) for name in "ABDFPQRSTU"}}
TESTS |= {f"{name}_slope": Test(universality.slope_of(measure), "asymptote") for name, measure in GROWING.items()}
TESTS |= {f"{name}_exponent": Test(universality.exponent_of(measure), "power_law") for name, measure in GROWING.items()}

NTK = (ntk_tensors.Theta1, ntk_tensors.A, ntk_tensors.B, ntk_tensors.D, ntk_tensors.F)
FIRST = (ntk_tensors.P, ntk_tensors.Q)
SECOND = (ntk_tensors.R, ntk_tensors.S, ntk_tensors.T, ntk_tensors.U)
FURTHER = (*FIRST, *SECOND)

# What the table of estimates holds: measures, by the families of columns that they read.
TABLES: tuple[tuple[tuple[str, ...], tuple[Measure, ...]], ...] = (
    (("g",), (kernel_mean, metric, vertex)),
    (("m4",), (vertex_of_neurons,)),
    (("H",), (ntk_mean,)),
    (("H", "g", "z"), NTK),
    (("dH", "z"), FIRST),
    (("ddI", "ddII"), SECOND),
    (("z",), (cumulant, training.trained_mean, training.trained_covariance)),
)
ORDER_N = (metric, vertex, vertex_of_neurons, cumulant, *NTK, *FURTHER)  # predicted for few samples only
AT_START, TRAINED = (cumulant, *NTK, *FURTHER), (training.trained_mean, training.trained_covariance)
TWO_OUTPUTS = (*NTK, *FURTHER)


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


def table(point: Point) -> list[dict[str, Any]]:
    """The estimates of one point as rows: tensor, layer, step, width, samples, estimate, error, theory, theory_next."""
    out = []
    for families, measures in TABLES:
        if not chosen_layers(point, families, None):
            continue
        for measure in measures:
            if measure in ORDER_N and point.D > FOUR_POINT_SAMPLES:
                continue
            if measure in (AT_START if point.trained else TRAINED):
                continue
            if measure not in TRAINED and 0 not in point.data.layout.steps:
                continue
            if measure in TWO_OUTPUTS and point.settings["network"]["outputs"] < 2:
                continue
            if measure in FURTHER and theory.activation(point.activation).kinked:
                continue
            for m in measure(point, None):
                for k, label in enumerate(m.samples):
                    row = {
                        "tensor": m.tensor,
                        "layer": m.layer,
                        "step": m.step,
                        "width": point.n if len(set(point.widths)) == 1 else -1,
                        "samples": label,
                        "estimate": m.estimate.value[k],
                        "error": m.estimate.error[k],
                        "theory": m.theory[k],
                        "theory_next": m.theory_next[k],
                    }
                    out.append(row)
    return out
