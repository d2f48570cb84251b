"""Linear parts of log w and of means of outputs as controls, docs/theory.md (16.6): their law, and the noise that they
take."""

from collections.abc import Callable

import numpy as np
import pytest

from analysis import recorded, theory
from analysis.points import Point
from analysis.theory.bayes import Given
from analysis.theory.vertex import averages
from simulate.settings.reader import SettingsError
from simulate.store.sets import DataSet

Run = Callable[..., DataSet]
DIGITS = ["inputs=digits", "inputs.test=1", "activation=tanh", "network.depth=3", "initialization=gaussian",
          "initialization.C_b=0.1", "observables=posterior"]  # fmt: skip
TEN = [*DIGITS, "inputs.count=10", "network.width=64", "ensemble.networks=4000",
       "observables.record=[posterior,weight_controls]"]  # fmt: skip


def test_they_are_pulled_back(run: Run) -> None:
    """They are those of Y(L), which layers push up, at both noises, at two outputs and unequal widths: to 1e-12 of the
    prior, and bit by bit what the same networks have before a tilt. Negative control: the other noise."""
    few = [*DIGITS, "inputs.count=2", "inputs.classes=[0,1,2]", "network.outputs=3", "network.width=[8,12]",
           "ensemble.networks=20", "observables.noises=[0.1,0.5]", "ensemble.dtype=float64"]  # fmt: skip
    data = run(*few, "observables.record=[posterior,kernel,kernel_controls,weight_controls]")
    point = Point(data)
    pairs, K, (x, y, N) = point.columns("c"), point.flow(False).K, point.samples
    assert y is not None
    c = np.zeros((2, 20, 3, 3))
    for k, (a, b) in enumerate(pairs):
        c[:, :, a, b] = c[:, :, b, a] = [point.read("c", layer)[:, k] for layer in (2, 3)]
    Y = c[1] + averages(theory.activation("tanh"), K, 1.0, x)[1].push(c[0])

    def expected(noise: float) -> np.ndarray:
        given = Given.of(K[-1], y[:N], noise)
        means = np.einsum("bp,mpq,iq->mib", given.r, Y, given.a).reshape(len(Y), -1)
        return np.column_stack([np.einsum("mab,ab->m", Y, given.Phi) / 2, means])

    found = np.concatenate([point.read("x", 3)[:, :, None], point.read("xm", 3).reshape(20, 2, 9)], axis=2)
    for k, noise in enumerate((0.1, 0.5)):
        np.testing.assert_allclose(found[:, k], expected(noise), atol=1e-12)
        assert not np.allclose(found[:, 1 - k], expected(noise), rtol=0.1)
    tilted = run(*few, "observables.record=[posterior,weight_controls]", "ensemble.tilt.noise=0.1")
    for prefix in ("x", "xm"):
        np.testing.assert_array_equal(Point(tilted).read(prefix, 3), point.read(prefix, 3))
    assert not np.allclose(Point(tilted).read("lw", 3), point.read("lw", 3))


def test_law(run: Run) -> None:
    """At n = 16 means are zero, E x^2 = v1/n and E x y is that of theory, all without a next order: 24 numbers within
    four standard errors, a false alarm in 600. Negative control: what layers add at infinite width without
    its way up through the layers above."""
    data = run(*TEN, "network.width=16", "observables.record=[posterior,kernel_controls,weight_controls]")
    point = Point(data)
    controls = recorded.controls_of(point, 0.1)
    assert controls is not None
    columns = np.concatenate([controls.of_weights, *controls.of_means.swapaxes(0, 1)], axis=1)

    def pulls(rows: np.ndarray) -> np.ndarray:
        return np.abs(rows.mean(axis=0) / rows.std(axis=0)) * np.sqrt(len(rows))

    assert pulls(columns).max() < 4
    _, y, N = point.samples
    assert y is not None
    Phi = Given.of(point.flow(False).K[-1], y[:N], 0.1).Phi
    twice = [Phi[a, b] * (2 - (a == b)) for a, b in point.columns("c")]
    not_pulled = (point.read("c", 2) + point.read("c", 3)) @ twice / 2
    variance = point.read("x", 3)[:, 0] ** 2 - controls.of_weights[:, 1]
    assert pulls((not_pulled**2 - variance)[:, None])[0] > 8


def test_noise(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ten digits at n = 64 they leave at most a fifth of the variance of log p(y) and a half of that of means, which
    stay where they are within four standard errors of what is left off: a false alarm in 1400. Negative control: the
    controls of other networks."""
    data = run(*TEN)
    found = recorded.recorded_posterior(data, 0.1)
    with monkeypatch.context() as patch:
        patch.setattr(recorded, "controls_of", lambda point, noise: None)
        plain = recorded.recorded_posterior(data, 0.1)

    def apart(value: np.ndarray, other: np.ndarray, error: np.ndarray, larger: np.ndarray) -> float:
        return float(np.abs((value - other) / np.sqrt(larger**2 - error**2)).max())

    assert found.log_evidence_error**2 < plain.log_evidence_error**2 / 5
    assert (found.mean_error**2 < plain.mean_error**2 / 2).all()
    errors = found.log_evidence_error, plain.log_evidence_error
    assert apart(*map(np.array, (found.log_evidence, plain.log_evidence, *errors))) < 4
    assert apart(found.mean, plain.mean, found.mean_error, plain.mean_error) < 4
    of = recorded.controls_of(Point(data), 0.1)
    assert of is not None
    others = recorded.Controls(np.roll(of.of_weights, 1, axis=0), np.roll(of.of_means, 1, axis=0))
    monkeypatch.setattr(recorded, "controls_of", lambda point, noise: others)
    assert recorded.recorded_posterior(data, 0.1).log_evidence_error > 0.95 * plain.log_evidence_error


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("ensemble.sampler=dense", "weight_controls takes the normals of networks without weights"),
        ("initialization=orthogonal initialization.C_W=1", "posterior is known for Gaussian weights"),
        ("observables.noises=[]", "the variances of targets about outputs"),
    ],
)
def test_refusals(run: Run, override: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        run(*TEN, "observables.record=[weight_controls]", *override.split())


def test_theory_without_hidden_layers() -> None:
    """A network of one layer has nothing that fluctuates."""
    x, y = np.eye(3), [[1.0], [-1.0]]
    assert not theory.weight_covariances("tanh", 1, 0.1, 1.0, x, y, 0.1).any()
    assert theory.weight_forms("tanh", 1, 0.1, 1.0, x, y, 0.1).shape[1:] == (4, 3, 3)
