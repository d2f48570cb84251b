"""Two inputs in wide and deep networks of shaped ReLUs, at a fixed aspect ratio r: docs/theory.md (12.7).

The correlation rho of two inputs is a diffusion of one number. Its generator on a grid of artanh(rho), in which the
noise is the same everywhere, is a matrix, and means at r are those of its exponential.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy  # its parts are imported when they are used

from analysis.theory.activations import Array

REACH = 12.0  # of the grid beyond the start: 1 - rho^2 is 1e-10 at artanh(rho) = 12
CELLS = (150, 300)  # of REACH; the error falls as the square of a cell, and two grids remove most of it


@dataclass(frozen=True)
class ShapedLaw:
    """Moments at aspect ratio r of two inputs of equal size, docs/theory.md (12.7).

    correlation, variance: mean and variance of rho. kernel: E g_ab over the kernel of one input, whose mean stays.
    """

    correlation: float
    variance: float
    kernel: float


def drift(rho: Array, plus: float, minus: float) -> Array:
    """The drift of g_ab/sqrt(g_aa g_bb) at fixed g_aa and g_bb, of slopes 1 + c/sqrt(n), docs/theory.md (12.7)."""
    angle = np.sqrt(np.maximum(1 - rho**2, 0.0)) - rho * np.arccos(rho)
    value: Array = (plus - minus) ** 2 / (2 * math.pi) * angle
    return value


def shaped_law(ratio: float, start: float, plus: float, minus: float) -> ShapedLaw:
    """The moments of the correlation of two inputs at the aspect ratio r, docs/theory.md (12.7).

    The activation is a_+ z for z > 0 and a_- z for z < 0 with a = 1 + c/sqrt(n), c = plus and minus, and C_W is
    critical. start: the correlation of the inputs in layer 1. Raises ValueError for a ratio that is not
    positive and finite, and for a start that is not between -1 and 1.
    """
    if not (ratio > 0 and math.isfinite(ratio)):
        raise ValueError(f"ratio={ratio}: a finite number above 0")
    if not -1 < start < 1:
        raise ValueError(f"start={start}: between -1 and 1")
    coarse, fine = (_moments(ratio, math.atanh(start), plus, minus, cells) for cells in CELLS)
    first, second, kernel = (4 * fine - coarse) / 3
    return ShapedLaw(float(first), float(second - first**2), float(kernel))


def _moments(ratio: float, start: float, plus: float, minus: float, cells: int) -> Array:
    """E rho, E rho^2 and E g_ab by central differences on one grid, which has the start among its points."""
    h = REACH / cells
    theta = start + h * np.arange(-cells, cells + 1)
    rho, square = np.tanh(theta), 1 / np.cosh(theta) ** 2
    # Towards rho = -1 the drift grows without bound and lets no path through, so that the grid may end there.
    strong = np.flatnonzero(drift(rho, plus, minus) / square * h > 0.5)
    first = int(strong[-1]) + 1 if len(strong) else 0
    if first >= cells:
        raise ValueError(f"plus={plus}, minus={minus}: the drift at the start is too strong for the grid")
    rho, square = rho[first:], square[first:]
    pull, place = drift(rho, plus, minus) / square, cells - first
    plain = _generator(h, rho / 2 + pull, np.zeros_like(rho))
    # E[sqrt(g_aa g_bb) f(rho)]: its noise is correlated with that of rho, and its own size decays.
    weighted = _generator(h, 3 * rho / 2 + pull, -square / 2)
    means = scipy.sparse.linalg.expm_multiply(ratio * plain, np.stack([rho, rho**2], axis=1))[place]
    return np.append(means, scipy.sparse.linalg.expm_multiply(ratio * weighted, rho)[place])


def _generator(h: float, drift: Array, growth: Array) -> "scipy.sparse.csr_array":
    """(1/2) d^2 + drift d + growth on a grid of spacing h whose ends reflect."""
    up, down = 0.5 / h**2 + drift / (2 * h), 0.5 / h**2 - drift / (2 * h)
    up[-1] = down[0] = 0.0
    return scipy.sparse.diags_array([down[1:], growth - up - down, up[:-1]], offsets=[-1, 0, 1], format="csr")
