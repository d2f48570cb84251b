"""Measures of preactivations at initialization find planted values, and theory that is known in closed form.

Deep linear networks with C_b = 0, C_W = 1 and one width have K of layer 1 in every layer, and in layer l
V_(ab)(cd) = (l - 1) (K_ac K_bd + K_ad K_bc), G1 = 0.
"""

import itertools

import numpy as np
from numpy.typing import ArrayLike

from analysis.measures.preactivations import (
    cumulant,
    kernel_mean,
    metric,
    six_point,
    vertex,
    vertex_of_neurons,
    vertex_over_theory,
)
from tests.exact.measures.gaussian import TwoLayers, expectation, sines
from tests.exact.measures.rows import NETWORKS, Array, Rows, Wanted, drawn, expect, holds, inputs_of, rows, signs

K = np.array([[1.0, 0.3], [0.3, 0.8]])
PAIRS = [(0, 0), (0, 1), (1, 1)]
LINEAR = ["activation=linear", "initialization=critical", "network.depth=3"]


def wick(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    """K_ac K_bd + K_ad K_bc of pairs (a, b) and (c, d)."""
    return float(K[a[0], b[0]] * K[a[1], b[1]] + K[a[0], b[1]] * K[a[1], b[0]])


def kernels(data: Rows, layer: int, mean: ArrayLike, covariance: ArrayLike) -> Rows:
    """Fill in g of two samples at a layer with this mean and covariance."""
    values = drawn(mean, covariance)
    return data.fill("g", layer, lambda *pair: values[PAIRS.index(pair)])


def test_V() -> None:
    """V by the estimator of docs/theory.md (7.3) at two widths: the n_{l-1} neurons below layer l make it fluctuate,
    and V grows from layer to layer with the ratio n_l/n_{l-1}."""
    data = rows(*LINEAR, "network.width=[8,12]", x=inputs_of(K))
    shape = np.array([[wick(p, q) for q in PAIRS] for p in PAIRS])
    found = {2: 1.3 * shape, 3: 2.1 * shape + np.outer([0.1, 0.2, 0.3], [0.1, 0.2, 0.3])}
    predicted = {2: shape, 3: (1 + 12 / 8) * shape}
    # n_2 Var g = n_2 K^2 ( (1 + 2/n_1)(1 + 2/n_2) - 1 ) of one sample; that of two is not computed
    of_one = np.array([K[0, 0] ** 2, *[np.nan] * 4, K[1, 1] ** 2])
    following = {2: 2.0 * of_one, 3: (2 + 2 * 12 / 8 + 4 / 8) * of_one}
    for layer, n in ((2, 8), (3, 12)):
        kernels(data, layer, [1.0, 0.2, 0.9], found[layer] / n)

    def check(data: Rows) -> None:
        expect(
            list(vertex(data.point, None)),
            *[
                Wanted(
                    "V",
                    layer,
                    0,
                    {
                        f"{a}{b},{c}{d}": (
                            found[layer][p, q],
                            predicted[layer][p, q],
                            np.sqrt(predicted[layer][p, p] * predicted[layer][q, q]),
                        )
                        for (p, (a, b)), (q, (c, d)) in itertools.combinations_with_replacement(enumerate(PAIRS), 2)
                    },
                    theory_next=following[layer],
                )
                for layer in (2, 3)
            ],
        )

    holds(check, data, data.scaled("g"), data.exchanged("g", (0, 0), (1, 1)))


def test_V_collapse() -> None:
    data = rows(*LINEAR, "network.width=8", x=inputs_of(K))
    for layer in (2, 3):
        unit = np.array([wick(pair, pair) for pair in PAIRS]) * (layer - 1) / 8
        kernels(data, layer, np.zeros(3), np.diag(unit * np.array([1.1, 5.0, 1.4])))

    def check(data: Rows) -> None:
        components = {"00,00": (1.1, 1.0, 1.0), "11,11": (1.4, 1.0, 1.0)}
        expect(list(vertex_over_theory(data.point, None)), *[Wanted("V / theory", l, 0, components) for l in (2, 3)])

    holds(check, data, data.scaled("g"), data.exchanged("g", (0, 0), (0, 1)))


def neurons(count: int) -> Array:
    """(M, count, D) random numbers."""
    return np.random.default_rng(count).normal(size=(NETWORKS, count, 2))


def moments(data: Rows, layer: int, z: Array) -> Rows:
    for k in (2, 4):
        data.fill(f"m{k}", layer, lambda *samples: np.prod(z[:, :, list(samples)], axis=2).mean(axis=1))
    return data


def test_V_of_neurons() -> None:
    """V by the estimator of docs/theory.md (7.1): sums over distinct neurons, and over distinct networks where two
    means are multiplied."""
    data = rows(*LINEAR, "network.width=[3,4]", "network.outputs=2", x=inputs_of(K))
    z = {2: neurons(4), 3: neurons(2)}  # n_2 neurons and two outputs
    for layer, value in z.items():
        moments(data, layer, value)

    def by_hand(z: Array, p: tuple[int, int], q: tuple[int, int]) -> float:
        left, right = (z[:, :, pair[0]] * z[:, :, pair[1]] for pair in (p, q))
        n = z.shape[1]
        inside = [left[:, i] * right[:, j] for i, j in itertools.permutations(range(n), 2)]
        across = np.outer(left.mean(axis=1), right.mean(axis=1))
        np.fill_diagonal(across, 0.0)
        return float(np.mean(inside) - across.sum() / (NETWORKS * (NETWORKS - 1)))

    def check(data: Rows) -> None:
        wanted = []
        for layer, n, growth in ((2, 3, 1.0), (3, 4, 1 + 4 / 3)):
            components = {}
            for p, q in itertools.combinations_with_replacement(PAIRS, 2):
                size = growth * np.sqrt(wick(p, p) * wick(q, q))
                estimate = n * by_hand(z[layer], p, q)
                components["{}{},{}{}".format(*p, *q)] = (estimate, growth * wick(p, q), size)
            wanted.append(Wanted("V of neurons", layer, 0, components))
        expect(list(vertex_of_neurons(data.point, None)), *wanted)

    holds(check, data, data.scaled("m2"), data.scaled("m4"), data.exchanged("m4", (0, 0, 0, 1), (0, 0, 1, 1)))


def test_V_of_neurons_needs_two_neurons() -> None:
    """One output has no distinct neurons, and nothing is measured there."""
    data = rows(*LINEAR, "network.width=[3,4]", x=inputs_of(K))
    moments(moments(data, 2, neurons(4)), 3, neurons(1))
    assert [m.layer for m in vertex_of_neurons(data.point, None)] == [2]


def test_cumulant() -> None:
    """V by the estimator of docs/theory.md (7.2), the average over outputs: k_4 = -2 M^2 / ((M - 1)(M - 3)) of signs is
    unbiased for -2."""
    data = rows(*LINEAR, "network.width=[8,12]", "network.outputs=2", x=inputs_of(K))
    first, second, _ = signs(3)
    values = {(0, 0): 0.3 + 1.1 * first, (0, 1): 0.7 * second, (1, 0): 0.5 * second, (1, 1): 0.2 + 0.9 * first}
    data.fill("z", 3, lambda *index: values[index])

    def check(data: Rows) -> None:
        k4 = -2 * NETWORKS**2 / ((NETWORKS - 1) * (NETWORKS - 3))
        V = [2.5 * wick((a, a), (a, a)) for a in (0, 1)]
        components = {
            "0000": (12 / 3 * k4 * (1.1**4 + 0.5**4) / 2, V[0], V[0]),
            "1111": (12 / 3 * k4 * (0.7**4 + 0.9**4) / 2, V[1], V[1]),
        }
        expect(list(cumulant(data.point, None)), Wanted("cumulant", 3, 0, components))

    holds(check, data, data.scaled("z"), data.exchanged("z", (0, 0), (0, 1)))


def metric_of_three_layers(two: TwoLayers) -> Array:
    """G1 of layer 3: half the curvature of <s_a s_b> over K_00, K_01, K_11 of layer 2 times V of layer 2 times
    n_2/n_1 = 12/8; C_W = 1."""
    step, flat = 1e-3, np.array([two.K[pair] for pair in PAIRS])
    V = np.array([[two.V[(*p, *q)] for q in PAIRS] for p in PAIRS])

    def mean(shift: Array) -> Array:
        k = flat + shift
        return sines(np.array([[k[0], k[1]], [k[1], k[2]]]), 0, 0)

    out, unit = np.zeros((2, 2)), step * np.eye(3)
    for p, q in itertools.product(range(3), repeat=2):
        corners = mean(unit[p] + unit[q]) - mean(unit[p] - unit[q]) - mean(unit[q] - unit[p]) + mean(-unit[p] - unit[q])
        out += V[p, q] * corners / (4 * step**2) / 2
    return 12 / 8 * out


def test_G1() -> None:
    """G1 by the estimator of docs/theory.md (7.4) vanishes at layer 2, where it is quoted relative to l K. At layer 3
    it follows from the curvature of the kernel's map, docs/theory.md (1.6)."""
    data = rows("activation=sin", "initialization=critical", "network.depth=3", "network.width=[8,12]", x=inputs_of(K))
    two = TwoLayers(K, 0 * K, 1.0, 0.0, 1.0)
    kernel = {2: two.K, 3: sines(two.K, 0, 0)}
    found, predicted = np.array([0.3, -0.2, 0.1]), {2: np.zeros((2, 2)), 3: metric_of_three_layers(two)}
    scale = {2: 2 * kernel[2].max(), 3: np.abs(predicted[3]).max()}
    following = {layer: np.array([predicted[layer][0, 0], np.nan, predicted[layer][1, 1]]) for layer in (2, 3)}
    for place, a in ((0, 0), (2, 1)):  # G2 of docs/theory.md (17.2) of F = (1 - exp(-2 g))/2, from V and W of layer 2
        q = [float(expectation(lambda z, m=m: np.sin(z[0]) ** m, K[a : a + 1, a : a + 1])) for m in (2, 4, 6)]
        V, W = q[1] - q[0] ** 2, q[2] - 3 * q[0] * q[1] + 2 * q[0] ** 3
        following[3][place] += (12 / 8) ** 2 * np.exp(-2 * two.K[a, a]) * (2 * W / 3 - V**2) / 12
    for layer, n in ((2, 8), (3, 12)):
        mean = [kernel[layer][pair] for pair in PAIRS] + found / n
        kernels(data, layer, mean, 1e-4 * np.eye(3))

    def check(data: Rows) -> None:
        wanted = []
        for layer in (2, 3):
            components = {
                f"{a}{b}": (estimate, predicted[layer][a, b], scale[layer])
                for (a, b), estimate in zip(PAIRS, found, strict=True)
            }
            wanted.append(Wanted("G1", layer, 0, components, theory_next=following[layer]))
        expect(list(metric(data.point, None)), *wanted, rtol=3e-5, atol=1e-7)

    assert np.abs(predicted[3]).min() > 0.01
    holds(check, data, data.scaled("g"), data.exchanged("g", (0, 0), (0, 1)))


def test_six_point() -> None:
    """W of docs/theory.md (1.12) is (12 m^2 - 4 m) K^3 for linear networks, m = l - 1, the leading order of
    docs/theory.md (6.2)."""
    data = rows(*LINEAR, "network.width=10", x=inputs_of(K))
    third = signs(2)[0] * signs(2)[1] + signs(2)[0] + signs(2)[1]  # 3 for a quarter of the networks, else -1
    sizes = {(0, 0): 0.5, (0, 1): 7.0, (1, 1): 0.2}
    for layer in (2, 3):
        data.fill("g", layer, lambda *pair, l=layer: sizes[pair] * third + l)

    def check(data: Rows) -> None:
        spread = NETWORKS * (27 - 3) / 4
        k3 = NETWORKS * spread / ((NETWORKS - 1) * (NETWORKS - 2))
        wanted = []
        for layer, leading in ((2, 8.0), (3, 40.0)):
            components = {
                6 * str(a): (100 * k3 * sizes[a, a] ** 3, leading * K[a, a] ** 3, leading * K[a, a] ** 3)
                for a in (0, 1)
            }
            wanted.append(Wanted("six-point", layer, 0, components))
        expect(list(six_point(data.point, None)), *wanted)

    holds(check, data, data.scaled("g"), data.exchanged("g", (0, 0), (0, 1)))


def test_K() -> None:
    """The next order of docs/theory.md (1.2) is K + G1 / n_{l-1}; of linear networks it is K again."""
    data = rows(*LINEAR, "network.width=[8,12]", x=inputs_of(K))
    means = {2: [1.1, 0.2, 0.9], 3: [1.2, 0.4, 0.7]}
    for layer, mean in means.items():
        kernels(data, layer, mean, 0.1 * np.eye(3))

    def check(data: Rows) -> None:
        kernel, wanted = [K[pair] for pair in PAIRS], []
        for layer, mean in means.items():
            components = {
                f"{a}{b}": (estimate, K[a, b], np.sqrt(K[a, a] * K[b, b]))
                for (a, b), estimate in zip(PAIRS, mean, strict=True)
            }
            wanted.append(Wanted("G", layer, 0, components, theory_next=np.array(kernel)))
        expect(list(kernel_mean(data.point, None)), *wanted)

    holds(check, data, data.scaled("g"), data.exchanged("g", (0, 0), (1, 1)))


def test_K_at_the_next_order() -> None:
    """The next order is K + G1/n_{l-1} where G1 does not vanish, and is not computed for five samples."""
    overrides = ["activation=sin", "initialization=critical", "network.depth=3", "network.width=[8,12]"]
    data = rows(*overrides, x=inputs_of(K))
    two = TwoLayers(K, 0 * K, 1.0, 0.0, 1.0)
    third = sines(two.K, 0, 0) + metric_of_three_layers(two) / 12
    for layer in (2, 3):
        kernels(data, layer, [1, 0, 1], 0.1 * np.eye(3))
    (_, measured) = kernel_mean(data.point, None)
    assert measured.theory_next is not None
    np.testing.assert_allclose(measured.theory_next, [third[pair] for pair in PAIRS], rtol=1e-5)
    five = rows(*overrides, x=inputs_of(np.eye(5)))
    five.fill("g", 2, lambda a, b: float(a == b)).fill("g", 3, lambda a, b: float(a == b))
    assert all(np.isnan(m.theory_next).all() for m in kernel_mean(five.point, None))
