"""The last layer given targets, exactly at any width, docs/theory.md (16.3).

Given the kernel g of the last layer, its outputs are Gaussian. So the evidence of targets is known for each network,
and the last layer of a network of the prior becomes one of the posterior by one solve. M counts networks, D samples, N
train samples, which come first, and n_L outputs.
"""

import math

import torch
from torch import Tensor

from simulate.networks import streams
from simulate.networks.dense import Parameters, kernel
from simulate.networks.streams import Stream
from simulate.settings import Settings


def _factor(g: Tensor, noise: float, N: int) -> Tensor:
    """C with C C^T = g_AA + noise, (M, N, N) float64; NaN where rounding leaves no factor."""
    M = g[:, :N, :N] + noise * torch.eye(N, dtype=g.dtype, device=g.device)
    C, failed = torch.linalg.cholesky_ex(M)
    return C.masked_fill((failed != 0)[:, None, None], math.nan)


def processes(g: Tensor, y: Tensor, noise: float, log_ratio: Tensor | float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """log w (M,), and the means (M, n_L, D) and the variance (M, D) of outputs given targets y (N, n_L) and the kernel
    g (M, D, D), float64: docs/theory.md (16.1) and (16.2). log_ratio: log prior over proposal, which log w holds, too.
    """
    (N, outputs), y = y.shape, y.double()
    C = _factor(g, noise, N)
    sides = torch.cat([y.expand(len(C), N, outputs), g[:, :N]], dim=2)
    of_y, of_g = torch.linalg.solve_triangular(C, sides, upper=False).split([outputs, g.shape[1]], dim=2)
    variances = g.diagonal(dim1=1, dim2=2) - of_g.square().sum(dim=1)
    return _log_w(C, of_y) + log_ratio, of_y.mT @ of_g, variances


def _log_w(C: Tensor, of_y: Tensor) -> Tensor:
    """psi of docs/theory.md (16.1), (M,), from the factor C of M and C^-1 y (M, N, n_L)."""
    N, outputs = of_y.shape[1:]
    log_det = 2 * C.diagonal(dim1=1, dim2=2).log().sum(dim=1)
    return -of_y.square().sum(dim=(1, 2)) / 2 - outputs / 2 * (log_det + N * math.log(2 * math.pi))


def log_evidence(g: Tensor, y: Tensor, noise: float) -> Tensor:
    """log w = psi(g) of docs/theory.md (16.1), (M,) float64, of targets y (N, n_L) under the kernel g (M, D, D)."""
    (N, outputs), y = y.shape, y.double()
    C = _factor(g, noise, N)
    of_y = torch.linalg.solve_triangular(C, y.expand(len(C), N, outputs), upper=False)
    return _log_w(C, of_y)


def moves(settings: Settings, g: Tensor, z: Tensor, y: Tensor, stream: Stream) -> Tensor:
    """M^-1 (y_i - z_iA - eps_i) of docs/theory.md (16.3), (M, N, n_L) float64, for outputs z (M, N, n_L) of the prior
    and fresh noise eps."""
    assert settings.ensemble.condition is not None
    noise, (N, outputs) = settings.ensemble.condition.noise, y.shape
    eps = stream.normal(streams.NOISE, settings.network.depth, N, outputs, scale=math.sqrt(noise))
    return torch.cholesky_solve(y.double() - z.double() - eps.double(), _factor(g, noise, N))


def condition_drawn(settings: Settings, g: Tensor, C: Tensor, xi: Tensor, y: Tensor, stream: Stream) -> Tensor:
    """xi of layer L given targets, (M, D, n_L): z = C xi with C C^T = g becomes an output of the posterior, and what
    xi does not reveal of the weights stays as it is, docs/theory.md (16.3)."""
    rows = C[:, : len(y)]
    return xi + (rows.mT @ moves(settings, g, rows @ xi.double(), y, stream)).to(xi.dtype)


def condition(settings: Settings, parameters: Parameters, z: Tensor, s: Tensor, y: Tensor, stream: Stream) -> None:
    """Take the last layer to a draw given targets, in place, docs/theory.md (16.3).

    z: outputs (M, D, n_L), s: activations (M, D, n_{L-1}) that the last layer reads.
    """
    C_b, C_W, N = settings.initialization.C_b, settings.C_W(parameters.depth), len(y)
    g = kernel(s[:, :N], C_b, C_W)
    moved = moves(settings, g, z[:, :N], y, stream)
    V, b = parameters.W[-1].mT, parameters.b[-1]
    V.add_((s[:, :N].mT.double() @ moved).mul_(C_W / s.shape[-1]).to(V.dtype))
    b.add_(moved.sum(dim=1).mul_(C_b).to(b.dtype))
