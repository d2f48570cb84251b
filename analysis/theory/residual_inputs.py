"""Residual networks at order 1/n, several inputs: V, docs/theory.md (11.6).

A tower of several inputs is the joint cumulant of a function of one neuron with a product of another one. It is a sum
over the layers below, of covariances of the one layer's s_a s_b with that function of the neuron in the other layer.
"""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from analysis.theory.activations import Activation, Array
from analysis.theory.gaussian import Expectations
from analysis.theory.layer import Layer


def vertex(s: Activation, layers: Sequence[Layer], points: int | None) -> Array:
    """V of layers 1 .. L by docs/theory.md (11.6), (L, D, D, D, D). layers: the L - 1 steps. points: of
    `Expectations`."""
    D = layers[0].expectations.D
    found = [np.zeros((D,) * 4)]
    for l, here in enumerate(layers):
        K, V, memory = here.expectations.K, found[-1], _tower(s, layers[: l + 1], points)
        both = np.einsum("cp,dq->cdpq", K, K)
        sloped = here.second(0, (both + both.transpose(0, 1, 3, 2)) / 2)  # <s_a s_b (z_c z_d - K_cd)>, c and d first
        mixed = here.skip**2 * here.C_W * sloped + here.C_W * _first(here, memory)
        source = here.C_W**2 * here.connected(0, 0, 0, 0)
        around = _first(here, _flow(here, V))
        found.append(source + around + mixed + mixed.transpose(2, 3, 0, 1))
    return np.array(found)


def _flow(here: Layer, X: Array) -> Array:
    """Lg_ab[X] of docs/theory.md (11.6), the first-order change of K' under K -> K + X, on the last two axes."""
    return here.skip**2 * X + here.L(X)


def _first(here: Layer, X: Array) -> Array:
    """Lg of docs/theory.md (11.6) on the first two axes."""
    return here.on_first(partial(_flow, here), X)


def _tower(s: Activation, layers: Sequence[Layer], points: int | None) -> Array:
    """m_ab[s_c s_d] of the last of the layers by docs/theory.md (11.6), (D, D, D, D)."""
    *below, last = layers
    total = np.zeros((last.expectations.D,) * 4)
    for k, lower in enumerate(below):
        gamma = math.prod(layer.skip for layer in below[k:])
        if gamma:
            term = lower.C_W * _remembered(s, lower, last, gamma, points)
            for layer in below[k + 1 :]:
                term = _first(layer, term)
            total = total + term
    return total


def _remembered(s: Activation, lower: Layer, last: Layer, gamma: float, points: int | None) -> Array:
    """The covariance of s_a s_b in a lower layer with s_c s_d of the same neuron in the last one, less its part of the
    second order in their correlation, which V holds: docs/theory.md (11.6), (D, D, D, D)."""
    K, D = lower.expectations.K, lower.expectations.D
    joint = np.block([[K, gamma * K], [gamma * K, last.expectations.K]])
    covariance = Expectations(s, joint, points).connected(0, 0, 0, 0)[:D, :D, D:, D:]
    pairs = np.einsum("rp,sq->rspq", np.eye(D), np.eye(D))
    bent = last.second(0, (pairs + pairs.transpose(0, 1, 3, 2)) / 2)  # <d_r d_s (s_c s_d)>, r and s first
    moved = gamma**2 * np.einsum("pr,qs,rscd->cdpq", K, K, bent)
    return np.asarray(covariance - lower.second(0, moved).transpose(2, 3, 0, 1) / 2)
