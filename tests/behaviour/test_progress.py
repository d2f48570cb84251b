"""Progress of a run is printed as plain lines in a log and as a bar on a terminal."""

import io
import re
import time
from pathlib import Path

import pytest

from simulate import api
from simulate.running import runner
from simulate.running.progress import Progress, in_notebook


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(stream: io.StringIO, interval: float = 0.0, redraws: bool = False) -> str:
    """Everything that is printed about a run of two data sets, one of which was begun earlier."""
    progress = Progress(stream, interval, redraws=redraws)
    progress.start("a", 300, 200, 1.0)
    progress.start("b", 100, 100, 4.0)
    with progress:
        time.sleep(0.02)
        for name, count in (("a", 100), ("a", 100), ("b", 50), ("b", 50)):
            progress.advance(name, count)
    return stream.getvalue()


def test_plain_lines() -> None:
    lines = printed(io.StringIO()).splitlines()
    assert lines[0] == "a: 100 of 300 networks are there already"
    assert "100 of 300 networks" in lines[1]
    assert "s left" in lines[1]
    assert any(line.startswith("a: 200 networks done") for line in lines)
    assert lines[-1].startswith("b: 100 networks done")
    assert "\x1b" not in "".join(lines)


def test_a_log_is_not_flooded() -> None:
    assert len(printed(io.StringIO(), interval=60).splitlines()) == 3


def test_a_notebook_gets_a_bar_of_one_line() -> None:
    """Where a line is drawn again, what stays of it is what follows the last carriage return."""
    shown = printed(io.StringIO(), redraws=True).split("\n")
    lines = [line.rpartition("\r")[2] for line in shown]
    assert lines[0] == "a: 100 of 300 networks are there already"
    assert re.match(r"a: 200 networks done, .* since the start +$", lines[1])
    assert re.match(r"b: 100 networks done, ", lines[2])
    assert re.match(rf"\[{'#' * 30}\] 300 of 300 networks, ", lines[3])
    assert shown[3].count("\r") >= 2
    assert lines[4:] == [""]
    assert "\r" not in printed(io.StringIO()), "the control"
    assert not in_notebook()


def test_terminal_gets_a_bar() -> None:
    text = printed(Terminal())
    assert "300 of 300 networks" in text
    assert "\x1b" in text


def left(clock: pytest.MonkeyPatch, forecast: dict[str, float], commits: list[tuple[str, float, float]]) -> list[int]:
    """The seconds that each line says are left, of runs of 100 networks each.

    forecast: the cost of a network. commits: of ten networks each, the run, the clock then, and their seconds.
    """
    times = iter([0.0, *(when for _, when, _ in commits)])
    clock.setattr(time, "monotonic", lambda: next(times))
    stream = io.StringIO()
    progress = Progress(stream, 0.0)
    for name, cost in forecast.items():
        progress.start(name, 100, 100, cost)
    with progress:
        for name, _, seconds in commits:
            progress.advance(name, 10, seconds)
    return [int(found.replace(",", "")) for found in re.findall(r"([\d,]+) s left", stream.getvalue())]


def spent(*runs: tuple[str, int, float]) -> list[tuple[str, float, float]]:
    """The commits of one process that makes so many networks of each run, each in so many seconds."""
    commits, now = [], 0.0
    for name, networks, each in runs:
        for _ in range(networks // 10):
            now += 10 * each
            commits.append((name, now, 10 * each))
    return commits


@pytest.mark.parametrize("order", [("narrow", "wide"), ("wide", "narrow")])
def test_time_left_is_that_of_measured_costs(order: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A network takes 1 s or 4 s, whichever run comes first. The forecast says 1 s and 40 s: it stands for the run that
    has not begun, scaled by the one that has, and no longer once some of its networks are timed. Forecasts that are
    right give the right time from the first line on."""
    each, wrong = {"narrow": 1.0, "wide": 4.0}, {"narrow": 1.0, "wide": 40.0}
    commits = spent(*((name, 100, each[name]) for name in order))
    right = [round(500 - when) for _, when, _ in commits]
    assert left(monkeypatch, each, commits) == right
    found = left(monkeypatch, {name: wrong[name] for name in order}, commits)
    assert found[10:] == right[10:], "both are timed"
    other = {"narrow": 100 * 40.0, "wide": 100 * 0.1}[order[0]]
    assert found[:10] == [round(100 * each[order[0]] - when + other) for _, when, _ in commits[:10]]


def test_time_left_does_not_count_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a minute until the first commit the others take a second each, and the second line knows it."""
    commits = [("a", 60.0 + 10.0 * k, 10.0) for k in range(10)]
    assert left(monkeypatch, {"a": 1.0}, commits) == [540, *range(80, -1, -10)]


def test_time_left_of_networks_that_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the cheap half of the networks four fifths of the work remain, so four times the time so far is left."""
    clock = iter([0.0, 10.0, 100.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    stream = io.StringIO()
    progress = Progress(stream, 5.0)
    progress.start("a", 100, 100, 1.0)
    progress.start("b", 100, 100, 4.0)
    with progress:
        progress.advance("a", 100)
    assert "40 s left" in stream.getvalue()


def test_a_run_tells_its_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The forecast of a sweep, made before it starts, weighs its runs; then those of parts that are timed do, with the
    seconds that the log of commits has."""
    overrides = ["network.width=16,64", "ensemble.sampler=dense", "ensemble.networks=100", "ensemble.block=10"]
    settings = api.read_sweep([*overrides, "ensemble.device=cpu", "workers=1", f"output={tmp_path}/s"])
    monkeypatch.setattr(runner, "worth_it", lambda jobs, missing, processes, say: [0.25, 0.5])
    weighed: list[dict[str, float]] = []

    class Spy(Progress):
        def __enter__(self) -> Progress:
            weighed.append(self.costs())
            return super().__enter__()

    progress = Spy(io.StringIO())
    sets = runner.run(api.prepared(settings), progress)
    assert [*weighed[0].values()] == [0.25, 0.5]
    for data, cost in zip(sets, progress.costs().values(), strict=True):
        networks, seconds = zip(*data.timed(), strict=True)
        assert cost == pytest.approx(sum(seconds) / sum(networks))
