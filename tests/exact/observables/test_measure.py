"""Functions of observables: how components are gathered, and observables that a plugin adds."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import simulate
from simulate.api import read_one
from simulate.observables.columns import OBSERVABLES, Observable
from simulate.observables.family import Family, Index
from simulate.observables.measure import MEASURES, Measure, components, gather, whole
from simulate.observables.snapshot import Snapshot, Weighted
from simulate.running.drawn import stream_of, training_of
from simulate.running.prepare import prepare
from simulate.settings import SettingsError
from simulate.store import StoreError, open_data_set
from simulate.store.layout import Layout
from simulate.training.trajectory import trajectory

FAMILIES = {family.prefix: (name, family) for name, o in OBSERVABLES.items() for family in o.families}
CPU = torch.device("cpu")
M, D, OUTPUTS = 2, 3, 2


def test_every_family_is_measured() -> None:
    assert set(MEASURES) == set(FAMILIES)
    assert len(FAMILIES) == sum(len(o.families) for o in OBSERVABLES.values()), "a prefix occurs twice"


def layout_with(name: str, tuples: dict[str, list[list[int]]]) -> Layout:
    return Layout(D, OUTPUTS, 3, (3,), (3,), (3,), (0,), (name,), tuples, "float64")


def tensor_of(family: Family) -> torch.Tensor:
    """A whole tensor with an axis for the label and each slot, whose entries are numbered."""
    shape = [len(family.labels)] * bool(family.labels) + [family.rows(D, OUTPUTS)] * family.slots
    return torch.arange(M * int(np.prod(shape, dtype=int)), dtype=torch.float64).reshape(M, *shape)


def component(tensor: torch.Tensor, family: Family, index: Index) -> torch.Tensor:
    """The component at an index tuple, read off its subscripts."""
    label = [family.labels.index(index[0])] if family.labels else []
    outputs, samples = index[len(label) : len(index) - family.slots], index[len(index) - family.slots :]
    rows = list(samples) if family.of == "sample" else [i * D + a for i, a in zip(outputs, samples, strict=True)]
    return tensor[(slice(None), *label, *rows)]


@pytest.mark.parametrize("prefix", [p for p in FAMILIES if not p.startswith("m") or p == "moved"])
@pytest.mark.parametrize("choice", ["all", "chosen"])
def test_the_gather_against_a_loop(prefix: str, choice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, family = FAMILIES[prefix]
    if choice == "chosen" and not OBSERVABLES[name].choosable:
        choice = "all"
    tensor = tensor_of(family)
    monkeypatch.setitem(MEASURES, prefix, Measure(prefix, lambda snapshot: tensor, chooses=False))
    tuples = {} if choice == "all" else {name: [[0] * family.slots, [0, 1, 1, 2][: family.slots]]}
    layout = layout_with(name, tuples)
    indices = layout.indices(family)
    assert len(indices) > 0
    assert choice == "all" or len(indices) < family.count(D, OUTPUTS)
    got = gather(layout, family, CPU)(None)
    assert torch.equal(got, torch.stack([component(tensor, family, index) for index in indices], dim=1))
    if family.slots > 1:  # negative control: the slots in another order are other components
        k = len(indices[0]) - family.slots
        reversed_slots = [(*index[:k][::-1], *index[k:][::-1]) for index in indices]
        assert not torch.equal(got, torch.stack([component(tensor, family, i) for i in reversed_slots], dim=1))


def test_moments_against_a_loop() -> None:
    """The function computes the components that are asked for, in their order."""

    @dataclass(frozen=True)
    class Neurons:
        z: torch.Tensor

        def preactivations(self) -> torch.Tensor:
            return self.z

    z = torch.randn(M, D, 7, generator=torch.Generator().manual_seed(0))
    indices = [(0, 0, 0, 0), (2, 1, 0, 1), (1, 1, 2, 2)]
    got = MEASURES["m4"].function(Neurons(z), indices)
    exact = z.double()
    for column, (a, b, c, d) in enumerate(indices):
        want = (exact[:, a] * exact[:, b] * exact[:, c] * exact[:, d]).mean(dim=1)
        torch.testing.assert_close(got[:, column], want, rtol=1e-14, atol=0)


@pytest.mark.parametrize("shape", [(), (M,), (M, D), (M, D, D + 1), (M, D, D, 1, 2)])
def test_a_tensor_of_another_shape_is_refused(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    _, family = FAMILIES["g"]
    monkeypatch.setitem(MEASURES, "g", Measure("g", lambda snapshot: torch.zeros(shape), chooses=False))
    with pytest.raises(RuntimeError, match="column 'g'"):
        gather(layout_with("kernel", {}), family, CPU)(None)


# Records of a plugin; the fixture `plugin` adds a function for each family.
PARTICIPATION = Observable(
    "participation", (Family("pr", "layers", "participation ratio of the covariance of the activations"),)
)
NORMS = Observable(
    "norms",
    (Family("norm", "layers", "squared norm of W(l)"), Family("bias", "layers", "how far b(l) has moved, squared")),
    needs=("start",),
    copies=1,
)
TRACE = Observable(
    "trace",
    (Family("tr", "output_layers", "sum over outputs of H_ii;ab", 2, symmetry=((0,), (1,))),),
    needs=("ntk",),
    pulled=lambda D, outputs: outputs * D,
    choosable=True,
)
DEEP = Observable(
    "deep",
    (Family("dd", "output_layers", "ddI_iiii;aaaa", 1, of="output"),),
    needs=("ddntk",),
    refusals=lambda s: [("network.outputs", s.network.outputs, "1 here")] if s.network.outputs > 1 else [],
    tangents=3,
)


@pytest.fixture
def plugin() -> Iterator[None]:
    """The observables and columns of a plugin, removed afterwards."""
    observables, measures = dict(OBSERVABLES), dict(MEASURES)

    @whole("pr")
    def participation(snapshot: Snapshot) -> torch.Tensor:
        s = snapshot.activations().double()
        covariance = s.mT @ s
        return covariance.diagonal(dim1=1, dim2=2).sum(dim=1).square() / covariance.square().sum(dim=(1, 2))

    @whole("norm")
    def norm(snapshot: Weighted) -> torch.Tensor:
        return snapshot.parameters.W[snapshot.layer - 1].double().square().sum(dim=(1, 2))

    @whole("bias")
    def bias(snapshot: Weighted) -> torch.Tensor:
        now, first = (p.b[snapshot.layer - 1].double() for p in (snapshot.parameters, snapshot.start()))
        return (now - first).square().sum(dim=1)

    @components("tr")
    def trace(snapshot: Snapshot, indices: list[Index]) -> torch.Tensor:
        H = snapshot.ntk()
        return torch.stack([H[:, :, a, :, b].diagonal(dim1=1, dim2=2).sum(dim=1) for a, b in indices], dim=1)

    @whole("dd")
    def deep(snapshot: Weighted) -> torch.Tensor:
        P = snapshot.outputs * len(snapshot.x)
        return snapshot.ddntk()[0][(slice(None), *[torch.arange(P)] * 4)]

    for observable in (PARTICIPATION, NORMS, TRACE, DEEP):
        OBSERVABLES.add(observable)
    yield
    for registry, before in ((OBSERVABLES, observables), (MEASURES, measures)):
        for name in set(registry) - set(before):
            del registry[name]  # type: ignore[attr-defined]


COMMON = ["network.width=6", "network.depth=3", "inputs.count=3", "ensemble.networks=20", "workers=1",
          "ensemble.device=cpu", "ensemble.dtype=float64", "initialization=gaussian", "initialization.C_b=0.3",
          "activation=tanh"]  # fmt: skip


def ratio(gram: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.square(np.trace(gram, axis1=-2, axis2=-1)) / np.square(gram).sum(axis=(-2, -1))


@pytest.mark.parametrize("sampler", ["law", "dense"])
def test_an_observable_of_a_plugin(sampler: str, tmp_path: Path, plugin: None) -> None:
    """It is recorded, stored and read like any other, and its numbers follow from the kernel of the layer above."""
    record = ["observables.record=[kernel,outputs,ntk,participation,trace]", f"ensemble.sampler={sampler}"]
    data = simulate.run(*COMMON, *record, "network.outputs=2", f"output={tmp_path}/a")
    pr, g, C_W = data.read("pr")[:, 0, :, 0], data.read("g")[:, 0], data.settings["initialization"]["C_W"]
    pairs = data.layout.indices(data.family("g"))
    kernel = np.zeros((*g.shape[:2], 3, 3))
    for (a, b), column in zip(pairs, np.moveaxis(g, -1, 0), strict=True):
        kernel[..., a, b] = kernel[..., b, a] = (column - 0.3) / C_W
    np.testing.assert_allclose(pr[:, :2], ratio(kernel[:, 1:]), rtol=1e-10)
    assert np.all((pr > 1) & (pr <= 3 + 1e-12))
    assert np.abs(pr[:, :2] / ratio(kernel[:, :2]) - 1).min(axis=0).max() > 1e-6, "negative control: the layer below"
    z = data.read("z")[:, 0, 2].reshape(-1, 2, 3)  # the last layer has activations, too
    s = np.tanh(z)
    np.testing.assert_allclose(pr[:, 2], ratio(np.einsum("mia,mib->mab", s, s)), rtol=1e-10)

    H = dict(zip(data.layout.indices(data.family("H")), np.moveaxis(data.read("H")[:, 0, 2], -1, 0), strict=True))
    want = [H[0, 0, a, b] + H[1, 1, a, b] for a, b in itertools.combinations_with_replacement(range(3), 2)]
    np.testing.assert_allclose(data.read("tr")[:, 0, 2], np.stack(want, axis=1), rtol=1e-12)
    assert np.isnan(data.read("tr")[:, 0, :2]).all()
    assert data.manifest["columns"]["pr"]["meaning"] == PARTICIPATION.families[0].meaning
    assert {"pr", "tr_0_0", "tr_1_2"} <= set(data.table().columns)


def test_samples_chosen_for_an_observable_of_a_plugin(tmp_path: Path, plugin: None) -> None:
    """It makes the law sampler run its backward pass, and the chosen components are those of the full table."""
    record = ["observables.record=[trace]", "ensemble.sampler=law"]
    full = simulate.run(*COMMON, *record, f"output={tmp_path}/a")
    chosen = simulate.run(*COMMON, *record, "observables.tuples={trace: [[1,0],[2,2]]}", f"output={tmp_path}/b")
    assert chosen.layout.names(chosen.family("tr")) == ["tr_0_1", "tr_2_2"]
    np.testing.assert_array_equal(chosen.read("tr"), full.read("tr")[..., [1, 5]])


def test_an_observable_of_weights(tmp_path: Path, plugin: None) -> None:
    """Numbers of the trained weights are those of networks that the test trains itself."""
    overrides = [*COMMON, "observables.record=[norms,moved]", "dynamics=gradient_descent", "dynamics.steps=4",
                 "observables.steps=[0,4]", "dynamics.lambda_b=0.5", f"output={tmp_path}/a"]  # fmt: skip
    data = simulate.run(*overrides)
    job = prepare(read_one(overrides))
    with torch.inference_mode():
        training = training_of(job, stream_of(job, 0, job.block))
        first = [b.clone() for b in training.parameters.b]
        for s, _ in enumerate(trajectory(training, (0, 4))):
            for l, (W, b, b0) in enumerate(zip(training.parameters.W, training.parameters.b, first, strict=True)):
                norm, bias = W.square().sum(dim=(1, 2))[:20], (b - b0).square().sum(dim=1)[:20]
                np.testing.assert_allclose(data.read("norm")[:, s, l, 0], norm.numpy(), rtol=1e-12)
                np.testing.assert_allclose(data.read("bias")[:, s, l, 0], bias.numpy(), rtol=1e-12, atol=0)
                assert s == 0 or bool((bias > 0).all())


def test_second_differentials_for_a_plugin_alone(tmp_path: Path, plugin: None) -> None:
    base = [*COMMON, "inputs.count=2", "ensemble.block=32"]
    data = simulate.run(*base, "observables.record=[deep]", f"output={tmp_path}/a")
    full = simulate.run(*base, "observables.record=[ddntk]", f"output={tmp_path}/b")
    names = full.layout.names(full.family("ddI"))
    columns = [names.index("_".join(["ddI", *"0000", *4 * str(a)])) for a in range(2)]
    np.testing.assert_array_equal(data.read("dd"), full.read("ddI")[..., columns])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["observables.record=[norms]", "ensemble.sampler=law"], "norms needs the weights"),
        (["observables.record=[deep]", "network.outputs=2"], r"network\.outputs=2: 1 here"),
        (["observables.record=[particpation]"], "different names among .*, participation, norms"),
        (["observables.tuples={participation: [[0]]}"], r"observables\.tuples"),
    ],
)
def test_the_needs_of_a_plugin_are_checked(overrides: list[str], message: str, plugin: None) -> None:
    with pytest.raises(SettingsError, match=message):
        read_one([*COMMON, *overrides])


def test_columns_of_a_plugin_that_cannot_be_measured(tmp_path: Path, plugin: None) -> None:
    """A taken prefix is refused at once. A missing function and a prefix of two records are refused before a run."""
    with pytest.raises(ValueError, match="column 'g' is there already"):
        whole("g")(lambda snapshot: snapshot.kernel())
    OBSERVABLES.add(Observable("mute", (Family("mute", "layers", "a test"),)))
    OBSERVABLES.add(Observable("twin", (Family("pr", "layers", "a test"),)))
    for record, message in (("mute", "'mute' has no function"), ("participation,twin", "'pr' is one of participation")):
        with pytest.raises(SettingsError, match=message):
            simulate.run(*COMMON, f"observables.record=[{record}]", f"output={tmp_path}/a")
    assert not (tmp_path / "a").exists()


def test_needs_that_were_not_declared(tmp_path: Path, plugin: None) -> None:
    """A function that uses something its record does not declare raises an error that names it."""
    whole("hidden")(lambda snapshot: snapshot.ntk())
    OBSERVABLES.add(Observable("hidden", (Family("hidden", "output_layers", "a test", 2, of="output"),)))
    with pytest.raises(RuntimeError, match=r"needs=\('ntk',\)"):
        simulate.run(*COMMON, "observables.record=[hidden]", "ensemble.sampler=law", f"output={tmp_path}/a")


def test_a_data_set_whose_plugin_is_not_loaded(tmp_path: Path, plugin: None) -> None:
    data = simulate.run(*COMMON, "observables.record=[kernel,participation]", f"output={tmp_path}/a")
    open_data_set(data.path)
    del OBSERVABLES["participation"]
    with pytest.raises(StoreError) as error:
        open_data_set(data.path)
    assert str(error.value).startswith(f"{data.path}: observable 'participation' is not known here")
    assert "plugins=[" in str(error.value)
