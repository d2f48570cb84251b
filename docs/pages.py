"""Pages of the site that are made of records: docs/letters.md and docs/api/theory.md, which are not kept in git.

    python docs/pages.py      # as `make docs` does

letters.md leads from a letter of the theory to its equation, its code, the columns that measure it and its tests. Its
rows are the recursions of `analysis.theory`, the measures of `analysis.measures` and the families of columns of
`simulate.observables`. api/theory.md names all that `analysis.theory` exports.
"""

import inspect
import re
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the repository's own packages, whatever is installed

from analysis import claims, theory  # noqa: E402
from analysis.measures.measured import Measure  # noqa: E402
from analysis.theory.tensors import RECURSIONS  # noqa: E402
from simulate.observables.columns import OBSERVABLES  # noqa: E402

NUMBER = re.compile(r"\(\d+\.\d+\)")
HEAD = """# From a letter to its code

`python docs/pages.py` makes this page from the records of the code. Equations are those of [theory.md](theory.md),
which defines every letter and names the chapter of PDLT. [equations.md](equations.md) goes the other way, from each
equation to all functions and tests.

"""


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in markdown."""
    names = list(head)
    lines = [names, ["---"] * len(names), *map(list, rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def where(function: object) -> str:
    """The file and the name of a function."""
    path = Path(inspect.getfile(function)).resolve().relative_to(ROOT)  # type: ignore[arg-type]
    return f"[{path}](../{path}) `{function.__name__}`"  # type: ignore[attr-defined]


def unit_test(measure: Measure) -> str:
    """Where the unit test of a measure stands."""
    for path in sorted((ROOT / "tests" / "exact" / "measures").glob("test_*.py")):
        if f"def test_{measure.name}(" in path.read_text() or f"test_{measure.name} =" in path.read_text():
            return f"[{path.name}](../{path.relative_to(ROOT)})"
    return ""


def measures_of(letter: str) -> list[Measure]:
    """The measures of a tensor: those that yield it by its name, else those of its name with a suffix, else those that
    cite an equation of its recursion and are of no other letter."""
    measures = list(claims.MEASURES.values())
    found = [m for m in measures if letter in m.symbols] or [m for m in measures if m.name.split("_")[0] == letter]
    cited = set(NUMBER.findall(inspect.getdoc(RECURSIONS[letter].step) or ""))
    others = [m for m in measures if not {*m.symbols, m.name.split("_")[0]} & set(RECURSIONS)]
    return found or [m for m in others if cited & set(NUMBER.findall(inspect.getdoc(m.function) or ""))]


def letters() -> str:
    """A row for each tensor that a recursion carries from layer to layer."""
    rows = []
    for name, recursion in RECURSIONS.items():
        docstring = inspect.getdoc(recursion.step) or ""
        measures = measures_of(name)
        columns = dict.fromkeys(family for m in measures for family in m.families)
        rows.append(
            [
                f"`{name}`",
                ", ".join(dict.fromkeys(NUMBER.findall(docstring))),
                where(recursion.step),
                ", ".join(f"`{family}`" for family in columns),
                ", ".join(f"`{m.name}`" for m in measures),
                ", ".join(dict.fromkeys(filter(None, map(unit_test, measures)))),
            ]
        )
    return table(("letter", "equation", "recursion", "columns", "tests of a claim", "unit tests"), rows)


def tests() -> str:
    """A row for each test that a claim can name."""
    rows = []
    for measure in claims.MEASURES.values():
        docstring = inspect.getdoc(measure.function) or ""
        cited = ", ".join(dict.fromkeys(NUMBER.findall(docstring)))
        columns = ", ".join(f"`{family}`" for family in measure.families)
        rows.append([f"`{measure.name}`", cited, where(measure.function), columns, unit_test(measure)])
    return table(("test", "equation", "measure", "columns", "unit test"), rows)


def columns() -> str:
    """A row for each family of columns."""
    rows = [
        [f"`{family.prefix}`", f"`{observable.name}`", family.meaning]
        for observable in OBSERVABLES.values()
        for family in observable.families
    ]
    return table(("columns", "observables.record", "what they hold"), rows)


def map_of_letters() -> str:
    """The text of docs/letters.md."""
    parts = {"Tensors": letters(), "Tests of a claim": tests(), "Columns": columns()}
    return HEAD + "\n\n".join(f"## {title}\n\n{text}" for title, text in parts.items()) + "\n"


API = """# analysis.theory

::: analysis.theory
    options:
      show_root_heading: false
      show_root_toc_entry: false
      members: false

"""


def api_of_theory() -> str:
    """The text of docs/api/theory.md, for mkdocstrings."""
    public = [getattr(theory, name) for name in theory.__all__]
    of_code = [f"{o.__module__}.{o.__name__}" for o in public if inspect.isclass(o) or inspect.isfunction(o)]
    modules = [o.__name__ for o in public if inspect.ismodule(o)]
    return API + "".join(f"::: {name}\n" for name in [*of_code, *modules])


PAGES = {"letters.md": map_of_letters, "api/theory.md": api_of_theory}

if __name__ == "__main__":
    for name, text in PAGES.items():
        (ROOT / "docs" / name).write_text(text())
