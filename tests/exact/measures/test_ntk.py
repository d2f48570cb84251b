"""Measures of the NTK find planted values, and tensors of two layers that are expectations (`TwoLayers`)."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from analysis.measures.measured import Measure
from analysis.measures.ntk import A, B, D, F, Theta1, ntk_mean, ntk_variance
from tests.exact.measures.gaussian import TwoLayers, expectation, sin
from tests.exact.measures.rows import NETWORKS, Array, Rows, Wanted, drawn, expect, holds, inputs_of, rows, signs

K = np.array([[1.0, 0.3], [0.3, 0.8]])
PAIRS = [(0, 0), (0, 1), (1, 1)]
TWO = TwoLayers(K, 0.3 + 0.7 * K, C_W=1.0, lambda_b=0.5, lambda_W=0.9)
SINES = [
    "activation=sin",
    "initialization=critical",
    "network.outputs=2",
    "dynamics.lambda_b=[0.3,0.5]",
    "dynamics.lambda_W=[0.7,0.9]",
    "network.depth=2",
    "network.width=8",
    "observables.record=[kernel,outputs,ntk]",
]


def made(*overrides: str) -> Rows:
    return rows(*SINES, *overrides, x=inputs_of(K))


def ntk(data: Rows, value: Callable[[tuple[int, int], tuple[int, int]], Any], layer: int = 2) -> Rows:
    """H_ij;ab = value((i, j), (a, b))."""
    return data.fill("H", layer, lambda i, j, a, b: value((i, j), (a, b)))


def wanted(
    tensor: str, groups: list[tuple[tuple[int, ...], ...]], estimate: list[float], theory: list[float]
) -> Wanted:
    size = np.abs(theory).max()
    components = {
        ",".join("".join(map(str, pair)) for pair in group): (e, t, size)
        for group, e, t in zip(groups, estimate, theory, strict=True)
    }
    return Wanted(tensor, 2, 0, components)


def test_ntk_mean() -> None:
    """Theta of docs/theory.md (2.3) is l (lambda_b + lambda_W K) for linear networks of one rate and equal outputs, and
    zero for distinct ones."""
    data = rows(
        "activation=linear",
        "initialization=critical",
        "network.depth=3",
        "network.width=8",
        "network.outputs=2",
        "dynamics.lambda_b=0.3",
        "dynamics.lambda_W=0.7",
        "observables.record=[ntk]",
        "observables.output_layers=[2,3]",
        x=inputs_of(K),
    )
    columns = data.layout.indices(data.family("H"))
    assert len(columns) == 10
    assert (0, 1, 1, 0) in columns
    means = np.linspace(1.0, 2.0, 10)
    for layer in (2, 3):
        data.fill("H", layer, lambda *index: 0.1 * signs(1)[0] + means[columns.index(index)])

    def check(data: Rows) -> None:
        out = []
        for layer in (2, 3):
            Theta = layer * (0.3 + 0.7 * K)
            components = {
                f"{i}{j},{a}{b}": (mean, Theta[a, b] * (i == j), np.sqrt(Theta[a, a] * Theta[b, b]))
                for (i, j, a, b), mean in zip(columns, means, strict=True)
            }
            out.append(Wanted("H", layer, 0, components))
        expect(list(ntk_mean(data.point, None)), *out)

    holds(check, data, data.scaled("H"), data.exchanged("H", (0, 0, 0, 0), (0, 1, 0, 1)))


def test_ntk_variance() -> None:
    """The variance of docs/theory.md (2.5) falls as 1/n."""
    data = made()
    variances = {(0, 0, 0, 0): 0.5, (0, 0, 1, 1): 2.0, (1, 1, 0, 0): 3.0, (1, 1, 1, 1): 0.1}
    unbiased = np.sqrt((NETWORKS - 1) / NETWORKS)
    data.fill("H", 2, lambda *index: 7 + unbiased * np.sqrt(variances.get(index, 9.0)) * signs(1)[0])

    def check(data: Rows) -> None:
        components = {"{}{},{}{}".format(*index): (np.log(variance), 1.0, 1.0) for index, variance in variances.items()}
        expect(list(ntk_variance(data.point, None)), Wanted("log Var H", 2, 0, components))

    holds(check, data, data.scaled("H"), data.exchanged("H", (0, 0, 1, 1), (0, 1, 0, 0)))


def test_Theta1() -> None:
    """In layer 2 the mean is exact, so that Theta1 vanishes; it is quoted relative to l Theta."""
    data, means = made(), np.array([0.3, -0.4, 0.2])

    def value(outputs: tuple[int, int], pair: tuple[int, int]) -> Any:
        if outputs[0] != outputs[1]:
            return 5.0
        shift = 0.2 if outputs == (0, 0) else -0.2  # one output is above the mean of both, the other below
        return TWO.Theta[pair] + means[PAIRS.index(pair)] / 8 + shift + 0.1 * signs(1)[0]

    ntk(data, value)

    def check(data: Rows) -> None:
        size = 2 * TWO.Theta.max()
        components = {f"{a}{b}": (mean, 0.0, size) for (a, b), mean in zip(PAIRS, means, strict=True)}
        expect(list(Theta1(data.point, None)), Wanted("Theta1", 2, 0, components))

    holds(check, data, data.scaled("H"), data.exchanged("H", (0, 0, 0, 0), (0, 0, 1, 1)))


def test_Theta1_of_three_layers() -> None:
    """Theta1 = (lambda_W/C_W) G1 + C_W (Theta V f''/2 + (D + 2 F) f') n_3/n_2, f = <s'^2> as a function of layer 2's
    kernel: D is the NTK's covariance with the kernel, 2 F comes from the weights that a neuron and its NTK share."""
    data = rows(
        *SINES,
        "network.depth=3",
        "network.width=[8,12]",
        "dynamics.lambda_b=[0.3,0.5,0.4]",
        "dynamics.lambda_W=[0.7,0.9,1.1]",
        x=inputs_of([[0.9]]),
    )
    two = TwoLayers(np.array([[0.9]]), np.array([[0.3 + 0.7 * 0.9]]), C_W=1.0, lambda_b=0.5, lambda_W=0.9)
    step, kernel = 1e-3, two.K.item()

    def square(order: int, K: float) -> float:
        return float(expectation(lambda z: sin(order)(z) ** 2, np.array([[K]])).item())

    def slope(order: int) -> float:
        return (square(order, kernel + step) - square(order, kernel - step)) / (2 * step)

    def bend(order: int) -> float:
        return (square(order, kernel + step) - 2 * square(order, kernel) + square(order, kernel - step)) / step**2

    V, D_, F_, frozen = (tensor.item() for tensor in (two.V, two.D, two.F, two.Theta))
    predicted = 12 / 8 * (1.1 * V * bend(0) / 2 + frozen * V * bend(1) / 2 + (D_ + 2 * F_) * slope(1))
    Theta = 0.4 + 1.1 * square(0, kernel) + frozen * square(1, kernel)
    ntk(data, lambda outputs, pair: Theta + 0.5 / 12 + 0.1 * signs(1)[0], layer=3)

    def check(data: Rows) -> None:
        components = {"00": (0.5, predicted, abs(predicted))}
        expect(list(Theta1(data.point, None)), Wanted("Theta1", 3, 0, components), rtol=1e-5)

    assert abs(predicted) > 0.1
    holds(check, data, data.scaled("H"))


def test_A() -> None:
    """A of docs/theory.md (2.5) by the estimator of docs/theory.md (7.5); exchanging the two outputs gives the other
    half of the estimate."""
    data, planted = made(), np.array([[0.5, 0.1, 0.2], [0.3, 0.4, 0.1], [0.0, 0.2, 0.6]])
    values = drawn(np.ones(6), np.block([[2 * np.eye(3), planted], [planted.T, 2 * np.eye(3)]]) / 8)

    def value(outputs: tuple[int, int], pair: tuple[int, int]) -> Any:
        place = {(0, 0): 0, (1, 1): 3}
        return values[place[outputs] + PAIRS.index(pair)] if outputs in place else 9 * signs(2)[1]

    ntk(data, value)
    chosen = list(itertools.combinations_with_replacement(range(3), 2))

    def check(data: Rows) -> None:
        groups = [(PAIRS[p], PAIRS[q]) for p, q in chosen]
        estimate = [(planted[p, q] + planted[q, p]) / 2 for p, q in chosen]
        theory = [float(TWO.A[(*first, *second)]) for first, second in groups]
        expect(list(A(data.point, None)), wanted("A", groups, estimate, theory))

    holds(check, data, data.scaled("H"), data.exchanged("H", (1, 1, 0, 0), (1, 1, 0, 1)))


def test_B() -> None:
    """B of docs/theory.md (2.5) by the estimator of docs/theory.md (7.5). Exchanging the outputs takes H_01;ab to
    H_01;ba and gives the other half of the estimate; H_01;01 H_01;10 is a component of its own."""
    data, pairs = made(), [(0, 0), (0, 1), (1, 0), (1, 1)]
    planted = np.array([[0.5, 0.1, 0.2, 0.1], [0.1, 0.4, 0.15, 0.1], [0.2, 0.15, 0.7, 0.3], [0.1, 0.1, 0.3, 0.6]])
    means = np.array([0.05, 0.1, 0.08, -0.05])  # no mean is subtracted
    values = drawn(means, (planted / 8 - np.outer(means, means)) * NETWORKS / (NETWORKS - 1))
    ntk(data, lambda outputs, pair: values[pairs.index(pair)] if outputs == (0, 1) else 9.0)

    def check(data: Rows) -> None:
        groups = [*itertools.combinations_with_replacement(PAIRS, 2)]
        groups.insert(4, ((0, 1), (1, 0)))
        places = [[pairs.index(pair) for pair in (p, q, p[::-1], q[::-1])] for p, q in groups]
        estimate = [(planted[i, j] + planted[k, l]) / 2 for i, j, k, l in places]
        theory = [float(TWO.B[(*p, *q)]) for p, q in groups]
        expect(list(B(data.point, None)), wanted("B", groups, estimate, theory))

    holds(check, data, data.scaled("H"), data.exchanged("H", (0, 1, 0, 1), (0, 1, 1, 1)))


def test_D() -> None:
    """D of docs/theory.md (2.6) is the kernel's covariance with the mean of H over both outputs: docs/theory.md
    (7.9)."""
    data, planted = made(), np.array([[0.5, 0.1, 0.2], [0.3, 0.4, 0.1], [0.0, 0.2, 0.6]])
    values = drawn(np.ones(6), np.block([[2 * np.eye(3), planted], [planted.T, 2 * np.eye(3)]]) / 8)
    data.fill("g", 2, lambda *pair: values[PAIRS.index(pair)])

    def value(outputs: tuple[int, int], pair: tuple[int, int]) -> Any:
        if outputs[0] != outputs[1]:
            return 9.0
        apart = 3.0 * values[0] if outputs == (0, 0) else -3.0 * values[0]  # cancels in the mean of both
        return values[3 + PAIRS.index(pair)] + apart

    ntk(data, value)

    def check(data: Rows) -> None:
        groups = list(itertools.product(PAIRS, PAIRS))
        theory = [float(TWO.D[(*p, *q)]) for p, q in groups]
        expect(list(D(data.point, None)), wanted("D", groups, planted.reshape(-1).tolist(), theory))

    holds(check, data, data.scaled("H"), data.scaled("g"), data.exchanged("g", (0, 0), (0, 1)))


def test_F() -> None:
    """F of docs/theory.md (2.6) by the estimator of docs/theory.md (7.5). Outputs are signs, and H_01;cd is built of
    their products: each mean of three factors is the one put in."""
    data, z = made(), signs(4).reshape(2, 2, NETWORKS)
    ordered = [(0, 0), (0, 1), (1, 0), (1, 1)]
    planted = {pair: np.arange(4).reshape(2, 2) + place**2 for place, pair in enumerate(ordered, start=1)}
    data.fill("z", 2, lambda i, a: z[i, a])

    def value(outputs: tuple[int, int], pair: tuple[int, int]) -> Any:
        if outputs != (0, 1):
            return 9.0
        return np.einsum("ab,am,bm->m", planted[pair], z[0], z[1]) / 8 + 0.3 * signs(5)[4]

    ntk(data, value)

    def check(data: Rows) -> None:
        groups = [*itertools.product(PAIRS, PAIRS)]
        groups.insert(5, ((0, 1), (1, 0)))
        estimate = [float(planted[q][p] + planted[q[::-1]][p[::-1]]) / 2 for p, q in groups]
        theory = [float(TWO.F[(*p, *q)]) for p, q in groups]
        expect(list(F(data.point, None)), wanted("F", groups, estimate, theory))

    holds(check, data, data.scaled("H"), data.scaled("z"), data.exchanged("H", (0, 1, 0, 1), (0, 1, 1, 1)))


@pytest.mark.parametrize("measure", [A, B, D, F, Theta1])
def test_chosen_pairs(measure: Measure) -> None:
    """Nothing is measured for pairs that were not recorded."""
    data = made("observables.tuples={ntk: [[0,0],[1,1]]}")
    for prefix in ("g", "z", "H"):
        data.fill(prefix, 2, lambda *index: signs(1)[0])
    (measured,) = measure(data.point, None)
    labels = [text.split(",")[-1] for text in measured.samples]
    assert set(labels) == {"00", "11"}


@pytest.mark.parametrize("measure", [A, B, D, F, Theta1])
def test_predictions_of_other_rates_differ(measure: Measure) -> None:
    """Negative control of the theory: other rates in the settings give other predictions."""

    def theory(*overrides: str) -> Array:
        data = made(*overrides, "network.depth=3", "network.width=[8,8]", "dynamics.lambda_b=0.1")
        for prefix in ("g", "z", "H"):
            data.fill(prefix, 3, lambda *index: signs(1)[0])
        return next(measure(data.point, [3])).theory

    assert not np.allclose(theory("dynamics.lambda_W=1.0"), theory("dynamics.lambda_W=1.1"), rtol=1e-3)


def test_more_outputs_are_more_pairs() -> None:
    """A, B and F average all ordered pairs of distinct outputs: with three outputs of which only two have values, each
    is the third part of what these two give."""
    *z, common = signs(5)
    found = []
    for count in (2, 3):
        data = made(f"network.outputs={count}").fill("z", 2, lambda i, a: z[2 * i + a] if i < 2 else 0.0)
        ntk(data, lambda ij, ab: (z[ab[0]] * z[2 + ab[1]] + common) * (1 + ab[0] + 2 * ab[1]) if max(ij) < 2 else 0.0)
        found.append([next(measure(data.point, None)).estimate.value for measure in (A, B, F)])
    for two, three in zip(*found, strict=True):
        np.testing.assert_allclose(three, two / 3, rtol=1e-12, atol=1e-13)
        assert np.abs(two).max() > 1


def test_the_scale_of_unequal_widths() -> None:
    """n is the smallest width, and the shape holds their ratios."""
    point = made("network.depth=4", "network.width=[24,48,24]", "dynamics.lambda_b=1", "dynamics.lambda_W=1").point
    assert (point.n, point.shape) == (24, (1, 2, 1))
