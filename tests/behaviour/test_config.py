"""Every option file composes. A wrong setting gives one line and exit code 2, and nothing is written."""

from dataclasses import replace
from pathlib import Path

import pytest

import configs
from simulate.__main__ import main
from simulate.api import point_name, read_one, read_sweep
from simulate.settings import Settings

GROUPS = (
    "activation",
    "initialization",
    "inputs",
    "features",
    "dynamics",
    "observables",
    "network",
    "ensemble",
    "cluster",
)
# tests/behaviour/test_claims.py composes every experiment.
FILES = [(group, option) for group in GROUPS for option in configs.options(group)]


def test_every_yaml_is_an_option_of_a_group() -> None:
    root = Path(configs.__file__).parent
    files = {p.relative_to(root).with_suffix("").as_posix() for p in root.glob("*/**/*.yaml")}
    experiments = {f"experiment/{name}" for name in configs.options("experiment")}
    assert files == {f"{group}/{option}" for group, option in FILES} | experiments


@pytest.mark.parametrize(("group", "option"), FILES)
def test_every_file_composes(group: str, option: str) -> None:
    overrides = [f"{group}={option}"]
    if option in ("sigmoid", "softplus"):
        overrides.append("initialization=gaussian")
    if (group, option) == ("activation", "expression"):
        overrides.append("activation.expression=tanh(z)")
    if (group, option) == ("inputs", "file"):
        overrides.append("inputs.path=x.npy")
    if (group, option) == ("network", "quadratic"):
        overrides.append("observables.record=[outputs,ntk]")
    if (group, option) == ("observables", "training"):
        overrides.append("dynamics=gradient_descent")
    for point in read_sweep(overrides):
        assert isinstance(point, Settings)


def test_command_line_wins_over_the_experiment() -> None:
    points = read_sweep(["experiment=preactivations", "network.width=8,16", "ensemble.networks=7"])
    assert [p.network.widths[0] for p in points] == [8, 16]
    assert {p.ensemble.networks for p in points} == {7}
    assert len(read_sweep(["experiment=preactivations", "network.width=8"])) == 1


def test_each_point_of_a_sweep_has_its_folder() -> None:
    points = read_sweep(["network.width=4,8", "network.depth=3,5", "output=o"])
    assert [p.output for p in points] == [f"o/width-{w}_depth-{d}" for w in (4, 8) for d in (3, 5)]
    assert "/" not in point_name({"inputs.path": "../../etc"})
    rounded = read_sweep(["initialization=gaussian", "initialization.C_W=range(1,1.6,0.2)", "output=o"])
    assert [p.output for p in rounded] == [f"o/C_W-{C_W}" for C_W in (1.0, 1.2, 1.4, 1.6)], "no C_W-1.4000000000000001"


def test_values_that_differ_in_symbols_have_folders_of_their_own() -> None:
    """z*tanh(z) and z+tanh(z) would both be z-tanh-z-; the third, which shares its name with no other, keeps it."""
    sweep = ["activation=expression", "activation.expression=z*tanh(z),z+tanh(z),tanh(z)", "initialization=gaussian",
             "output=o"]  # fmt: skip
    names = [Path(point.output).name for point in read_sweep(sweep)]
    assert len(set(names)) == 3
    assert names[2] == "expression--tanh-z--"
    assert [name[:-8] for name in names[:2]] == ["expression--z-tanh-z---"] * 2
    assert names == [Path(point.output).name for point in read_sweep(sweep)], "the same in every run"


def test_hydras_sweeps() -> None:
    """choice(), range() and glob() are Hydra's; an interval has no points."""
    assert [p.network.widths[0] for p in read_sweep(["network.width=choice(8,16)"])] == [8, 16]
    assert [p.network.depth for p in read_sweep(["network.depth=range(2,5)"])] == [2, 3, 4]
    found = read_sweep(["activation=glob([re*,t*])", "initialization=gaussian"])
    assert [p.activation.name for p in found] == ["relu", "tanh"]
    everything = read_sweep(["initialization=glob(*)"])
    assert len(everything) == len(configs.options("initialization"))
    for typed, right in (
        ("network.depth=interval(0,3)", "an interval has no list of values"),
        ("activation=glob(q*)", "no option matches; there are erf, "),
        ("network.width=glob(*)", "network.width is no group of options"),
    ):
        with pytest.raises(configs.ConfigError) as error:
            read_sweep([typed])
        assert str(error.value).startswith(f"{typed}: ")
        assert right in str(error.value)


def test_each_experiment_has_its_own_sweep() -> None:
    """Criticality sweeps C_W and has its own widths; it had those of preactivations."""
    both = read_sweep(["experiment=preactivations,criticality", "output=o"])
    alone = [point for name in ("preactivations", "criticality") for point in read_sweep([f"experiment={name}"])]
    assert [replace(point, output="") for point in both] == [replace(point, output="") for point in alone]
    assert len({point.output for point in both}) == len(both)


def test_width_lists_and_layerwise_rates() -> None:
    s = read_one(["network.width=[8,16,4]", "dynamics.lambda_b=[1,2,3,4]"])
    assert s.network.widths == (8, 16, 4)
    assert s.dynamics.lambda_b == (1.0, 2.0, 3.0, 4.0)


def test_sampler_auto_takes_law_where_it_can() -> None:
    assert read_one([]).ensemble.sampler == "law"
    assert read_one(["observables=ntk"]).ensemble.sampler == "law"
    assert read_one(["dynamics=gradient_descent"]).ensemble.sampler == "dense"


WRONG = [
    (["network.widht=3"], "network.widht=3", "did you mean network.width"),
    (["network.width=0"], "network.width=0", ">= 1"),
    (["network.width=-4"], "network.width=-4", ">= 1"),
    (["network.width=abc"], "network.width='abc'", "whole number"),
    (["network.width=2.5"], "network.width=2.5", "whole number"),
    (["network.width=[8,8]"], "network.width=[8, 8]", "depth - 1 = 3"),
    (["network.depth=0"], "network.depth=0", "from 1"),
    (["network.outputs=true"], "network.outputs=True", "whole number"),
    (["ensemble.networks=0"], "ensemble.networks=0", "from 1"),
    (["ensemble.seed=-1"], "ensemble.seed=-1", ">= 0"),
    (["ensemble.dtype=float16"], "ensemble.dtype='float16'", "float32, float64"),
    (["ensemble.sampler=law", "dynamics=gradient_descent"], "ensemble.sampler='law'", "needs the weights"),
    (["dynamics=momentum", "dynamics.momentum=1"], "dynamics.momentum=1", "below 1"),
    (["dynamics=sgd", "dynamics.batch=0"], "dynamics.batch=0", "from 1"),
    (["dynamics=sgd", "dynamics.batch=3"], "dynamics.batch=3", "2 train samples"),
    (["dynamics=gradient_descent", "dynamics.eta=0"], "dynamics.eta=0", "auto"),
    (["dynamics=gradient_descent", "dynamics.loss=mae"], "dynamics.loss='mae'", "cross_entropy"),
    (["dynamics=gradient_descent", "dynamics.tolerance=-1"], "dynamics.tolerance=-1", ">= 0"),
    (["observables.record=[taylor]"], "observables.record", "needs training"),
    (
        ["dynamics=momentum", "dynamics.loss=cross_entropy", "observables.record=[taylor]"],
        "observables.record",
        "gradient_flow or momentum or nesterov or sgd with loss=mse",
    ),
    (
        [
            "dynamics=gradient_descent",
            "inputs=teacher",
            "inputs.targets=2",
            "dynamics.loss=cross_entropy",
            "network.outputs=2",
        ],
        "dynamics.loss='cross_entropy'",
        ">= 0 for several",
    ),
    (["ensemble.tf32=maybe"], "ensemble.tf32='maybe'", "true or false"),
    (["ensemble.block=0"], "ensemble.block=0", "auto"),
    (["workers=0"], "workers=0", ">= 1"),
    (["activation=tahn"], "activation=tahn", "tanh"),
    (["activation=leaky_relu", "activation.slope=nan"], "activation.slope", "finite"),
    (["activation=sigmoid"], "initialization='critical'", "no critical"),
    (["activation=softplus"], "initialization='critical'", "no critical"),
    (["initialization.C_W=2"], "initialization.C_W=2", "initialization=gaussian"),
    (["initialization=gaussian", "initialization.C_W=-1"], "initialization.C_W=-1", "> 0"),
    (["initialization=gaussian", "initialization.C_W=inf"], "initialization.C_W=inf", "finite"),
    (["initialization=gaussian", "initialization.C_b=-0.1"], "initialization.C_b=-0.1", ">= 0"),
    (["initialization=uniform", "+initialization.zzz=1"], "initialization.zzz=1", "known here: scheme, C_b, C_W\n"),
    (["network=residual", "network.branch=1e-300"], "branch=1e-300", "beyond the range of float64"),
    (["inputs=file"], "inputs.path", "mandatory"),
    (["inputs=file", "inputs.path=nowhere.npy"], "inputs.path='nowhere.npy'", "No such file"),
    (["inputs.count=0"], "inputs.count=0", "from 1"),
    (["inputs.count=5000"], "inputs.count=5000", "rows"),
    (["inputs.classes=[0]"], "inputs.classes=[0]", "two or more"),
    (["inputs.classes=[0,11]"], "inputs.classes=[0, 11]", "two or more"),
    (["inputs.normalization=max"], "inputs.normalization='max'", "unit"),
    (["dynamics=gradient_descent", "dynamics.eta=0"], "dynamics.eta=0", "> 0"),
    (["dynamics=gradient_descent", "dynamics.steps=0"], "dynamics.steps=0", "from 1"),
    (["dynamics.lambda_b=[1,2]"], "dynamics.lambda_b=[1, 2]", "list of 4"),
    (["dynamics.lambda_W=-1"], "dynamics.lambda_W=-1", ">= 0"),
    (["dynamics=gradient_descent", "inputs=sphere"], "dynamics='gradient_descent'", "no targets"),
    (["dynamics=gradient_descent", "network.outputs=3"], "network.outputs=3", "1 component"),
    (["observables=training"], "observables.record", "needs training"),
    (["observables.record=[kernel,nkt]"], "observables.record=['kernel', 'nkt']", "ntk"),
    (["observables.layers=[5]"], "observables.layers=[5]", "depth = 4"),
    (["observables.layers=[2,1]"], "observables.layers=[2, 1]", "rising"),
    (["observables.steps=[0,3]"], "observables.steps=[0, 3]", "dynamics.steps = 0"),
    (["inputs.count=60"], "observables.record", "columns"),
    (["network.width=100000000", "ensemble.sampler=dense"], "network.width", "GiB"),
    (["ensemble.networks=999999999999"], "ensemble.networks", "GiB"),
    (["+network._target_=os.system"], "network._target_='os.system'", "cannot name code"),
    (["+claim={name: x, _target_: os.system}"], "claim", "_target_"),
    (["+surprise=1"], "surprise=1", "no such setting"),
    (["network.width=3,4"], "network.width=3,4", "-m"),
    (["network.width=[3,4"], "network.width=[3,4", ""),
    (["experiment=preactivations", "claim.tests.V.layers=[3]"], "claim.tests.V.layers=[3]", "recorded"),
    (["experiment=preactivations", "claim.tests.V.precision=0"], "claim.tests.V.precision=0", "> 0"),
    (["--frobnicate"], "--frobnicate", "no such flag"),
]


@pytest.mark.parametrize(("overrides", "named", "hint"), WRONG, ids=[" ".join(w[0]) for w in WRONG])
def test_wrong_settings(
    overrides: list[str], named: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    code = main([*overrides] if "experiment" in overrides[0] else [*overrides, "output=out"])
    captured = capsys.readouterr()
    assert code == 2
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1, "one line"
    assert named in captured.err
    assert hint in captured.err
    assert list(tmp_path.iterdir()) == [], "nothing written"


def test_a_missing_cuda_device_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["ensemble.device=cuda", f"output={tmp_path}/o"]) == 2
    assert "no CUDA device" in capsys.readouterr().err


def test_one_taken_output_stops_the_sweep_before_anything_is_written(tmp_path: Path) -> None:
    small = ["ensemble.networks=4", "workers=1", "ensemble.device=cpu"]
    assert main([*small, "network.width=8", "network.depth=3", f"output={tmp_path}/o/width-8"]) == 0
    assert main(["-m", *small, "network.width=4,8", f"output={tmp_path}/o"]) == 2
    assert not (tmp_path / "o" / "width-4").exists()


def test_one_bad_point_stops_the_sweep_before_anything_is_written(tmp_path: Path) -> None:
    assert main(["-m", "network.width=4,8,0", f"output={tmp_path}/o"]) == 2
    assert not (tmp_path / "o").exists()
