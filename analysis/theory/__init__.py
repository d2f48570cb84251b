"""What PDLT (arXiv:2106.10165) predicts for ensembles of wide networks, in float64, without simulation.

>>> import numpy as np
>>> from analysis import theory
>>> flow = theory.flow("tanh", depth=3, C_b=0.0, C_W=1.0, inputs=np.ones((1, 4)))
>>> flow.K[:, 0, 0].round(6).tolist()           # kernel of layers 1, 2, 3
[1.0, 0.394294, 0.23645]
>>> flow.V[2, 0, 0, 0, 0].round(6).item()       # four-point vertex of layer 3: Cov = V / n
0.067807
>>> law = theory.exact_law("tanh", depth=3, C_b=0.0, C_W=1.0, K1=1.0, widths=8)
>>> (8 * law.variance[2]).round(6).item()       # the same with every power of 1/n, at n = 8
0.067369
>>> series = theory.chain("tanh", depth=3, C_b=0.0, C_W=1.0, K1=1.0, order=2)
>>> (8 * series.at(8)[2, 1]).round(6).item()    # V + V2/n: the same to the next order
0.067339
>>> theory.critical("relu").C_W
2.0
"""

from analysis.theory import (
    aspect_ratio,
    finite_width,
    frozen,
    generalisation,
    information,
    linear_model,
    movement,
    ntk_chain,
    own_kernel,
    quadratic_model,
)
from analysis.theory.activations import activation
from analysis.theory.bayes import Posterior, posterior
from analysis.theory.class_limit import LimitLaw, limit_law, limit_moments
from analysis.theory.conditional import Conditional
from analysis.theory.criticality import Critical, attractor, critical, equal_shares
from analysis.theory.kernel_chain import ExactLaw, exact_chain, exact_law, exact_log_law, exact_rule
from analysis.theory.kernel_series import KernelSeries, chain, universal_moments
from analysis.theory.linear_posterior import DeepLinear, deep_linear
from analysis.theory.linear_training import CLOSED_FORMS, response, trained
from analysis.theory.linear_weights import weight_covariances, weight_forms, weight_variance
from analysis.theory.ntk_series import NtkSeries, ntk_next_order
from analysis.theory.order_n import TrainedToOrderN, trained_to_order_n
from analysis.theory.preactivations import six_point
from analysis.theory.recursion import Flow, flow
from analysis.theory.residual import residual_growth
from analysis.theory.resummation import Resummed, resummed
from analysis.theory.saddle import tilts
from analysis.theory.second_order import NextOrder, next_order
from analysis.theory.shaped import ShapedLaw, shaped_law
from analysis.theory.tensors import UNITS
from analysis.theory.universality import Exponents, bias_share, exponents, iterated, next_coefficients

__all__ = [
    "CLOSED_FORMS",
    "UNITS",
    "Conditional",
    "Critical",
    "DeepLinear",
    "ExactLaw",
    "Exponents",
    "Flow",
    "KernelSeries",
    "LimitLaw",
    "NextOrder",
    "NtkSeries",
    "Posterior",
    "Resummed",
    "ShapedLaw",
    "TrainedToOrderN",
    "activation",
    "aspect_ratio",
    "attractor",
    "bias_share",
    "chain",
    "critical",
    "deep_linear",
    "equal_shares",
    "exact_chain",
    "exact_law",
    "exact_log_law",
    "exact_rule",
    "exponents",
    "finite_width",
    "flow",
    "frozen",
    "generalisation",
    "information",
    "iterated",
    "limit_law",
    "limit_moments",
    "linear_model",
    "movement",
    "next_coefficients",
    "next_order",
    "ntk_chain",
    "ntk_next_order",
    "own_kernel",
    "posterior",
    "quadratic_model",
    "residual_growth",
    "response",
    "resummed",
    "shaped_law",
    "six_point",
    "tilts",
    "trained",
    "trained_to_order_n",
    "universal_moments",
    "weight_covariances",
    "weight_forms",
    "weight_variance",
]
