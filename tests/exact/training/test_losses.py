"""Losses, also a new one, agree with torch's and with finite differences, and eta=auto follows from their curvature."""

import numpy as np
import pytest
import torch
from torch import Tensor

from simulate.networks import dense
from simulate.settings.reader import SettingsError
from simulate.settings.training import LOSSES, Loss
from simulate.training.losses import VALUE_AND_SLOPE, ValueAndSlope, value_and_slope
from simulate.training.stability import stable_eta
from simulate.training.trajectory import trajectory
from tests.exact.training.networks import ETA, M, N, assert_same, loss, network, normal, plus, slope, training


def register_huber() -> None:
    """Register three times the Huber loss with its corner at 1/2, as a plugin would."""
    LOSSES.add(
        Loss(
            "huber",
            "3 sum h(z - y), h(e) = e^2 / 2 below |e| = 1/2, then linear",
            curvature=lambda outputs: 3.0,
            accepts=lambda y: bool(abs(y).max() < 100),
            right="targets of huber are below 100",
        )
    )

    @value_and_slope("huber")
    def huber(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        error = z - y
        inside = error.clamp(-0.5, 0.5)
        value = (inside * (error - inside / 2)).double().sum(dim=(1, 2))
        return 3 * value, 3 * inside


@pytest.fixture
def huber(registries: None) -> None:
    register_huber()


KINDS = [("mse", 1), ("mse", 2), ("cross_entropy", 1), ("cross_entropy", 3), ("huber", 2)]


@pytest.mark.parametrize("activation", ["tanh", "leaky_relu"])
@pytest.mark.parametrize(("kind", "n_L"), KINDS)
def test_descent_of_a_loss_is_its_gradient(kind: str, n_L: int, activation: str, huber: None) -> None:
    t = training("gradient_descent", activation, n_L, loss=kind)
    before = [network(t, m) for m in range(M)]
    value, _ = VALUE_AND_SLOPE[kind](dense.forward(t.parameters, t.x, t.s)[0][-1], t.y)
    for m in range(M):
        torch.testing.assert_close(value[m], loss(before[m], t, t.x, t.y), rtol=1e-12, atol=1e-12)
    list(trajectory(t, (1,)))
    for m in range(M):
        assert_same(t, m, plus(before[m], slope(before[m], t), -ETA))
        with pytest.raises(AssertionError):  # control
            assert_same(t, m, plus(before[m], slope(before[m], t), -1.001 * ETA))


def sample_of(kind: str, n_L: int) -> Tensor:
    """The targets of one sample."""
    y = normal(2, 1, n_L)
    if kind == "cross_entropy":
        return y.sign() if n_L == 1 else torch.nn.functional.one_hot(y.argmax(1), n_L).double()
    return y


def differences(function: ValueAndSlope, y: Tensor) -> tuple[float, float]:
    """The largest error of the slope and the largest second derivative, by finite differences in random directions of
    one sample's outputs at many z."""
    z, step = 2 * normal(5, 20_000, 1, y.shape[1]), 1e-4
    directions = normal(6, *z.shape)
    directions /= directions.norm(dim=-1, keepdim=True)
    below, value, above = (function(z + k * step * directions, y)[0] for k in (-1, 0, 1))
    slopes = (function(z, y)[1] * directions).sum(dim=(1, 2))
    error = ((above - below) / (2 * step) - slopes).abs().max()
    return float(error), float(((above + below - 2 * value) / step**2).max())


@pytest.mark.parametrize(("kind", "n_L"), KINDS)
def test_slopes_and_curvatures_are_those_of_the_value(kind: str, n_L: int, huber: None) -> None:
    """The largest second derivative is below the curvature of the record, and comes near it."""
    error, second = differences(VALUE_AND_SLOPE[kind], sample_of(kind, n_L))
    curvature = LOSSES[kind].curvature(n_L)
    assert error < 1e-4
    assert 0.9 * curvature < second < curvature + 1e-4

    def wrong(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        value, slope = VALUE_AND_SLOPE[kind](z, y)
        return value, 1.01 * slope

    error, _ = differences(wrong, sample_of(kind, n_L))
    assert error > 2e-3, "the control"


# ------------------------------------------------------------------- the step size


def test_eta_auto_is_half_the_stability_bound() -> None:
    """At twice this eta linearized descent is at the edge of stability: the largest eigenvalue of eta H is 2."""
    t = training("gradient_descent")
    eta = stable_eta([t])
    z, signals = dense.forward(t.parameters, t.x, t.s)
    H = dense.ntk(t.parameters, z, signals, t.slope, t.dynamics.lambda_b, t.dynamics.lambda_W).mean(dim=0)
    largest = torch.linalg.eigvalsh(H.reshape(2 * N, 2 * N))[-1]
    assert abs(2 * eta * float(largest) - 2) < 1e-2


@pytest.mark.parametrize(("kind", "share"), [("cross_entropy", 2.0), ("huber", 1 / 3)])
def test_eta_auto_takes_the_curvature_of_the_loss(kind: str, share: float, huber: None) -> None:
    eta = stable_eta([training("gradient_descent")])
    assert abs(stable_eta([training("gradient_descent", loss=kind)]) / (share * eta) - 1) < 1e-2


# ------------------------------------------------------------------- through the program


def test_a_new_loss_is_a_setting(huber: None, run, tmp_path) -> None:
    data = run("dynamics=gradient_descent", "dynamics.loss=huber", "dynamics.steps=60", "network.width=16",
               "inputs=teacher", "observables=training", "ensemble.networks=16")  # fmt: skip
    losses = data.table().groupby("step")["loss"].mean()
    assert losses.iloc[-1] < 0.7 * losses.iloc[0]
    assert data.settings["dynamics"]["loss"] == "huber"
    np.savez(tmp_path / "large.npz", x=np.eye(2), y=np.full((2, 1), 1000.0))
    files = ["inputs=file", f"inputs.path={tmp_path}/large.npz"]
    with pytest.raises(SettingsError, match=r"dynamics.loss='huber': targets of huber are below 100$"):
        run("dynamics=gradient_descent", "dynamics.loss=huber", *files)


def test_unknown_losses_are_refused(run) -> None:
    with pytest.raises(SettingsError, match=r"dynamics.loss='huber': one of mse, cross_entropy$"):
        run("dynamics=gradient_descent", "dynamics.loss=huber")
