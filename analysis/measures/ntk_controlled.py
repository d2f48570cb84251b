"""The NTK's tensors of order 1/n at single samples with exact controls, and the test that the controls are right.

docs/theory.md (17.9) gives the last layer's weights integrated out, docs/theory.md (17.16) the controls. In layer 2 the
controls are all there is, so that these measures begin with layer 3.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from analysis import estimators, theory
from analysis.estimators import Array, Estimate
from analysis.measures.following import with_next_order
from analysis.measures.measured import Layers, Measured, chosen_layers, label_of, measure
from analysis.measures.ntk import TENSORS
from analysis.measures.ntk_controls import FAMILIES, B, Chain, G, H, Y, all_layers_below, chains
from analysis.points import Point

LOWEST = 3  # the first layer at which a controlled tensor is more than its control


def _tensor(point: Point, name: str, sample: int, layer: int) -> float:
    """A tensor of one sample alone at one layer."""
    return float(point.flow(TENSORS, sample)[name][layer - 1].item())


@dataclass(frozen=True)
class Estimates:
    """What the chains of a point give. tensors: by name and layer, of the components of all samples, not yet multiplied
    by n. one_step: by layer, names and natural sizes of what `ntk_one_step` tests, with the estimates."""

    tensors: dict[tuple[str, int], Estimate]
    one_step: dict[int, tuple[list[str], list[float], Estimate]]


def _estimates(point: Point) -> Estimates:
    """The estimates of all tests and layers. They are made together because the chains, which are larger than the rows,
    are not kept."""
    controlled, found = chains(point), Estimates({}, {})
    for layer in chosen_layers(point, FAMILIES, None):
        entries = [entry for chain in controlled for entry in _one_step(chain, layer)]
        names = [f"{name} {label_of((sample,))}" for name, sample, _, _ in entries]
        estimate = estimators.mean(np.stack([values for _, _, values, _ in entries], axis=1))
        found.one_step[layer] = names, [scale for *_, scale in entries], estimate
        del entries
        if layer >= LOWEST:
            found.tensors.update(((name, layer), estimate) for name, estimate in _tensors(controlled, layer))
    return found


def of_chains(point: Point) -> Estimates:
    """The estimates of a point, which are made once: docs/theory.md (17.16)."""
    return point.once("ntk controlled", _estimates)


def _tensors(controlled: list[Chain], layer: int) -> Iterator[tuple[str, Estimate]]:
    for name, place in (("Theta1", H), ("F", Y), ("B", B)):
        yield name, _controlled_mean(controlled, layer, place)
    linear = [chain.linear(layer) for chain in controlled]
    for name, first, second in (("A", H, H), ("D", G, H)):
        yield name, _controlled_covariance(controlled, linear, layer, first, second)


def _measured(point: Point, name: str, layers: Layers, groups: int) -> Iterator[Measured]:
    """A tensor at each layer, in the natural size of its largest component. groups: pairs of samples in its label."""
    for layer in (layer for layer in chosen_layers(point, FAMILIES, layers) if layer >= LOWEST):
        predicted = np.array([_tensor(point, name, a, layer) for a in range(point.D)])
        size = np.abs(predicted).max()
        if size < 1e-9:  # where all are predicted to vanish, the natural size is that of the mean
            size = layer * max(_tensor(point, "Theta", a, layer) for a in range(point.D))
        yield Measured(
            tensor=name,
            layer=layer,
            step=0,
            samples=[label_of(*[(a, a)] * groups) for a in range(point.D)],
            estimate=of_chains(point).tensors[name, layer].scaled(float(point.widths[layer - 2])),
            theory=predicted,
            scale=np.full(point.D, size),
            theory_next=with_next_order(point, name, layer, predicted, [(a,) for a in range(point.D)]),
        )


def no_scale(point: Point) -> Iterator[str]:
    """The NTK's mean has a correction only where the activation has a scale: else the control is all there is."""
    if theory.activation(point.activation).slopes is not None:
        yield f"activation={point.activation}: E H_ii is Theta at every width, and its control leaves nothing"


chained = partial(
    measure, families=FAMILIES, lowest=LOWEST, partner="ntk_one_step", needs=all_layers_below, any_widths=True
)  # a measure with the controls of docs/theory.md (17.16)


@chained("Theta1_controlled", tensor="Theta1", symbol=r"$\Theta^{\{1\}}$", undefined=no_scale)
def Theta1_controlled(point: Point, layers: Layers) -> Iterator[Measured]:
    """n (E H_ii;aa - Theta_aa) is Theta1 of docs/theory.md (2.16), with the controls of docs/theory.md (17.16)."""
    return _measured(point, "Theta1", layers, 1)


@chained("ntk_mean_controlled", tensor="H", symbol=r"$\mathrm{E}\,H$", undefined=no_scale)
def ntk_mean_controlled(point: Point, layers: Layers) -> Iterator[Measured]:
    """E H_ii;aa -> Theta_aa as n grows (docs/theory.md (2.3)), with the controls of docs/theory.md (17.16)."""
    for layer in (layer for layer in chosen_layers(point, FAMILIES, layers) if layer >= LOWEST):
        Theta = np.array([_tensor(point, "Theta", a, layer) for a in range(point.D)])
        less = of_chains(point).tensors["Theta1", layer]
        mean = replace(less, value=Theta + less.value, replicates=Theta + less.replicates)
        labels = [label_of((a, a)) for a in range(point.D)]
        yield Measured("H", layer, 0, labels, mean, theory=Theta, scale=Theta)


def _controlled_mean(controlled: list[Chain], layer: int, place: int) -> Estimate:
    """The mean of h less Theta, y or b, less its control."""
    rest = []
    for chain in controlled:
        value = chain.states[layer - 1][place]
        if place == H:
            value = value - _tensor(chain.point, "Theta", chain.sample, layer)
        rest.append(value - chain.control(layer, place))
    return estimators.mean(np.stack(rest, axis=1))


@chained("F_controlled", tensor="F", symbol="$F$")
def F_controlled(point: Point, layers: Layers) -> Iterator[Measured]:
    """n E y is F of docs/theory.md (2.13), where y is the mean of z_i z_j H_ij over the last layer's weights,
    docs/theory.md (17.9), with the controls of docs/theory.md (17.16)."""
    return _measured(point, "F", layers, 2)


@chained("B_controlled", tensor="B", symbol="$B$")
def B_controlled(point: Point, layers: Layers) -> Iterator[Measured]:
    """n E b is B of docs/theory.md (2.12), where b is the mean of H_ij^2 over the last layer's weights, docs/theory.md
    (17.9), with the controls of docs/theory.md (17.16)."""
    return _measured(point, "B", layers, 2)


def _controlled_covariance(
    controlled: list[Chain], linear: list[tuple[Array, Array]], layer: int, first: int, second: int
) -> Estimate:
    """The covariance of two of g and h of each sample: what is known of that of their controls, and what is measured of
    the rest. linear: `Chain.linear` of each chain at this layer."""
    known, columns = [], []
    for chain, (controls, product) in zip(controlled, linear, strict=True):
        rest = chain.states[layer - 1][:2] - controls
        known.append(product[first, second])
        columns += [controls[first], controls[second], rest[first], rest[second]]
    x, samples = np.stack(columns, axis=1), range(0, len(columns), 4)
    parts = [
        estimators.covariance(x, [(k + i, k + j) for k in samples])
        for i, j in ((0, 3), (2, 1), (2, 3))  # control with rest, rest with control, rest with rest
    ]
    return sum(parts, estimators.mean(np.stack(known, axis=1)))


@chained("A_controlled", tensor="A", symbol="$A$")
def A_controlled(point: Point, layers: Layers) -> Iterator[Measured]:
    """n Var h is A of docs/theory.md (2.15), where h is the mean of H_ii over the last layer's weights, docs/theory.md
    (17.9); the controls of docs/theory.md (17.16) have a variance whose conditional mean is known."""
    return _measured(point, "A", layers, 2)


@chained("D_controlled", tensor="D", symbol="$D$")
def D_controlled(point: Point, layers: Layers) -> Iterator[Measured]:
    """n Cov(g, h) is D of docs/theory.md (2.14), estimated as `A_controlled` is: docs/theory.md (17.9) and (17.16)."""
    return _measured(point, "D", layers, 2)


@measure(
    "ntk_one_step", symbol="one step", model="constant", families=FAMILIES, needs=all_layers_below, any_widths=True
)
def ntk_one_step(point: Point, layers: Layers) -> Iterator[Measured]:
    """What the controls of docs/theory.md (17.16) take for granted has the mean zero at every width: g, h, y and b less
    their means given the layer below, the products of g and h less theirs, and all of these times g of the layer below,
    docs/theory.md (17.11).

    A sampler with a fault that the controls hide fails here.
    """
    for layer in chosen_layers(point, FAMILIES, layers):
        names, scales, estimate = of_chains(point).one_step[layer]
        zero = np.zeros(len(names))
        yield Measured("ntk_one_step", layer, 0, names, estimate, theory=zero, scale=np.array(scales))


def _one_step(chain: Chain, layer: int) -> Iterator[tuple[str, int, Array, float]]:
    """Each number of mean zero with its name, sample and natural size. Powers of n make both of order one."""
    point, a, n = chain.point, chain.sample, float(chain.point.widths[layer - 2])
    K, Theta, F, B_ = (_tensor(point, name, chain.sample, layer) for name in ("K", "Theta", "F", "B"))
    m, covariance = chain.increment(layer), chain.covariance(layer)
    step, center = chain.steps[layer - 2], np.append(chain.orbit[layer - 2], 0.0)
    spread = np.sqrt(step.covariance(chain.table.neuron(center[0]), center).diagonal())
    yield "g", a, n * m[G], layer * K
    yield "h", a, n * m[H], layer * Theta
    yield "y", a, n * m[Y], abs(F)
    yield "b", a, n * m[B], B_
    pairs: Sequence[tuple[str, int, int]] = (("g g", G, G), ("g h", G, H), ("h h", H, H))
    for name, i, j in pairs:
        yield name, a, n * (m[i] * m[j] - covariance[i, j]), float(spread[i] * spread[j])
    if layer == 2:
        return  # the layer below is the same in every network
    below = chain.states[layer - 2][G] - _tensor(point, "K", chain.sample, layer - 1)
    root = float(np.sqrt(_tensor(point, "V", chain.sample, layer - 1)))
    yield "g times g below", a, n * m[G] * below, root * float(spread[G])
    yield "h times g below", a, n * m[H] * below, root * float(spread[H])
    yield "y times g below", a, n**2 * m[Y] * below, root * abs(F)
    yield "b times g below", a, n**2 * m[B] * below, root * B_
