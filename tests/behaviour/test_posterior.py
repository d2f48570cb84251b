"""The command line of Bayesian inference: its files, its table, and what it refuses."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import analysis
import analysis.inference
import simulate
from analysis.__main__ import main
from analysis.report import posterior_figures
from simulate.store.sets import DataSet

Run = Callable[..., DataSet]
FEW = ["inputs=digits", "inputs.count=2", "inputs.test=1", "observables=kernel", "network.width=16",
       "network.depth=3", "ensemble.networks=400"]  # fmt: skip


def test_files_and_table(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Own targets from a file; the table and the weights are those of `analysis.posterior`, and give its mean."""
    data = run(*FEW)
    for name in ("y.csv", "y.npy"):
        file = tmp_path / name
        if name == "y.csv":
            file.write_text("0.5\n-0.7\n", encoding="utf-8-sig")
        else:
            np.save(file, np.array([[0.5], [-0.7]]))
        command = [f"data={data.path}", "posterior.noise=0.2", f"posterior.targets={file}", "posterior.weights=true"]
        assert main([*command, "figures=false", f"output={tmp_path}/out"]) == 0
        assert "log_evidence" in capsys.readouterr().out
        found = analysis.posterior(data, targets=[0.5, -0.7], noise=0.2)
        table = pd.read_parquet(tmp_path / "out" / "posterior.parquet")
        pd.testing.assert_frame_equal(table.drop(columns="data"), found.table)
        assert set(table["data"]) == {data.path.name}
        weights = pd.read_parquet(tmp_path / "out" / "posterior_weights.parquet")
        np.testing.assert_array_equal(weights["log_w"], found.log_w)
        np.testing.assert_array_equal(weights["network"], np.arange(400))


def test_one_draw_serves_all_C_W(run: Run, tmp_path: Path) -> None:
    """ReLU networks that are drawn with C_W = 2 have the posterior of those with C_W = 1.5 and the same normals, by
    docs/theory.md (16.17), in all of the table, and the report draws them over C_W. Negative controls: C_W = 1.6, and
    tanh."""
    given = [*FEW, "activation=relu", "initialization=gaussian", "ensemble.dtype=float64", "ensemble.networks=2000"]
    drawn, other = (run(*given, f"initialization.C_W={C_W}") for C_W in (2.0, 1.5))
    want = analysis.posterior(other, noise=0.2)
    found = analysis.posterior(drawn, noise=0.2, C_W=1.5)
    pd.testing.assert_frame_equal(found.table, want.table, rtol=1e-6)
    with pytest.raises(AssertionError):
        pd.testing.assert_frame_equal(analysis.posterior(drawn, noise=0.2, C_W=1.6).table, want.table, rtol=1e-6)
    command = [f"data={drawn.path}", "posterior.noise=0.2", "posterior.C_W=[1.5,2.0,2.5]", "figures=false"]
    assert main([*command, f"output={tmp_path}/out"]) == 0
    table = pd.read_parquet(tmp_path / "out" / "posterior.parquet")
    assert sorted(set(table["data"])) == [f"{drawn.path.name} C_W={C_W}" for C_W in (1.5, 2.0, 2.5)]
    curve = posterior_figures.evidence({str(C): analysis.posterior(drawn, noise=0.2, C_W=C) for C in (1.5, 2.5)})
    assert curve is not None
    assert curve.axes[0].get_xlabel() == "$C_W$"
    with pytest.raises(ValueError, match="scale-invariant activations without biases"):
        analysis.posterior(run(*FEW), noise=0.2, C_W=1.5)


def test_nothing_is_inferred_unless_asked(run: Run, tmp_path: Path) -> None:
    data = run(*FEW)
    assert main([f"data={data.path}", "figures=false", f"output={tmp_path}/out"]) == 0
    assert not list((tmp_path / "out").glob("posterior*"))


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    where = [f"output={tmp_path_factory.mktemp('narrow')}/a", "workers=1", "ensemble.device=cpu"]
    return simulate.run(*FEW, "inputs.count=12", "network.width=8", *where)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["posterior.noise=-1"], "posterior.noise=-1"),
        (["posterior.noise=true"], "posterior.noise=True"),
        (["posterior.weights=true"], "posterior.noise=null"),
        (["posterior.noise=0.1", "posterior.weights=1"], "posterior.weights=1"),
        (["posterior.noise=0.1", "posterior.targets=missing.npy"], "posterior.targets=missing.npy"),
        (["posterior.noise=0.1", "posterior.targets=y.txt"], "a .npy or .csv file"),
        (["posterior.noise=0.1", "posterior.targets=complex.npy"], "posterior.targets=complex.npy: a .npy or"),
        (["posterior.noise=0.1", "posterior.targets=empty.csv"], "posterior.targets=empty.csv: a .npy or .csv file"),
        (["posterior.noise=0.1", "posterior.targets=pipe.csv"], "posterior.targets=pipe.csv: a .npy or .csv file"),
        (["posterior.noise=0.1", "posterior.targets=huge.csv"], "targets: as large as 1e+200: the evidence is"),
        (["posterior=3"], "posterior=3: settings of a posterior"),
        (["posterior=null"], "posterior=None: settings of a posterior"),
        (["posterior.noise=1e-6"], "underpowered"),
    ],
)
def test_refusals(
    overrides: list[str],
    words: str,
    narrow: DataSet,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exit code 2, one line, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    np.save("complex.npy", np.zeros((2, 1), complex))
    Path("empty.csv").touch()
    Path("huge.csv").write_text("1e200\n-1e200\n")
    os.mkfifo("pipe.csv")
    assert main([f"data={narrow.path}", f"output={tmp_path}/out", *overrides]) == 2
    stderr = capsys.readouterr().err
    assert words in stderr
    assert stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_sweep_keeps_what_can_be_inferred(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of two data sets one has too few neurons without noise; the other one has its posterior."""
    for name, width in (("narrow", 2), ("wide", 64)):
        run(*FEW, f"network.width={width}", f"output={tmp_path}/both/{name}")
    command = [f"data={tmp_path}/both", "posterior.noise=0.0", "figures=false", f"output={tmp_path}/out"]
    assert main(command) == 0
    assert "narrow: no posterior: noise=0" in capsys.readouterr().out
    assert set(pd.read_parquet(tmp_path / "out" / "posterior.parquet")["data"]) == {"wide"}


def test_the_example_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code of docs/bayes.md runs as it stands, with fewer networks, and interpolates: outputs at test samples lie
    between the targets of their neighbours where the page's sine does."""
    page = (Path(__file__).parents[2] / "docs" / "bayes.md").read_text()
    code = page.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    program = compile(code.replace("20000", "1000"), "bayes.md", "exec")
    exec(program, names)
    found = names["found"]
    assert isinstance(found, analysis.inference.Inferred)
    mean = found.mean[4:, 0]
    assert -0.9 < mean[0] < mean[1] < mean[2] < 1.0
    assert found.covariance[0, 7, 0, 7] > 1.5 * found.covariance[0, 5, 0, 5], "beyond the train samples it is wider"


def test_figures_hold_the_numbers(run: Run) -> None:
    """Kernels before and after, outputs, and the evidence of two depths are those of the posteriors. Negative control:
    another noise."""
    sets = {f"depth {depth}": run(*FEW, f"network.depth={depth}") for depth in (2, 3)}
    found = {name: analysis.posterior(data, noise=0.2) for name, data in sets.items()}
    drawn = {name: figure for name, _, figure in posterior_figures.figures(found)}
    assert list(drawn) == ["evidence", *(f"{kind}-{name}" for name in sets for kind in ("outputs", "kernels"))]

    def evidence(figure: Figure) -> np.ndarray:
        return np.array([container.lines[0].get_xydata() for container in figure.axes[0].containers])[0]

    want = [[depth, each.log_evidence] for depth, each in zip((2, 3), found.values(), strict=True)]
    np.testing.assert_allclose(evidence(drawn["evidence"]), want)
    other = {name: analysis.posterior(data, noise=0.3) for name, data in sets.items()}
    assert not np.allclose(evidence(next(posterior_figures.figures(other))[2]), want)

    each = [(n, s) for s in ("tanh", "relu") for n in (16, 24)]
    several = {f"{s} {n}": run(*FEW, f"activation={s}", f"network.width={n}") for n, s in each}
    curves = posterior_figures.evidence({name: analysis.posterior(data, noise=0.2) for name, data in several.items()})
    assert curves is not None
    (over_n,) = curves.axes
    assert over_n.get_xlabel() == "$n$", "C_W tells no more than the activation, which it follows"
    assert [text.get_text() for text in over_n.get_xticklabels()] == ["16", "24"]
    names = {text.get_text(): text.xy[0] for text in over_n.texts}  # type: ignore[attr-defined]
    assert names == {"$C_W$ = 1.0, activation = tanh": 24, "$C_W$ = 2.0, activation = relu": 24}

    one = found["depth 3"]
    _, posterior, _ = (container.lines[0].get_ydata() for container in drawn["outputs-depth 3"].axes[0].containers)
    np.testing.assert_allclose(posterior, one.mean[:, 0])
    images = [np.asarray(axes.images[0].get_array()) for axes in drawn["kernels-depth 3"].axes if axes.images]
    upper = np.triu_indices(3)
    for layer, (before, after, change) in zip((2, 3), (images[:3], images[3:]), strict=True):
        g = one.point.read("g", layer)
        np.testing.assert_allclose(before[upper], g.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(after[upper], one.average(g)[0])
        np.testing.assert_allclose(change, after - before)


def test_the_report_draws_posteriors(run: Run, tmp_path: Path) -> None:
    """The report of a data set has them where a posterior is asked for."""
    data = run(*FEW, "inputs.count=1", "network.depth=2")
    for more in ([], ["posterior.noise=0.2"]):
        assert main([f"data={data.path}", f"output={tmp_path}/out", *more]) == 0
        page = (tmp_path / "out" / "report.html").read_text()
        assert ("<h2>Posterior</h2>" in page, page.count("before and after inference")) == (bool(more), 2 * bool(more))
    assert (tmp_path / "out" / "figures" / f"posterior-outputs-{data.path.name}.png").exists()
