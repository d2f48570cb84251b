"""A ridge on rescaled parameters: the built-in rule, docs/theory.md (5.46)."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.func import grad

from analysis.theory import linear_model
from simulate.store.sets import DataSet
from simulate.training.trajectory import trajectory
from tests.exact.training.networks import ETA, LAMBDA_B, LAMBDA_W, Theta, assert_same, loss, network, plus, training
from tests.exact.training.test_algorithms import OPTIONS

RIDGE = {"rules": {"ridge": 0.3}}


@pytest.mark.parametrize("algorithm", ["gradient_descent", "momentum", "gradient_flow"])
def test_the_end_of_a_one_layer_network_is_the_ridge_solution(algorithm: str) -> None:
    """Whatever the start and the algorithm, theta = (b/sqrt(lambda_b), W/sqrt(lambda_W/n_0)) solves the normal
    equations of docs/theory.md (5.4) for the features of a layer. Controls: another ridge, none, and other rates."""
    t = training(algorithm, "linear", depth=1, eta=0.3, **RIDGE, **OPTIONS.get(algorithm, {}))
    list(trajectory(t, (800,)))
    lambda_b, lambda_W = LAMBDA_B[0], LAMBDA_W[0]
    for i, y in enumerate(t.y.numpy().T):
        b, W = t.parameters.b[0][:, i, None].numpy(), t.parameters.W[0][:, i].numpy()
        theta = np.concatenate([b / np.sqrt(lambda_b), W / np.sqrt(lambda_W / 4)], axis=1)
        for ridge, rate in ((0.3, lambda_b), (0.303, lambda_b), (0.0, lambda_b), (0.3, 1.0)):
            phi = linear_model.layer_features(t.x.numpy(), rate, lambda_W)
            want = np.broadcast_to(linear_model.optimum(phi, y, ridge), theta.shape)
            assert np.allclose(theta, want, rtol=1e-9, atol=1e-11) == ((ridge, rate) == (0.3, lambda_b))


def test_a_deep_network_descends_the_loss_and_the_ridge() -> None:
    """Five steps against automatic differentiation of loss + (ridge/2) sum theta^2 / lambda. Control: another ridge."""
    t = training("gradient_descent", **RIDGE)
    start = network(t, 0)
    list(trajectory(t, (5,)))
    rates = ([rate / W.shape[1] for rate, W in zip(LAMBDA_W, start[0], strict=True)], LAMBDA_B)

    def descended(ridge: float) -> Theta:
        def whole(theta: Theta) -> torch.Tensor:
            pairs = [zip(tensors, of, strict=True) for tensors, of in zip(theta, rates, strict=True)]
            return loss(theta, t, t.x, t.y) + ridge / 2 * sum((p**2).sum() / r for pair in pairs for p, r in pair)

        theta = start
        for _ in range(5):
            slopes = grad(whole)(theta)
            scaled = [[r * g for g, r in zip(gs, of, strict=True)] for gs, of in zip(slopes, rates, strict=True)]
            theta = plus(theta, (scaled[0], scaled[1]), -ETA)
        return theta

    assert_same(t, 0, descended(0.3))
    with pytest.raises(AssertionError):
        assert_same(t, 0, descended(0.301))


def test_parameters_that_do_not_learn_have_no_ridge() -> None:
    t = training("gradient_descent", **RIDGE, lambda_b=(0.0, 0.0, 0.0))
    before = [b.clone() for b in t.parameters.b]
    weights = [W.clone() for W in t.parameters.W]
    list(trajectory(t, (5,)))
    assert all(torch.equal(a, b) for a, b in zip(before, t.parameters.b, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(weights, t.parameters.W, strict=True))


def test_the_step_size_knows_the_ridge(run: Callable[..., DataSet]) -> None:
    """eta=auto is 1/(lambda_max + ridge) of docs/theory.md (5.1) and (5.46), to three digits."""
    small = ["network.depth=1", "network.width=[]", "dynamics=gradient_descent", "dynamics.steps=2", "inputs.count=3",
             "observables=training", "ensemble.networks=4", "ensemble.block=4", "ensemble.dtype=float64",
             "observables.record=[outputs]", "activation=linear"]  # fmt: skip
    for ridge in (0.0, 5.0):
        data = run(*small, f"dynamics.rules={{ridge: {ridge}}}")
        phi = linear_model.layer_features(data.samples()[0], 1.0, 1.0)
        largest = np.linalg.eigvalsh(linear_model.kernel(phi, phi))[-1]
        assert data.settings["dynamics"]["eta"] == pytest.approx(1 / (largest + ridge), rel=6e-3)
