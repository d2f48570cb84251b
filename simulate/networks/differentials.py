"""Differentials of the NTK by nested directional derivatives, docs/theory.md section 3: dH, and the two kinds of ddH.

The direction v_k = lambda grad z_k of output k = (i, a) is rank one in each layer, W(l) += (lambda_W/n) u_k s_k^T, so
that moving along it costs dot products of backpropagated vectors u and activations s. Everything of one network shares
one forward and one backward pass. Indices: p, q, r and k, m run over the n_L D outputs (i, a); M networks.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from simulate.networks.dense import Parameters, pulled, skip_into
from simulate.numerics.products import pull_back

Functions = tuple[Callable[[Tensor], Tensor], ...]  # s and its first four derivatives


@dataclass(frozen=True)
class _Layer:
    """The arrays of one layer: W and u are its own, s belongs to the layer below, and n is n_{l-1}."""

    W: Tensor  # (M, n_l, n)
    s: Tensor  # (M, P, n) activations below at each output's own sample
    u: Tensor  # (M, P, n_l) dz_p / dz(l)
    w: Tensor  # (M, P, n) u W, not yet multiplied by s'
    rate_b: float  # lambda_b
    rate_W: float  # lambda_W / n
    UU: Tensor  # (M, P, P)
    SS: Tensor  # (M, P, P)
    skip: float  # gamma of the skip into the layer


def differentials(
    parameters: Parameters,
    z: list[Tensor],
    signals: list[Tensor],
    functions: Functions,
    lambda_b: tuple[float, ...],
    lambda_W: tuple[float, ...],
    second: bool,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """dH[p, q, k], ddI[p, k, m, r] and ddII[p, q, k, m] (docs/theory.md (3.1), (3.2), (3.3)) at the output, in float64.

    dH_pqk is the second derivative of z_p along v_q and v_k; ddI the third along three; ddII pairs the Hessian of z_p
    applied to v_k with that of z_q applied to v_m. The latter two only if `second`. Shapes (M, P, P, P[, P]).
    """
    M, D, outputs = z[-1].shape
    own = torch.arange(D, device=z[-1].device).repeat(outputs)  # the sample of each output p = (i, a)
    z = [layer.double() for layer in z]
    slopes = [[f(layer) for f in functions[1:4]] for layer in z[:-1]]
    layers = _backward(parameters, signals, [d[0] for d in slopes], own, outputs, lambda_b, lambda_W)

    # Forward tangents at every output's own sample: ds[k, p] = derivative of s_p below along v_k, (M, K, P, n).
    P = outputs * D
    ds: list[Tensor | None] = [None]
    dz: list[Tensor] = []
    dds: list[Tensor | None] = [None]
    ddz: list[Tensor] = []
    for at, layer in enumerate(layers[:-1]):
        kappa = layer.rate_b + layer.rate_W * layer.SS
        moved = torch.einsum("mkn,mkp->mkpn", layer.u, kappa)
        below = ds[-1]
        if below is not None:
            moved = moved + torch.einsum("mkpj,mij->mkpi", below, layer.W)
        if layer.skip:
            moved = moved + layer.skip * dz[-1]
        s1, s2 = slopes[at][0][:, own], slopes[at][1][:, own]
        if second:
            twice = torch.zeros(M, P, P, P, layer.u.shape[-1], dtype=torch.float64, device=own.device)
            if below is not None:
                # delta_k W ds_m + delta_m W ds_k + W dds
                pulled = layer.rate_W * torch.einsum("mkj,mlpj->mklp", layer.s, below)
                half = torch.einsum("mkn,mklp->mklpn", layer.u, pulled)
                twice = half + half.transpose(1, 2)
                twice = twice + torch.einsum("mklpj,mij->mklpi", _known(dds[-1]), layer.W)
            if layer.skip:
                twice = twice + layer.skip * ddz[-1]
            ddz.append(twice)
            dds.append(s2[:, None, None] * moved[:, :, None] * moved[:, None] + s1[:, None, None] * twice)
        dz.append(moved)
        ds.append(s1[:, None] * moved)

    dH = torch.zeros(M, P, P, P, dtype=torch.float64, device=own.device)
    ddI, ddII = (torch.zeros(M, P, P, P, P, dtype=torch.float64, device=own.device) for _ in range(2))
    du = torch.zeros(M, P, P, outputs, dtype=torch.float64, device=own.device)  # du[p, k]: of u_p along v_k
    ddu = torch.zeros(M, P, P, P, outputs, dtype=torch.float64, device=own.device)
    for at in reversed(range(len(layers))):
        layer, below = layers[at], ds[at]
        kappa = layer.rate_b + layer.rate_W * layer.SS
        duu = torch.einsum("mpkn,mqn->mpkq", du, layer.u)
        dH += torch.einsum("mpkq,mpq->mpqk", duu, kappa)
        if below is not None:
            dss = torch.einsum("mkpj,mqj->mpkq", below, layer.s)  # ds_p along v_k times s_q
            dH += layer.rate_W * torch.einsum("mpq,mpkq->mpqk", layer.UU, dss)
        if second:
            dudu = torch.einsum("mpkn,mqln->mpqkl", du, du)
            ddII += torch.einsum("mpqkl,mpq->mpqkl", dudu, kappa)
            ddI += torch.einsum("mpkln,mrn,mpr->mpklr", ddu, layer.u, kappa)
            if below is not None:
                cross = layer.rate_W * torch.einsum("mpkq,mqlp->mpqkl", duu, dss)
                ddII += cross + cross.permute(0, 2, 1, 4, 3)
                dsds = torch.einsum("mkpj,mlqj->mpqkl", below, below)
                ddII += layer.rate_W * torch.einsum("mpq,mpqkl->mpqkl", layer.UU, dsds)
                mixed = layer.rate_W * torch.einsum("mpkr,mplr->mpklr", duu, dss)
                ddI += mixed + mixed.transpose(2, 3)
                curved = torch.einsum("mklpj,mrj->mpklr", _known(dds[at]), layer.s)
                ddI += layer.rate_W * torch.einsum("mpr,mpklr->mpklr", layer.UU, curved)
        if at == 0:
            break
        s1, s2, s3 = (d[:, own] for d in slopes[at - 1])
        forward = dz[at - 1].transpose(1, 2)  # [p, k]
        # u W moves by du W + u delta_k W
        dw = torch.einsum("mpkn,mnj->mpkj", du, layer.W) + layer.rate_W * torch.einsum(
            "mpk,mkj->mpkj", layer.UU, layer.s
        )
        if second:
            ddw = torch.einsum("mpkln,mnj->mpklj", ddu, layer.W)
            half = layer.rate_W * torch.einsum("mpkl,mlj->mpklj", duu, layer.s)
            ddw = ddw + half + half.transpose(2, 3)
            bent = s2[:, :, None, None] * dw[:, :, :, None] * forward[:, :, None]
            around = _added(ddu, layer)
            ddu = s1[:, :, None, None] * ddw + bent + bent.transpose(2, 3)
            product = forward[:, :, :, None] * forward[:, :, None]
            twice = ddz[at - 1].permute(0, 3, 1, 2, 4)
            ddu = ddu + layer.w[:, :, None, None] * (s3[:, :, None, None] * product + s2[:, :, None, None] * twice)
            ddu = ddu + around
        du = s1[:, :, None] * dw + (layer.w * s2)[:, :, None] * forward + _added(du, layer)
    return (dH, ddI, ddII) if second else (dH, None, None)


def fourth(
    parameters: Parameters,
    z: list[Tensor],
    signals: list[Tensor],
    functions: Functions,
    lambda_b: tuple[float, ...],
    lambda_W: tuple[float, ...],
) -> Tensor:
    """The fourth derivative of each output z_p along its own direction v_p, (M, n_L D) float64: the Taylor coefficients
    of z_p(theta + t v_p) in t, layer by layer."""
    _, D, outputs = z[-1].shape
    own = torch.arange(D, device=z[-1].device).repeat(outputs)
    z = [layer.double() for layer in z]
    slopes = [[f(layer) for f in functions[1:]] for layer in z[:-1]]
    layers = _backward(parameters, signals, [d[0] for d in slopes], own, outputs, lambda_b, lambda_W)
    jet = [layers[0].s, *([torch.zeros_like(layers[0].s)] * 4)]  # derivatives of s below, (M, P, n) each
    dz: list[Tensor] = []
    for at, layer in enumerate(layers):
        below, dz = dz, []
        for k in range(1, 5):
            along = k * layer.rate_W * (layer.s * jet[k - 1]).sum(dim=-1, keepdim=True)
            if k == 1:
                along = along + layer.rate_b
            dz.append(torch.bmm(jet[k], layer.W.mT) + along * layer.u)
            if layer.skip:
                dz[-1] = dz[-1] + layer.skip * below[k - 1][..., : dz[-1].shape[-1]]
        if at == len(layers) - 1:
            neuron = torch.arange(outputs, device=own.device).repeat_interleave(D)
            return dz[3][:, torch.arange(len(own)), neuron]
        z1, z2, z3, z4 = dz
        f1, f2, f3, f4 = (d[:, own] for d in slopes[at])
        jet = [
            layers[at + 1].s,
            f1 * z1,
            f2 * z1**2 + f1 * z2,
            f3 * z1**3 + 3 * f2 * z1 * z2 + f1 * z3,
            f4 * z1**4 + 6 * f3 * z1**2 * z2 + f2 * (3 * z2**2 + 4 * z1 * z3) + f1 * z4,
        ]
    raise AssertionError("a network has layers")


def _backward(
    parameters: Parameters,
    signals: list[Tensor],
    slopes: list[Tensor],
    own: Tensor,
    outputs: int,
    lambda_b: tuple[float, ...],
    lambda_W: tuple[float, ...],
) -> list[_Layer]:
    M, P = len(parameters.b[0]), len(own)
    u = torch.eye(outputs, dtype=torch.float64, device=own.device)
    u = u.repeat_interleave(P // outputs, dim=0).expand(M, P, outputs)
    layers = []
    for at in reversed(range(parameters.depth)):
        W, s = parameters.W[at].double(), signals[at].double()[:, own]
        w = pull_back(u, W.mT)
        rates = lambda_b[at], lambda_W[at] / W.shape[-1]
        layers.append(_Layer(W, s, u, w, *rates, torch.bmm(u, u.mT), torch.bmm(s, s.mT), skip_into(parameters, at + 1)))
        if at:
            v = (w.unflatten(1, (outputs, -1)) * slopes[at - 1][:, None]).flatten(1, 2)
            u = pulled(parameters, at + 1, u, v)
    return layers[::-1]


def _added(above: Tensor, layer: _Layer) -> Tensor | float:
    """What a skip into a layer takes from it to the layer below, which may have more neurons than are left of it."""
    if not layer.skip:
        return 0.0
    return torch.nn.functional.pad(layer.skip * above, (0, layer.W.shape[2] - above.shape[-1]))


def _known(value: Tensor | None) -> Tensor:
    assert value is not None
    return value
