"""Progress of a run is printed as plain lines in a log and as a bar on a terminal."""

import io
import time

import pytest

from simulate.running.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(stream: io.StringIO, interval: float = 0.0) -> str:
    """Everything that is printed about a run of two data sets, one of which was begun earlier."""
    progress = Progress(stream, interval)
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


def test_terminal_gets_a_bar() -> None:
    text = printed(Terminal())
    assert "300 of 300 networks" in text
    assert "\x1b" in text


def test_time_left_weighs_costs(monkeypatch: pytest.MonkeyPatch) -> None:
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
