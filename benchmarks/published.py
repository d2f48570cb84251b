"""Published numbers beside ours: docs/reproduce.md.

    python -m simulate experiment=reproduce/NAME      # for each NAME
    python -m benchmarks.published                    # prints the table
    python -m benchmarks.published --write            # keeps it in docs/reproduce.json and writes it into the page

The published value is a number of the paper, or its formula evaluated here without `analysis`. Ours is an estimate from
the recorded columns, with a jackknife over blocks of networks, also without `analysis`.
"""

import argparse
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

import configs
import simulate
from benchmarks import tables

DOCS = Path(__file__).parents[1] / "docs"
RECORD, PAGE, COMMAND = DOCS / "reproduce.json", DOCS / "reproduce.md", "python -m benchmarks.published --write"
BLOCKS = 40
Array = NDArray[np.float64]
Number = tuple[float, float]  # a value and its standard error


@dataclass(frozen=True)
class Row:
    """A published number and ours. error: None where ours is exact."""

    experiment: str
    setting: str
    quantity: str
    published: float
    ours: float
    error: float

    @property
    def pull(self) -> float:
        """(ours - published) / error."""
        return (self.ours - self.published) / self.error


def jackknife(statistic: Callable[[Array], float], rows: Array) -> Number:
    """The statistic of all rows (M, k), and its standard error from leaving out one of `BLOCKS` blocks at a time."""
    block = np.arange(len(rows)) * BLOCKS // len(rows)
    left_out = [statistic(rows[block != k]) for k in range(BLOCKS)]
    return float(statistic(rows)), float(np.sqrt((BLOCKS - 1) * np.var(left_out)))


def line(columns: Sequence[Array], numbers: Sequence[Number]) -> tuple[Array, Array]:
    """The coefficients (p,) of p columns (k,) by weighted least squares of k numbers, and their standard errors."""
    value, error = np.array(numbers).T
    design = np.stack(columns, axis=1) / error[:, None]
    inverse = np.linalg.inv(design.T @ design)
    return inverse @ design.T @ (value / error), np.sqrt(inverse.diagonal())


def limit(widths: Sequence[int], numbers: Sequence[Number]) -> Number:
    """The value at infinite width, of numbers that have terms of order 1/n and 1/n^2."""
    value, error = line([np.asarray(widths, dtype=float) ** -k for k in range(3)], numbers)
    return float(value[0]), float(error[0])


def slope(widths: Sequence[int], numbers: Sequence[Number], corrected: bool = False) -> Number:
    """The power of n with which positive numbers change, corrected or not for a relative term of order 1/n."""
    logs = [(math.log(value), error / value) for value, error in numbers]
    columns = [np.ones(len(widths)), np.log(widths), 1 / np.asarray(widths)]
    value, error = line(columns[: 2 + corrected], logs)
    return float(value[1]), float(error[1])


def ntk_of_one_input(depth: int, K: float, C_W: float, lambda_b: float, lambda_W: float) -> float:
    """The NTK of scale-invariant critical networks grows by the same amount in every layer, as figure and text of
    arXiv:2508.11522 have it, and has no correction at finite width."""
    return depth * (lambda_b + lambda_W * K / C_W)


def active_neurons(activation: str, widths: Sequence[int]) -> Iterator[tuple[float, tuple[int, ...]]]:
    """The prior of a ReLU network is a mixture of those of linear networks of the numbers of its active neurons
    (arXiv:2104.11734): the weights of the mixture, and these numbers."""
    if activation == "linear":
        yield 1.0, tuple(widths)
        return
    for k in np.ndindex(*(n + 1 for n in widths)):
        yield float(np.prod([binom.pmf(a, n, 0.5) for a, n in zip(k, widths, strict=True)])), k


def moment_of_prior(activation: str, widths: Sequence[int], C_W: float, power: int) -> float:
    """E z^2 (power 1) or E z^4 (power 2) of an output whose kernel in layer 1 is one, arXiv:2104.11734: an output of a
    linear network is a normal variable times chi variables of its widths."""
    of_chi = {1: lambda k: k, 2: lambda k: k * (k + 2)}[power]
    of_normal = {1: 1, 2: 3}[power]
    mixture = active_neurons(activation, widths)
    products = (
        p * math.prod(of_chi(a) * (C_W / n) ** power for a, n in zip(k, widths, strict=True)) for p, k in mixture
    )
    return of_normal * sum(products)


def tail_of_prior(activation: str, widths: Sequence[int], C_W: float, z: float) -> float:
    """P(|output| > z) where the kernel of layer 1 is one: the Meijer G function of arXiv:2104.11734, integrated from z
    on, in the mixture of `active_neurons`."""
    total = 0.0
    for p, active in active_neurons(activation, widths):
        if 0 in active or p < 1e-12:
            continue
        b = [0.5, *(k / 2 for k in active)]
        unit = 2 * math.prod(2 * C_W / n for n in widths)
        with mpmath.workdps(20):
            G = mpmath.meijerg([[], [1]], [[0, *b], []], z**2 / unit)
            total += p * float(G / mpmath.fprod(mpmath.gamma(x) for x in b))
    return total


def edge_of_chaos(C_b: float, C_W: float) -> tuple[float, float]:
    """The fixed point q* of the kernel of tanh networks, and chi = C_W E tanh'(sqrt(q*) u)^2, which is one on the edge
    of chaos (arXiv:1611.01232)."""
    u, weight = np.polynomial.hermite_e.hermegauss(120)
    weight, q = weight / weight.sum(), 1.0
    for _ in range(1000):
        q = C_b + C_W * float(weight @ np.tanh(np.sqrt(q) * u) ** 2)
    return q, C_W * float(weight @ np.cosh(np.sqrt(q) * u) ** -4.0)


# The diagonal NTK of figure 2 of arXiv:2508.11522 is c + c'/n; c and c' were read off the curve of its vector graphics.
GELU = (1.74926, 1.4144)
NU = {"linear": 2, "relu": 5}  # log norms have the variance nu r and the mean -nu r/2 (arXiv:1812.05994)


def of_ntk_diagonal(sets: Sequence[Any]) -> Iterator[Row]:
    for data, name in named(sets):
        s = data.settings
        given = s["dynamics"]["lambda_b"][0], s["dynamics"]["lambda_W"][0]
        C_W, x = s["initialization"]["C_W"], data.samples()[0][0]
        K = C_W * float(x @ x) / len(x)
        value, error = jackknife(lambda H: H.mean(), data.read("H")[:, 0, -1])
        frozen = ntk_of_one_input(s["network"]["depth"], K, C_W, *given)
        yield Row("ntk_diagonal", name, "E H / Theta", 1.0, value / frozen, error / frozen)


def of_ntk_gelu(sets: Sequence[Any]) -> Iterator[Row]:
    for data, name in named(sets):
        n = data.settings["network"]["widths"][0]
        value, error = jackknife(lambda H: H.mean(), data.read("H")[:, 0, -1])
        yield Row("ntk_gelu", name, "E H", GELU[0] + GELU[1] / n, value, error)


def of_priors(sets: Sequence[Any]) -> Iterator[Row]:
    for data, name in named(sets):
        s = data.settings
        C_W, x, widths = s["initialization"]["C_W"], data.samples()[0][0], s["network"]["widths"]
        kernel = C_W * float(x @ x) / len(x)
        z, of = data.read("z")[:, 0, -1].astype(float) / math.sqrt(kernel), s["activation"]["name"]
        yield Row("priors", name, "E z^2", moment_of_prior(of, widths, C_W, 1), *jackknife(lambda z: (z**2).mean(), z))
        if widths[0] >= 16:  # fourth moments of narrower networks are carried by few of them
            fourth = moment_of_prior(of, widths, C_W, 2)
            yield Row("priors", name, "E z^4", fourth, *jackknife(lambda z: (z**4).mean(), z))
        if widths[0] <= 8:  # sums over active neurons stay short
            tail = tail_of_prior(of, widths, C_W, 2.0)
            yield Row("priors", name, "P(z^2 > 4)", tail, *jackknife(lambda z: (np.abs(z) > 2).mean(), z))


def of_log_norm(sets: Sequence[Any]) -> Iterator[Row]:
    for activation in NU:
        chosen = [data for data in sets if data.settings["activation"]["name"] == activation]
        widths = [data.settings["network"]["widths"][0] for data in chosen]
        r = (chosen[0].settings["network"]["depth"] - 1) / widths[0]
        logs = []
        for data in chosen:
            x = data.samples()[0][0]
            g = data.read("g")[:, 0, -1] / (data.settings["initialization"]["C_W"] * float(x @ x) / len(x))
            logs.append(np.log(g[(g > 0).all(axis=1)]))  # the theorem leaves out networks that are zero
        name, nu = f"{activation}, r = {r:g}, n to infinity", NU[activation]
        mean, spread = ([jackknife(f, log) for log in logs] for f in (np.mean, np.var))
        yield Row("log_norm", name, "E log g/K", -nu * r / 2, *limit(widths, mean))
        yield Row("log_norm", name, "Var log g/K", nu * r, *limit(widths, spread))


def of_erf_correlators(sets: Sequence[Any]) -> Iterator[Row]:
    widths = [data.settings["network"]["widths"][0] for data in sets]
    kernels = [data.read("g")[:, 0, -1].astype(float) for data in sets]
    name = f"erf, L = 2, n = {min(widths)} to {max(widths)}"
    cumulants = {2: np.var, 3: lambda g: ((g - g.mean()) ** 3).mean()}
    for k, of in cumulants.items():
        ours = slope(widths, [jackknife(of, g) for g in kernels])
        yield Row("erf_correlators", name, f"power of n of the connected {2 * k}-point function", 1.0 - k, *ours)


def of_ntk_change(sets: Sequence[Any]) -> Iterator[Row]:
    widths = [data.settings["network"]["widths"][0] for data in sets]
    moved = []
    for data in sets:
        H = data.read("H")[:, :, -1, 0].astype(float)
        moved.append(jackknife(lambda d: np.abs(d).mean(), H[:, 1:] - H[:, :1]))
    name, what = f"tanh, L = 2, n = {min(widths)} to {max(widths)}", "power of n of the NTK's change in training"
    yield Row("ntk_change", name, what, -1.0, *slope(widths, moved, corrected=True))


def of_edge_of_chaos(sets: Sequence[Any]) -> Iterator[Row]:
    widths = [data.settings["network"]["widths"][0] for data in sets]
    s = sets[0].settings["initialization"]
    q, chi = edge_of_chaos(s["C_b"], s["C_W"])
    name = f"tanh, C_W = {s['C_W']:g}, C_b = {s['C_b']:g}, n to infinity"
    kernels, ratios = [], []
    for data in sets:
        first, mixed, second = np.moveaxis(data.read("g")[:, 0], -1, 0)  # each (M, layers)
        layers = data.layout.layers
        power = 1 / (layers[-1] - layers[0])
        kernels.append(jackknife(np.mean, first[:, -1]))
        distance = first + second - 2 * mixed
        ratios.append(jackknife(lambda d, p=power: (d[:, -1].mean() / d[:, 0].mean()) ** p, distance))
    yield Row("edge_of_chaos", name, "q*", q, *limit(widths, kernels))
    yield Row("edge_of_chaos", name, "chi", chi, *limit(widths, ratios))


OF = {
    name.removeprefix("of_"): function
    for name, function in list(globals().items())
    if name.startswith("of_") and callable(function)
}


def named(sets: Sequence[Any]) -> Iterator[tuple[Any, str]]:
    """Each data set with its activation, depth and width in words."""
    for data in sets:
        network = data.settings["network"]
        yield data, f"{data.settings['activation']['name']}, L = {network['depth']}, n = {network['widths'][0]}"


def by_activation_and_width(data: Any) -> tuple[str, list[int]]:
    return data.settings["activation"]["name"], data.settings["network"]["widths"]


def rows(folder: Path) -> list[Row]:
    """The rows of all experiments whose data are in the folder."""
    found = []
    for name, of in OF.items():
        sets = sorted(simulate.find(folder / name), key=by_activation_and_width)
        found += list(of(sets))
    return found


def render(found: Sequence[Row]) -> str:
    """The table of docs/reproduce.md."""
    lines = ["| experiment | source | setting | quantity | published | ours | pull |", "| --- " * 7 + "|"]
    for row in found:
        (_, paper) = configs.compose("simulate", [f"experiment=reproduce/{row.experiment}"])["claim"]["source"].split(
            ":"
        )
        cells = [f"`{row.experiment}`", f"[{paper}](https://arxiv.org/abs/{paper})", row.setting, row.quantity]
        numbers = [f"{row.published:.5g}", f"{row.ours:.5g} ± {row.error:.2g}", f"{row.pull:+.2f}"]
        lines.append("| " + " | ".join([*cells, *numbers]) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("outputs/reproduce"))
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    found = rows(given.folder)
    print(render(found))
    if given.write:
        RECORD.write_text(json.dumps([asdict(row) for row in found], indent=1) + "\n")
        tables.insert(PAGE, render(found), COMMAND)


if __name__ == "__main__":
    main()
