"""The sums of `ntk_sums` agree with Jacobians by automatic differentiation, and are means over a layer's weights."""

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor
from torch.func import jacrev

import simulate
from simulate.api import read_one
from simulate.networks import activations, dense, streams
from simulate.networks import sums as sums_of
from simulate.networks.sums import sums
from simulate.settings.reader import SettingsError

LAMBDA_B, LAMBDA_W = (0.3, 0.5, 0.7, 0.4), (1.1, 0.9, 1.3, 0.6)
C_B, C_W, WIDTHS, M, D, N_0 = 0.2, 1.4, [5, 7, 6], 3, 2, 4
SETTINGS = (
    "network.depth=4", f"network.width={WIDTHS}", "network.outputs=2", "ensemble.dtype=float64", "ensemble.device=cpu",
    "initialization=gaussian", f"initialization.C_b={C_B}", f"initialization.C_W={C_W}",
    f"dynamics.lambda_b={list(LAMBDA_B)}", f"dynamics.lambda_W={list(LAMBDA_W)}",
)  # fmt: skip
FALSE_ALARM = 1e-6  # of each test that draws


def drawn(name: str, networks: int = M) -> tuple[dense.Parameters, Tensor, activations.Function, activations.Slope]:
    settings = read_one([*SETTINGS, f"activation={name}"])
    stream = streams.Stream(streams.key(0, "sums"), 0, networks, torch.float64, torch.device("cpu"))
    x = torch.randn(D, N_0, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return dense.draw(settings, N_0, stream), x, *activations.functions(settings.activation)


def measured(parameters: dense.Parameters, x: Tensor, s: activations.Function, slope: activations.Slope) -> Tensor:
    """h, y, b, w and T_3 of all layers, (4, 5, M, D)."""
    z, signals = dense.forward(parameters, x, s)
    slopes = [slope(z[k], signals[k + 1]) for k in range(3)]
    return sums(parameters, signals, slopes, LAMBDA_B, LAMBDA_W, C_W, loops=True)


def of_jacobians(parameters: dense.Parameters, x: Tensor, s: activations.Function, m: int, a: int) -> list[Tensor]:
    """h, y, b, w and T_3 of layers 2 to 4 of one network and sample, written out: the NTK of a hidden layer is the
    contraction of its Jacobians."""
    W, b = [W[m] for W in parameters.W[:3]], [b[m] for b in parameters.b[:3]]

    def layers(W: list[Tensor], b: list[Tensor]) -> list[Tensor]:
        z = [W[0] @ x[a] + b[0]]
        for weight, bias in zip(W[1:], b[1:], strict=True):
            z.append(weight @ s(z[-1]) + bias)
        return z

    z, found = layers(W, b), []
    for layer in range(3):
        JW, Jb = jacrev(lambda W, b, at=layer: layers(W, b)[at], argnums=(0, 1))(W, b)
        H = torch.zeros(WIDTHS[layer], WIDTHS[layer], dtype=torch.float64)
        for k in range(layer + 1):
            H += LAMBDA_W[k] / W[k].shape[1] * torch.einsum("imn,jmn->ij", JW[k], JW[k])
            H += LAMBDA_B[k] * Jb[k] @ Jb[k].T
        slopes = jacrev(s)(z[layer]).diagonal()
        r, kappa = s(z[layer]) * slopes, C_W / WIDTHS[layer]
        share = LAMBDA_B[layer + 1] + LAMBDA_W[layer + 1] * s(z[layer]).square().mean()
        h = share + kappa * (slopes.square() * H.diagonal()).sum()
        b2 = kappa**2 * torch.einsum("k,m,km->", slopes**2, slopes**2, H**2)
        w = kappa**3 * (r @ H) @ (slopes**2 * (H @ r))
        bent = slopes[:, None] * H * slopes
        t3 = kappa**3 * torch.einsum("km,mn,nk->", bent, bent, bent)
        found.append(torch.stack([h, kappa**2 * r @ H @ r, b2, w, t3]))
    return found


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu"])
def test_sums_are_those_of_jacobians(name: str) -> None:
    """The sums of docs/theory.md (17.9) hold the NTK of hidden neurons, docs/theory.md (2.1), with unequal widths and
    rates, and biases. Negative control: the sums of another network."""
    parameters, x, s, slope = drawn(name)
    found = measured(parameters, x, s, slope)
    for a in range(D):
        torch.testing.assert_close(found[0, 0, :, a], LAMBDA_B[0] + LAMBDA_W[0] * x[a].square().mean().expand(M))
        for m in range(M):
            want = torch.stack(of_jacobians(parameters, x, s, m, a))
            torch.testing.assert_close(found[1:, :, m, a], want, rtol=1e-10, atol=1e-13)
            assert not torch.allclose(found[1:, :, (m + 1) % M, a], want, rtol=1e-2)
    assert not found[0, 1:].any(), "layer 1 has an NTK that is the same for all neurons"


def statistics(found: Tensor, name: str, networks: int) -> np.ndarray:
    """z-scores of means over the weights of layer 4 against the sums of one network: three functions, two samples."""
    parameters, x, s, slope = drawn(name, 1)
    W, b = [W.expand(networks, -1, -1) for W in parameters.W], [b.expand(networks, -1) for b in parameters.b]
    generator = torch.Generator().manual_seed(2)
    W[3] = torch.randn(networks, 2, 6, dtype=torch.float64, generator=generator) * (C_W / 6) ** 0.5
    b[3] = torch.randn(networks, 2, dtype=torch.float64, generator=generator) * C_B**0.5
    many = dense.Parameters(W, b)
    z, signals = dense.forward(many, x, s)
    H = dense.ntk(many, z, signals, slope, LAMBDA_B, LAMBDA_W)
    scores = []
    for a in range(D):
        values = [H[:, 0, a, 0, a], z[3][:, a, 0] * z[3][:, a, 1] * H[:, 0, a, 1, a], H[:, 0, a, 1, a] ** 2]
        for value, mean in zip(values, found[3, :3, 0, a], strict=True):
            scores.append((value.mean() - mean) / (value.std() / networks**0.5))
    return np.array(scores)


@pytest.mark.parametrize("name", ["tanh", "relu"])
def test_sums_are_means_over_the_last_layer(name: str) -> None:
    """Means of the NTK of many last layers on the same layers below, docs/theory.md (17.9). False alarms: FALSE_ALARM.
    Negative control: sums that are 5 % off."""
    found = measured(*drawn(name, 1))
    limit = norm.isf(FALSE_ALARM / 12)
    assert np.abs(statistics(found, name, 40_000)).max() < limit
    assert np.abs(statistics(1.05 * found, name, 40_000)).max() > limit


RUN = ("network.width=[5,7,6]", "network.depth=4", "inputs.count=2", "workers=1", "ensemble.device=cpu",
       "ensemble.networks=3", "ensemble.block=4", "initialization=gaussian", "initialization.C_b=0.2",
       "initialization.C_W=1.4")  # fmt: skip


def test_sums_are_recorded(tmp_path: object) -> None:
    """Columns at the chosen layers are those at all layers, float32 differs by rounding, and the networks have
    weights."""
    record = "observables.record=[kernel,ntk_sums,ntk_loops]"
    every = simulate.run(*RUN, record, f"output={tmp_path}/a", "ensemble.dtype=float64")
    some = simulate.run(*RUN, record, "observables.layers=[1,3]", f"output={tmp_path}/b", "ensemble.dtype=float64")
    assert every.settings["ensemble"]["sampler"] == "dense"
    for family in ("h", "y", "b", "w", "t3"):
        assert every.layout.names(every.family(family)) == [f"{family}_0", f"{family}_1"]
        np.testing.assert_array_equal(some.read(family)[:, 0], every.read(family)[:, 0, [0, 2]])
        assert np.all(every.read(family)[:, 0, 1:] != 0)


def test_sums_in_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same weights in float32 give the same sums to rounding."""
    parameters, x, s, slope = drawn("gelu")
    exact = measured(parameters, x, s, slope)
    single = dense.Parameters([W.float() for W in parameters.W], [b.float() for b in parameters.b])
    found = measured(single, x.float(), s, slope)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, exact, rtol=3e-6, atol=1e-9)
    monkeypatch.setattr(sums_of, "carried", lambda W, bent: 1.001 * W @ bent @ W.mT)
    assert not torch.allclose(measured(single, x.float(), s, slope), exact, rtol=3e-6), "negative control"


def test_the_law_sampler_has_no_weights(tmp_path: object) -> None:
    with pytest.raises(SettingsError, match=r"ensemble\.sampler='law': ntk_sums needs the weights.* dense"):
        simulate.run(*RUN, "observables.record=[ntk_sums]", "ensemble.sampler=law", f"output={tmp_path}/a")
