"""Averages over the posterior with controls of exactly known mean: docs/theory.md (16.1), (16.2) and (16.6).

`claim.noise` is the variance of targets about outputs, and targets are those of the train samples. Averages of
w f over the prior are taken less their regression on the controls of docs/theory.md (16.6), so that their noise is that
of the third order of a Taylor series in g - K. Controls hide a wrong sampler, and `posterior_controls` tests their
means.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis import theory
from analysis.estimators import RANK, Array, Estimate, jackknife
from analysis.measures.measured import label_of
from analysis.points import FOUR_POINT_SAMPLES, Point
from analysis.theory.bayes import Given
from analysis.theory.conditional import next_mean
from analysis.theory.kernel_derivatives import third_at_points
from analysis.theory.vertex import ExactVertex, exact_vertex
from analysis.weights import Kernels, Weights, block_edges, mixture, processes

AT_A_TIME = 2**14  # networks whose controls and products are held together
CUBE = math.sqrt(15)  # the standard deviation of the cube of a standard normal number
THIRD_POINTS = 2**17  # at which third cumulants of ReLU have errors of a few tenths of a per cent


@dataclass(frozen=True)
class Controlled:
    """Deviations from infinite width, with controls: of log p(y) (1,), of the mean of outputs (n_L D,), of their
    covariance ((n_L D)^2,), and of the hidden kernels by layer (pairs,)."""

    evidence: Estimate
    mean: Estimate
    covariance: Estimate
    kernels: dict[int, Estimate]


def noise_of(point: Point) -> float:
    return float(point.settings["claim"]["noise"])


def targets_of(point: Point) -> Array:
    """(N, n_L) of the train samples."""
    _, y, train = point.samples
    assert y is not None
    return np.asarray(y[:train])


def with_targets(point: Point) -> list[bool]:
    """Of each output, whether some target is not zero."""
    return [bool(column.any()) for column in targets_of(point).T]


def inferable(point: Point) -> Iterator[str]:
    """Needs of all measures here."""
    claim, layers = point.settings["claim"] or {}, list(range(1, point.depth + 1))
    if claim.get("noise") is None:
        yield "claim.noise=null: the variance of targets about outputs, as claim.noise=0.1"
    if point.samples[1] is None:
        yield f"inputs={point.settings['inputs']['source']}: targets of the train samples are needed"
    if point.D > FOUR_POINT_SAMPLES:
        yield f"inputs: {point.D} samples; coefficients are known for up to {FOUR_POINT_SAMPLES}"
    if not all(point.records(family, layer) for family in ("g", "c") for layer in layers):
        yield f"observables.layers={list(point.data.layout.layers)}: all layers from 1 on are needed"


def one_output(point: Point) -> Iterator[str]:
    """Where outputs have no correlation to predict."""
    if point.samples[1] is not None and sum(with_targets(point)) < 2:
        yield "inputs: fewer than two outputs have targets other than zero, and no other ones are correlated"


def predicted(point: Point) -> theory.Posterior:
    """Theory to order 1/n, docs/theory.md (16.7) to (16.11)."""

    def compute(point: Point) -> theory.Posterior:
        activation, depth, C_b, C_W, inputs, _, _, ratios = point.network(point.samples[0])
        y, noise = targets_of(point), noise_of(point)
        return theory.posterior(activation, depth, C_b, C_W, np.array(inputs), y, noise, width_ratios=ratios)

    return point.once("posterior", compute)


def vertex_of(point: Point) -> ExactVertex:
    activation, depth, C_b, C_W, inputs, _, _, ratios = point.network(point.samples[0])
    return exact_vertex(theory.activation(activation), depth, C_b, C_W, np.array(inputs), ratios)


@dataclass(frozen=True)
class Controls:
    """The controls of docs/theory.md (16.6) of p pairs with these names: maps (p, p) of the steps to layers 2, .., L,
    expected E Y(l) Y(L) (p, p), units (p,) of Y(l), their standard deviations, and third, E Y(l) Y(L) Y(L) (p, p, p),
    empty where there are no controls of third order."""

    names: list[str]
    maps: list[Array]
    expected: list[Array]
    units: list[Array]
    third: list[Array]

    @classmethod
    def of(cls, point: Point, third: bool = False) -> "Controls":
        vertex, pairs = vertex_of(point), point.columns("g")
        crossed = vertex.crossed(pairs)
        V = [[vertex.V[(layer, *pair, *pair)] for pair in pairs] for layer in range(1, point.depth)]
        return cls(
            [label_of(pair) for pair in pairs],
            vertex.maps(pairs),
            [C / n for C, n in zip(crossed, point.widths, strict=True)],
            [np.sqrt(np.array(v) / n) for v, n in zip(V, point.widths, strict=True)],
            _expected_third(point, vertex) if third else [],
        )

    def linear(self, c: list[Array]) -> list[Array]:
        """Y(l) at layers 2..L, (M, p) each, from what single layers add."""
        Y = [c[0]]
        for own, step in zip(c[1:], self.maps[1:], strict=True):
            Y.append(own + Y[-1] @ step.T)
        return Y

    def parts(self, c: list[Array], m: list[Array]) -> Iterator[tuple[str, int, list[str], Array]]:
        """All controls in their units, by layer from 2 on: Y(l), Y(l)Y(L) less its mean, of which each product of L
        once, and from layer 3 on m(l); with third orders m(l)Y(l') of the layers below as well, and Y(l)Y(L)Y(L) less
        its mean. Each comes with its name, its layer, the label of each column, and values (M, columns)."""
        Y, p, top = self.linear(c), len(self.units[0]), len(c) + 1
        each = np.indices((p, p)).reshape(2, -1)
        for layer, (y, unit, mean) in enumerate(zip(Y, self.units, self.expected, strict=True), start=2):
            yield "Y", layer, self.names, y / unit
            i, j = np.triu_indices(p) if layer == top else each
            products = (y[:, i] * Y[-1][:, j] - mean[i, j]) / (unit[i] * self.units[-1][j])
            yield "Y Y - C/n", layer, self._labels(i, j), products
            if layer > 2:
                yield "m", layer, self.names, m[layer - 2] / unit
            if self.third:
                yield from self._third_order(layer, Y, m)

    def _third_order(self, layer: int, Y: list[Array], m: list[Array]) -> Iterator[tuple[str, int, list[str], Array]]:
        p, y, unit, at_top = len(self.units[0]), Y[layer - 2], self.units[layer - 2], layer == len(Y) + 1
        i, j = np.indices((p, p)).reshape(2, -1)
        for under in range(layer - 2):
            products = m[layer - 2][:, i] / unit[i] * Y[under][:, j] / self.units[under][j]
            yield "m Y", layer, [f"{label} of {under + 2}" for label in self._labels(i, j)], products
        for first in range(p):  # one after the other, which takes less memory
            start = first if at_top else 0
            j, k = (start + at for at in np.triu_indices(p - start))
            sizes = unit[first] * self.units[-1][j] * self.units[-1][k] * CUBE
            products = y[:, first, None] * Y[-1][:, j] * Y[-1][:, k] - self.third[layer - 2][first, j, k]
            yield "Y Y Y", layer, self._labels(np.full_like(j, first), j, k), products / sizes

    def _labels(self, *places: NDArray[np.intp]) -> list[str]:
        return [",".join(self.names[k] for k in place) for place in zip(*places, strict=True)]

    def all(self, c: list[Array], m: list[Array]) -> Array:
        """All controls (M, k) in their units."""
        return np.concatenate([values for *_, values in self.parts(c, m)], axis=1)


def _expected_third(point: Point, vertex: ExactVertex) -> list[Array]:
    """E Y(l) Y(L) Y(L) at layers l = 2..L, (p, p, p) each: c(m) of one layer has a third cumulant of order 1/n^2, which
    the layers above take on, docs/theory.md (16.6)."""
    s, C_W = theory.activation(point.activation), point.settings["initialization"]["C_W"]
    pairs, found, own = point.columns("g"), [], []
    steps = vertex.maps(pairs)[1:]
    for K, n in zip(vertex.K[:-1], point.widths, strict=True):
        own.append(C_W**3 * third_at_points(s, K, pairs, THIRD_POINTS) / n**2)
    for l in range(len(own)):
        total = np.zeros_like(own[0])
        for m in range(l + 1):
            here, top = (_chained(steps[m:end], len(pairs)) for end in (l, len(own) - 1))
            total += np.einsum("ai,bj,ck,ijk->abc", here, top, top, own[m], optimize=True)
        found.append(total)
    return found


def _chained(steps: Sequence[Array], p: int) -> Array:
    """The product of some steps (p, p), the last one to the left."""
    return functools.reduce(lambda below, step: step @ below, steps, np.eye(p))


def rows_of(point: Point) -> tuple[list[Array], list[Array]]:
    """By layer from 2 on, (M, pairs) each: c(l), and m(l) = g(l) - F(g(l-1)), whose mean is zero, too."""
    return [point.read("c", layer) for layer in range(2, point.depth + 1)], means_given_below(point)


def means_given_below(point: Point) -> list[Array]:
    """m(l) of docs/theory.md (16.6) at layers 2, .., L, (M, pairs) each."""
    start, pairs = point.settings["initialization"], point.columns("g")
    g = [point.read("g", layer) for layer in range(1, point.depth + 1)]
    of = point.activation, start["C_b"], start["C_W"], pairs
    return [here - next_mean(*of, below) for below, here in itertools.pairwise(g)]


def _of_networks(point: Point, learning: bool) -> Callable[[int, int], Array]:
    """A function of a range of networks that gives, for each, 1 and w times: 1, the deviation d of means (n_L D,),
    covariances of one output less those of infinite width and d d^T ((n_L D)^2,), and g(l) - K(l) at layers 2..L. The
    weight w is one at infinite width, and everywhere without learning."""
    y, noise, D = targets_of(point), noise_of(point), point.D
    K, pairs, outputs = point.flow(False).K, point.columns("g"), y.shape[1]
    wide = Given.of(K[-1], y, noise)
    rows = [point.read("g", layer) for layer in range(2, point.depth + 1)]
    kernels, mean = Kernels(rows[-1], pairs), K[-1] @ wide.a.T
    less = [np.array([K[layer][pair] for pair in pairs]) for layer in range(1, point.depth)]
    same = np.eye(outputs)

    def give(first: int, last: int) -> Array:
        each = processes(kernels.between(first, last), y, noise)
        w = np.exp(learning * (each.log_w - wide.log_evidence))[:, None]
        d = (each.means - mean.T).reshape(-1, outputs * D)
        second = d[:, :, None] * d[:, None, :]
        apart = each.covariances - wide.S
        second += np.einsum("ij,mbc->mibjc", same, apart).reshape(second.shape)
        g = [g[first:last] - k for g, k in zip(rows, less, strict=True)]
        return np.concatenate([np.ones_like(w), w, w * d, w * second.reshape(len(w), -1), *(w * x for x in g)], axis=1)

    return give


def without_noise(point: Point, give: Callable[[int, int], Array], third: bool = False) -> Array:
    """Sums (B, k) over the networks of each jackknife block of what `give` returns for a range of networks, (M, k),
    less its regression on the controls, docs/theory.md (16.6). third: with those of third order."""
    M = len(point.read("g", point.depth))
    controls, (c, m) = Controls.of(point, third), rows_of(point)
    sums_x, sums_f = [], []
    squares: Array | float = 0.0
    products: Array | float = 0.0
    for low, high in itertools.pairwise(block_edges(M).tolist()):
        x_of_block: Array | float = 0.0
        f_of_block: Array | float = 0.0
        for first in range(low, high, AT_A_TIME):
            last = min(first + AT_A_TIME, high)
            x, f = controls.all(*([rows[first:last] for rows in kind] for kind in (c, m))), give(first, last)
            x_of_block, f_of_block = x_of_block + x.sum(axis=0), f_of_block + f.sum(axis=0)
            squares, products = squares + x.T @ x, products + x.T @ f
        sums_x.append(x_of_block)
        sums_f.append(f_of_block)
    of_x, of_f = np.array(sums_x), np.array(sums_f)
    # With an intercept: about the means of the sample, although those of x are known, or beta would fall short by k/M.
    mean_x = of_x.sum(axis=0)
    centred = products - np.multiply.outer(mean_x, of_f.sum(axis=0) / M)
    beta = np.linalg.lstsq(squares - np.multiply.outer(mean_x, mean_x / M), centred, rcond=RANK)[0]
    return np.asarray(of_f - of_x @ beta)  # the means of the controls are zero, and those of f stay what they are


def controlled(point: Point) -> Controlled:
    """The controlled estimates of a point, computed once. ValueError where too few networks carry the weight."""
    return point.once("posterior controlled", lambda point: _controlled(point, learning=True))


def unlearned(point: Point) -> Controlled:
    """The same of networks of the prior, whose last layer alone knows the targets, docs/theory.md (16.4)."""
    return point.once("readout controlled", lambda point: _controlled(point, learning=False))


def sharpened(point: Point) -> Controlled:
    """`controlled` with controls of third order, which leave the noise of the fourth order in g - K."""
    return point.once("posterior sharpened", lambda point: _controlled(point, learning=True, third=True))


def _controlled(point: Point, learning: bool, third: bool = False) -> Controlled:
    y, noise = targets_of(point), noise_of(point)
    g = point.read("g", point.depth)
    if learning:
        Weights.of(mixture(Kernels(g, point.columns("g")), y, noise).log_w).check()
    M, layers = len(g), range(2, point.depth + 1)
    sums = without_noise(point, _of_networks(point, learning), third)
    P, p = y.shape[1] * point.D, g.shape[1]
    parts = np.cumsum([1, 1, P, P**2, *(p for _ in layers)])[:-1]

    def of(place: int) -> Callable[[Array], Array]:
        return lambda s: np.split(s, parts, axis=1)[place] / s[:, 1:2]

    return Controlled(
        evidence=jackknife(sums, lambda s: np.log(s[:, 1:2] / s[:, :1]), M),
        mean=jackknife(sums, of(2), M),
        covariance=jackknife(sums, lambda s: second_less_first(of(3)(s), of(2)(s)), M),
        kernels={layer: jackknife(sums, of(4 + k), M) for k, layer in enumerate(layers)},
    )


def second_less_first(second: Array, d: Array) -> Array:
    """Covariances (rows, P^2) from means of products (rows, P^2) and means (rows, P), docs/theory.md (16.2)."""
    return second - (d[:, :, None] * d[:, None, :]).reshape(len(d), -1)
