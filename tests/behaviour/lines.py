"""What the programs print and refuse, for the tests of the command line."""

import pytest

import analysis.__main__
import simulate.__main__
from simulate import status

Capture = pytest.CaptureFixture[str]
MAINS = {"simulate": simulate.__main__.main, "analysis": analysis.__main__.main, "status": status.main}


def printed(capsys: Capture, *given: str, program: str = "simulate") -> str:
    assert MAINS[program](list(given)) == 0
    return capsys.readouterr().out


def refused(capsys: Capture, *given: str, program: str = "simulate") -> str:
    """The one line of an error."""
    assert MAINS[program](list(given)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1, "one line"
    assert len(error) < 600 or len(" ".join(given)) > 300
    return error
