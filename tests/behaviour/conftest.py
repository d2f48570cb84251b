"""Fixtures with the project as a user has it: a wheel, built once, is installed in a folder without a checkout; and
the command line without what it starts."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from simulate import api
from tests import forks

ROOT = Path(__file__).parents[2]
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The folder of packages in which the wheel is installed, one for all processes of the tests."""
    root = tmp_path_factory.getbasetemp()
    root = root if worker_id == "master" else root.parent
    with open(root / "wheel.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "wheel" / "site").exists():
            _install(root / "wheel")
    return root / "wheel" / "site"


def _install(folder: Path) -> None:
    """Build the wheel, and install it in folder/site. It shares its compiled loops with this checkout: numba takes a
    loop from its cache where the source has the name, the size and the time that it had when the loop was compiled."""
    source = folder / "source"  # a copy: building leaves files behind
    for name in ("simulate", "analysis", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip"]
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "-w", folder, source], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    install = [*pip, "install", "-q", "--no-deps", "--no-index", "--target", folder / "site", wheel]
    subprocess.run(install, check=True, capture_output=True)
    numerics = Path("simulate", "numerics")
    for path in (ROOT / numerics).glob("*.py"):
        times = path.stat()
        os.utime(folder / "site" / numerics / path.name, ns=(times.st_atime_ns, times.st_mtime_ns))
    cache = folder / "site" / numerics / "__pycache__"
    shutil.rmtree(cache, ignore_errors=True)
    (ROOT / numerics / "__pycache__").mkdir(exist_ok=True)
    cache.symlink_to(ROOT / numerics / "__pycache__")


@pytest.fixture
def installed(site: Path, tmp_path: Path) -> Command:
    """installed("-m", "simulate", ...) runs Python in `tmp_path` with the installed packages."""

    def python(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return forks.run(*arguments, cwd=tmp_path, environment=os.environ | {"PYTHONPATH": str(site)})

    return python


@pytest.fixture
def nothing_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What would run ends here, in a folder of its own: for tests of what comes before."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(api, "launch", lambda settings, *_: print(f"runs {len(settings)}") or [])
