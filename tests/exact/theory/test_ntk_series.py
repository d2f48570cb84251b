"""The NTK of one input to order 1/n^2 agrees with tables, with the exact laws of scale-invariant networks, and with the
kernel of a pair of inputs."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from analysis import theory
from analysis.theory.finite_width import ntk_moments, ntk_orders
from analysis.theory.jets import monomial
from analysis.theory.ntk_series import COEFFICIENTS, OF_ONE_INPUT

REFERENCE = json.loads((Path(__file__).parents[2] / "data" / "next_order_reference.json").read_text())["ntk"]
NAMES = {"Th1": "Theta1", "Th2": "Theta2", "W": "Wggg"}  # of the tables, where they differ


@pytest.mark.parametrize("name", ["tanh", "gelu", "relu", "linear"])
def test_reference(name: str) -> None:
    """Tables of docs/theory.md (17.12), of ten digits, down to the third cumulants and the mean of T_3.
    Negative control: other rates."""
    table = REFERENCE[name]
    C_b, C_W, K1 = (table[key] for key in ("C_b", "C_W", "K1"))
    rates = np.full(8, table["lambda_b"])
    rates[0] = table["Theta1"] - (K1 - C_b) / C_W
    series, other = (theory.ntk_next_order(name, 8, C_b, C_W, K1, rates, rate) for rate in (1.0, 1.01))
    for key in table["layers"]["1"]:
        want = np.array([row[key] for row in table["layers"].values()])
        got, changed = (
            of.K if key == "K" else of.Theta if key == "Th" else of[NAMES.get(key, key)] for of in (series, other)
        )
        np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-10, err_msg=key)
        if key in ("Th2", "A2", "B2", "D2", "F2", "T3") and np.abs(want).max() > 1e-9:
            assert np.abs(changed - want).max() > 1e-3 * np.abs(want).max(), key


def test_flow_has_them() -> None:
    """`flow` has docs/theory.md (17.12) for one input, unequal widths and rates included, in all of its copies; its
    first order is that of sections 1 and 2. Several inputs are refused by name."""
    x, ratios, lambda_b, lambda_W = np.array([[0.7, -1.1]]), [1.0, 0.5, 2.0, 1.5], [0.3, 1.0, 0.2, 0.7, 0.5], 1.3
    names = ("G1", "Theta1", "V", "A", "B", "D", "F", "G2", "V2", *OF_ONE_INPUT)
    rates = {"lambda_b": lambda_b, "lambda_W": lambda_W, "width_ratios": ratios}
    flow = theory.flow("gelu", 5, 0.1, 1.9, np.repeat(x, 2, axis=0), tensors=names, **rates)
    series = theory.ntk_next_order("gelu", 5, 0.1, 1.9, float(flow.K[0, 0, 0]), **rates)
    for name in names:
        np.testing.assert_allclose(flow[name].reshape(5, -1)[:, -1], series[name], rtol=1e-8, atol=1e-12, err_msg=name)
    assert set(OF_ONE_INPUT) <= set(theory.flow("tanh", 3, 0.0, 1.0, x, order=2).computed())
    assert flow["A2"].shape == (5, 2, 2, 2, 2)
    with pytest.raises(ValueError, match="A2, Theta2 known for one input, not for 2 different ones"):
        theory.flow("tanh", 3, 0.0, 1.0, np.eye(2), tensors=("Theta2", "A2"))
    with pytest.raises(ValueError, match=r"B2 known for plain networks, not for skip=0\.5"):
        theory.flow("tanh", 3, 0.0, 1.0, x, tensors=("B2",), skip=0.5)


@pytest.mark.parametrize("name", ["linear", "relu"])
def test_scale_invariant_to_all_orders(name: str) -> None:
    """The series of docs/theory.md (17.14) sum to docs/theory.md (6.7) at n = 9 and begin with docs/theory.md (17.12).
    F has the closed form of docs/theory.md (17.14). Negative control: the series less their last terms."""
    n, depth, K, lambda_b, lambda_W, x2 = 9, 7, 1.3, 0.7, 1.3, 1.3
    C_W, nu = theory.critical(name).C_W, {"linear": 2, "relu": 5}[name]
    setting = C_W, K * C_W, lambda_b, lambda_W, x2
    orders, m = ntk_orders(name, depth, *setting), ntk_moments(name, [n] * (depth - 1), *setting)
    series = theory.ntk_next_order(name, depth, 0.0, C_W, K * C_W, lambda_b, lambda_W)
    exact = {"V": m.z2z2 - m.z2**2, "A": m.HH - m.H**2, "B": m.H2, "D": m.z2H - m.z2 * m.H, "F": m.zzH}
    for key, want in exact.items():
        terms = orders[key] * float(n) ** -np.arange(len(orders[key]))
        assert terms.sum() == pytest.approx(want, rel=1e-12), key
        assert abs(terms[:4].sum() / want - 1) > 1e-4
        assert (series[key][-1], series[f"{key}2"][-1]) == pytest.approx(orders[key][1:3], rel=1e-10), key
    sources = [K * C_W * (lambda_b + lambda_W * x2), *(K * C_W * (lambda_b + lambda_W * x2 * (1 + nu / n) ** k)
                                                       for k in range(1, depth))]  # fmt: skip
    steps = range(depth - 1, -1, -1)
    closed = sum(s * ((1 + nu / n) ** k - (1 - 1 / n) ** k) for s, k in zip(sources, steps, strict=True)) / 3
    assert m.zzH == pytest.approx(closed, rel=1e-12)


def test_theta2_from_a_pair_of_inputs() -> None:
    """With rates in layer 1 alone the kernels of two inputs at right angles, docs/theory.md (17.3), give Theta1 and
    Theta2 of docs/theory.md (17.12) by docs/theory.md (17.13), extrapolated to kappa = 0. Negative control: the nearest
    kappa alone."""
    C_b, C_W = 0.05, 1.1
    series = theory.ntk_next_order("sin", 4, C_b, C_W, C_b + C_W, 0.0, [1.0, 0.0, 0.0, 0.0])
    quotients = []
    for kappa in (0.001, 0.002, 0.004):
        x = math.sqrt(2) * np.array([[1.0, math.sqrt(kappa)], [1.0, -math.sqrt(kappa)]])
        flow = theory.flow("sin", 4, C_b, C_W, x, order=2)
        found = np.array([flow["G1"][-1], flow["G2"][-1]])
        quotients.append((found[:, 0, 0] + found[:, 1, 1] - 2 * found[:, 0, 1]) / (4 * C_W * kappa))
    want = [series["Theta1"][-1], series["Theta2"][-1]]
    np.testing.assert_allclose((8 * quotients[0] - 6 * quotients[1] + quotients[2]) / 3, want, rtol=2e-4)
    assert np.abs(quotients[0] / want - 1).min() > 5e-3


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"K1=0\.0, C_W=1\.0: numbers above zero"):
        theory.ntk_next_order("tanh", 3, 0.0, 1.0, 0.0)
    with pytest.raises(ValueError, match=r"width_ratios=\[1\]: 2 numbers > 0"):
        theory.ntk_next_order("tanh", 3, 0.0, 1.0, 1.0, width_ratios=[1])
    with pytest.raises(ValueError, match=r"lambda_W=\[1\]: a number >= 0, or one for each of the 3 layers"):
        theory.ntk_next_order("tanh", 3, 0.0, 1.0, 1.0, lambda_W=[1])
    with pytest.raises(ValueError, match="depth=0"):
        theory.ntk_next_order("tanh", 0, 0.0, 1.0, 1.0)
    with pytest.raises(KeyError, match="B1"):
        theory.ntk_next_order("tanh", 2, 0.0, 1.0, 1.0)["B1"]
    assert {"Z", "T3", "Bh"} <= set(COEFFICIENTS)
    assert not (monomial(w=1) * monomial(g=1)).coefficients.any()
