"""Bayesian inference with networks of finite width, measured against theory at order 1/n: docs/theory.md section 16.

Networks are weighted by their evidence, with controls (`analysis.measures.bayesian_controlled`), and
`posterior_controls` tests the means of the controls, which would hide a wrong sampler. An output whose targets are all
zero has mean zero in every network, and is left out where nothing else fluctuates.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from analysis import estimators, theory
from analysis.estimators import Array, Estimate
from analysis.measures.bayesian_controlled import (
    Controlled,
    Controls,
    controlled,
    inferable,
    noise_of,
    one_output,
    predicted,
    rows_of,
    sharpened,
    targets_of,
    with_targets,
)
from analysis.measures.measured import Layers, Measured, chosen_layers, label_of, measure
from analysis.points import Point

MEANS = {"m": r"$\mathrm{E}\,m$", "Y": r"$\mathrm{E}\,Y$", "Y Y - C/n": r"$\mathrm{E}(YY-C/n)$"}


def _measured(point: Point, tensor: str, layer: int, samples: list[str], estimate: Estimate, want: Array) -> Measured:
    """Coefficients of 1/n, relative to the largest of those of one layer."""
    scale = np.full(len(samples), np.abs(want).max())
    return Measured(tensor, layer, 0, samples, estimate.scaled(point.widths[layer - 2]), theory=want, scale=scale)


@measure(
    "posterior_evidence",
    tensor="log evidence",
    symbol=r"$n\,(\log p(y)-\psi)$",
    families=("g", "c"),
    partner="posterior_controls",
    needs=inferable,
    any_widths=True,
)
def evidence(point: Point, layers: Layers) -> Iterator[Measured]:
    """n times log p(y) less that of infinite width, docs/theory.md (16.7), relative to the sum of the sizes of its four
    terms, which may cancel."""
    want = predicted(point)
    estimate = controlled(point).evidence.scaled(point.widths[-1])
    scale = np.array([np.abs(want.evidence_terms1).sum()])
    yield Measured("log evidence", point.depth, 0, ["y"], estimate, theory=np.array([want.log_evidence1]), scale=scale)


def not_deep_linear(point: Point) -> Iterator[str]:
    """Where the evidence has no exact law."""
    C_b, outputs = point.settings["initialization"]["C_b"], targets_of(point).shape[1]
    if theory.activation(point.activation).name != "linear" or C_b or outputs != 1:
        given = f"activation={point.activation}, initialization.C_b={C_b}, {outputs} components of targets"
        yield f"{given}: a law in closed form is that of linear networks without biases and with one output"


@measure(
    "posterior_evidence_exact",
    tensor="log evidence, exact",
    symbol=r"$n\,(\log p(y)-\mathrm{exact})$",
    model="constant",
    families=("g", "c"),
    partner="posterior_controls",
    needs=inferable,
    undefined=not_deep_linear,
    any_widths=True,
)
def evidence_exact(point: Point, layers: Layers) -> Iterator[Measured]:
    """n times log p(y) of deep linear networks less that of their exact law, docs/theory.md (16.18), which is zero at
    every width, relative to the sum of the sizes of the terms of order 1/n."""
    K, want, y = point.flow(False).K[-1], predicted(point), targets_of(point)
    exact = theory.deep_linear(K, y, noise_of(point), point.widths).log_evidence - want.log_evidence
    found = controlled(point).evidence
    apart = replace(found, value=found.value - exact, replicates=found.replicates - exact).scaled(point.widths[-1])
    scale = np.array([np.abs(want.evidence_terms1).sum()])
    yield Measured("log evidence, exact", point.depth, 0, ["y"], apart, theory=np.zeros(1), scale=scale)


@measure(
    "posterior_mean",
    tensor="posterior mean",
    symbol=r"$n\,(\mathrm{E}[z|y]-k y)$",
    families=("g", "c"),
    partner="posterior_controls",
    needs=inferable,
    any_widths=True,
)
def mean(point: Point, layers: Layers) -> Iterator[Measured]:
    """n times the mean of each output at each sample less that of infinite width, docs/theory.md (16.10)."""
    want = predicted(point).mean1.T
    told = with_targets(point)
    places = [(k, place) for k, place in enumerate(np.ndindex(want.shape)) if told[place[0]]]
    estimate = controlled(point).mean.chosen([k for k, _ in places])
    values = np.array([want[place] for _, place in places])
    yield _measured(point, "posterior mean", point.depth, [label_of(place) for _, place in places], estimate, values)


@measure(
    "posterior_covariance",
    tensor="posterior covariance",
    symbol=r"$n\,(\mathrm{Cov}(z,z|y)-S)$",
    families=("g", "c"),
    partner="posterior_controls",
    needs=inferable,
    any_widths=True,
)
def covariance(point: Point, layers: Layers) -> Iterator[Measured]:
    """n times the covariance of each output with itself less that of infinite width, docs/theory.md (16.11)."""
    yield _covariances(point, "posterior covariance", lambda i, b, j, c: i == j and b <= c)


@measure(
    "posterior_correlation",
    tensor="between outputs",
    symbol=r"$n\,\mathrm{Cov}(z_i,z_j|y)$",
    families=("g", "c"),
    partner="posterior_controls",
    needs=inferable,
    undefined=one_output,
    any_widths=True,
)
def correlation(point: Point, layers: Layers) -> Iterator[Measured]:
    """n times the covariance of two outputs, which infinite width does not have, docs/theory.md (16.11)."""
    told = with_targets(point)
    yield _covariances(point, "between outputs", lambda i, b, j, c: i < j and told[i] and told[j])


def _covariances(point: Point, tensor: str, chosen: Callable[[int, int, int, int], bool]) -> Measured:
    want = predicted(point).covariance1
    places = [(k, place) for k, place in enumerate(np.ndindex(want.shape)) if chosen(*place)]
    labels = [label_of((i, b), (j, c)) for _, (i, b, j, c) in places]
    estimate = controlled(point).covariance.chosen([k for k, _ in places])
    return _measured(point, tensor, point.depth, labels, estimate, np.array([want[place] for _, place in places]))


@measure(
    "posterior_kernel",
    tensor="posterior kernel",
    symbol=r"$n\,(\mathrm{E}[g|y]-K)$",
    families=("g", "c"),
    partner="posterior_controls",
    needs=inferable,
    any_widths=True,
)
def kernel(point: Point, layers: Layers) -> Iterator[Measured]:
    """n times the mean of each hidden kernel under the posterior less K, docs/theory.md (16.8)."""
    return _kernels(point, "posterior kernel", layers, controlled(point))


def _kernels(point: Point, tensor: str, layers: Layers, found: Controlled) -> Iterator[Measured]:
    pairs, want = point.columns("g"), predicted(point).kernels1
    for layer in chosen_layers(point, ("g", "c"), layers):
        labels, values = [label_of(pair) for pair in pairs], np.array([want[(layer - 2, *pair)] for pair in pairs])
        yield _measured(point, tensor, layer, labels, found.kernels[layer], values)


@measure(
    "posterior_kernel_sharpened",
    tensor="posterior kernel, sharpened",
    symbol=r"$n\,(\mathrm{E}[g|y]-K)$",
    families=("g", "c"),
    partner="posterior_controls_third",
    needs=inferable,
    any_widths=True,
)
def kernel_sharpened(point: Point, layers: Layers) -> Iterator[Measured]:
    """The same with controls of third order. Next orders have the size of the largest sum of the terms of
    docs/theory.md (16.8) at a layer, which nearly cancel where targets are of the outputs' size."""
    sizes = np.abs(predicted(point).kernel_terms1).sum(axis=0)
    for found in _kernels(point, "posterior kernel, sharpened", layers, sharpened(point)):
        yield replace(found, size=np.full(len(found.samples), sizes[found.layer - 2].max()))


@measure(
    "posterior_controls",
    symbol=MEANS,
    model="constant",
    families=("g", "c"),
    needs=inferable,
    any_widths=True,
)
def means_of_controls(point: Point, layers: Layers) -> Iterator[Measured]:
    """The means of Y(l), of Y(l)Y(L) - C(l,L)/n and of m(l), docs/theory.md (16.6), which are zero at every width, in
    standard deviations of Y of one network."""
    return _means(point, layers, Controls.of(point))


@measure(
    "posterior_controls_third",
    symbol=MEANS | {"m Y": r"$\mathrm{E}\,mY$", "Y Y Y": r"$\mathrm{E}(YYY-\ldots)$"},
    model="constant",
    families=("g", "c"),
    needs=inferable,
    any_widths=True,
)
def means_of_third(point: Point, layers: Layers) -> Iterator[Measured]:
    """The same and those of third order, docs/theory.md (16.6): the means of m(l)Y(l'), l' < l, and of Y(l)Y(L)Y(L)
    less its theory, in standard deviations of Y and of a cube of normal numbers."""
    return _means(point, layers, Controls.of(point, third=True))


def _means(point: Point, layers: Layers, controls: Controls) -> Iterator[Measured]:
    for tensor, layer, labels, values in controls.parts(*rows_of(point)):
        if layers is None or layer in layers:
            zero = np.zeros(len(labels))
            yield Measured(tensor, layer, 0, labels, estimators.mean(values), theory=zero, scale=zero + 1)
