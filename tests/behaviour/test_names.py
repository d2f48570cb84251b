"""Every module can be reached by its dotted name, since no function of a package hides one of its modules."""

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import analysis
import simulate


def hidden(package: ModuleType) -> list[str]:
    """Modules of a package that are not attributes of their parent package after their import."""
    found = []
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        parent, _, leaf = info.name.rpartition(".")
        if leaf != "__main__":
            module = importlib.import_module(info.name)
            if getattr(sys.modules[parent], leaf, None) is not module:
                found.append(info.name)
    return found


@pytest.mark.parametrize("package", [simulate, analysis])
def test_no_module_is_hidden(package: ModuleType) -> None:
    assert hidden(package) == []


def test_a_hidden_module_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: a package that imports a function under the name of its module."""
    folder = tmp_path / "hiding_package"
    folder.mkdir()
    (folder / "flow.py").write_text("def flow(): ...\n")
    (folder / "open.py").write_text("def other(): ...\n")
    (folder / "__init__.py").write_text("from hiding_package.flow import flow\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert hidden(importlib.import_module("hiding_package")) == ["hiding_package.flow"]


def test_the_theory_is_imported_at_once() -> None:
    """`from analysis import theory` imports every module of the theory, and of scipy no part before it is used, which
    takes half a second of each command."""
    folder = Path(analysis.__file__).parent / "theory"
    names = sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
    code = f"from types import ModuleType; from analysis import theory; missing = [n for n in {names} "
    code += "if not isinstance(getattr(theory, n, None), ModuleType)]; import sys; "
    code += "print(missing, [part for part in ('special', 'stats', 'optimize') if f'scipy.{part}' in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder.parents[1], check=True
    )
    assert done.stdout.strip() == "[] []"
    assert "finite_width" in names
