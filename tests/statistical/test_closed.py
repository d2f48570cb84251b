"""The closed sampler: quantiles, the same law as neuron by neuron, and networks that depend on their address alone.

Seeds are fixed, false-alarm rates are stated, and comparisons have negative controls.
"""

import math
from collections.abc import Callable

import mpmath as mp
import numpy as np
import pytest
from scipy import special, stats
from scipy.special import polygamma, psi

from simulate.api import read_one
from simulate.networks import closed
from simulate.running.prepare import prepare
from simulate.settings import SettingsError
from simulate.store.sets import DataSet

FALSE_ALARM = 1e-4  # of each test in this file; its statistics share it (Bonferroni)


@pytest.mark.parametrize("n", [1, 8, 1000, 10**6])
def test_quantiles(n: int) -> None:
    """Sums of squares and fair coins have the ranks of their normals: of chi-squared to 1e-12 of both tails, and the
    smallest number of coins whose probability is large enough."""
    normal = np.linspace(-7, 7, 141)
    x, tail = closed.chi_squared(normal, n), stats.norm.cdf(-np.abs(normal))
    rank = np.where(normal < 0, stats.chi2.cdf(x, n), stats.chi2.sf(x, n))
    np.testing.assert_allclose(rank, tail, rtol=1e-12)
    low = normal < 0
    k = closed.binomial(normal, n)
    np.testing.assert_array_equal(k[low], stats.binom.ppf(tail[low], n, 0.5))
    np.testing.assert_array_equal(k[~low], n - stats.binom.ppf(tail[~low], n, 0.5))
    np.testing.assert_array_equal(closed.chi_squared(normal, np.zeros(141)), 0.0)


def test_many_coins() -> None:
    """Of ten million coins the quantile changes at the exact probability to 1e-9, which scipy's bdtr misses by 1e-7."""
    n, k = 10**7, 4_999_525
    neighbours = np.cumprod([j / (n - j + 1) for j in range(k, k - 40_000, -1)])  # over the probability of k
    exact = float(mp.binomial(n, k) / mp.mpf(2) ** n) * (1 + math.fsum(neighbours))
    rank = stats.norm.ppf(exact * np.array([1 - 1e-9, 1 + 1e-9]))
    np.testing.assert_array_equal(closed.binomial(rank, n), [k, k + 1])
    assert abs(special.bdtr(k, n, 0.5) / exact - 1) > 1e-8


CASE = ("network.depth=4", "network.outputs=2", "network.width=8", "inputs=sphere", "inputs.dimension=3",
        "observables.record=[kernel,outputs]", "observables.layers=[2,3,4]", "observables.output_layers=[3,4]",
        "initialization=gaussian", "initialization.C_b=0.1", "initialization.C_W=1.5")  # fmt: skip
ACTIVATIONS = {
    "linear": ["activation=linear", "inputs.count=2", "ensemble.networks=15000"],
    "relu": ["activation=relu", "inputs.count=1", "ensemble.networks=30000"],
    "leaky_relu": ["activation=leaky_relu", "activation.slope=-0.2", "inputs.count=1", "ensemble.networks=40000"],
}


def statistics(data: DataSet) -> np.ndarray:
    """(M, k): moments of g and z to fourth order, also of a hidden layer's z with g of the layer above it."""
    g, z = data.read("g")[:, 0].astype(float), data.read("z")[:, 0].astype(float)
    hidden, last = z[:, -2], z[:, -1]
    D = last.shape[1] // 2
    pairs = np.stack([hidden[:, 0] ** 2, hidden[:, 0] ** 2 * hidden[:, D] ** 2, last[:, 0] ** 2, last[:, 0] ** 4,
                      last[:, 0] ** 2 * last[:, D] ** 2, last[:, 0] * last[:, D - 1]], axis=1)  # fmt: skip
    flat = g.reshape(len(g), -1)
    above, top = hidden[:, :1] ** 2 * g[:, 2], last[:, :1] ** 2 * g[:, 1]
    return np.concatenate([flat, flat**2, flat[:, :1] * flat, pairs, above, top], axis=1)


def apart(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """The largest two-sample |z| and the value it must stay below."""
    error = np.sqrt(a.var(axis=0) / len(a) + b.var(axis=0) / len(b))
    z = np.abs(a.mean(axis=0) - b.mean(axis=0)) / error
    return float(z.max()), float(stats.norm.isf(FALSE_ALARM / (2 * len(z))))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_closed_and_law_are_one_law(name: str, run: Callable[..., DataSet], monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/theory.md (10.5) agrees with neurons one by one at n = 8, where corrections in 1/n are large, with biases
    and recorded neurons of a hidden layer. Negative controls: as many neurons above zero as below, and as many degrees
    of freedom for all samples."""
    case = [*CASE, *ACTIVATIONS[name]]
    law = statistics(run(*case, "ensemble.sampler=law"))
    z, limit = apart(law, statistics(run(*case, "ensemble.sampler=closed")))
    assert z < limit
    chi_squared = closed.chi_squared
    monkeypatch.setattr(closed, "binomial", lambda normal, n: np.full(len(normal), n // 2))
    monkeypatch.setattr(closed, "chi_squared", lambda normal, n: chi_squared(normal, n if name != "linear" else 6))
    z, limit = apart(law, statistics(run(*case, "ensemble.sampler=closed")))
    assert z > limit


def test_a_million_neurons(run: Callable[..., DataSet]) -> None:
    """log g of linear networks has the mean and the variance of docs/theory.md (12.1) at n = 10^6, with false-alarm
    rate 1e-4. Negative control: those of half as many neurons."""
    n, depth = 10**6, 5
    data = run("activation=linear", f"network.width={n}", f"network.depth={depth}", "inputs=sphere", "inputs.count=1",
               "observables=kernel", "observables.layers=[5]", "ensemble.networks=4000", "ensemble.dtype=float64",
               "ensemble.sampler=closed")  # fmt: skip
    log = np.log(data.read("g")[:, 0, 0, 0])
    limit = stats.norm.isf(FALSE_ALARM / 4)

    def pulls(n: int) -> list[float]:
        mean, variance = (depth - 1) * (psi(n / 2) - np.log(n / 2)), (depth - 1) * polygamma(1, n / 2)
        return [(log.mean() - mean) / (variance / len(log)) ** 0.5, (log.var() / variance - 1) / (2 / len(log)) ** 0.5]

    assert np.abs(pulls(n)).max() < limit
    assert np.abs(pulls(n // 2)).max() > limit


def test_networks_are_those_of_their_address(run: Callable[..., DataSet]) -> None:
    """Networks do not depend on the size of a block, nor on where a range of them begins."""
    case = [*CASE, *ACTIVATIONS["relu"], "ensemble.sampler=closed"]
    whole = run(*case, "ensemble.networks=48", "ensemble.block=16")
    other = run(*case, "ensemble.networks=20", "ensemble.first=28", "ensemble.block=5")
    for prefix in ("g", "z"):
        np.testing.assert_array_equal(whole.read(prefix)[28:], other.read(prefix))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["activation=tanh"], "tanh has no law in closed form: linear, relu and leaky_relu"),
        (["activation=relu", "inputs.count=2"], "relu has a law in closed form for one input, not for 2"),
        (["activation=linear", "network=residual"], "where no skip leads to them"),
        (["activation=linear", "initialization=orthogonal"], "independent neurons: Gaussian weights"),
        (["activation=linear", "observables=ntk"], "kernel and outputs alone"),
        (["activation=linear", "dynamics=gradient_descent", "dynamics.eta=0.1"], "networks are not trained"),
        (["activation=linear", "ensemble.device=cuda"], "ensemble.device='cuda': cpu or auto"),
    ],
)
def test_refusals(overrides: list[str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        prepare(read_one(["observables=kernel", "ensemble.sampler=closed", "inputs.count=1", *overrides]))
