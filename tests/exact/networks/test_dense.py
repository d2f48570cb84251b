"""The dense passes and the law sampler agree with slow, obvious references in float64."""

import dataclasses
import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call, jacrev, vmap

from simulate.api import read_one
from simulate.networks import activations, dense, streams
from simulate.networks.differentials import differentials, fourth
from simulate.running.prepare import prepare
from simulate.settings import Settings
from simulate.training.algorithms import Training
from simulate.training.trajectory import trajectory

LAMBDA_B, LAMBDA_W = (0.3, 0.5, 0.7), (1.1, 0.9, 1.3)


def settings(*overrides: str) -> Settings:
    base = [
        "network.depth=3",
        "network.width=[5,7]",
        "network.outputs=2",
        "ensemble.dtype=float64",
        "initialization=gaussian",
        "initialization.C_b=0.2",
        "initialization.C_W=1.4",
        "ensemble.device=cpu",
        f"dynamics.lambda_b={list(LAMBDA_B)}",
        f"dynamics.lambda_W={list(LAMBDA_W)}",
    ]
    return read_one([*base, *overrides])


def stream(M: int, seed: int = 0) -> streams.Stream:
    return streams.Stream(streams.key(seed, "test"), 0, M, torch.float64, torch.device("cpu"))


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def network(name: str, n_0: int = 4, M: int = 3, D: int = 3) -> tuple[dense.Parameters, Tensor, Settings]:
    s = settings(f"activation={name}")
    return dense.draw(s, n_0, stream(M)), normal(1, D, n_0), s


def reference(W: list[Tensor], b: list[Tensor], x: Tensor, s: activations.Function) -> Tensor:
    """The outputs of one network for one sample, written out."""
    z = W[0] @ x + b[0]
    for weight, bias in zip(W[1:], b[1:], strict=True):
        z = weight @ s(z) + bias
    return z


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu", "swish"])
def test_forward(name: str) -> None:
    """Batched forward passes are those of docs/theory.md section 0, network by network."""
    parameters, x, setting = network(name)
    s, _ = activations.functions(setting.activation)
    z, signals = dense.forward(parameters, x, s)
    for m in range(3):
        for a in range(len(x)):
            want = reference([W[m] for W in parameters.W], [b[m] for b in parameters.b], x[a], s)
            torch.testing.assert_close(z[-1][m, a], want, rtol=1e-12, atol=1e-13)
    assert [t.shape[-1] for t in signals] == [4, 5, 7]


@pytest.mark.parametrize("overrides", [[], ["network=residual", "network.width=5", "network.skip=0.6"]])
def test_a_pass_that_begins_with_the_draw(overrides: list[str]) -> None:
    """It has the bits of a pass afterwards. Negative control: networks of another seed."""
    setting, x = settings("activation=tanh", *overrides), normal(1, 3, 4)
    s, _ = activations.functions(setting.activation)
    passing = dense.Pass(x, 2, s, setting.network.skips)
    parameters = dense.draw(setting, 4, stream(2), passing)
    got, want = dense.forward(parameters, x, s, passing), dense.forward(parameters, x, s)
    other = dense.forward(dense.draw(setting, 4, stream(2, seed=1)), x, s)
    for ours, theirs, others in zip(*(itertools.chain(*passed) for passed in (got, want, other)), strict=True):
        assert torch.equal(ours, theirs)
        assert torch.equal(ours, others) == (ours.shape[-1] == 4)  # the inputs


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu", "sin"])
def test_ntk_is_the_jacobian_contraction(name: str) -> None:
    """H is sum_mu lambda_mu dz_i;a/dtheta_mu dz_j;b/dtheta_mu of docs/theory.md (2.1) by torch.func, with two outputs
    and layer-wise rates."""
    parameters, x, setting = network(name)
    s, slope = activations.functions(setting.activation)
    z, signals = dense.forward(parameters, x, s)
    H = dense.ntk(parameters, z, signals, slope, LAMBDA_B, LAMBDA_W)

    def outputs(theta: tuple[list[Tensor], list[Tensor]], sample: Tensor) -> Tensor:
        return reference(theta[0], theta[1], sample, s)

    for m in range(3):
        theta = ([W[m] for W in parameters.W], [b[m] for b in parameters.b])
        JW, Jb = vmap(jacrev(outputs), (None, 0))(theta, x)
        want = torch.zeros(2, 3, 2, 3, dtype=torch.float64)
        for layer in range(3):
            rate = LAMBDA_W[layer] / theta[0][layer].shape[1]
            want += rate * torch.einsum("aimn,bjmn->iajb", JW[layer], JW[layer])
            want += LAMBDA_B[layer] * torch.einsum("aim,bjm->iajb", Jb[layer], Jb[layer])
        torch.testing.assert_close(H[m], want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu"])
def test_ntk_follows_the_forward_equation(name: str) -> None:
    """docs/theory.md (2.2), from layer to layer, ends at the H that `dense.ntk` finds backwards. Negative control:
    without the NTK of the layer below."""
    parameters, x, setting = network(name)
    s, slope = activations.functions(setting.activation)
    z, signals = dense.forward(parameters, x, s)
    equal = torch.eye(5, dtype=torch.float64)[:, None, :, None]
    H = equal * (LAMBDA_B[0] + LAMBDA_W[0] / 4 * x @ x.T)[None, None, :, None, :]
    for layer in (1, 2):
        below, W, n = signals[layer], parameters.W[layer], z[layer - 1].shape[2]
        shares = LAMBDA_B[layer] + LAMBDA_W[layer] / n * below @ below.mT
        slopes = slope(z[layer - 1], below).mT
        through = torch.einsum("mik,mjl,mka,mlb,mkalb->miajb", W, W, slopes, slopes, H.expand(3, -1, -1, -1, -1))
        equal = torch.eye(W.shape[1], dtype=torch.float64)[:, None, :, None]
        H = equal * shares[:, None, :, None, :] + through
    want = dense.ntk(parameters, z, signals, slope, LAMBDA_B, LAMBDA_W)
    torch.testing.assert_close(H, want, rtol=1e-10, atol=1e-12)
    assert not torch.allclose(H - through, want, rtol=1e-2)


def test_truncated_networks() -> None:
    """With the first neurons of layer 2 as outputs, NTK and differentials are those of a network that ends there."""
    parameters, x, setting = network("tanh")
    functions = activations.derivatives(setting.activation)
    full_pass = dense.forward(parameters, x, functions[0])
    shorter = dense.Parameters([parameters.W[0], parameters.W[1][:, :2]], [parameters.b[0], parameters.b[1][:, :2]])
    alone = dense.forward(shorter, x, functions[0])
    cut = dense.truncated(parameters, *full_pass, 2, 2)
    rates = LAMBDA_B[:2], LAMBDA_W[:2]
    _, slope = activations.functions(setting.activation)
    want = dense.ntk(shorter, *alone, slope, *rates)
    torch.testing.assert_close(dense.ntk(*cut, slope, *rates), want, rtol=1e-12, atol=1e-13)
    for got, want in zip(
        differentials(*cut, functions, LAMBDA_B, LAMBDA_W, True),
        differentials(shorter, *alone, functions, *rates, True),
        strict=True,
    ):
        assert got is not None
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-13)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch warns at its first jvp
@pytest.mark.parametrize("name", ["tanh", "gelu", "sin"])
def test_differentials_are_nested_directional_derivatives(name: str) -> None:
    """dH, ddI and ddII of docs/theory.md (3.1) to (3.3), and d4, by torch.func on the definition: directions
    v = lambda grad z, all indices."""
    parameters, x, setting = network(name, M=2, D=2)
    s, _ = activations.functions(setting.activation)
    z, signals = dense.forward(parameters, x, s)
    functions = activations.derivatives(setting.activation)
    dH, ddI, ddII = differentials(parameters, z, signals, functions, LAMBDA_B, LAMBDA_W, second=True)
    d4 = fourth(parameters, z, signals, functions, LAMBDA_B, LAMBDA_W)
    assert ddI is not None
    assert ddII is not None
    rates = [LAMBDA_W[k] / W.shape[-1] for k, W in enumerate(parameters.W)] + list(LAMBDA_B)
    for m in range(2):
        theta = [W[m] for W in parameters.W] + [b[m] for b in parameters.b]

        def output(p: int, *theta: Tensor) -> Tensor:
            i, a = divmod(p, 2)
            return reference(list(theta[:3]), list(theta[3:]), x[a], s)[i]

        gradients = [torch.func.grad(partial(output, p), argnums=tuple(range(6)))(*theta) for p in range(4)]
        v = [tuple(r * g for r, g in zip(rates, gradient, strict=True)) for gradient in gradients]

        def along(f: Callable[..., Any], k: int, v: list[tuple[Tensor, ...]] = v) -> Callable[..., Any]:
            return lambda *at: torch.func.jvp(f, at, v[k])[1]

        for p, q, k in itertools.product(range(4), repeat=3):
            want = along(along(partial(output, p), q), k)(*theta)
            torch.testing.assert_close(dH[m, p, q, k], want, rtol=1e-10, atol=1e-11)
        hessian = {}
        for p, k in itertools.product(range(4), repeat=2):
            hessian[p, k] = along(torch.func.grad(partial(output, p), argnums=tuple(range(6))), k)(*theta)
        for p, q, k, r in itertools.product(range(4), repeat=4):
            want = sum((rate * g * h).sum() for rate, g, h in zip(rates, hessian[p, k], hessian[q, r], strict=True))
            torch.testing.assert_close(ddII[m, p, q, k, r], want, rtol=1e-10, atol=1e-11)
        for p, q, k, r in [(0, 0, 0, 0), (0, 1, 2, 3), (3, 0, 0, 1), (2, 2, 1, 1), (1, 3, 0, 3)]:
            want = along(along(along(partial(output, p), q), k), r)(*theta)
            torch.testing.assert_close(ddI[m, p, q, k, r], want, rtol=1e-10, atol=1e-11)
        for p in range(4):
            want = along(along(along(along(partial(output, p), p), p), p), p)(*theta)
            torch.testing.assert_close(d4[m, p], want, rtol=1e-10, atol=1e-11)


def test_networks_are_what_torch_modules_compute() -> None:
    """Network m of a stack has the outputs of an nn.Module with its weights."""
    parameters, x, _ = network("tanh")
    layers = [torch.nn.Linear(n, m, dtype=torch.float64) for n, m in ((4, 5), (5, 7), (7, 2))]
    module = torch.nn.Sequential(layers[0], torch.nn.Tanh(), layers[1], torch.nn.Tanh(), layers[2])
    z, _ = dense.forward(parameters, x, torch.tanh)
    for m in range(3):
        weights = {f"{2 * k}.weight": W[m] for k, W in enumerate(parameters.W)}
        weights |= {f"{2 * k}.bias": b[m] for k, b in enumerate(parameters.b)}
        torch.testing.assert_close(functional_call(module, weights, (x,)), z[-1][m], rtol=1e-12, atol=1e-13)


def test_one_layer_network_trains_as_the_closed_form() -> None:
    """A network of one layer is linear in its parameters at any width, docs/theory.md (5.4): gradient descent is
    docs/theory.md (5.1) with its own H, exactly."""
    s = settings("network.depth=1", "network.width=[]", "dynamics.lambda_b=0.4", "dynamics.lambda_W=0.8")
    parameters = dense.draw(s, 4, stream(5, 3))
    x = normal(4, 4, 4)
    y = normal(5, 3, 2)
    value, slope = activations.functions(s.activation)
    z0, signals = dense.forward(parameters, x, value)
    H = dense.ntk(parameters, z0, signals, slope, (0.4,), (0.8,))[:, 0, :, 0, :]
    rule = dataclasses.replace(s.dynamics, name="gradient_descent", eta=0.3, steps=7)
    start = z0[0].clone()
    training = Training(parameters, x[:3], y, value, slope, rule, stream(5, 3))
    assert list(trajectory(training, (7,))) == [7]
    end, _ = dense.forward(parameters, x, value)
    T = H[:, :3, :3]
    shrink = torch.linalg.matrix_power(torch.eye(3, dtype=torch.float64) - 0.3 * T, 7)
    learnt = torch.eye(3, dtype=torch.float64) - shrink
    want = start - H[:, :, :3] @ torch.linalg.solve(T, learnt @ (start[:, :3] - y))
    torch.testing.assert_close(end[0], want, rtol=1e-9, atol=1e-11)


# ------------------------------------------------------------------- the sampler without weights


@pytest.mark.parametrize("sampler", ["dense", "law"])
def test_equal_inputs_stay_equal(sampler: str, run, tmp_path) -> None:
    x = np.array([[1.0, 2.0, 0.5], [1.0, 2.0, 0.5], [-1.0, 0.3, 0.2]])
    np.save(tmp_path / "x.npy", x)
    data = run(
        "inputs=file",
        f"inputs.path={tmp_path}/x.npy",
        f"ensemble.sampler={sampler}",
        "activation=relu",
        "network.width=2",
        "ensemble.networks=300",
        "ensemble.dtype=float64",
    )
    frame = data.table()
    order = np.argsort([tuple(row) for row in data.samples()[0]], axis=0)[:, 0]
    a, b = order[1], order[2]
    if a > b:
        a, b = b, a
    assert np.allclose(frame[f"g_{a}_{a}"], frame[f"g_{b}_{b}"], rtol=1e-6, atol=1e-12)
    assert np.allclose(frame[f"g_{a}_{a}"], frame[f"g_{a}_{b}"], rtol=1e-6, atol=1e-12)
    assert (frame["status"] == 0).all()
    assert (frame[f"g_{a}_{a}"] == 0).any(), "at width 2 some ReLU networks are dead, and their rows are kept"


def test_law_ntk_survives_equal_inputs_and_dead_networks(run) -> None:
    """Of four samples on a one-dimensional sphere two are equal, and at width 2 some ReLU networks are dead."""
    data = run(
        "inputs=sphere", "inputs.dimension=1", "inputs.count=4", "activation=relu", "network.width=2",
        "observables=ntk", "ensemble.sampler=law", "ensemble.networks=500", "dynamics.lambda_b=0.1",
    )  # fmt: skip
    frame = data.table()
    last = frame[frame["layer"] == 4]
    assert (last["status"] == 0).all()
    x = data.samples()[0][:, 0]
    a = int(np.flatnonzero(x == x[0])[1])
    np.testing.assert_allclose(last["H_0_0_0_0"], last[f"H_0_0_0_{a}"], rtol=1e-4, atol=1e-6)


# ------------------------------------------------------------------- addresses


def test_architectures_with_one_seed_are_independent() -> None:
    """Widths of a sweep are fitted as independent, so their streams must differ although they share a seed."""
    jobs = [prepare(settings(f"network.width={w}")) for w in ("[5,7]", "[5,8]")]
    assert jobs[0].law_in_words() != jobs[1].law_in_words()
