"""What threads that write behind a device save, on a CPU: the device is emulated.

    python -m benchmarks.overlap [--draw 0 0.3 1 3] [--threads 0 1 2] [--networks 1048576] [--rounds 3]

The emulated device sleeps for the time that it would draw a block, `--draw` us a network, and has its rows; copies and
writing are those of a run. With 0 threads the process writes a part before the next is drawn, as it does on a CPU.
Elapsed time is told in us a network, of the fastest round: the sum of drawing and writing without threads, and with one
the longer of both if nothing else binds.
"""

import argparse
import tempfile
import time
from typing import Any

import torch
from torch import Tensor

from benchmarks.exchange import exchanged
from simulate.api import read_one
from simulate.running import compute, plan, runner
from simulate.running.jobs import Job
from simulate.running.prepare import prepare
from simulate.running.progress import Progress

LAW = ["network.width=256", "network.depth=8", "inputs.count=1", "observables=kernel", "ensemble.device=cpu",
       "workers=1", "ensemble.block=65536"]  # fmt: skip


def rows_of(job: Job) -> tuple[dict[str, Tensor], Tensor]:
    """Rows of a block, whose numbers are normals."""
    layout, generator = job.layout, torch.Generator().manual_seed(0)
    cells = (job.block, len(layout.steps), len(layout.layers))
    where: dict[str, Any] = {"dtype": getattr(torch, layout.dtype), "generator": generator}
    rows = {f.prefix: torch.randn(*cells, len(layout.indices(f)), **where) for f in layout.families()}
    return rows, torch.ones(cells[:2], dtype=torch.bool)


def seconds(networks: int, draw: float, threads: int) -> float:
    """Seconds a network of a run on a device that draws one in `draw` seconds."""
    with tempfile.TemporaryDirectory() as folder:
        job = prepare(read_one([*LAW, f"ensemble.networks={networks}", f"output={folder}/a"]))
        rows = rows_of(job)

        def drawn(*_: object) -> tuple[dict[str, Tensor], Tensor]:
            time.sleep(draw * job.block)
            return rows

        with exchanged([(compute, "measured_block", drawn), (plan, "writing_threads", lambda job: threads)]):
            began = time.perf_counter()
            runner.run([job], Progress(quiet=True))
            return (time.perf_counter() - began) / networks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draw", type=float, nargs="+", default=[0.0, 0.3, 1.0, 3.0], help="us a network")
    parser.add_argument("--threads", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--networks", type=int, default=2**20)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print("| drawing, us | " + " | ".join(f"{threads} threads" for threads in options.threads) + " |")
    print("| --- |" + " --- |" * len(options.threads))
    for draw in options.draw:
        times: dict[int, list[float]] = {threads: [] for threads in options.threads}
        for _ in range(options.rounds):
            for threads in options.threads:
                times[threads].append(1e6 * seconds(options.networks, 1e-6 * draw, threads))
        print(f"| {draw:g} | " + " | ".join(f"{min(each):.2f}" for each in times.values()) + " |")


if __name__ == "__main__":
    main()
