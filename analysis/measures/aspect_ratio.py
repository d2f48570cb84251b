"""Numbers of order one at the aspect ratio r = L/n, against laws that hold at every width: docs/theory.md section 12.

Each is in units of its exact value at the width and the layer, so that it is one there. They are judged up to r = 1.
"""

from collections.abc import Iterator
from functools import lru_cache, partial

import numpy as np

from analysis import estimators, theory
from analysis.estimators import Array, Estimate
from analysis.measures.measured import Layers, Measured, chosen_layers, label_of, measure
from analysis.points import Point

RATIOS = (0.25, 0.5, 1.0)  # those at which the limit law is judged
LARGEST = 1.0  # the aspect ratio up to which numbers are judged
ROUNDING = 1e-24  # sin^2 below this is rounding, in networks with a layer of fewer than two active neurons


def up_to_largest(point: Point, prefix: str | tuple[str, ...], layers: Layers) -> list[int]:
    """The chosen layers l with (l - 1)/n up to LARGEST, in networks of one width."""
    return [layer for layer in chosen_layers(point, prefix, layers) if layer - 1 <= LARGEST * point.n]


def has_closed_form(point: Point) -> bool:
    """Whether docs/theory.md (12.1) holds: slopes of one size, or one of them 0, and no biases."""
    slopes = theory.activation(point.activation).slopes
    sizes = {abs(slope) for slope in slopes or ()}
    return bool(sizes) and (len(sizes) == 1 or 0 in sizes) and point.settings["initialization"]["C_b"] == 0


def without_closed_form(point: Point) -> Iterator[str]:
    """Why theory predicts nothing: the number is known in closed form for few activations."""
    if not has_closed_form(point):
        yield f"activation={point.activation}: known without biases, for slopes of one size or of which one is 0"


def may_be_dead(point: Point) -> Iterator[str]:
    """The need of a law of log g."""
    if 0 in (theory.activation(point.activation).slopes or ()) and not has_closed_form(point):
        yield f"initialization.C_b: a law of log g of activation={point.activation} is known for C_b = 0"


def scale_invariant_moments(point: Point) -> Iterator[str]:
    """Why theory predicts nothing: exact moments are those of scale-invariant activations without biases."""
    if theory.activation(point.activation).slopes is None or point.settings["initialization"]["C_b"]:
        yield f"activation={point.activation}: exact moments are known for scale-invariant activations and C_b = 0"


def first_kernels(point: Point) -> Array:
    """The kernel of each sample in layer 1, (D,)."""
    kernels: Array = np.diagonal(point.flow(("K", "Theta")).K[0])
    return kernels


@lru_cache(maxsize=64)
def _chain(activation: str, depth: int, C_b: float, C_W: float, K1: float, n: int) -> Array:
    return theory.exact_log_law(activation, depth, C_b, C_W, K1, n)[1]


def log_variance(point: Point, K1: float, layers: list[int]) -> Array:
    """Var log g at the layers, by docs/theory.md (12.1) or (17.5): the latter where the former has no closed form."""
    start, n = point.settings["initialization"], int(point.n)
    if has_closed_form(point):
        of = theory.aspect_ratio.log_kernel
        return np.array([of(point.activation, [n] * (layer - 1), start["C_W"], K1)[1] for layer in layers])
    chain = _chain(point.activation, max(layers), start["C_b"], start["C_W"], float(K1), n)
    return chain[np.array(layers) - 1]


def diagonal(point: Point) -> list[tuple[int, int]]:
    """The column of g_aa and the sample a, for each sample."""
    return [(column, a) for column, (a, b) in enumerate(point.columns("g")) if a == b]


of_live_kernels = partial(measure, model="constant", families=("g",), needs=may_be_dead)


def in_units(tensor: str, layer: int, samples: list[str], estimate: Estimate) -> Measured:
    """A measured number in units of its exact value."""
    one = np.ones(len(samples))
    return Measured(tensor, layer, 0, samples, estimate, theory=one, scale=one)


@of_live_kernels("log_kernel_exact", tensor="Var log g / exact", symbol=r"$\mathrm{Var}\,\log g$ over exact")
def log_kernel(point: Point, layers: Layers) -> Iterator[Measured]:
    """Var log g_aa over its exact value at this width, which tends to nu r of docs/theory.md (12.1), or to
    docs/theory.md (12.6), is one up to r = 1. Networks with a dead layer are left out."""
    chosen, kernels = up_to_largest(point, "g", layers), first_kernels(point)
    columns, flow = diagonal(point), point.flow(("K", "Theta"))
    if not chosen:
        return
    exact = np.array([log_variance(point, kernels[a], chosen) for _, a in columns]).T
    for layer, expected in zip(chosen, exact, strict=True):
        g = point.read("g", layer)[:, [column for column, _ in columns]]
        K = np.array([flow.K[layer - 1, a, a] for _, a in columns])
        log_g = np.log(np.where(g > 0, g / K, 1.0))  # over K, so that its mean is of the size of its fluctuations
        own = [(k, k) for k in range(len(columns))]
        estimate = estimators.covariance_among(g > 0, log_g, own).scaled(1 / expected)
        yield in_units("Var log g / exact", layer, [label_of((a, a)) for _, a in columns], estimate)


def outside_the_class(point: Point) -> Iterator[str]:
    """Why theory predicts nothing: the limit law is that of critical networks of the class K* = 0."""
    critical = point.critical and theory.critical(point.activation).universality_class == "K* = 0"
    if not critical:
        yield f"activation={point.activation}: the limit law is that of critical networks of the class K* = 0"
    elif not _at_ratios(point, None):
        layers = list(point.data.layout.layers)
        yield f"observables.layers={layers}: the limit law is judged at layers n/4 + 1, n/2 + 1 and n + 1"


def _at_ratios(point: Point, layers: Layers) -> list[tuple[float, int]]:
    """r and the layer of those of RATIOS that are recorded."""
    recorded = chosen_layers(point, "g", layers)
    return [(r, int(r * point.n) + 1) for r in RATIOS if r * point.n + 1 in recorded]


@measure(
    "limit_law",
    symbol={"E g/K": r"$\mathrm{E}\,g/K$", "Var log g": r"$\mathrm{Var}\,\log g$"},
    model="fixed_ratio",
    families=("g",),
    undefined=outside_the_class,
)
def limit_law(point: Point, layers: Layers) -> Iterator[Measured]:
    """E g_aa/K_aa and Var log g_aa at (l - 1)/n = r of RATIOS tend to those of docs/theory.md (12.6), the same for all
    activations of the class K* = 0."""
    columns, flow = diagonal(point), point.flow(("K", "Theta"))
    labels = [label_of((a, a)) for _, a in columns]
    for r, layer in _at_ratios(point, layers):
        law, K = theory.limit_law(r), np.array([flow.K[layer - 1, a, a] for _, a in columns])
        g = point.read("g", layer)[:, [column for column, _ in columns]]
        variance = estimators.covariance(np.log(g), [(k, k) for k in range(len(columns))])
        for tensor, estimate, expected in (
            ("E g/K", estimators.mean(g / K), r * law.mean),
            ("Var log g", variance, law.log_variance),
        ):
            limit = np.full(len(columns), expected)
            yield Measured(tensor, layer, 0, [f"r={r:g} {label}" for label in labels], estimate, limit, limit)


@measure(
    "alignment_exact",
    tensor="alignment / exact",
    symbol=r"$\mathrm{E}\,\log\sin^2$ over exact",
    model="constant",
    families=("response",),
    undefined=without_closed_form,
)
def alignment(point: Point, layers: Layers) -> Iterator[Measured]:
    """E log sin^2 between z_a and its response over its exact value at this width, docs/theory.md (12.5), is one up to
    r = 1: it tends to -r for linear networks and to -2r for ReLU.

    Networks with fewer than two active neurons in a layer are left out.
    """
    n = int(point.n)
    for layer in up_to_largest(point, "response", layers):
        exact = theory.aspect_ratio.alignment(point.activation, [n] * (layer - 1), n)
        sines = point.read("response", layer)
        active = sines > ROUNDING
        logs = np.log(np.where(active, sines, 1.0))
        estimate = estimators.mean_among(active, logs).scaled(1 / exact)
        yield in_units("alignment / exact", layer, [label_of((a,)) for a in range(point.D)], estimate)


@measure(
    "breakdown_exact",
    tensor="breakdown / exact",
    symbol=r"$r$ of the breakdown over exact",
    model="constant",
    families=("g",),
    undefined=scale_invariant_moments,
)
def breakdown(point: Point, layers: Layers) -> Iterator[Measured]:
    """The aspect ratio at which V/(nK^2) of order 1/n is 10 and 50 % below Var g/K^2, docs/theory.md (12.2), over its
    exact value, is one.

    Between recorded layers Var g over its order 1/n is interpolated, for networks and for the exact value alike.
    """
    chosen, columns = up_to_largest(point, "g", layers), diagonal(point)
    if len(chosen) < 2:
        return
    C_W, n, kernels = point.settings["initialization"]["C_W"], int(point.n), first_kernels(point)
    for column, a in columns:
        moments = [
            theory.finite_width.kernel_moments(point.activation, [n] * (layer - 1), C_W, kernels[a]) for layer in chosen
        ]
        first = point.flow(("K", "V"), sample=a)["V"][np.array(chosen) - 1, 0, 0, 0, 0] / n
        exact = np.array([second - mean**2 for mean, second, _ in moments]) / first
        g = np.stack([point.read("g", layer)[:, column] for layer in chosen], axis=1)
        got = estimators.covariance(g, [(k, k) for k in range(len(chosen))]).scaled(1 / first)
        for low in (0.1, 0.5):
            there = crossing(exact[None], chosen, low)[0]
            if there == chosen[-1] - 1:
                continue
            values, replicates = (crossing(x, chosen, low)[:, None] / there for x in (got.value[None], got.replicates))
            estimate = Estimate(values[0], replicates, got.networks)
            yield in_units("breakdown / exact", max(chosen), [f"{100 * low:.0f}% {label_of((a, a))}"], estimate)


def crossing(ratios: Array, layers: list[int], low: float) -> Array:
    """Where Var g over its order 1/n rises through 1/(1 - low), in l - 1: (B, layers) -> (B,), docs/theory.md (12.2).

    The last of the layers where it does not within them.
    """
    level, t = 1 / (1 - low), np.array(layers) - 1.0
    found = np.full(len(ratios), t[-1])
    for b, ratio in enumerate(ratios):
        above = np.flatnonzero((ratio[1:] >= level) & (ratio[:-1] < level))
        if len(above):
            k = int(above[0])
            found[b] = t[k] + (t[k + 1] - t[k]) * (level - ratio[k]) / (ratio[k + 1] - ratio[k])
    return found


@measure(
    "rank_exact",
    tensor="effective rank / exact",
    symbol=r"$\mathrm{E}(\mathrm{tr}JJ^T)^2/\mathrm{E}\,\mathrm{tr}(JJ^T)^2$ over exact",
    model="constant",
    families=("trace", "rank"),
    undefined=scale_invariant_moments,
)
def effective_rank(point: Point, layers: Layers) -> Iterator[Measured]:
    """The ratio of means E (tr JJ^T)^2 / E tr (JJ^T)^2 over its exact value at this width, docs/theory.md (12.5), is
    one up to r = 1."""
    n, C_W = int(point.n), point.settings["initialization"]["C_W"]
    for layer in up_to_largest(point, ("trace", "rank"), layers):
        square = point.read("trace", layer) ** 2
        _, expected, of_product = theory.aspect_ratio.jacobian_moments(point.activation, [n] * (layer - 1), n, C_W)
        exact = expected / of_product
        above, below = estimators.mean(square), estimators.mean(square / point.read("rank", layer))
        estimate = Estimate(
            above.value / below.value / exact, above.replicates / below.replicates / exact, above.networks
        )
        yield in_units("effective rank / exact", layer, [label_of((a,)) for a in range(point.D)], estimate)


def exact_ntk(point: Point) -> Iterator[str]:
    """Why theory predicts nothing: docs/theory.md (6.7) holds for one pair of rates in all layers."""
    yield from scale_invariant_moments(point)
    dynamics = point.settings["dynamics"]
    for name in ("lambda_b", "lambda_W"):
        if len(set(dynamics[name])) > 1:
            yield f"dynamics.{name}={list(dynamics[name])}: exact moments are known for rates that all layers share"


@measure(
    "ntk_moments_exact",
    tensor="NTK moments / exact",
    symbol=r"$\mathrm{E}\,HH$ over exact",
    model="constant",
    families=("z", "H"),
    outputs=2,
    undefined=exact_ntk,
)
def ntk_moments(point: Point, layers: Layers) -> Iterator[Measured]:
    """E z_i^2 H_jj, E z_i z_j H_ij, E H_ii H_jj and E H_ij^2 of the first two outputs over their exact values at this
    width, which tend to docs/theory.md (12.3), are one up to r = 1."""
    n, start, dynamics = int(point.n), point.settings["initialization"], point.settings["dynamics"]
    kernels, columns = first_kernels(point), point.columns("H")
    for layer in up_to_largest(point, ("z", "H"), layers):
        z, H = point.read("z", layer), point.read("H", layer)
        for a, K1 in enumerate(kernels):
            z0, z1 = (z[:, point.columns("z").index((i, a))] for i in (0, 1))
            H00, H01, H11 = (H[:, columns.index((i, j, a, a))] for i, j in ((0, 0), (0, 1), (1, 1)))
            products = [(z0**2 * H11 + z1**2 * H00) / 2, z0 * z1 * H01, H00 * H11, H01**2]
            of = theory.finite_width.ntk_moments
            rates = dynamics["lambda_b"][0], dynamics["lambda_W"][0]
            m = of(point.activation, [n] * (layer - 1), start["C_W"], K1, *rates, K1 / start["C_W"])
            estimate = estimators.mean(np.stack(products, axis=1)).scaled(1 / np.array([m.z2H, m.zzH, m.HH, m.H2]))
            names = [f"{name} {label_of((a, a))}" for name in ("zzHH", "zH", "HH", "H2")]
            yield in_units("NTK moments / exact", layer, names, estimate)
