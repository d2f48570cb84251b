"""Parquet in, verdicts out: unbiased estimates, the theory at the same settings, fits, and a report.

    result = analysis.analyze("outputs/preactivations")
    result.table        # one row per claim and test
    result.estimates    # every estimate with its error and its theory
    analysis.posterior("outputs/a", noise=0.1)    # Bayesian inference with these networks (docs/bayes.md)
    analysis.table("outputs/preactivations", "V", layers=[4, 8])     # one tensor, as a pandas frame
    analysis.plot.scaling("outputs/preactivations", "V", x="L/n")    # and as a figure

`analysis.theory` stands alone: it needs numpy and scipy, and no data.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis import plot
    from analysis.inference import posterior
    from analysis.pipeline import analyze
    from analysis.recorded import recorded_posterior
    from analysis.tables import table

__all__ = ["analyze", "plot", "posterior", "recorded_posterior", "table"]


def __getattr__(name: str) -> Any:
    # The import is late, because `simulate` needs only analysis.theory and should start without pandas and lsqfit.
    if name == "analyze":
        from analysis.pipeline import analyze

        return analyze
    if name == "posterior":
        from analysis.inference import posterior

        return posterior
    if name == "recorded_posterior":
        from analysis.recorded import recorded_posterior

        return recorded_posterior
    if name == "plot":
        import importlib

        return importlib.import_module("analysis.plot")
    if name == "table":
        from analysis.tables import table

        return table
    raise AttributeError(name)
