"""Residual networks of several inputs in the theory: reference values, and limits that other code integrates."""

import json
from pathlib import Path

import numpy as np
import pytest

from analysis import theory
from analysis.theory import residual, residual_inputs
from analysis.theory.gaussian import Expectations
from analysis.theory.layer import Layer
from analysis.theory.planes import Plane, carried, degrees
from analysis.theory.residual_inputs import _Step

TENSORS = ("K", "Theta", *residual.ORDER_N)
K1, C_b, C_W = np.array([[1, 0.4], [0.4, 1.5]]), 0.05, 1.65
# Tensors of layer 3 of ReLU networks at skip 0.5, components (ab)(cd), by another program, whose quadrature is good to
# a percent, and by its 80,000 networks of two widths, with errors.
REFERENCE = json.loads((Path(__file__).parents[2] / "data" / "residual_inputs_reference.json").read_text())


X = np.linalg.cholesky((K1 - C_b) * 2 / C_W)  # two inputs whose kernel in layer 1 is K1


def at_reference() -> theory.Flow:
    """The flow to layer 3 from K1 and an NTK of 0.7 + 1.2 K1 in layer 1, with rates of 0.7 and 1.2 above it."""
    rates = [0.7 + 1.2 * C_b, 0.7, 0.7], [1.2 * C_W, 1.2, 1.2]
    return theory.flow("relu", 3, C_b, C_W, X, *rates, tensors=TENSORS, skip=0.5)


def components(of: theory.Flow, name: str) -> np.ndarray:
    """The tensor of layer 3 with the indices of `REFERENCE`."""
    return of[name][2].transpose(0, 2, 1, 3) if name in "BF" else of[name][2]


def test_reference_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """V, B, F, D and A of docs/theory.md (11.6) by another program, and within 3 errors of its networks. Negative
    control: without the towers V, F, D and A are 6 errors off at least."""
    found = at_reference()
    monkeypatch.setattr(_Step, "towers_above", lambda step, memory: step.towers)
    without = at_reference()
    for name, at in REFERENCE.items():
        np.testing.assert_allclose(components(found, name), at["theory"], rtol=5e-3 if name == "V" else 8e-3)
        off, off_without = (np.abs(components(of, name) - at["simulated"]) / at["errors"] for of in (found, without))
        assert off.max() < 3, name
        assert off_without.max() > 6 or name == "B"


@pytest.mark.parametrize(("name", "C_b", "C_W"), [("relu", 0.0, 1.6), ("tanh", 0.1, 1.1), ("gelu", 0.13, 1.49)])
def test_one_of_several_inputs(name: str, C_b: float, C_W: float) -> None:
    """Each of several inputs has the tensors of docs/theory.md (11.5), which other code integrates."""
    x = np.array([[1.1, 0.3], [-0.4, 0.9]])
    given = {"lambda_b": 0.4, "lambda_W": 1.3, "tensors": TENSORS, "skip": [0.6, 0.3, 0.0]}
    several = theory.flow(name, 4, C_b, C_W, x, **given)
    for a in range(2):
        one = theory.flow(name, 4, C_b, C_W, x[a : a + 1], **given)
        for tensor in TENSORS:
            own = several[tensor][(slice(None), *(a,) * (several[tensor].ndim - 1))]
            np.testing.assert_allclose(own, one[tensor].ravel(), rtol=1e-9, atol=1e-10, err_msg=tensor)


def test_inputs_nearly_equal() -> None:
    """Components of four inputs that are two pairs of nearly equal ones are those of the two, docs/theory.md (11.6): so
    functions of one pair of inputs are known in the plane of another pair."""
    near, given = 1e-5, {"lambda_b": 0.4, "lambda_W": 1.3, "tensors": TENSORS, "skip": 0.3}
    x = np.array([[1.1, 0.3], [-0.4, 0.9]])
    two = theory.flow("tanh", 3, 0.1, 1.1, x, **given)
    three = theory.flow("tanh", 3, 0.1, 1.1, [*x, x[0] + near * x[1]], **given)
    for tensor in residual.ORDER_N:
        for samples in ([2, 1], [0, 1, 2, 1], [0, 2, 1, 1], [2, 0, 0, 1]):
            if len(samples) == two[tensor].ndim - 1:
                place = (2, *samples), (2, *(sample % 2 for sample in samples))
                np.testing.assert_allclose(three[tensor][place[0]], two[tensor][place[1]], rtol=1e-3, err_msg=tensor)


@pytest.mark.parametrize(("name", "points"), [("tanh", None), ("relu", None), ("tanh", 2**12)])
def test_without_skip_they_are_plain(name: str, points: int | None) -> None:
    """At gamma = 0 the recursions of docs/theory.md (11.6) are those of docs/theory.md (1.5), (1.6) and (2.7) to
    (2.11), which other code integrates, also where means of products are averages over points."""
    plain = theory.flow(name, 4, C_b, C_W, X, 0.5, 1.2, tensors=TENSORS, points=points)
    s = theory.activation(name)
    steps = [Layer(Expectations(s, K, points), C_b, C_W, 0.5, 1.2, 1.0) for K in plain.K[:-1]]
    found = residual_inputs.order_n(s, steps, plain.K, plain["Theta"])
    for tensor in residual.ORDER_N:
        np.testing.assert_allclose(found[tensor], plain[tensor], rtol=1e-10, atol=1e-10, err_msg=tensor)


@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_planes(name: str) -> None:
    """Coefficients of s_a s'_b in the plane of (a, b) are, carried there, those of s'_b s_a in the plane of (b, a),
    which integrates the other input first; that of order zero is the mean of docs/theory.md section 0; and slopes of
    s_a s_b are s'_a s_b and s_a s'_b."""
    s, count = theory.activation(name), 12
    there, back = Plane(K1), Plane(K1[::-1, ::-1])
    f = there.products(s, count)
    moved = carried(back.inverse @ K1[::-1] @ there.inverse.T, f[0, 1])
    np.testing.assert_allclose(moved, back.products(s, count)[1, 0], rtol=1e-12, atol=1e-14)
    means = Expectations(s, K1)
    np.testing.assert_allclose([f[0, 0][0], f[1, 1][0]], [means.tensor(k, k)[0, 1] for k in (0, 1)], rtol=1e-12)
    lower = degrees(count).sum(axis=0) < count - 1
    for slot, slope in ((0, f[1, 0]), (1, f[0, 1])):
        np.testing.assert_allclose(there.slope(f[0, 0], slot)[lower], slope[lower], rtol=1e-10, atol=1e-13)
