"""Residual networks at order 1/n, one input: V, G1, Theta1, A, B, D and F, docs/theory.md (11.4) and (11.5).

A neuron of a residual network remembers its own past, so that its joint cumulants with the neurons of its layer are of
order 1/n, whatever the power of the one neuron. They are towers m, b, f and d of Hermite coefficients, which feed V, B,
F, D, A and G1 at the same order. Coefficients are stored as K^(q/2) f_q / sqrt(q!), which are numbers of order one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from analysis.theory.activations import Activation, Array
from analysis.theory.activations import activation as named
from analysis.theory.criticality import critical
from analysis.theory.hermite import Means, check

ORDER_N = ("V", "G1", "Theta1", "A", "B", "D", "F")
PRECISION = 1e-15  # coefficients of higher order than those kept enter with a factor below this
LONGEST = 2000  # coefficients of a tower


@dataclass(frozen=True)
class Step:
    """A step from layer l to l + 1, docs/theory.md section 11: C_b, C_W, and the skip and the rates of layer l + 1."""

    C_b: float
    C_W: float
    skip: float
    lambda_b: float
    lambda_W: float


@dataclass(frozen=True)
class State:
    """One layer, docs/theory.md (11.4): kernel and NTK, tensors of order 1/n by name, and the towers (count,)."""

    K: float
    Theta: float
    count: int
    tensors: dict[str, float] = field(default_factory=lambda: dict.fromkeys(ORDER_N, 0.0))
    towers: dict[str, Array] = field(default_factory=dict)

    def tower(self, name: str) -> Array:
        """The tower of this name, docs/theory.md (11.4); zero in layer 1."""
        return self.towers.get(name, np.zeros(self.count))


def order_n(s: Activation, K: Sequence[float], Theta: Sequence[float], steps: Sequence[Step]) -> dict[str, Array]:
    """The tensors ORDER_N of layers 1 .. L by docs/theory.md (11.5), shape (L,) each.

    K, Theta: those of docs/theory.md (11.1), (L,). steps: L - 1 of them.

    The towers are cut where the correlation gamma sqrt(K / K') of a neuron with itself, to the power of their length,
    is below 1e-15. Raises ValueError where this takes more than LONGEST coefficients, where averages do not converge,
    and for a kernel of zero.
    """
    if min(K) <= 0:
        raise ValueError(f"K={min(K):g}: residual networks are known for kernels above zero")
    memory = max((step.skip * math.sqrt(K[l] / K[l + 1]) for l, step in enumerate(steps)), default=0.0)
    count = _count(memory)
    state, layers = State(K[0], Theta[0], count), []
    for l in range(len(K)):
        layers.append(state.tensors)
        if l < len(steps):
            state = _next(s, state, steps[l], K[l + 1], Theta[l + 1])
    return {name: np.array([layer[name] for layer in layers]) for name in ORDER_N}


def residual_growth(activation: str | Activation, skip: float) -> dict[str, float]:
    """The slopes in depth of V/K^2, B/Theta^2 and F/(K Theta) of one input at criticality once the towers have settled,
    docs/theory.md (11.7), and of G1/K of scale-invariant activations.

    skip: gamma of every step, from 0 to below 1. B and F are those of layers with equal shares of the NTK. K* = 0 has
    the slopes of the plain network times 1 - gamma^4, and V is its only entry. Raises ValueError as `critical`, and
    where the memory of a neuron takes more than LONGEST coefficients.
    """
    s, point = named(activation), critical(activation, skip)
    if point.universality_class == "K* = 0":
        return {"V": 2 / 3 * (1 - skip**4)}
    K, count = (1.0 if s.slopes is not None else point.K_star), _count(skip)
    at, C_W = Means(K, count + 2), point.C_W
    value, slope = s.derivatives[0](at.z), s.derivatives[1](at.z)
    S, E, R = (at.coefficients(f) for f in (value**2, slope**2, value * slope))
    fading, q = skip ** np.arange(count + 2.0), np.arange(count)

    def remembered(f: Array, power: int) -> float:
        """Twice the sum over q of f_q^2 gamma^k / (1 - gamma^k), k = q + power, which the memory adds."""
        gone = fading[power:]
        return 2 * float(np.sum((f**2)[: len(gone)] * gone / (1 - gone)))

    m = np.where((q == 0) | (q == 2), 0.0, S[:count] * fading[:count] / (1 - np.where(q, fading[:count], 0.0)))
    G1 = {"G1": C_W**2 / (2 * K**2) * float(np.sum(m * S[2:] * np.sqrt((q + 1) * (q + 2.0))))}
    return {
        "V": C_W**2 / K**2 * (at.covariance(value**2, value**2) + remembered(S[1:], 1)),
        "B": C_W**2 / 3 * (at.mean(slope**4) + remembered(E, 2)),
        "F": C_W**2 / (2 * K) * (at.mean(value**2 * slope**2) + remembered(R, 1)),
    } | (G1 if s.slopes is not None else {})


def _count(memory: float) -> int:
    """How many coefficients matter where this is a neuron's correlation with itself a layer before. ValueError where
    these are more than LONGEST."""
    count = 6 + (math.ceil(math.log(PRECISION) / math.log(memory)) if memory > 0 else 0)
    if count > LONGEST:
        raise ValueError(f"skip: a neuron's correlation with itself a layer before is {memory:.6g}, too near one")
    return count


def _next(s: Activation, old: State, step: Step, K: float, Theta: float) -> State:
    """The next layer by docs/theory.md (11.4) and (11.5); K and Theta are its own."""
    check(s.derivatives[:2], old.K)
    at = Means(old.K, old.count + 2)
    C_W, gamma = step.C_W, step.skip
    value, slope = s.derivatives[0](at.z), s.derivatives[1](at.z)
    s2, e2, r2 = value**2, slope**2, value * slope
    omega = step.lambda_W * s2 + C_W * old.Theta * e2
    S, E, R, O = (at.coefficients(f) for f in (s2, e2, r2, omega))
    S2, S4, E2, E4, O2 = (at.derivative(f, q) for f, q in ((S, 2), (S, 4), (E, 2), (E, 4), (O, 2)))
    x = C_W * S2 / 2
    parallel, perp = x + gamma**2, C_W * at.mean(e2) + gamma**2
    m, b, f, d = (old.tower(name) for name in "mbfd")
    V, G1, Theta1, A, B, D, F = (old.tensors[name] for name in ORDER_N)

    def paired(tower: Array, h: Array, order: int = 0) -> float:
        """The tower's value at the derivative of this order of h, docs/theory.md (11.4)."""
        q = np.arange(old.count)
        rising = np.sqrt(np.prod([q + k for k in range(1, order + 1)], axis=0)) if order else 1.0
        return float(np.sum(tower * h[order : order + old.count] * rising)) / old.K ** (order / 2)

    new_G1 = parallel * G1 + C_W / 8 * S4 * V + C_W / 2 * paired(m, S, 2)
    bent = E2 * G1 / 2 + E4 * V / 8 + paired(m, E, 2) / 2
    mixed = E2 * (D + 2 * F) / 2 + paired(d, E) + 2 * paired(f, E, 1)
    tensors = {
        "V": C_W**2 * at.covariance(s2, s2)
        + 4 * gamma**2 * x * old.K**2
        + parallel**2 * V
        + 2 * C_W * parallel * paired(m, S),
        "G1": new_G1,
        "Theta1": step.lambda_W / C_W * (new_G1 - gamma**2 * G1) + C_W * (old.Theta * bent + mixed) + perp * Theta1,
        "A": at.covariance(omega, omega)
        + O2**2 * V / 4
        + O2 * paired(m, O)
        + 2 * perp * (O2 * D / 2 + paired(d, O))
        + perp**2 * A,
        "B": C_W**2 * at.mean(e2**2) * old.Theta**2
        + 2 * gamma**2 * C_W * at.mean(e2) * old.Theta**2
        + perp**2 * B
        + 2 * C_W * perp * paired(b, E),
        "D": C_W * at.covariance(s2, omega)
        + gamma**2 * old.K**2 * O2
        + parallel * (O2 * V / 2 + paired(m, O) + perp * D)
        + C_W / 2 * O2 * paired(m, S)
        + C_W * perp * paired(d, S),
        "F": C_W**2 * at.mean(s2 * e2) * old.Theta
        + 2 * gamma**2 * x * old.K * old.Theta
        + parallel**2 * F
        + 2 * C_W * parallel * paired(f, R),
    }
    S, E, R, O = (h[: old.count] for h in (S, E, R, O))
    fading = (gamma * math.sqrt(old.K / K)) ** np.arange(old.count)
    towers = {
        "m": fading * (parallel * m + C_W * S),
        "b": gamma**2 * fading * (perp * b + C_W * old.Theta**2 * E),
        "f": gamma * fading * (parallel * f + C_W * old.Theta * R),
        "d": fading * (perp * d + O + O2 * m / 2),
    }
    # The orders that V, B, F and D themselves hold, and q = 0 where a mean is taken off.
    for name, orders in (("m", [0, 2]), ("b", [0]), ("f", [1]), ("d", [0, 2])):
        towers[name][orders] = 0.0
    return State(K, Theta, old.count, tensors, towers)
