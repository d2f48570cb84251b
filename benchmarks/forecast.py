"""Compare forecast time and peak memory with measurements over a grid of settings, each in a process of its own.

    python -m benchmarks.forecast [--seconds 5]

The number of networks is chosen so that each data set takes `--seconds` by its forecast. The command prints a table. A
good forecast is within a factor 1.5 in time and within 20 % in the memory of the process.
"""

import argparse
import json
import statistics
import subprocess
import sys

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
)

CHILD = """
import json, sys, tempfile, time
from pathlib import Path
from simulate.api import read_one
from simulate.running import forecast, memory, runner
from simulate.running.plan import part_size
from simulate.running.prepare import prepare
from simulate.running.progress import Progress

seconds, settings = float(sys.argv[1]), sys.argv[2:] + ["ensemble.device=cpu", "workers=1"]
with tempfile.TemporaryDirectory() as folder:
    job = prepare(read_one([*settings, f"output={folder}/a"]))
    bytes_forecast = memory.resident() + sum(memory.peak_bytes(job))
    (network_seconds,) = forecast.network_seconds([job])
    networks = max(int(seconds / network_seconds / part_size(job)), 1) * part_size(job)
    job = prepare(read_one([*settings, f"ensemble.networks={networks}", f"output={folder}/a"]))
    began = time.perf_counter()
    runner.run([job], Progress(quiet=True))
    took = time.perf_counter() - began
status = Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
forecast_seconds = networks * network_seconds
figures = {"networks": networks, "forecast": forecast_seconds, "took": took, "memory": bytes_forecast, "peak": peak}
print(json.dumps(figures))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    print("| settings | networks | s, forecast | s, measured | ratio | MiB, forecast | MiB, measured | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    times, memories = [], []
    for settings in GRID:
        command = [sys.executable, "-c", CHILD, str(options.seconds), *settings.split()]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        figures = json.loads(done.stdout.splitlines()[-1])
        times.append(figures["forecast"] / figures["took"])
        memories.append(figures["memory"] / figures["peak"])
        short = settings.replace("network.", "").replace("observables.", "").replace("ensemble.", "")
        print(
            f"| {short} | {figures['networks']:,} | {figures['forecast']:.1f} | {figures['took']:.1f} "
            f"| {times[-1]:.2f} | {figures['memory'] / 2**20:.0f} | {figures['peak'] / 2**20:.0f} "
            f"| {memories[-1]:.2f} |",
            flush=True,
        )
    for name, ratios, limit in (("time", times, 1.5), ("memory", memories, 1.2)):
        beyond = sum(not 1 / limit <= ratio <= limit for ratio in ratios)
        print(
            f"\n{name}: forecast over measured is {min(ratios):.2f} to {max(ratios):.2f}, with median "
            f"{statistics.median(ratios):.2f}; {beyond} of {len(ratios)} are beyond a factor {limit}"
        )


if __name__ == "__main__":
    main()
