"""The site's sources: commands compose, links lead somewhere, records are whole, tutorials run."""

import importlib.util
import json
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote

import pytest
import yaml

import configs
from analysis import claims
from analysis.__main__ import PROGRAM as ANALYSIS
from analysis.theory.tensors import RECURSIONS
from configs.arguments import Program
from simulate.__main__ import PROGRAM as SIMULATE
from simulate.observables.columns import OBSERVABLES

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
MADE = ("letters.md", "api/theory.md", "tutorials/*.md", "explorer.html")  # by make docs
PROGRAMS: dict[str, Program] = {"simulate": SIMULATE, "analysis": ANALYSIS}
COMMAND = re.compile(r"python -m (simulate|analysis) ([^`\n#&]*)")
PLACEHOLDER = re.compile(r"\.\.\.|\bDIR\b|\bNAME\b|\bX\b|\bTENSOR\b|\bKIND\b|\bFILE\b|\|")


def script(name: str) -> ModuleType:
    """A module of docs/, which is outside all packages."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def commands() -> Iterator[tuple[str, str, str]]:
    """The page, the program and the arguments of each command that is complete; those of docs/extending.md need files
    that the page has, and run elsewhere."""
    for page in PAGES:
        text = re.sub(r"\\\n\s*", " ", page.read_text()).replace("activation=NAME", "activation=tanh")
        for module, arguments in COMMAND.findall(text):
            if page.name not in ("extending.md", "own_folder.md") and not PLACEHOLDER.search(arguments):
                yield page.name, module, arguments.strip().rstrip(".,;:")


def composes(module: str, arguments: str) -> None:
    """Raises where the flags or settings of a command are wrong. Nothing is drawn or read."""
    flags = PROGRAMS[module].parse(shlex.split(arguments))
    if not flags.help and not flags.version and not getattr(flags, "shell_completion", None):
        settings = [word for word in flags.rest if "," not in word.partition("=")[2] or "[" in word]
        configs.compose(flags.config_name or module, settings)


def test_every_command_composes() -> None:
    found = list(dict.fromkeys((module, arguments) for _, module, arguments in commands()))
    assert len(found) > 40
    wrong = []
    for module, arguments in found:
        try:
            composes(module, arguments)
        except Exception as error:
            wrong.append(f"python -m {module} {arguments}: {error}")
    assert not wrong, "\n".join(wrong)


def test_a_wrong_command_is_found() -> None:
    with pytest.raises(Exception, match="widht"):
        composes("simulate", "network.widht=64")
    with pytest.raises(Exception, match="--cites"):
        composes("analysis", "data=outputs --cites")


def broken(page: Path, text: str) -> list[str]:
    """Links and images of a page whose file is not there, apart from pages that make docs makes."""
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    local = [unquote(target) for target in targets if not re.match(r"[a-z]+:", target)]
    made = {path for pattern in MADE for path in [ROOT / "docs" / pattern]}
    return [
        target
        for target in local
        if re.search(r"\.\w+$|/$", target)
        and not (page.parent / target).exists()
        and not any((page.parent / target).resolve().match(str(pattern)) for pattern in made)
    ]


def test_links_lead_somewhere() -> None:
    assert {str(page): found for page in PAGES if (found := broken(page, page.read_text()))} == {}
    assert broken(PAGES[0], "[a](docs/nowhere.md) and [b](docs/theory.md)") == ["docs/nowhere.md"], "the control"


def test_the_site_has_every_page_once() -> None:
    def pages(entry: object) -> Iterator[str]:
        if isinstance(entry, str):
            yield entry
        else:
            children = entry.values() if isinstance(entry, dict) else entry
            for child in children:  # type: ignore[attr-defined]
                yield from pages(child)

    listed = list(pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    kept = {str(path.relative_to(ROOT / "docs")) for path in PAGES[2:]}
    notebooks = {f"tutorials/{path.stem}.md" for path in (ROOT / "docs" / "tutorials").glob("*.ipynb")}
    assert len(listed) == len(set(listed))
    assert set(listed) == kept | notebooks | {"letters.md", "api/theory.md"}


def test_the_gallery_has_every_figure() -> None:
    """Each in a row with the command that makes it."""
    rows = [row for row in (ROOT / "docs" / "gallery.md").read_text().splitlines() if row.startswith("| ![](")]
    shown = {row.partition("](")[2].partition(")")[0] for row in rows}
    assert shown == {path.name for path in (ROOT / "docs").glob("*.png")}
    assert all("`python -m " in row or "`make " in row for row in rows)


def test_blocks_with_the_name_of_a_file_are_blocks() -> None:
    """The site's markdown takes no bare word after the language of a block. Control: the pages have such blocks."""
    bare = re.compile(r"^```\w+ [^\n=]+$", re.MULTILINE)
    text = (ROOT / "docs" / "extending.md").read_text()
    shown = script("hooks").on_page_markdown(text)
    assert len(bare.findall(text)) == shown.count(' title="') > 8
    assert not bare.findall(shown)


def test_the_map_of_letters_is_whole() -> None:
    """Each tensor, test and family of columns has its row; a test has its unit test, and cites where its docstring
    does."""
    made = script("pages")
    rows = made.map_of_letters().splitlines()
    first = [row.split("|")[1].strip().strip("`") for row in rows if row.startswith("| `")]
    families = [family.prefix for observable in OBSERVABLES.values() for family in observable.families]
    assert first == [*RECURSIONS, *claims.MEASURES, *families]
    assert all(made.unit_test(measure) for measure in claims.MEASURES.values())
    assert not any(link for link in broken(ROOT / "docs" / "letters.md", "\n".join(rows)))


def test_a_notebook_becomes_a_page() -> None:
    """Cells run in order in an empty folder; what they print, end with and draw is kept."""
    run = script("notebooks")
    cells = [
        {"cell_type": "markdown", "source": ["# A title"]},
        {"cell_type": "code", "source": ["x = 2\n", "print('printed')\n", "x + 1"]},
    ]
    done = run.run({"cells": cells})
    assert [output.get("text", output.get("data")) for output in done["cells"][1]["outputs"]] == [
        ["printed\n"],
        {"text/plain": "3"},
    ]
    assert run.page(done).startswith("# A title\n\n```python\nx = 2\nprint('printed')\nx + 1\n```\n\n```text\nprinted")
    with pytest.raises(NameError):  # the control: a cell that fails is no output
        run.run({"cells": [{"cell_type": "code", "source": ["y"]}]})


NOTEBOOKS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_tutorial_was_run(path: Path) -> None:
    """Each code cell but the imports has its outputs, and none holds a path of the machine."""
    notebook = json.loads(path.read_text())
    assert any(cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code")
    assert f"{tempfile.gettempdir()}/" not in path.read_text()


@pytest.mark.long
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_tutorial_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the outputs that it shows, but for figures and for what depends on time."""
    monkeypatch.setenv("MPLBACKEND", "agg")
    notebook = json.loads(path.read_text())
    for before, after in zip(notebook["cells"], script("notebooks").run(notebook)["cells"], strict=True):
        if before["cell_type"] == "code":
            kinds = [output["output_type"] for output in after["outputs"]]
            assert kinds == [output["output_type"] for output in before["outputs"]]
