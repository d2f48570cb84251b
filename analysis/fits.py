"""Fits of scaling in 1/n and L/n with lsqfit, by the models of `analysis.models`."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import gvar
import lsqfit
import numpy as np

from analysis.estimators import Array
from analysis.models import MODELS, Series


@dataclass(frozen=True)
class Fit:
    """One fit. coefficient, error: those that are judged. chi2, dof, Q: the quality of the fit. curve(n, l): mean and
    standard deviation of the fitted function."""

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


def fit(series: Series, prior_width: float) -> Fit:
    """Fit one series. Raises ValueError below four widths: one width is never compared with the leading order."""
    model = MODELS[series.model]
    if model.build is None:
        return _exact(series)
    widths = len(set(series.n.tolist()))
    if widths < model.fewest_widths:
        raise ValueError(f"{series.name}: {widths} widths; a fit in 1/n needs at least {model.fewest_widths}")
    prior, value = model.build(series, prior_width)
    y = gvar.gvar(series.value, series.covariance)
    result = lsqfit.nonlinear_fit(
        data=(0, y), fcn=lambda _, p: value(p, series.n, series.l), prior=prior, svdcut=1e-12, tol=1e-10
    )
    coefficient = result.p["c"]

    def curve(n: Array, layers: Array) -> tuple[Array, Array]:
        out = value(result.p, np.asarray(n, dtype=float), np.asarray(layers, dtype=float))
        return gvar.mean(out), gvar.sdev(out)

    return Fit(
        series, float(gvar.mean(coefficient)), float(gvar.sdev(coefficient)), result.chi2, result.dof, result.Q, curve
    )


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
