"""What PDLT (arXiv:2106.10165) predicts for ensembles of wide networks, in float64, without simulation.

>>> import numpy as np
>>> from analysis import theory
>>> flow = theory.flow("tanh", depth=3, C_b=0.0, C_W=1.0, inputs=np.ones((1, 4)))
>>> flow.K[:, 0, 0].round(6).tolist()           # kernel of layers 1, 2, 3
[1.0, 0.394294, 0.23645]
>>> flow.V[2, 0, 0, 0, 0].round(6).item()       # four-point vertex of layer 3: Cov = V / n
0.067807
>>> theory.critical("relu").C_W
2.0
"""

from analysis.theory import finite_width, linear_model, nearly_kernel, ntk_chain
from analysis.theory.activations import activation
from analysis.theory.criticality import Critical, attractor, critical, equal_shares
from analysis.theory.linear_training import CLOSED_FORMS, response, trained
from analysis.theory.preactivations import six_point
from analysis.theory.recursion import Flow, flow
from analysis.theory.tensors import UNITS
from analysis.theory.universality import Exponents, bias_share, exponents

__all__ = [
    "CLOSED_FORMS",
    "UNITS",
    "Critical",
    "Exponents",
    "Flow",
    "activation",
    "attractor",
    "bias_share",
    "critical",
    "equal_shares",
    "exponents",
    "finite_width",
    "flow",
    "linear_model",
    "nearly_kernel",
    "ntk_chain",
    "response",
    "six_point",
    "trained",
]
