"""Quadratic models of the simulation against a model written out with matrices psi, docs/theory.md (5.47), (5.48)."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.func import grad, jacrev

import simulate
from analysis.theory import quadratic_model
from simulate.api import read_one
from simulate.networks import activations, dense, streams
from simulate.store.sets import DataSet
from simulate.training.algorithms import Training
from simulate.training.trajectory import trajectory
from tests.exact.training.networks import normal

M, D, OUTPUTS, N_0, EPSILON, RANK = 3, 4, 2, 5, 0.7, 9
X, Y = normal(1, D, N_0), normal(2, D, OUTPUTS)
RATES = (0.6, 1.3)
META = [f"network.epsilon={EPSILON}", f"network.rank={RANK}", "network.seed=4"]


def training(*overrides: str) -> Training:
    given = ["network=quadratic", *META, f"network.outputs={OUTPUTS}", "initialization=gaussian",
             "initialization.C_b=0.3", "initialization.C_W=1.2", "dynamics=gradient_descent", "dynamics.eta=0.05",
             f"dynamics.lambda_b={RATES[0]}", f"dynamics.lambda_W={RATES[1]}", "observables=training",
             "observables.record=[outputs,ntk]", *overrides]  # fmt: skip
    settings = read_one(given)
    stream = streams.Stream(streams.key(1, "test"), 0, M, torch.float64, torch.device("cpu"))
    parameters = dense.draw(settings, N_0, stream)
    return Training(parameters, X, Y, *activations.functions(settings.activation), settings.dynamics, stream)


# The matrices psi of the theory, which is written apart from the simulation.
PSI = torch.tensor(quadratic_model.meta_features(X.numpy(), 1.0, 1.0, RANK, 4))
ALL = torch.arange(D)


def written_out(W: torch.Tensor, b: torch.Tensor, chosen: torch.Tensor = ALL, epsilon: float = EPSILON) -> torch.Tensor:
    """Outputs (D, n_L) of one network at the chosen samples."""
    x, psi = X[chosen], PSI[chosen]
    t = torch.cat([b[:, None], N_0**0.5 * W], dim=1)
    return x @ W.T + b + epsilon / 2 * torch.einsum("aij,oi,oj->ao", psi, t, t)


def of(t: Training, m: int) -> tuple[torch.Tensor, torch.Tensor]:
    return t.parameters.W[0][m].clone(), t.parameters.b[0][m].clone()


def test_outputs_and_kernel() -> None:
    t = training()
    z, signals = dense.forward(t.parameters, X, t.s)
    H = dense.ntk(t.parameters, z, signals, t.slope, t.dynamics.lambda_b, t.dynamics.lambda_W)
    for m in range(M):
        W, b = of(t, m)
        torch.testing.assert_close(z[-1][m], written_out(W, b), rtol=1e-12, atol=1e-12)
        assert not torch.allclose(z[-1][m], written_out(W, b, epsilon=1.01 * EPSILON), rtol=1e-6)
        of_W, of_b = jacrev(written_out, argnums=(0, 1))(W, b)
        exact = RATES[1] / N_0 * torch.einsum("aipq,bjpq->iajb", of_W, of_W)
        exact = exact + RATES[0] * torch.einsum("aip,bjp->iajb", of_b, of_b)
        torch.testing.assert_close(H[m], exact, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("algorithm", [[], ["dynamics=sgd", "dynamics.batch=2"]])
def test_steps_are_those_of_automatic_differentiation(algorithm: list[str]) -> None:
    """Three steps of descent, and of batches. Control: another epsilon."""
    t = training(*algorithm, "dynamics.eta=0.05")
    start = [of(t, m) for m in range(M)]
    orders = [t.stream.normal(streams.BATCHES, k, D).argsort(dim=1)[:, : t.dynamics.batch or D] for k in range(3)]
    list(trajectory(t, (3,)))
    for epsilon, right in ((EPSILON, True), (1.01 * EPSILON, False)):
        for m in range(M):
            W, b = start[m]
            for order in orders:
                chosen = order[m]

                def loss(W: torch.Tensor, b: torch.Tensor, chosen: torch.Tensor = chosen, e: float = epsilon):
                    return ((written_out(W, b, chosen, e) - Y[chosen]) ** 2).sum() / 2 * D / len(chosen)

                of_W, of_b = grad(loss, argnums=(0, 1))(W, b)
                W, b = W - 0.05 * RATES[1] / N_0 * of_W, b - 0.05 * RATES[0] * of_b
            for found, wanted in zip(of(t, m), (W, b), strict=True):
                assert torch.allclose(found, wanted, rtol=1e-11, atol=1e-12) == right


def test_without_epsilon_it_is_a_network_of_one_layer(run: Callable[..., DataSet]) -> None:
    """At epsilon = 0 the model is the linear one, from the same distribution of starts; models of two epsilon do not
    share their starts."""
    small = ["activation=linear", "initialization=gaussian", "dynamics=gradient_descent", "dynamics.eta=0.1",
             "dynamics.steps=5", "observables.record=[outputs,ntk]", "ensemble.dtype=float64", "ensemble.networks=4",
             "ensemble.block=4", "inputs.test=1"]  # fmt: skip
    model = run("network=quadratic", "network.epsilon=0", *small)
    H = model.read("H")
    np.testing.assert_allclose(H, np.broadcast_to(H[:1, :1], H.shape), rtol=1e-12)
    other = run("network=quadratic", "network.epsilon=1e-9", *small)
    assert not np.allclose(model.read("z"), other.read("z"), rtol=1e-3)
    assert model.manifest["identity"]["network"]["meta"] == {"epsilon": 0.0, "rank": 64, "seed": 0}
    assert "meta" not in run(*small, "network.depth=1", "network.width=[]").manifest["identity"]["network"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["observables.record=[outputs,kernel]"],
            "kernel is that of layers of neurons; network=quadratic has outputs, ntk, loss, moved",
        ),
        (["observables.record=[outputs]", "ensemble.sampler=law"], "network=quadratic needs the weights"),
        (["network.epsilon=-1"], "network.epsilon=-1: a finite number >= 0"),
        (["network.kind=cubic"], "one of mlp, residual, quadratic"),
    ],
)
def test_what_a_quadratic_model_has_not(overrides: list[str], message: str) -> None:
    with pytest.raises(simulate.SettingsError, match=message):
        read_one(["network=quadratic", "observables.record=[outputs]", *overrides])
