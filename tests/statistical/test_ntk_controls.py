"""The NTK's tensors with exact controls: their values, their gain, and the fault that they hide.

Seeds are fixed, and false-alarm rates are stated.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import norm

from analysis.measures.measured import Measured
from analysis.measures.ntk_controlled import (
    A_controlled,
    B_controlled,
    D_controlled,
    F_controlled,
    Theta1_controlled,
    ntk_one_step,
)
from analysis.points import Point
from simulate.networks import sums
from simulate.store.sets import DataSet

FALSE_ALARM = 1e-4  # of each test in this file; its statistics share it (Bonferroni)
NETWORKS = {16: 40_000, 32: 20_000}
# Coefficients of 1/n and 1/n^2 of tanh at lambda_b = lambda_W = 1, K = 1 and Theta = 2 in layer 1, and how large the
# one of 1/n^3 may be in units of the first.
REFERENCE = {
    3: {
        "Theta1": (0.0037727, -0.0068058),
        "A": (0.45883, 1.2285),
        "B": (3.2479, 1.0664),
        "D": (-0.16377, 0.053089),
        "F": (0.20935, -0.023149),
    },
    4: {
        "Theta1": (0.026621, -0.052588),
        "A": (0.98731, 3.9179),
        "B": (6.1070, 3.6573),
        "D": (-0.20293, 0.15371),
        "F": (0.25866, -0.072016),
    },
}
MEASURES = {
    "Theta1": Theta1_controlled,
    "A": A_controlled,
    "B": B_controlled,
    "D": D_controlled,
    "F": F_controlled,
}
