"""Preactivations at initialisation, measured: kernel, metric, four-point vertex, six-point function, cumulant."""

from collections.abc import Iterator

import numpy as np

from analysis import estimators, theory
from analysis.estimators import Array
from analysis.measures.following import with_next_order
from analysis.measures.given_below import pair_means, pair_products
from analysis.measures.measured import Layers, Measured, chosen_layers, label_of, measure
from analysis.measures.needs import no_parallel_kinks, outputs_of_last_layer
from analysis.points import FOUR_POINT_SAMPLES, Point


def natural_sizes(V: Array, K: Array) -> Array:
    """The natural size of the fluctuations of each pair, (pairs,): the root of V_(ab)(ab), or K_ab where V vanishes."""
    return np.where(np.abs(V) > 1e-9 * K**2, np.sqrt(np.abs(V)), np.abs(K))


@measure(
    "V",
    symbol="$V$",
    families=("g",),
    grows=True,
    table="start",
    table_samples=FOUR_POINT_SAMPLES,
    any_widths=True,
    residual=True,
    orthogonal=True,
    below=("m2", "m4"),
)
def vertex(point: Point, layers: Layers) -> Iterator[Measured]:
    """V_(ab)(cd) = n Cov(g_ab, g_cd), all distinct components: docs/theory.md (1.11) and (7.3), PDLT ch. 4.

    At layers to which a skip leads it is docs/theory.md (11.10): neurons are not alike given the layer below. With
    orthogonal weights it is docs/theory.md (14.3): they are not independent."""
    pairs = point.columns("g")
    components = [(p, q) for p in range(len(pairs)) for q in range(p, len(pairs))]
    V = point.flow(True).V
    assert V is not None
    for layer in chosen_layers(point, "g", layers):
        predicted = np.array([[V[(layer - 1, *a, *b)] for b in pairs] for a in pairs])
        means, products = pair_means(point, layer), pair_products(point, layer, components)
        if products is None:
            estimate = estimators.covariance(means, components)
        else:
            estimate = estimators.connected(products, means, components)
        estimate = estimate.scaled(point.widths[layer - 2])
        K = point.flow(True).K[layer - 1]
        size = natural_sizes(predicted.diagonal(), np.array([K[p] for p in pairs]))
        leading = np.array([predicted[c] for c in components])
        yield Measured(
            tensor="V",
            layer=layer,
            step=0,
            samples=[label_of(pairs[p], pairs[q]) for p, q in components],
            estimate=estimate,
            theory=leading,
            scale=np.array([size[p] * size[q] for p, q in components]),
            theory_next=with_next_order(point, "V", layer, leading, [(*pairs[p], *pairs[q]) for p, q in components]),
        )


@measure(
    "V_collapse",
    tensor="V / theory",
    symbol=r"$V/V_{\mathrm{theory}}$",
    model="collapse",
    families=("g",),
)
def vertex_over_theory(point: Point, layers: Layers) -> Iterator[Measured]:
    """V_(aa)(aa) over its prediction at the same layer, docs/theory.md (1.5).

    It is one at leading order, and for all layers a function of l/n.
    """
    diagonal = [(k, a) for k, (a, b) in enumerate(point.columns("g")) if a == b]
    V, one = point.flow(True).V, np.ones(len(diagonal))
    assert V is not None
    for layer in chosen_layers(point, "g", layers):
        unit = np.array([V[layer - 1, a, a, a, a] for _, a in diagonal])
        spread = estimators.covariance(point.read("g", layer), [(k, k) for k, _ in diagonal])
        labels = [label_of((a, a), (a, a)) for _, a in diagonal]
        yield Measured(
            tensor="V / theory",
            layer=layer,
            step=0,
            samples=labels,
            estimate=spread.scaled(point.n / unit),
            theory=one,
            scale=one,
        )


@measure(
    "V_of_neurons",
    tensor="V of neurons",
    symbol="$V$ of neurons",
    families=("m2", "m4"),
    table="start",
    table_samples=FOUR_POINT_SAMPLES,
    any_widths=True,
    residual=True,
    orthogonal=True,
    below=(),
)
def vertex_of_neurons(point: Point, layers: Layers) -> Iterator[Measured]:
    """V from products of distinct neurons, n (E z_ia z_ib z_jc z_jd - E z_ia z_ib E z_jc z_jd) (docs/theory.md (7.1)).

    The same number as `vertex` with more noise, and without its assumption that layers are Gaussian given the last.
    """
    V = point.flow(True).V
    assert V is not None
    pairs, quadruples = point.columns("m2"), point.columns("m4")
    components = [(p, q) for p in range(len(pairs)) for q in range(p, len(pairs))]
    sizes = [*point.widths, point.settings["network"]["outputs"]]
    for layer in chosen_layers(point, "m4", layers):
        n = sizes[layer - 1]
        if n < 2:
            continue
        m2, m4 = point.read("m2", layer), point.read("m4", layer)
        products = []
        for p, q in components:
            same = m4[:, quadruples.index(tuple(sorted(pairs[p] + pairs[q])))]
            products.append(estimators.distinct_neurons(m2[:, p], m2[:, q], same, n))
        estimate = estimators.connected(np.stack(products, axis=1), m2, components).scaled(point.widths[layer - 2])
        predicted = np.array([V[(layer - 1, *pairs[p], *pairs[q])] for p, q in components])
        K = point.flow(True).K[layer - 1]
        own = np.array([V[(layer - 1, *p, *p)] for p in pairs])
        size = natural_sizes(own, np.array([K[p] for p in pairs]))
        yield Measured(
            tensor="V of neurons",
            layer=layer,
            step=0,
            samples=[label_of(pairs[p], pairs[q]) for p, q in components],
            estimate=estimate,
            theory=predicted,
            scale=np.array([size[p] * size[q] for p, q in components]),
        )


@measure(
    "cumulant",
    symbol=r"$\frac{n}{3}\kappa_4(z)$",
    families=("z",),
    table="untrained",
    table_samples=FOUR_POINT_SAMPLES,
    needs=outputs_of_last_layer,
    any_widths=True,
    residual=True,
    orthogonal=True,
)
def cumulant(point: Point, layers: Layers) -> Iterator[Measured]:
    """(n/3) of the fourth cumulant of an output is V_(aa)(aa), docs/theory.md (1.3) and (7.2): p(z) is nearly Gaussian.

    It is averaged over outputs, which have one law."""
    V, L = point.flow(True).V, point.depth
    assert V is not None
    columns, samples = point.columns("z"), range(point.D)
    predicted = np.array([V[L - 1, a, a, a, a] for a in samples])
    of_sample = [[k for k, (_, b) in enumerate(columns) if b == a] for a in samples]
    yield Measured(
        tensor="cumulant",
        layer=L,
        step=0,
        samples=[label_of((a,) * 4) for a in samples],
        estimate=estimators.fourth_cumulant(point.read("z", L)).averaged(of_sample).scaled(point.widths[-1] / 3),
        theory=predicted,
        scale=np.square(natural_sizes(predicted, point.flow(True).K[L - 1].diagonal())),
    )


@measure(
    "G1",
    symbol="$G^{\\{1\\}}$",
    families=("g",),
    table="start",
    table_samples=FOUR_POINT_SAMPLES,
    needs=no_parallel_kinks,
    any_widths=True,
    residual=True,
    orthogonal=True,
    below=("m2",),
)
def metric(point: Point, layers: Layers) -> Iterator[Measured]:
    """G1_ab = n (E g_ab - K_ab), docs/theory.md (1.6) and (7.4), PDLT ch. 4; with a skip n (E z_a z_b - K_ab)."""
    flow, pairs = point.flow(True), point.columns("g")
    assert flow.G1 is not None
    for layer in chosen_layers(point, "g", layers):
        K, G1 = flow.K[layer - 1], flow.G1[layer - 1]
        kernel = np.array([K[a] for a in pairs])
        # Where theory says zero (two layers, or a scale-invariant activation) the natural size is that of K l.
        scale = np.abs(G1).max() if np.abs(G1).max() > 1e-9 * K.max() else layer * K.max()
        mean, leading = estimators.mean(pair_means(point, layer) - kernel), np.array([G1[a] for a in pairs])
        yield Measured(
            tensor="G1",
            layer=layer,
            step=0,
            samples=[label_of(a) for a in pairs],
            estimate=mean.scaled(point.widths[layer - 2]),
            theory=leading,
            scale=np.full(len(pairs), scale),
            theory_next=with_next_order(point, "G1", layer, leading, pairs),
        )


@measure("six_point", tensor="six-point", symbol=r"$n^2\kappa_3(g)$", families=("g",))
def six_point(point: Point, layers: Layers) -> Iterator[Measured]:
    """n^2 kappa_3(g_aa) is W of docs/theory.md (1.12): the connected six-point function of three neurons is of order
    1/n^2."""
    s = point.settings
    diagonal = [(k, a) for k, (a, b) in enumerate(point.columns("g")) if a == b]
    K1 = np.diagonal(point.flow(True).K[0])
    W = [
        theory.six_point(point.activation, point.depth, s["initialization"]["C_b"], s["initialization"]["C_W"], K1[a])
        for _, a in diagonal
    ]
    for layer in chosen_layers(point, "g", layers):
        g = point.read("g", layer)[:, [k for k, _ in diagonal]]
        predicted = np.array([w[layer - 1] for w in W])
        yield Measured(
            tensor="six-point",
            layer=layer,
            step=0,
            samples=[label_of((a,) * 6) for _, a in diagonal],
            estimate=estimators.third_cumulant(g).scaled(float(point.n) ** 2),
            theory=predicted,
            scale=np.abs(predicted),
        )


@measure(
    "K",
    tensor="G",
    symbol=r"$\mathrm{E}\,g$",
    families=("g",),
    table="start",
    any_widths=True,
    residual=True,
    orthogonal=True,
    below=("m2",),
)
def kernel_mean(point: Point, layers: Layers) -> Iterator[Measured]:
    """E g_ab against K_ab, and K + G1/n where it is known (docs/theory.md (1.2)). For the table of estimates."""
    flow, pairs = point.flow(), point.columns("g")
    for layer in chosen_layers(point, "g", layers):
        K = flow.K[layer - 1]
        next_order = K * np.nan if flow.G1 is None else K + flow.G1[layer - 1] / point.widths[layer - 2]
        size = np.sqrt(K.diagonal())
        yield Measured(
            tensor="G",
            layer=layer,
            step=0,
            samples=[label_of(a) for a in pairs],
            estimate=estimators.mean(pair_means(point, layer)),
            theory=np.array([K[a] for a in pairs]),
            scale=np.array([size[a] * size[b] for a, b in pairs]),
            theory_next=np.array([next_order[a] for a in pairs]),
        )
