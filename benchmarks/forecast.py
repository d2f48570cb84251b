"""Compare forecast time and peak memory with measurements over a grid of settings, each in a process of its own.

    python -m benchmarks.forecast [--seconds 5] [--write]

The number of networks is chosen so that each data set takes `--seconds` by its forecast, unless the settings state it.
The command prints a table, and with `--write` puts it into docs/. A good forecast is within a factor 1.5 in time and
within 20 % in the memory of the process.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import race, tables

GRID = (
    "network.width=16",
    "network.width=64 network.depth=4 observables=ntk",
    "network.width=256 network.depth=16 observables=ntk activation=relu inputs.count=2",
    "network.width=1024 network.depth=32 observables=ntk",
    "network.width=512 network.depth=8 observables=ntk inputs.count=20 network.outputs=3",
    "network.width=64 observables=kernel inputs.count=60 activation=erf",
    "network.width=32 network.depth=3 observables=kernel inputs.count=150",
    "network.width=256 network.depth=6 ensemble.sampler=dense observables=ntk ensemble.dtype=float64",
    "network.width=4096 network.depth=6 ensemble.sampler=dense observables=kernel",
    "network.width=2048 network.depth=10 ensemble.sampler=dense observables=ntk",
    "network.width=128 network.depth=4 observables=derivatives activation=gelu inputs.count=2",
    "network.width=64 network.depth=3 dynamics=gradient_descent dynamics.steps=100 observables=training",
    "network.width=256 network.depth=3 dynamics=gradient_flow dynamics.steps=30 observables=training",
    "network.width=100 network.depth=4 dynamics=sgd dynamics.batch=3 dynamics.steps=200 inputs.count=6 "
    "observables=training",
    "network.width=2048 network.depth=6 dynamics=momentum dynamics.steps=10 dynamics.eta=0.01 observables=training",
    "network.width=64 network.depth=3 dynamics=gradient_descent dynamics.steps=50 inputs.count=4 "
    "observables.record=[outputs,ntk,taylor]",
    # deep, where a block is computed whole for ten networks
    "network.width=64 network.depth=1000 ensemble.networks=10",
    "network.width=64 network.depth=2000 observables=kernel ensemble.networks=10",
    "network.width=64 network.depth=1000 observables=ntk ensemble.networks=10",
    "network.width=16 network.depth=10000 observables=ntk activation=relu observables.layers=[10000] "
    "ensemble.networks=10",
    "network.width=64 network.depth=3000 observables=ntk activation=gelu observables.layers=[3000] inputs.count=4",
    "network.width=32 network.depth=300 ensemble.sampler=dense observables=ntk",
    "network.width=32 network.depth=1000 dynamics=gradient_descent dynamics.steps=3 dynamics.eta=0.01 "
    "observables=training ensemble.networks=10",
    # many outputs, many inputs, float64
    "network.width=256 network.depth=4 observables=ntk network.outputs=50 inputs.count=2",
    "network.width=256 network.depth=4 network.outputs=100",
    "network.width=128 network.depth=4 observables=ntk inputs.count=60",
    "network.width=64 network.depth=4 observables.record=[moments] inputs.count=12",
    "network.width=64 network.depth=4 observables.record=[dntk] inputs.count=12",
    "network.width=64 network.depth=100 observables=ntk observables.output_layers=[5,50,100] inputs.count=2",
    "network.width=64 network.depth=4 ensemble.dtype=float64 observables=ntk inputs.count=4",
    "network.width=512 network.depth=30 ensemble.dtype=float64 observables=ntk inputs.count=2 activation=swish",
    # sweeps
    "experiment=ntk activation=relu,gelu",
    "network.width=32,512 network.depth=4,16 observables=ntk activation=tanh,relu,swish",
)

CHILD = """
import json, sys, tempfile, time
from dataclasses import replace
from pathlib import Path
from simulate.api import prepared, read_sweep
from simulate.running import forecast, memory, runner
from simulate.running.plan import computed, part_size
from simulate.running.progress import Progress

seconds, overrides = float(sys.argv[1]), sys.argv[2:] + ["ensemble.device=cpu", "workers=1"]
with tempfile.TemporaryDirectory() as folder:
    settings = read_sweep([*overrides, f"output={folder}/a"])
    jobs = prepared(settings)
    start = memory.unused()
    each = forecast.network_seconds(jobs)
    if not any("ensemble.networks" in override for override in overrides):
        for k, job in enumerate(jobs):
            networks = max(int(seconds / len(jobs) / each[k] / part_size(job)), 1) * part_size(job)
            settings[k] = replace(settings[k], ensemble=replace(settings[k].ensemble, networks=networks))
    jobs = prepared(settings)
    bytes_forecast = start + max(sum(memory.peak_bytes(job)) for job in jobs)
    began = time.perf_counter()
    runner.run(jobs, Progress(quiet=True))
    took = time.perf_counter() - began
status = Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
networks = sum(job.last for job in jobs)
forecast_seconds = sum(s * computed(job, job.last) for s, job in zip(each, jobs))
figures = {"networks": networks, "forecast": forecast_seconds, "took": took, "memory": bytes_forecast, "peak": peak}
print(json.dumps(figures))
"""


def measured(settings: str, seconds: float) -> dict[str, Any]:
    """Forecast and measurement of time (seconds) and memory (bytes) of a data set or a sweep."""
    command = [sys.executable, "-c", CHILD, str(seconds), *settings.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {"settings": settings} | json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--write", action="store_true", help="put table and JSON into docs/")
    options = parser.parse_args()
    rows = []
    for settings in GRID:
        rows.append(measured(settings, options.seconds))
        print(tables.forecast_row(rows[-1]), flush=True)
    result = {"machine": race.machine(), "seconds": options.seconds, "rows": rows}
    text = tables.forecasts(result)
    print(text)
    if options.write:
        docs = Path(__file__).parents[1] / "docs"
        (docs / "forecast.json").write_text(json.dumps(result, indent=1) + "\n")
        tables.insert(docs / "cluster.md", text, "python -m benchmarks.forecast --write")


if __name__ == "__main__":
    main()
