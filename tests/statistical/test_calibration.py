"""Verdicts have the error rates that they state, on the exact law of deep linear networks and on real runs."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

import analysis
import simulate
from analysis import estimators, fits, verdicts
from analysis.models import Series
from simulate.networks import law, one_pass

WIDTHS, DEPTH, TRIALS = (64, 128, 256, 512), 4, 400
NOMINAL = 0.05
FALSE_ALARM = 1e-4  # of each test in this file


def measured(rng: np.random.Generator, networks: int, layer: int = DEPTH) -> tuple[np.ndarray, np.ndarray]:
    """V and its error at each width from g = prod chi^2_n / n, the deep-linear law of docs/theory.md (6.2), by the
    estimator of docs/theory.md (7.3)."""
    value, error = [], []
    for n in WIDTHS:
        g = np.prod(2 * rng.standard_gamma(n / 2, (layer - 1, networks)) / n, axis=0)
        estimate = estimators.covariance(g[:, None], [(0, 0)]).scaled(n)
        value.append(estimate.value[0])
        error.append(estimate.error[0])
    return np.array(value), np.array(error)


def judged(value: np.ndarray, error: np.ndarray, prediction: float, alpha: float) -> verdicts.Judged:
    n = np.array(WIDTHS, dtype=float)
    series = Series(
        "V", "V", DEPTH, 0, "00,00", "powers", n, np.full(4, float(DEPTH)), value, np.diag(error**2),
        prediction, prediction, 0.05, estimators.BLOCKS - 1,
    )  # fmt: skip
    return verdicts.judge([fits.fit(series, 3.0)], alpha, 0.95)[0]


def test_false_alarm_rate() -> None:
    """Of 400 true claims tested at 5 %, about 5 % or less are rejected, since priors make alarms rarer."""
    rng = np.random.default_rng(20)
    pulls = [judged(*measured(rng, 4000), 2 * (DEPTH - 1), NOMINAL) for _ in range(TRIALS)]
    alarms = sum(j.p_pull < NOMINAL for j in pulls)
    assert alarms <= binom.isf(FALSE_ALARM, TRIALS, NOMINAL)
    assert alarms >= binom.ppf(FALSE_ALARM, TRIALS, NOMINAL / 5)
    assert sum(j.rejected for j in pulls) <= binom.isf(FALSE_ALARM, TRIALS, NOMINAL)
    assert abs(np.mean([j.fit.pull for j in pulls])) < 4 / np.sqrt(TRIALS)


def test_power_is_what_is_promised() -> None:
    """A coefficient that is wrong by the visible deviation, here about 5 %, is found with 95 % power."""
    rng = np.random.default_rng(21)
    networks = 20_000
    truth = 2.0 * (DEPTH - 1)
    visible = np.mean([judged(*measured(rng, networks), truth, 0.01).visible for _ in range(20)])
    assert 0.04 < visible < 0.06
    trials = 200
    found = sum(judged(*measured(rng, networks), truth / (1 + visible), 0.01).rejected for _ in range(trials))
    assert found >= binom.ppf(FALSE_ALARM, trials, 0.95)


def test_one_width_against_the_leading_order_would_alarm() -> None:
    """Claims are fitted over widths because at n = 64 alone V differs from the leading order by more than its error."""
    value, error = measured(np.random.default_rng(22), 40_000)
    assert (value[0] - 2 * (DEPTH - 1)) / error[0] > 3


def test_an_off_by_one_layer_is_found() -> None:
    rng = np.random.default_rng(23)
    assert judged(*measured(rng, 4000, DEPTH + 1), 2 * (DEPTH - 1), 0.01).verdict == "disagrees"


MUTANTS: dict[str, Callable[[int, float, float], tuple[float, float]]] = {
    "none": lambda n, C_b, C_W: (C_b, C_W),
    "C_W off by 5 %": lambda n, C_b, C_W: (C_b, 1.05 * C_W),
    "n - 1 for n": lambda n, C_b, C_W: (C_b, C_W * n / (n - 1)),
    "dropped bias": lambda n, C_b, C_W: (0.0, C_W),
}


def mistake(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the law sampler, which draws layer by layer then, and its controls make a mistake of `MUTANTS`, or be a layer
    late. Without a mistake networks are drawn as they are."""
    if mutant == "none":
        return
    monkeypatch.setattr(one_pass, "applies", lambda settings: False)
    if mutant == "off by one layer":
        monkeypatch.setattr(law, "sample", one_layer_late)
        return
    wrong, kernel, of_square = MUTANTS[mutant], law.kernel, law._kernel
    monkeypatch.setattr(law, "kernel", lambda s, C_b, C_W: kernel(s, *wrong(s.shape[-1], C_b, C_W)))
    monkeypatch.setattr(law, "_kernel", lambda square, n, C_b, C_W: of_square(square, n, *wrong(n, C_b, C_W)))


def one_layer_late(*arguments: Any, **options: Any) -> Iterator[law.Drawn]:
    """The law sampler with its kernels shifted by a layer."""
    layers = list(law_sample(*arguments, **options))
    for layer, earlier in zip(layers, [layers[0], *layers[:-1]], strict=True):
        yield replace(layer, g=earlier.g)


law_sample = law.sample


@pytest.mark.parametrize("mutant", [*MUTANTS, "off by one layer"])
def test_mutants_through_the_whole_pipeline(mutant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulation with one mistake gets the verdict "disagrees", and the simulation without a mistake "agrees"."""
    mistake(mutant, monkeypatch)
    sets = simulate.sweep(
        "experiment=demo/preactivations",
        "network.depth=4",
        "observables.record=[kernel]",
        "observables.layers=[2,4]",
        "initialization=gaussian",
        "initialization.C_b=0.1",
        "initialization.C_W=1.2",
        "inputs.count=1",
        "network.width=16,32,64,128",
        "ensemble.networks=100000",
        "~claim.tests.V_collapse",
        "~claim.tests.cumulant",
        "claim.tests.V={precision:0.1,layers:[4]}",
        "claim.tests.G1={precision:1.0,layers:[4]}",
        f"output={tmp_path}",
        "workers=1",
        "ensemble.device=cpu",
    )
    verdict = analysis.analyze(sets).verdicts[0]
    assert verdict.verdict == ("agrees" if mutant == "none" else "disagrees"), verdict.reason


@pytest.fixture(scope="module")
def every_tensor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data sets of the claims tensors and derivatives."""
    folder = tmp_path_factory.mktemp("every_tensor")
    common = ["network.width=12,16,24,32,64", "network.depth=3", "workers=1", "ensemble.device=cpu"]
    simulate.sweep(
        "experiment=tensors", "inputs.count=2", "inputs.classes=[0,1]", "ensemble.networks=20000",
        "observables.layers=[3]", f"output={folder}/t", *common,
    )  # fmt: skip
    simulate.sweep("experiment=derivatives", "ensemble.networks=4000", f"output={folder}/d", *common)
    return folder


@pytest.mark.parametrize("wrong", [False, True])
def test_every_ntk_tensor_through_the_pipeline(wrong: bool, every_tensor: Path) -> None:
    """G1 of docs/theory.md (1.2), A, B, D and F of docs/theory.md (2.5) and (2.6) by the law sampler, P to U of
    docs/theory.md (3.4) to (3.6) by differentiation, estimated as in docs/theory.md (7.3) to (7.6) and (7.9), do not
    disagree with the theory. Negative control: each claim disagrees where the settings state a lambda_W that is 15 %
    too large. The family-wise false-alarm rate is 0.01."""
    sets = simulate.find(every_tensor)
    if wrong:
        for data in sets:
            dynamics = data.manifest["settings"]["dynamics"]
            dynamics["lambda_W"] = [1.15 * rate for rate in dynamics["lambda_W"]]
    result = analysis.analyze(sets)
    assert set("VABDFPQRSTU") | {"Theta1", "G1"} <= set(result.estimates["tensor"])
    by_claim = {verdict.claim: verdict for verdict in result.verdicts}
    assert set(by_claim) == {"tensors", "derivatives"}
    tested = {j.fit.series.test for verdict in by_claim.values() for j in verdict.judged}
    assert set("VABDFPQRSTU") | {"Theta1", "G1"} <= tested
    for verdict in by_claim.values():
        assert (verdict.verdict == "disagrees") == wrong, verdict.reason
