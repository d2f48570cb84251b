"""The imports follow the layering of the project, and the source never executes data."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STANDARD = set(sys.stdlib_module_names)
# What stands at the top of the repository.
PARTS = {
    ".ci", ".gitignore", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md",
    "analysis", "benchmarks", "codemeta.json", "configs", "constraints-cpu.txt", "docs", "mkdocs.yml", "outputs",
    "pyproject.toml", "simulate", "tests",
}  # fmt: skip

# What each part may import from outside the project.
OUTSIDE = {
    "analysis/theory": {"numpy", "scipy"},
    "simulate/settings": set(),
    "simulate/store": {"numpy", "pyarrow", "jsonschema", "xarray"},
    "simulate/numerics": {"torch", "numpy", "numba", "triton"},
    "simulate": {"torch", "numpy", "scipy", "numba", "pyarrow", "rich", "yaml", "psutil"},
    "analysis": {"numpy", "scipy", "pandas", "lsqfit", "gvar", "matplotlib", "jinja2", "rich"},
    "configs": {"hydra", "omegaconf", "yaml"},
}
# The layers of each package from the lowest: a layer may import itself and the layers before it.
LAYERS = {
    "simulate": (
        "simulate.system", "simulate.processes", "simulate.registry", "simulate.numerics",
        "simulate.observables.family", "simulate.observables.refusals", "simulate.observables.record",
        "simulate.observables.columns", "simulate.settings", "simulate.plugins", "simulate.inputs", "simulate.store",
        "simulate.networks", "simulate.training", "simulate.observables", "simulate.running", "simulate.launchers",
        "simulate.claims", "simulate.api", "simulate.inference", "simulate.status", "simulate", "simulate.__main__",
    ),
    "analysis": (
        "analysis.stages", "analysis.outputs",
        "analysis.theory", "analysis.tails", "analysis.sums", "analysis.estimators", "analysis.weights",
        "analysis.models", "analysis.planned", "analysis.points", "analysis.recorded", "analysis.measures",
        "analysis.inference", "analysis.claims", "analysis.citations", "analysis.series", "analysis.fits",
        "analysis.verdicts",
        "analysis.remedy", "analysis.answers", "analysis.sequential", "analysis.growth", "analysis.estimates",
        "analysis.walks", "analysis.on_device", "analysis.reduced", "analysis.kept", "analysis.streams",
        "analysis.tables", "analysis.visits",
        "analysis.result", "analysis.looks", "analysis.report", "analysis.plot",
        "analysis.pipeline", "analysis.shares", "analysis",
        "analysis.decide", "analysis.until", "analysis.__main__",
    ),
    "configs": ("configs",),
}  # fmt: skip
# The modules of the theory from the lowest.
THEORY = (
    "special", "expression", "activations", "quadrature", "kinks", "hermite", "gaussian", "layer", "tensors",
    "criticality", "log_table", "conditional", "kernel_derivatives", "preactivations", "next_tensors", "ntk",
    "ntk_chain", "differentials", "planes", "residual", "residual_inputs", "second_order", "jets", "arguments",
    "ntk_series", "recursion", "universality", "path", "linear_training", "composite", "movement", "losses", "frozen",
    "responses", "cumulants",
    "nodes", "order_n", "own_kernel", "generalisation", "linear_model", "quadratic_model", "finite_width", "gauss_rule",
    "kernel_chain", "vertex", "bayes", "saddle", "linear_weights", "linear_posterior", "kernel_series", "resummation",
    "aspect_ratio", "class_limit", "shaped", "information", "__init__",
)  # fmt: skip
# The imports from one package into another that are allowed.
ALLOWED = {
    "simulate.settings": {
        "analysis.theory.criticality",  # to tune an initialization
        "analysis.stages",  # Taylor models follow the algorithms that have them
        "configs.keys", "configs.options",  # activations are named after their option files
        "configs.printable",
    },
    "simulate.training": {"analysis.stages"},  # both sides run the same recursion
    "simulate.running.prepare": {
        "analysis.theory.activations",  # both sides of an expression are compared
        "analysis.theory.recursion.flow",  # kernels below the precision are refused
        "analysis.theory.linear_weights.weight_variance",  # and noises at which weights are hopeless
    },
    "simulate.running.controls": {
        "analysis.theory.recursion.flow",  # controls are taken at the kernels of theory
        "analysis.theory.saddle.tilts",
        "analysis.theory.linear_weights.weight_forms",
    },
    "simulate.__main__": {"configs"},
    "simulate.status": {"configs"},  # it takes plugins as the command line does
    "simulate.api": {"configs"},
    # A claim is checked before anything is drawn, and its tests make the sums that are kept in the place of rows.
    "simulate.claims": {"analysis.claims", "analysis.points", "analysis.reduced", "analysis.walks"},
    "simulate.inference": {"configs.arguments"},
    "analysis": {
        "simulate.registry", "simulate.plugins", "simulate.settings.printable", "simulate.settings.network.spec_of",
        "simulate.store", "simulate.observables.columns",  # the data format and its reader
        "simulate.system", "simulate.processes",
        "simulate.running.progress",  # the bar of a run is that of a long analysis
        "simulate.settings.reader.SettingsError",
        "simulate.settings.schedules.etas",  # of each step, as the networks had them
    },
    "analysis.shares": {"simulate.launchers", "simulate.settings"},
    "analysis.__main__": {
        "configs", "simulate.api.read_shard", "simulate.launchers", "simulate.settings.cluster.workers_of",
    },
    # It draws and judges in turn, above both: simulate may not import the analysis.
    "analysis.decide": {"simulate.api", "simulate.running.forecast.network_seconds", "simulate.settings"},
    "analysis.until": {
        "configs", "simulate.api", "simulate.launchers", "simulate.settings",
    },
}  # fmt: skip


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


def module(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")


def within(name: str, layer: str) -> bool:
    return name == layer or name.startswith(layer + ".")


def layer_of(name: str) -> int:
    """The index of the most specific layer that contains a module or a name in it."""
    layers = LAYERS[name.split(".")[0]]
    return max((k for k, layer in enumerate(layers) if within(name, layer)), key=lambda k: len(layers[k]))


def refused(name: str, imported: str) -> bool:
    """Whether the module `name` must not import `imported`."""
    package, other = name.split(".")[0], imported.split(".")[0]
    if other in STANDARD:
        return False
    if other not in LAYERS:
        part = max((p for p in OUTSIDE if within(name, p.replace("/", "."))), key=len)
        return not any(within(imported, library) for library in OUTSIDE[part])
    if other != package:
        return within(name, "analysis.theory") or not any(
            within(imported, target) for layer, allowed in ALLOWED.items() if within(name, layer) for target in allowed
        )
    return layer_of(imported) > layer_of(name)


SOURCES = [p for package in ("simulate", "analysis", "configs") for p in sorted((ROOT / package).rglob("*.py"))]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_go_downward(path: Path) -> None:
    wrong = [imported for imported in imports(path) if refused(module(path), imported)]
    assert not wrong, f"{module(path)} imports {wrong}"


def test_theory_is_in_order() -> None:
    for path in (ROOT / "analysis" / "theory").glob("*.py"):
        for imported in imports(path):
            if within(imported, "analysis.theory"):
                below = [*imported.split("."), "__init__"][2]
                assert THEORY.index(below) < THEORY.index(path.stem), f"{path.stem} imports {imported}"


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle, or an empty list."""
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> list[str]:
        if name in way:
            return way[way.index(name) :]
        if name in done:
            return []
        for other in sorted(graph.get(name, ())):
            if found := walk(other, [*way, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := walk(name, []))), [])


def graph_of_modules() -> dict[str, set[str]]:
    known = {module(path) for path in SOURCES}

    def target(imported: str) -> str:
        return imported if imported in known else imported.rpartition(".")[0]

    return {module(p): {target(i) for i in imports(p) if target(i) in known} - {module(p)} for p in SOURCES}


def test_no_circle() -> None:
    assert cycle(graph_of_modules()) == []
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c"], "the control"


def test_the_check_would_catch() -> None:
    """Negative control: the rules refuse imports that break the layering."""
    for name, imported in (
        ("analysis.theory.ntk", "torch"),
        ("analysis.theory.ntk", "simulate.registry.Registry"),
        ("simulate.api", "analysis.fits"),
        ("analysis.points", "simulate.networks.law"),
        ("simulate.store.parts", "simulate.running.plan"),
        ("simulate.settings.network", "simulate.networks.dense"),
        ("analysis.measures.ntk", "analysis.report.page"),
    ):
        assert refused(name, imported), (name, imported)


def test_torch_comes_late() -> None:
    """--help, refusals of wrong settings and the analysis do not import torch."""
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


def strangers(tracked: list[str]) -> set[str]:
    """Tracked files and folders that are no part of the project, and data sets that are no data of a test."""
    top = {name.split("/")[0] for name in tracked}
    sets = {name for name in tracked if name.endswith("dataset.json") and not name.startswith("tests/data/")}
    return (top - PARTS) | sets


def test_the_repository_holds_the_project_alone() -> None:
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT)
    if listed.returncode:
        pytest.skip("these files are no checkout of git")
    assert strangers(listed.stdout.splitlines()) == set()
    assert strangers(["a/dataset.json", "docs/b/dataset.json", "tests/data/c/dataset.json"]) == {
        "a",
        "a/dataset.json",
        "docs/b/dataset.json",
    }


def test_files_fit_in_one_reading() -> None:
    """Files have at most 300 lines; loops.py, whose docstring explains why its loops share a file, has at most 740."""
    for path in [*SOURCES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        assert len(path.read_text().splitlines()) <= (740 if path.name == "loops.py" else 300), path
