"""From a built wheel, in another directory: the command line, the configs and the report's template come along."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_built_wheel_works_elsewhere(tmp_path: Path) -> None:
    source = tmp_path / "source"  # a copy: building leaves files behind
    for name in ("simulate", "analysis", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--target",
        str(site),
        str(wheel),
    ]
    subprocess.run(install, check=True, capture_output=True)
    away = tmp_path / "away"
    away.mkdir()

    def python(*arguments: str) -> str:
        environment = os.environ | {"PYTHONPATH": str(site)}
        done = subprocess.run([sys.executable, *arguments], cwd=away, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = python(
        "-c", "import simulate, analysis, configs; print(simulate.__file__, analysis.__file__, configs.__file__)"
    )
    assert all(path.startswith(str(site)) for path in where.split())
    small = ["network.width=8,16,32,64", "ensemble.networks=64", "output=o", "workers=1", "ensemble.device=cpu"]
    python("-m", "simulate", "experiment=demo/ntk_mean", *small)
    assert "report: o/analysis/report.html" in python("-m", "analysis", "data=o")
    assert (away / "o" / "analysis" / "report.html").stat().st_size > 10_000
