"""Judge claims with wrong theories and wrong simulations, and print which claim rejects which mutant.

    python -m benchmarks.mutants [--claims general,ntk] [--networks 20000] [--seconds 60] [--write]

Each mutant is a mistake that once passed every claim. A wrong theory judges the data of a right simulation, and the
right theory judges the data of a wrong simulation. Functions are exchanged in this process, and no file is changed.
--claims: all of benchmarks/small_claims.py unless given. --networks: of each data set, instead of those given there.
--seconds: a claim that spends more seconds of CPU without a mutant is tried with none. --write puts the numbers into
docs/mutants.json, where they replace those of the same claims, and the table into docs/results.md.
"""

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import analysis
import simulate
from analysis.estimators import Array
from analysis.theory import layer, recursion
from analysis.theory.layer import Layer, Tensors
from analysis.theory.tensors import RECURSIONS
from benchmarks import small_claims, tables
from benchmarks.exchange import Exchange, exchanged
from benchmarks.small_claims import CLAIMS
from simulate.networks import dense, law, streams
from simulate.running import samplers
from simulate.training import algorithms

# ------------------------------------------------------------------- wrong theories


def _exchanged_L(self: Layer, X: Array) -> Array:
    """L_ab of docs/theory.md (1.4) with X_aa and X_bb exchanged."""
    diagonal = np.einsum("...aa->...a", X)
    first, second = self.M(2, 0) * diagonal[..., None, :], self.M(0, 2) * diagonal[..., :, None]
    return self.C_W / 2 * (first + 2 * self.M(1, 1) * X + second)


class _Transposed(Layer):
    """A layer whose <s_a s''_b> is transposed."""

    def M(self, i: int, j: int) -> Array:
        return self.expectations.tensor(j, i) if {i, j} == {0, 2} else self.expectations.tensor(i, j)


def _transposed_F(here: Layer, old: Tensors, new: Tensors) -> Array:
    """F of docs/theory.md (2.8) with <s_b s''_d> transposed."""
    return _F.step(_Transposed(**{field.name: getattr(here, field.name) for field in fields(here)}), old, new)


def _inverse_ratio(*givens: Any) -> Layer:
    """A step with 1/rho for rho of docs/theory.md section 0."""
    right = Layer(*givens)
    return replace(right, rho=1 / right.rho)


def _late_rates(name: str, value: Any, depth: int) -> Array:
    """Rates of which a step from layer l to l + 1 takes those of layer l."""
    rates = _layerwise(name, value, depth)
    return np.concatenate([rates[:1], rates[:-1]])


def _without_biases(*givens: Any) -> Layer:
    """A step that drops C_b, which layer 1 has."""
    return replace(Layer(*givens), C_b=0.0)


def _exchanged_fourth(self: Layer, order: int, V: Array) -> Array:
    """The contraction of docs/theory.md (1.6) with 4 V_aabb + 2 V_abab for 2 V_aabb + 4 V_abab."""
    excess = 2 * (np.einsum("aabb->ab", V) - np.einsum("abab->ab", V))
    return _fourth(self, order, V) + excess * self.M(order + 2, order + 2)


_F, _layerwise, _fourth = RECURSIONS["F"], recursion.layerwise, Layer.fourth
THEORIES: dict[str, tuple[Exchange, ...]] = {
    "X_aa and X_bb exchanged in L_ab": ((layer.Layer, "L", _exchanged_L),),
    "<s_b s''_d> transposed in F": ((RECURSIONS, "F", replace(_F, step=_transposed_F)),),
    "1/rho for rho": ((recursion, "Layer", _inverse_ratio),),
    "rates of layer l for those of l + 1": ((recursion, "layerwise", _late_rates),),
    "C_b dropped above layer 1": ((recursion, "Layer", _without_biases),),
    "4 V_aabb + 2 V_abab in the quartic contraction": ((layer.Layer, "fourth", _exchanged_fourth),),
}


# ------------------------------------------------------------------- wrong simulations


def _fan_out(rates: Sequence[float], sizes: Sequence[int]) -> tuple[float, ...]:
    """The lambda_W with which lambda_W / n_{l-1} is the right lambda_W over n_l, in hidden layers."""
    last = len(rates) - 1
    return tuple(rate * sizes[k] / sizes[k + 1] if k < last else rate for k, rate in enumerate(rates))


def _fan_out_rates(t: algorithms.Training, rate: float, bare: bool = False) -> list[tuple[float, float]]:
    sizes = [t.parameters.W[0].shape[-1], *(W.shape[-2] for W in t.parameters.W)]
    dynamics = replace(t.dynamics, lambda_W=_fan_out(t.dynamics.lambda_W, sizes))
    return _rates(replace(t, dynamics=dynamics), rate, bare)


def _fan_out_ntk(parameters: dense.Parameters, *rest: Any) -> torch.Tensor:
    *others, lambda_b, lambda_W = rest
    sizes = [parameters.W[0].shape[-1], *(W.shape[-2] for W in parameters.W)]
    return _dense_ntk(parameters, *others, lambda_b, _fan_out(lambda_W, sizes))


def _fan_out_law(settings: Any, layers: list[law.Drawn], *rest: Any) -> dict[int, torch.Tensor]:
    sizes = [settings.network.widths[0], *settings.network.widths, settings.network.outputs]
    dynamics = replace(settings.dynamics, lambda_W=_fan_out(settings.dynamics.lambda_W, sizes))
    return _law_ntk(replace(settings, dynamics=dynamics), layers, *rest)


def _uniform(self: streams.Stream, kind: int, at: int, *shape: int, scale: float = 1.0) -> torch.Tensor:
    """Weights with a uniform law of the same variance."""
    z = _normal(self, kind, at, *shape, scale=scale)
    if kind == streams.WEIGHTS:
        z.div_(scale * 2**0.5).erf_().mul_(scale * 3**0.5)
    return z


def _one_step_less(t: algorithms.Training, steps: tuple[int, ...]) -> Iterator[int]:
    """A training that begins with its second step."""
    t.done = 1
    return _trajectory(t, steps)


_rates, _dense_ntk, _law_ntk = algorithms._rates, dense.ntk, law.ntk
_normal, _trajectory = streams.Stream.normal, samplers.trajectory
SIMULATIONS: dict[str, tuple[Exchange, ...]] = {
    "fan-out rates": (
        (algorithms, "_rates", _fan_out_rates), (dense, "ntk", _fan_out_ntk), (law, "ntk", _fan_out_law),
    ),
    "uniform weights": ((streams.Stream, "normal", _uniform),),
    "one training step too few": ((samplers, "trajectory", _one_step_less),),
}  # fmt: skip


_SHORT = ("L", "F", "rho", "rates", "C_b", "quartic", "fan-out", "uniform", "step")
SHORT = dict(zip([*THEORIES, *SIMULATIONS], _SHORT, strict=True))  # their names in the table of docs/results.md


@contextmanager
def mutated(name: str) -> Iterator[None]:
    """While it lasts the theory or the simulation has the mistake of that name; `none` has none."""
    with exchanged({"none": (), **THEORIES, **SIMULATIONS}[name]), ExitStack() as stack:
        for cached in _predictions():
            stack.callback(cached.cache_clear)
            cached.cache_clear()
        yield


def _predictions() -> list[Any]:
    """The functions of the measures that keep what theory predicts."""
    modules = [
        module for name, module in sys.modules.items() if name.startswith(("analysis.measures", "analysis.points"))
    ]
    return [kept for module in modules for kept in vars(module).values() if hasattr(kept, "cache_clear")]


@dataclass(frozen=True)
class Row:
    """How one claim judges one mutant: the verdict, and the largest deviation of a coefficient with its test."""

    mutant: str
    claim: str
    networks: int  # of each data set
    verdict: str
    pull: float
    test: str
    seconds: float | None = None  # of CPU, for this judgement and its networks; rows of 2026-11-25 have none


def _judged(mutant: str, claim: str, networks: int, sets: Callable[[], Any]) -> Row:
    """What a claim says of data sets, with the right or a wrong theory or simulation."""
    began = time.process_time()
    with mutated(mutant):
        verdict = analysis.analyze(sets(), figures=False, workers=1).verdicts[0]
    worst, spent = max(verdict.judged, key=lambda j: abs(j.fit.pull)), time.process_time() - began
    return Row(
        mutant, claim, networks, verdict.verdict, round(worst.fit.pull, 1), worst.fit.series.test, round(spent, 1)
    )


def rows(
    claim: str, mutants: Sequence[str], networks: int = 0, seconds: float = math.inf, overrides: Sequence[str] = ()
) -> Iterator[Row]:
    """The claim with no mutant and with each of `mutants`, but without these where the first takes more seconds of CPU.

    networks: of each data set, if not those of benchmarks/small_claims.py. overrides: further settings of the claim.
    """
    networks = networks or small_claims.CLAIMS[claim].networks
    given = (*small_claims.overrides(claim), f"ensemble.networks={networks}", *overrides)
    with tempfile.TemporaryDirectory() as folder:

        def simulated(name: str, *further: str) -> Any:
            return simulate.sweep(*given, *further, f"output={Path(folder) / name.replace(' ', '-')}")

        right = cache(partial(simulated, "right"))
        yield (first := _judged("none", claim, networks, right))
        if first.seconds > seconds:
            return
        apart = small_claims.without(claim)
        for name in (name for name in mutants if name not in apart):
            dense_only = ("ensemble.sampler=dense",) if name == "uniform weights" else ()
            yield _judged(name, claim, networks, right if name in THEORIES else partial(simulated, name, *dense_only))


def survivors(found: Sequence[Row]) -> list[str]:
    """The mutants that no claim rejects."""
    dead = {row.mutant for row in found if row.verdict == "disagrees"}
    return [name for name in dict.fromkeys(row.mutant for row in found) if name not in dead | {"none"}]


def recorded(docs: Path) -> list[Row]:
    """The rows of docs/mutants.json."""
    return [Row(**row) for row in json.loads((docs / "mutants.json").read_text())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=0)
    parser.add_argument("--claims", type=lambda text: text.split(","), default=list(CLAIMS))
    parser.add_argument("--seconds", type=float, default=math.inf)
    parser.add_argument("--write", action="store_true", help="put table and JSON into docs/")
    options = parser.parse_args()
    if unknown := set(options.claims) - set(CLAIMS):
        parser.error(f"--claims: unknown {', '.join(sorted(unknown))}; known are {', '.join(CLAIMS)}")
    found = []
    for claim in options.claims:
        for row in rows(claim, [*THEORIES, *SIMULATIONS], options.networks, options.seconds):
            found.append(row)
            print(json.dumps(asdict(row)), file=sys.stderr, flush=True)
    docs = Path(__file__).parents[1] / "docs"
    if options.write:
        found = [row for row in recorded(docs) if row.claim not in options.claims] + found
    text = tables.mutants([asdict(row) for row in found], SHORT)
    print(text, *(f"{name}: passes all claims" for name in survivors(found)), sep="\n")
    if options.write:
        lines = ",\n".join(json.dumps(asdict(row)) for row in found)
        (docs / "mutants.json").write_text(f"[\n{lines}\n]\n")
        tables.insert(docs / "results.md", text, "python -m benchmarks.mutants --write")


if __name__ == "__main__":
    main()
