"""`plot=V` and `analysis.plot`: any tensor on its theory, drawn into the caller's axes and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

import analysis
import simulate
from analysis import plot
from analysis.__main__ import main
from analysis.report.scaling import draw_scaling

ROOT = Path(__file__).parents[2]
SWEEP = [
    "network.depth=3", "inputs.count=2", "ensemble.networks=400", "observables.record=[kernel,outputs]",
    "ensemble.device=cpu", "workers=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plots")
    simulate.sweep(*SWEEP, "sweep={network.width: [16,32,64]}", f"output={folder}/widths")
    rates = "sweep={initialization.C_W: [0.8,1.0,1.2], initialization.C_b: [0.0,0.1]}"
    simulate.sweep(*SWEEP, "initialization=gaussian", rates, f"output={folder}/start")
    return folder


def axes() -> plt.Axes:
    return Figure().subplots()


def test_points_and_lines_are_those_of_the_table(data: Path) -> None:
    """V/(n K^2) against l/n: for each width the estimates with their errors, on the theory."""
    ax = axes()
    assert plot.scaling(data / "widths", "V", x="L/n", ax=ax) is ax
    frame = analysis.table(data / "widths", "V")
    names = {text.get_text(): text.xy for text in ax.texts}
    for n, bars in zip((16, 32, 64), ax.containers, strict=True):
        of_n = frame[(frame["width"] == n) & (frame["samples"] == "00,00")]
        points, _, (segments,) = bars
        np.testing.assert_allclose(points.get_xdata(orig=False), of_n["layer"] / n)
        np.testing.assert_allclose(points.get_ydata(orig=False), of_n["estimate"] / of_n["unit"])
        spans = np.array([end[:, 1] for end in segments.get_segments()])
        np.testing.assert_allclose((spans[:, 1] - spans[:, 0]) / 2, of_n["error"] / of_n["unit"])
        assert names[f"$n={n}$"] == (points.get_xdata()[0], points.get_ydata()[0]), "a line has its name at its end"
        (line,) = (
            line for line in ax.lines if len(line.get_xdata()) == 2 and line.get_marker() == "None"
            and np.allclose(line.get_ydata(), of_n["theory"] / of_n["unit"])
        )  # fmt: skip
        np.testing.assert_allclose(line.get_xdata(), of_n["layer"] / n)
    assert ax.get_ylabel() == "$V$ [00,00] over $nK^2$"


@pytest.mark.parametrize(
    ("folder", "tensor", "options", "groups", "label"),
    [
        ("widths", "V", {"x": "n", "y": "ratio"}, 2, "$n$"),
        ("widths", "V", {"x": "1/n", "samples": ["00,00", "01,01"], "layers": [3]}, 2, "$1/n$"),
        ("widths", "G", {"x": "l"}, 3, r"$\ell$"),
        ("start", "V", {"x": "C_W", "layers": [3]}, 2, "C_W"),
        ("start", "V", {"x": "initialization.C_b", "layers": [3]}, 3, "C_b"),
    ],
)
def test_any_axis(data: Path, folder: str, tensor: str, options: dict, groups: int, label: str) -> None:  # type: ignore[type-arg]
    """A line for each of what is left: layers, widths, components, or the other setting."""
    ax = plot.scaling(data / folder, tensor, ax=axes(), **options)
    assert len(ax.containers) == groups
    assert ax.get_xlabel() == label
    lines = [line for line in ax.lines if len(line.get_xdata())]
    assert len(lines) >= 2 * groups, "each has points and a line of theory"
    if options.get("y") == "ratio":
        assert any(np.allclose(line.get_ydata(), 1) for line in lines)


def test_the_next_order_is_drawn_where_it_is_known(data: Path) -> None:
    """It is known for one sample, and not for components of two."""
    drawn = {
        (tensor, samples): plot.scaling(data / "widths", tensor, samples=samples, ax=axes()).lines
        for tensor, samples in (("G", None), ("V", "00,00"), ("V", "00,01"))
    }
    dashed = [any(line.get_linestyle() == "--" for line in lines) for lines in drawn.values()]
    assert dashed == [True, True, False]


@pytest.mark.parametrize(("tensor", "samples"), [("V", "00,00"), ("1/xi_perp", "01")])
def test_a_heat_map_over_two_settings(tensor: str, samples: str, data: Path) -> None:
    ax = axes()
    assert plot.heat(data / "start", tensor, x="C_W", y="C_b", layers=[3], ax=ax) is ax
    frame = analysis.table(data / "start", tensor, [3])
    frame = frame[frame["samples"] == samples]
    grid = frame.pivot(index="initialization.C_b", columns="initialization.C_W", values="estimate")
    np.testing.assert_array_equal(np.asarray(ax.collections[0].get_array()).reshape(2, 3), grid)
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0.8", "1", "1.2"]
    with pytest.raises(ValueError, match="up to 2 estimates a cell, which differ in layer; choose one"):
        plot.heat(data / "start", tensor, x="C_W", y="C_b", ax=axes())


@pytest.mark.parametrize("ending", ["svg", "png", "pdf"])
def test_files(ending: str, data: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / f"v.{ending}"
    for arguments in (["x=n"], ["x=n", "y=l"])[: 1 + (ending == "png")]:
        found = []
        for _ in range(2):
            assert main([f"data={data}/widths", "plot=V", *arguments, f"output={path}"]) == 0
            found.append(path.read_bytes())
        assert found[0] == found[1], "the same data give the same bytes"
        assert found[0].startswith({"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}[ending])
    if ending == "png":
        assert matplotlib.image.imread(path)[..., :3].std() > 0.01, "it is blank"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plot=W"], "no such tensor"),
        (["plot=V", "x=C_W"], "x=C_W: neither an axis nor a setting in which these data sets differ; there are L/n, "),
        (["plot=V", "y=twice"], "error: y=twice: neither an axis nor a setting"),
        (["plot=V", "output=v.gif"], "output=v.gif: a figure is written as .svg, .png, .pdf"),
        (["plot=V", "samples=[]"], "samples=: no such component; there are 00,00; 00,01"),
        (["plot=V", "samples='22,22'"], "samples=22,22: no such component; there are 00,00; 00,01"),
        (["plot=V", "table=V"], "one of them at a time"),
        (["plot=G", "y=unit"], "y=unit: G has no unit"),
    ],
)
def test_refusals(arguments: list[str], message: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"data={data}/widths", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_what_has_no_estimate_is_not_drawn(data: Path) -> None:
    """With the reason. Control: the same table is drawn where one row has an estimate."""
    frame = analysis.table(data / "widths", "V")
    frame["skipped"] = "20 networks: at least 32 are needed"
    with pytest.raises(ValueError, match="nothing to draw: 20 networks: at least 32"):
        draw_scaling(frame, "n", None, None, axes())
    frame.loc[0, "skipped"] = ""
    assert len(draw_scaling(frame, "n", None, None, axes()).containers) == 1


def test_the_band_of_trained_functions(tmp_path: Path) -> None:
    """Mean and two standard deviations at the test samples, in the order of the axis, on the closed form."""
    grid = np.array([[0.9], [-0.7], [0.1]])
    trained = simulate.run(
        "network.width=16", "network.depth=2", "dynamics=gradient_descent", "dynamics.eta=0.2", "dynamics.steps=20",
        "observables=training", "observables.record=[outputs]", "observables.steps=[0,20]", "ensemble.networks=64",
        "ensemble.device=cpu", "workers=1", f"output={tmp_path}/t",
        inputs=(np.array([[-1.0], [0.5]]), np.array([[0.3], [-0.4]])), test=(grid, np.zeros((3, 1))),
    )  # fmt: skip
    ax = axes()
    assert plot.band(trained, ax=ax) is ax
    measured, theory, low, high, train = ax.get_lines()
    z = trained.read("z")[:, -1, -1, 2:].astype(float)[:, [1, 2, 0]]
    assert measured.get_xdata() == pytest.approx([-0.7, 0.1, 0.9])
    assert measured.get_ydata() == pytest.approx(z.mean(axis=0), rel=1e-6)
    (band,) = ax.collections
    assert band.get_paths()[0].vertices[:, 1].max() == pytest.approx((z.mean(0) + 2 * z.std(0)).max(), rel=1e-5)
    assert train.get_xydata() == pytest.approx(np.array([[-1.0, 0.3], [0.5, -0.4]]))
    assert {text.get_text(): text.xy[0] for text in ax.texts} == {"$n=16$": 0.9, r"theory, $n=\infty$": 0.9}  # type: ignore[attr-defined]
    assert ax.get_legend_handles_labels()[1] == ["train samples"]
    y, bottom, top = (np.asarray(line.get_ydata()) for line in (theory, low, high))
    assert y - bottom == pytest.approx(top - y)
    assert plot.band(trained, x=[3, 1, 2], step=0, ax=axes()).get_lines()[0].get_xdata() == pytest.approx([1, 2, 3])
    for options, message in (
        ({"step": 7}, "recorded are 0, 20"),
        ({"output": 1}, "outputs 0 to 0"),
        ({"x": [1]}, "3 test"),
    ):
        with pytest.raises(ValueError, match=message):
            plot.band(trained, **options, ax=axes())


def test_nothing_of_the_caller_is_touched(data: Path, tmp_path: Path) -> None:
    """Neither figures nor reports change the backend, the settings or the figures of pyplot. Control: without `ax`
    there is a new figure of pyplot's, in the caller's style."""
    with matplotlib.rc_context({"backend": "svg", "axes.facecolor": "red"}):
        mine, before = plt.figure(), dict(matplotlib.rcParams)
        plot.scaling(data / "widths", "V", ax=axes())
        analysis.analyze(data / "widths" / "width-16", output=tmp_path)
        assert dict(matplotlib.rcParams) == before
        assert plt.get_fignums() == [mine.number]
        ax = plot.scaling(data / "widths", "V")
        assert ax.get_facecolor() == (1, 0, 0, 1)
        assert len(plt.get_fignums()) == 2
        plt.close("all")


def test_data_without_a_claim_have_a_figure_of_each_tensor(data: Path, tmp_path: Path) -> None:
    result = analysis.analyze(data / "widths" / "width-16", output=tmp_path)
    figures = {path.stem for path in (tmp_path / "figures").glob("*.svg")}
    assert {"V", "G", "G1", "cumulant"} <= figures
    html = (tmp_path / "report.html").read_text()
    assert html.count("<figure>") == len(figures) == result.estimates["tensor"].nunique()
    assert html.count("measured (circles) on theory (lines)") >= len(figures)


def test_the_backend_is_left_alone() -> None:
    """Importing what draws a report chooses no backend. Control: pyplot's figures do."""
    code = (
        "import matplotlib, analysis.plot, analysis.report.draw, analysis.report.page\n"
        "chosen = lambda: matplotlib.get_backend(auto_select=False)\n"
        "assert chosen() is None\n"
        "import matplotlib.pyplot as plt; plt.figure(); assert chosen() is not None\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
