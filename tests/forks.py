"""Python processes for tests, forked from one that has imported the libraries, which takes seconds in a new process.

This project's own packages are not among them: each process imports these, and compiles or loads its loops, as a new
one does. Tests of memory, of imports, and of variables that libraries read when they load start new processes instead.
"""

import atexit
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import types
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path

LIBRARIES = ("torch", "numba", "numba.core.registry", "numba.core.caching", "pandas", "pyarrow.parquet", "jsonschema",
             "concurrent.futures.process",
             "hydra", "hydra.core.global_hydra", "hydra._internal.config_loader_impl", "scipy.stats", "scipy.optimize",
             "scipy.interpolate", "matplotlib.pyplot", "lsqfit", "gvar", "jinja2", "rich.table", "rich.progress",
             "psutil")  # fmt: skip


class Forked:
    """A process, as subprocess.Popen has it: those of its methods that tests use."""

    def __init__(self, arguments: list[str], cwd: str, environment: dict[str, str], new_session: bool):
        self.files = [tempfile.TemporaryFile("w+") for _ in range(2)]  # noqa: SIM115
        ours, theirs = socket.socketpair()
        request = json.dumps([arguments, cwd, environment, new_session]).encode()
        descriptors = [theirs.fileno(), *(file.fileno() for file in self.files)]
        _, server = _server()
        socket.send_fds(server, [len(request).to_bytes(4)], descriptors)
        server.sendall(request)
        theirs.close()
        self.connection, self.returncode = ours, None
        self.pid = int.from_bytes(_received(ours, 4))

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self.connection.settimeout(timeout)
            try:
                self.returncode = int.from_bytes(_received(self.connection, 4), signed=True)
            except TimeoutError:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0) from None
            self.connection.close()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self.wait(timeout)
        texts = []
        for file in self.files:
            with file:
                file.seek(0)
                texts.append(file.read())
        return texts[0], texts[1]

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def start(
    *arguments: str | Path,
    cwd: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    start_new_session: bool = False,
) -> Forked | subprocess.Popen[str]:
    """Start what `python *arguments` would: -m module, -c code, or a script. Both outputs are kept."""
    words, where = [str(word) for word in arguments], str(cwd or Path.cwd())
    if sys.platform == "linux":
        return Forked(words, where, dict(environment), start_new_session)
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": start_new_session}
    return subprocess.Popen([sys.executable, *words], cwd=where, env=dict(environment), text=True, **both)


def run(
    *arguments: str | Path, cwd: Path | None = None, environment: Mapping[str, str] = os.environ, check: bool = False
) -> subprocess.CompletedProcess[str]:
    process = start(*arguments, cwd=cwd, environment=environment)
    stdout, stderr = process.communicate()
    done = subprocess.CompletedProcess([str(word) for word in arguments], process.returncode, stdout, stderr)
    if check:
        assert done.returncode == 0, stderr
    return done


@cache
def _server() -> tuple[subprocess.Popen[bytes], socket.socket]:
    """The process that forks, one for each process of the tests, and the connection to it, with which it ends."""
    ours, theirs = socket.socketpair()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, __file__, str(theirs.fileno())]
    process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment, start_new_session=True)
    theirs.close()
    return process, ours


def _received(connection: socket.socket, count: int) -> bytes:
    received = connection.recv(count, socket.MSG_WAITALL)
    assert len(received) == count, "the process that forks has ended"
    return received


# What follows runs in the process that forks, and in its forks.


def _serve(requests: socket.socket) -> None:
    """Two forks for each request: a process, and one that waits for it and reports its exit code."""
    path = sys.path[1:]  # without the folder of this file
    for library in LIBRARIES:
        importlib.import_module(library)
    target = sys.modules["numba.core.registry"].cpu_target
    target.typing_context.refresh()  # numba reads what it knows of the language with the first loop
    target.target_context.refresh()
    while True:
        size, descriptors, _, _ = socket.recv_fds(requests, 4, 3)
        if not size:
            return
        arguments, cwd, environment, new_session = json.loads(_received(requests, int.from_bytes(size)))
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those who wait are not waited for
        if not _fork():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            requests.close()
            process = _fork()
            if not process:
                if new_session:
                    os.setsid()
                with socket.socket(fileno=descriptors[0]) as report:
                    report.sendall(os.getpid().to_bytes(4))
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                for number, descriptor in enumerate(descriptors[1:], 1):
                    os.dup2(descriptor, number)
                    os.close(descriptor)
                _leave(_become(arguments, cwd, environment, path))
            _, status = os.waitpid(process, 0)
            with socket.socket(fileno=descriptors[0]) as report:
                report.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, signed=True))
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def _fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the threads of OpenBLAS end at a fork and begin anew
        return os.fork()


def _become(arguments: list[str], cwd: str, environment: dict[str, str], path: list[str]) -> object:
    """Run what `python *arguments` runs; returns what it hands to sys.exit."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    own = [folder for folder in environment.get("PYTHONPATH", "").split(os.pathsep) if folder]
    what, *rest = arguments
    first = {"-m": cwd, "-c": ""}.get(what, str(Path(what).parent))
    sys.path[:] = [first, *own, *path]
    importlib.invalidate_caches()
    sys.argv = [what, *rest[1:]] if what in ("-m", "-c") else arguments
    try:
        if what == "-m":
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        elif what == "-c":
            main = sys.modules["__main__"] = types.ModuleType("__main__")
            exec(compile(rest[0], "<string>", "exec"), vars(main))
        else:
            runpy.run_path(what, run_name="__main__")
    except SystemExit as end:
        return end.code
    except BaseException:
        traceback.print_exc()
        return 1
    return None


def _leave(code: object) -> None:
    if not isinstance(code, int | None):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit((code or 0) & 255)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
