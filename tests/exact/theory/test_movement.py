"""The movement of the NTK and of hidden kernels agrees with reference numbers and with special cases."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from analysis import theory
from analysis.theory import movement, nearly_kernel

REFERENCE = json.loads((Path(__file__).parents[2] / "data" / "movement_reference.json").read_text())
CASES = ["tanh L=3 descent", "tanh L=3 momentum"]


@pytest.fixture(scope="module")
def three_inputs() -> tuple[theory.Flow, dict[int, movement.Hidden]]:
    """The theory of tanh at depth 3, which all reference cases share."""
    x = np.array(REFERENCE[CASES[0]]["settings"]["inputs"])
    flow = theory.flow("tanh", 3, 0.0, 1.0, x, 1.0, 1.0, tensors=movement.TENSORS)
    return flow, movement.hidden_tensors(flow, "tanh", 0.0, 1.0, [1.0] * 3)


@pytest.mark.parametrize("name", CASES)
def test_movement_reference(name: str, three_inputs: tuple[theory.Flow, dict[int, movement.Hidden]]) -> None:
    """n E dH of docs/theory.md (5.33) and n E dg of docs/theory.md (5.36), for the descent and the momentum of
    docs/theory.md (5.24), on two train samples and a test sample. Negative control: one step fewer."""
    (flow, hidden), case = three_inputs, REFERENCE[name]["settings"]
    assert list(hidden) == [2, 3]
    for step, known in REFERENCE[name]["steps"].items():
        ways = [
            movement.path(flow, np.array(case["targets"]), case["eta"], steps, case["algorithm"], case["momentum"])
            for steps in (int(step), max(int(step) - 1, 0))
        ]
        right, wrong = (
            [movement.ntk_movement(flow, way), *(movement.kernel_movement(tensors, way) for tensors in hidden.values())]
            for way in ways
        )
        wanted = [known["dH"], *known["dg"].values()]
        for found, want in zip(right, wanted, strict=True):
            np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-7)
        if 0 < int(step) < 20:
            assert not any(np.allclose(found, want, rtol=0.01) for found, want in zip(wrong, wanted, strict=True))


def test_the_flow_is_the_limit_of_small_steps(three_inputs: tuple[theory.Flow, dict[int, movement.Hidden]]) -> None:
    """The integrals of docs/theory.md (5.24), by descent of 4,000 and 8,000 steps extrapolated to none. Negative
    control: without extrapolation."""
    (flow, hidden), targets = three_inputs, np.array([[1.0], [-0.7]])
    ways = [
        movement.path(flow, targets, 2.0 / steps, steps, name)
        for steps, name in ((1, "gradient_flow"), (4000, "gradient_descent"), (8000, "gradient_descent"))
    ]
    for moved in (partial(movement.ntk_movement, flow), partial(movement.kernel_movement, hidden[2])):
        exact, coarse, fine = (moved(way) for way in ways)
        np.testing.assert_allclose(2 * fine - coarse, exact, rtol=1e-5)
        assert not np.allclose(fine, exact, rtol=1e-5)


def path_by_samples(Tt: np.ndarray, S: np.ndarray, etas: list[float], mu: float) -> movement.Path:
    """The path of Nesterov's algorithm of docs/theory.md (5.24), by its recursion on a and b from each column of a root
    of the second moment S of e0."""
    N, columns = len(Tt), np.linalg.cholesky(S).T
    ends = []
    for e0 in [*columns, *np.eye(N)]:
        a, b, u, w = np.zeros(N), np.zeros((N, N)), np.zeros(N), np.zeros((N, N))
        for eta in etas:
            ahead = a - eta * mu * u
            e = e0 + Tt @ ahead
            u, w = mu * u + e, mu * w + np.outer(e, ahead)
            a, b = a - eta * u, b - eta * w
        ends.append((a, b))
    squares, mixed = (sum(terms) for terms in zip(*[(np.outer(a, a), b) for a, b in ends[:N]], strict=True))
    return movement.Path(np.array([a for a, _ in ends[N:]]).T, squares, mixed)


def test_nesterov_and_schedules_are_their_recursions() -> None:
    """The path of docs/theory.md (5.24) with an eta of its own in each step; a flow knows the sum of its times alone.
    Negative control: the etas in another order."""
    flow = theory.flow("tanh", 2, 0.1, 1.2, [[1.0, 0.3], [-0.4, 1.2]], 0.5, 0.8, tensors=["Theta"])
    y, etas = np.array([[0.7], [-1.1]]), [0.3, 0.1, 0.4, 0.2, 0.05]
    found, swapped = (movement.path(flow, y, order, 4, "nesterov", 0.6) for order in (etas, etas[::-1]))
    wanted = path_by_samples(flow["Theta"][-1], flow["K"][-1] + y @ y.T, etas[:4], 0.6)
    for name in ("first", "squares", "mixed"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-12)
        assert not np.allclose(getattr(swapped, name), getattr(wanted, name), rtol=0.01)
    by_steps, at_once = (movement.path(flow, y, eta, len(eta), "gradient_flow") for eta in (etas, [sum(etas)]))
    np.testing.assert_allclose(by_steps.mixed, at_once.mixed, rtol=1e-12)


def test_hidden_tensors_reference() -> None:
    """p, r and s of docs/theory.md (5.34) and (5.35) at one input, for the layers l of networks of depth L."""
    known = REFERENCE["hidden tensors tanh one input"]
    for L in (2, 3, 4, 5):
        flow = theory.flow("tanh", L, 0.0, 1.0, np.ones((1, 1)), 1.0, 1.0, tensors=movement.TENSORS)
        hidden = movement.hidden_tensors(flow, "tanh", 0.0, 1.0, [1.0] * L)
        for layer, tensors in hidden.items():
            found = [float(np.ravel(x)[0]) for x in (tensors.p, tensors.r, tensors.s)]
            np.testing.assert_allclose(found, known[f"l={layer} L={L}"], rtol=1e-6)


def test_the_movement_has_the_special_cases() -> None:
    """docs/theory.md (5.33) is docs/theory.md (5.10) after one step, and docs/theory.md (5.9) at the end of a flow."""
    flow = theory.flow("tanh", 3, 0.1, 1.2, [[1.0, 0.3], [-0.4, 1.2]], 0.5, 0.8, tensors=movement.TENSORS)
    targets = np.array([[0.7], [-1.1]])
    step = movement.ntk_movement(flow, movement.path(flow, targets, 0.2, 1, "gradient_descent"))
    np.testing.assert_allclose(step, nearly_kernel.ntk_change_of_step(flow, targets, 0.2), rtol=1e-12)
    one = theory.flow("tanh", 3, 0.1, 1.2, [[1.0, 0.3]], 0.5, 0.8, tensors=movement.TENSORS)
    end = movement.ntk_movement(one, movement.path(one, targets[:1], 0.1, 2000, "gradient_flow"))
    np.testing.assert_allclose(end[0, 0], nearly_kernel.ntk_change_of_flow(one, 0.7), rtol=1e-12)


def test_refusals() -> None:
    flow = theory.flow("relu", 2, 0.0, 2.0, np.ones((1, 1)), tensors=["Theta"])
    with pytest.raises(
        ValueError, match="algorithm='sgd': known are gradient_descent, momentum, nesterov, gradient_flow"
    ):
        movement.path(flow, np.ones((1, 1)), 0.1, 3, "sgd")
    with pytest.raises(ValueError, match="targets: 2 outputs"):
        movement.path(flow, np.ones((1, 2)), 0.1, 3, "momentum")
    with pytest.raises(ValueError, match="activation=relu: hidden kernels move"):
        movement.hidden_tensors(flow, "relu", 0.0, 2.0, [1.0, 1.0])
