"""Particle filters, docs/theory.md (16.20), against the exact law of deep linear networks and weights of the prior.

Where they resample, weights start anew. False alarms are stated, and filters without that correction must fail.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import analysis
import simulate
from analysis import theory
from analysis.theory.conditional import next_mean
from simulate.networks import particles
from simulate.networks.particles import Particles, systematic
from simulate.networks.wide import Wide
from simulate.settings import SettingsError
from simulate.store.sets import DataSet

Run = Callable[..., DataSet]
DIGITS = ["inputs=digits", "inputs.count=3", "inputs.test=1", "network.depth=3"]
LINEAR = [*DIGITS, "activation=linear", "network.width=[6,9]", "ensemble.networks=6000"]
TANH = [*DIGITS, "activation=tanh", "network.width=8", "initialization=gaussian", "initialization.C_b=0.1",
        "initialization.C_W=1.2"]  # fmt: skip


def pull_of_linear() -> float:
    """Of log p(y), means and variances of outputs from their exact law, docs/theory.md (16.18), the largest."""
    found = simulate.particle_filter(*LINEAR, noise=0.03, particles=100)
    x, y, N = digits()
    want = theory.deep_linear(theory.flow("linear", 3, 0.0, 1.0, x, tensors=("K",)).K[-1], y[:N], 0.03, [6, 9])
    pulls = [(found.log_evidence - want.log_evidence) / found.log_evidence_error]
    pulls += list((found.mean[:, 0] - want.mean) / found.mean_error[:, 0])
    pulls += list((found.variance[:, 0] - np.diag(want.covariance)) / found.variance_error[:, 0])
    return float(np.abs(pulls).max())


def digits() -> tuple[np.ndarray, np.ndarray, int]:
    from simulate.api import read_one
    from simulate.inputs import load

    samples = load(read_one(DIGITS).inputs)
    assert samples.y is not None
    return np.asarray(samples.x), np.asarray(samples.y), samples.train


def test_the_exact_law(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine numbers within four standard errors of 60 filters: a false alarm in 800. Negative control: particles that
    keep their weights when they are resampled."""
    monkeypatch.setattr(particles, "RESAMPLED", 0.8)
    assert pull_of_linear() < 4

    def uncorrected(self: Particles, kept: torch.Tensor) -> None:
        self.log_w, self.psi, self.ancestors = self.log_w[kept], self.psi[kept], self.ancestors[kept]

    monkeypatch.setattr(Particles, "resample", uncorrected)
    assert pull_of_linear() > 8


def test_weights_of_the_prior(run: Run) -> None:
    """log p(y), means and variances of outputs agree with those of other networks that are weighted, docs/theory.md
    (16.5), in nine pulls below four: a false alarm in 1800. Negative control: another noise."""
    weighted = run(*TANH, "observables=kernel", "ensemble.networks=20000", "ensemble.seed=3")

    def pull(noise: float) -> float:
        found = simulate.particle_filter(*TANH, "ensemble.networks=4000", noise=noise, particles=100)
        want = analysis.posterior(weighted, noise=0.05)
        places = np.arange(4)
        error = want.covariance_error[0, places, 0, places]
        pulls = [(found.log_evidence - want.log_evidence) / np.hypot(found.log_evidence_error, want.log_evidence_error)]
        pulls += list(((found.mean - want.mean) / np.hypot(found.mean_error, want.mean_error))[:, 0])
        apart = found.variance[:, 0] - want.covariance[0, places, 0, places]
        return float(np.abs([*pulls, *apart / np.hypot(found.variance_error[:, 0], error)]).max())

    assert pull(0.05) < 4
    assert pull(0.06) > 8


def test_systematic_resampling() -> None:
    """Over u each particle is kept M w/sum w times on average, and each time by less than one off."""
    log_w = torch.tensor([0.3, -2.0, 1.7, -900.0, 0.0], dtype=torch.float64)
    want = 5 * torch.softmax(log_w, 0)
    counts = torch.stack([systematic(log_w, (k + 0.5) / 4000).bincount(minlength=5) for k in range(4000)]).double()
    assert (counts - want).abs().max() < 1
    np.testing.assert_allclose(counts.mean(dim=0), want, atol=2e-3)


@pytest.mark.parametrize(("name", "s", "apart"), [("tanh", torch.tanh, 1e-5), ("relu", torch.relu, 0.01)])
def test_the_look_ahead(name: str, s: Callable[[torch.Tensor], torch.Tensor], apart: float) -> None:
    """F of docs/theory.md (16.19) is near that of the theory, and positive definite for equal inputs, too. Negative
    control: another C_W."""
    z = torch.tensor(np.random.default_rng(0).standard_normal((50, 4, 30)))
    g, (i, j) = z @ z.mT / 30, np.triu_indices(4)
    found = Wide(s, 0.2, 1.5)(g)
    want = next_mean(name, 0.2, 1.5, list(zip(i.tolist(), j.tolist(), strict=True)), g[:, i, j].numpy())
    np.testing.assert_allclose(found[:, i, j], want, atol=apart)
    twice = g[:, [0, 1, 2, 2]][:, :, [0, 1, 2, 2]]
    assert torch.linalg.eigvalsh(Wide(s, 0.2, 1.5)(twice)).min() > -1e-12
    assert not np.allclose(Wide(s, 0.2, 1.6)(g)[:, i, j], want, atol=apart)


def test_filters_have_addresses() -> None:
    """A filter is a function of seed and address, whatever other filters there are. Negative control: another seed."""
    common = {"noise": 0.1, "particles": 20}
    found = simulate.particle_filter(*TANH, "ensemble.networks=400", **common)
    later = simulate.particle_filter(*TANH, "ensemble.networks=320", "ensemble.first=80", **common)
    np.testing.assert_array_equal(found.log_Z[4:], later.log_Z)
    _, y, N = digits()
    again = simulate.particle_filter(*TANH, "ensemble.networks=400", targets=y[:N, 0], **common)
    np.testing.assert_array_equal(found.log_Z, again.log_Z)
    other = simulate.particle_filter(*TANH, "ensemble.networks=400", "ensemble.seed=1", **common)
    assert not np.isclose(found.log_Z, other.log_Z).any()


def test_rows_of_a_data_set(run: Run) -> None:
    """Rows 1, 5, .. of a data set that begins at address 3 are the filters with these numbers, and the others the
    networks that they are without filters. Negative control: the next filter."""
    few = [*TANH, "observables=posterior", "ensemble.dtype=float64", "ensemble.seed=4"]
    found = simulate.particle_filter(*few, "ensemble.networks=400", noise=0.1, particles=20)
    few += ["ensemble.networks=76", "ensemble.first=3", "ensemble.block=4"]
    data, plain = (run(*few, *more) for more in (["ensemble.filter={particles: 20, every: 4}"], []))
    filters, log_w = np.arange(3, 79) % 4 == 0, data.read("lw")[:, 0, -1, 0]
    np.testing.assert_allclose(log_w[filters], found.log_Z[1:20], rtol=2e-7)  # in float32
    assert not np.isclose(log_w[filters][:-1], found.log_Z[2:20]).any()
    for prefix in ("lw", "mu", "var"):
        np.testing.assert_array_equal(data.read(prefix)[~filters], plain.read(prefix)[~filters])
    w = np.exp(log_w[filters])
    mean, variance = (data.read(prefix)[filters, 0, -1] for prefix in ("mu", "var"))
    of_all = w @ mean / w.sum()
    assert (np.abs(of_all - found.mean[:, 0]) < 0.5 * found.mean_error[:, 0]).all()
    spread = w @ (variance + mean**2) / w.sum() - of_all**2
    assert (np.abs(spread - found.variance[:, 0]) < 0.5 * found.variance_error[:, 0]).all()
    for override, words in (
        ("network.outputs=2", "variances of their own"),
        ("ensemble.sampler=dense", "drawn without weights"),
        ("observables.record=[kernel]", "count by weights|none where posterior"),
        ("ensemble.condition.noise=0.1", "log_w|conditioned"),
    ):
        with pytest.raises(SettingsError, match=words):
            run(*few, "ensemble.filter.particles=20", override)


def test_refusals(tmp_path: Path) -> None:
    """What filters cannot do is refused with what would be right."""
    for more, given, words in (
        (["ensemble.networks=100"], {}, "16 filters or more of 50"),
        (["ensemble.networks=1010"], {}, "all whole"),
        (["ensemble.first=20"], {}, "a multiple of the 50"),
        (["network=residual", "network.width=8"], {}, "no chain with skips"),
        (["initialization=orthogonal"], {}, "='orthogonal': filters draw neurons of Gaussian weights"),
        (["ensemble.sampler=dense"], {}, "law"),
        ([], {"noise": 0.0}, "above zero"),
        ([], {"groups": 0}, "groups=0"),
        ([], {"targets": np.ones((5, 1))}, "first N of 4 samples"),
        ([], {"particles": 1}, "particles=1"),
        (["network.width=8,16"], {}, "sweep of 2"),
    ):
        with pytest.raises(SettingsError, match=words):
            simulate.particle_filter(
                *TANH, "ensemble.networks=1000", *more, **({"noise": 0.1, "particles": 50} | given)
            )
    with pytest.raises(ValueError, match="underpowered"):
        simulate.particle_filter(*TANH, "ensemble.networks=80", noise=1e-3, particles=5)
