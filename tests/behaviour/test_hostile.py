"""Malicious settings and input files: each is refused in one line, and nothing is run or written.

test_config.py has settings that are merely wrong, test_inputs.py such input files, test_hostile_data.py data sets.
"""

import copy
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import configs
from configs.composing import keys_of
from simulate import api
from simulate.__main__ import main
from simulate.inputs import files
from simulate.settings import Settings, read
from simulate.settings.reader import SettingsError

# ------------------------------------------------------------------- settings

DEFAULTS = configs.compose("simulate", [])
LEAVES = [k for k in keys_of(DEFAULTS) if k]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["../../etc/passwd", "${oc.env:HOME}", "<script>", "__import__('os')", "\0", "auto", "1e999"]),
    st.lists(st.integers(-2, 3), max_size=4),
    st.dictionaries(st.sampled_from(["_target_", "a", "ntk"]), st.sampled_from(["os.system", 1, [[0, 0]]]), max_size=2),
)  # fmt: skip


def changed(config: dict[str, Any], key: str, value: object) -> None:
    *path, last = key.split(".")
    for name in path:
        config = config[name]
        if not isinstance(config, dict):
            return
    config[last] = value


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from([*LEAVES, "network.nothing", "_target_"]), VALUES), min_size=1, max_size=3))
def test_any_config_is_read_or_refused_in_one_line(changes: list[tuple[str, object]]) -> None:
    config = copy.deepcopy(DEFAULTS)
    for key, value in changes:
        changed(config, key, value)
    message = "read"
    try:
        assert isinstance(read(config), Settings)
    except SettingsError as error:
        message = str(error)
    assert len(message.splitlines()) == 1


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from([*LEAVES, "+new", "~network", "hydra.run.dir", "++a.b"]), WORDS), max_size=2))
def test_any_override_is_read_or_refused_in_one_line(overrides: list[tuple[str, str]]) -> None:
    message = "read"
    try:
        api.read_sweep([f"{key}={value}" for key, value in overrides])
    except (configs.ConfigError, SettingsError) as error:
        message = str(error)
    assert len(message.splitlines()) == 1


HOSTILE = [
    ["+network._target_=os.system"],
    ["+_target_=subprocess.run"],
    ["++claim={_target_: os.system}"],
    ["+inputs.x={_args_: [1], _target_: builtins.exec}"],
    ["output="],
    ["'output= '"],
    ["network.width=99999999999999999999"],
    ["network.depth=10000000"],
    ["network.width=2147483647", "network.depth=3", "ensemble.sampler=dense"],
    ["ensemble.networks=9223372036854775807"],
    ["ensemble.networks=99999999999999999999999999"],
    ["ensemble.block=1000000000", "ensemble.sampler=dense"],
    ["inputs=sphere", "inputs.dimension=10000000", "inputs.count=10000"],
    ["inputs.count=1000000000000"],
    ["inputs=sphere", "inputs.dimension=10", "inputs.count=10000"],
    [
        "inputs=sphere",
        "inputs.dimension=10",
        "inputs.count=500",
        "observables.record=[ddntk]",
        "observables.tuples={ddntk: [[0,0,0,0]]}",
    ],
    ["inputs=sphere", "inputs.dimension=10", "inputs.count=500", "observables.record=[dntk]"],
    ["observables.layers=[1,1,1]"],
    ["observables.record=[__class__]"],
    ["observables.tuples={ntk: [[0,99999]]}", "observables=ntk"],
    ["network.width=${oc.env:NO_SUCH_VARIABLE_HERE}"],
    ["network.width=${network.width}"],
    ["network.width=${oc.decode:'os'}"],
    ["ensemble.seed=1e400"],
    ["ensemble.seed=-1"],
    ["ensemble.dtype=object"],
    ["ensemble.device=../../dev/sda"],
    ["activation=../../../etc/passwd"],
    ["experiment=../simulate"],
    ["inputs=file", "inputs.path=/etc/passwd"],
    ["inputs=file", "inputs.path=/dev/zero"],
    ["inputs=file", "inputs.path=."],
]


@pytest.mark.parametrize("overrides", HOSTILE, ids=map(" ".join, HOSTILE))
def test_hostile_settings(
    overrides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = [] if any("output=" in o for o in overrides) else [f"output={tmp_path}/x"]
    monkeypatch.chdir(tmp_path)
    assert main([*overrides, *output, "workers=1"]) == 2
    stderr = capsys.readouterr().err
    assert stderr.startswith("error: ")
    assert stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_names_of_sweep_points_stay_inside(tmp_path: Path) -> None:
    """The folder of a point has a plain name and lies directly in `output`, whatever values are swept."""
    hostile = ["../../up", "/etc/x.npy", "a/../../b.npy", "c d.npy", "~root.npy"]
    swept = api.read_sweep(
        ["inputs=file", "inputs.path=" + ",".join(f"'{name}'" for name in hostile), f"output={tmp_path}/s"]
    )
    for point in swept:
        assert Path(point.output).parent == tmp_path / "s"
        assert Path(point.output).name not in ("..", ".")


# ------------------------------------------------------------------- files of inputs


def huge_npy(path: Path) -> None:
    """Write a header that announces 8 TB."""
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }"
    header += b" " * (117 - len(header)) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\0" * 64)


def bomb_npz(path: Path) -> None:
    """Write sixty kilobytes that unpack to more than the limit."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", b"\0" * 2**26)


def no_zip(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04 not a zip")


def pickle_npz(path: Path) -> None:
    np.savez(path, x=np.array([[Exploding()]], dtype=object))


def structured(path: Path) -> None:
    np.save(path, np.zeros((2, 2), dtype=[("a", "f8"), ("b", "i4")]))


def nul_csv(path: Path) -> None:
    path.write_bytes(b"a,b\n1,\0\n")


def long_field(path: Path) -> None:
    path.write_text("a,b\n1," + "9" * 200_000 + "\n")


def not_text(path: Path) -> None:
    path.write_bytes(b"a,b\n\xff\xfe,1\n")


def infinite(path: Path) -> None:
    path.symlink_to("/dev/zero")


def fifo(path: Path) -> None:
    os.mkfifo(path)


def header_runs(path: Path) -> None:
    """Write a header that would run a command if it were evaluated."""
    header = b"{'descr': __import__('os').system('touch pwned'), 'fortran_order': False, 'shape': (1, 1), }\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\0" * 8)


class Exploding:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, ("pwned",)


FILES: list[tuple[str, Callable[[Path], None]]] = [
    ("a.npy", huge_npy),
    ("b.npz", bomb_npz),
    ("c.npz", no_zip),
    ("d.npz", pickle_npz),
    ("e.npy", structured),
    ("f.csv", nul_csv),
    ("g.csv", long_field),
    ("h.csv", not_text),
    ("i.csv", infinite),
    ("j.npy", infinite),
    ("k.csv", fifo),
    ("l.npy", header_runs),
]


@pytest.mark.parametrize(("name", "make"), FILES, ids=[make.__name__ + name for name, make in FILES])
def test_hostile_inputs(
    name: str, make: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(files, "MOST_BYTES", 2**24)
    make(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert main(["inputs=file", f"inputs.path={tmp_path / name}", f"output={tmp_path}/x"]) == 2
    stderr = capsys.readouterr().err
    assert stderr.startswith("error: inputs.path=")
    assert stderr.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == [name]
