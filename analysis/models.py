"""Models of scaling in 1/n and L/n: the leading coefficient free, next orders under stated priors.

A Series is one quantity measured at several widths (and, for a joint model, layers). Its expansion runs in
r = l/n, so the coefficient a_k of r^k, in units of the quantity's natural scale, is a number of order one;
its prior is N(0, w^k) with w = `prior_width`, fixed in the config and scanned in the report.

Importing this module does not import gvar, so that a claim is checked without it before anything is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from analysis.estimators import Array
from simulate.registry import Registry

if TYPE_CHECKING:
    import gvar

ORDERS = 3  # number of nuisance orders beyond the leading one
FLAT = 1e3  # prior width of the judged coefficient in units of its scale, which carries no information


@dataclass(frozen=True)
class Series:
    """One component of a tensor at k points, with its prediction.

    test: name of the claim's test. model: a key of MODELS. n, l, value: (k,) widths, layers and estimates. covariance:
    (k, k). scale: natural size, relative to which deviations are quoted. precision: relative deviation that the claim
    asks to see. dof: jackknife degrees of freedom of the covariance. variant: label of the points in a sweep whose
    points differ in more than width. left_out: (m, 3) width, layer and value of estimates that are not among the k
    points, because they or estimates at lighter tails are tail-dominated (`analysis.tails`). networks: (k,), how many
    each point has; empty where it is not known. prediction: NaN where theory has none, and the coefficient is measured.
    following: the coefficient of l/n in the prediction with its next order; NaN where it is not known. size: that of
    next orders, where it is not the scale because parts of the leading one cancel.
    """

    test: str
    tensor: str
    layer: int | None
    step: int | None
    samples: str
    model: str
    n: Array
    l: Array
    value: Array
    covariance: Array
    prediction: float
    scale: float
    precision: float
    dof: int
    variant: str = ""
    left_out: Array = field(default_factory=lambda: np.empty((0, 3)))
    networks: Array = field(default_factory=lambda: np.empty(0))
    following: float = math.nan
    size: float | None = None

    @property
    def predicted(self) -> bool:
        return not np.isnan(self.prediction)

    @property
    def of_next(self) -> float:
        """The unit of the coefficients of next orders."""
        return self.scale if self.size is None else self.size

    @property
    def name(self) -> str:
        where = [f"l={self.layer}"] * (self.layer is not None) + [f"t={self.step}"] * bool(self.step)
        return " ".join([*filter(None, [self.variant]), self.tensor, *where, f"[{self.samples}]"])

    @property
    def without(self) -> str:
        """The widths of the points that are left out, and from which layer on, in words; empty where none is."""
        narrow, deep = self.left_out[:, 0], self.left_out[:, 1]
        words = []
        for n in sorted(set(narrow.tolist())):
            from_layer = f" from l={deep[narrow == n].min():.0f} on" if MODELS[self.model].joint else ""
            words.append(f"n={n:.0f}{from_layer}")
        return ", ".join(words)


Prior = dict[str, "gvar.GVar"]
Curve = Callable[[Mapping[str, "gvar.GVar"], Array, Array], Array]
Build = Callable[[Series, float], tuple[Prior, Curve]]


def _normal(mean: float, deviation: float) -> gvar.GVar:
    import gvar

    return gvar.gvar(mean, deviation)


def _powers(series: Series, w: float) -> tuple[Prior, Curve]:
    """y = c + size sum_k a_k (l/n)^k, the expansion of docs/theory.md (6.1), which docs/theory.md (7.7) asks for."""
    prior = {"c": _normal(0, FLAT * series.scale)}
    prior |= {f"a{k}": _normal(0, w**k) for k in range(1, ORDERS + 1)}

    def model(p: Mapping[str, gvar.GVar], n: Array, layers: Array) -> Array:
        return p["c"] + series.of_next * sum(p[f"a{k}"] * (layers / n) ** k for k in range(1, ORDERS + 1))

    return prior, model


def _half_powers(series: Series, w: float) -> tuple[Prior, Curve]:
    """y = c + size sum_k a_k (l/n)^(k/2), the expansion of means in networks with kinks, docs/theory.md (5.52)"""
    orders = range(1, 2 * ORDERS + 1)
    prior = {"c": _normal(0, FLAT * series.scale)} | {f"a{k}": _normal(0, w ** (k / 2)) for k in orders}

    def model(p: Mapping[str, gvar.GVar], n: Array, layers: Array) -> Array:
        return p["c"] + series.of_next * sum(p[f"a{k}"] * (layers / n) ** (k / 2) for k in orders)

    return prior, model


def _constant(series: Series, w: float) -> tuple[Prior, Curve]:
    """y = c at every width and layer, for statements that are exact at finite width, as docs/theory.md (6.4)."""

    def model(p: Mapping[str, gvar.GVar], n: Array, layers: Array) -> Array:
        return p["c"] + 0.0 * n

    return {"c": _normal(0, FLAT * series.scale)}, model


def _exponent(series: Series, w: float) -> tuple[Prior, Curve]:
    """log y = A - p log n + sum_k a_k (l/n)^k"""
    prior = {"c": _normal(0, FLAT), "A": _normal(0, FLAT)}
    prior |= {f"a{k}": _normal(0, w**k) for k in range(1, ORDERS + 1)}

    def model(p: Mapping[str, gvar.GVar], n: Array, layers: Array) -> Array:
        return p["A"] - p["c"] * np.log(n) + sum(p[f"a{k}"] * (layers / n) ** k for k in range(1, ORDERS + 1))

    return prior, model


def _network_exponent(series: Series, w: float) -> tuple[Prior, Curve]:
    """log y = A - p log n + sum_k a_k (l/n)^(k/2), for a statistic of single networks, not of their mean: relative
    fluctuations in a network are of order (l/n)^(1/2)"""
    orders = range(1, 2 * ORDERS + 1)
    prior = {"c": _normal(0, FLAT), "A": _normal(0, FLAT)} | {f"a{k}": _normal(0, w ** (k / 2)) for k in orders}

    def model(p: Mapping[str, gvar.GVar], n: Array, layers: Array) -> Array:
        return p["A"] - p["c"] * np.log(n) + sum(p[f"a{k}"] * (layers / n) ** (k / 2) for k in orders)

    return prior, model


def _collapse(series: Series, w: float) -> tuple[Prior, Curve]:
    """y = c + sum_{i + j <= ORDERS} a_ij (l/n)^i n^-j: a function of l/n up to corrections of relative order 1/l"""
    powers = [(i, j) for i in range(ORDERS + 1) for j in range(ORDERS + 1 - i) if i + j]
    prior = {"c": _normal(0, FLAT * series.scale)} | {f"a{i}{j}": _normal(0, w ** (i + j)) for i, j in powers}

    def model(p: Mapping[str, gvar.GVar], n: Array, layers: Array) -> Array:
        return p["c"] + series.of_next * sum(p[f"a{i}{j}"] * (layers / n) ** i * n**-j for i, j in powers)

    return prior, model


def _in_depth(p: Mapping[str, gvar.GVar], layers: Array) -> Array:
    """Corrections in depth to a power law, which vanish as log(l)/l (docs/theory.md (4.3))."""
    slow = np.log(layers) / layers
    return p["b1"] * slow + p["b2"] / layers + p["b3"] * slow**2


def _in_width(p: Mapping[str, gvar.GVar], n: Array, layers: Array, deepest: float) -> Array:
    """sum_k (a_k + d_k l/deepest + e_k/l) (l/n)^k. The terms e_k are corrections of order 1/n that do not grow with
    depth; the terms d_k grow as l^2, as they do where the kernel drifts from a half-stable K*."""
    shape = {k: p[f"a{k}"] + p[f"d{k}"] * layers / deepest + p[f"e{k}"] / layers for k in range(1, ORDERS + 1)}
    return sum(shape[k] * (layers / n) ** k for k in shape)


def _joint_prior(w: float) -> Prior:
    orders = range(1, ORDERS + 1)
    prior = {f"{x}{k}": _normal(0, w**k) for x in "abde" for k in orders}
    return prior | {"c": _normal(0, FLAT), "A": _normal(0, FLAT)}


def _asymptote(series: Series, w: float) -> tuple[Prior, Curve]:
    """y = c + size (corrections in depth and width); c is the limit of large width, then large depth"""
    prior = _joint_prior(w) | {"c": _normal(0, FLAT * series.scale)}
    del prior["A"]
    deepest = series.l.max()

    def model(p: Mapping[str, gvar.GVar], n: Array, layers: Array) -> Array:
        return p["c"] + series.of_next * (_in_depth(p, layers) + _in_width(p, n, layers, deepest))

    return prior, model


def _power_law(series: Series, w: float) -> tuple[Prior, Curve]:
    """log y = A - c log l + corrections in depth and width"""
    deepest = series.l.max()

    def model(p: Mapping[str, gvar.GVar], n: Array, layers: Array) -> Array:
        return p["A"] - p["c"] * np.log(layers) + _in_depth(p, layers) + _in_width(p, n, layers, deepest)

    return _joint_prior(w), model


def _fixed_ratio(series: Series, w: float) -> tuple[Prior, Curve]:
    """y = c + size (corrections in depth), at layers in a fixed ratio to the widths: a law of l/n is approached as
    log(l)/l where the kernel falls as 1/l (docs/theory.md (12.6))"""
    prior = {"c": _normal(0, FLAT * series.scale)} | {f"b{k}": _normal(0, w**k) for k in range(1, ORDERS + 1)}

    def model(p: Mapping[str, gvar.GVar], n: Array, layers: Array) -> Array:
        return p["c"] + series.of_next * _in_depth(p, layers)

    return prior, model


def _exponential(series: Series, w: float) -> tuple[Prior, Curve]:
    """log y = A - c l + sum_k b_k e^(-k |c_theory| (l - l_0)) + corrections in width, with l_0 the first layer
    measured"""
    rate, first, deepest = abs(series.prediction), series.l.min(), series.l.max()

    def model(p: Mapping[str, gvar.GVar], n: Array, layers: Array) -> Array:
        transient = sum(p[f"b{k}"] * np.exp(-k * rate * (layers - first)) for k in range(1, ORDERS + 1))
        return p["A"] - p["c"] * layers + transient + _in_width(p, n, layers, deepest)

    return _joint_prior(w), model


@dataclass(frozen=True)
class Model:
    """build(series, prior width) returns (prior, curve), in which the judged coefficient is called c; None stands for a
    statement that is exact at every width and is judged by its largest deviation, without a fit. joint: whether one
    series runs over all layers, instead of one series a layer. logarithmic: whether values are logarithms, with a free
    constant among the parameters. expands: whether it is an expansion in 1/n. says: what the judged coefficient is, in
    words with {name}, that of the series, and {value}; and {asked}, the tolerance, where there is no fit."""

    name: str
    build: Build | None
    joint: bool = False
    logarithmic: bool = False
    expands: bool = True
    says: str = "{name} is {value}"

    @property
    def fewest_widths(self) -> int:
        """The smallest number of widths, because one width is never compared with the leading order."""
        return 4 if self.expands else 1


MODELS: Registry[Model] = Registry("fit model", rows=False)
for model in (
    Model("powers", _powers, says="{name} tends to {value} at infinite width"),
    Model("exponent", _exponent, logarithmic=True, says="{name} goes as -p log n with p = {value}"),
    Model("network_exponent", _network_exponent, logarithmic=True, says="{name} goes as -p log n with p = {value}"),
    Model("half_powers", _half_powers, says="{name} tends to {value} at infinite width"),
    Model("collapse", _collapse, joint=True, says="{name} tends to {value} at small l/n"),
    Model("asymptote", _asymptote, joint=True, says="{name} tends to {value} at infinite width, then depth"),
    Model("fixed_ratio", _fixed_ratio, says="{name} tends to {value} at infinite width and depth"),
    Model("power_law", _power_law, joint=True, logarithmic=True, says="{name} goes as -p log l with p = {value}"),
    Model("exponential", _exponential, joint=True, logarithmic=True, says="{name} goes as -p l with p = {value}"),
    Model("constant", _constant, expands=False, says="{name} is {value} at every width"),
    Model("one_constant", _constant, joint=True, expands=False, says="{name} is {value} at every width and layer"),
    Model("tolerance", None, expands=False, says="{name} is at most {value}, where {asked} is allowed"),
):
    MODELS.add(model)
