"""Taylor models, docs/theory.md (5.5) to (5.8), equal the network where they are exact."""

import pytest
import torch
from torch import Tensor

from simulate.api import read_one
from simulate.networks import activations, dense
from simulate.networks.differentials import differentials
from simulate.training import taylor
from simulate.training.algorithms import Training
from simulate.training.trajectory import trajectory
from tests.exact.training.networks import M, N, training


def models(t: Training, steps: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Outputs of the three models, (steps, M, 3, P), and of the network, (steps, M, P)."""
    setting = read_one(["activation=linear"]).activation
    rates = t.dynamics.lambda_b, t.dynamics.lambda_W
    z, signals = dense.forward(t.parameters, t.x, t.s)
    P = z[-1].shape[2] * N
    H = dense.ntk(t.parameters, z, signals, t.slope, *rates).reshape(M, P, P)
    dH, ddI, ddII = differentials(t.parameters, z, signals, activations.derivatives(setting), *rates, second=True)
    assert ddI is not None
    assert ddII is not None
    start, y = z[-1].transpose(1, 2).flatten(1), t.y.T.flatten()
    tensors, followed = (dH, ddI, ddII), (t.dynamics.eta, t.dynamics.name)
    known = torch.stack(list(taylor.trajectory(start, H, tensors, y, torch.arange(P), *followed, steps)))
    trained = []
    for _ in trajectory(t, steps):
        trained.append(dense.forward(t.parameters, t.x, t.s)[0][-1].transpose(1, 2).flatten(1))
    return known, torch.stack(trained)


@pytest.mark.parametrize("algorithm", sorted(taylor.MODEL_STEPS))
def test_every_model_of_a_one_layer_network_is_the_network(algorithm: str) -> None:
    """A network of one layer is linear in its parameters, docs/theory.md (5.4), so that docs/theory.md (5.5) ends with
    its first term."""
    known, trained = models(training(algorithm, "linear", depth=1), (0, 1, 10))
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
