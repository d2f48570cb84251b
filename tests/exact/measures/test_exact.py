"""Measures against the exact law of g find planted values, and laws that are known in closed form.

Deep linear networks with C_b = 0, C_W = 1 and kernel K in layer 1 have E g = K, and docs/theory.md (6.2) for the higher
moments. Two layers of sines have the cumulants of one neuron.
"""

import math

import numpy as np
import pytest
from numpy.typing import ArrayLike

from analysis.measures.exact import kurtosis, metric, six_point, spread, vertex
from tests.exact.measures.gaussian import expectation
from tests.exact.measures.rows import NETWORKS, Rows, Wanted, drawn, expect, holds, inputs_of, rows, signs

K = np.array([[1.0, 0.3], [0.3, 0.8]])
PAIRS = [(0, 0), (0, 1), (1, 1)]
WIDTHS = [5, 7]
LINEAR = ["activation=linear", "initialization=critical", "network.depth=3", "network.width=[5,7]"]
SINES = ["activation=sin", "initialization=critical", "network.depth=2", "network.width=6"]


def moment(power: int, layer: int) -> float:
    """E (g/K)^power of linear networks in a layer, docs/theory.md (6.2)."""
    return math.prod(1 + 2 * j / n for n in WIDTHS[: layer - 1] for j in range(power))


def kernels(data: Rows, layer: int, mean: ArrayLike, covariance: ArrayLike) -> Rows:
    """Fill in g of two samples at a layer with this mean and covariance."""
    values = drawn(mean, covariance)
    return data.fill("g", layer, lambda *pair: values[PAIRS.index(pair)])


def test_V_exact() -> None:
    """Unequal widths n_1 = 5 and n_2 = 7: Var g = K^2 (1 + 2/5)(1 + 2/7) - K^2 in layer 3."""
    data = rows(*LINEAR, x=inputs_of(K))
    for layer in (2, 3):
        unit = np.array([K[0, 0] ** 2, 0.4, K[1, 1] ** 2]) * (moment(2, layer) - 1)
        kernels(data, layer, [1.0, 0.2, 0.9], np.diag(unit * np.array([1.1, 5.0, 0.7])))

    def check(data: Rows) -> None:
        components = {"00,00": (1.1, 1.0, 1.0), "11,11": (0.7, 1.0, 1.0)}
        expect(list(vertex(data.point, None)), *[Wanted("V / exact", l, 0, components) for l in (2, 3)])

    holds(check, data, data.scaled("g"), data.exchanged("g", (0, 0), (1, 1)))


def test_spread_exact() -> None:
    """Var g/(E g)^2 of linear networks is (1 + 2/5)(1 + 2/7) - 1 in layer 3; the size of g makes no difference."""
    data = rows(*LINEAR, x=inputs_of(K))
    for layer in (2, 3):
        unit = np.array([1.21, 0.4, 0.81]) * (moment(2, layer) - 1)
        kernels(data, layer, [1.1, 0.2, 0.9], np.diag(unit * np.array([1.1, 5.0, 0.7])))

    def check(data: Rows) -> None:
        components = {"00,00": (1.1, 1.0, 1.0), "11,11": (0.7, 1.0, 1.0)}
        expect(list(spread(data.point, None)), *[Wanted("spread / exact", l, 0, components) for l in (2, 3)])

    check(data.scaled("g"))
    holds(check, data, data.exchanged("g", (0, 0), (1, 1)), data.exchanged("g", (0, 0), (0, 1)))


def test_G1_exact() -> None:
    """For linear networks E g = K, and the unit is l K/n with n the width below."""
    data = rows(*LINEAR, x=inputs_of(K))
    found = {2: [1.2, 0.0, 0.7], 3: [0.9, 0.0, 1.1]}
    for layer, mean in found.items():
        kernels(data, layer, mean, 0.01 * np.eye(3))

    def check(data: Rows) -> None:
        wanted = []
        for layer, n in ((2, 5), (3, 7)):
            components = {f"{a}{a}": ((found[layer][2 * a] / K[a, a] - 1) * n / layer, 0.0, 1.0) for a in (0, 1)}
            wanted.append(Wanted("G - exact", layer, 0, components))
        expect(list(metric(data.point, None)), *wanted)

    holds(check, data, data.scaled("g"), data.exchanged("g", (0, 0), (1, 1)))


def test_G1_exact_where_the_mean_shifts() -> None:
    """Sines, n_1 = 6: E g(3) = <<sin^2>> = (1 - E e^{-2 g(2)})/2, with E e^{-2 g(2)} the sixth power of one neuron's
    mean, docs/theory.md (1.11). The unit is the distance from K."""
    data = rows(*SINES, "network.depth=3", x=inputs_of(K))
    mean, infinite = np.zeros(2), np.zeros(2)
    for a in (0, 1):
        one = expectation(lambda z: np.exp(-2 * np.sin(z[0]) ** 2 / 6), K[a : a + 1, a : a + 1])
        mean[a] = (1 - one**6) / 2
        infinite[a] = (1 - np.exp(-(1 - np.exp(-2 * K[a, a])))) / 2
    planted = mean + np.array([0.3, -0.2]) * np.abs(mean - infinite)
    for layer in (2, 3):
        kernels(data, layer, [planted[0], 0.0, planted[1]], 1e-4 * np.eye(3))

    def check(data: Rows) -> None:
        components = {"00": (0.3, 0.0, 1.0), "11": (-0.2, 0.0, 1.0)}
        expect(list(metric(data.point, [3])), Wanted("G - exact", 3, 0, components), rtol=1e-5)

    holds(check, data, data.scaled("g", 1.0001), data.exchanged("g", (0, 0), (1, 1)))


def test_six_point_exact() -> None:
    data = rows(*LINEAR, x=inputs_of(K))
    third = signs(2)[0] * signs(2)[1] + signs(2)[0] + signs(2)[1]  # 3 for a quarter of the networks, else -1
    sizes = {(0, 0): 0.5, (0, 1): 7.0, (1, 1): 0.2}
    for layer in (2, 3):
        data.fill("g", layer, lambda *pair, l=layer: sizes[pair] * third + l)

    def check(data: Rows) -> None:
        k3 = NETWORKS * NETWORKS * (27 - 3) / 4 / ((NETWORKS - 1) * (NETWORKS - 2))
        wanted = []
        for layer in (2, 3):
            exact = moment(3, layer) - 3 * moment(2, layer) + 2
            components = {6 * str(a): (k3 * sizes[a, a] ** 3 / K[a, a] ** 3 / exact, 1.0, 1.0) for a in (0, 1)}
            wanted.append(Wanted("six-point / exact", layer, 0, components))
        expect(list(six_point(data.point, None)), *wanted)

    holds(check, data, data.scaled("g"), data.exchanged("g", (0, 0), (0, 1)))


def test_kurtosis_exact() -> None:
    """Two layers of sines: kappa_4 = 3 Var sin^2/n and kappa_2 = <sin^2>, averaged over two outputs. Signs have
    k_4 = -2 M^2/((M - 1)(M - 3)) and k_2 = M/(M - 1). The kurtosis does not see the size of z."""
    data = rows(*SINES, "network.outputs=2", x=inputs_of(K))
    first, second, mixture = signs(3)
    values = {(0, 0): 0.3 + 1.1 * first, (0, 1): (1 + 0.2 * mixture) * second}
    data.fill("z", 2, lambda i, a: values[0, a])

    def check(data: Rows) -> None:
        M, components = NETWORKS, {}
        for a, even in ((0, [1.0, 1.0]), (1, [1.04, 1 + 6 * 0.04 + 0.0016])):  # E z^2 and E z^4
            q2, q4 = (float(expectation(lambda z, k=k: np.sin(z[0]) ** k, K[a : a + 1, a : a + 1])) for k in (2, 4))
            k4 = M**2 * ((M + 1) * even[1] - 3 * (M - 1) * even[0] ** 2) / ((M - 1) * (M - 2) * (M - 3))
            k2 = even[0] * M / (M - 1)
            components[4 * str(a)] = (k4 / k2**2 / (3 * (q4 - q2**2) / 6 / q2**2), 1.0, 1.0)
        expect(list(kurtosis(data.point, None)), Wanted("kurtosis / exact", 2, 0, components))

    holds(check, data, data.exchanged("z", (0, 0), (0, 1)))


def test_a_kernel_that_does_not_fluctuate_is_refused() -> None:
    """Control: the other samples fluctuate."""
    data = rows(*LINEAR, x=[[0.0, 0.0], [1.0, 2.0]])
    reason = "inputs: sample 0: its kernel does not fluctuate at activation=linear"
    assert list(vertex.missing(data.point)) == [reason]
    with pytest.raises(ValueError, match=reason):
        vertex(data.point, None)
    assert list(vertex.missing(rows(*LINEAR, x=[[3.0, 1.0], [1.0, 2.0]]).point)) == []


def test_a_law_that_is_not_known_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What docs/theory.md (17.5) does not resolve is a reason in words. Control: with all its rules it does."""
    gelu = ["activation=gelu", "initialization=critical", "network.depth=3", "network.width=8"]
    assert list(metric.missing(rows(*gelu, x=inputs_of(0.5 * K)).point)) == []
    monkeypatch.setattr("analysis.theory.kernel_chain.NODES", (4, 6))
    (reason,) = metric.missing(rows(*gelu, x=inputs_of(K)).point)
    assert reason.startswith("G1_exact: activation=gelu, C_b=0.17")
    assert "a larger width converges faster" in reason
