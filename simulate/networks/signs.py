"""Means of products of differentials over a last layer whose weights are signs, docs/theory.md (7.17).

P to U hold each of two outputs twice, so that their means know of the last layer's weights the covariance alone. Signs
of size sqrt(C_W/n) have the covariance of the Gaussian weights and less noise. M counts networks, D samples, n neurons
of a layer. i is one of two outputs and j the other one; a, b, c and d are samples, p is a pair (c, d).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from simulate.networks.dense import Parameters

Functions = tuple[Callable[[Tensor], Tensor], ...]  # s and its derivatives
TENSORS = 6  # P, Q, R, S, T and U


@dataclass(frozen=True)
class _Layer:
    """A hidden layer on the way up. W, (M, n_l, n), is its own, and s, (M, D, n), belongs to the layer below.

    rate: lambda_W/n. kappa (M, D, D): lambda_b + lambda_W/n s_a . s_b. ds, dds: the first and second derivatives of s
    at sample a along the direction (j, c), (M, 2, D, D, n), and along both directions (j, c) and (j, d), (M, 2, pairs,
    D, n). dz, ddz: those of this layer's z.
    """

    W: Tensor
    s: Tensor
    rate: float
    kappa: Tensor
    ds: Tensor
    dds: Tensor
    dz: Tensor
    ddz: Tensor


def signs(
    parameters: Parameters,
    z: list[Tensor],
    signals: list[Tensor],
    functions: Functions,
    lambda_b: tuple[float, ...],
    lambda_W: tuple[float, ...],
    C_W: float,
) -> Tensor:
    """The products of docs/theory.md (7.6) whose means are P to U over n, (6, M, D, D, D, D) float64.

    They are averaged over the exchange of the two outputs; samples are in the order of the indices a, b, c, d of the
    differentials. The last layer's weights are signs, those of the drawn ones, and z of P and Q is integrated out:
    docs/theory.md (7.17). z, signals: those of `simulate.networks.dense.forward`, of a network with two outputs or more
    and a hidden layer.
    """
    slopes = [[f(layer) for f in functions[1:4]] for layer in z[:-1]]
    s, hidden = signals, parameters.W[:-1]
    M, D, n = s[-1].shape
    top = torch.where(parameters.W[-1][:, :2] < 0, -1.0, 1.0).to(s[-1].dtype) * (C_W / n) ** 0.5  # (M, 2, n)
    of_z = C_W / n * s[-1]  # the last layer's weights times z at each sample, integrated over these weights, (M, D, n)
    outputs = torch.cat([top, of_z], dim=1)[:, :, None].expand(-1, -1, D, -1)
    u, w = _backward(outputs, hidden, [first for first, _, _ in slopes])
    pairs = torch.triu_indices(D, D, device=top.device)
    layers, ds, dds = _forward(hidden, s, slopes, u, pairs, lambda_b, lambda_W)
    rate = lambda_W[-1] / n
    found = torch.zeros(TENSORS, M, D, D, D, D, dtype=top.dtype, device=top.device)
    P, Q, R, S, T, U = found
    place = torch.empty(D, D, dtype=torch.long, device=top.device)
    place[pairs[0], pairs[1]] = place[pairs[1], pairs[0]] = torch.arange(pairs.shape[1], device=top.device)
    P += torch.einsum("mjpan,mdn->mapd", dds, of_z)[:, :, place]
    R += rate * torch.einsum("mjpan,mbn->mabp", dds, s[-1])[..., place]
    S += rate * torch.einsum("mjcan,mjdbn->mabcd", ds, ds)
    # dw, du: derivatives of w and u of the output (i, a) along (j, c), (M, 2, D, 2, D, n). ddw, ddu: along (j, c) and
    # (j, d) with j != i, (M, 2, D, pairs, n).
    moved = rate * torch.eye(2, dtype=top.dtype, device=top.device)[None, :, None, :, None, None]
    dw = moved * s[-1][:, None, None, None].expand(-1, 2, D, 1, -1, -1)
    ddw = torch.zeros(M, 2, D, pairs.shape[1], n, dtype=top.dtype, device=top.device)
    for k in reversed(range(len(layers))):
        layer, own = layers[k], u[k][:, :2]
        s1, s2, s3 = slopes[k]
        along = layer.dz.permute(0, 3, 1, 2, 4)  # (M, D, 2, D, n)
        du = s1[:, None, :, None, None] * dw + (w[k] * s2[:, None])[:, :, :, None, None] * along[:, None]
        left, right = layer.dz.flip(1).transpose(2, 3)[:, :, :, pairs].unbind(3)  # (M, 2, D, pairs, n)
        bent_left, bent_right = _other(dw)[:, :, :, pairs].unbind(3)
        ddu = s1[:, None, :, None] * ddw + s2[:, None, :, None] * (bent_left * right + bent_right * left)
        twice = layer.ddz.flip(1).transpose(2, 3)
        ddu = ddu + w[k][:, :, :, None] * (s3[:, None, :, None] * left * right + s2[:, None, :, None] * twice)
        other, same = _other(du), torch.stack([du[:, 0, :, 0], du[:, 1, :, 1]], dim=1)
        Q += _q(layer, own, u[k][:, 2:], same)
        R += _r(layer, own, other, ddu, pairs)[..., place]
        S += _product(layer, (other, own, layer.ds.flip(1)), (other, own, layer.ds.flip(1)))
        T += _product(layer, (same, own, layer.ds), (same.flip(1), own.flip(1), layer.ds.flip(1)))
        U += _product(layer, (other, own, layer.ds.flip(1)), (other.flip(1), own.flip(1), layer.ds))
        if k:
            dw = _through(du, layer.W)
            dw += layer.rate * torch.einsum("mian,mjcn,mcv->miajcv", own, own, layer.s)
            ddw = _through(ddu, layer.W)
            products = layer.rate * torch.einsum("miacn,midn->miacd", other, own.flip(1))
            for first, second in (pairs, pairs.flip(0)):
                ddw += products[..., first, second, None] * layer.s[:, None, None, second]
    return found.double() / 2


def ntk_signs(
    parameters: Parameters,
    signals: list[Tensor],
    slopes: list[Tensor],
    lambda_b: tuple[float, ...],
    lambda_W: tuple[float, ...],
    C_W: float,
) -> tuple[Tensor, Tensor]:
    """The mean of z_i;a z_j;b H_ij;cd over the last layer's weights, given the layers below, (M, D, D, D, D) float64,
    and H_ii;ab with signs for these weights, averaged over the outputs, (M, D, D) float64: docs/theory.md (7.19).

    signals: s(0), s(1), ..., each (M, D, n_l). slopes: s'(z(l)) of the hidden layers, one or more.
    """
    M, D, n = signals[-1].shape
    weights = torch.where(parameters.W[-1] < 0, -1.0, 1.0).to(signals[-1].dtype) * (C_W / n) ** 0.5
    outputs = torch.cat([weights, C_W / n * signals[-1]], dim=1)[:, :, None].expand(-1, -1, D, -1)
    u, _ = _backward(outputs, parameters.W[:-1], slopes)
    rate, count = lambda_W[-1] / n, weights.shape[1]
    equal = lambda_b[-1] + rate * torch.bmm(signals[-1], signals[-1].mT).double()
    distinct = equal.new_zeros(M, D, D, D, D)
    for k, (below, vectors) in enumerate(zip(signals[:-1], u, strict=True)):
        kappa = lambda_b[k] + lambda_W[k] / below.shape[2] * torch.bmm(below, below.mT)
        own, of_z = vectors[:, :count].transpose(1, 2).flatten(2), vectors[:, count:]
        equal += (torch.bmm(own, own.mT) * kappa).double() / count
        distinct += torch.einsum("macn,mbdn,mcd->mabcd", of_z, of_z, kappa).double()
    return distinct, equal


def _backward(outputs: Tensor, W: list[Tensor], slopes: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """dz/dz(l) of all outputs (M, E, D, n_l), with the last layer's weights (M, E, D, n), and dz/ds(l) of the first
    two."""
    w, us, ws = outputs, list[Tensor](), list[Tensor]()
    for k in reversed(range(len(W))):
        u = w * slopes[k][:, None]
        us.insert(0, u)
        ws.insert(0, w[:, :2])
        if k:
            w = _through(u, W[k])
    return us, ws


def _forward(
    W: list[Tensor],
    s: list[Tensor],
    slopes: list[list[Tensor]],
    u: list[Tensor],
    pairs: Tensor,
    lambda_b: tuple[float, ...],
    lambda_W: tuple[float, ...],
) -> tuple[list[_Layer], Tensor, Tensor]:
    """The hidden layers, and ds and dds of the topmost."""
    M, D, _ = s[0].shape
    ds = s[0].new_zeros(M, 2, D, D, s[0].shape[2])
    dds = s[0].new_zeros(M, 2, pairs.shape[1], D, s[0].shape[2])
    layers = []
    for k, weights in enumerate(W):
        rate, own = lambda_W[k] / weights.shape[2], u[k][:, :2]
        kappa = lambda_b[k] + rate * torch.bmm(s[k], s[k].mT)
        dz = own[:, :, :, None] * kappa[:, None, :, :, None]
        ddz = dz.new_zeros(M, 2, pairs.shape[1], D, weights.shape[1])
        if k:  # the inputs do not move
            dz = dz + _through(ds, weights.mT)
            pulled = rate * torch.einsum("mcn,mjdan->mjcda", s[k], ds)
            ddz = _through(dds, weights.mT)
            for first, second in (pairs, pairs.flip(0)):
                ddz += own[:, :, first, None] * pulled[:, :, first, second, :, None]
        layers.append(_Layer(weights, s[k], rate, kappa, ds, dds, dz, ddz))
        s1, s2, _ = (slope[:, None, None] for slope in slopes[k])
        left, right = dz[:, :, pairs].unbind(2)
        ds, dds = s1 * dz, s2 * left * right + s1 * ddz
    return layers, ds, dds


def _through(vectors: Tensor, W: Tensor) -> Tensor:
    """(M, ..., n) times (M, n, n') -> (M, ..., n')"""
    return torch.bmm(vectors.flatten(1, -2), W).unflatten(1, vectors.shape[1:-1])


def _other(x: Tensor) -> Tensor:
    """What belongs to each output i along the directions of the other one: (M, 2, D, 2, D, n) -> (M, 2, D, D, n)."""
    return torch.stack([x[:, 0, :, 1], x[:, 1, :, 0]], dim=1)


def _q(layer: _Layer, own: Tensor, of_z: Tensor, same: Tensor) -> Tensor:
    """The layer's part of dH_iij;abc z_j;d, summed over i. of_z (M, D, D, n): u of the output that stands for z_j;d."""
    part = torch.einsum("miabn,mdcn,mac->mabcd", same, of_z, layer.kappa)
    ds_s = torch.einsum("mibav,mcv->miabc", layer.ds, layer.s)
    return part + layer.rate * torch.einsum("mian,mdcn,miabc->mabcd", own, of_z, ds_s)


def _r(layer: _Layer, own: Tensor, other: Tensor, ddu: Tensor, pairs: Tensor) -> Tensor:
    """The layer's part of ddI_iijj;abcd, summed over i, (M, D, D, pairs)."""
    part = torch.einsum("miapn,mibn,mab->mabp", ddu, own, layer.kappa)
    du_u = torch.einsum("miacn,mibn->miabc", other, own)
    ds_s = torch.einsum("midav,mbv->miabd", layer.ds.flip(1), layer.s)
    for first, second in (pairs, pairs.flip(0)):
        part = part + layer.rate * (du_u[..., first] * ds_s[..., second]).sum(dim=1)
    dds_s = torch.einsum("mipav,mbv->miabp", layer.dds.flip(1), layer.s)
    return part + layer.rate * torch.einsum("mian,mibn,miabp->mabp", own, own, dds_s)


def _product(layer: _Layer, x: tuple[Tensor, Tensor, Tensor], y: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """The layer's part of the product of two Hessians on a direction each, the first with a and c, the second with b
    and d, summed over outputs. x, y: du, u and ds of each, by outputs."""
    (dux, ux, dsx), (duy, uy, dsy) = x, y
    part = torch.einsum("miacn,mibdn,mab->mabcd", dux, duy, layer.kappa)
    du_u, ds_s = torch.einsum("miacn,mibn->miabc", dux, uy), torch.einsum("midbv,mav->miabd", dsy, layer.s)
    u_du, s_ds = torch.einsum("mian,mibdn->miabd", ux, duy), torch.einsum("micav,mbv->miabc", dsx, layer.s)
    mixed = torch.einsum("miabc,miabd->mabcd", du_u, ds_s) + torch.einsum("miabc,miabd->mabcd", s_ds, u_du)
    part = part + layer.rate * mixed
    tangents = torch.einsum("micav,midbv->miabcd", dsx, dsy)
    return part + layer.rate * torch.einsum("mian,mibn,miabcd->mabcd", ux, uy, tangents)
