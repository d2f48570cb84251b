"""Measure how often error bars lie where tails are heavy, and what the tail guard of `analysis.tails` lets through.

    python -m benchmarks.tails [--share 1.0] [--sweeps]

Ensembles of scale-invariant networks with one input are drawn from their exact law, so that the moments are known at
every width. For each cell and estimator the command prints how many estimates deviate by more than two and three
standard errors, how many the guard withholds, how many of those that are shown deviate, and how many of all are shown
and deviate by more than three. A normal number deviates in 4.55 and 0.27 % of cases. rho is k sqrt(nu r) / sqrt(2 ln
N), k the highest moment of g in the estimate. There are 5,000 ensembles of 1,000 networks, 2,000 of 10,000 and 500 of
100,000. With --sweeps the command prints instead how often a fit over widths rejects a true coefficient at 1 %, and its
mean pull, with every width, without those that are tail-dominated, and without those that the guard leaves out.
"""

import argparse
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from analysis import estimators, fits, theory
from analysis.estimators import Array, Estimate
from analysis.models import MODELS, Series
from analysis.result import Options
from analysis.series import without_tails
from analysis.theory import finite_width

SEED = 20
PRIOR_WIDTH = Options().prior_width


@dataclass(frozen=True)
class Cell:
    """An ensemble of networks of uniform width, at criticality, with K(1) = 1."""

    activation: str
    n: int
    depth: int
    networks: int

    @property
    def slopes(self) -> tuple[float, float]:
        slopes = theory.activation(self.activation).slopes
        assert slopes is not None
        return slopes

    @property
    def C_W(self) -> float:
        return 2 / sum(slope**2 for slope in self.slopes)

    @property
    def moments(self) -> tuple[float, float, float]:
        """E g, E g^2 and E g^3 at the last layer, docs/theory.md (6.4)."""
        return finite_width.kernel_moments(self.activation, [self.n] * (self.depth - 1), self.C_W, 1.0)

    @property
    def spread(self) -> float:
        """nu (L - 1)/n, the variance of log g at leading order, docs/theory.md (6.5)."""
        plus, minus = self.slopes
        nu = 3 * 2 * (plus**4 + minus**4) / (plus**2 + minus**2) ** 2 - 1
        return nu * (self.depth - 1) / self.n

    def rho(self, k: int) -> float:
        """How many standard deviations out the networks lie that carry the k-th moment of g, over how far out N
        networks reach."""
        return k * math.sqrt(self.spread) / math.sqrt(2 * math.log(self.networks))

    def draw(self, rng: np.random.Generator) -> tuple[Array, Array]:
        """g and one output z of every network (M, 1): each layer multiplies g by the mean over its n neurons of
        C_W s(u)^2, u normal, docs/theory.md (6.4)."""
        plus, minus = (slope**2 for slope in self.slopes)
        g = np.ones(self.networks)
        for _ in range(self.depth - 1):
            if plus == minus:
                total = plus * rng.standard_gamma(self.n / 2, self.networks)
            else:
                k = rng.binomial(self.n, 0.5, self.networks)
                total = plus * rng.standard_gamma(k / 2)
                if minus:
                    total += minus * rng.standard_gamma((self.n - k) / 2)
            g *= 2 * self.C_W / self.n * total
        return g[:, None], (np.sqrt(g) * rng.standard_normal(self.networks))[:, None]


@dataclass(frozen=True)
class Estimator:
    """power: the highest moment of g that it holds. estimate(g, z); truth(E g, E g^2, E g^3)."""

    name: str
    power: int
    estimate: Callable[[Array, Array], Estimate]
    truth: Callable[[float, float, float], float]


ESTIMATORS = (
    Estimator("E g", 1, lambda g, z: estimators.mean(g), lambda a, b, c: a),
    Estimator("V", 2, lambda g, z: estimators.covariance(g, [(0, 0)]), lambda a, b, c: b - a**2),
    Estimator("kappa_3(g)", 3, lambda g, z: estimators.third_cumulant(g), lambda a, b, c: c - 3 * a * b + 2 * a**3),
    Estimator("kappa_4(z)", 2, lambda g, z: estimators.fourth_cumulant(z), lambda a, b, c: 3 * (b - a**2)),
)


@dataclass(frozen=True)
class Outcome:
    """pulls (E,) of the estimates of E ensembles, and whether each is withheld."""

    pulls: Array
    withheld: Array

    def beyond(self, sigma: float) -> tuple[int, int]:
        """How many of all estimates, and of those that are not withheld, lie beyond."""
        far = np.abs(self.pulls) > sigma
        return int(far.sum()), int((far & ~self.withheld).sum())

    @property
    def shown(self) -> int:
        return int((~self.withheld).sum())


def measure(cell: Cell, ensembles: int, seed: int = SEED) -> dict[str, Outcome]:
    """Every estimator on independent ensembles of a cell."""
    rng = np.random.default_rng([seed, cell.n, cell.depth, cell.networks, *cell.activation.encode()])
    rows = []
    for _ in range(ensembles):
        g, z = cell.draw(rng)
        for e in ESTIMATORS:
            estimate = e.estimate(g, z)
            pull = (estimate.value[0] - e.truth(*cell.moments)) / estimate.error[0]
            rows.append((pull, estimate.tail_dominated[0]))
    pulls, withheld = np.array(rows).reshape(ensembles, len(ESTIMATORS), 2).transpose(2, 1, 0)
    return {e.name: Outcome(pulls[k], withheld[k] > 0) for k, e in enumerate(ESTIMATORS)}


def cells() -> Iterator[tuple[Cell, int]]:
    """The cells of the table with their numbers of ensembles: L/n = 1/2 to 1/8 at n = 32, and two of normal use."""
    for networks, ensembles in ((1000, 5000), (10_000, 2000), (100_000, 500)):
        for activation in ("linear", "relu"):
            for depth in (16, 8, 4):
                yield Cell(activation, 32, depth, networks), ensembles
    for activation in ("linear", "relu"):
        yield Cell(activation, 128, 4, 10_000), 2000
        yield Cell(activation, 128, 4, 100_000), 500


def lines(share: float) -> Iterator[str]:
    yield "| activation | L/n | networks | estimate | rho | >2 | >3 | withheld | shown >2 | shown >3 | shown and >3 |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for cell, most in cells():
        ensembles = max(20, round(share * most))
        outcomes = measure(cell, ensembles)
        for e in ESTIMATORS:
            outcome = outcomes[e.name]
            (all_2, shown_2), (all_3, shown_3) = outcome.beyond(2), outcome.beyond(3)
            given = [f"{count / ensembles:.2%}" for count in (all_2, all_3, ensembles - outcome.shown)]
            given += [f"{count / outcome.shown:.2%}" if outcome.shown else "-" for count in (shown_2, shown_3)]
            given.append(f"{shown_3 / ensembles:.2%}")
            size = f"{cell.activation} | 1/{cell.n // cell.depth} | {cell.networks:,}"
            yield f"| {size} | {e.name} | {cell.rho(e.power):.2f} | {' | '.join(given)} |"


WIDTHS, DEPTH = (16, 24, 32, 64, 128, 256), 4
SWEEPS = ((1000, 500), (10_000, 400))  # networks a width, number of sweeps
RULES = ("every width", "those that are not tail-dominated", "the guard")
# The power of 1/n and the leading coefficient of the estimates that are fitted over widths.
FITTED: dict[str, tuple[int, Callable[[Cell], float]]] = {
    "V": (1, lambda cell: cell.spread * cell.n),
    "kappa_3(g)": (2, lambda cell: theory.six_point(cell.activation, cell.depth, 0.0, cell.C_W, 1.0)[-1]),
}


def fitted(estimator: Estimator, cells: Sequence[Cell], seed: int) -> dict[str, float | None]:
    """The pull of the leading coefficient in a fit over cells of several widths, by each of RULES; None where too few
    widths remain."""
    rng = np.random.default_rng([SEED, seed])
    power, coefficient = FITTED[estimator.name]
    drawn = [estimator.estimate(*cell.draw(rng)).scaled(float(cell.n) ** power) for cell in cells]
    n, depth, truth = np.array([float(cell.n) for cell in cells]), cells[0].depth, float(coefficient(cells[0]))
    whole = Series(
        test=estimator.name,
        tensor=estimator.name,
        layer=depth,
        step=0,
        samples="00",
        model="powers",
        n=n,
        l=np.full(len(n), float(depth)),
        value=np.array([estimate.value[0] for estimate in drawn]),
        covariance=np.diag([estimate.error[0] ** 2 for estimate in drawn]),
        prediction=truth,
        scale=truth,
        precision=0.1,
        dof=estimators.BLOCKS - 1,
    )
    dominated = np.array([estimate.tail_dominated[0] for estimate in drawn])
    guarded = without_tails(whole, dominated, np.array([float(cell.networks) for cell in cells]))
    chosen = (whole, some(whole, ~dominated), guarded if isinstance(guarded, Series) else None)
    return {
        rule: None if series is None else fits.fit(series, PRIOR_WIDTH).pull
        for rule, series in zip(RULES, chosen, strict=True)
    }


def some(series: Series, keep: NDArray[np.bool_]) -> Series | None:
    """The series at some of its widths alone, or None where they are too few."""
    if keep.sum() < MODELS[series.model].fewest_widths:
        return None
    cut = {"n": series.n[keep], "l": series.l[keep], "value": series.value[keep]}
    return replace(series, **cut, covariance=series.covariance[np.ix_(keep, keep)])


def lines_of_sweeps(share: float) -> Iterator[str]:
    yield "| activation | networks a width | estimate | widths used | sweeps | fitted | rejected at 1% | mean pull |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    chosen = [e for e in ESTIMATORS if e.name in FITTED]
    for activation, (networks, most), estimator in itertools.product(("linear", "relu"), SWEEPS, chosen):
        cells = [Cell(activation, n, DEPTH, networks) for n in WIDTHS]
        sweeps = max(20, round(share * most))
        found = [fitted(estimator, cells, k) for k in range(sweeps)]
        for rule in RULES:
            pulls = np.array([pull for result in found if (pull := result[rule]) is not None])
            alarms = 2 * student.sf(np.abs(pulls), estimators.BLOCKS - 1) < 0.01
            rates = f"{alarms.mean():.2%} | {pulls.mean():+.2f}" if len(pulls) else "- | -"
            case = f"{activation} | {networks:,} | {estimator.name} | {rule}"
            yield f"| {case} | {sweeps:,} | {len(pulls) / sweeps:.1%} | {rates} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="share of the ensembles or sweeps to draw")
    parser.add_argument("--sweeps", action="store_true", help="fits over widths instead of single estimates")
    arguments = parser.parse_args()
    for line in (lines_of_sweeps if arguments.sweeps else lines)(arguments.share):
        print(line, flush=True)


if __name__ == "__main__":
    main()
