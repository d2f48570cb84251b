"""The movement of hidden kernels agrees with reference numbers."""

import json
from pathlib import Path

import numpy as np
import pytest

from analysis import theory
from analysis.theory import composite, movement

REFERENCE = json.loads((Path(__file__).parents[2] / "data" / "training_reference.json").read_text())


def test_hidden_tensors_reference() -> None:
    """p, r and s of docs/theory.md (5.34) and (5.35) at one input, for the layers l of networks of depth L."""
    known = REFERENCE["hidden tensors tanh one input"]
    for L in (2, 3, 4, 5):
        flow = theory.flow("tanh", L, 0.0, 1.0, np.ones((1, 1)), 1.0, 1.0, tensors=composite.TENSORS)
        hidden = movement.hidden_tensors(flow, "tanh", 0.0, 1.0, [1.0] * L)
        for layer, tensors in hidden.items():
            found = [float(np.ravel(x)[0]) for x in (tensors.p, tensors.r, tensors.s)]
            np.testing.assert_allclose(found, known[f"l={layer} L={L}"], rtol=1e-6)


def test_wide_layers_in_between_leave_the_kernels_below_unmoved() -> None:
    """A kernel moves by 1/n of the layers above it and its own, docs/theory.md (5.35): with n_2 / n_1 large its
    movement in units of 1/n_2 is n_2 / n_1 times what comes from layer 1."""
    moved = []
    for ratio in (1.0, 100.0):
        flow = theory.flow(
            "tanh", 3, 0.0, 1.0, np.ones((1, 1)), 1.0, 1.0, width_ratios=[1.0, ratio], tensors=composite.TENSORS
        )
        hidden = movement.hidden_tensors(flow, "tanh", 0.0, 1.0, [1.0] * 3, [1.0, ratio])
        moved.append([float(np.ravel(x)[0]) for x in (hidden[2].p, hidden[2].r)])
    np.testing.assert_allclose(moved[1], np.multiply(100, moved[0]), rtol=1e-12)


def test_refusals() -> None:
    flow = theory.flow("relu", 2, 0.0, 2.0, np.ones((1, 1)), tensors=["Theta"])
    with pytest.raises(ValueError, match="activation=relu: hidden kernels move"):
        movement.hidden_tensors(flow, "relu", 0.0, 2.0, [1.0, 1.0])
