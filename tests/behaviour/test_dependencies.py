"""Every package that is imported is declared in pyproject.toml with a lower bound, and every one declared is used."""

import ast
import re
import sys
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points, packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SHIPPED = ("simulate", "analysis", "configs")
OTHER = ("benchmarks", "docs", "tests")
REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(?:\[[\w,-]+\])?(?:>=(?P<bound>\d[\d.]*))?")
NAME = r"[a-zA-Z_][\w.]*"
FROM = re.compile(rf"^[ \t]*from ({NAME}) import ", re.MULTILINE)
IMPORT = re.compile(rf"^[ \t]*import ({NAME}(?: as \w+)?(?:, {NAME}(?: as \w+)?)*)[ \t]*(?:#.*)?$", re.MULTILINE)
FIND = re.compile(r"find_spec\(['\"](\w+)")


def normal(name: str) -> str:
    """The name of a distribution as package indices compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def bounds(requirements: list[str]) -> dict[str, str | None]:
    """The lower bound of each distribution, None where there is none."""
    found = [REQUIREMENT.match(requirement) for requirement in requirements]
    return {normal(match["name"]): match["bound"] for match in found if match}


RUNTIME = bounds(PROJECT["dependencies"])
EXTRAS = {extra: bounds(listed) for extra, listed in PROJECT["optional-dependencies"].items()}
PEERS = bounds((ROOT / "benchmarks" / "peers.txt").read_text().splitlines())  # of another environment


@cache
def distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


def modules(source: str) -> set[str]:
    """Top-level names that a file imports, or looks for by find_spec, also in programs that it holds as strings."""
    names = set(FROM.findall(source)) | set(FIND.findall(source))
    names |= {name.split()[0] for listed in IMPORT.findall(source) for name in listed.split(",")}
    return {name.split(".")[0] for name in names} - sys.stdlib_module_names - {*SHIPPED, *OTHER}


def imported(source: str) -> set[str]:
    """The distributions that hold the modules; a module that is not installed counts as one of its own name."""
    return {normal(name) for module in modules(source) for name in distributions().get(module, [module])}


@cache
def sources() -> dict[Path, set[str]]:
    """The distributions that each Python file imports."""
    paths = [path for top in (*SHIPPED, *OTHER) for path in (ROOT / top).rglob("*.py")]
    relative = {path.relative_to(ROOT): path.read_text() for path in paths}
    return {
        path: imported(source if path.parts[0] in OTHER else without_strings(source))
        for path, source in relative.items()
    }


def without_strings(source: str) -> str:
    """The imports of a file alone: what is shipped holds examples for readers, which it does not run."""
    tree = ast.walk(ast.parse(source))
    imports = [ast.unparse(node) for node in tree if isinstance(node, ast.Import | ast.ImportFrom)]
    return "\n".join([*imports, *(f"find_spec('{name}')" for name in FIND.findall(source))])


def imported_below(*tops: str) -> set[str]:
    return set[str]().union(*(names for path, names in sources().items() if path.parts[0] in tops))


def undeclared(path: Path, names: set[str]) -> set[str]:
    """Imports of a file that an installation need not have: only what is not shipped may import the extra `dev`."""
    allowed = set(RUNTIME).union(*(listed for extra, listed in EXTRAS.items() if extra != "dev"))
    if path.parts[0] in OTHER:
        allowed |= set(EXTRAS["dev"])
    return names - (allowed | set(PEERS) if path.name == "peers_jax.py" else allowed)


def unused(names: set[str], importing: set[str]) -> set[str]:
    """Those that are neither imported, nor a plugin of pytest, nor run by the Makefile, nor stubs of a dependency."""
    plugins = {normal(point.dist.name) for point in entry_points(group="pytest11") if point.dist}
    commands = set(re.findall(r"\$\(BIN\)/([\w-]+)", (ROOT / "Makefile").read_text()))
    stubs = {f"{name}-stubs" for name in RUNTIME}
    return names - importing - plugins - commands - stubs


def test_imports_are_declared() -> None:
    wrong = {str(path): found for path, names in sources().items() if (found := undeclared(path, names))}
    assert not wrong


def test_dependencies_are_used() -> None:
    assert not unused(set(RUNTIME), imported_below(*SHIPPED))
    assert not unused(set[str]().union(*EXTRAS.values()), imported_below(*SHIPPED, *OTHER))


def test_every_dependency_has_a_lower_bound() -> None:
    assert [name for listed in (RUNTIME, *EXTRAS.values()) for name, bound in listed.items() if not bound] == []
    assert bounds(["a", "b-c[d]>=1.2,<2"]) == {"a": None, "b-c": "1.2"}, "the control"


def test_the_cpu_build_is_within_the_bounds() -> None:
    """constraints-cpu.txt and the lower bound of torch are two entries that have to agree."""
    (pinned,) = re.findall(r"^torch==([\d.]+)$", (ROOT / "constraints-cpu.txt").read_text(), re.MULTILINE)
    assert numbers(pinned) >= numbers(str(RUNTIME["torch"]))
    assert numbers("2.13") > numbers("2.6"), "numbers are compared, not strings"


def numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def test_the_check_would_catch() -> None:
    source = (
        "import yaml as y\nfrom sklearn.svm import SVC\ndef f():\n    import pytest, os.path, seaborn as s  # late\n"
    )
    assert imported(source) == {"pyyaml", "scikit-learn", "pytest", "seaborn"}
    assert imported(without_strings(f"import yaml\ntext = {source!r}\ndef f():\n    import seaborn")) == {
        "pyyaml",
        "seaborn",
    }
    assert imported("importlib.util.find_spec('sklearn')") == {"scikit-learn"}
    assert undeclared(Path("simulate/api.py"), imported(source)) == {"pytest", "seaborn"}
    assert undeclared(Path("tests/test_api.py"), imported(source)) == {"seaborn"}
    assert undeclared(Path("benchmarks/race.py"), {"jax"}) == {"jax"}
    known = {"pytest-xdist", "ruff", "pandas-stubs", "torch"}
    assert unused({*known, "build", "seaborn-stubs"}, {"torch"}) == {"build", "seaborn-stubs"}
