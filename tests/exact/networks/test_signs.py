"""The columns of `ntk_signs` and `ddntk_signs` are those of networks whose last layer has other weights."""

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor

import simulate
from simulate.api import read_one
from simulate.networks import activations, dense, streams
from simulate.networks.differentials import differentials
from simulate.networks.signs import ntk_signs, signs
from simulate.settings.reader import SettingsError

LAMBDA_B, LAMBDA_W = (0.3, 0.5, 0.7, 0.4), (1.1, 0.9, 1.3, 0.6)
C_B, C_W, WIDTHS, M, D, N_0 = 0.2, 1.4, [5, 7, 6], 3, 2, 4
SETTINGS = (
    "network.depth=4", f"network.width={WIDTHS}", "network.outputs=2", "ensemble.dtype=float64", "ensemble.device=cpu",
    "initialization=gaussian", f"initialization.C_b={C_B}", f"initialization.C_W={C_W}",
    f"dynamics.lambda_b={list(LAMBDA_B)}", f"dynamics.lambda_W={list(LAMBDA_W)}",
)  # fmt: skip
FALSE_ALARM = 1e-6  # of each test that draws
Net = tuple[dense.Parameters, list[Tensor], list[Tensor], tuple[activations.Function, ...]]


def drawn(name: str, networks: int = M, dtype: torch.dtype = torch.float64) -> Net:
    """Parameters, z, signals and the derivatives of the activation."""
    settings = read_one([*SETTINGS, f"activation={name}"])
    stream = streams.Stream(streams.key(0, "signs"), 0, networks, torch.float64, torch.device("cpu"))
    full = dense.draw(settings, N_0, stream)
    parameters = dense.Parameters([W.to(dtype) for W in full.W], [b.to(dtype) for b in full.b])
    x = torch.randn(D, N_0, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).to(dtype)
    s, _ = activations.functions(settings.activation)
    return parameters, *dense.forward(parameters, x, s), activations.derivatives(settings.activation)


def measured(net: Net) -> Tensor:
    return signs(*net, LAMBDA_B, LAMBDA_W, C_W)


def products(net: Net, last: Tensor) -> Tensor:
    """The six products (6, M, D, D, D, D) of networks with the weights `last` (M, 2 + D, n) of the last layer, whose
    outputs from the third on stand for z at each sample."""
    parameters, z, signals, orders = net
    layers, count = dense.Parameters([*parameters.W[:-1], last], parameters.b), last.shape[1]
    top = [*z[:-1], signals[-1] @ last.mT]
    dH, ddI, ddII = differentials(layers, top, signals, orders, LAMBDA_B, LAMBDA_W, second=True)
    assert ddI is not None
    assert ddII is not None
    dH = dH.reshape(-1, *(count, D) * 3)
    ddI, ddII = (x.reshape(-1, *(count, D) * 4) for x in (ddI, ddII))
    found = torch.zeros(6, len(dH), D, D, D, D, dtype=torch.float64)
    for i, j in ((0, 1), (1, 0)):
        for d in range(D):
            found[0, ..., d] += dH[:, 2 + d, :, j, :, j] / 2
            found[1, ..., d] += dH[:, i, :, i, :, 2 + d] / 2
        found[2] += ddI[:, i, :, i, :, j, :, j] / 2
        found[3] += ddII[:, i, :, i, :, j, :, j] / 2
        found[4] += ddII[:, i, :, j, :, i, :, j] / 2
        found[5] += ddII[:, i, :, j, :, j, :, i] / 2
    return found


@pytest.mark.parametrize("name", ["tanh", "gelu"])
def test_signs_are_differentials(name: str) -> None:
    """The products of docs/theory.md (7.17) with unequal widths, rates and inputs are components of the differentials
    of docs/theory.md (3.1) to (3.3). Negative control: signs of the other output."""
    net = drawn(name)
    parameters, _, signals, _ = net
    of_z = C_W / WIDTHS[-1] * signals[-1]
    last = torch.cat([parameters.W[-1].sign() * (C_W / WIDTHS[-1]) ** 0.5, of_z], dim=1)
    found, want = measured(net), products(net, last)
    torch.testing.assert_close(found, want, rtol=1e-10, atol=1e-13)
    last[:, 0] = last[:, 1]
    for product, other in zip(found, products(net, last), strict=True):
        assert not torch.allclose(product, other, rtol=1e-2)


def plain(net: Net) -> Tensor:
    """The six products of docs/theory.md (7.6) of networks of two outputs, (6, M, D, D, D, D)."""
    parameters, z, signals, orders = net
    dH, ddI, ddII = differentials(parameters, z, signals, orders, LAMBDA_B, LAMBDA_W, second=True)
    assert ddI is not None
    assert ddII is not None
    dH = dH.reshape(-1, *(2, D) * 3)
    ddI, ddII = (x.reshape(-1, *(2, D) * 4) for x in (ddI, ddII))
    P = torch.einsum("mabc,md->mabcd", dH[:, 0, :, 1, :, 1], z[-1][..., 0])
    Q = torch.einsum("mabc,md->mabcd", dH[:, 0, :, 0, :, 1], z[-1][..., 1])
    second = ddI[:, 0, :, 0, :, 1, :, 1], ddII[:, 0, :, 0, :, 1, :, 1], ddII[:, 0, :, 1, :, 0, :, 1]
    return torch.stack([P, Q, *second, ddII[:, 0, :, 1, :, 1, :, 0]])


def scores(name: str, networks: int, factor: float) -> np.ndarray:
    """z-scores of the products of signs, times a factor, against those of Gaussian last layers on one network below."""
    parameters, z, signals, orders = drawn(name, 1)
    generator, n = torch.Generator().manual_seed(2), WIDTHS[-1]
    last = torch.randn(networks, 2, n, dtype=torch.float64, generator=generator) * (C_W / n) ** 0.5
    b = [b.expand(networks, -1) for b in parameters.b]
    W = [*(W.expand(networks, -1, -1) for W in parameters.W[:-1]), last]
    below, signals = ([x.expand(networks, -1, -1) for x in layers] for layers in (z[:-1], signals))
    net: Net = dense.Parameters(W, b), [*below, signals[-1] @ last.mT], signals, orders
    difference = (factor * measured(net) - plain(net)).transpose(1, 0).flatten(1)
    return np.asarray(difference.mean(dim=0) / (difference.std(dim=0) / networks**0.5))


def test_signs_have_the_means_of_gaussian_weights() -> None:
    """Means over the last layer of docs/theory.md (7.17) and (7.6) on the same layers below, for all components. False
    alarms: FALSE_ALARM. Negative control: products that are 30 % off."""
    limit = norm.isf(FALSE_ALARM / 192)
    assert np.abs(scores("swish", 2_000, 1.0)).max() < limit
    assert np.abs(scores("swish", 2_000, 1.3)).max() > limit


def test_signs_in_single_precision() -> None:
    """The same weights in float32 give the same products to rounding, in float64. Negative control: float16's
    rounding."""
    exact, found = measured(drawn("gelu")), measured(drawn("gelu", dtype=torch.float32))
    assert found.dtype == torch.float64
    size = exact.abs().amax(dim=(1, 2, 3, 4, 5), keepdim=True)
    assert float(((found - exact) / size).abs().max()) < 2e-6
    assert float(((found.half() - exact) / size).abs().max()) > 2e-6


def measured_ntk(name: str, last: Tensor | None = None) -> tuple[Net, activations.Slope, Tensor, Tensor]:
    """Networks, with these weights of the last layer where they are given, their slope, and both columns."""
    parameters, z, signals, orders = drawn(name)
    if last is not None:
        parameters = dense.Parameters([*parameters.W[:-1], last], parameters.b)
    _, slope = activations.functions(read_one([*SETTINGS, f"activation={name}"]).activation)
    slopes = [slope(layer, s) for layer, s in zip(z[:-1], signals[1:], strict=True)]
    return (parameters, z, signals, orders), slope, *ntk_signs(parameters, signals, slopes, LAMBDA_B, LAMBDA_W, C_W)


@pytest.mark.parametrize("name", ["tanh", "relu"])
def test_the_ntk_of_other_weights(name: str) -> None:
    """Both columns of docs/theory.md (7.19) are the NTK, docs/theory.md (2.1), of networks with the weights (C_W/n) s_a
    and with signs. Negative control: the weights that were drawn."""
    (parameters, z, signals, _), slope, distinct, equal = measured_ntk(name)
    n = WIDTHS[-1]

    def of(last: Tensor) -> Tensor:
        layers = dense.Parameters([*parameters.W[:-1], last], parameters.b)
        return dense.ntk(layers, [*z[:-1], signals[-1] @ last.mT], signals, slope, LAMBDA_B, LAMBDA_W)

    own = dense.kernel(signals[-1], LAMBDA_B[-1], LAMBDA_W[-1])  # the last layer's own part, of equal outputs
    H = of(C_W / n * signals[-1]) - torch.einsum("ab,mcd->macbd", torch.eye(D, dtype=own.dtype), own)
    torch.testing.assert_close(distinct, H.permute(0, 1, 3, 2, 4), rtol=1e-10, atol=1e-13)
    for last, same in ((parameters.W[-1].sign() * (C_W / n) ** 0.5, True), (parameters.W[-1], False)):
        want = torch.einsum("miaib->mab", of(last)) / 2
        assert torch.allclose(equal, want, rtol=1e-10) == same


def test_the_ntk_has_the_means_of_gaussian_weights() -> None:
    """Means of H_ii and z_i z_j H_ij over Gaussian last layers on the same layers below, docs/theory.md (7.19). False
    alarms: FALSE_ALARM. Negative control: columns that are 30 % off."""
    (parameters, _, signals, _), slope, distinct, _ = measured_ntk("swish")
    networks, n, limit = 10_000, WIDTHS[-1], norm.isf(FALSE_ALARM / 2 / 19)
    generator = torch.Generator().manual_seed(4)
    last = torch.randn(networks, 2, n, dtype=torch.float64, generator=generator) * (C_W / n) ** 0.5
    W = [*(W[:1].expand(networks, -1, -1) for W in parameters.W[:-1]), last]
    many = dense.Parameters(W, [b[:1].expand(networks, -1) for b in parameters.b])
    z = [f[:1].expand(networks, -1, -1) for f in drawn("swish")[1][:-1]]
    s = [layer[:1].expand(networks, -1, -1) for layer in signals]
    outputs = s[-1] @ last.mT
    H = dense.ntk(many, [*z, outputs], s, slope, LAMBDA_B, LAMBDA_W)
    products = torch.einsum("ma,mb,mcd->mabcd", outputs[..., 0], outputs[..., 1], H[:, 0, :, 1])

    def largest(factor: float) -> float:
        # Of all signs of one output the mean of H_ii is that of Gaussian weights, so that its column is averaged.
        patterns = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * n)[None].expand(M, -1, -1)
        exact = factor * measured_ntk("swish", patterns)[3][0]
        found = [(H[:, 0, :, 0] - exact).flatten(1), (products - factor * distinct[0]).flatten(1)]
        return max(float((x.mean(0) / (x.std(0) / networks**0.5)).abs().max()) for x in found)

    assert largest(1.0) < limit
    assert largest(1.3) > limit


RUN = (*SETTINGS, "inputs.count=2", "workers=1", "ensemble.networks=3", "observables.record=[ntk_signs,ddntk_signs]")


def test_signs_are_recorded(tmp_path: object) -> None:
    """Columns are the components that symmetry leaves, of networks with weights."""
    data = simulate.run(*RUN, f"output={tmp_path}/a")
    assert data.settings["ensemble"]["sampler"] == "dense"
    for family, components in zip(["F", "Hs", *"PQRSTU"], (10, 3, 12, 16, 12, 10, 10, 10), strict=True):
        found = data.read(family)[:, 0, -1]
        assert found.shape == (3, components)
        assert np.isfinite(found).all()
        assert (found != 0).all()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("network.outputs=1", r"network\.outputs=1: ddntk_signs needs two outputs"),
        ("ensemble.sampler=law", r"ensemble\.sampler='law': ntk_signs, ddntk_signs needs the weights.* dense"),
    ],
)
def test_what_has_no_signs(tmp_path: object, override: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        simulate.run(*RUN, override, f"output={tmp_path}/a")


def test_a_network_of_one_layer_has_no_signs(tmp_path: object) -> None:
    for record in ("ntk_signs", "ddntk_signs"):
        shallow = ("network.depth=1", "network.outputs=2", f"observables.record=[{record}]")
        with pytest.raises(SettingsError, match=rf"network\.depth=1: {record} needs a hidden layer"):
            simulate.run(*shallow, f"output={tmp_path}/a")
