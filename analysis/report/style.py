"""How figures look. Widths are ordered, so they get a sequential, colour-blind safe scale; theory is black."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from analysis.points import Point, Variant

STYLE = Path(__file__).with_name("nearly_gaussian.mplstyle")
SYMBOLS = {
    "V": "$V$",
    "G1": "$G^{\\{1\\}}$",
    "V of neurons": "$V$ of neurons",
    "cumulant": r"$\frac{n}{3}\kappa_4(z)$",
    "six-point": r"$n^2\kappa_3(g)$",
    "Theta1": r"$\Theta^{\{1\}}$",
    **{tensor: f"${tensor}$" for tensor in "ABDFPQRSTU"},
    "log dH^2": r"$\log\mathrm{E}\,(\mathrm{d}H)^2$",
    "log ddI^2": r"$\log\mathrm{E}\,(\mathrm{dd}_I H)^2$",
    "log d4^2": r"$\log\mathrm{E}\,(\mathrm{d}^4 z)^2$",
    "V / theory": r"$V/V_{\mathrm{theory}}$",
    "G": r"$\mathrm{E}\,g$",
    "log K": r"$\log\mathrm{E}\,g$",
    "log dK": r"$\log\mathrm{E}(g_{00}-g_{11})$",
    "H": r"$\mathrm{E}\,H$",
    "log Var H": r"$\log\mathrm{Var}\,H$",
    "z": r"$\mathrm{E}\,z$",
    "Cov z": r"$\mathrm{Cov}\,z$",
    "n dz": r"$n\,(\mathrm{E}\,z-z_\infty)$",
    "z - z'": r"$\mathrm{E}(z-z')$",
    "n (z - z')": r"$n\,\mathrm{E}(z-z')$",
    "n dH": r"$n\,\mathrm{E}[H(T)-H(0)]$",
    "log dg^2": r"$\log\mathrm{E}\,(\Delta g)^2$",
    "log dH^2 in training": r"$\log\mathrm{E}\,(\Delta H)^2$",
    "log error": r"$\mathrm{E}\log\sup_t|z-z_{\mathrm{model}}|$",
}


@dataclass(frozen=True)
class Drawn:
    claim: str
    caption: str
    svg: Path


# Variants have no order: Okabe and Ito's colours, each also with a marker of its own.
CATEGORIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#b2a800")
MARKERS = "osD^v<>P"


def looks(variants: Sequence[Variant]) -> list[tuple[str, str]]:
    """A colour and a marker each."""
    return [(CATEGORIES[k % len(CATEGORIES)], MARKERS[k % len(MARKERS)]) for k in range(len(variants))]


def colours(points: Sequence[Point]) -> list[tuple[float, float, float, float]]:
    return [matplotlib.colormaps["viridis"](x) for x in np.linspace(0.0, 0.85, len(points))]


def width_axis(axes: Axes, widths: Sequence[float]) -> None:
    """A logarithmic width axis that names the widths there are."""
    axes.set_xscale("log")
    axes.set_xticks(list(widths), [f"{n:.0f}" for n in widths])
    axes.minorticks_off()
