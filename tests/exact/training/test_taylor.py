"""Taylor models, docs/theory.md (5.5) to (5.8) and (5.24), (5.25), equal the network where they are exact."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from analysis.stages import STAGES
from simulate.api import read_one
from simulate.networks import activations, dense
from simulate.networks.differentials import differentials
from simulate.training import paths, taylor
from simulate.training.algorithms import Training, batch_weights
from simulate.training.trajectory import trajectory
from tests.exact.training.networks import ETA, M, N, training

OPTIONS: dict[str, dict[str, Any]] = {"momentum": {"momentum": 0.6}, "nesterov": {"momentum": 0.6}, "sgd": {"batch": 2}}
FALLING = ({"kind": "step", "at": [1, 2], "by": 0.5},)


def start(t: Training, activation: str) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor], Tensor, Tensor]:
    """z, H, the differentials, targets and train outputs of networks before their training."""
    setting = read_one([f"activation={activation}"]).activation
    rates = t.dynamics.lambda_b, t.dynamics.lambda_W
    z, signals = dense.forward(t.parameters, t.x, t.s)
    P = z[-1].shape[2] * N
    H = dense.ntk(t.parameters, z, signals, t.slope, *rates).reshape(M, P, P)
    dH, ddI, ddII = differentials(t.parameters, z, signals, activations.derivatives(setting), *rates, second=True)
    assert ddI is not None
    assert ddII is not None
    return z[-1].transpose(1, 2).flatten(1), H, (dH, ddI, ddII), t.y.T.flatten(), torch.arange(P)


def followed(t: Training, activation: str, steps: tuple[int, ...], one_form: bool = False) -> Tensor:
    """Outputs of the three models, (steps, M, 3, P). one_form: by the path, whatever the algorithm."""
    z, H, tensors, y, train = start(t, activation)
    weights = (lambda k: batch_weights(t, k)) if t.dynamics.batch else None
    if one_form:
        models = paths.expansions(z, H, tensors, train)
        return torch.stack(list(paths.trajectory(models, y, train, t.dynamics, steps, weights)))
    return torch.stack(list(taylor.trajectory(z, H, tensors, y, train, t.dynamics, steps, weights)))


def models(t: Training, steps: tuple[int, ...], activation: str = "linear") -> tuple[Tensor, Tensor]:
    """Outputs of the three models, (steps, M, 3, P), and of the network, (steps, M, P)."""
    known, trained = followed(t, activation, steps), []
    for _ in trajectory(t, steps):
        trained.append(dense.forward(t.parameters, t.x, t.s)[0][-1].transpose(1, 2).flatten(1))
    return known, torch.stack(trained)


@pytest.mark.parametrize("algorithm", STAGES)
def test_every_model_of_a_one_layer_network_is_the_network(algorithm: str) -> None:
    """A network of one layer is linear in its parameters, docs/theory.md (5.4), so that docs/theory.md (5.5) and (5.25)
    end with their first terms, also with a schedule."""
    for schedule in ((), FALLING):
        t = training(algorithm, "linear", depth=1, schedule=schedule, **OPTIONS.get(algorithm, {}))
        known, trained = models(t, (0, 1, 10))
        for k in range(3):
            torch.testing.assert_close(known[:, :, k], trained, rtol=1e-11, atol=1e-12)


def test_a_model_of_another_algorithm_is_not_the_network() -> None:
    """Control: the flow's model differs from a network that descends."""
    known, _ = models(training("gradient_flow", "linear", depth=1), (0, 1, 10))
    _, trained = models(training("gradient_descent", "linear", depth=1), (0, 1, 10))
    torch.testing.assert_close(known[0, :, 0], trained[0], rtol=1e-11, atol=1e-12)
    assert (known[1, :, 0] - trained[1]).abs().max() > 1e-3


def test_two_linear_layers_are_quadratic_in_their_parameters() -> None:
    """After one step of descent the quadratic and cubic models of docs/theory.md (5.5) to (5.7) are exact and the
    linear one is not. After more steps the cubic model is closer than the linear one."""
    known, trained = models(training("gradient_descent", "linear", depth=2), (1, 30))
    for k in (1, 2):
        torch.testing.assert_close(known[0, :, k], trained[0], rtol=1e-11, atol=1e-12)
    error = (known - trained[:, :, None]).abs().amax(dim=(1, 3))
    assert error[0, 0] > 1e-4
    assert error[1, 2] < 0.3 * error[1, 0]


@pytest.mark.parametrize("algorithm", STAGES)
def test_a_model_of_order_k_is_right_to_order_k_in_eta(algorithm: str) -> None:
    """The errors of the models of docs/theory.md (5.25) after three steps of networks of two tanh layers above the
    inputs fall as eta^2, eta^3 and eta^4, with a schedule. Negative control: without the schedule the linear model errs
    by a power of one."""

    def errors(eta: float, **changed: Any) -> Tensor:
        t = training(algorithm, eta=eta, schedule=FALLING, **OPTIONS.get(algorithm, {}))
        _, trained = models(t, (3,), "tanh")
        other = training(algorithm, eta=eta, **{"schedule": FALLING, **OPTIONS.get(algorithm, {}), **changed})
        return (followed(other, "tanh", (3,)) - trained[:, :, None]).abs().amax(dim=(0, 1, 3))

    powers = np.log2((errors(0.004) / errors(0.002)).numpy())
    np.testing.assert_allclose(powers, [2, 3, 4], atol=0.2)
    without = np.log2((errors(0.004, schedule=()) / errors(0.002, schedule=())).numpy())
    np.testing.assert_allclose(without, 1, atol=0.2)


def test_two_forms_of_the_models_of_descent_are_one() -> None:
    """For descent docs/theory.md (5.25) is docs/theory.md (5.5) to (5.7), for tensors of any size. Negative control:
    the path of momentum."""
    t, steps = training("gradient_descent", eta=ETA), (0, 3, 12)
    state, path = (followed(t, "tanh", steps, one_form) for one_form in (False, True))
    assert (state[2] - state[0]).abs().max() > 0.1
    torch.testing.assert_close(path, state, rtol=1e-12, atol=1e-13)
    momentum = training("momentum", eta=ETA, momentum=0.01)
    assert not torch.allclose(followed(momentum, "tanh", steps), state, rtol=1e-3)


def test_two_forms_of_the_models_of_the_flow_differ_by_its_solver() -> None:
    """By docs/theory.md (5.7) the flow is solved for z, H and dH, and by docs/theory.md (5.24) for the path. Halving
    eta divides the difference by 16."""
    differences = []
    for share in (1, 2, 4):
        t = training("gradient_flow", eta=0.2 / share)
        state, path = (followed(t, "tanh", (4 * share,), one_form) for one_form in (False, True))
        differences.append(float((state - path)[:, :, 1:].abs().max()))
    np.testing.assert_allclose(np.log2(np.array(differences[:-1]) / differences[1:]), 4, atol=0.7)


@pytest.mark.parametrize("algorithm", STAGES)
def test_models_of_a_data_set_follow_its_networks(algorithm: str, run) -> None:
    """Models of one-layer networks are the networks at every step of a data set, on train and test samples: sgd has the
    same batches, and eta the same factors."""
    data = run(f"dynamics={algorithm}", "dynamics.eta=0.1", "dynamics.steps=3", "network.depth=1", "inputs.count=3",
               "dynamics.schedule={kind: exponential, by: 0.5}", "inputs.test=1",
               "observables.record=[outputs,taylor,linear]", "observables.steps=[1,3]", "ensemble.networks=16",
               "network.outputs=1")  # fmt: skip
    table = data.table()
    for a in range(4):
        for k in (1, 2, 3):
            np.testing.assert_allclose(table[f"taylor_{k}_0_{a}"], table[f"z_0_{a}"], rtol=1e-4, atol=1e-5)
    first, last = (table.loc[table["step"] == step, "z_0_0"].to_numpy() for step in (1, 3))
    assert np.abs(first - last).max() > 1e-3


@pytest.mark.parametrize("algorithm", STAGES)
def test_the_linear_model_is_that_of_order_1(algorithm: str, run) -> None:
    """It needs no second derivatives, so that networks with kinks have it, too: here tanh and ReLU. Negative control:
    the network itself."""
    common = (f"dynamics={algorithm}", "dynamics.eta=0.1", "dynamics.steps=3", "network.depth=3", "inputs.count=2",
              "inputs.test=1", "observables.steps=[0,1,3]", "ensemble.networks=16", "network.outputs=1")  # fmt: skip
    table = run(*common, "observables.record=[outputs,taylor,linear]").table()
    for a in range(3):
        close = {"rtol": 1e-4, "atol": 1e-5}
        np.testing.assert_allclose(table[f"linear_0_{a}"], table[f"taylor_1_0_{a}"], **close)
        assert not np.allclose(table[f"linear_0_{a}"], table[f"z_0_{a}"], **close)
    kinked = run(*common, "observables.record=[outputs,linear]", "activation=relu").table()
    start = kinked["step"] == 0
    np.testing.assert_allclose(kinked.loc[start, "linear_0_2"], kinked.loc[start, "z_0_2"], rtol=1e-6)
    assert np.isfinite(kinked["linear_0_2"]).all()
