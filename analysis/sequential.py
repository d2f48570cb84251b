"""Repeated looks at data that grow, without more false alarms: alpha is spent look by look.

A test that is repeated as networks are added is a walk Z(I) sqrt(I), with independent steps, in the information I =
1/error^2. The spending function says how much of alpha may be used up to a share t of the information at which the test
ends; the boundary of each look follows from it by integrating the walk that was not stopped before. Sources: P. C.
O'Brien and T. R. Fleming, Biometrics 35 (1979) 549; K. K. G. Lan and D. L. DeMets, Biometrika 70 (1983) 659; the
recursion is that of P. Armitage, C. K. McPherson and B. C. Rowe, J. R. Stat. Soc. A 132 (1969) 235.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import norm

from analysis.theory.quadrature import legendre

Array = NDArray[np.float64]
NODES = 256  # of the Gauss-Legendre rule on the part of the line where the walk goes on
FARTHEST = 9.0  # deviation beyond which a boundary is never reached: 2e-19 of the walks are there
STEP = 1.01  # smallest factor between the information of two looks; looks closer than that are taken for this far apart


def spent(time: float, alpha: float) -> float:
    """How much of the two-sided rate alpha may be used up to the share `time` of the information, by Lan and DeMets'
    function of O'Brien-Fleming type: 4 (1 - Phi(z / sqrt(time))) with Phi(z) = 1 - alpha/4, and alpha from 1 on.

    ValueError where alpha is not between 0 and 1.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha={alpha!r}: a number between 0 and 1")
    if time <= 0:
        return 0.0
    return float(4 * norm.sf(norm.isf(alpha / 4) / math.sqrt(time))) if time < 1 else alpha


def boundaries(information: Sequence[float], used: Sequence[float]) -> Array:
    """The two-sided boundaries of |Z| (K,) at K looks, infinite where a look may use nothing.

    information: that of each look, rising, in any unit. used: how much of alpha may be used up to each look, from which
    the boundaries follow exactly. Information that falls is taken for information that hardly rises, which makes
    boundaries higher. ValueError where there are not as many of both, or `used` falls or leaves 0 to 1.
    """
    if len(information) != len(used):
        raise ValueError(f"{len(information)} looks with information, {len(used)} with what they use")
    if any(b < a for a, b in zip([0.0, *used], [*used, 1.0], strict=True)):
        raise ValueError(f"used={list(used)}: it rises from 0 to at most 1")
    looks = range(1, len(information) + 1)
    return np.array([_walk(tuple(information[:k]), tuple(used[:k])).boundary for k in looks])


@dataclass(frozen=True)
class _Walk:
    """The walk after a look that did not stop it. boundary: of |Z| at the look. information: of the look. at, density:
    (nodes,) places of the walk, and how much of it is there."""

    boundary: float
    information: float
    at: Array
    density: Array


@lru_cache(maxsize=2**12)
def _walk(information: tuple[float, ...], used: tuple[float, ...]) -> _Walk:
    """The walk after the last of these looks; looks of before are remembered, because each further look needs them."""
    before = _walk(information[:-1], used[:-1]) if information[1:] else _Walk(0.0, 0.0, np.zeros(1), np.ones(1))
    now = max(information[-1], STEP * before.information)
    step = math.sqrt(now - before.information)
    allowed = used[-1] - (used[-2] if used[1:] else 0.0)

    def excess(z: float) -> float:
        """By how much more of the walk goes beyond z at this look than is allowed."""
        edge = z * math.sqrt(now)
        return float(before.density @ (ndtr((before.at - edge) / step) + ndtr(-(before.at + edge) / step))) - allowed

    reached = excess(FARTHEST) < 0
    z = float(brentq(excess, 0.0, FARTHEST, xtol=1e-10)) if reached else FARTHEST
    nodes, weights = legendre(NODES)
    at = z * math.sqrt(now) * nodes
    kernel = np.exp(-0.5 * ((at[:, None] - before.at) / step) ** 2) / (step * math.sqrt(2 * math.pi))
    return _Walk(z if reached else math.inf, now, at, z * math.sqrt(now) * weights * (kernel @ before.density))
