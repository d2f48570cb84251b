"""Measures of how training changes kernels and the NTK find planted changes.

Their theory is derived here from the equations of motion of linear networks of two layers, and not from the tensors of
`analysis.theory`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from analysis.measures.measured import Measure, Measured
from analysis.measures.representations import (
    kernel_change_size,
    kernel_movement,
    movement_growth,
    ntk_change,
    ntk_change_controlled,
    ntk_change_of_step,
    ntk_change_size,
    ntk_movement,
)
from tests.exact.measures.rows import NETWORKS, Array, Rows, Wanted, expect, holds, inputs_of, rows, signs

WIDTH = 8


def made(*overrides: str, x: Array, y: Any) -> Rows:
    return rows(
        "activation=linear",
        "initialization=critical",
        "network.depth=2",
        f"network.width={WIDTH}",
        "dynamics=gradient_descent",
        "dynamics.lambda_b=0",
        "dynamics.eta=0.2",
        "dynamics.steps=1",
        "observables.record=[kernel,outputs,ntk]",
        "observables.steps=[0,1]",
        *overrides,
        x=x,
        y=y,
    )


def flowing(k: float, target: float, *overrides: str) -> Rows:
    """A data set of one sample with K = k that is trained by the flow, for 600 steps of 0.02 if not told otherwise."""
    return made(
        "dynamics=gradient_flow",
        "dynamics.eta=0.02",
        "dynamics.lambda_b=0",
        "dynamics.steps=600",
        "observables.steps=[0,600]",
        "observables.record=[kernel,ntk,movement_controls]",
        *overrides,
        x=inputs_of([[k]]),
        y=[[target]],
    )


@pytest.mark.parametrize("target", [1.0, -2.0])
def test_ntk_change(target: float) -> None:
    """By gradient flow dz/dt = -(z - y) H and n dH/dt = -4 k (z - y) z, so H^2 changes by (4 k/n)(y^2 - z(0)^2) and,
    with E z^2 = k and Theta = 2 k, n E[H(T) - H(0)] is y^2 - k."""
    k, data = 0.7, flowing(0.7, target)
    start = 1 + 0.3 * signs(1)[0]
    data.fill("H", 2, lambda *index: start).fill("H", 2, lambda *index: start + (0.4 + signs(2)[1]) / WIDTH, step=600)

    def check(data: Rows) -> None:
        predicted = target**2 - k
        components = {"00": (0.4, predicted, abs(predicted))}
        expect(list(ntk_change(data.point, None)), Wanted("n dH", 2, 600, components), rtol=1e-6)

    holds(check, data, data.scaled("H"))


def test_ntk_change_controlled() -> None:
    """Of changes 0.4 + a + b and controls 0.3 + 2 a, less 0.1 + c of untrained networks, for orthogonal signs a, b and
    c, the multiple is 2/5, and the estimate 0.4 - (2/5) 0.2. Its error is that of a/5 + b + 2 c/5. Negative controls:
    another mean over untrained networks, and the plain estimate."""
    a, b, c = signs(3)
    data = flowing(0.7, 1.0)
    data.fill("H", 2, lambda *index: 1.0).fill("H", 2, lambda *index: 1 + (0.4 + a + b) / WIDTH, step=600)
    data.fill("dHs", 2, lambda *index: (0.3 + 2 * a) / WIDTH).fill("dHu", 2, lambda *index: (0.1 + c) / WIDTH)

    def check(data: Rows) -> None:
        wanted = Wanted("n dH", 2, 600, {"00": (0.4 - 0.2 * 2 / 5, 0.3, 0.3)})
        found = list(ntk_change_controlled(data.point, None))
        expect(found, wanted, rtol=1e-6)
        error = np.sqrt((1 / 25 + 1 + 4 / 25) / NETWORKS)
        np.testing.assert_allclose(found[0].estimate.error, error, rtol=0.02)

    holds(check, data, data.scaled("dHu"))
    (plain,) = ntk_change(data.point, None)
    np.testing.assert_allclose(plain.estimate.value, 0.4)


def test_movement_growth() -> None:
    """n E dH is y^2 - k and 8 (y^2 - k)/3 at two and three layers, by docs/theory.md (5.9) with Q = k^2 and 4 k^2 and
    S = T = k^2 and 6 k^2, and n E dg is (y^2 - k)/2 and y^2 - k, by docs/theory.md (5.36) with p = 2 k^2 and 6 k^2 and
    r + s = 4 k^2 and 18 k^2. Negative controls: another change of H, and of g, and the depths exchanged."""
    k, target, changes = 0.7, 2.0, {2: (0.4, 0.3), 3: (0.9, 0.5)}
    steps = ("dynamics.eta=0.1", "dynamics.steps=120", "observables.steps=[0,120]")
    both = {depth: flowing(k, target, *steps, f"network.depth={depth}") for depth in changes}
    for depth, data in both.items():
        for family, change in zip("Hg", changes[depth], strict=True):
            data.fill(family, depth, lambda *index: 1.0)
            data.fill(family, depth, lambda *index, c=change: 1 + c / WIDTH * (1 + signs(1)[0] / 9), step=120)
    lever = np.log(3 / 2)

    def check(data: Rows, reference: Rows = both[2]) -> None:
        of_H, of_g = np.log([[0.9 / 0.4 * 2 / 3, 8 / 3 * 2 / 3], [0.5 / 0.3, 2]]) / lever
        wanted = [Wanted("p of dH", 3, 120, {"00": (*of_H, 1.0)}), Wanted("p of dg", 3, 120, {"00": (*of_g, 1.0)})]
        expect(list(movement_growth(data.point, reference.point, None)), *wanted, rtol=1e-4)

    holds(check, both[3], both[3].scaled("H"), both[3].scaled("g"))
    with pytest.raises(AssertionError):
        check(both[2], both[3])
    assert not list(movement_growth(both[2].point, both[2].point, None))


def change_of_step(k: Array, y: Array, eta: float) -> Array:
    """n E[H_ab(1) - H_ab(0)] of H_ab = sum_j a_ja a_jb / n + k_ab sum_j W_j^2 as n grows: in a step W_j and a_ja change
    by -(eta/n) sum_c (z_c - y_c) a_jc and -eta sum_c (z_c - y_c) k_ac W_j."""
    spread = k + np.outer(y, y)  # E (z - y)(z - y)
    hidden = -2 * eta * k @ k + eta**2 * k @ spread @ k
    return hidden + k * (eta**2 * np.sum(spread * k) - 2 * eta * np.trace(k))


def test_ntk_change_of_step() -> None:
    k, y = np.array([[1.0, 0.3], [0.3, 0.8]]), np.array([1.0, -2.0])
    data, planted = made(x=inputs_of(k), y=y[:, None]), {(0, 0): 0.4, (0, 1): -0.3, (1, 1): 0.2}
    data.fill("H", 2, lambda i, j, a, b: a + b + signs(1)[0])
    data.fill("H", 2, lambda i, j, a, b: a + b + signs(1)[0] + (planted[a, b] + 0.2 * signs(2)[1]) / WIDTH, step=1)
    predicted = change_of_step(k, y, 0.2)

    def check(data: Rows) -> None:
        size = np.abs(predicted).max()
        components = {f"{a}{b}": (value, predicted[a, b], size) for (a, b), value in planted.items()}
        expect(list(ntk_change_of_step(data.point, None)), Wanted("n dH", 2, 1, components))

    assert np.linalg.matrix_rank(predicted) == 2
    holds(check, data, data.scaled("H"), data.exchanged("H", (0, 0, 0, 0), (0, 0, 0, 1)))


def movement_of_descent(k: Array, y: Array, eta: float, steps: int) -> tuple[Array, Array]:
    """n E[g_ab(t) - g_ab(0)] and n E[H_ab(t) - H_ab(0)] as n grows, for z = sum_j W_j a_j and H_ab = g_ab + k_ab sum_j
    W_j^2 with g_ab = sum_j a_ja a_jb / n. With e = z - y a step moves a_ja by -eta (k e)_a W_j, and W_j by -(eta/n)
    e.a_j."""
    spread, left = k + np.outer(y, y), np.eye(len(k))  # e(t) = left e(0)
    g, square = np.zeros_like(k), 0.0
    for _ in range(steps):
        ee = left @ spread @ left.T
        ez = ee - np.outer(left @ y, y)
        g += -eta * (k @ ez + (k @ ez).T) + eta**2 * k @ ee @ k
        square += -2 * eta * np.trace(ez) + eta**2 * np.sum(ee * k)
        left = left - 2 * eta * k @ left
    return g, g + k * square


K, TARGETS, ETA = np.array([[1.0, 0.3], [0.3, 0.8]]), np.array([1.0, -2.0]), 0.2
CHANGES = {1: {(0, 0): 0.4, (0, 1): -0.3, (1, 1): 0.2}, 3: {(0, 0): -0.5, (0, 1): 0.1, (1, 1): 0.7}}


def planted(prefix: str) -> Rows:
    """Rows of a family whose columns have moved by CHANGES / WIDTH in the mean, after one and three steps."""
    data = made("dynamics.steps=3", "observables.steps=[0,1,3]", x=inputs_of(K), y=TARGETS[:, None])
    data.fill(prefix, 2, lambda *index: sum(index) + signs(1)[0])
    for step, changes in CHANGES.items():

        def after(*index: int, changes: dict[tuple[int, int], float] = changes) -> Array:
            return sum(index) + signs(1)[0] + (changes[index[-2:]] + 0.2 * signs(2)[1]) / WIDTH

        data.fill(prefix, 2, after, step=step)
    return data


def check_movement(measure: Measure, prefix: str, tensor: str, place: int, swap: tuple[tuple[int, ...], ...]) -> None:
    """Every step is held against the equations of motion. place: 0 for g, 1 for H."""
    data = planted(prefix)

    def check(data: Rows) -> None:
        wanted = []
        for step, changes in CHANGES.items():
            predicted = movement_of_descent(K, TARGETS, ETA, step)[place]
            components = {
                f"{a}{b}": (change, predicted[a, b], np.abs(predicted).max()) for (a, b), change in changes.items()
            }
            wanted.append(Wanted(tensor, 2, step, components))
        expect(list(measure(data.point, None)), *wanted)

    np.testing.assert_allclose(movement_of_descent(K, TARGETS, ETA, 1)[1], change_of_step(K, TARGETS, ETA))
    holds(check, data, data.scaled(prefix), data.exchanged(prefix, *swap))


def test_ntk_movement() -> None:
    check_movement(ntk_movement, "H", "n dH(t)", 1, ((0, 0, 0, 0), (0, 0, 0, 1)))


@pytest.mark.parametrize("given", [["network=residual", "network.skip=0.5"], ["initialization=orthogonal"]])
def test_movement_without_a_theory(given: list[str]) -> None:
    """n E dH of networks with skips or orthogonal weights is measured, in units of its largest component. Negative
    control: plain networks have a theory."""

    def measured(*beyond: str) -> list[Measured]:
        data = made("activation=tanh", *beyond, "network.depth=3", x=inputs_of(K), y=TARGETS[:, None])
        for step in (0, 1):
            data.fill("H", 3, lambda i, j, a, b, step=step: 1 + signs(1)[0] + step * (a - 2 * b) / WIDTH, step)
        return list(ntk_movement(data.point, None))

    (found,) = measured(*given)
    assert np.isnan(found.theory).all()
    np.testing.assert_allclose(found.estimate.value, [0.0, -2.0, -1.0], atol=1e-12)
    np.testing.assert_allclose(found.scale, 2.0)
    assert np.isfinite(measured()[0].theory).all()


def test_kernel_movement() -> None:
    check_movement(kernel_movement, "g", "n dg(t)", 0, ((0, 0), (0, 1)))


def moved(
    prefix: str, layers: tuple[int, ...], diagonal: Callable[[tuple[int, ...]], float | None], outputs: int = 1
) -> Rows:
    """Rows of a family whose diagonal components move up or down by `diagonal` of their index."""
    k = np.array([[1.0, 0.3], [0.3, 0.8]])
    given = ["observables.output_layers=[2,3]", "network.depth=3", f"network.outputs={outputs}"]
    data = made(*given, x=inputs_of(k), y=np.ones((2, outputs)))

    def change(*index: int) -> Any:
        size = diagonal(index)
        return (9.0 if size is None else size) * signs(1)[0]

    for layer in layers:
        data.fill(prefix, layer, lambda *index: 1 + signs(2)[1])
        data.fill(prefix, layer, lambda *index, l=layer: 1 + signs(2)[1] + l * change(*index), step=1)
    return data


def sized(measure: Measure, tensor: str, layers: tuple[int, ...]) -> Callable[[Rows], None]:
    def check(data: Rows) -> None:
        wanted = [
            Wanted(tensor, l, 1, {"00": (np.log((0.5 * l) ** 2), 2.0, 1.0), "11": (np.log((0.2 * l) ** 2), 2.0, 1.0)})
            for l in layers
        ]
        expect(list(measure(data.point, None)), *wanted)

    return check


def test_kernel_change_size() -> None:
    data = moved("g", (2, 3), lambda index: {(0, 0): 0.5, (1, 1): 0.2}.get(index))
    holds(sized(kernel_change_size, "log dg^2", (2, 3)), data, data.scaled("g"), data.exchanged("g", (0, 0), (0, 1)))


def test_ntk_change_size() -> None:
    data = moved("H", (2, 3), lambda index: {(0, 0, 0, 0): 0.5, (0, 0, 1, 1): 0.2}.get(index))
    swapped = data.exchanged("H", (0, 0, 0, 0), (0, 0, 0, 1))
    holds(sized(ntk_change_size, "log dH^2 in training", (2, 3)), data, data.scaled("H"), swapped)


def test_ntk_change_size_of_two_outputs() -> None:
    """Outputs are averaged in one series for each sample: 0.5^2 is the mean of 0.7^2 and 0.1^2."""
    sizes = {(0, 0, 0, 0): 0.7, (1, 1, 0, 0): 0.1, (0, 0, 1, 1): 0.2, (1, 1, 1, 1): 0.2}
    data = moved("H", (2, 3), sizes.get, outputs=2)
    swapped = data.exchanged("H", (0, 0, 0, 0), (0, 1, 0, 0))
    holds(sized(ntk_change_size, "log dH^2 in training", (2, 3)), data, data.scaled("H"), swapped)
