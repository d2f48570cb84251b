"""Writers in containers of their own: processes that see neither each other's numbers nor, some of them, /dev/shm."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulate.store import locks
from simulate.store.files import sweep_up

# A writer that holds networks [0, 100), begins a file, and then tells its number.
WRITER = """
import os, sys
from pathlib import Path
from simulate.store import disk, locks
path = Path(sys.argv[1])
temporary = path / f".part-x.parquet.{disk.host().replace('.', '-')}.{os.getpid()}.tmp"
with locks.writing(path, 0, 100), disk.create(temporary) as stream:
    disk.lock(stream)
    print(os.getpid(), flush=True)
    sys.stdin.read()
"""


def unshared(*options: str) -> list[str]:
    """The beginning of a command in namespaces of its own. Where there are none, the test skips itself."""
    command = ["unshare", *options]
    try:
        probe = subprocess.run([*command, "true"], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no unshare here")
    if probe.returncode:
        pytest.skip(f"no namespaces can be made here: {probe.stderr.strip()}")
    return command


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A writer to `tmp_path` in a namespace of processes of its own, and its number there."""
    command = [*unshared("--pid", "--fork", "--kill-child"), sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process, int(process.stdout.readline())
        process.kill()


def test_a_writer_of_another_namespace_lives(elsewhere: tuple[subprocess.Popen[str], int], tmp_path: Path) -> None:
    """It is named, its range is refused, and what it has begun to write is kept; when it is killed, nothing is."""
    process, number = elsewhere
    assert number == 1, "the control: here, process 1 is another one"
    (temporary,) = tmp_path.glob(".*.tmp")
    os.utime(temporary, (time.time() - 100, time.time() - 100))
    with pytest.raises(locks.HeldError, match=r"networks 0 to 99 .* process 1 on "), locks.writing(tmp_path, 50, 150):
        pass
    with locks.writing(tmp_path, 100, 200):
        sweep_up(tmp_path)
    assert temporary.exists()
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while locks.writers(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.01)
    with locks.writing(tmp_path, 50, 150):
        sweep_up(tmp_path)
    assert not temporary.exists()


def test_two_workers_without_semaphores(tmp_path: Path) -> None:
    """Where /dev/shm is read-only, workers=2 is refused in one line that names it, and workers=auto takes one."""
    code = (
        "import sys; from simulate.running import runner; from simulate.__main__ import main\n"
        "runner.workers = lambda settings: settings.workers or 2  # whatever the machine has\n"
        "codes = [main([*sys.argv[1:], *more]) for more in (['workers=2'], [])]; sys.exit(codes != [2, 0])"
    )
    arguments = ["network.width=8", "ensemble.networks=8", "ensemble.device=cpu", f"output={tmp_path}/a"]
    command = [*unshared("--mount"), "sh", "-c", 'mount -t tmpfs -o ro tmpfs /dev/shm && exec "$@"', "sh"]
    done = subprocess.run([*command, sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    if "mount:" in done.stderr:
        pytest.skip("no file system can be mounted here")
    assert done.returncode == 0, done.stderr
    (refusal,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert refusal.startswith("error: workers=2: ")
    assert "/dev/shm ([Errno 30] Read-only file system); workers=1 needs none" in refusal
    assert "workers=auto: one process, because" in done.stderr
