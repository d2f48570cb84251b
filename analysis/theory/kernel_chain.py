"""The exact law of the kernel g of one input at finite width, for any activation, docs/theory.md (17.5).

g(l) is a Markov chain of one number, docs/theory.md (1.11). A Gauss rule of its law goes forward from layer to layer:
from each node the law of the next g is that of the sum of n neurons, of which a Gauss rule is made by doubling
(`analysis.theory.gauss_rule`), and the joint points of all nodes become the next rule in the variable
log((g + K)/2K). All weights are positive and nodes are kept as g - K, so that nothing cancels at large width. The
numbers of nodes grow until two rules agree.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.theory.activations import Activation, Array
from analysis.theory.activations import activation as named
from analysis.theory.gauss_rule import Rule, gauss_rule, sum_of_copies
from analysis.theory.quadrature import WIDE, calibrate_step, graded, trapezoid

NODES = (8, 12, 18, 27, 40)  # of the sum over neurons, tried in turn until two rules agree
MORE = 16  # so many more nodes has the rule of g
TOLERANCE = 1e-6  # relative difference at which two rules agree; the error of the finer one is smaller
HIGHEST = 8  # order of moments up to which normal numbers beyond REACH carry less than 1e-9
VANISHING = 1e-14  # g/K below which log g is left out, and the probability that may be
WIDEST_SINE = 1e4  # variance up to which sines of normal numbers are resolved
Layers = Iterator[tuple[float, Array, Array]]  # of each layer: K, nodes of g - K and their weights


@dataclass(frozen=True)
class ExactLaw:
    """Exact statistics of the kernel g(l) of one input in layers l = 1..depth, docs/theory.md (17.5), each (depth,).

    K: kernel at infinite width. shift: E g - K. variance and third: second and third cumulant of g, of which V and W
    are the limits of n variance and n^2 third. error: largest difference from the rule with fewer nodes, relative to
    variance/K for shift, to variance, and for third to the larger of its size and variance^2/K.
    """

    K: Array
    shift: Array
    variance: Array
    third: Array
    error: float

    @property
    def mean(self) -> Array:
        """The mean E g = E z^2, docs/theory.md (17.6)."""
        return self.K + self.shift

    @property
    def excess_kurtosis(self) -> Array:
        """E z^4/(E z^2)^2 - 3 of one neuron z of the layer is 3 Var g/(E g)^2, docs/theory.md (17.6)."""
        return 3 * self.variance / self.mean**2


def exact_law(
    activation: str | Activation, depth: int, C_b: float, C_W: float, K1: float, widths: int | Sequence[int]
) -> ExactLaw:
    """The exact mean, variance and third cumulant of g in layers 1..depth at finite width, docs/theory.md (17.5).

    One input of kernel K1 in layer 1; widths: n_1..n_{depth-1}, or one width for all. Digits are those of shift and of
    the cumulants themselves, which are no differences of moments. Raises ValueError for settings that make no sense, or
    where rules of g do not agree to TOLERANCE, as they may below eight neurons a layer.
    """

    def of_rule(layers: Layers) -> tuple[Array, Array]:
        rows, scales = [], []
        for K, deviation, weight in layers:
            shift = float(weight @ deviation)
            variance, third = (float(weight @ (deviation - shift) ** k) for k in (2, 3))
            unit = variance / K if K else 0.0
            rows.append([K, shift, variance, third])
            scales.append([K, unit, variance, max(abs(third), variance * unit)])
        return np.array(rows), np.array(scales)

    (K, shift, variance, third), error = _converged(of_rule, activation, depth, C_b, C_W, K1, widths)
    return ExactLaw(K, shift, variance, third, error)


def exact_chain(
    activation: str | Activation,
    depth: int,
    C_b: float,
    C_W: float,
    K1: float,
    widths: int | Sequence[int],
    moments: int,
) -> Array:
    """The exact moments E g(l)^k at finite width, k = 1..moments, have shape (depth, moments), docs/theory.md (17.5).

    Arguments and errors are those of `exact_law`, which gives cumulants without cancellation. Moments of the outputs
    are E z^2k = (2k - 1)!! E g^k, docs/theory.md (17.6).
    """
    if not 1 <= moments <= HIGHEST:
        raise ValueError(f"moments={moments}: 1 to {HIGHEST}")
    powers = np.arange(1, moments + 1)

    def of_rule(layers: Layers) -> tuple[Array, Array]:
        rows = np.array([weight @ (K + deviation)[:, None] ** powers for K, deviation, weight in layers])
        return rows, rows

    values, _ = _converged(of_rule, activation, depth, C_b, C_W, K1, widths)
    return values.T


def exact_log_law(
    activation: str | Activation, depth: int, C_b: float, C_W: float, K1: float, widths: int | Sequence[int]
) -> tuple[Array, Array]:
    """The exact mean and variance of log g(l), l = 1..depth, at finite width, docs/theory.md (17.5), (depth,) each.

    Arguments and errors are those of `exact_law`. The variable of the rules is log g here, because that of `exact_law`
    has few nodes at g far below K. Raises ValueError also for activations with a slope of 0, whose layers may be dead;
    docs/theory.md (12.1) has their law.
    """
    if 0 in (named(activation).slopes or ()):
        raise ValueError(f"activation={activation}: a layer may be dead, and log g has no law; (12.1) leaves these out")

    def of_rule(layers: Layers) -> tuple[Array, Array]:
        rows, scales = [], []
        for K, deviation, weight in layers:
            log_ratio = np.log1p(deviation / K)
            shift = float(weight @ log_ratio)
            variance = float(weight @ (log_ratio - shift) ** 2)
            rows.append([math.log(K) + shift, variance])
            scales.append([max(variance, abs(shift)), variance])
        return np.array(rows), np.array(scales)

    (mean, variance), _ = _converged(of_rule, activation, depth, C_b, C_W, K1, widths, middle=0.0)
    return mean, variance


def exact_rule(
    activation: str | Activation, depth: int, C_b: float, C_W: float, K1: float, widths: int | Sequence[int]
) -> list[tuple[Array, Array]]:
    """Nodes and weights of the law of g(l), l = 1..depth, from which means of functions follow, docs/theory.md (17.5).

    Arguments and errors are those of `exact_log_law`. Means of functions that are smooth in log g have an error of 1e-4
    or less.
    """
    sizes = _checked(depth, C_b, C_W, K1, widths)
    layers = _layers(named(activation), C_b, C_W, K1, sizes, NODES[-2], middle=0.0)
    return [(K + deviation, weight) for K, deviation, weight in layers]


def _converged(
    of_rule: Callable[[Layers], tuple[Array, Array]],
    activation: str | Activation,
    depth: int,
    C_b: float,
    C_W: float,
    K1: float,
    widths: int | Sequence[int],
    middle: float = 1.0,
) -> tuple[Array, float]:
    """Numbers (k, depth) that two rules of g agree in, and their largest relative difference.

    of_rule gives the numbers and the sizes that differences are relative to, (depth, k) each. middle: that of
    `_layers`.
    """
    s, sizes = named(activation), _checked(depth, C_b, C_W, K1, widths)
    old, error = None, math.inf
    for count in NODES:
        values, scale = of_rule(_layers(s, C_b, C_W, K1, sizes, count, middle))
        if old is not None:
            difference = np.abs(values - old)
            error = float(np.max(difference / np.where(scale > 0, scale, 1.0)))
            if error <= TOLERANCE:
                return values.T, error
        old = values
    raise ValueError(
        f"activation={s.name}, C_b={C_b}, C_W={C_W}, K1={K1:.6g}, widths={widths}: the exact law of g is known to "
        f"{error:.1g} only, {TOLERANCE:g} is promised; a larger width converges faster"
    )


def _checked(depth: int, C_b: float, C_W: float, K1: float, widths: int | Sequence[int]) -> list[int]:
    """The hidden widths n_1..n_{depth-1}."""
    for name, value in (("C_b", C_b), ("C_W", C_W), ("K1", K1)):
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name}={value}: a finite number, zero or larger")
    if depth < 1:
        raise ValueError(f"depth={depth}: one layer or more")
    sizes = [int(widths)] * (depth - 1) if isinstance(widths, int | np.integer) else [int(n) for n in widths]
    if len(sizes) != depth - 1:
        raise ValueError(f"widths={widths}: {depth - 1} hidden widths for depth={depth}, or one for all")
    if any(n < 1 for n in sizes):
        raise ValueError(f"widths={widths}: one neuron or more in each layer")
    return sizes


def _layers(
    s: Activation, C_b: float, C_W: float, K1: float, sizes: Sequence[int], count: int, middle: float
) -> Layers:
    """K, nodes of g - K and weights of each layer, with rules of `count` nodes for the sum over neurons.

    A rule of g is one in the variable log(g + middle K).
    """
    K, deviation, weight = K1, np.zeros(1), np.ones(1)
    yield K, deviation, weight
    for n in sizes:
        g = np.maximum(K + deviation, 0.0)  # a node at the edge of the law may be negative by rounding
        means, (sums, shares) = _next(s, np.append(g, K), n, count)
        K = C_b + C_W * means[-1]
        deviation = (C_W * ((means[:-1] - means[-1])[:, None] + sums / n)).reshape(-1)
        weight = (weight[:, None] * shares).reshape(-1)
        deviation, weight = deviation[weight > 0], weight[weight > 0]
        if not middle:  # below, g - K has lost the digits of g
            low = deviation / K < VANISHING - 1
            if weight[low].sum() > VANISHING:
                raise ValueError(f"activation={s.name}, widths={sizes}: log g has no law, because g may vanish")
            deviation, weight = deviation[~low], weight[~low] / weight[~low].sum()
        if np.ptp(deviation) == 0:
            deviation, weight = deviation[:1], np.ones(1)
        elif len(deviation) > count + MORE:
            unit = (1 + middle) * K
            logarithm, weight = gauss_rule((np.log1p(deviation / unit), weight), count + MORE)
            deviation = unit * np.expm1(logarithm)
        yield K, deviation, weight


def _next(s: Activation, g: Array, n: int, count: int) -> tuple[Array, Rule]:
    """The means <s^2> at each g, and for all but the last g the rule of sum_j (s_j^2 - <s^2>) over n neurons."""
    unit = np.ones(1) if s.slopes else g
    values, weights = _neuron(s, unit)
    means = (weights * values).sum(axis=1)
    law = values - means[:, None], weights
    if s.slopes:  # s^2 is g times a number whose law is one for all g
        points, shares = sum_of_copies(gauss_rule(law, count), n)
        return means * g, (g[:-1, None] * points, np.broadcast_to(shares, (len(g) - 1, count)))
    return means, sum_of_copies(gauss_rule((law[0][:-1], law[1][:-1]), count), n)


def _neuron(s: Activation, g: Array) -> Rule:
    """The law of s(z)^2 of one neuron of each variance g, (variances, points)."""
    top = float(g.max())
    if s.slopes or top == 0:
        axis = trapezoid(0.1)
    elif s.sine and top > WIDE:
        if top > WIDEST_SINE:
            raise ValueError(f"activation={s.name}: K={top:.3g}: the law of g is resolved up to K={WIDEST_SINE:g}")
        axis = trapezoid(0.2 / math.sqrt(top))
    else:
        step, is_graded = _step(s, top)
        axis = graded(step / 2, [(np.zeros(()), 1 / math.sqrt(top))]) if is_graded else trapezoid(step / 2)
    xi, weight = axis
    values = np.square(s(np.sqrt(g)[:, None] * xi))
    return values, np.broadcast_to(weight, values.shape)


def _step(s: Activation, top: float) -> tuple[float, bool]:
    """The step of `calibrate_step`, graded from a longer uniform step on: fewer points are faster."""
    try:
        return calibrate_step(s, top, finest=0.06)
    except ValueError:  # s changes far from zero, where graded nodes are sparse
        return calibrate_step(s, top)
