"""What Bayesian inference learns beyond the training of the readout: docs/theory.md (16.4) and (16.14).

Both have the same networks, each with a last layer that is drawn given the targets. Inference weights the networks by
their evidence and training counts each the same, so that all of the difference is the learning of hidden layers.
Training of all layers learns in another way; it is compared with that of the readout network by network.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from analysis import estimators, theory
from analysis.estimators import Array, jackknife, less_controls, mean
from analysis.measures.bayesian_controlled import (
    Controls,
    controlled,
    inferable,
    means_given_below,
    noise_of,
    targets_of,
    unlearned,
    vertex_of,
)
from analysis.measures.measured import Layers, Measured, has_test_samples, label_of, measure
from analysis.measures.solved import last_step, order_n
from analysis.measures.trained import outputs
from analysis.measures.trained_cumulants import at_test_samples, beyond_own_kernel, composite, every_step_known
from analysis.points import FOUR_POINT_SAMPLES, Point
from analysis.theory.bayes import Given
from analysis.weights import Kernels, block_edges, processes


def tests_inferable(point: Point) -> Iterator[str]:
    """Needs of what is inferred at test samples."""
    yield from has_test_samples(point)
    yield from inferable(point)


@dataclass(frozen=True)
class Learned:
    """A coefficient of docs/theory.md (16.14), and its size: the sum of those of the two parts of Phi, the one that
    targets make and that of M^-1, which nearly cancel where targets are of the outputs' size."""

    value: Array
    size: Array


def _predicted(point: Point) -> tuple[Learned, Learned]:
    """(1/2) r_b^T (V Phi) a_i (n_L, D) and (1/2) r_b^T (V Phi) r_c (D, D) of docs/theory.md (16.14)."""

    def compute(point: Point) -> tuple[Learned, Learned]:
        y, vertex = targets_of(point), vertex_of(point)
        given = Given.of(vertex.K[-1], y, noise_of(point))
        of_targets = vertex.learned(given.a.T @ given.a)[-1]
        of_inverse = vertex.learned(y.shape[1] * given.roots.T @ given.roots)[-1]

        def learned(side: Array) -> Learned:
            one, other = (side @ X @ given.r.T / 2 for X in (of_targets, of_inverse))
            return Learned(one - other, np.abs(one) + np.abs(other))

        return learned(given.a), learned(given.r)

    return point.once("learning", compute)


@measure(
    "learning_mean",
    tensor="mean by learning",
    symbol=r"$n\,(\mathrm{E}_w-\mathrm{E})\,m$",
    families=("g", "c"),
    partner="posterior_controls",
    needs=tests_inferable,
    any_widths=True,
)
def learning_mean(point: Point, layers: Layers) -> Iterator[Measured]:
    """n times the posterior mean at test samples less that of networks with a trained readout, relative to its
    `Learned.size`: docs/theory.md (16.14)."""
    want, N = _predicted(point)[0], point.samples[2]
    places = [(k, place) for k, place in enumerate(np.ndindex(want.value.shape)) if place[1] >= N]
    apart = (controlled(point).mean - unlearned(point).mean).chosen([k for k, _ in places])
    values, sizes = (np.array([of[place] for _, place in places]) for of in (want.value, want.size))
    labels, estimate = [label_of(place) for _, place in places], apart.scaled(point.widths[-1])
    yield Measured("mean by learning", point.depth, 0, labels, estimate, theory=values, scale=sizes)


@measure(
    "learning_covariance",
    tensor="covariance by learning",
    symbol=r"$n\,(\mathrm{Cov}_w-\mathrm{Cov})(z,z)$",
    families=("g", "c"),
    partner="posterior_controls",
    needs=tests_inferable,
    any_widths=True,
)
def covariance(point: Point, layers: Layers) -> Iterator[Measured]:
    """n times the posterior covariance of outputs at test samples less that of networks with a trained readout,
    docs/theory.md (16.14), relative to its `Learned.size`."""
    (of_mean, want), N = _predicted(point), point.samples[2]
    shape = of_mean.value.shape
    places = [(k, (i, b, j, c)) for k, (i, b, j, c) in enumerate(np.ndindex(*shape, *shape)) if i == j and N <= b <= c]
    apart = (controlled(point).covariance - unlearned(point).covariance).chosen([k for k, _ in places])
    values, sizes = (np.array([of[b, c] for _, (_, b, _, c) in places]) for of in (want.value, want.size))
    labels = [label_of((i, b), (j, c)) for _, (i, b, j, c) in places]
    estimate = apart.scaled(point.widths[-1])
    yield Measured("covariance by learning", point.depth, 0, labels, estimate, theory=values, scale=sizes)


def kernels_of_all_layers(point: Point) -> Iterator[str]:
    """Needs of the controls."""
    if point.D > FOUR_POINT_SAMPLES:
        yield f"inputs: {point.D} samples; controls are known for up to {FOUR_POINT_SAMPLES}"
    if not all(point.records("g", layer) for layer in range(1, point.depth + 1)):
        yield f"observables.layers={list(point.data.layout.layers)}: all layers from 1 on are needed"


def trained_with_kernels(point: Point) -> Iterator[str]:
    """Needs of what compares trained networks with their own readouts."""
    yield from has_test_samples(point)
    yield from kernels_of_all_layers(point)
    yield from every_step_known(point)


def trained_with_normals(point: Point) -> Iterator[str]:
    """Needs of what takes the normals of outputs, which kernels of rank D have."""
    if min(point.widths, default=0) < point.D:
        yield f"network.width={point.widths}: at least {point.D} neurons, one for each sample, in hidden layers"
    yield from trained_with_kernels(point)


@measure(
    "training_mean",
    tensor="all layers less readout",
    symbol=r"$n\,\mathrm{E}(z-m)$",
    families=("z", "H", "g"),
    partner="readout_controls",
    steps="both",
    smooth=True,
    any_widths=True,
    needs=trained_with_kernels,
)
def training(point: Point, layers: Layers) -> Iterator[Measured]:
    """n E(z - z^(1) - m + k y) at test samples at the last step: training of all layers, docs/theory.md (5.29) without
    the term with Theta1, which is exact, less that of the readout to the end, docs/theory.md (16.4) and (16.15). It is
    relative to the whole difference.

    Outputs m after training of the readout are known for each network, in the mean over its last layer.
    """
    left, beyond = beyond_own_kernel(point)
    y, (K, D) = targets_of(point), (point.flow(False).K[-1], point.D)
    g = Kernels(point.read("g", point.depth), point.columns("g")).between(0, None)
    apart = processes(g, y, 0.0).means - (K @ Given.of(K, y, 0.0).a.T).T
    test = at_test_samples(point)
    d = (left(len(beyond) - 1, last_step(point)) - apart.reshape(len(g), -1))[:, test]
    sums = np.add.reduceat(_without_noise(d, means_given_below(point)), block_edges(len(d))[:-1], axis=0)
    activation, depth, C_b, C_W, inputs, _, _, ratios = point.network(point.samples[0])
    readout = theory.posterior(activation, depth, C_b, C_W, np.array(inputs), y, 0.0, width_ratios=ratios)
    of_readout = readout.features_mean1.T.ravel()[test]
    size = np.abs(order_n(point).mean1[-1][test] - of_readout).max()
    yield Measured(
        "all layers less readout",
        point.depth,
        last_step(point),
        [label_of((p // D,), (p % D,)) for p in test],
        jackknife(sums, lambda s: s[:, 1:] / s[:, :1], len(d)).scaled(point.last_width),
        theory=beyond[-1][test] - of_readout,
        scale=np.full(len(test), size),
    )


@measure(
    "training_covariance",
    tensor="all layers less readout, covariance",
    symbol=r"$n\,(\mathrm{Cov}-\mathrm{Cov}_{\mathrm{readout}})(z,z)$",
    families=("z", "g"),
    partner="readout_controls",
    steps="both",
    smooth=True,
    any_widths=True,
    needs=trained_with_normals,
)
def training_covariance(point: Point, layers: Layers) -> Iterator[Measured]:
    """n times the covariance of outputs at test samples at the last step less that of the same networks with a readout
    that is trained to the end, less the difference at infinite width, relative to the largest coefficient:
    docs/theory.md (5.30) less docs/theory.md (16.14).

    Training of the readout takes each network to where its kernel says, docs/theory.md (16.4). What is of first order
    in kernels is taken off: m(l) of docs/theory.md (16.6) times up to two of the normals C^-1 z of the outputs at the
    start, C C^T = g, which do not know g, has mean zero at every width.
    """
    y, D, test = targets_of(point), point.D, at_test_samples(point)
    N, (wide, coefficient) = len(y), _of_covariances(point)
    g = Kernels(point.read("g", point.depth), point.columns("g")).between(0, None)
    start, m = outputs(point, 0).swapaxes(1, 2), np.concatenate(means_given_below(point), axis=1)
    readout = start + g[:, :, :N] @ np.linalg.solve(g[:, :N, :N], y - start[:, :N])
    ends = [composite(point, z) for z in (outputs(point, last_step(point)), readout.swapaxes(1, 2))]
    trained, of_same = (z - z.mean(axis=0) for z in ends)
    xi, places = np.linalg.solve(np.linalg.cholesky(g), start), np.triu_indices(D)
    chosen, columns = [(p, q) for p in test for q in test if p <= q and p // D == q // D], []
    for p, q in chosen:
        normals = xi[:, :, p // D]
        factors = [np.ones((len(m), 1)), normals, normals[:, places[0]] * normals[:, places[1]]]
        controls = _products(m, np.concatenate(factors, axis=1))
        products = trained[:, p] * trained[:, q] - of_same[:, p] * of_same[:, q]
        columns.append(less_controls(products[:, None], controls))
    apart = estimators.mean(np.concatenate(columns, axis=1) - [wide[place] for place in chosen])
    predicted = np.array([coefficient[place] for place in chosen])
    yield Measured(
        "all layers less readout, covariance",
        point.depth,
        last_step(point),
        [label_of((p // D, q // D), (p % D, q % D)) for p, q in chosen],
        apart.scaled(point.last_width * len(m) / (len(m) - 1)),  # covariances about the means of the sample
        theory=predicted,
        scale=np.full(len(chosen), np.abs(predicted).max()),
    )


def _of_covariances(point: Point) -> tuple[Array, Array]:
    """The covariance of outputs (P, P) after training of all layers less that after training of the readout, at
    infinite width and at order 1/n: docs/theory.md (5.2) and (5.30) less docs/theory.md (16.14)."""
    y = targets_of(point)
    activation, depth, C_b, C_W, inputs, _, _, ratios = point.network(point.samples[0])
    inferred = theory.posterior(activation, depth, C_b, C_W, np.array(inputs), y, 0.0, width_ratios=ratios)
    given, same, whole = Given.of(point.flow(False).K[-1], y, 0.0), np.eye(y.shape[1]), order_n(point)
    learned = given.r @ vertex_of(point).learned(given.Phi)[-1] @ given.r.T / 2
    P = y.shape[1] * point.D
    of_readout = inferred.covariance1.reshape(P, P) - np.kron(same, learned)
    return whole.covariance[-1] - np.kron(same, given.S), whole.covariance1[-1] - of_readout


@measure(
    "readout_controls",
    symbol={"m": r"$\mathrm{E}\,m$", "m m": r"$\mathrm{E}\,mm$"},
    model="constant",
    families=("g",),
    smooth=True,
    any_widths=True,
    needs=kernels_of_all_layers,
)
def means_of_controls(point: Point, layers: Layers) -> Iterator[Measured]:
    """The means of m(l), docs/theory.md (16.6), and of its products with those of lower layers, which are zero at every
    width, in standard deviations of Y(l) of one network."""
    known = Controls.of(point)
    m = [values / unit for values, unit in zip(means_given_below(point), known.units, strict=True)]
    pairs = [f"{under},{name}" for under, name in itertools.product(known.names, repeat=2)]
    for above, values in enumerate(m):
        of_layer = [("m", known.names, values)]
        of_layer += [
            ("m m", [f"{label} of {under + 2}" for label in pairs], _products(m[under], values))
            for under in range(above)
        ]
        for tensor, names, control in of_layer:
            if layers is None or above + 2 in layers:
                zero = np.zeros(len(names))
                yield Measured(tensor, above + 2, 0, names, mean(control), theory=zero, scale=zero + 1)


def _products(first: Array, second: Array) -> Array:
    return (first[:, :, None] * second[:, None, :]).reshape(len(first), -1)


def _without_noise(d: Array, m: list[Array]) -> Array:
    """1 and d (M, k) less its regression on m(l) and products of two layers of them, whose means are zero."""
    products = [_products(m[i], m[j]) for j in range(len(m)) for i in range(j)]
    return np.concatenate([np.ones((len(d), 1)), less_controls(d, np.concatenate([*m, *products], axis=1))], axis=1)
