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


def test_console_commands_do_not_look_into_the_current_folder(installed: Command, site: Path, tmp_path: Path) -> None:
    """A user's own analysis.py or configs/ breaks `python -m analysis`, as it breaks any -m, and not ng-analyze."""
    (tmp_path / "analysis.py").write_text("raise SystemExit('the analysis of another project')\n")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "__init__.py").write_text("raise SystemExit('the configs of another project')\n")
    assert "another project" in installed("-m", "analysis", "--help").stderr, "the control"
    scripts = site / "bin"
    assert installed(scripts / "ng-analyze", "--help").stdout.startswith("usage: python -m analysis data=DIR")
    assert installed(scripts / "ng-until", "--help").stdout.startswith(
        "usage: python -m analysis.until experiment=NAME"
    )
    small = ["network.width=4", "ensemble.networks=8", "workers=2", "ensemble.device=cpu", "output=o"]
    done = installed(scripts / "ng-simulate", *small)
    assert done.returncode == 0, done.stderr
    assert installed(scripts / "ng-status", "o").stdout == "o: 8 of 8 networks\n"
