"""Progress of a run: a live bar on a terminal, plain lines anywhere else."""

import sys
import time
from typing import Any, TextIO


class Progress:
    """A count of networks that are done.

    stream: where lines go, stderr by default; interval: seconds between plain lines; quiet: whether nothing is printed.
    """

    def __init__(self, stream: TextIO | None = None, interval: float = 10.0, quiet: bool = False):
        self.stream = stream if stream is not None else sys.stderr
        self.interval, self.quiet = interval, quiet
        self.total = self.done = 0
        self.work = self.worked = 0.0
        self.cost: dict[str, float] = {}
        self.left: dict[str, int] = {}
        self.size: dict[str, int] = {}
        self.bar: Any = None

    def start(self, name: str, networks: int, missing: int, cost: float) -> None:
        """Announce a data set of `networks` networks, of which `missing` are still to be computed.

        cost: work of one network in any unit, which weighs the data sets of a sweep against each other.
        """
        self.cost[name] = cost
        self.work += missing * cost
        self.left[name], self.size[name] = missing, missing
        self.total += missing
        if missing < networks:
            self.say(f"{name}: {networks - missing:,} of {networks:,} networks are there already")

    def __enter__(self) -> "Progress":
        self.began = self.last = time.monotonic()
        if not self.quiet and self.stream.isatty() and self.total:
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (BarColumn(), TextColumn("{task.fields[text]}"), TimeRemainingColumn())
            self.bar = Bar(*columns, console=Console(file=self.stream))
            self.bar.start()
            self.task = self.bar.add_task("", total=self.work, text="")
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()
            self.bar = None

    def advance(self, name: str, networks: int) -> None:
        """Count networks of the data set `name` that were committed, and print what is due."""
        self.done += networks
        self.worked += networks * self.cost[name]
        self.left[name] -= networks
        now = time.monotonic()
        rate = self.done / max(now - self.began, 1e-9)
        if self.bar:
            text = f"{self.done:,} of {self.total:,} networks, {rate:,.0f}/s"
            self.bar.update(self.task, completed=self.worked, text=text)
        elif now - self.last >= self.interval:
            self.last = now
            left = (self.work / self.worked - 1) * (now - self.began)
            self.say(f"{self.done:,} of {self.total:,} networks, {rate:,.0f}/s, {left:,.0f} s left")
        if not self.left[name]:
            self.say(f"{name}: {self.size[name]:,} networks done, {now - self.began:.1f} s since the start")

    def say(self, text: str) -> None:
        """Print a line above the bar, or in the log."""
        if self.quiet:
            return
        if self.bar:
            self.bar.console.print(text, highlight=False)
        else:
            print(text, file=self.stream, flush=True)
