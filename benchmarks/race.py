"""The race compares this project with the libraries that a user would pick instead, and with the machine's limits.

    python -m benchmarks.race [--rounds 5] [--seconds 0.5] [--jax PYTHON] [--newest-jax PYTHON] [--write] [--history]

`make bench` runs it. `make bench-peers` also makes an environment with JAX and neural-tangents, and one with the newest
JAX, which only trains because neural-tangents does not import with it, and includes them.
Rounds are interleaved (A B C A B C ...), each contender has one thread, and medians are quoted. Machines are shared and
noisy, so ratios are more reliable than rates. --write puts tables, JSON and a figure into docs/, and --history a row
into benchmarks/history.jsonl. --cpu is for a machine that others keep busy: it counts the time of the processor, races
up to n = WIDEST alone, and leaves out what cannot be told there: memory, start-up, processes and exponents.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import contenders as timing
from benchmarks import history
from benchmarks.ceilings import binding, ceilings, rate
from benchmarks.contenders import Array, Case, Contender, Jax, modules, ours, torch_func

INIT = (Case("ntk", 64, 4, 4), Case("ntk", 256, 8, 4), Case("ntk", 1024, 8, 4), Case("ntk", 1024, 32, 2))
TRAIN = (
    Case("train", 64, 3, 4, 50),
    Case("train", 64, 3, 16, 50),
    Case("train", 256, 3, 8, 20),
    Case("train", 512, 6, 8, 100),
)
# The number of networks in a batch of a peer, by width. Of 1 to 256 it is the fastest, or within a few percent of it.
BATCH = {64: 64, 256: 16, 512: 4, 1024: 1}
WIDEST = 256  # of the cases that are raced on a busy machine
FALSE_ALARM = 1e-4  # the probability that a row is void although its statistics are equal
COMPARED_FROM = 30  # with fewer values a contender's statistics are not compared


def contenders(case: Case, jax: Jax | None, newest: Jax | None = None) -> dict[str, Contender]:
    """The contenders of a case by name. Ours come first. newest: the newest JAX, which trains only."""
    batch = BATCH[case.n]
    found: dict[str, Contender] = {}
    if case.work == "ntk":
        found |= {f"ours, {s}": ours(case, f"ensemble.sampler={s}") for s in ("law", "dense")}
    else:
        found["ours"] = ours(case)
    if jax:
        found["neural-tangents" if case.work == "ntk" else "JAX vmap + scan"] = jax.contender(case, batch)
    if newest and case.work == "train":
        found[f"JAX {newest.version} vmap + scan"] = newest.contender(case, batch)
    return found | {"torch.func": torch_func(case, batch), "loop of nn.Module": modules(case)}


def disagreement(values: dict[str, Array]) -> dict[str, float]:
    """The largest |z| of mean and mean square of each contender against the first, or NaN if it has too few values."""
    first, largest = next(iter(values.values())), {}
    for name, x in values.items():
        if len(x) < COMPARED_FROM:
            largest[name] = float("nan")
            continue
        z = []
        for power in (1, 2):
            a, b = first**power, x**power
            z.append(abs(a.mean() - b.mean()) / np.sqrt(a.var() / len(a) + b.var() / len(b)))
        largest[name] = float(max(z))
    return largest


def race(case: Case, jax: Jax | None, rounds: int, seconds: float, newest: Jax | None = None) -> dict[str, Any]:
    """The rates of all contenders of a case in interleaved rounds, and how far their values agree."""
    runs = contenders(case, jax, newest)
    for run in runs.values():
        run(0.0)  # warms it up for the first round
    rates: dict[str, list[float]] = {name: [] for name in runs}
    values: dict[str, list[Array]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            speed, x = run(seconds)
            rates[name].append(speed)
            values[name].append(x)
    z = disagreement({name: np.concatenate(x) for name, x in values.items()})
    limit = float(-statistics.NormalDist().inv_cdf(FALSE_ALARM / 4))
    peers = {name: statistics.median(r) for name, r in rates.items() if not name.startswith("ours")}
    best = max(peers.values())
    rows = []
    for name, r in rates.items():
        median = statistics.median(r)
        rows.append(
            {
                "contender": name,
                "networks/s": median,
                "spread": (max(r) - min(r)) / median,
                "to best peer": median / best,
                "to JAX": median / peers[jax_name] if (jax_name := _jax_name(peers)) else None,
                "z": z[name],
                "void": z[name] > limit,
            }
        )
    return {"case": case.name, "work": case.work, "best peer": max(peers, key=lambda k: peers[k]), "rows": rows}


def _jax_name(names: Any) -> str | None:
    return next((n for n in names if n in ("neural-tangents", "JAX vmap + scan")), None)


# ------------------------------------------------------------------------------------------- the rest of the table


def _child(code: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


MEMORY_CHILD = """
import json, pathlib, tempfile
from simulate.api import read_one
from simulate.running import runner
from simulate.running.cost import network_bytes
from simulate.running.prepare import prepare
from simulate.running.progress import Progress

def run(count, folder):
    job = prepare(read_one({overrides} + [f"ensemble.networks={{count}}", f"output={{folder}}"]))
    runner.run([job], Progress(quiet=True))
    return job

def status(key):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024

with tempfile.TemporaryDirectory() as folder:
    small = {overrides} + ["network.width=2"]
    runner.run([prepare(read_one(small + [f"output={{folder}}/0"]))], Progress(quiet=True))  # loads all modules
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    base = status("VmRSS")
    job = prepare(read_one({overrides}))
    run({blocks} * job.block, folder + "/1")
held = job.block * network_bytes(64, {N}, job.settings) / 2**20
print(json.dumps({{"over": status("VmHWM") - base, "rule": held, "networks": {blocks} * job.block}}))
"""


def memory(case: Case, sampler: str) -> dict[str, Any]:
    """MiB that four and sixteen blocks add to a process that has drawn a tiny network."""
    overrides = [*case.overrides(), f"ensemble.sampler={sampler}"]
    few, many = [_child(MEMORY_CHILD.format(overrides=overrides, N=case.N, blocks=blocks)) for blocks in (4, 16)]
    return {"case": case.name, "sampler": sampler, "few": few, "many": many}


def start_up(rounds: int) -> float:
    """The median time of `python -m simulate --help` in seconds."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "simulate", "--help"], capture_output=True, check=True)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def processes(rounds: int) -> dict[str, float]:
    """Median seconds of a run by one and by two worker processes, and their ratio.

    "ideal" is the ratio for two runs of one process each, which make the two halves at the same time. They share
    nothing, so it is the most that the machine can give.
    """
    networks = 1_000_000
    base = [*INIT[1].overrides(), "ensemble.sampler=law"]
    code = (
        "import sys, time, simulate\n"
        "if __name__ == '__main__':\n"
        "    t = time.perf_counter(); simulate.run(*sys.argv[1:]); print(time.perf_counter() - t)\n"
    )
    times: dict[str, list[float]] = {"one": [], "two": [], "halves": []}
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "run.py"
        script.write_text(code)

        def start(name: str, workers: int, first: int, count: int) -> subprocess.Popen[str]:
            overrides = [*base, f"output={folder}/{name}", f"workers={workers}", f"ensemble.first={first}"]
            command = [sys.executable, str(script), *overrides, f"ensemble.networks={count}"]
            return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

        for k in range(rounds):
            half = networks // 2
            for name, runs in {
                "one": [(1, 0, networks)],
                "two": [(2, 0, networks)],
                "halves": [(1, 0, half), (1, half, half)],
            }.items():
                started = [start(f"{name}-{k}-{i}", *run) for i, run in enumerate(runs)]
                times[name].append(max(float(process.communicate()[0]) for process in started))
    one, two, halves = (statistics.median(values) for values in times.values())
    return {"networks": networks, "one": one, "two": two, "ratio": one / two, "ideal": one / halves}


AXES: dict[str, tuple[int, ...]] = {"n": (128, 256, 512, 1024), "L": (4, 8, 16, 32), "N_D": (1, 2, 4, 8)}


def scaling(seconds: float) -> list[dict[str, Any]]:
    """The cost of a network against n, L and N_D around (256, 8, 4), and its exponent at the upper end."""
    curves = []
    for sampler in ("law", "dense"):
        for axis, points in AXES.items():
            cost = []
            for value in points:
                sizes = {"n": 256, "L": 8, "N_D": 4} | {axis: value}
                run = ours(Case("ntk", sizes["n"], sizes["L"], sizes["N_D"]), f"ensemble.sampler={sampler}")
                cost.append(1 / run(seconds)[0])
            slope = float(np.polyfit(np.log(points[-3:]), np.log(cost[-3:]), 1)[0])
            curve = {"sampler": sampler, "axis": axis, "points": list(points), "seconds": cost, "exponent": slope}
            curves.append(curve)
    return curves


def machine() -> str:
    """The processor and the versions of libraries as text."""
    name = platform.processor() or platform.machine()
    cpu = Path("/proc/cpuinfo")
    if cpu.exists():
        name = next(
            (line.partition(":")[2].strip() for line in cpu.read_text().splitlines() if "model name" in line), name
        )
    import numba

    capability = torch.backends.cpu.get_cpu_capability()
    return f"{name}, {capability}; torch {torch.__version__}, numba {numba.__version__}, numpy {np.__version__}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="seconds of each contender in each round")
    parser.add_argument("--jax", help="the Python of an environment with jax and neural-tangents")
    parser.add_argument("--newest-jax", help="the Python of an environment with the newest jax, which trains only")
    parser.add_argument("--write", action="store_true", help="put tables, JSON and figure into docs/")
    parser.add_argument("--history", action="store_true", help="add a row to benchmarks/history.jsonl, and draw all")
    parser.add_argument("--cpu", action="store_true", help="count CPU time and race alone: for a busy machine")
    options = parser.parse_args()
    if options.cpu and options.write:
        parser.error("--write: the tables of docs/ are made without --cpu")
    timing.by_cpu = options.cpu
    at = history.commit() if options.history else None
    torch.set_num_threads(1)
    jax, newest = (Jax(python) if python else None for python in (options.jax, options.newest_jax))
    if not jax:
        print("JAX and neural-tangents are left out; `make bench-peers` includes them", flush=True)
    actions = ceilings()
    measured: dict[str, list[float]] = {name: [] for name in actions}
    races = []
    cases = [case for case in (*INIT, *TRAIN) if not options.cpu or case.n <= WIDEST]
    for case in cases:
        for name, action in actions.items():
            measured[name].append(rate(action))
        races.append(race(case, jax, options.rounds, options.seconds, newest))
        print(
            f"{case.work} {case.name}: "
            + ", ".join(f"{r['contender']} {r['networks/s']:,.1f}" for r in races[-1]["rows"]),
            flush=True,
        )
    top = {name: statistics.median(values) for name, values in measured.items()}
    for case, outcome in zip(cases, races, strict=True):
        for row in outcome["rows"]:
            if row["contender"].startswith("ours"):
                row |= binding(case, row["contender"], row["networks/s"], top)
    result: dict[str, Any] = {"machine": machine() + "; CPU time" * options.cpu, "ceilings": top, "races": races}
    if at:
        history.enter(result, at)
    if options.cpu:
        print(", ".join(f"{name} {value:,.1f}" for name, value in top.items()))
        return
    result |= {
        "rounds": options.rounds,
        "seconds": options.seconds,
        "memory": [memory(case, sampler) for case in INIT for sampler in ("law", "dense")],
        "start-up": start_up(options.rounds),
        "processes": processes(options.rounds // 4 + 1),
        "scaling": scaling(options.seconds),
    }
    from benchmarks import tables

    text = tables.render(result)
    print(text)
    if options.write:
        docs = Path(__file__).parents[1] / "docs"
        (docs / "performance.json").write_text(json.dumps(result, indent=1) + "\n")
        tables.plot(result, docs / "cost.png")
        tables.insert(docs / "performance.md", text, "python -m benchmarks.race --write")


if __name__ == "__main__":
    main()
