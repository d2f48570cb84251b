"""The layering of the project, read from the imports; and what must never be in the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STANDARD = set(sys.stdlib_module_names)

# part -> what it may import; "." is itself
RULES = {
    "analysis/theory": {"numpy", "scipy", "analysis.theory"},
    "simulate": {
        "torch", "numpy", "numba", "pyarrow", "rich", "yaml", "configs", "simulate",
        "analysis.theory.critical",  # to tune an initialisation, and nothing else of the analysis
    },
    "analysis": {
        "numpy", "scipy", "pandas", "lsqfit", "gvar", "matplotlib", "jinja2", "rich", "analysis",
        "simulate.store", "simulate.schema",  # the data format and its reader
    },
    "configs": {"hydra", "omegaconf"},
}  # fmt: skip
ENTRIES = {"analysis/__main__.py": {"configs"}}  # hydra is reached through configs, by the entries alone


def imports(path: Path) -> set[str]:
    out = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            out |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the layering"
            assert node.module
            # `from simulate import store` imports simulate.store
            inside = node.module.split(".")[0] in ("simulate", "analysis", "configs")
            out |= {f"{node.module}.{a.name}" for a in node.names} if inside else {node.module}
    return out


def part(path: Path) -> str:
    name = path.relative_to(ROOT).as_posix()
    return next(rule for rule in sorted(RULES, key=len, reverse=True) if name.startswith(rule + "/"))


SOURCES = [p for rule in ("simulate", "analysis", "configs") for p in sorted((ROOT / rule).rglob("*.py"))]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_follow_the_design(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    allowed = RULES[part(path)] | ENTRIES.get(name, set())
    for module in imports(path):
        if module.split(".")[0] in STANDARD:
            continue
        assert any(module == ok or module.startswith(ok + ".") for ok in allowed), f"{name} imports {module}"


def test_the_check_would_catch() -> None:
    """Negative control: what the rules refuse is refused by the same comparison."""
    for name, module in (("analysis/theory", "torch"), ("simulate", "analysis.fits"), ("analysis", "simulate.law")):
        assert not any(module == ok or module.startswith(ok + ".") for ok in RULES[name])


def test_torch_comes_late() -> None:
    """--help, wrong settings and the whole analysis do without torch."""
    code = (
        "import sys, simulate, simulate.store, analysis, analysis.pipeline; "
        "from simulate.__main__ import main; main(['--help']); main(['network.width=0']); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT).returncode == 0


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_nothing_executes_data(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert name not in ("eval", "exec", "torch.load", "hydra.utils.instantiate", "instantiate")
            assert "pickle" not in name
            if name == "np.load":
                assert any(k.arg == "allow_pickle" and ast.unparse(k.value) == "False" for k in node.keywords)


def test_files_fit_in_one_reading() -> None:
    for path in SOURCES:
        assert len(path.read_text().splitlines()) <= 460, path
