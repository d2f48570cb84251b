"""Residual networks, z(l+1) = b + W s(z(l)) + gamma z(l), against networks that are written out in float64."""

import dataclasses
import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import jacrev, vmap

import simulate
from simulate.api import read_one
from simulate.networks import activations, dense, streams
from simulate.networks.differentials import differentials, fourth
from simulate.running.prepare import prepare
from simulate.settings import Settings, SettingsError
from simulate.training.algorithms import Training
from simulate.training.trajectory import trajectory

SKIP = (0.5, 0.3)
LAMBDA_B, LAMBDA_W = (0.3, 0.5, 0.7, 0.2), (1.1, 0.9, 1.3, 0.8)
Theta = tuple[list[Tensor], list[Tensor]]


def settings(*overrides: str) -> Settings:
    """Settings of four layers with hidden layers of five neurons and two outputs."""
    return read_one(
        ["network=residual", "network.depth=4", "network.width=5", "network.outputs=2", f"network.skip={list(SKIP)}",
         "initialization=gaussian", "initialization.C_b=0.2", "initialization.C_W=1.4", "ensemble.dtype=float64",
         "ensemble.device=cpu", f"dynamics.lambda_b={list(LAMBDA_B)}", f"dynamics.lambda_W={list(LAMBDA_W)}",
         *overrides]
    )  # fmt: skip


def drawn(s: Settings) -> tuple[dense.Parameters, Tensor]:
    """Three networks and three samples of four components."""
    where = torch.float64, torch.device("cpu")
    x = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return dense.draw(s, 4, streams.Stream(streams.key(0, "test"), 0, 3, *where)), x


def written_out(
    theta: Theta, x: Tensor, s: activations.Function, skip: tuple[float, ...] = SKIP, branch: float = 1.0
) -> list[Tensor]:
    """The preactivations of all layers of one network at one sample."""
    z = [theta[0][0] @ x + theta[1][0]]
    for W, b, gamma in zip(theta[0][1:], theta[1][1:], (*skip, None), strict=True):
        z.append(W @ s(z[-1]) + b if gamma is None else branch * W @ s(z[-1]) + b + gamma * z[-1])
    return z


def network(parameters: dense.Parameters, m: int) -> Theta:
    return [W[m].clone() for W in parameters.W], [b[m].clone() for b in parameters.b]


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu"])
@pytest.mark.parametrize("layer", [4, 3, 2])
def test_forward_and_ntk(name: str, layer: int) -> None:
    """Preactivations of docs/theory.md (11.1), and the NTK of docs/theory.md (2.1) of the outputs and of the first two
    neurons of a hidden layer, which a skip leads to. Negative control: a backward pass that leaves out the skips."""
    s = settings(f"activation={name}")
    parameters, x = drawn(s)
    value, slope = activations.functions(s.activation)
    z, signals = dense.forward(parameters, x, value)
    cut = dense.truncated(parameters, z, signals, layer, 2)
    H = dense.ntk(*cut, slope, LAMBDA_B, LAMBDA_W)
    plain = dense.ntk(dataclasses.replace(cut[0], skip=()), *cut[1:], slope, LAMBDA_B, LAMBDA_W)
    assert not torch.allclose(H, plain, rtol=1e-2)

    def neurons(theta: Theta, sample: Tensor) -> Tensor:
        return written_out(theta, sample, value)[layer - 1][:2]

    for m in range(3):
        theta = network(parameters, m)
        for a in range(3):
            for got, want in zip(z, written_out(theta, x[a], value), strict=True):
                torch.testing.assert_close(got[m, a], want, rtol=1e-12, atol=1e-13)
        JW, Jb = vmap(jacrev(neurons), (None, 0))(theta, x)
        want = torch.zeros(2, 3, 2, 3, dtype=torch.float64)
        for k in range(layer):
            rate = LAMBDA_W[k] / theta[0][k].shape[1]
            want += rate * torch.einsum("aimn,bjmn->iajb", JW[k], JW[k])
            want += LAMBDA_B[k] * torch.einsum("aim,bjm->iajb", Jb[k], Jb[k])
        torch.testing.assert_close(H[m], want, rtol=1e-10, atol=1e-12)


def test_branch(tmp_path: Path) -> None:
    """A branch alpha, docs/theory.md (11.2), is held by the weights, with alpha^2 times the variance and the rate: the
    NTK is that of W in alpha W s. A branch of 1 leaves the identity as it is, and the key of the random numbers."""
    alpha = 0.7
    plain, s = settings("activation=tanh"), settings("activation=tanh", f"network.branch={alpha}")
    parameters, x = drawn(s)
    for layer, (W, other) in enumerate(zip(parameters.W, drawn(plain)[0].W, strict=True), start=1):
        torch.testing.assert_close(W, (alpha if layer in (2, 3) else 1.0) * other, rtol=1e-14, atol=0)
    value, slope = activations.functions(s.activation)
    z, signals = dense.forward(parameters, x, value)
    H = dense.ntk(parameters, z, signals, slope, s.rates.lambda_b, s.rates.lambda_W)
    W, b = network(parameters, 0)
    theta = [w / alpha if layer in (1, 2) else w for layer, w in enumerate(W)], b

    def neurons(theta: Theta, sample: Tensor) -> Tensor:
        return written_out(theta, sample, value, branch=alpha)[-1]

    JW, Jb = vmap(jacrev(neurons), (None, 0))(theta, x)
    want = sum(r / w.shape[1] * torch.einsum("aimn,bjmn->iajb", J, J) for r, w, J in zip(LAMBDA_W, W, JW, strict=True))
    want += sum(r * torch.einsum("aim,bjm->iajb", J, J) for r, J in zip(LAMBDA_B, Jb, strict=True))
    torch.testing.assert_close(z[-1][0, 0], neurons(theta, x[0]), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(H[0], want, rtol=1e-10, atol=1e-12)
    jobs = [prepare(read_one(["network=residual", "network.width=6", f"output={tmp_path / 'a'}", *more]))
            for more in ([], ["network.branch=1"], ["network.branch=0.5"])]  # fmt: skip
    assert jobs[0].digest() == jobs[1].digest()
    assert jobs[0].digest() != jobs[2].digest()
    assert jobs[0].law_in_words() == jobs[1].law_in_words() != jobs[2].law_in_words()
    critical = [job.settings.initialization for job in jobs]
    assert (critical[2].C_b, critical[2].C_W) == (critical[0].C_b, 4 * critical[0].C_W)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch warns at its first jvp
@pytest.mark.parametrize("layer", [4, 3])
def test_differentials(layer: int) -> None:
    """dH, ddI, ddII of docs/theory.md (3.1) to (3.3), and the fourth derivative, of the outputs and of the first two
    neurons of a hidden layer, by torch.func on the definition. Negative control: without the skips."""
    s = settings("activation=tanh")
    parameters, x = drawn(s)
    x, value = x[:1], activations.functions(s.activation)[0]
    cut = dense.truncated(parameters, *dense.forward(parameters, x, value), layer, 2)
    given = activations.derivatives(s.activation), LAMBDA_B, LAMBDA_W
    dH, ddI, ddII = differentials(*cut, *given, second=True)
    plain = differentials(dataclasses.replace(cut[0], skip=()), *cut[1:], *given, second=True)
    d4 = fourth(*cut, *given)
    assert ddI is not None
    assert ddII is not None
    W, b = network(parameters, 0)
    theta = (*W[:layer], *b[:layer])
    rates = [rate / w.shape[1] for rate, w in zip(LAMBDA_W, W[:layer], strict=False)] + list(LAMBDA_B[:layer])

    def output(p: int, *theta: Tensor) -> Tensor:
        given = [*theta[:layer], *W[layer:]], [*theta[layer:], *b[layer:]]
        return written_out(given, x[0], value)[layer - 1][p]

    def gradient(p: int) -> Callable[..., tuple[Tensor, ...]]:
        return torch.func.grad(partial(output, p), argnums=tuple(range(2 * layer)))

    v = [tuple(rate * g for rate, g in zip(rates, gradient(p)(*theta), strict=True)) for p in range(2)]

    def along(f: Callable[..., Any], *directions: int) -> Callable[..., Any]:
        for k in directions:
            f = partial(lambda f, k, *at: torch.func.jvp(f, at, v[k])[1], f, k)
        return f

    close = {"rtol": 1e-10, "atol": 1e-11}
    for p, q, k in itertools.product(range(2), repeat=3):
        torch.testing.assert_close(dH[0, p, q, k], along(partial(output, p), q, k)(*theta), **close)
        torch.testing.assert_close(ddI[0, p, q, k, 1], along(partial(output, p), q, k, 1)(*theta), **close)
        left, right = along(gradient(p), q)(*theta), along(gradient(1), k)(*theta)
        want = sum((rate * g * h).sum() for rate, g, h in zip(rates, left, right, strict=True))
        torch.testing.assert_close(ddII[0, p, 1, q, k], want, **close)
    for p in range(2):
        torch.testing.assert_close(d4[0, p], along(partial(output, p), p, p, p, p)(*theta), **close)
    for mine, other in zip((dH, ddI, ddII), plain, strict=True):
        assert not torch.allclose(mine, other, rtol=1e-2)


@pytest.mark.parametrize("algorithm", ["gradient_descent", "momentum"])
def test_training(algorithm: str) -> None:
    """Two steps are those of automatic differentiation. Negative control: the gradient of the plain network."""
    s = settings("activation=tanh")
    parameters, x = drawn(s)
    y = torch.tensor([[0.3, -0.2], [0.1, 0.5], [-0.4, 0.2]], dtype=torch.float64)
    rule = dataclasses.replace(s.dynamics, name=algorithm, eta=0.05, steps=2, momentum=0.6)
    value, slope = activations.functions(s.activation)

    def stepped(theta: Theta, skip: tuple[float, ...]) -> Theta:
        def loss(theta: Theta) -> Tensor:
            outputs = torch.stack([written_out(theta, sample, value, skip)[-1] for sample in x])
            return ((outputs - y) ** 2).sum() / 2

        rates = [r / W.shape[1] for r, W in zip(LAMBDA_W, theta[0], strict=True)], list(LAMBDA_B)
        velocity = [[torch.zeros_like(p) for p in tensors] for tensors in theta]
        for _ in range(2):
            gradient = torch.func.grad(loss)(theta)
            for kind in range(2):
                for k, rate in enumerate(rates[kind]):
                    kept = 0.6 * velocity[kind][k] if algorithm == "momentum" else 0.0
                    velocity[kind][k] = kept + rate * gradient[kind][k]
            W, b = ([p - 0.05 * v for p, v in zip(*pair, strict=True)] for pair in zip(theta, velocity, strict=True))
            theta = W, b
        return theta

    want = [stepped(network(parameters, m), SKIP) for m in range(3)]
    wrong = stepped(network(parameters, 0), (0.0, 0.0))
    where = streams.Stream(streams.key(0, "test"), 0, 3, torch.float64, torch.device("cpu"))
    list(trajectory(Training(parameters, x, y, value, slope, rule, where), (2,)))
    for m in range(3):
        for kind, tensors in enumerate(network(parameters, m)):
            for k, tensor in enumerate(tensors):
                torch.testing.assert_close(tensor, want[m][kind][k], rtol=1e-10, atol=1e-12)
    assert not torch.allclose(parameters.W[0][0], wrong[0][0], rtol=1e-6)


def test_no_skip_is_the_plain_network(tmp_path: Path) -> None:
    """A skip of 0 leaves the identity, the key of the random numbers and every bit of the rows. Control: another skip
    does not."""
    rows = []
    for name, overrides in (("plain", []), ("none", ["network=residual", "network.skip=0"]),
                            ("some", ["network=residual", "network.skip=0.25", "ensemble.sampler=dense"])):  # fmt: skip
        given = ["network.depth=3", "network.width=6", "ensemble.networks=40", "initialization=gaussian",
                 "observables.record=[kernel,outputs,ntk]", "ensemble.sampler=dense", *overrides]  # fmt: skip
        job = prepare(read_one(given))
        data = simulate.run(*given, f"output={tmp_path / name}", "workers=1")
        rows.append((job.law_in_words(), job.settings.identity(), data.table()))
    assert rows[0][:2] == rows[1][:2]
    assert rows[0][2].equals(rows[1][2])
    assert rows[0][0] != rows[2][0]
    assert rows[2][1]["network"]["skip"] == 0.25


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["network.skip=-1"], "network.skip=-1: a number >= 0, or a list of 2"),
        (["network.branch=0"], "network.branch=0: a finite number > 0"),
        (["network.skip=0", "network.branch=0.5"], "network.branch=0.5: 1 at network.skip=0"),
        (["network.skip=[0.5]"], r"network.skip=\[0.5\]: a number >= 0, or a list of 2"),
        (["network.skip=0.5", "network.width=[5,6,5]"], "network.skip=0.5: 0, or one network.width in all"),
        (["network.skip=0.5", "network.depth=2", "network.width=5"], "network.skip=0.5: 0 at network.depth below 3"),
        (["network.skip=1", "initialization=critical"], "skip=1: a number from 0 to below 1"),
        (["initialization=critical"], "no one critical point for network.skip"),
        *(([f"observables.record=[{name}]"], f"{name} is that of networks without skips")
          for name in ("ntk_sums", "ntk_signs", "ddntk_signs")),
        (["observables.record=[taylor]", "dynamics=gradient_descent"], "taylor is that of networks without skips"),
    ],
)  # fmt: skip
def test_refusals(overrides: list[str], message: str) -> None:
    """What is wrong, or not known for residual networks, is refused by name before anything is drawn."""
    start = [] if "initialization=critical" in overrides else ["initialization=gaussian"]
    depth = [] if any("depth" in o or "width" in o for o in overrides) else ["network.width=5"]
    with pytest.raises(SettingsError, match=message):
        read_one(["network=residual", "network.depth=4", f"network.skip={list(SKIP)}", *depth, *start, *overrides])
