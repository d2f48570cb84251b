"""The flow with depth of every tensor of order one and 1/n, for any activation, inputs, rates and widths.

Equations by their numbers in docs/theory.md, which names the chapters of PDLT (arXiv:2106.10165). The recursions of
the differentials of the NTK stand in `analysis.theory.differentials`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.theory.activations import Activation, Array
from analysis.theory.activations import activation as named
from analysis.theory.differentials import RECURSIONS
from analysis.theory.gaussian import Expectations
from analysis.theory.layer import Layer
from analysis.theory.ntk import _A, _B, _D, _F, _Theta, _Theta1
from analysis.theory.preactivations import _G1, _V

TENSORS = ("K", "Theta", "G1", "V")
# What each tensor's recursion reads of the layer below.
NEEDS: dict[str, tuple[str, ...]] = {
    "K": (),
    "Theta": (),
    "V": (),
    "G1": ("V",),
    "B": ("Theta",),
    "F": ("Theta",),
    "D": ("Theta", "V"),
    "A": ("Theta", "V", "D"),
    "Theta1": ("Theta", "G1", "V", "D", "F"),
    "P": ("Theta", "B"),
    "Q": ("Theta", "F"),
    "R": ("Theta", "B", "P"),
    "S": ("Theta", "B"),
    "T": ("Theta", "F", "Q"),
    "U": ("Theta",),
}
SMOOTH_ONLY = ("P", "Q", "R", "S", "T", "U")  # their recursions hold products of second derivatives of s


@dataclass(frozen=True)
class Flow:
    """Tensors with first axis l - 1, then their sample indices in the order of docs/theory.md. Dimensionless.

    A tensor of order 1/n with label l multiplies 1/n_{l-1} in the physical cumulant; in layer 1 it is 0.
    What was not asked for, and not needed for what was, is None.
    """

    chi_parallel: Array  # (L, D) susceptibility of a kernel, layer l to l + 1
    chi_perp: Array  # (L, D) susceptibility of a difference of inputs
    K: Array  # (L, D, D) infinite-width kernel
    Theta: Array | None = None  # (L, D, D) frozen NTK
    G1: Array | None = None  # (L, D, D) E[z_a z_b] = K + G1 / n
    Theta1: Array | None = None  # (L, D, D) E[H_ab] = Theta + Theta1 / n
    V: Array | None = None  # (L, D, D, D, D) V[l-1, a, b, c, d] = V_(ab)(cd)
    A: Array | None = None  # A[l-1, a, b, c, d] = A_(ab)(cd)
    B: Array | None = None  # B[l-1, a, c, b, d] = B_acbd
    D: Array | None = None  # D[l-1, a, b, c, d] = D_abcd, (ab) of z z and (cd) of H
    F: Array | None = None  # F[l-1, a, c, b, d] = F_acbd
    P: Array | None = None  # P[l-1, a, b, c, d] = P_abcd
    Q: Array | None = None  # Q[l-1, a, b, c, d] = Q_abcd
    R: Array | None = None  # R[l-1, a, b, c, d] = R_abcd
    S: Array | None = None  # S[l-1, a, b, c, d] = S_abcd
    T: Array | None = None  # T[l-1, a, c, d, b] = T_acdb
    U: Array | None = None  # U[l-1, a, d, b, c] = U_adbc


def _layerwise(name: str, value: ArrayLike, depth: int) -> Array:
    out = np.asarray(value, dtype=np.float64)
    if out.ndim > 1 or (out.ndim == 1 and len(out) != depth) or not np.all(np.isfinite(out)) or np.any(out < 0):
        raise ValueError(f"{name}={value!r}: a number >= 0, or one for each of the {depth} layers")
    return np.broadcast_to(out, (depth,))


def _distinct(inputs: Array) -> tuple[Array, NDArray[np.intp]]:
    """The distinct rows of `inputs` and for each row the number of its distinct one."""
    rows, which = np.unique(inputs, axis=0, return_inverse=True)
    return rows, which.reshape(-1).astype(np.intp)


def closure(tensors: Iterable[str]) -> set[str]:
    """What has to be iterated for the tensors asked for."""
    out, todo = {"K"}, list(tensors)
    while todo:
        name = todo.pop()
        if name not in out:
            out.add(name)
            todo += NEEDS[name]
    return out


def flow(
    activation: str | Activation,
    depth: int,
    C_b: float,
    C_W: float,
    inputs: ArrayLike,
    lambda_b: ArrayLike = 0.0,
    lambda_W: ArrayLike = 1.0,
    width_ratios: Sequence[float] | None = None,
    tensors: Iterable[str] = TENSORS,
) -> Flow:
    """Iterate the recursions from layer 1 to layer `depth`.

    activation: a registered name, with parameters where it has them ("leaky_relu(slope=0.1)").
    inputs: (D, n_0). lambda_b, lambda_W: a number, or one a layer. width_ratios: n_l / n_{l-1} for
    l = 1..L-1 (the first never matters); None means one width.
    tensors: which to compute, by the names of Flow's fields; what they need comes along. With four sample
    indices the cost grows as D^4 per layer: D^4/24 four-dimensional integrals of about 10^7 points for each of
    up to ten products of derivatives.

    Accuracy: 1e-9 relative for smooth activations, and for one or two distinct inputs of kinked ones;
    three and four distinct inputs of kinked ones reach 1e-8 where no two are closer than 0.99 in
    correlation (`tests/exact/test_gaussian.py`).

    Kinked activations (relu, leaky_relu): K, Theta, V, B, F, D, A are finite for all inputs; G1 and Theta1 too,
    unless two different inputs are parallel. P and Q are finite but for their deltas, which automatic
    differentiation and so any measurement drops, and R, S, T, U diverge where inputs coincide: all six are refused.

    Raises ValueError for an unknown activation or tensor, a depth below 1, inputs that are not a finite
    (D, n_0) array, rates or ratios of the wrong length, and for what a kinked activation does not have.
    """
    s = named(activation)
    x = np.asarray(inputs, dtype=np.float64)
    if x.ndim != 2 or 0 in x.shape or not np.all(np.isfinite(x)):
        raise ValueError(f"inputs: a finite array of shape (D, n_0), got shape {x.shape}")
    if depth < 1:
        raise ValueError(f"depth={depth}: at least 1 layer of weights")
    asked = list(tensors)
    if unknown := set(asked) - set(NEEDS):
        raise ValueError(f"tensors: unknown {sorted(unknown)}; known are {', '.join(NEEDS)}")
    if s.kinked and (refused := sorted(set(asked) & set(SMOOTH_ONLY))):
        raise ValueError(f"tensors: {', '.join(refused)} of {s.name} hold products of delta functions; smooth s only")
    wanted = closure(asked)
    lambdas_b, lambdas_W = _layerwise("lambda_b", lambda_b, depth), _layerwise("lambda_W", lambda_W, depth)
    ratios = np.ones(depth - 1) if width_ratios is None else np.asarray(width_ratios, dtype=np.float64)
    if ratios.shape != (depth - 1,) or np.any(ratios <= 0):
        raise ValueError(f"width_ratios={width_ratios!r}: {depth - 1} numbers > 0, n_l / n_(l-1) for l = 1..L-1")
    x, which = _distinct(x)
    D, n_0 = x.shape
    current: dict[str, Array] = {
        "K": C_b + C_W * (x @ x.T) / n_0,
        "Theta": lambdas_b[0] + lambdas_W[0] * (x @ x.T) / n_0,
    }
    for name in wanted - set(current):
        current[name] = np.zeros((D,) * (2 if name in ("G1", "Theta1") else 4))
    layers: list[dict[str, Array]] = []
    for layer in range(depth):
        # Layer l + 1's rates; the last layer has none above it, and only its susceptibilities are still wanted.
        above = min(layer + 1, depth - 1)
        rho = float(ratios[layer]) if layer < depth - 1 else 1.0
        here = Layer(Expectations(s, current["K"]), C_b, C_W, float(lambdas_b[above]), float(lambdas_W[above]), rho)
        chi = {
            "chi_perp": C_W * here.M(1, 1).diagonal(),
            "chi_parallel": C_W * (here.M(1, 1) + here.M(2, 0)).diagonal(),
        }
        layers.append(current | chi)
        if layer < depth - 1:
            current = _step(here, current, wanted)

    def stack(name: str, samples: int) -> Array:
        out: Array = np.stack([layer[name] for layer in layers])
        for axis in range(1, samples + 1):
            out = np.take(out, which, axis=axis)
        return out

    result = Flow(stack("chi_parallel", 1), stack("chi_perp", 1), stack("K", 2))
    present = [f.name for f in fields(Flow) if f.name in wanted and f.name != "K"]
    return replace(result, **{name: stack(name, layers[0][name].ndim) for name in present})


def _step(here: Layer, old: dict[str, Array], wanted: set[str]) -> dict[str, Array]:
    """All tensors of layer l + 1 from those of layer l."""
    new = {"K": here.C_b + here.C_W * here.M(0, 0)}
    order = [name for name in NEEDS if name in wanted and name != "K"]
    for name in order:
        new[name] = RECURSIONS[name](here, old, new)
        if not np.all(np.isfinite(new[name])):
            raise ValueError(f"{name} diverges for {here.expectations.s.name} at parallel inputs: two kinks meet")
    return new


RECURSIONS = {
    "Theta": _Theta,
    "V": _V,
    "G1": _G1,
    "B": _B,
    "F": _F,
    "D": _D,
    "A": _A,
    "Theta1": _Theta1,
    **RECURSIONS,
}
