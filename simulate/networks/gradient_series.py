"""Power series along a network's own gradient: derivatives of H = D z with D = lambda grad z . grad, docs/theory.md
(17.20).

Parameters move by d theta/dt = lambda grad z_p, for each output p = (i, a) on its own. Order by order in t the forward
pass gives z(t) and s(t), and the backward pass u(t). The change of W(l) is a sum of products u s^T, so that it costs
dot products. Series are lists of their coefficients of t^k, (M, P, n) each, for M networks and P = n_L D outputs.
"""

import math
import operator
from collections.abc import Iterable
from functools import reduce

import torch
from torch import Tensor

from simulate.networks.dense import Parameters
from simulate.networks.differentials import Functions

Series = list[Tensor]


def along_gradient(
    parameters: Parameters,
    z: list[Tensor],
    signals: list[Tensor],
    functions: Functions,
    lambda_b: tuple[float, ...],
    lambda_W: tuple[float, ...],
    order: int,
) -> Tensor:
    """D^k H of each output at its own sample, k = 0..order, (M, order + 1, P) float64 (docs/theory.md (17.20)).

    functions: s and its first order + 1 derivatives.
    """
    M, D, outputs = z[-1].shape
    own = torch.arange(D, device=z[-1].device).repeat(outputs)
    series = _Series(parameters, z, signals, functions, lambda_b, lambda_W, own)
    eye = torch.eye(outputs, dtype=torch.float64, device=own.device).repeat_interleave(D, dim=0).expand(M, -1, -1)
    found = []
    for k in range(order + 1):
        if k:
            series.forward(k)
        series.backward(k, eye if k == 0 else torch.zeros_like(eye))
        found.append(math.factorial(k) * series.ntk(k))
    return torch.stack(found, dim=1)


class _Series:
    """Layer l of weights, counted from 0, has the input s[l] and the vector u[l] = dz_p/dz of its neurons."""

    def __init__(
        self,
        parameters: Parameters,
        z: list[Tensor],
        signals: list[Tensor],
        functions: Functions,
        lambda_b: tuple[float, ...],
        lambda_W: tuple[float, ...],
        own: Tensor,
    ):
        self.W = [W.double() for W in parameters.W]
        self.rates = [(b, rate / W.shape[-1]) for b, rate, W in zip(lambda_b, lambda_W, self.W, strict=False)]
        at = [layer.double()[:, own] for layer in z[:-1]]
        # s(z + d) = sum_m taylor[m] d^m
        self.taylor = [[f(layer) / math.factorial(m) for m, f in enumerate(functions)] for layer in at]
        self.s: list[Series] = [[signals[0].double()[:, own]], *([taylor[0]] for taylor in self.taylor)]
        self.moved: list[Series] = [[torch.zeros_like(layer)] for layer in at]  # z(t) - z(0)
        self.u: list[Series] = [[] for _ in self.W]
        self.w: list[Series] = [[] for _ in self.W]  # u W

    def forward(self, k: int) -> None:
        """The coefficients of t^k of z and s, from those of u and s below k."""
        self.s[0].append(torch.zeros_like(self.s[0][0]))
        for l, W in enumerate(self.W[:-1]):
            moved = self.rates[l][0] / k * self.u[l][k - 1] + torch.bmm(self.s[l][k], W.mT)
            for i, a in _pairs(k):  # W moves by rate/i u^a s^(i-1-a) at order i
                moved += self.rates[l][1] / i * _dot(self.s[l][i - 1 - a], self.s[l][k - i]) * self.u[l][a]
            self.moved[l].append(moved)
            self.s[l + 1].append(_total(self.taylor[l][m] * _power(self.moved[l], m, k) for m in range(1, k + 1)))

    def backward(self, k: int, top: Tensor) -> None:
        """The coefficients of t^k of u, from those of u and s below k and that of z."""
        self.u[-1].append(top)
        for l in range(len(self.W) - 1, 0, -1):
            w = torch.bmm(self.u[l][k], self.W[l])
            for i, a in _pairs(k):
                w += self.rates[l][1] / i * _dot(self.u[l][a], self.u[l][k - i]) * self.s[l][i - 1 - a]
            self.w[l].append(w)
            self.u[l - 1].append(_total(self.w[l][i] * self._slope(l - 1, k - i) for i in range(k + 1)))

    def _slope(self, l: int, k: int) -> Tensor:
        """The coefficient of t^k of s'(z(t))."""
        taylor = [(m + 1) * t for m, t in enumerate(self.taylor[l][1:])]
        return taylor[0] if k == 0 else _total(taylor[m] * _power(self.moved[l], m, k) for m in range(1, k + 1))

    def ntk(self, k: int) -> Tensor:
        """The coefficient of t^k of H, (M, P)."""
        found = torch.zeros(self.u[0][0].shape[:2], dtype=torch.float64, device=self.u[0][0].device)
        for u, s, (rate_b, rate_W) in zip(self.u, self.s, self.rates, strict=True):
            uu, ss = _square(u, k), _square(s, k)
            found += rate_b * uu[k] + rate_W * _total(uu[a] * ss[k - a] for a in range(k + 1))
        return found


def _pairs(k: int) -> list[tuple[int, int]]:
    return [(i, a) for i in range(1, k + 1) for a in range(i)]


def _total(terms: Iterable[Tensor]) -> Tensor:
    return reduce(operator.add, terms)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """(M, P, n), (M, P, n) -> (M, P, 1)"""
    return (a * b).sum(dim=-1, keepdim=True)


def _square(series: Series, k: int) -> list[Tensor]:
    """The coefficients of t^0 to t^k of the squared length, (M, P) each."""
    return [_total(_dot(series[i], series[j - i]) for i in range(j + 1))[..., 0] for j in range(k + 1)]


def _power(series: Series, m: int, k: int) -> Tensor:
    """The coefficient of t^k of the m-th power of a series that begins with t."""
    if m == 1:
        return series[k]
    return _total(series[j] * _power(series, m - 1, k - j) for j in range(1, k - m + 2))
