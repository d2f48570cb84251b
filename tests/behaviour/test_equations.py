"""The index of equations, docs/equations.md, is complete and true, and citations have one form."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def index() -> ModuleType:
    """The module docs/equations.py, which is a script outside all packages."""
    spec = importlib.util.spec_from_file_location("equations", ROOT / "docs" / "equations.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["equations"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def known(index: ModuleType) -> list[str]:
    return [equation.number for equation in index.equations(index.THEORY.read_text())]


def test_every_equation_is_found(index: ModuleType, known: list[str]) -> None:
    """Equations are numbered without a gap in each section, and each has its section and its chapter of PDLT.
    Sections 5, 11, 14, 16 and 17 have a part of the numbers of longer lists, in their order."""
    assert len(known) >= 94
    assert known == list(dict.fromkeys(known))
    for section in {number.partition(".")[0] for number in known}:
        places = [int(number.partition(".")[2]) for number in known if number.startswith(f"{section}.")]
        part = section in ("5", "11", "14", "16", "17")
        assert places == (sorted(places) if part else list(range(1, len(places) + 1))), section
    for equation in index.equations(index.THEORY.read_text()):
        assert equation.section.startswith(equation.number.partition(".")[0] + ". ")
        assert "PDLT" in equation.book, equation


def test_the_page_is_what_the_script_makes(index: ModuleType) -> None:
    assert index.PAGE.read_text() == index.page(), "run: python docs/equations.py"


def wrong_places(index: ModuleType, known: list[str], code: dict, tests: dict, open_parts: dict) -> list[str]:
    """Equations that are neither cited nor open, that are cited although all of them is open, or that do not exist."""
    wrong = [f"({n}) does not exist" for n in {**code, **tests, **open_parts} if n not in known]
    for number in known:
        entirely_open = any(part == "all" for part, _ in open_parts.get(number, []))
        if entirely_open == (number in code or number in tests):
            wrong.append(f"({number}) is {'open and cited' if entirely_open else 'neither cited nor open'}")
    return wrong


def test_each_equation_is_cited_or_open(index: ModuleType, known: list[str]) -> None:
    code, tests = index.citations(index.CODE, known), index.citations(index.TESTS, known)
    missing = index.open_parts(index.THEORY.read_text())
    assert missing
    assert wrong_places(index, known, code, tests, missing) == []
    files = {"a.py": ["f"]}
    without = {number: names for number, names in code.items() if number != "1.2"}
    for control in (
        wrong_places(index, known, code | {"1.99": files}, tests, missing),
        wrong_places(index, known, code | {"5.22": files}, tests, missing),
        wrong_places(index, known, code, tests, {n: parts for n, parts in missing.items() if n != "5.22"}),
        wrong_places(index, known, without, {n: names for n, names in tests.items() if n != "1.2"}, missing),
    ):
        assert len(control) == 1, control


def test_the_theory_names_its_equations(index: ModuleType) -> None:
    """Every public function of analysis/theory cites an equation or a section."""
    for path in sorted((ROOT / "analysis" / "theory").glob("*.py")):
        assert index.without_citation(path.read_text()) == [], path.name
    control = 'def f():\n    """(2.10)"""\nclass A:\n    """docs/theory.md (1.1)"""\n    def g(self): ...\n'
    assert index.without_citation(control + "def _h(): ...") == ["f"]
    assert index.without_citation('def f():\n    """It is docs/theory.md section 8."""') == []


def test_recursions_name_their_equations(index: ModuleType, known: list[str]) -> None:
    from analysis.theory.tensors import RECURSIONS

    for name, recursion in RECURSIONS.items():
        assert index.cited(recursion.step.__doc__ or "", known), name


def sources() -> list[Path]:
    found = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    for folder in ("simulate", "analysis", "configs", "tests", "benchmarks", "docs"):
        found += [p for p in (ROOT / folder).rglob("*") if p.suffix in (".py", ".md", ".yaml", ".jinja")]
    excluded = {"theory.md", "equations.md", "letters.md", "theory_checks.md"}  # tables of equations
    return sorted(path for path in found if path.name not in excluded)


def test_citations_have_one_form(index: ModuleType, known: list[str]) -> None:
    wrong = {str(p.relative_to(ROOT)): found for p in sources() if (found := index.other_forms(index.prose(p), known))}
    assert wrong == {}


@pytest.mark.parametrize(
    "text",
    [
        "(2.10)",
        "theory.md 2.10",
        "docs/theory.md 2.10",
        "Theory.md (2.10)",
        "(5.11 to 5.21)",
        "(2.5, 2.6)",
        "docs/theory.md (5.5) to 5.8",
        "docs/theory.md (2.5), 2.6",
    ],
)
def test_other_forms_are_found(text: str, index: ModuleType, known: list[str]) -> None:
    assert index.other_forms(f"A as it is in {text}, at any width", known)


def test_other_numbers_are_no_citations(index: ModuleType, known: list[str]) -> None:
    text = "from (0.5) to (2.99), float32(0.25), version 1.5, [theory.md](theory.md), docs/theory.md sections 1 to 3"
    assert index.other_forms(text, known) == []


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("It is docs/theory.md (2.10).", ["2.10"]),
        ("docs/theory.md (2.5), (2.6) and (2.10); docs/theory.md\n    (1.1)", ["2.5", "2.6", "2.10", "1.1"]),
        ("docs/theory.md (2.8) to (2.11)", ["2.8", "2.9", "2.10", "2.11"]),
        ("docs/theory.md (4.2), (4.3) or (4.4)", ["4.2", "4.3", "4.4"]),
        ("docs/theory.md (7.99)", ["7.99"]),
        ("docs/theory.md section 8, and 2.10 alone", []),
    ],
)
def test_citations_are_read(text: str, numbers: list[str], index: ModuleType, known: list[str]) -> None:
    assert index.cited(text, known) == numbers
    assert index.other_forms(text, known) == []
