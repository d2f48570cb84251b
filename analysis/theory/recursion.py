"""The flow with depth of every tensor of order one and 1/n, for any activation, inputs, rates and widths.

The recursions stand in `preactivations`, `ntk` and `differentials`, one file a section of docs/theory.md, and those of
the next order in `next_tensors`; here they are iterated.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from html import escape

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Importing these registers their recursions.
from analysis.theory import differentials, next_tensors, ntk, preactivations, residual, residual_inputs  # noqa: F401
from analysis.theory.activations import Activation, Array
from analysis.theory.activations import activation as named
from analysis.theory.arguments import layerwise, stepwise
from analysis.theory.gaussian import Expectations
from analysis.theory.kernel_derivatives import refuse_unknown
from analysis.theory.layer import FirstLayer, Layer, Tensors
from analysis.theory.ntk_series import OF_ONE_INPUT, ntk_next_order, refuse_several
from analysis.theory.tensors import RECURSIONS, closure, in_order, of_copies

TENSORS = ("K", "Theta", "G1", "V")  # the tensors that `flow` computes by default
ORDERS = (1, 2)  # of 1/n
ENDS = 10  # layers at either end that a notebook shows
LARGE = 1e70  # four-point expectations of a larger kernel may overflow


@dataclass(frozen=True, repr=False)
class Flow:
    """Tensors by layer: the first axis is l - 1, then come sample indices in the order of docs/theory.md section 0.

    All are dimensionless. A tensor of order 1/n with label l multiplies 1/n_{l-1} in the physical cumulant; in layer 1
    it is 0. A field is None where nobody asked for its tensor nor needed it. `flow[name]` is any tensor that was
    computed, also one that a plugin registered.
    """

    chi_parallel: Array  # (L, D) susceptibility of a kernel, layer l to l + 1
    chi_perp: Array  # (L, D) susceptibility of a difference of inputs
    K: Array  # (L, D, D) infinite-width kernel
    Theta: Array | None = None  # (L, D, D) frozen NTK
    G1: Array | None = None  # (L, D, D) E[z_a z_b] = K + G1 / n
    Theta1: Array | None = None  # (L, D, D) E[H_ab] = Theta + Theta1 / n
    G2: Array | None = None  # (L, D, D) E[z_a z_b] = K + G1 / n + G2 / n^2
    Theta2: Array | None = None  # (L, D, D) E[H_aa] = Theta + Theta1 / n + Theta2 / n^2
    V: Array | None = None  # (L, D, D, D, D) V[l-1, a, b, c, d] = V_(ab)(cd)
    V2: Array | None = None  # as V: the covariance of g_ab and g_cd is V / n + V2 / n^2
    W: Array | None = None  # (L, D, D, D, D, D, D) the third cumulant of g_ab, g_cd and g_ef is W / n^2
    A: Array | None = None  # A[l-1, a, b, c, d] = A_(ab)(cd)
    B: Array | None = None  # B[l-1, a, c, b, d] = B_acbd
    D: Array | None = None  # D[l-1, a, b, c, d] = D_abcd, (ab) of z z and (cd) of H
    F: Array | None = None  # F[l-1, a, c, b, d] = F_acbd
    A2: Array | None = None  # as A: what A / n measures is A / n + A2 / n^2, and so on
    B2: Array | None = None
    D2: Array | None = None
    F2: Array | None = None
    T3: Array | None = None  # E H_ij H_jk H_ki of three neurons is T3 / n^2
    P: Array | None = None  # P[l-1, a, b, c, d] = P_abcd
    Q: Array | None = None  # Q[l-1, a, b, c, d] = Q_abcd
    R: Array | None = None  # R[l-1, a, b, c, d] = R_abcd
    S: Array | None = None  # S[l-1, a, b, c, d] = S_abcd
    T: Array | None = None  # T[l-1, a, c, d, b] = T_acdb
    U: Array | None = None  # U[l-1, a, d, b, c] = U_adbc
    others: Mapping[str, Array] = field(default_factory=dict)  # further registered tensors, by name

    def __getitem__(self, name: str) -> Array:
        """A tensor by its name, shape (L, D, ...). Raises KeyError where it was not computed."""
        value: Array | None = getattr(self, name) if name in _fields() else self.others.get(name)
        if value is None:
            raise KeyError(f"{name}: not computed; name it in flow(..., tensors=[...])")
        return value

    def computed(self) -> dict[str, Array]:
        """All tensors that were computed, by name."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "others"} | dict(self.others)
        return {name: value for name, value in given.items() if value is not None}

    def __repr__(self) -> str:
        layers, samples = self.chi_perp.shape
        return f"Flow({layers} layers, {samples} samples: {', '.join(self.computed())})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the component of sample 0 of each tensor by layer, without the middle ones of many."""
        shown = {name: value.reshape(len(value), -1)[:, 0] for name, value in self.computed().items()}
        head = "".join(f"<th>{escape(name)}</th>" for name in ("layer", *shown))
        rows = [
            f"<tr><td>{layer + 1}</td>{''.join(f'<td>{value[layer]:.6g}</td>' for value in shown.values())}</tr>"
            for layer in range(len(self.chi_perp))
        ]
        if len(rows) > 2 * ENDS:
            rows[ENDS:-ENDS] = [f"<tr>{'<td>...</td>' * (1 + len(shown))}</tr>"]
        return f"<p>{escape(repr(self))}; of sample 0:</p><table><tr>{head}</tr>{''.join(rows)}</table>"


def _fields() -> set[str]:
    """The fields of a flow that hold one tensor each."""
    return {f.name for f in fields(Flow)} - {"others"}


def _orthogonal(weights: str, asked: set[str], skips: bool) -> bool:
    """Whether weights are orthogonal. ValueError for other names and for what is not known of orthogonal weights."""
    if weights not in ("gaussian", "orthogonal"):
        raise ValueError(f"weights={weights!r}: gaussian or orthogonal")
    if weights == "gaussian":
        return False
    if skips:
        raise ValueError("weights='orthogonal': not known with skips, by which neurons of frames remember their past")
    if refused := sorted(name for name in asked if not all(RECURSIONS[other].orthogonal for other in closure([name]))):
        why = "frames are not Gaussian, and no recursion is derived for them"
        raise ValueError(
            f"tensors: {', '.join(refused)} not known for weights='orthogonal', but for Gaussian ones: {why}"
        )
    return True


def _distinct(inputs: Array) -> tuple[Array, NDArray[np.intp]]:
    """The distinct rows of `inputs` and for each row the number of its distinct one."""
    rows, which = np.unique(inputs, axis=0, return_inverse=True)
    return rows, which.reshape(-1).astype(np.intp)


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
    points: int | None = None,
    order: int = 1,
    skip: ArrayLike = 0.0,
    weights: str = "gaussian",
    branch: ArrayLike = 1.0,
    first_weights: str = "gaussian",
) -> Flow:
    """Iterate the recursions of docs/theory.md sections 1 to 3 from layer 1 to layer `depth`, and those of section 11
    for residual networks and of section 14 for orthogonal weights.

    The susceptibilities chi_parallel and chi_perp of each layer are docs/theory.md (1.7) and (1.8). The number
    of outputs enters no tensor, docs/theory.md (15.1).

    activation: a registered name, with parameters where it has them ("leaky_relu(slope=0.1)").
    inputs: (D, n_0). lambda_b, lambda_W: a number, or one a layer. width_ratios: n_l / n_{l-1} for
    l = 1..L-1 (the first matters for first_weights alone); None means one width.
    tensors: which to compute, by the names under which they were registered, which are Flow's fields and what plugins
    add; what they need comes along. With four sample indices the cost grows as D^4 per layer: D^4/24 four-dimensional
    integrals of about 10^7 points for each of up to ten products of derivatives.
    points: with more than four inputs these integrals take hours. A number of points, a power of two, averages products
    of three and four factors over so many quasi-random points instead, with a fixed seed, as `Expectations` says: 2^17
    are right to about 1e-4 of a tensor.

    order: 2 adds G2, V2 and W of docs/theory.md (17.3), which `tensors` may name one by one, too, and Theta2, A2, B2,
    D2, F2 and T3 of docs/theory.md (17.12), known for one distinct input, where there is one. Smooth activations have
    G2, V2 and W at any inputs, and W and what needs it at up to four distinct ones without `points`; kinked ones have
    them at one or two distinct inputs whose kernels have correlations up to 0.99, without `points`.
    skip: gamma of a residual network, docs/theory.md (11.1): a number for all steps from one layer to the next, or one
    for each of the depth - 1 steps. Its hidden layers have one width. K, Theta, V, G1, Theta1, A, B, D and F are known,
    G1 and Theta1 where no two different inputs are parallel, to 1e-9. branch: alpha, which multiplies W s in the same
    steps, docs/theory.md (11.2).

    weights: "gaussian", or "orthogonal" for Haar weights in all layers but the first, docs/theory.md (14.1), which do
    not widen; without skips. The tensors of order 1/n are known. first_weights="orthogonal": of the first layer as
    well, where the first of width_ratios is n_1 / n_0 and V of layer 1 multiplies 1/n_0.

    Accuracy: 1e-9 relative for smooth activations, and for one or two distinct inputs of kinked ones;
    three and four distinct inputs of kinked ones reach 1e-8 where no two are closer than 0.99 in
    correlation, and 1e-6 or an error elsewhere (`tests/exact/theory/test_gaussian.py`). Kernels may be as small as
    1e-12; up to two distinct inputs may have kernels as large as 1e12, and more than two as large as some hundred.

    Kinked activations (relu, leaky_relu): K, Theta, V, B, F, D, A are finite for all inputs; G1 and Theta1 too,
    unless two different inputs are parallel. P and Q are finite but for their deltas, which automatic
    differentiation and so any measurement drops, and R, S, T, U diverge where inputs coincide: all six are refused.

    Raises ValueError for an unknown activation or tensor, a depth below 1, inputs that are not a finite
    (D, n_0) array, rates or ratios of the wrong length, for what a kinked activation does not have, for what is not
    known of residual networks or of orthogonal weights, for averages that do not converge, and for numbers that are
    not finite.
    """
    s = named(activation)
    x = np.asarray(inputs, dtype=np.float64)
    if x.ndim != 2 or 0 in x.shape or not np.all(np.isfinite(x)):
        raise ValueError(f"inputs: a finite array of shape (D, n_0), got shape {x.shape}")
    if depth < 1:
        raise ValueError(f"depth={depth}: at least 1 layer of weights")
    if order not in ORDERS:
        raise ValueError(f"order={order!r}: 1, or 2 for the next order in 1/n; theory.chain has more for one input")
    asked = set(tensors) | (set(next_tensors.NEXT) if order > 1 else set())
    x, which = _distinct(x)
    alone = (asked | set(OF_ONE_INPUT) if order > 1 and len(x) == 1 else asked) & set(OF_ONE_INPUT)
    refuse_several(alone, len(x), skip, weights)
    asked -= alone
    if unknown := asked - set(RECURSIONS):
        raise ValueError(f"tensors: unknown {sorted(unknown)}; known are {', '.join((*RECURSIONS, *OF_ONE_INPUT))}")
    if s.kinked and (refused := sorted(name for name in asked if _smooth_only(name))):
        raise ValueError(f"tensors: {', '.join(refused)} of {s.name} hold products of delta functions; smooth s only")
    skips, shares = stepwise("skip", skip, depth), stepwise("branch", branch, depth) ** 2
    if (shares == 0).any() or (not skips.any() and (shares != 1).any()):
        raise ValueError(f"branch={branch!r}: numbers > 0, and 1 where there is no skip: C_W scales the weights there")
    of_residual = asked & set(residual.ORDER_N) if skips.any() else set()
    if skips.any() and (refused := sorted(asked - of_residual - {"K", "Theta"})):
        why = "each neuron remembers its past, and no recursion is derived for that"
        raise ValueError(f"tensors: {', '.join(refused)} not known for skip={skip!r}, but for plain networks: {why}")
    orthogonal = _orthogonal(weights, asked, bool(skips.any()))
    if first_weights != "gaussian" and not (orthogonal and first_weights == "orthogonal"):
        raise ValueError(f"first_weights={first_weights!r}: gaussian, or orthogonal where weights='orthogonal'")
    names = in_order(closure(asked if not of_residual else {"K", "Theta"}))
    lambdas_b, lambdas_W = layerwise("lambda_b", lambda_b, depth), layerwise("lambda_W", lambda_W, depth)
    ratios = np.ones(depth - 1) if width_ratios is None else np.asarray(width_ratios, dtype=np.float64)
    if ratios.shape != (depth - 1,) or np.any(ratios <= 0):
        raise ValueError(f"width_ratios={width_ratios!r}: {depth - 1} numbers > 0, n_l / n_(l-1) for l = 1..L-1")
    if orthogonal and (ratios[1:] > 1).any():
        raise ValueError(f"width_ratios={width_ratios!r}: orthogonal weights lead to layers that are not wider")
    if set(next_tensors.NEXT) & set(names):
        refuse_unknown(s, len(x), points)
    if skips.any() and (ratios[1:] != 1).any():
        raise ValueError(f"width_ratios={width_ratios!r}: residual networks have one width in all hidden layers")
    if s.kinked and C_b == 0 and not x.any(axis=1).all():
        raise ValueError(f"inputs: one is zero everywhere, where {s.name} has no slope at C_b=0")
    first = FirstLayer(x, C_b, C_W, float(lambdas_b[0]), float(lambdas_W[0]), first_weights == "orthogonal")
    current, rates_W = {name: _first(name, first) for name in names}, lambdas_W * np.append(1.0, shares)
    layers: list[Tensors] = []
    between: list[Layer] = []
    for layer in range(depth):
        # Layer l + 1's rates; the last layer has none above it, and only its susceptibilities are still wanted.
        above = min(layer + 1, depth - 1)
        rho = float(ratios[layer]) if layer < depth - 1 else 1.0
        expectations = Expectations(s, current["K"], points)
        step = min(layer, depth - 2)
        gamma, size = (float(skips[step]), C_W * float(shares[step])) if depth > 1 else (0.0, C_W)
        here = Layer(expectations, C_b, size, float(lambdas_b[above]), float(rates_W[above]), rho, gamma, orthogonal)
        chi = {
            "chi_perp": size * here.M(1, 1).diagonal() + gamma**2,
            "chi_parallel": size * (here.M(1, 1) + here.M(2, 0)).diagonal() + gamma**2,
        }
        layers.append(current | chi)
        if layer < depth - 1:
            between.append(here)
            current = _step(here, current, names)

    def stack(name: str) -> Array:
        out: Array = np.stack([tensors[name] for tensors in layers])
        for axis in range(1, out.ndim):
            out = np.take(out, which, axis=axis)
        return out

    if of_residual:
        K, Theta = ([at[name] for at in layers] for name in ("K", "Theta"))
        found = residual_inputs.order_n(s, between, K, Theta)
        for name in sorted(of_residual):
            if not np.all(np.isfinite(found[name])):
                raise ValueError(f"{name} of residual networks is not known where two different inputs are parallel")
        layers = [at | {name: found[name][l] for name in of_residual} for l, at in enumerate(layers)]
    computed = {name: stack(name) for name in layers[0]}
    if alone:
        K1 = float(computed["K"][0, 0, 0])
        series = ntk_next_order(s, depth, C_b, C_W, K1, lambdas_b, lambdas_W, ratios.tolist())
        computed |= {name: of_copies(series[name], len(which), OF_ONE_INPUT[name]) for name in alone}
    documented = {name: tensor for name, tensor in computed.items() if name in _fields()}
    others = {name: tensor for name, tensor in computed.items() if name not in documented}
    return Flow(**documented, others=others)


def _smooth_only(name: str) -> bool:
    """Whether a tensor, or one that it needs, exists for smooth activations alone."""
    return any(RECURSIONS[other].smooth_only for other in closure([name]))


def _first(name: str, layer: FirstLayer) -> Array:
    """A tensor of layer 1 vanishes unless its recursion says otherwise, docs/theory.md section 0."""
    recursion, D = RECURSIONS[name], len(layer.inputs)
    value = np.zeros((D,) * recursion.indices) if recursion.first is None else recursion.first(layer)
    return _checked(name, value, D)


def _step(here: Layer, old: Tensors, order: Sequence[str]) -> Tensors:
    """All tensors of layer l + 1 follow from those of layer l; each recursion sees only what it declared."""
    new: Tensors = {}
    for name in order:
        recursion = RECURSIONS[name]
        below = {other: old[other] for other in (name, *recursion.needs)}
        value = recursion.step(here, below, {other: new[other] for other in recursion.same_layer})
        new[name] = _checked(name, value, here.expectations.D)
        if not np.all(np.isfinite(value)):
            s, overflows = here.expectations.s, here.expectations.top > LARGE
            cause = "at parallel inputs: two kinks meet" if s.kinked and not overflows else "beyond float64's range"
            raise ValueError(f"{name} diverges for {s.name} {cause}")
    return new


def _checked(name: str, value: Array, D: int) -> Array:
    """The value is returned if it has the shape that was registered."""
    want = (D,) * RECURSIONS[name].indices
    if np.shape(value) != want:
        raise ValueError(f"{name}: its recursion gave shape {np.shape(value)}; indices={len(want)} means {want}")
    return value
