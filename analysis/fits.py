"""Fits of scaling in 1/n and L/n with lsqfit, by the models of `analysis.models`."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import gvar
import lsqfit
import numpy as np

from analysis.estimators import Array
from analysis.models import MODELS, Curve, Prior, Series

# Networks of which an estimate spreads by less than this share of its scale differ by rounding: the estimate is exact.
ROUNDING = 1e-8


@dataclass(frozen=True)
class Fit:
    """One fit. coefficient, error: those that are judged. chi2, dof, Q: the quality of the fit. curve(n, l): mean and
    standard deviation of the fitted function. report(): lsqfit's report with values, priors and the error budget of c;
    empty where nothing was fitted."""

    series: Series
    coefficient: float
    error: float
    chi2: float
    dof: int
    Q: float
    curve: Callable[[Array, Array], tuple[Array, Array]]
    report: Callable[[], str] = str

    @property
    def pull(self) -> float:
        """(coefficient - prediction) / error; zero where nothing is predicted."""
        return (self.coefficient - self.series.prediction) / self.error if self.series.predicted else 0.0

    @property
    def residual_pulls(self) -> Array:
        """Deviations of the values from the curve in their errors; zero where a value has no error."""
        mean, _ = self.curve(self.series.n, self.series.l)
        error = np.sqrt(self.series.covariance.diagonal())
        return np.divide(self.series.value - mean, error, out=np.zeros(len(error)), where=error > 0)

    def line(self) -> str:
        """In lsqfit's manner: chi2/dof [dof], Q, then coefficient, prediction, pull."""
        theory = f"against {self.series.prediction:.5g}, pull {self.pull:+.2f}" if self.series.predicted else "measured"
        value = gvar.gvar(self.coefficient, self.error)
        return f"chi2/dof = {self.chi2 / self.dof:.2g} [{self.dof}]  Q = {self.Q:.2g}  {value} {theory}"


def fit(series: Series, prior_width: float) -> Fit:
    """Fit one series, in units in which its values are of order one.

    An estimate that is exact in every network gets a thousandth of the deviation that the claim asks to see as its
    error bar. Raises ValueError below four widths (one width is never compared with the leading order), for values that
    are not finite, and where the fit did not reach its optimum.
    """
    model = MODELS[series.model]
    if model.build is None:
        return _exact(series)
    widths = len(set(series.n.tolist()))
    if widths < model.fewest_widths:
        raise ValueError(f"{series.name}: {widths} widths; a fit in 1/n needs at least {model.fewest_widths}")
    _check(series)
    series = _with_spread(series)
    unit, origin = _units(series)
    scaled = _scaled(series, unit, origin)
    prior, value = model.build(scaled, prior_width)
    y = gvar.gvar(scaled.value, scaled.covariance)
    result = lsqfit.nonlinear_fit(
        data=(0, y), fcn=lambda _, p: value(p, series.n, series.l), prior=prior, svdcut=1e-12, tol=1e-10
    )
    coefficient, error = float(gvar.mean(result.p["c"])), float(gvar.sdev(result.p["c"]))
    best, best_error = _optimum(scaled, prior, value)
    if not (np.isfinite(result.chi2) and abs(coefficient - best) < 0.01 * error and abs(error / best_error - 1) < 0.01):
        raise ValueError(f"{series.name}: the fit did not reach its optimum (chi2 = {result.chi2:.3g})")

    def curve(n: Array, layers: Array) -> tuple[Array, Array]:
        out = value(result.p, np.asarray(n, dtype=float), np.asarray(layers, dtype=float))
        return origin + unit * gvar.mean(out), unit * gvar.sdev(out)

    def report() -> str:
        # The data, whose covariance may be one block, count as one source of error, and each prior as one.
        digits = max(2, 1 - math.floor(math.log10(error)))  # two that count of the whole error
        budget = gvar.fmt_errorbudget({"c": result.p["c"]}, {"data": y, **prior}, ndecimal=digits, percent=False)
        return f"In units of {unit:.6g}, from {origin:.6g} on:\n{result.format(maxline=True)}\n{budget}"

    return Fit(series, unit * coefficient, unit * error, result.chi2, result.dof, result.Q, curve, report)


def _check(series: Series) -> None:
    """ValueError for a series that cannot be fitted."""
    if not (np.isfinite(series.value).all() and np.isfinite(series.covariance).all()):
        raise ValueError(f"{series.name}: an estimate or its error is not a finite number")
    if not (np.isfinite(series.scale) and series.scale > 0 and not np.isinf(series.prediction)):
        raise ValueError(
            f"{series.name}: the prediction {series.prediction:.3g} has no finite scale ({series.scale:.3g})"
        )


def _with_spread(series: Series) -> Series:
    """The series with error bars where networks do not spread, as in B of linear networks."""
    exact = series.covariance.diagonal() < (ROUNDING * series.scale) ** 2
    least = series.precision * series.scale / 1000
    return replace(series, covariance=series.covariance + np.diag(np.where(exact, least**2, 0.0)))


def _units(series: Series) -> tuple[float, float]:
    """The unit and the origin of a series in a fit: values are divided by a power of two near their scale, without any
    rounding, and logarithms are counted from the first."""
    if MODELS[series.model].logarithmic:
        return 1.0, float(series.value[0])
    return float(np.ldexp(1.0, int(np.frexp(series.scale)[1]))), 0.0


def _scaled(series: Series, unit: float, origin: float) -> Series:
    """The series in another unit, counted from another origin."""
    return replace(
        series,
        value=(series.value - origin) / unit,
        covariance=series.covariance / unit / unit,
        prediction=series.prediction / unit,
        scale=series.scale / unit,
        size=None if series.size is None else series.size / unit,
    )


def _optimum(series: Series, prior: Prior, value: Curve) -> tuple[float, float]:
    """The judged coefficient and its error by normal equations, since all models are linear in their parameters.

    They are held against the iterative fit, which ends without a word where it does not move.
    """
    names, width, at_zero, left, inverse = _normal_equations(series, prior, value)
    error = np.sqrt(series.covariance.diagonal())
    information = left.T @ inverse @ left + np.eye(len(names))
    solution = np.linalg.solve(information, left.T @ inverse @ ((series.value - at_zero) / error))
    k = names.index("c")
    return float(width[k] * solution[k]), float(width[k] * np.sqrt(np.linalg.inv(information)[k, k]))


def _normal_equations(series: Series, prior: Prior, value: Curve) -> tuple[list[str], Array, Array, Array, Array]:
    """The p parameters, their prior widths (p,), the model (k,) where all are zero, its derivatives (k, p) in units of
    the priors, whose means are zero, over the errors of the k values, and the inverse of their correlation (k, k)."""
    names = list(prior)
    zero = dict.fromkeys(names, 0.0)
    at_zero = np.asarray(value(zero, series.n, series.l), dtype=float)
    columns = [np.asarray(value(zero | {name: 1.0}, series.n, series.l), dtype=float) - at_zero for name in names]
    design = np.stack([np.broadcast_to(column, at_zero.shape) for column in columns], axis=1)
    width = np.array([prior[name].sdev for name in names])
    error = np.sqrt(series.covariance.diagonal())
    inverse = np.linalg.pinv(series.covariance / np.outer(error, error), rcond=1e-12, hermitian=True)
    return names, width, at_zero, design / error[:, None] * width, inverse


def error_at(series: Series, prior_width: float) -> Callable[[Array], float]:
    """The error of the judged coefficient as a function of the numbers of networks (k,) at the points of a series, over
    the error at those that it has.

    Covariances fall as one over the number of networks, and priors stay as they are. A series that is judged without a
    fit has the same error with any number.
    """
    model = MODELS[series.model]
    if model.build is None:
        return lambda networks: 1.0
    scaled = _scaled(series, *_units(series))
    names, _, _, left, inverse = _normal_equations(scaled, *model.build(scaled, prior_width))
    k = names.index("c")

    def error(networks: Array) -> float:
        weighted = left * np.sqrt(networks / series.networks)[:, None]
        information = weighted.T @ inverse @ weighted + np.eye(len(names))
        unit = 1 / np.sqrt(information.diagonal())  # so that the inverse keeps its digits beside a flat prior
        return float(unit[k] * np.sqrt(np.linalg.inv(information * np.outer(unit, unit))[k, k]))

    here = error(series.networks)
    return lambda networks: error(networks) / here


def _exact(series: Series) -> Fit:
    """The fit of a statement that holds at every width: the largest value, with a tenth of the tolerance as its
    error."""
    worst, error = float(series.value.max()), series.precision * series.scale / 10

    def curve(n: Array, layers: Array) -> tuple[Array, Array]:
        return np.full(len(n), worst), np.full(len(n), error)

    return Fit(series, worst, error, 0.0, 1, 1.0, curve)


def scan(series: Series, prior_width: float) -> dict[float, Fit]:
    """The fit at half, once and twice the prior width, on which a verdict must not depend."""
    return {factor: fit(replace(series), factor * prior_width) for factor in (0.5, 1.0, 2.0)}
