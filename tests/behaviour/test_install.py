"""A wheel that is installed in another folder contains the command line, the configs and the report's template."""

from pathlib import Path

from tests.behaviour.conftest import Command


def test_built_wheel_works_elsewhere(installed: Command, site: Path, tmp_path: Path) -> None:
    def python(*arguments: str) -> str:
        done = installed(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = python(
        "-c", "import simulate, analysis, configs; print(simulate.__file__, analysis.__file__, configs.__file__)"
    )
    assert all(path.startswith(str(site)) for path in where.split())
    small = ["network.width=8,16,32,64", "ensemble.networks=64", "output=o", "workers=1", "ensemble.device=cpu"]
    python("-m", "simulate", "experiment=demo/ntk_mean", *small)
    assert "report: o/analysis/report.html" in python("-m", "analysis", "data=o")
    assert (tmp_path / "o" / "analysis" / "report.html").stat().st_size > 10_000
