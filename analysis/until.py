"""python -m analysis.until experiment=NAME [--budget=20min] [--most=N] [overrides]"""

import math
import re
import signal
import sys
from dataclasses import replace
from typing import Any

from analysis import decide
from analysis.pipeline import analyze, write
from analysis.remedy import UNTIL
from analysis.result import Options
from configs.arguments import Program, exit_status, run_command
from simulate import api
from simulate.launchers import LAUNCHERS
from simulate.settings import SettingsError
from simulate.store import locks
from simulate.store.files import StoreError

OPTIONS = ("alpha", "power", "prior_width")
RESUME = ("parts and looks are kept", "run the same command to go on")
VALUES = (("--budget",), ("--most",), *((f"--{name.replace('_', '-')}",) for name in OPTIONS))
PROGRAM = Program(UNTIL, "ng-until", (("--no-figures",),), VALUES, configured=False)
UNITS = {"s": 1, "min": 60, "h": 3600}
USAGE = f"""usage: python -m analysis.until experiment=NAME [flags] [key=value ...]

Draws networks where they buy most, and judges the claim again and again, until each of its tests agrees or disagrees or
the budget ends. The looks share alpha, so that repeated looks do not raise the false-alarm rate (docs/until.md).

  --budget=20min      seconds of one core or device that all networks may take: 90s, 20min, 1.5h
  --most=N            networks a data set, at most
  --alpha=0.01, --power=0.95, --prior-width=3.0    as of python -m analysis
  --no-figures        leaves out the figures of the report
  --config-dir=DIR, --version, --help

The first look has 1/{decide.FIRST} of ensemble.networks. Repeat the command to go on after an interruption, and with a
larger budget after it has ended."""


def budget_of(text: str) -> float:
    """20min -> 1200. SettingsError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|min|h)", text)
    if not match or not float(match[1]):
        raise SettingsError("--budget", text, "a time, as 90s, 20min or 1.5h")
    return float(match[1]) * UNITS[match[2]]


def main(arguments: list[str]) -> int:
    """0: done, whatever the verdict; 1: failed; 2: a setting or the data are wrong; 130: interrupted."""
    return exit_status(lambda: _main(arguments), (ValueError, StoreError, locks.HeldError), RESUME)


def _main(arguments: list[str]) -> int:
    flags = PROGRAM.parse(arguments)
    if flags.help:
        print(USAGE)
        return 0
    given: dict[str, Any] = {name: _number(name, getattr(flags, name)) for name in OPTIONS if getattr(flags, name)}
    options = replace(Options(), **given, figures=not flags.no_figures)
    most = _number("most", flags.most) if flags.most else math.inf
    if not (most >= 1 and (most == math.inf or most.is_integer())):
        raise SettingsError("--most", flags.most, "a number of networks, 1 or more")
    limits = decide.Limits(budget_of(flags.budget or "20min"), most)
    settings, cluster = api.read_all(flags.rest, True, flags.config_dir)
    if not LAUNCHERS[cluster.launcher].here:
        raise SettingsError("cluster", cluster.launcher, "networks are drawn here, between looks: cluster=local")
    command = api.command_line(arguments)
    whole = command["command"].replace("-m simulate", f"-m {UNTIL}", 1)
    folder = decide.decide(settings, options, limits, command | {"command": whole})
    named = {name: getattr(options, name) for name in (*OPTIONS, "figures")}
    result = analyze([s.output for s in settings], **named)
    report = write(result, folder / "analysis")
    from analysis.report.terminal import print_table

    print_table(result)
    print(f"\nreport: {report}")
    return 0


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SettingsError(f"--{name.replace('_', '-')}", text, "a number") from None


def command() -> int:
    """The console command, which does not look for packages in the current folder as `python -m` does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return run_command(main)


if __name__ == "__main__":
    sys.exit(command())
