"""What an underpowered test would need: a number of networks a width with its time and command, or other networks."""

import ast
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import brentq

from analysis import fits, verdicts
from analysis.models import MODELS
from analysis.points import Point
from analysis.verdicts import Judged, Verdict
from simulate.store.sets import DataSet
from simulate.system import duration

TRIED = 10  # times the networks that noise alone would need; where these do not do, the prior binds
SETTING = "ensemble.networks"
UNTIL = "analysis.until"  # the program that draws until a claim is decided


@dataclass(frozen=True)
class Remedy:
    """What a test needs to see the deviation that it asks for.

    series: the one that needs most. networks: a width, None where the prior binds. visible: the relative deviation that
    `networks`, or where the prior binds `tried` networks a width, would see. joint: whether its fit runs over layers.
    seconds: of one core or device for the networks that are missing, None where the data do not tell. command: makes
    them; empty where the data do not tell.
    """

    test: str
    series: str
    asked: float
    visible: float
    networks: int | None
    tried: int
    joint: bool
    seconds: float | None = None
    command: str = ""

    @property
    def text(self) -> str:
        """In a sentence."""
        if self.networks is None:
            others = (
                "wider or deeper networks would help (network.width, network.depth)"
                if self.joint
                else "wider networks would help (network.width)"
            )
            return (
                f"the prior on higher orders in 1/n binds, and more networks will not help: {in_words(self.tried)} a "
                f"width would still see {percent(self.visible)}, where {percent(self.asked)} is asked; {others}"
            )
        time = "" if self.seconds is None else f", about {duration(self.seconds)} of one core"
        command = f": {self.command}" if self.command else ""
        return f"{in_words(self.networks)} networks a width would see {percent(self.asked)}{time}{command}"


def percent(deviation: float) -> str:
    """A relative deviation in percent."""
    return f"{100 * deviation:.3g} %"


def in_words(count: int) -> str:
    """3,800,000 as 3.8 million."""
    if count < 10**6:
        return f"{count:,}"
    return f"{count / 10**6:,.4g} million" if count < 10**9 else f"{count / 10**9:,.4g} billion"


def rounded_up(count: float) -> int:
    """The count with two digits that count, rounded up."""
    unit = 10 ** max(math.floor(math.log10(count)) - 1, 0)
    return math.ceil(count / unit * (1 - 1e-9)) * unit


def of_series(judged: Judged, prior_width: float) -> Remedy:
    """What one series needs. Only the part of its error that is noise falls with the square root of the number of
    networks; the part that higher orders in 1/n leave open, docs/theory.md (6.1), is as wide as their prior."""
    series = judged.fit.series
    wanted = series.precision / judged.visible
    error = fits.error_at(series, prior_width)

    def excess(log_networks: float) -> float:
        return error(np.maximum(series.networks, math.exp(log_networks))) - wanted

    tried = rounded_up(TRIED * series.networks.max() / wanted**2)
    joint = MODELS[series.model].joint
    if (left := excess(math.log(tried))) > 0:
        visible = judged.visible * (left + wanted)
        return Remedy(series.test, series.name, series.precision, visible, None, tried, joint)
    networks = rounded_up(math.exp(brentq(excess, math.log(series.networks.min()), math.log(tried), xtol=1e-12)))
    visible = judged.visible * (excess(math.log(networks)) + wanted)
    return Remedy(series.test, series.name, series.precision, visible, networks, tried, joint)


def remedies(verdict: Verdict, points: Sequence[Point], prior_width: float) -> dict[str, Remedy]:
    """What each test of an underpowered claim needs that cannot see what it asks, by name; none where tests see it.

    points: those of the claim's sweep, all of which get as many networks.
    """
    found: dict[str, Remedy] = {}
    if verdict.verdict != verdicts.UNDERPOWERED:
        return found
    for judged in verdict.judged:
        if judged.verdict != verdicts.UNDERPOWERED or not len(judged.fit.series.networks):
            continue
        remedy = of_series(judged, prior_width)
        test = remedy.test
        if test not in found or _needs(remedy) > _needs(found[test]):
            found[test] = remedy
    sets = [point.data for point in points if isinstance(point.data, DataSet)]
    return {test: _with_cost(remedy, sets) for test, remedy in found.items()}


def _needs(remedy: Remedy) -> tuple[bool, float]:
    """By what the remedies of two series of a test are compared: the one that networks cannot give comes first."""
    bound = remedy.networks is None
    return bound, remedy.visible / remedy.asked if bound else float(remedy.networks or 0)


def _with_cost(remedy: Remedy, sets: Sequence[DataSet]) -> Remedy:
    if remedy.networks is None:
        return remedy
    rates = [seconds_each(data) for data in sets]
    known = [rate for rate in rates if rate is not None]
    missing = [max(0, remedy.networks - data.networks) for data in sets]
    seconds = sum(m * rate for m, rate in zip(missing, known, strict=True)) if len(known) == len(sets) else None
    spent = sum(seconds for data in sets for _, seconds in data.timed())
    return replace(remedy, seconds=seconds, command=command(sets, remedy.networks, spent + (seconds or 0.0)))


def seconds_each(data: DataSet) -> float | None:
    """The seconds that a network took: the median over parts, because the first part of a process also compiles. None
    for data of versions that did not measure them."""
    timed = data.timed()
    return float(np.median([seconds / networks for networks, seconds in timed])) if timed else None


def command(sets: Sequence[DataSet], networks: int, seconds: float) -> str:
    """The command that makes the data sets of a sweep again with so many networks each, which take these seconds
    together; empty where no single one made them."""
    last = [data.manifest.get("commands", [])[-1:] for data in sets]
    if not last or not last[0] or any(entry != last[0] for entry in last):
        return ""
    return with_networks(last[0][0], networks, seconds)


def with_networks(entry: Mapping[str, Any], networks: int, seconds: float) -> str:
    """The command of a manifest, `python -m simulate ...` or a call of `simulate.sweep`, with so many networks; that of
    `python -m analysis.until`, which chooses their number, with a budget of half as much again as they take."""
    text, wanted = str(entry["command"]), f"{SETTING}={networks}"
    words = shlex.split(text) if text.startswith("python ") else []
    if UNTIL in words:
        lasting = [word for word in words if not word.startswith(("--budget=", "--most="))]
        return shlex.join([*lasting, f"--budget={math.ceil(1.5 * seconds / 60)}min"])
    if words:
        return shlex.join([*(word for word in words if not word.lstrip("+").startswith(f"{SETTING}=")), wanted])
    try:
        call = ast.parse(text, mode="eval").body
    except SyntaxError:
        return ""
    if not isinstance(call, ast.Call):
        return ""
    kept = [a for a in call.args if not (isinstance(a, ast.Constant) and str(a.value).startswith(f"{SETTING}="))]
    return ast.unparse(ast.Call(call.func, [*kept, ast.Constant(wanted)], call.keywords))
