"""Fits of scaling in 1/n and L/n with lsqfit: the leading coefficient free, next orders under stated priors.

A Series is one quantity measured at several widths (and, for a collapse, layers). Its expansion runs in
r = l/n, so the coefficient a_k of r^k, in units of the quantity's natural scale, is a number of order one;
its prior is N(0, w^k) with w = `prior_width`, fixed in the config and scanned in the report.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import gvar
import lsqfit
import numpy as np

from analysis.estimators import Array

ORDERS = 3  # nuisance orders beyond the leading one
FEWEST_WIDTHS = 4
FLAT = 1e3  # prior width of the judged coefficient in units of its scale: no information


@dataclass(frozen=True)
class Series:
    """A quantity and what theory says of it. k points."""

    test: str  # the test of the claim it belongs to
    tensor: str  # what is measured
    layer: int | None
    step: int | None
    samples: str
    model: str  # a key of MODELS
    n: Array  # (k,) widths
    l: Array
    value: Array  # (k,)
    covariance: Array  # (k, k)
    prediction: float
    scale: float  # natural size: deviations are quoted relative to it
    precision: float  # the relative deviation that the claim wants to be able to see
    dof: int  # jackknife degrees of freedom of the covariance
    variant: str = ""  # which points of the sweep, where they differ in more than width

    @property
    def name(self) -> str:
        where = [f"l={self.layer}"] * (self.layer is not None) + [f"t={self.step}"] * bool(self.step)
        return " ".join([*filter(None, [self.variant]), self.tensor, *where, f"[{self.samples}]"])


@dataclass(frozen=True)
class Fit:
    """coefficient, error: the judged one; chi2, dof, Q: of the fit; curve: mean and deviation at (n, l)."""

    series: Series
    coefficient: float
    error: float
    chi2: float
    dof: int
    Q: float
    curve: Callable[[Array, Array], tuple[Array, Array]]

    @property
    def pull(self) -> float:
        """(coefficient - prediction) / error."""
        return (self.coefficient - self.series.prediction) / self.error

    @property
    def residual_pulls(self) -> Array:
        mean, _ = self.curve(self.series.n, self.series.l)
        return (self.series.value - mean) / np.sqrt(self.series.covariance.diagonal())

    def line(self) -> str:
        """In lsqfit's manner: chi2/dof [dof], Q, then coefficient, prediction, pull."""
        return (
            f"chi2/dof = {self.chi2 / self.dof:.2g} [{self.dof}]  Q = {self.Q:.2g}  "
            f"{gvar.gvar(self.coefficient, self.error)} against {self.series.prediction:.5g}, pull {self.pull:+.2f}"
        )


Prior = dict[str, gvar.GVar]
Model = Callable[[Mapping[str, gvar.GVar], Array, Array], Array]


def _powers(series: Series, w: float) -> tuple[Prior, Model]:
    """y = c + scale sum_k a_k (l/n)^k"""
    prior = {"c": gvar.gvar(0, FLAT * series.scale)}
    prior |= {f"a{k}": gvar.gvar(0, w**k) for k in range(1, ORDERS + 1)}

    def model(p: Mapping[str, gvar.GVar], n: Array, layers: Array) -> Array:
        return p["c"] + series.scale * sum(p[f"a{k}"] * (layers / n) ** k for k in range(1, ORDERS + 1))

    return prior, model


def _exponent(series: Series, w: float) -> tuple[Prior, Model]:
    """log y = A - p log n + sum_k a_k (l/n)^k"""
    prior = {"c": gvar.gvar(0, FLAT), "A": gvar.gvar(0, FLAT)}
    prior |= {f"a{k}": gvar.gvar(0, w**k) for k in range(1, ORDERS + 1)}

    def model(p: Mapping[str, gvar.GVar], n: Array, layers: Array) -> Array:
        return p["A"] - p["c"] * np.log(n) + sum(p[f"a{k}"] * (layers / n) ** k for k in range(1, ORDERS + 1))

    return prior, model


def _network_exponent(series: Series, w: float) -> tuple[Prior, Model]:
    """log y = A - p log n + sum_k a_k (l/n)^(k/2), for a statistic of single networks, not of their mean: relative
    fluctuations in a network are of order (l/n)^(1/2)"""
    orders = range(1, 2 * ORDERS + 1)
    prior = {"c": gvar.gvar(0, FLAT), "A": gvar.gvar(0, FLAT)} | {f"a{k}": gvar.gvar(0, w ** (k / 2)) for k in orders}

    def model(p: Mapping[str, gvar.GVar], n: Array, layers: Array) -> Array:
        return p["A"] - p["c"] * np.log(n) + sum(p[f"a{k}"] * (layers / n) ** (k / 2) for k in orders)

    return prior, model


def _collapse(series: Series, w: float) -> tuple[Prior, Model]:
    """y = c + sum_{i + j <= ORDERS} a_ij (l/n)^i n^-j: a function of l/n up to corrections of relative order 1/l"""
    powers = [(i, j) for i in range(ORDERS + 1) for j in range(ORDERS + 1 - i) if i + j]
    prior = {"c": gvar.gvar(0, FLAT * series.scale)} | {f"a{i}{j}": gvar.gvar(0, w ** (i + j)) for i, j in powers}

    def model(p: Mapping[str, gvar.GVar], n: Array, layers: Array) -> Array:
        return p["c"] + series.scale * sum(p[f"a{i}{j}"] * (layers / n) ** i * n**-j for i, j in powers)

    return prior, model


def _in_depth(p: Mapping[str, gvar.GVar], layers: Array) -> Array:
    """Corrections of a flow that ends in a power law: they die as log(l)/l (theory.md 4.3)."""
    slow = np.log(layers) / layers
    return p["b1"] * slow + p["b2"] / layers + p["b3"] * slow**2


def _in_width(p: Mapping[str, gvar.GVar], n: Array, layers: Array, deepest: float) -> Array:
    """sum_k (a_k + d_k l/deepest + e_k/l) (l/n)^k: what does not grow with depth is of order 1/n too, and where the
    kernel drifts, as at half-stable K*, what grows as l^2"""
    shape = {k: p[f"a{k}"] + p[f"d{k}"] * layers / deepest + p[f"e{k}"] / layers for k in range(1, ORDERS + 1)}
    return sum(shape[k] * (layers / n) ** k for k in shape)


def _joint_prior(w: float) -> Prior:
    orders = range(1, ORDERS + 1)
    prior = {f"{x}{k}": gvar.gvar(0, w**k) for x in "abde" for k in orders}
    return prior | {"c": gvar.gvar(0, FLAT), "A": gvar.gvar(0, FLAT)}


def _asymptote(series: Series, w: float) -> tuple[Prior, Model]:
    """y = c + scale (corrections in depth and width): c at large depth and larger width"""
    prior = _joint_prior(w) | {"c": gvar.gvar(0, FLAT * series.scale)}
    del prior["A"]
    deepest = series.l.max()

    def model(p: Mapping[str, gvar.GVar], n: Array, layers: Array) -> Array:
        return p["c"] + series.scale * (_in_depth(p, layers) + _in_width(p, n, layers, deepest))

    return prior, model


def _power_law(series: Series, w: float) -> tuple[Prior, Model]:
    """log y = A - c log l + corrections in depth and width"""
    deepest = series.l.max()

    def model(p: Mapping[str, gvar.GVar], n: Array, layers: Array) -> Array:
        return p["A"] - p["c"] * np.log(layers) + _in_depth(p, layers) + _in_width(p, n, layers, deepest)

    return _joint_prior(w), model


def _exponential(series: Series, w: float) -> tuple[Prior, Model]:
    """log y = A - c l + sum_k b_k e^(-k |c_theory| (l - l_0)) + corrections in width, l_0 the first layer there is"""
    rate, first, deepest = abs(series.prediction), series.l.min(), series.l.max()

    def model(p: Mapping[str, gvar.GVar], n: Array, layers: Array) -> Array:
        transient = sum(p[f"b{k}"] * np.exp(-k * rate * (layers - first)) for k in range(1, ORDERS + 1))
        return p["A"] - p["c"] * layers + transient + _in_width(p, n, layers, deepest)

    return _joint_prior(w), model


MODELS: dict[str, Callable[[Series, float], tuple[Prior, Model]]] = {
    "powers": _powers,
    "exponent": _exponent,
    "network_exponent": _network_exponent,
    "collapse": _collapse,
    "asymptote": _asymptote,
    "power_law": _power_law,
    "exponential": _exponential,
}
TOLERANCE = "tolerance"  # no fit: a statement that is exact, judged by its largest deviation
JOINT = ("collapse", "asymptote", "power_law", "exponential")  # one series over all layers


def fit(series: Series, prior_width: float) -> Fit:
    """Fit one series. Raises ValueError below four widths: one width is never compared with the leading order."""
    if series.model == TOLERANCE:
        return _exact(series)
    widths = len(set(series.n.tolist()))
    if widths < FEWEST_WIDTHS:
        raise ValueError(f"{series.name}: {widths} widths; a fit in 1/n needs at least {FEWEST_WIDTHS}")
    prior, model = MODELS[series.model](series, prior_width)
    y = gvar.gvar(series.value, series.covariance)
    result = lsqfit.nonlinear_fit(
        data=(0, y), fcn=lambda _, p: model(p, series.n, series.l), prior=prior, svdcut=1e-12, tol=1e-10
    )
    coefficient = result.p["c"]

    def curve(n: Array, layers: Array) -> tuple[Array, Array]:
        out = model(result.p, np.asarray(n, dtype=float), np.asarray(layers, dtype=float))
        return gvar.mean(out), gvar.sdev(out)

    return Fit(
        series, float(gvar.mean(coefficient)), float(gvar.sdev(coefficient)), result.chi2, result.dof, result.Q, curve
    )


def _exact(series: Series) -> Fit:
    """A statement that holds at every width: the largest value, with a tenth of the tolerance as its error bar."""
    worst, error = float(series.value.max()), series.precision * series.scale / 10

    def curve(n: Array, layers: Array) -> tuple[Array, Array]:
        return np.full(len(n), worst), np.full(len(n), error)

    return Fit(series, worst, error, 0.0, 1, 1.0, curve)


def scan(series: Series, prior_width: float) -> dict[float, Fit]:
    """The fit at half, once and twice the prior width: a verdict must not hang on it."""
    return {factor: fit(replace(series), factor * prior_width) for factor in (0.5, 1.0, 2.0)}
