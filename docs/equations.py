"""Where each equation of docs/theory.md stands in the code: makes docs/equations.md from docstrings.

    python docs/equations.py

A docstring cites an equation as "docs/theory.md (2.10)", several as "docs/theory.md (2.5) and (2.6)" or as
"docs/theory.md (5.11) to (5.13)", and what has no number as "docs/theory.md section 8".
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).parents[1]
THEORY, PAGE = ROOT / "docs" / "theory.md", ROOT / "docs" / "equations.md"
CODE, TESTS = ("simulate", "analysis"), ("tests",)

NUMBER = r"\d+\.\d+"
CITATION = re.compile(rf"docs/theory\.md\s+(\({NUMBER}\)(?:(?:,\s+|,?\s+(?:and|or|to)\s+)\({NUMBER}\))*)")
SECTION = re.compile(r"docs/theory\.md\s+sections?\s+\d+")
HEAD = """# Equations in the code

`python docs/equations.py` makes this page from the docstrings; a test holds it to them. Numbers are those of
[theory.md](theory.md). A function is listed where its docstring cites the equation, a test where it holds code to it.

{counts}
"""


@dataclass(frozen=True)
class Equation:
    """number: "2.10". section: the heading that it stands under. book: the chapter of PDLT."""

    number: str
    section: str
    book: str


def equations(text: str) -> list[Equation]:
    """The numbered equations of docs/theory.md in their order."""
    found, section, book = [], "", ""
    for line in text.splitlines():
        if line.startswith("## "):
            section, book = line.removeprefix("## "), ""
        elif match := re.fullmatch(r"\*(.*PDLT.*)\.\*", line):
            book = match[1]
        elif match := re.match(rf"\(({NUMBER})\) ", line):
            found.append(Equation(match[1], section, book))
    return found


def open_parts(text: str) -> dict[str, list[tuple[str, str]]]:
    """What the section "Open" of docs/theory.md lists, by equation: what is open, and why."""
    found: dict[str, list[tuple[str, str]]] = {}
    _, _, section = text.partition(". Open\n")
    for number, part, reason in re.findall(rf"^\| \(({NUMBER})\) \| (.+?) \| (.+?) \|$", section, re.MULTILINE):
        found.setdefault(number, []).append((part, reason))
    return found


def order(number: str) -> tuple[int, int]:
    """The place of an equation among all."""
    section, place = number.split(".")
    return int(section), int(place)


def cited(docstring: str, known: list[str]) -> list[str]:
    """The numbers that a docstring cites, ranges in full. A number that does not exist stays in, to be found."""
    numbers: list[str] = []
    for citation in CITATION.findall(docstring):
        parts = re.findall(rf"(to\s+)?\(({NUMBER})\)", citation)
        for to, number in parts:
            if to:
                inside = [n for n in known if order(numbers[-1]) < order(n) < order(number)]
                numbers += inside
            numbers.append(number)
    return list(dict.fromkeys(numbers))


Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def definitions(source: str) -> Iterator[tuple[str, list[Definition]]]:
    """Each function and class by its dotted name, with those around it, itself last. Inner functions are parts of the
    function that holds them."""

    def walk(node: ast.AST, around: list[Definition]) -> Iterator[tuple[str, list[Definition]]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, Definition):
                chain = [*around, child]
                names = [d.name for d in chain]
                outer = next((k for k, d in enumerate(chain) if not isinstance(d, ast.ClassDef)), len(chain) - 1)
                yield ".".join(names[: outer + 1]), chain
                yield from walk(child, chain)
            else:
                yield from walk(child, around)

    return walk(ast.parse(source), [])


def citations(folders: tuple[str, ...], known: list[str]) -> dict[str, dict[str, list[str]]]:
    """Which functions cite each equation: number -> file -> names."""
    found: dict[str, dict[str, list[str]]] = {}
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name_of_file = path.relative_to(ROOT).as_posix()
            for name, chain in definitions(path.read_text()):
                for number in cited(ast.get_docstring(chain[-1]) or "", known):
                    names = found.setdefault(number, {}).setdefault(name_of_file, [])
                    if name not in names:
                        names.append(name)
    return found


def without_citation(source: str) -> list[str]:
    """Public functions and methods of a module whose docstring cites nothing; a class may cite for its methods."""
    missing = []
    for name, chain in definitions(source):
        inner = any(not isinstance(d, ast.ClassDef) for d in chain[:-1])
        if inner or isinstance(chain[-1], ast.ClassDef) or any(part.startswith("_") for part in name.split(".")):
            continue
        docstrings = [ast.get_docstring(d) or "" for d in chain]
        if not any(CITATION.search(text) or SECTION.search(text) for text in docstrings):
            missing.append(name)
    return missing


def prose(path: Path) -> str:
    """What a reader reads: the comments and docstrings of Python code, the whole of other files."""
    text = path.read_text()
    if path.suffix != ".py":
        return text
    tree = ast.parse(text)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    parts = [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, documented)]
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    comments = [token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT]
    return "\n".join([*parts, *comments])


def other_forms(text: str, known: list[str]) -> list[str]:
    """Citations in any other form than "docs/theory.md (2.10)", such as a number without the document's name."""
    rest = CITATION.sub("CITED", text)
    any_number = "|".join(map(re.escape, known))
    bare = rf"\((?:{any_number})(?:(?:, | to | and )(?:{NUMBER}))*\)"
    named = rf"(?i:theory\.md)[\s(]+{NUMBER}"
    continued = rf"CITED,?\s+(?:to |and |or )?(?:{any_number})\b"
    return [match[0] for pattern in (bare, named, continued) for match in re.finditer(pattern, rest)]


def _names(files: dict[str, list[str]]) -> str:
    parts = []
    for file, names in files.items():
        short = file.removeprefix("tests/")
        parts.append(f"[{short}](../{file}) " + ", ".join(f"`{name}`" for name in names))
    return "<br>".join(parts)


def page() -> str:
    """The text of docs/equations.md."""
    text = THEORY.read_text()
    all_equations, missing = equations(text), open_parts(text)
    known = [e.number for e in all_equations]
    code, tests = citations(CODE, known), citations(TESTS, known)
    whole = [number for number, parts in missing.items() if any(part == "all" for part, _ in parts)]
    counts = f"{len(known)} equations: {sum(n in code for n in known)} are cited by functions, "
    counts += f"{sum(n in tests for n in known)} by tests, and {len(whole)} are open: "
    counts += ", ".join(f"({number})" for number in whole) + "."
    lines = [HEAD.format(counts=counts)]
    for section, in_section in groupby(all_equations, lambda e: e.section):
        lines.append(f"## {section}\n")
        for book, block in groupby(in_section, lambda e: e.book):
            lines += [f"*{book}.*\n", "| equation | functions | tests | open |", "| --- | --- | --- | --- |"]
            for equation in block:
                number = equation.number
                left = "; ".join(f"{part}: {reason}" for part, reason in missing.get(number, []))
                cells = [f"({number})", _names(code.get(number, {})), _names(tests.get(number, {})), left]
                lines.append("| " + " | ".join(cells) + " |")
            lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
