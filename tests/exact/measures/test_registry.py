"""Every measure has a symbol for each tensor, a fit, and a unit test here that is named after it."""

import importlib
import pkgutil
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from analysis import claims
from analysis.measures.measured import MEASURES, Measure, measure
from analysis.models import MODELS
from analysis.points import Point
from simulate.registry import Registry
from tests.exact.measures.rows import inputs_of, rows


def unit_tests() -> set[str]:
    """The names of all tests of measures."""
    modules = [name for _, name, _ in pkgutil.iter_modules([str(Path(__file__).parent)]) if name.startswith("test_")]
    return {name for module in modules for name in vars(importlib.import_module(f"{__package__}.{module}"))}


def untested(names: Iterable[str]) -> list[str]:
    found = unit_tests()
    return [name for name in names if f"test_{name}" not in found]


def cites(text: str | None) -> bool:
    """Whether a docstring cites an equation or a chapter."""
    return bool(text and re.search(r"docs/theory\.md \(\d+\.\d+\)|PDLT ch\. \d", text))


def test_a_docstring_without_a_source_is_found() -> None:
    assert cites("V is docs/theory.md (1.3).")
    assert not cites("V is known, see (1.3).")
    assert not cites(None)


def test_every_measure_has_a_unit_test() -> None:
    assert untested(MEASURES) == []
    assert untested(["V", "a_measure_that_is_new"]) == ["a_measure_that_is_new"], "negative control"


@pytest.mark.parametrize("name", claims.tests())
def test_records_are_whole(name: str) -> None:
    record = claims.tests()[name]
    assert record.name == name
    assert record.model in MODELS
    assert record.symbols
    assert all(tensor and symbol.strip("$ ") for tensor, symbol in record.symbols.items())
    assert all(claims.symbol(name, tensor) == symbol for tensor, symbol in record.symbols.items())
    assert record.families
    assert record.steps in ("start", "end", "both")
    assert record.table in ("never", "start", "untrained", "trained")
    assert cites(record.function.__doc__)


def test_a_name_is_entered_once() -> None:
    with pytest.raises(ValueError, match="measure 'V' is there already"):
        measure("V", symbol="$V$", families=("g",))(MEASURES["V"].function)


def test_a_fit_has_to_be_known() -> None:
    with pytest.raises(ValueError, match=r"measure 'new': model='splines': known are powers, exponent"):
        measure("new", symbol="$N$", families=("g",), model="splines")
    assert "new" not in MEASURES
    assert isinstance(MEASURES, Registry)


def test_needs_of_a_new_measure(registries: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A measure that is added is checked by its record alone."""
    registry: Registry[Measure] = Registry("measure")
    monkeypatch.setattr("analysis.measures.measured.MEASURES", registry)

    @measure("new", symbol="$N$", families=("g",), outputs=3, needs=lambda point: iter([f"inputs: {point.D} samples"]))
    def new(point: Point, layers: object) -> object:
        """Nothing (PDLT ch. 0)."""
        return iter(())

    assert registry == {"new": new}
    assert "new" not in MEASURES
    data = rows("network.outputs=2", "observables=kernel", x=inputs_of([[1.0, 0.3], [0.3, 0.8]]))
    assert list(new.missing(data.point)) == ["network.outputs=2: new needs 3 outputs", "inputs: 2 samples"]
