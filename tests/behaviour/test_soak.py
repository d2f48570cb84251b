"""Runs that are killed with SIGKILL at 200 random times lose nothing.

The test takes minutes. `make soak` runs it, and docs/reliability.md has the last result.
"""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from simulate.store.parts import committed
from simulate.store.sets import DataSet, open_data_set
from tests import forks

KILLS = 200
SEED = 20261124
MANY = ["network.width=24", "ensemble.networks=12000", "ensemble.block=10", "observables=ntk", "ensemble.device=cpu"]
# A simulation with parts of one block, which commits every few milliseconds.
SCRIPT = (
    "import sys\nfrom simulate.running import plan\n"
    "if __name__ == '__main__':\n"
    "    plan.PART_WORK, plan.PARTS = 0, 10**6\n"
    "    from simulate.__main__ import main\n"
    "    sys.exit(main(sys.argv[1:]))\n"
)


@pytest.mark.long
def test_kills_at_random_times(tmp_path: Path, run: Callable[..., DataSet]) -> None:
    """Each data set is run again and again, and its processes are killed, until one run completes.

    The data set equals an undisturbed one bit for bit, no committed part is written a second time, and each worker
    leaves at most one unfinished part.
    """
    script, rng = tmp_path / "run.py", random.Random(SEED)
    script.write_text(SCRIPT)
    undisturbed = run(*MANY).table()
    began = time.monotonic()
    forks.run(script, *MANY, "workers=1", f"output={tmp_path}/whole", check=True)
    took = time.monotonic() - began
    kills = sets = caught = 0
    while kills < KILLS:
        out, workers, stamps = tmp_path / f"set-{sets}", 1 + sets % 2, {}
        sets += 1
        while True:
            unfinished = {*out.glob(".*.tmp")}  # of the kills before, as these files are kept for ten seconds
            process = forks.start(script, *MANY, f"workers={workers}", f"output={out}", start_new_session=True)
            began = time.monotonic()
            try:
                process.wait(rng.uniform(0, took))  # a kill comes at any time of a run
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):  # it has ended just now
                    os.killpg(process.pid, signal.SIGKILL)
            _, stderr = process.communicate()
            if process.returncode == 0:
                if not stamps:  # a whole run, which takes as long as the machine is fast by now
                    took = time.monotonic() - began
                break
            assert process.returncode == -signal.SIGKILL, stderr
            kills += 1
            now = {name: name.stat().st_mtime_ns for name in out.glob("networks/part-*.parquet")}
            assert stamps.items() <= now.items(), "a committed part was written again"
            caught += len(now) > len(stamps)
            stamps = now
            assert len({*out.glob(".*.tmp")} - unfinished) <= workers
        done = {name: name.stat().st_mtime_ns for name in out.glob("networks/part-*.parquet")}
        assert stamps.items() <= done.items()
        assert len(committed(out)) == 1200
        assert not list(out.glob("*.damaged-*"))
        assert open_data_set(out).table().equals(undisturbed)
    print(f"{took:.1f} s a run, {kills} kills, {caught} of them after a part was committed, {sets} data sets, losses 0")
    assert caught > KILLS / 10, "kills come too early to test anything"
