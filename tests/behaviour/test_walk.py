"""What runs on a device is walked on torch's meta device, which has shapes and no numbers: no tensor of the CPU slips
in, nothing waits for the device, and no shape depends on numbers. Predictions for a device rest on a count of launches,
bytes and operations there."""

import itertools
from dataclasses import replace

import pytest
import torch

from benchmarks.contenders import Case
from benchmarks.roofline import SUMS, Count, Device, counted, counting, summed
from simulate.api import read_one
from simulate.numerics import gram, plain
from simulate.observables.measure import gather
from simulate.observables.snapshot import Snapshot
from simulate.running.jobs import Job
from simulate.running.prepare import prepare
from simulate.running.samplers import snapshots
from simulate.settings.training import ALGORITHMS

SMALL = ("ensemble.networks=64", "ensemble.device=cpu", "workers=1", "claim=null", "sweep=null")
NARROW = "network.width=8"
TRAINED = ("observables=training", "dynamics.steps=3")
H100 = Device(3.35e12, 67e12, 5e-6)
EXPERIMENTS = {
    "taylor_models": [NARROW],
    "sgd_over_steps": [NARROW, "dynamics=sgd"],
    "cross_entropy": [NARROW, "inputs.classes=[0,1,2]", "inputs.count=3", "network.outputs=3"],
    "representation_coefficients": [NARROW],
    "general_differentials": [NARROW],
    "quadratic_model": [],
    "residual": [NARROW],
    "orthogonal": [NARROW],
}


def walked(job: Job) -> dict[str, list[tuple[int, ...]]]:
    """Shapes of what is measured, by family, for the first block of a job."""
    device = torch.device(job.settings.ensemble.device)
    shapes: dict[str, list[tuple[int, ...]]] = {}
    with torch.inference_mode():
        columns = [(f.prefix, job.layout.defined(f), gather(job.layout, f, device)) for f in job.layout.families()]
        for snapshot in snapshots(job, 0, None):
            place = job.layout.layers.index(snapshot.layer)
            for prefix, defined, values_of in columns:
                if defined[place]:
                    values = values_of(snapshot)
                    assert values.device.type == device.type, prefix
                    shapes.setdefault(prefix, []).append(tuple(values.shape))
    return shapes


def check(*overrides: str) -> None:
    """The walk measures what a CPU measures, in the same shapes."""
    job = prepare(read_one([*overrides, *SMALL]))
    on_meta = replace(job.settings, ensemble=replace(job.settings.ensemble, device="meta"))
    found = walked(replace(job, settings=on_meta))
    assert found
    assert found == walked(job)


@pytest.mark.parametrize(
    ("observables", "sampler"),
    [*itertools.product(["kernel", "ntk", "preactivations"], ["law", "dense"]), ("ntk_sums", "dense"),
     ("derivatives", "dense")],
)  # fmt: skip
def test_networks_at_initialisation(observables: str, sampler: str) -> None:
    check(f"observables={observables}", f"ensemble.sampler={sampler}", NARROW)


@pytest.mark.parametrize("beyond", ["network=residual", "initialization=orthogonal"])
def test_differentials_beyond_the_plain_network(beyond: str) -> None:
    check(beyond, "observables.record=[dntk,ddntk,fourth]", "activation=tanh", "inputs.count=1", NARROW)


def test_orthogonal_networks_without_weights() -> None:
    check("initialization=orthogonal", "observables=ntk", "ensemble.sampler=law", "activation=tanh",
          "initialization.C_b=0.1", "initialization.C_W=1.0", NARROW)  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_training(algorithm: str, dtype: str) -> None:
    own = [f"dynamics.{option.name}=2" for option in ALGORITHMS[algorithm].options if option.name == "batch"]
    check(*TRAINED, f"dynamics={algorithm}", *own, f"ensemble.dtype={dtype}", "dynamics.tolerance=0.1",
          NARROW)  # fmt: skip


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_experiments(experiment: str) -> None:
    check(f"experiment={experiment}", *EXPERIMENTS[experiment])


def test_waiting_for_the_device_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: an observable that asks for a number."""

    def waits(job: Job, family: object, device: torch.device) -> object:
        def values(snapshot: Snapshot) -> torch.Tensor:
            z = snapshot.preactivations()
            return z if z.sum().item() > 0 else -z

        return values

    monkeypatch.setattr("tests.behaviour.test_walk.gather", waits)
    with pytest.raises(RuntimeError, match="meta"):
        check("observables=preactivations", "ensemble.sampler=dense", NARROW)


def test_what_is_counted() -> None:
    """A product, an elementwise operation, a view, and a Gram matrix, which is one kernel on a device."""
    count, a = Count(H100), torch.empty(512, 256, device="meta")
    with counting(count):
        (a @ a.T).tanh_().view(-1)
    assert (count.launches, count.operations) == (2, 2 * 512 * 256 * 512)
    assert count.bytes == 4 * (2 * 512 * 256 + 512 * 512) + 4 * 2 * 512 * 512
    before, function = count.bytes, plain.gram
    with counting(count):
        gram.gram(torch.empty(100, 4, 64, device="meta"))
    assert count.launches == 3
    assert count.bytes - before == 4 * 100 * 4 * 64 + 8 * 100 * 4 * 4
    with pytest.raises(ValueError, match="an end"), counting(count):
        raise ValueError("an end")
    assert plain.gram is function


def test_seconds_are_those_of_the_slowest() -> None:
    count = Count(Device(1e12, 1e12, 1e-6))
    for size, operations in ((1.0, 1.0), (3e6, 1.0), (1.0, 4e6)):
        count.add(size, operations)
    assert count.seconds == pytest.approx(1e-6 + 3e-6 + 4e-6)
    assert count.waiting == pytest.approx(1e-6)


def test_a_network_without_weights_moves_less() -> None:
    law, dense = (counted(Case("ntk", 256, 3, 2), sampler, H100) for sampler in ("law", "dense"))
    assert law[0].bytes / law[1] < dense[0].bytes / dense[1] / 5


def test_law_is_near_its_least_traffic(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it cannot do without is to write the activations of all hidden layers, and to read them on the way back.
    The control has no kernels of whole layers."""
    case = Case("ntk", 256, 8, 4)
    least = 2 * 4 * (case.L - 1) * case.n * case.N

    def moved() -> float:
        count, networks = counted(case, "law", H100)
        return count.bytes / networks / least

    assert moved() <= 5
    monkeypatch.setattr("benchmarks.roofline.has_form", lambda *_: False)
    assert moved() > 5


def test_forming_sums_waits_for_launches_alone() -> None:
    (_, drawing, networks), (_, forming, same) = summed(H100, *SUMS["(64, 4), two layers"])
    assert networks == same
    assert forming.seconds == pytest.approx(forming.waiting)
    assert drawing.seconds > 1.1 * drawing.waiting
