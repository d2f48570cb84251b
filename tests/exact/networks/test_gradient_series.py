"""Derivatives of the NTK along a network's own gradient are nested directional derivatives."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import simulate
from simulate.api import read_one
from simulate.networks import activations, dense, streams
from simulate.networks.differentials import differentials
from simulate.networks.gradient_series import along_gradient
from simulate.settings.reader import SettingsError

LAMBDA_B, LAMBDA_W = (0.3, 0.5, 0.7), (1.1, 0.9, 1.3)
SETTINGS = (
    "network.depth=3", "network.width=[3,4]", "network.outputs=2", "ensemble.dtype=float64", "ensemble.device=cpu",
    "initialization=gaussian", "initialization.C_b=0.2", "initialization.C_W=1.4",
)  # fmt: skip


def drawn(name: str, M: int, D: int) -> tuple[dense.Parameters, Tensor, tuple[activations.Function, ...]]:
    settings = read_one([*SETTINGS, f"activation={name}"])
    stream = streams.Stream(streams.key(0, "series"), 0, M, torch.float64, torch.device("cpu"))
    x = torch.randn(D, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return dense.draw(settings, 3, stream), x, activations.derivatives(settings.activation, 5)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch warns at its first jvp
@pytest.mark.parametrize("name", ["tanh", "gelu"])
def test_nested_directional_derivatives(name: str) -> None:
    """D^k H of docs/theory.md (17.20) by torch.func on the definition, D = lambda grad z . grad, D z = H. Negative
    control: the derivatives of another output."""
    parameters, x, functions = drawn(name, 2, 2)
    found = along_gradient(parameters, *dense.forward(parameters, x, functions[0]), functions, LAMBDA_B, LAMBDA_W, 3)
    rates = [rate / W.shape[-1] for rate, W in zip(LAMBDA_W, parameters.W, strict=True)] + list(LAMBDA_B)
    theta = [W[1] for W in parameters.W] + [b[1] for b in parameters.b]

    def output(*theta: Tensor) -> Tensor:
        signal = x[1]
        for W, b in zip(theta[:3], theta[3:], strict=True):
            z = W @ signal + b
            signal = functions[0](z)
        return z[0]

    def v(*theta: Tensor) -> tuple[Tensor, ...]:
        gradients = torch.func.grad(output, argnums=tuple(range(6)))(*theta)
        return tuple(rate * g for rate, g in zip(rates, gradients, strict=True))

    def along(f: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *theta: torch.func.jvp(f, theta, v(*theta))[1]

    D, want = output, []
    for _ in range(4):
        D = along(D)
        want.append(D(*theta))
    torch.testing.assert_close(found[1, :, 1], torch.stack(want), rtol=1e-10, atol=1e-12)
    assert not torch.allclose(found[1, :, 0], torch.stack(want), rtol=1e-2)


def test_first_derivatives_are_differentials() -> None:
    """D H = 2 dH and D^2 H = 2 (ddI + 2 ddII) of docs/theory.md (17.21)."""
    parameters, x, functions = drawn("sin", 3, 2)
    passed = dense.forward(parameters, x, functions[0])
    found = along_gradient(parameters, *passed, functions, LAMBDA_B, LAMBDA_W, 4)
    dH, ddI, ddII = differentials(parameters, *passed, functions[:5], LAMBDA_B, LAMBDA_W, True)
    assert ddI is not None
    assert ddII is not None
    for p in range(4):
        torch.testing.assert_close(found[:, 1, p], 2 * dH[:, p, p, p], rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(found[:, 2, p], 2 * (ddI + 2 * ddII)[:, p, p, p, p], rtol=1e-10, atol=1e-12)


def test_the_fourth_derivative_is_that_of_the_third() -> None:
    """H(theta + epsilon D theta) differs by its derivatives: D^4 H is the difference quotient of D^3 H. Negative
    control: D^4 H is not that of D^2 H."""
    parameters, x, functions = drawn("erf", 1, 1)
    passed = dense.forward(parameters, x, functions[0])
    found = along_gradient(parameters, *passed, functions, LAMBDA_B, LAMBDA_W, 4)[0, :, 0]
    z, epsilon = [layer.double() for layer in passed[0]], 1e-5
    u = [torch.eye(2, dtype=torch.float64)[:1].expand(1, 1, 2)]
    for layer in (2, 1):
        u.insert(0, torch.bmm(u[0], parameters.W[layer]) * functions[1](z[layer - 1]))
    ends = []
    for sign in (1, -1):
        moved = dense.Parameters(
            [W + sign * epsilon * LAMBDA_W[l] / W.shape[-1] * torch.bmm(u[l].mT, s)
             for l, (W, s) in enumerate(zip(parameters.W, [x[None], *passed[1][1:]], strict=True))],
            [b + sign * epsilon * LAMBDA_B[l] * u[l][:, 0] for l, b in enumerate(parameters.b)],
        )  # fmt: skip
        again = dense.forward(moved, x, functions[0])
        ends.append(along_gradient(moved, *again, functions, LAMBDA_B, LAMBDA_W, 3)[0, :, 0])
    quotient = (ends[0] - ends[1]) / (2 * epsilon)
    torch.testing.assert_close(quotient, found[1:], rtol=1e-6, atol=1e-7)
    assert abs(quotient[2] / found[4] - 1) > 1e-2


def test_columns_and_refusals(tmp_path: object) -> None:
    run = (*SETTINGS, "inputs.count=1", "workers=1", "ensemble.networks=2", "observables.record=[ntk_derivatives,dntk]")
    data = simulate.run(*run, "activation=tanh", f"output={tmp_path}/a")
    names = data.layout.names(data.family("DH"))
    assert names == [f"DH_{k}_{i}_0" for k in (1, 2, 3, 4) for i in (0, 1)]
    dH = data.read("dH")[:, 0, -1, data.layout.names(data.family("dH")).index("dH_0_0_0_0_0_0")]
    torch.testing.assert_close(torch.tensor(data.read("DH")[:, 0, -1, 0]), torch.tensor(2 * dH), rtol=1e-10, atol=1e-12)
    with pytest.raises(SettingsError, match=r"network\.skip|network="):
        simulate.run(*run, "network=residual", f"output={tmp_path}/b")
