"""Measure how often a claim is rejected that grows until it is decided, with the spending of alpha and without.

    python -m benchmarks.until [--claims 400] [--processes 1] [--only false]

Claims are synthetic: three series, of V at three layers of deep linear networks at four widths, from the exact law of
g, whose ensembles grow by `analysis.growth` and are judged at each look by `analysis.decide`. Two kinds: "exact" holds
V against its exact value at every width, so that all of an error is noise; "expansion" fits V over 1/n, with priors. A
false alarm is a true claim that disagrees at some look; power is the share of claims, false by what they ask to see,
that disagree. The control looks as often, at the full alpha each time.
"""

import argparse
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from analysis import decide, estimators, fits, growth, looks, verdicts
from analysis.estimators import Array
from analysis.fits import Fit
from analysis.looks import Look, Record, Start
from analysis.models import Series
from analysis.result import Options

SEED = 41
WIDTHS = (64, 128, 256, 512)
LAYERS = (2, 3, 4)
COSTS = np.array(WIDTHS, dtype=float)  # of a network, in any unit
FIRST = 500  # networks a width at the first look


@dataclass(frozen=True)
class Kind:
    """A kind of claim. model: the fit. asked: the relative deviation that it asks to see. exact: whether V is held
    against its value at finite width."""

    name: str
    model: str
    asked: float
    exact: bool


KINDS = (Kind("exact", "constant", 0.06, True), Kind("expansion", "powers", 0.12, False))


@dataclass(frozen=True)
class Outcome:
    """What became of one claim. rejected: at some look, by the spending rule; plain: at some look, at the full alpha.
    networks: a width, on average, at the end."""

    verdict: str
    rejected: bool
    plain: bool
    looks: int
    networks: float


class Ensembles:
    """Networks of each width that are drawn as they are needed: g of the layers, from g = prod chi^2_n / n."""

    def __init__(self, seed: Sequence[int]) -> None:
        self.rngs = [np.random.default_rng([*seed, n]) for n in WIDTHS]
        self.g = [np.empty((0, len(LAYERS))) for _ in WIDTHS]

    def grow(self, networks: Array) -> None:
        """Draw what is missing of so many networks of each width."""
        for k, (n, rng) in enumerate(zip(WIDTHS, self.rngs, strict=True)):
            more = int(networks[k]) - len(self.g[k])
            factors = 2 * rng.standard_gamma(n / 2, (more, max(LAYERS) - 1)) / n
            self.g[k] = np.concatenate([self.g[k], np.cumprod(factors, axis=1)[:, [l - 2 for l in LAYERS]]])

    def series(self, kind: Kind, wrong: float) -> Iterator[Series]:
        """V of each layer over its prediction, which is too small by the relative deviation `wrong`."""
        pairs = [(k, k) for k in range(len(LAYERS))]
        estimates = [estimators.covariance(g, pairs) for g in self.g]
        n = np.array(WIDTHS, dtype=float)
        for k, layer in enumerate(LAYERS):
            unit = (1 + 2 / n) ** (layer - 1) - 1 if kind.exact else 2 * (layer - 1) / n
            value = np.array([e.value[k] for e in estimates]) / unit
            error = np.array([e.error[k] for e in estimates]) / unit
            yield Series(
                "V", "V", layer, 0, "00,00", kind.model, n, np.full(len(n), float(layer)), value, np.diag(error**2),
                1.0 - wrong, 1.0, kind.asked, estimators.BLOCKS - 1,
                networks=np.array([float(len(g)) for g in self.g]),
            )  # fmt: skip


def one_claim(kind: Kind, options: Options, seed: Sequence[int], wrong: float = 0.0) -> Outcome:
    """Grow and judge one claim until it is decided."""
    ensembles, networks = Ensembles(seed), np.full(len(WIDTHS), float(FIRST))
    record = Record(Start("V", {}, options.alpha, options.power, options.prior_width, {}))
    plain = False
    about = {"claim": "V", "statement": "", "networks": 0, "diverged": 0.0, "not_tested": []}
    at = {("", n): k for k, n in enumerate(WIDTHS)}
    while True:
        ensembles.grow(networks)
        found: list[Fit] = [fits.fit(entry, options.prior_width) for entry in ensembles.series(kind, wrong)]
        plain |= any(j.rejected for j in verdicts.judge(found, options.alpha, options.power))
        taken = decide.look_at(record, found, options, about)
        now = {str(n): int(count) for n, count in zip(WIDTHS, networks, strict=True)}
        record = looks.added(record, Look(now, taken.time, taken.entries, taken.verdict.verdict, "", 0.0, now), "")
        if not taken.open:
            word = taken.verdict.verdict
            return Outcome(word, word == verdicts.DISAGREES, plain, len(record.looks), float(networks.mean()))
        tests = [decide.open_series(judged, at, False, options.prior_width) for judged in taken.open]
        networks = np.ceil(growth.grown(tests, networks, COSTS, growth.next_share(taken.time), np.inf))


def claims(
    kind: Kind, count: int, alpha: float, wrong: float = 0.0, seed: int = SEED, processes: int = 1
) -> list[Outcome]:
    """Independent claims, false by the relative deviation `wrong`."""
    judge = partial(_numbered, kind, replace(Options(), alpha=alpha), seed, wrong)
    if processes == 1:
        return [judge(k) for k in range(count)]
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(judge, range(count), chunksize=5))


def _numbered(kind: Kind, options: Options, seed: int, wrong: float, k: int) -> Outcome:
    return one_claim(kind, options, (seed, KINDS.index(kind), k), wrong)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--claims", type=int, default=400)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--only", choices=("true", "false"), help="rows of true claims or of false ones alone")
    given = parser.parse_args(arguments)
    print("| claim | false by | alpha | claims | disagree | at the full alpha each time | agree | looks | networks |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for false in (False, True) if given.only is None else (given.only == "false",):
        for kind in KINDS:
            print(row(kind, kind.asked if false else 0.0, given.claims, given.processes), flush=True)


def row(kind: Kind, wrong: float, count: int, processes: int) -> str:
    """A row of the table: what became of claims of one kind that are false by the relative deviation `wrong`."""
    alpha = 0.05
    found = claims(kind, count, alpha, wrong, processes=processes)
    columns = (
        kind.name, f"{wrong:.0%}", f"{alpha:g}", count, f"{np.mean([o.rejected for o in found]):.2%}",
        f"{np.mean([o.plain for o in found]):.2%}", f"{np.mean([o.verdict == 'agrees' for o in found]):.2%}",
        f"{np.mean([o.looks for o in found]):.1f}", f"{np.mean([o.networks for o in found]):,.0f}",
    )  # fmt: skip
    return "| " + " | ".join(map(str, columns)) + " |"


if __name__ == "__main__":
    main(sys.argv[1:])
