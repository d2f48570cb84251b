"""Targets n^(s/2) y train as outputs n^(-s/2) z and a rate n^s eta do, docs/theory.md (15.2)."""

import numpy as np
import pytest
import torch
from torch.func import grad

import simulate
from simulate.api import read_one
from simulate.settings import SettingsError
from simulate.store.sets import DataSet
from simulate.training.trajectory import trajectory
from tests.exact.training.networks import ETA, Theta, network, outputs, training

GIVEN = ["network.width=16", "network.depth=3", "dynamics=gradient_descent", "dynamics.eta=0.05", "dynamics.steps=3",
         "observables.record=[outputs,change]", "observables.steps=[0,3]", "ensemble.networks=4",
         "ensemble.dtype=float64", "ensemble.device=cpu", "workers=1"]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory):
    def run(*overrides: str) -> DataSet:
        return simulate.run(*GIVEN, *overrides, f"output={tmp_path_factory.mktemp('scaled')}/a")

    return run


def test_targets_grow_with_the_width(trained) -> None:
    """Data sets hold the targets that networks were trained on. The setting changes nothing at its default."""
    data = {s: trained(f"dynamics.width_scaling={s}") for s in (0, 1)}
    targets = {s: found.samples()[1] for s, found in data.items()}
    np.testing.assert_array_equal(targets[1], 4 * targets[0])
    assert "width_scaling" not in read_one(GIVEN).identity()["dynamics"]
    assert read_one([*GIVEN, "dynamics.width_scaling=1"]).identity()["dynamics"]["width_scaling"] == 1.0


@pytest.mark.parametrize("s", [1.0, 0.4])
def test_outputs_and_rates_that_scale_give_the_same_training(s: float) -> None:
    """Five steps of the network with f = n^(-s/2) z and n^s eta, by automatic differentiation, to rounding. Negative
    control: the targets of another s."""
    start, n, steps = training("gradient_descent", outputs=1), 6, 5
    theta, rates = network(start, 0), start.dynamics

    def loss(theta: Theta) -> torch.Tensor:
        return ((n ** (-s / 2) * outputs(theta, start.x, start.s) - start.y) ** 2).sum() / 2

    for _ in range(steps):
        gW, gb = grad(loss)(theta)
        W = [v - ETA * n**s * r / g.shape[1] * g for v, r, g in zip(theta[0], rates.lambda_W, gW, strict=True)]
        theta = W, [v - ETA * n**s * r * g for v, r, g in zip(theta[1], rates.lambda_b, gb, strict=True)]
    for factor, same in ((n ** (s / 2), True), (n**s, False)):
        t = training("gradient_descent", outputs=1)
        t.y.mul_(factor)
        list(trajectory(t, (steps,)))
        found = [torch.allclose(a, b, rtol=1e-10) for a, b in zip(network(t, 0)[0], theta[0], strict=True)]
        assert all(found) == same


def test_change(trained) -> None:
    """The column is the mean square over neurons of the outputs' change, and zero at the start."""
    data = trained("dynamics.width_scaling=1", "network.outputs=1")
    z, dz = data.read("z")[:, :, -1], data.read("dz")
    assert np.all(dz[:, 0] == 0)
    np.testing.assert_allclose(dz[:, 1, -1], (z[:, 1] - z[:, 0]) ** 2, rtol=1e-10)
    assert np.all(dz[:, 1, :-1] > 0)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["dynamics.loss=cross_entropy"], r"dynamics\.width_scaling=1\.0: 0 with dynamics\.loss=cross_entropy"),
        (["network.depth=1", "network.width=[]", "observables.record=[outputs]"], "no width to scale by"),
        (["dynamics.width_scaling=-1"], r"dynamics\.width_scaling=-1: a finite number >= 0"),
    ],
)
def test_what_cannot_be_scaled_is_refused(trained, overrides: list[str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        trained("dynamics.width_scaling=1", *overrides)
