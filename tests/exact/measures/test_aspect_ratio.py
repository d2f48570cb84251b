"""Numbers at the aspect ratio r are one in units of their exact values, and another activation's are not."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

import simulate
from analysis.fits import fit
from analysis.measures import aspect_ratio, information
from analysis.measures.measured import Measure, Measured
from analysis.points import Point, Variant
from analysis.series import judgeable, series
from simulate.store.sets import DataSet

FALSE_ALARM = 1e-4  # of each test in this file, over all its numbers
WIDTH, LAYERS = 16, [2, 3, 5, 9, 17]
GIVEN = (f"network.width={WIDTH}", "network.depth=18", f"observables.layers={LAYERS}", "initialization=critical",
         "inputs=sphere", "inputs.dimension=3", "inputs.count=1", "workers=1", "ensemble.device=cpu",
         "ensemble.dtype=float64")  # fmt: skip


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., DataSet]:
    @cache
    def once(*overrides: str) -> DataSet:
        return simulate.run(*GIVEN, *overrides, f"output={tmp_path_factory.mktemp('ratio')}/a")

    return once


def farthest(found: Sequence[Measured]) -> float:
    """The largest deviation from theory in standard errors, relative to the limit of false alarms."""
    assert found
    with np.errstate(divide="ignore"):  # a crossing beyond the layers has no error
        z = np.concatenate([np.abs(m.estimate.value - m.theory) / m.estimate.error for m in found])
    return float(z.max() / norm.isf(FALSE_ALARM / 2 / len(z)))


def mistaken(monkeypatch: pytest.MonkeyPatch, activation: str) -> None:
    """From here on points say that their networks have this activation."""
    monkeypatch.setattr(Point, "activation", property(lambda point: activation))


LAW = ["observables.record=[kernel,response]", "ensemble.networks=6000"]
JACOBIAN = ["observables.record=[jacobian]", "ensemble.networks=1500"]
NTK = ["observables.record=[outputs,ntk]", "observables.output_layers=[2,3]", "network.outputs=2",
       "observables.layers=[2,3]", "ensemble.networks=6000"]  # fmt: skip
Drawn = Callable[..., DataSet]


def hold(measure: Measure, data: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linear networks of width 16, r up to 1, without estimates at tails, have the number; false alarms: FALSE_ALARM.
    Negative control: they pass for ReLU networks."""
    point = Point(data)

    def light() -> list[Measured]:
        return [m for m in measure(point, None) if not m.estimate.tail_dominated.any()]

    found = light()
    assert farthest(found) < 1
    assert all(m.layer <= WIDTH + 1 for m in found)
    mistaken(monkeypatch, "relu")
    monkeypatch.setattr(aspect_ratio, "first_kernels", lambda point: np.ones(1))
    others = light()
    assert not others or farthest(others) > 1


def test_log_kernel_exact(drawn: Drawn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Var log g, docs/theory.md (12.1)."""
    hold(aspect_ratio.log_kernel, drawn(*LAW, "activation=linear"), monkeypatch)


def test_alignment_exact(drawn: Drawn, monkeypatch: pytest.MonkeyPatch) -> None:
    """E log sin^2 of responses, docs/theory.md (12.5)."""
    hold(aspect_ratio.alignment, drawn(*LAW, "activation=linear"), monkeypatch)


def test_breakdown_exact(drawn: Drawn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where order 1/n is low by 10 and 50 %, docs/theory.md (12.2)."""
    hold(aspect_ratio.breakdown, drawn(*LAW, "activation=linear"), monkeypatch)


def test_rank_exact(drawn: Drawn, monkeypatch: pytest.MonkeyPatch) -> None:
    """The effective rank, docs/theory.md (12.5)."""
    hold(aspect_ratio.effective_rank, drawn(*JACOBIAN, "activation=linear"), monkeypatch)


def test_ntk_moments_exact(drawn: Drawn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Second moments of the NTK, docs/theory.md (6.7) and (12.3)."""
    hold(aspect_ratio.ntk_moments, drawn(*NTK, "activation=linear"), monkeypatch)


def test_information_exact(drawn: Drawn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutual information, docs/theory.md (13.1)."""
    hold(information.exact, drawn(*LAW, "activation=linear"), monkeypatch)


def test_information_past_optimum(drawn: Drawn, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rise of the information beyond r*, docs/theory.md (13.4): more than twofold."""
    hold(information.past_optimum, drawn(*LAW, "activation=linear"), monkeypatch)


def test_activations_without_closed_form(drawn: Drawn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Var log g and the information of tanh networks come from the chain; alignment and breakdown are undefined. False
    alarms: FALSE_ALARM. Negative control: they pass for networks of sines."""
    point = Point(drawn(*LAW, "activation=tanh"))
    measures = (aspect_ratio.log_kernel, information.exact)
    assert max(farthest(list(measure(point, [3, 5]))) for measure in measures) < 1
    for measure in (aspect_ratio.alignment, aspect_ratio.breakdown, aspect_ratio.effective_rank):
        assert list(measure(point, None)) == []
        assert next(measure.undefined(point)).startswith("activation=tanh: ")
    mistaken(monkeypatch, "erf")
    assert farthest(list(aspect_ratio.log_kernel(point, [3, 5]))) > 1


def test_information_expansion(drawn: Drawn) -> None:
    """At width 512 the information is its third order; false alarms: FALSE_ALARM. Negative control: that of a fourth
    of the fluctuations."""
    given = ["activation=linear", "network.width=512", "network.depth=3", "observables.layers=[2,3]"]
    point = Point(drawn(*given, "observables.record=[kernel]", "ensemble.networks=6000"))
    found = list(information.expansion(point, None))
    assert [m.layer for m in found] == [2, 3]
    assert farthest(found) < 1
    assert abs(found[0].estimate.value[0] * 16 - 1) > 3 * found[0].estimate.error[0]


def test_crossings_are_interpolated() -> None:
    """The ratio 1 + x/2 passes 10/9 at x = 2/9; where it stays below, the last layer is given."""
    layers = [1, 11, 21, 31]
    t = np.array(layers) - 1.0
    assert aspect_ratio.crossing((1 + t / 100)[None], layers, 0.1) == pytest.approx([100 / 9])
    assert aspect_ratio.crossing(np.ones((1, 4)), layers, 0.1) == pytest.approx([30])


def test_limit_law(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits over widths of E g/K and Var log g at r = 1/4, 1/2 and 1 tend to docs/theory.md (12.6) for tanh and for erf,
    which are of one class; false alarms: FALSE_ALARM. Negative control: linear networks, docs/theory.md (12.1)."""

    def pulls(activation: str) -> dict[str, float]:
        given = (*GIVEN, "network.depth=26", "observables.layers=[3,4,5,6,7,9,13,17,25]", "observables.record=[kernel]")
        own = (f"activation={activation}", "ensemble.networks=4000")
        found = [
            Point(simulate.run(*given, *own, f"network.width={n}", f"output={tmp_path}/{activation}-{n}"))
            for n in (8, 12, 16, 24)
        ]
        if activation == "linear":
            mistaken(monkeypatch, "tanh")
        made, _ = series(judgeable("limit_law", {"precision": 0.02}, [Variant("", tuple(found))]))
        return {s.name: fit(s, 3.0).pull for s in made}

    limit = norm.isf(FALSE_ALARM / 24)
    for activation in ("tanh", "erf"):
        found = pulls(activation)
        assert [*found] == [f"{tensor} [r={r} 00]" for r in (0.25, 0.5, 1) for tensor in ("E g/K", "Var log g")]
        assert np.abs([*found.values()]).max() < limit
    assert np.abs([*pulls("linear").values()]).max() > limit


def test_where_no_limit_is_known(drawn: Drawn) -> None:
    """Linear networks have none, and other layers than those at r of RATIOS are not judged."""
    (reason,) = aspect_ratio.limit_law.undefined(Point(drawn(*LAW, "activation=linear")))
    assert reason.startswith("activation=linear: the limit law is that of critical networks")
    few = ["network.depth=3", "observables.layers=[2]", "observables.record=[kernel]", "ensemble.networks=40"]
    (reason,) = aspect_ratio.limit_law.undefined(Point(drawn("activation=tanh", *few)))
    assert reason == "observables.layers=[2]: the limit law is judged at layers n/4 + 1, n/2 + 1 and n + 1"
