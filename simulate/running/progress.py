"""Progress of a run: a live bar on a terminal and in a notebook, plain lines anywhere else."""

import sys
import time
import warnings
from dataclasses import dataclass
from typing import Any, TextIO

from simulate.system import counted


@dataclass
class _Run:
    """The networks of one data set: how many are to be made and how many of them are left, what one costs by forecast,
    and how many of the committed ones were timed, with their seconds."""

    size: int
    left: int
    forecast: float
    timed: int = 0
    seconds: float = 0.0

    @property
    def done(self) -> int:
        return self.size - self.left


def in_notebook() -> bool:
    """Whether output goes to a notebook's cell, which takes carriage returns and is no terminal."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


class _Line:
    """A bar that is one line of text, drawn again and again; used as a bar of rich is."""

    WIDTH = 30

    def __init__(self, stream: TextIO):
        self.stream, self.console, self.last = stream, self, ""

    def _write(self, text: str, end: str = "") -> None:
        print(f"\r{text.ljust(len(self.last))}", end=end, file=self.stream, flush=True)
        self.last = "" if end else text

    def update(self, task: object, completed: float, text: str) -> None:
        full = round(self.WIDTH * completed)
        self._write(f"[{'#' * full}{'.' * (self.WIDTH - full)}] {text}")

    def print(self, text: str, highlight: bool = False) -> None:
        """A line of its own; the bar goes on below it."""
        bar = self.last
        self._write(text, "\n")
        self._write(bar)

    def stop(self) -> None:
        self._write(self.last, "\n")


class Progress:
    """A count of networks that are done, and the time that the others take.

    stream: where lines go, stderr by default; interval: seconds between plain lines; quiet: whether nothing is printed;
    redraws: whether the stream takes a bar of one line though it is no terminal, as a notebook does.
    """

    def __init__(
        self, stream: TextIO | None = None, interval: float = 10.0, quiet: bool = False, redraws: bool | None = None
    ):
        self.redraws = in_notebook() if redraws is None else redraws
        self.stream = stream if stream is not None else sys.stderr
        self.interval, self.quiet = interval, quiet
        self.total = self.done = 0
        self.runs: dict[str, _Run] = {}
        self.first: tuple[float, str, int] | None = None  # when the first networks were committed, of what, how many
        self.bar: Any = None

    def start(self, name: str, networks: int, missing: int, cost: float) -> None:
        """Announce a data set of `networks` networks, of which `missing` are still to be computed.

        cost: work of one network in any unit, which weighs the data sets of a sweep against each other.
        """
        self.runs[name] = _Run(missing, missing, cost)
        self.total += missing
        if missing < networks:
            self.say(f"{name}: {networks - missing:,} of {networks:,} networks are there already")

    def weigh(self, name: str, cost: float) -> None:
        """Replace the cost of a network of one data set; costs of all data sets of a sweep have the same unit."""
        self.runs[name].forecast = cost

    def costs(self) -> dict[str, float]:
        """The cost of a network of each data set: the seconds that its networks took where they were timed, else its
        forecast, scaled by what those that were timed cost in seconds."""
        timed = [run for run in self.runs.values() if run.timed]
        forecast = sum(run.forecast * run.timed for run in timed)
        scale = sum(run.seconds for run in timed) / forecast if forecast else 1.0
        return {name: run.seconds / run.timed if run.timed else run.forecast * scale for name, run in self.runs.items()}

    def work(self) -> tuple[float, float]:
        """The work that is done and the work that is left."""
        costs = self.costs()
        done, left = (
            sum(getattr(run, part) * costs[name] for name, run in self.runs.items()) for part in ("done", "left")
        )
        return done, left

    def seconds_left(self, now: float) -> float | None:
        """The time that the work left takes at the speed so far, None where nothing is done.

        The time until the first commit does not count once there is a second one: it also loads and compiles.
        """
        done, left = self.work()
        since = self.began
        if self.first is not None:
            when, name, networks = self.first
            if (later := done - networks * self.costs()[name]) > 1e-9 * done:
                done, since = later, when
        return left / done * (now - since) if done else None

    def __enter__(self) -> "Progress":
        self.began = self.last = time.monotonic()
        if not self.quiet and self.stream.isatty() and self.total:
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            self.bar = Bar(BarColumn(), TextColumn("{task.fields[text]}"), console=Console(file=self.stream))
            self.bar.start()
            self.task = self.bar.add_task("", total=1.0, text="")
        elif not self.quiet and self.redraws and self.total:
            self.bar, self.task = _Line(self.stream), None
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()
            self.bar = None

    def advance(self, name: str, networks: int, seconds: float | None = None) -> None:
        """Count networks of the data set `name` that were committed, and print what is due.

        seconds: of one process for these networks, where they are known.
        """
        run = self.runs[name]
        self.done += networks
        run.left -= networks
        if seconds is not None:
            run.timed += networks
            run.seconds += seconds
        now = time.monotonic()
        self.first = self.first or (now, name, networks)
        due = now - self.last >= self.interval
        if self.bar or due:
            seconds_left = self.seconds_left(now)
            text = f"{self.done:,} of {self.total:,} networks, {self.done / max(now - self.began, 1e-9):,.0f}/s"
            text += "" if seconds_left is None else f", {seconds_left:,.0f} s left"
            if self.bar:
                done, left = self.work()
                self.bar.update(self.task, completed=done / ((done + left) or 1.0), text=text)
            else:
                self.last = now
                self.say(text)
        if not run.left:
            self.say(f"{name}: {counted(run.size, 'network')} done, {now - self.began:.1f} s since the start")

    def warn(self, text: str) -> None:
        """Print a line, or where nothing is printed, as in a notebook, warn as Python does."""
        if self.quiet:
            warnings.warn(text, stacklevel=2)
        self.say(f"warning: {text}")

    def say(self, text: str) -> None:
        """Print a line above the bar, or in the log."""
        if self.quiet:
            return
        if self.bar:
            self.bar.console.print(text, highlight=False)
        else:
            print(text, file=self.stream, flush=True)
