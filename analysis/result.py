"""The records that the analysis passes on: options, claims and results."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis import tails, verdicts
from analysis.answers import answers, not_tested
from analysis.fits import Fit
from analysis.points import Point, Variant
from analysis.remedy import Remedy
from analysis.verdicts import Verdict
from analysis.walks import Outcome, Run
from simulate.plugins import Plugin
from simulate.settings import printable
from simulate.store.sets import DataSet
from simulate.system import counted


@dataclass(frozen=True)
class Options:
    """The options of configs/analysis.yaml, checked; `plugins` are those loaded."""

    alpha: float = 0.01
    power: float = 0.95
    prior_width: float = 3.0
    diverged: float = 0.01
    figures: bool = True
    workers: int | None = None
    plugins: tuple[Plugin, ...] = ()

    def __post_init__(self) -> None:
        for name, low, high in (("alpha", 0, 1), ("power", 0, 1), ("prior_width", 0.01, 100), ("diverged", -1e-9, 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low < value < high:
                raise ValueError(f"{name}={value!r}: a number between {max(low, 0):g} and {high:g}")
        if self.workers is not None and (type(self.workers) is not int or self.workers < 1):
            raise ValueError(f"workers={self.workers!r}: a number of processes from 1 on, or null for one a core")


@dataclass(frozen=True)
class Claim:
    """A claim with the points of its sweep, grouped into variants that differ in more than width."""

    name: str
    statement: str
    tests: Mapping[str, Mapping[str, Any]]
    variants: tuple[Variant, ...]

    @property
    def points(self) -> tuple[Point, ...]:
        return tuple(point for variant in self.variants for point in variant.points)


@dataclass(frozen=True, repr=False)
class Result:
    """verdicts: one a claim. estimates: the long table. scans: the fits at several prior widths, by claim and series.

    notes: lines about data sets that share networks. computed: what the networks were computed on, as
    `simulate.store.sets.DataSet.computed` has it, with the number of networks of all data sets. remedies: what the
    tests of underpowered claims need, by claim and test. sets: the data sets. found: by path, what runs have yielded at
    data sets that are not read at once, for figures.
    """

    claims: tuple[Claim, ...]
    verdicts: tuple[Verdict, ...]
    estimates: pd.DataFrame
    scans: dict[str, dict[float, Fit]]
    options: Options
    notes: tuple[str, ...] = ()
    computed: tuple[Mapping[str, Any], ...] = ()
    remedies: Mapping[str, Mapping[str, Remedy]] = field(default_factory=dict)
    sets: tuple[DataSet, ...] = ()
    found: Mapping[Path, Mapping[Run, Outcome]] = field(default_factory=dict)

    def __repr__(self) -> str:
        found = [f"{verdict.claim}: {verdict.verdict}" for verdict in self.verdicts] or ["no claim"]
        return f"Result({', '.join(found)}; {self._size()})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdict of each claim, and what each of its tests has found."""
        lines = []
        for verdict in self.verdicts:
            why = "" if self.explained(verdict) else f": {verdict.reason}"
            lines.append(f"<p><b>{escape(verdict.claim)}: {verdict.verdict}</b>{escape(why)}</p><ul>")
            lines += [f"<li>{escape(test)}: {escape(said)}</li>" for test, said in self.sentences(verdict)]
            lines.append("</ul>")
        lines += [f"<p>{escape(note)}</p>" for note in self.notes]
        return f"{''.join(lines)}<p>{self._size()} in <code>estimates</code></p>"

    def _size(self) -> str:
        return f"{counted(len(self.estimates), 'estimate')} of {counted(len(self.sets), 'data set')}"

    @property
    def provenance(self) -> tuple[str, ...]:
        """What the networks were computed on, in lines."""
        lines = [f"{counted(entry['networks'], 'network')}: {_in_words(entry)}" for entry in self.computed]
        if len(lines) > 1:
            lines.insert(0, f"computed on {len(lines)} kinds of devices or code, between which rows differ by rounding")
        return tuple(lines)

    @property
    def table(self) -> pd.DataFrame:
        """The verdict table: one row per claim and test, with the test's own verdict and its answer in a sentence."""
        rows = []
        for verdict in self.verdicts:
            for test, answer in self.answers(verdict).items():
                judged = verdict.of_test(test)
                worst = max(judged, key=lambda j: abs(j.fit.pull))
                remedy = self.remedies.get(verdict.claim, {}).get(test)
                rows.append(
                    {
                        "claim": verdict.claim,
                        "verdict": verdicts.worst(judged),
                        "test": test,
                        "series": len(judged),
                        "largest pull": worst.fit.pull,
                        "smallest Q": min(j.fit.Q for j in judged),
                        "visible deviation": verdict.visible(test),
                        "asked": worst.fit.series.precision,
                        "networks": verdict.networks,
                        "diverged": verdict.diverged,
                        "tail-dominated": verdicts.without_tails(judged),
                        "reason": "",
                        "needs": remedy.text if remedy else "",
                        "answer": answer,
                    }
                )
            for entry in verdict.not_tested:
                rows.append(
                    {
                        "claim": verdict.claim,
                        "verdict": verdicts.NOT_TESTED,
                        "test": entry.label,
                        "series": 0,
                        "largest pull": np.nan,
                        "smallest Q": np.nan,
                        "visible deviation": np.nan,
                        "asked": np.nan,
                        "networks": verdict.networks,
                        "diverged": verdict.diverged,
                        "tail-dominated": tails.WORD if entry.reason.startswith(tails.WORD) else "",
                        "reason": entry.reason,
                        "needs": "",
                        "answer": f"not tested: {entry.reason}",
                    }
                )
        return pd.DataFrame(rows)

    def answers(self, verdict: Verdict) -> dict[str, str]:
        """The answer of each test of a claim that was judged, in a sentence, by name."""
        return answers(verdict, self.remedies.get(verdict.claim, {}), self.options.alpha)

    def sentences(self, verdict: Verdict) -> list[tuple[str, str]]:
        """What there is to say of a claim: tests, and a sentence for each."""
        refused = [(test, f"not tested: {reason}") for test, reason in not_tested(verdict.not_tested)]
        return [*self.answers(verdict).items(), *refused]

    def explained(self, verdict: Verdict) -> bool:
        """Whether the sentences of its tests say why a claim has its verdict."""
        blind = verdict.verdict in (verdicts.UNDERPOWERED, verdicts.NOT_TESTED)
        return blind and verdict.diverged <= self.options.diverged and bool(self.sentences(verdict))

    @property
    def disagrees(self) -> bool:
        return any(v.verdict == verdicts.DISAGREES for v in self.verdicts)


def computations(sets: Sequence[DataSet]) -> list[Mapping[str, Any]]:
    """What the networks of data sets were computed on, the most frequent first."""
    counts: dict[str, int] = {}
    for data in sets:
        for entry in data.computed():
            made = {key: entry[key] for key in ("device", "code")}
            name = json.dumps(made, sort_keys=True)
            counts[name] = counts.get(name, 0) + entry["networks"]
    return [{**json.loads(name), "networks": counts[name]} for name in sorted(counts, key=lambda name: -counts[name])]


def _in_words(entry: Mapping[str, Any]) -> str:
    """cpu znver3; capability AVX2, cpu znver3, ..."""
    if not isinstance(entry["device"], Mapping):
        return "unknown device and code, of which the log of commits says nothing"
    device, code = entry["device"], entry["code"] if isinstance(entry["code"], Mapping) else {}
    return printable(f"{device.get('kind')} {device.get('name')}; {', '.join(f'{k} {v}' for k, v in code.items())}")


def verdict_json(result: Result) -> dict[str, Any]:
    """The content of `verdicts.json`: every number that a verdict rests on."""

    def clean(value: float) -> float | None:
        return float(value) if np.isfinite(value) else None

    return {
        "alpha": result.options.alpha,
        "power": result.options.power,
        "prior_width": result.options.prior_width,
        "notes": list(result.notes),
        "computed": [dict(entry) for entry in result.computed],
        "plugins": {plugin.name: plugin.digest for plugin in result.options.plugins},
        "claims": [
            {
                "claim": v.claim,
                "statement": v.statement,
                "verdict": v.verdict,
                "reason": v.reason,
                "networks": v.networks,
                "diverged": v.diverged,
                "tests": [
                    {
                        "test": j.fit.series.test,
                        "series": j.fit.series.name,
                        "verdict": j.verdict,
                        "coefficient": clean(j.fit.coefficient),
                        "error": clean(j.fit.error),
                        "prediction": clean(j.fit.series.prediction),
                        "scale": clean(j.fit.series.scale),
                        "pull": clean(j.fit.pull) if j.fit.series.predicted else None,
                        "p": clean(j.p_pull),
                        "chi2": clean(j.fit.chi2),
                        "dof": j.fit.dof,
                        "Q": clean(j.p_fit),
                        "line": j.fit.line(),
                        "visible_deviation": clean(j.visible),
                        "asked": j.fit.series.precision,
                        "tail_dominated": [
                            {"width": n, "layer": layer, "estimate": clean(value)}
                            for n, layer, value in j.fit.series.left_out.tolist()
                        ],
                    }
                    for j in v.judged
                ],
                "answers": result.answers(v),
                "not_tested": [
                    {"test": entry.test, "series": entry.name, "reason": entry.reason} for entry in v.not_tested
                ],
                "needs": [
                    asdict(remedy) | {"text": remedy.text} for remedy in result.remedies.get(v.claim, {}).values()
                ],
            }
            for v in result.verdicts
        ],
    }
