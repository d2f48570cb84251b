"""Flow with depth: how kernels approach fixed points, and how tensors grow at criticality, docs/theory.md section 4."""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np

from analysis import estimators, theory
from analysis.estimators import Array, Estimate
from analysis.measures.measured import (
    Function,
    Layers,
    Measure,
    Measured,
    Undefined,
    chosen_layers,
    label_of,
    measure,
)
from analysis.points import Point

DEEPEST = 3000  # layers to which recursions are iterated for the coefficients of a class


def off_criticality(point: Point) -> Iterator[str]:
    """No power law of the kernel is predicted off criticality."""
    if not point.critical:
        yield f"{_initialization(point)}: K falls as a power of l at criticality only"


def at_criticality(point: Point) -> Iterator[str]:
    """No exponential flow of the kernel is predicted at criticality."""
    if point.critical:
        yield f"{_initialization(point)}: at criticality K has no exponential flow"


def _initialization(point: Point) -> str:
    C_b, C_W = (point.settings["initialization"][name] for name in ("C_b", "C_W"))
    return f"initialization: C_b={C_b}, C_W={C_W}"


@measure(
    "K_power_law",
    tensor="log K",
    symbol=r"$\log\mathrm{E}\,g$",
    model="power_law",
    families=("g",),
    undefined=off_criticality,
)
def flow_on_criticality(point: Point, layers: Layers) -> Iterator[Measured]:
    """log E g_aa against log l, of slope -p_0 at criticality (docs/theory.md (4.3))."""
    p_0 = theory.exponents(point.activation).p_0
    diagonal = [(k, a) for k, (a, b) in enumerate(point.columns("g")) if a == b]
    predicted = np.full(len(diagonal), p_0)
    for layer in chosen_layers(point, "g", layers):
        estimate = estimators.mean(point.read("g", layer)[:, [k for k, _ in diagonal]]).log()
        labels = [label_of((a, a)) for _, a in diagonal]
        yield Measured(
            tensor="log K",
            layer=layer,
            step=0,
            samples=labels,
            estimate=estimate,
            theory=predicted,
            scale=np.maximum(predicted, 1.0),
        )


def _fixed_point(point: Point) -> tuple[float, float, bool]:
    """K*, chi_parallel there, and whether distances of samples 0 and 1 are measured, not kernels themselves."""
    initialization, K = point.settings["initialization"], point.flow(False).K[0]
    K_star, chi = theory.attractor(point.activation, initialization["C_b"], initialization["C_W"], float(K[0, 0]))
    return K_star, chi, 0 < K_star < math.inf


def two_lengths(point: Point) -> Iterator[str]:
    """Needs of the flow to a fixed point that is neither zero nor infinite."""
    K = point.flow(False).K[0]
    if _fixed_point(point)[2] and (point.D < 2 or abs(K[0, 0] - K[1, 1]) < 1e-3 * K[0, 0]):
        yield "inputs: samples 0 and 1 of different length are needed, as inputs=ray gives them"


@measure(
    "K_exponential",
    symbol={"log K": r"$\log\mathrm{E}\,g$", "log dK": r"$\log\mathrm{E}(g_{00}-g_{11})$"},
    model="exponential",
    families=("g",),
    needs=two_lengths,
    undefined=at_criticality,
)
def flow_off_criticality(point: Point, layers: Layers) -> Iterator[Measured]:
    """log of a kernel's distance to its fixed point against l, of slope log chi_parallel(K*), docs/theory.md (1.7) and
    (4.6).

    For K* = 0 (or infinite) the distance is E g_00 itself; else that of samples 0 and 1, E g_00 - E g_11, which has
    the same rate and in which the 1/n shift of the fixed point drops out (inputs=ray: else chaos parts them).
    """
    pairs, K = point.columns("g"), point.flow(False).K[0]
    _, chi, shifts = _fixed_point(point)
    predicted = np.array([-math.log(chi)])
    for layer in chosen_layers(point, "g", layers):
        g = point.read("g", layer)
        distance = g[:, pairs.index((0, 0))]
        if shifts:
            distance = distance - g[:, pairs.index((1, 1))]
            distance = distance if K[0, 0] > K[1, 1] else -distance
        name, label = ("log dK", "00-11") if shifts else ("log K", "00")
        estimate = estimators.mean(distance[:, None]).log()
        yield Measured(
            tensor=name,
            layer=layer,
            step=0,
            samples=[label],
            estimate=estimate,
            theory=predicted,
            scale=np.abs(predicted),
        )


def _scaled_rates(point: Point) -> list[Array]:
    """lambda_b and lambda_W of each layer over the shares of docs/theory.md (4.5), which give every layer an equal part
    of the NTK."""
    shares = theory.equal_shares(point.activation, point.depth)
    rates = (np.array(point.settings["dynamics"][name]) for name in ("lambda_b", "lambda_W"))
    return [rate / share for rate, share in zip(rates, shares, strict=True)]


def criticality(point: Point) -> Iterator[str]:
    """Needs of tensors in units of their universality class."""
    if not point.critical or point.records("H"):
        yield from scaled_criticality(point)


def scaled_criticality(point: Point) -> Iterator[str]:
    """Needs of the coefficients of a universality class, where those of the NTK are among them."""
    if not point.critical:
        yield f"{_initialization(point)}: tensors grow as their class predicts at criticality only"
    elif not all(np.allclose(rate, rate[0]) for rate in _scaled_rates(point)):
        yield "dynamics.scaling=none: classes compare with rates scaled as critical"


def _class(point: Point) -> tuple[dict[str, float], tuple[float, float, float]]:
    """The coefficients of l of all tensors that docs/theory.md (4.2) to (4.4) give for the point's universality class,
    and what they depend on: lambda_b and lambda_W before their depth scaling, and the kernel of layer 1."""
    lambda_b, lambda_W = (float(rate[0]) for rate in _scaled_rates(point))
    K1 = float(point.flow(("K", "Theta")).K[0, 0, 0])
    phi = theory.bias_share(point.activation, lambda_b, lambda_W, K1)
    return theory.exponents(point.activation, phi).coefficient, (lambda_b, lambda_W, K1)


def _coefficient(point: Point, tensor: str) -> float | None:
    """The coefficient of l of a tensor in its units; None where its class gives none."""
    return _class(point)[0].get(tensor)


def _coefficient_known(point: Point) -> bool:
    """Whether the point is one that classes speak of; `criticality` tells what is needed elsewhere."""
    return not any(True for _ in criticality(point))


def _in_units(point: Point, measure: Measure, layers: Layers) -> Iterator[Measured]:
    """Components of one sample over UNITS of K and Theta at their layer and input."""
    flow = point.flow(("K", "Theta"))
    assert flow.Theta is not None
    for m in measure(point, layers):
        alike = [(k, int(text[0])) for k, text in enumerate(m.samples) if len(set(text) - {","}) == 1]
        power_K, power_Theta = theory.UNITS[m.tensor]
        K, Theta = (np.array([X[m.layer - 1, a, a] for _, a in alike]) for X in (flow.K, flow.Theta))
        unit = K**power_K * Theta**power_Theta
        k = [k for k, _ in alike]
        estimate = replace(m.estimate, value=m.estimate.value[k] / unit, replicates=m.estimate.replicates[:, k] / unit)
        labels = [m.samples[i] for i in k]
        yield replace(m, samples=labels, estimate=estimate, theory_next=None)


@measure(
    "class_coefficient",
    tensor="recursion / class",
    symbol="recursion / class",
    model="tolerance",
    families=("g",),
    needs=scaled_criticality,
)
def class_coefficient(point: Point, layers: Layers) -> Iterator[Measured]:
    """V, A, B, D and F of the recursions at DEEPEST layers have the coefficients of l of the point's universality
    class, docs/theory.md (4.2) to (4.4): their relative deviation from these.

    It reads no networks. Where tests hold networks to the recursions at a few layers, this one says what the recursions
    have to do with the class.
    """
    of_class, given = _class(point)
    names = tuple(name for name in "VABDF" if of_class.get(name))
    found = _iterated(point.activation, *given, names, DEEPEST)
    deviation = np.array([abs(found[name] / of_class[name] - 1) for name in names])
    estimate = Estimate(deviation, np.tile(deviation, (estimators.BLOCKS, 1)))  # no sampling error
    one = np.ones(len(names))
    yield Measured("recursion / class", DEEPEST, 0, list(names), estimate, theory=0 * one, scale=one)


@lru_cache(maxsize=32)
def _iterated(
    activation: str, lambda_b: float, lambda_W: float, K1: float, names: tuple[str, ...], depth: int
) -> dict[str, float]:
    """All widths of a sweep ask for the same."""
    return theory.iterated(activation, lambda_b, lambda_W, K1, names, depth)


def slope_of(measure: Measure) -> Measure:
    """The test NAME_slope of a measure that grows: X / (K^a Theta^b (l - 1)) of its tensor X tends at large depth to
    the coefficient of its universality class (docs/theory.md (4.2) to (4.4)), which half-stable activations have at K*.
    """
    (tensor, symbol), *_ = measure.symbols.items()

    def measured(point: Point, layers: Layers) -> Iterator[Measured]:
        coefficient = _coefficient(point, tensor)
        assert coefficient is not None
        for m in _in_units(point, measure, layers):
            predicted = np.full(len(m.samples), coefficient)
            scale = np.abs(predicted) if coefficient else np.ones(len(predicted))
            estimate = m.estimate.scaled(1 / (m.layer - 1))
            yield replace(m, tensor=f"{tensor} slope", estimate=estimate, theory=predicted, scale=scale)

    def undefined(point: Point) -> Iterator[str]:
        if _coefficient_known(point) and _coefficient(point, tensor) is None:
            yield f"activation={point.activation}: its universality class predicts no growth of {tensor}"

    derived = _derived(
        measure, measured, f"{measure.name}_slope", {f"{tensor} slope": f"{symbol} slope"}, "asymptote", undefined
    )
    return replace(derived, says=f"{_over_unit(tensor)} grows as {{value}} l/n ({{name}})")


def _over_unit(tensor: str) -> str:
    """V/(n K^2): a tensor over n and the powers of K and Theta that are its unit."""
    powers = zip(("K", "Theta"), theory.UNITS[tensor], strict=True)
    unit = [letter if power == 1 else f"{letter}^{power}" for letter, power in powers if power]
    return f"{tensor}/({' '.join(['n', *unit])})"


def exponent_of(measure: Measure) -> Measure:
    """The test NAME_exponent of a measure that grows: log |X / (K^a Theta^b)| against log l. All tensors grow as l^1,
    so that p = -1 in l^-p unless the class's coefficient of l vanishes (docs/theory.md (4.2) to (4.4))."""
    (tensor, symbol), *_ = measure.symbols.items()

    def measured(point: Point, layers: Layers) -> Iterator[Measured]:
        coefficient = _coefficient(point, tensor)
        assert coefficient
        for m in _in_units(point, measure, layers):
            unit: Array = np.ones(len(m.samples))
            estimate = m.estimate.scaled(math.copysign(1.0, coefficient)).log()
            yield replace(m, tensor=f"log {tensor}", estimate=estimate, theory=-unit, scale=unit)

    def undefined(point: Point) -> Iterator[str]:
        if _coefficient_known(point) and not _coefficient(point, tensor):
            yield f"activation={point.activation}: its universality class predicts no growth of {tensor}"

    return _derived(
        measure, measured, f"{measure.name}_exponent", {f"log {tensor}": f"log {symbol}"}, "power_law", undefined
    )


def _derived(
    measure: Measure, function: Function, name: str, symbols: dict[str, str], model: str, undefined: Undefined
) -> Measure:
    function.__doc__ = measure.function.__doc__

    def needs(point: Point) -> Iterator[str]:
        yield from measure.needs(point)
        yield from criticality(point)

    return replace(
        measure,
        name=name,
        function=function,
        symbols=symbols,
        model=model,
        grows=False,
        residual=False,
        orthogonal=False,
        table="never",
        needs=needs,
        undefined=undefined,
    )
