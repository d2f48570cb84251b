"""Ridge regression on the last hidden layer of networks of the prior, measured at order 1/n: docs/theory.md (16.15) and
(16.16).

`claim.noise` is the ridge. The predictor f is the posterior mean given the network's last kernel, and each network
counts the same. Controls take noise out as for `analysis.measures.bayesian`.
"""

from collections.abc import Callable, Iterator

import numpy as np

from analysis import theory
from analysis.estimators import Array, Estimate, jackknife
from analysis.measures.bayesian_controlled import (
    inferable,
    noise_of,
    predicted,
    second_less_first,
    targets_of,
    with_targets,
    without_noise,
)
from analysis.measures.measured import Layers, Measured, label_of, measure, test_targets_known
from analysis.points import Point
from analysis.theory.bayes import Given
from analysis.weights import Kernels, processes


def errors_inferable(point: Point) -> Iterator[str]:
    """Needs of errors on test samples."""
    yield from test_targets_known(point)
    yield from inferable(point)


def _wide(point: Point) -> Array:
    """f at infinite width, k_b y_i, (n_L, D)."""
    K = point.flow(False).K[-1]
    return np.asarray(Given.of(K, targets_of(point), noise_of(point)).a @ K)


def _sums(point: Point) -> Array:
    """Sums by block, with controls, of 1, d = f - k y (n_L D,), and d d^T ((n_L D)^2,)."""

    def compute(point: Point) -> Array:
        y, noise, wide = targets_of(point), noise_of(point), _wide(point)
        kernels = Kernels(point.read("g", point.depth), point.columns("g"))

        def give(first: int, last: int) -> Array:
            d = (processes(kernels.between(first, last), y, noise).means - wide).reshape(-1, wide.size)
            products = (d[:, :, None] * d[:, None, :]).reshape(len(d), -1)
            return np.concatenate([np.ones((len(d), 1)), d, products], axis=1)

        return without_noise(point, give)

    return point.once("random features", compute)


def _estimate(point: Point, of: Callable[[Array, Array], Array]) -> Estimate:
    """n times a function of the means of d (rows, P) and of d d^T (rows, P^2)."""
    P, M = _wide(point).size, len(point.read("g", point.depth))
    found = jackknife(_sums(point), lambda s: of(s[:, 1 : P + 1] / s[:, :1], s[:, P + 1 :] / s[:, :1]), M)
    return found.scaled(point.widths[-1])


def _measured(point: Point, tensor: str, labels: list[str], estimate: Estimate, want: Array) -> Measured:
    scale = np.full(len(labels), np.abs(want).max())
    return Measured(tensor, point.depth, 0, labels, estimate, theory=want, scale=scale)


@measure(
    "features_mean",
    tensor="mean of f",
    symbol=r"$n\,(\mathrm{E}f-k y)$",
    families=("g", "c"),
    partner="posterior_controls",
    needs=inferable,
    any_widths=True,
)
def mean(point: Point, layers: Layers) -> Iterator[Measured]:
    """n times the mean of the predictor less that of infinite width, docs/theory.md (16.15): its bias."""
    want, told = predicted(point).features_mean1.T, with_targets(point)
    places = [(k, place) for k, place in enumerate(np.ndindex(want.shape)) if told[place[0]]]
    chosen = _estimate(point, lambda d, _: d).chosen([k for k, _ in places])
    values = np.array([want[place] for _, place in places])
    yield _measured(point, "mean of f", [label_of(place) for _, place in places], chosen, values)


@measure(
    "features_covariance",
    tensor="covariance of f",
    symbol=r"$n\,\mathrm{Cov}(f,f)$",
    families=("g", "c"),
    partner="posterior_controls",
    needs=inferable,
    any_widths=True,
)
def covariance(point: Point, layers: Layers) -> Iterator[Measured]:
    """n times the covariance of the predictor over networks, docs/theory.md (16.15): its variance, and that of pairs of
    samples and outputs."""
    want, told, D = predicted(point).features_covariance1, with_targets(point), point.D
    places = [
        (k, (i, b, j, c))
        for k, (i, b, j, c) in enumerate(np.ndindex(want.shape))
        if i * D + b <= j * D + c and told[i] and told[j]
    ]
    chosen = _estimate(point, lambda d, dd: second_less_first(dd, d)).chosen([k for k, _ in places])
    labels = [label_of((i, b), (j, c)) for _, (i, b, j, c) in places]
    yield _measured(point, "covariance of f", labels, chosen, np.array([want[place] for _, place in places]))


def _errors(point: Point, y: Array, samples: slice) -> Estimate:
    """n times the squared error of each output at these samples, less that at infinite width, (n_L times samples,)."""
    wide = _wide(point)
    apart, (outputs, D) = (wide - y.T)[:, samples], wide.shape

    def of(d: Array, dd: Array) -> Array:
        first = d.reshape(-1, outputs, D)[:, :, samples]
        second = np.einsum("mpp->mp", dd.reshape(-1, outputs * D, outputs * D)).reshape(-1, outputs, D)[:, :, samples]
        return np.asarray((2 * apart * first + second).reshape(len(d), -1))

    return _estimate(point, of)


@measure(
    "features_train_error",
    tensor="train error",
    symbol=r"$n\,\Delta\sum(f-y)^2$",
    families=("g", "c"),
    partner="posterior_controls",
    needs=inferable,
    any_widths=True,
)
def train_error(point: Point, layers: Layers) -> Iterator[Measured]:
    """n times the squared error summed over train samples, less that at infinite width, docs/theory.md (16.16)."""
    y, want, told = targets_of(point), predicted(point).train_error1, with_targets(point)
    N, outputs = y.shape
    all_targets = np.concatenate([y, np.zeros((point.D - N, outputs))])
    summed = [list(range(i * N, (i + 1) * N)) for i in range(outputs) if told[i]]
    estimate = _errors(point, all_targets, slice(0, N)).averaged(summed).scaled(float(N))
    chosen = np.flatnonzero(told)
    yield _measured(point, "train error", [label_of((int(i),)) for i in chosen], estimate, want[chosen])


@measure(
    "features_test_error",
    tensor="test error",
    symbol=r"$n\,\Delta\mathrm{E}(f-y)^2$",
    families=("g", "c"),
    partner="posterior_controls",
    needs=errors_inferable,
    any_widths=True,
)
def test_error(point: Point, layers: Layers) -> Iterator[Measured]:
    """n times the squared error at each test sample less that at infinite width, bias and variance together,
    docs/theory.md (16.15), relative to the sum of their sizes, which may cancel."""
    _, y, N = point.samples
    assert y is not None
    bias, variance = _test_error1(predicted(point), y, N)
    outputs, tests = bias.shape
    labels = [label_of((i, N + b)) for i in range(outputs) for b in range(tests)]
    estimate = _errors(point, y, slice(N, None))
    scale = (np.abs(bias) + np.abs(variance)).ravel()
    want = (bias + variance).ravel()
    yield Measured("test error", point.depth, 0, labels, estimate, theory=want, scale=scale)


def _test_error1(want: theory.Posterior, y: Array, N: int) -> tuple[Array, Array]:
    """The parts of bias and variance of the coefficient at test samples, (n_L, D - N) each, docs/theory.md (16.15)."""
    bias = 2 * ((want.mean - y) * want.features_mean1)[N:].T
    return bias, np.einsum("ibib->ib", want.features_covariance1)[:, N:]
