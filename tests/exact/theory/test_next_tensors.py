"""G2, V2 and W of any inputs agree with tables, with the chain of one input, and with differences of averages."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest

from analysis import theory
from analysis.theory.activations import activation
from analysis.theory.gaussian import Expectations
from analysis.theory.kernel_derivatives import kernel_derivatives
from analysis.theory.next_tensors import NEXT

REFERENCE = json.loads((Path(__file__).parents[2] / "data" / "next_order_reference.json").read_text())
PAIRS = [(0, 0), (0, 1), (1, 1)]
ONE = {"tanh": (0.05, 1.2), "gelu": (0.1, 1.9), "sin": (0.1, 1.5), "relu": (0.1, 2.0), "linear": (0.2, 1.1)}


def inputs_of(gram: np.ndarray) -> np.ndarray:
    """Inputs x with x x^T / n_0 = gram."""
    return np.linalg.cholesky(gram) * math.sqrt(len(gram))


def by_pairs(tensor: np.ndarray) -> np.ndarray:
    """Components of one layer at pairs 00, 01, 11 of samples for each pair of axes."""
    places = itertools.product(PAIRS, repeat=tensor.ndim // 2)
    return np.array([tensor[tuple(itertools.chain(*place))] for place in places]).reshape((3,) * (tensor.ndim // 2))


def test_two_input_reference() -> None:
    """Tables of docs/theory.md (17.3), of ten digits. Negative control: the tensors of another bias."""
    table = REFERENCE["two_inputs"]["tanh"]
    layers = list(table["layers"].values())
    C_b, C_W = table["C_b"], table["C_W"]
    x = inputs_of((np.array(table["K1"]) - C_b) / C_W)
    flow, other = (
        theory.flow("tanh", len(layers), bias * table["C_b"], table["C_W"], x, order=2) for bias in (1, 1.01)
    )
    for name in ("K", "G1", "V", *NEXT):
        want = [np.array(row[name]) for row in layers]
        want = [by_pairs(row) for row in want] if name == "K" else want
        got, changed = ([by_pairs(row) for row in of[name]] for of in (flow, other))
        np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-10, err_msg=name)
        assert np.abs(np.array(changed) - want).max() > 1e-5, name


def test_unequal_widths_reference() -> None:
    """docs/theory.md (17.3) with ratios of widths, by docs/theory.md (17.2). Negative control: one width."""
    table = REFERENCE["chain_unequal_widths"]
    flow = theory.flow("tanh", 6, 0.0, 1.0, np.ones((1, 1)), width_ratios=table["rho"][1:], order=2)
    equal = theory.flow("tanh", 6, 0.0, 1.0, np.ones((1, 1)), order=2)
    for name in ("G1", "V", *NEXT):
        want = np.array([row[name] for row in table["tanh"]])
        np.testing.assert_allclose(flow[name].reshape(6), want, rtol=1e-8, atol=1e-11, err_msg=name)
        assert np.abs(equal[name].reshape(6) - want).max() > 1e-4


@pytest.mark.parametrize("name", ONE)
def test_one_of_many_inputs_is_the_chain_of_one(name: str) -> None:
    """The diagonal components of docs/theory.md (17.3) are those of docs/theory.md (17.2), and one input alone has them
    too."""
    C_b, C_W = ONE[name]
    x = inputs_of(np.array([[0.9, 0.3], [0.3, 1.2]]))
    two = theory.flow(name, 5, C_b, C_W, x, order=2)
    for a in range(2):
        K1 = C_b + C_W * float(x[a] @ x[a]) / 2
        chain = theory.next_order(name, 5, C_b, C_W, K1)
        one = theory.flow(name, 5, C_b, C_W, x[[a]], order=2)
        for tensor in NEXT:
            want, axes = getattr(chain, tensor), two[tensor].ndim - 1
            size = np.abs(chain.V2).max()  # G2 of scale-invariant ones is zero
            np.testing.assert_allclose(two[tensor][(slice(None), *[a] * axes)], want, rtol=1e-7, atol=1e-10 * size)
            np.testing.assert_allclose(one[tensor].reshape(5), want, rtol=1e-8, atol=1e-11 * size)


@pytest.mark.parametrize("name", ["tanh", "sin", "gelu", "relu", "leaky_relu(slope=0.3)"])
def test_derivatives_are_those_of_averages(name: str) -> None:
    """Each derivative in the kernel of docs/theory.md (17.1), taken along a symmetric X, is the difference quotient of
    the one before it; the averages themselves are held elsewhere. Negative control: the next derivative."""
    s = activation(name)
    K, X, h = np.array([[0.9, 0.3], [0.3, 1.2]]), np.array([[0.5, -0.2], [-0.2, 0.7]]), 1e-3

    def along(t: float, order: int, factors: str) -> np.ndarray:
        power = np.ones(())
        for _ in range(order):
            power = np.multiply.outer(power, X)
        return getattr(kernel_derivatives(Expectations(s, K + t * X), "G2"), factors)(order, power)

    e = Expectations(s, K)
    np.testing.assert_allclose(along(0, 0, "pair"), e.tensor(0, 0), rtol=1e-11)
    np.testing.assert_allclose(along(0, 0, "four"), e.tensor(0, 0, 0, 0), rtol=1e-11)
    for factors, orders in (("pair", 4), ("four", 2)):
        for order in range(1, orders + 1):
            left, right = (along(t, order - 1, factors) for t in (-h, h))
            far_left, far_right = (along(t, order - 1, factors) for t in (-2 * h, 2 * h))
            quotient = (8 * (right - left) - (far_right - far_left)) / (12 * h)
            got = along(0, order, factors)
            np.testing.assert_allclose(got, quotient, rtol=0, atol=1e-7 * max(np.abs(got).max(), 1))
            if order < orders:
                assert np.abs(along(0, order + 1, factors) - quotient).max() > 1e-3 * np.abs(quotient).max()


def test_more_inputs_change_nothing() -> None:
    """The components of docs/theory.md (17.3) depend on their own inputs alone, and a repeated input is one input."""
    x = np.random.default_rng(1).standard_normal((3, 6))
    two, three = (theory.flow("tanh", 3, 0.1, 1.5, rows, order=2) for rows in (x[:2], x))
    for tensor in NEXT:
        part = three[tensor][(slice(None), *[slice(2)] * (three[tensor].ndim - 1))]
        np.testing.assert_allclose(part, two[tensor], rtol=1e-8, atol=1e-11)
    again = theory.flow("tanh", 3, 0.1, 1.5, x[[0, 1, 0]], order=2)
    np.testing.assert_array_equal(again.W[:, 2, 1, 0, 1, 2, 0], two.W[:, 0, 1, 0, 1, 0, 0])  # type: ignore[index]


def test_parallel_and_close_inputs_of_smooth_activations() -> None:
    """Opposite inputs of an odd activation have g_01 = -g_00 in every network, so that docs/theory.md (17.3) of both is
    that of one; nothing in it needs the inverse of K."""
    x = np.array([[1.0, 0.5], [-1.0, -0.5], [1.0, 0.5001]])
    flow = theory.flow("tanh", 4, 0.0, 1.3, x, order=2)
    assert flow.G2 is not None
    assert flow.W is not None
    for a, b in ((0, 1), (0, 2)):
        sign = -1 if b == 1 else 1
        close = 1e-9 if b == 1 else 1e-3
        np.testing.assert_allclose(sign * flow.G2[:, a, b], flow.G2[:, a, a], rtol=close, atol=1e-12)
        np.testing.assert_allclose(sign * flow.W[:, a, b, a, a, a, a], flow.W[:, 0, 0, 0, 0, 0, 0], rtol=close)


def test_averages_at_points() -> None:
    """2^15 points give docs/theory.md (17.3) of two inputs to a percent of a tensor."""
    x = inputs_of(np.array([[0.9, 0.3], [0.3, 1.2]]))
    exact, sampled = (theory.flow("tanh", 3, 0.1, 1.4, x, order=2, points=points) for points in (None, 2**15))
    for tensor in NEXT:
        size = np.abs(exact[tensor]).max()
        assert 0 < np.abs(sampled[tensor] - exact[tensor]).max() < 0.01 * size, tensor


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"order": 3}, "order=3: 1, or 2 .* theory.chain has more"),
        (
            {"activation": "relu", "inputs": np.eye(3)},
            "the next order of relu is known for one or two",
        ),
        ({"activation": "relu", "inputs": [[1.0, 0.0], [1.0, 0.1]]}, "correlation of 0.995.* known up to 0.99"),
        ({"activation": "relu", "points": 64}, "points=64: .* of relu"),
        ({"inputs": np.eye(5)}, "inputs: 5 distinct ones; W averages products of six factors, .* give points"),
        ({"inputs": [[0.0, 0.0]], "C_b": 0.0}, "inputs: K=0 at one"),
    ],
)
def test_what_is_not_known_is_refused_by_name(arguments: dict, message: str) -> None:
    valid = {"activation": "tanh", "depth": 3, "C_b": 0.1, "C_W": 1.2, "inputs": np.eye(2), "order": 2}
    with pytest.raises(ValueError, match=message):
        theory.flow(**(valid | arguments))
