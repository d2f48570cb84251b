"""The tests that a claim can name: each turns the points of a sweep into series with a prediction.

A test is a generator of Measured: one component at one layer with, per point, an estimate and what theory
says of it. `series` gathers a component over the widths. To add a test, write such a function and enter it
in TESTS under the name that `claim.tests` will use.
"""

from analysis.measures.algorithms import algorithm_coefficient, algorithm_difference
from analysis.measures.depth import exponent_of, flow_off_criticality, flow_on_criticality, slope_of
from analysis.measures.differentials import P, Q, R, S, T, U, ddntk_size, dntk_size, fourth_size
from analysis.measures.measured import Measure, PairedMeasure, Test
from analysis.measures.models import one_layer, taylor_error
from analysis.measures.ntk import A, B, D, F, Theta1, ntk_mean, ntk_variance
from analysis.measures.preactivations import (
    cumulant,
    kernel_mean,
    metric,
    six_point,
    vertex,
    vertex_of_neurons,
    vertex_over_theory,
)
from analysis.measures.representations import kernel_change_size, ntk_change, ntk_change_of_step, ntk_change_size
from analysis.measures.trained import (
    trained_covariance,
    trained_kurtosis,
    trained_mean,
    trained_mean_coefficient,
    trained_skewness,
)

TESTS: dict[str, Test] = {
    "V": Test(vertex, "powers"),
    "V_of_neurons": Test(vertex_of_neurons, "powers"),
    "cumulant": Test(cumulant, "powers"),
    "G1": Test(metric, "powers"),
    "six_point": Test(six_point, "powers"),
    "Theta1": Test(Theta1, "powers"),
    "A": Test(A, "powers"),
    "B": Test(B, "powers"),
    "D": Test(D, "powers"),
    "F": Test(F, "powers"),
    "P": Test(P, "powers"),
    "Q": Test(Q, "powers"),
    "R": Test(R, "powers"),
    "S": Test(S, "powers"),
    "T": Test(T, "powers"),
    "U": Test(U, "powers"),
    "dntk_size": Test(dntk_size, "exponent"),
    "ddntk_size": Test(ddntk_size, "exponent"),
    "fourth_size": Test(fourth_size, "exponent"),
    "V_collapse": Test(vertex_over_theory, "collapse"),
    "K": Test(kernel_mean, "powers"),
    "K_power_law": Test(flow_on_criticality, "power_law"),
    "K_exponential": Test(flow_off_criticality, "exponential"),
    "ntk_mean": Test(ntk_mean, "powers"),
    "ntk_variance": Test(ntk_variance, "exponent"),
    "trained_mean": Test(trained_mean, "powers"),
    "trained_covariance": Test(trained_covariance, "powers"),
    "trained_skewness": Test(trained_skewness, "powers"),
    "trained_kurtosis": Test(trained_kurtosis, "powers"),
    "trained_mean_coefficient": Test(trained_mean_coefficient, "powers"),
    "ntk_change": Test(ntk_change, "powers"),
    "ntk_change_of_step": Test(ntk_change_of_step, "powers"),
    "ntk_change_size": Test(ntk_change_size, "exponent"),
    "kernel_change_size": Test(kernel_change_size, "exponent"),
    "taylor_error": Test(taylor_error, "network_exponent"),
    "one_layer": Test(one_layer, "tolerance"),
}
# Tests between two variants of a sweep, of which `reference` names one by its dynamics.
PAIRED: dict[str, tuple[PairedMeasure, str]] = {
    "algorithm_difference": (algorithm_difference, "powers"),
    "algorithm_coefficient": (algorithm_coefficient, "powers"),
}
GROWING: dict[str, Measure] = {"V": vertex}
GROWING |= {f.__name__: f for f in (A, B, D, F, P, Q, R, S, T, U)}
TESTS |= {f"{name}_slope": Test(slope_of(measure), "asymptote") for name, measure in GROWING.items()}
TESTS |= {f"{name}_exponent": Test(exponent_of(measure), "power_law") for name, measure in GROWING.items()}
NTK = (Theta1, A, B, D, F)
FIRST = (P, Q)
SECOND = (R, S, T, U)
FURTHER = (*FIRST, *SECOND)
# What the table of estimates holds: measures, by the families of columns that they read.
TABLES: tuple[tuple[tuple[str, ...], tuple[Measure, ...]], ...] = (
    (("g",), (kernel_mean, metric, vertex)),
    (("m4",), (vertex_of_neurons,)),
    (("H",), (ntk_mean,)),
    (("H", "g", "z"), NTK),
    (("dH", "z"), FIRST),
    (("ddI", "ddII"), SECOND),
    (("z",), (cumulant, trained_mean, trained_covariance)),
)
ORDER_N = (metric, vertex, vertex_of_neurons, cumulant, *NTK, *FURTHER)  # predicted for few samples only
AT_START, TRAINED = (cumulant, *NTK, *FURTHER), (trained_mean, trained_covariance)
TWO_OUTPUTS = (*NTK, *FURTHER)
