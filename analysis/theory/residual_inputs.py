"""Residual networks at order 1/n, several inputs: V, G1, Theta1, A, B, D and F, docs/theory.md (11.6).

A tower of several inputs is the joint cumulant of a function of one neuron with a product of another one. Functions of
at most two inputs occur, so that a tower has Hermite coefficients in the plane of each pair. A tower (D, D, D, D, T)
has the coefficients last, and before them the indices of the tensor that it feeds: m those of V, b of B and f of F, and
d those of D with (cd) first. The function is one of the last two inputs.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from analysis.theory import residual
from analysis.theory.activations import Activation, Array
from analysis.theory.hermite import check
from analysis.theory.layer import Layer, Tensors
from analysis.theory.ntk import covariance_of_Omega, mixed
from analysis.theory.planes import Plane, carried, orders
from analysis.theory.residual import ORDER_N

PRECISION = 1e-13  # coefficients of higher order than those kept enter with a factor below this
LONGEST = 400  # orders of a tower
Pair = tuple[int, int]


def order_n(s: Activation, layers: Sequence[Layer], K: Sequence[Array], Theta: Sequence[Array]) -> Tensors:
    """The tensors ORDER_N of layers 1 .. L by docs/theory.md (11.6), (L, D, ...). layers: the L - 1 steps. K, Theta:
    those of docs/theory.md (11.1), (L, D, D).

    Towers end at the order whose correlations between two layers are below 1e-13. G1 and Theta1 are NaN above a layer
    where two inputs are parallel. Raises ValueError where the towers take more than LONGEST orders, where averages do
    not converge, and for a kernel of zero. One input is that of `residual.order_n`, whose towers may be longer.
    """
    D = len(K[0])
    if D == 1:
        steps = [residual.Step(here.C_b, here.C_W, here.skip, here.lambda_b, here.lambda_W) for here in layers]
        one = residual.order_n(s, [at.item() for at in K], [at.item() for at in Theta], steps)
        return {name: one[name].reshape(-1, *[1] * start.ndim) for name, start in _zero(D).items()}
    if (smallest := min(float(at.diagonal().min()) for at in K)) <= 0:
        raise ValueError(f"K={smallest:g}: residual networks are known for kernels above zero")
    pairs = list(itertools.combinations_with_replacement(range(D), 2))
    planes = [{pair: Plane(at[np.ix_(pair, pair)]) for pair in pairs} for at in K]
    memories = [
        {pair: here.skip * above[pair].inverse @ below[pair].C for pair in pairs}
        for here, below, above in zip(layers, planes, planes[1:], strict=False)
    ]
    count = _orders(max(float(np.linalg.norm(A, 2)) for memory in memories for A in memory.values()))
    tensors = _zero(D)
    towers = {name: np.zeros((D, D, D, D, count * (count + 1) // 2)) for name in "mbfd"}
    found = [tensors]
    for l, here in enumerate(layers):
        for variance in K[l].diagonal():
            check(s.derivatives[:2], variance)
        step = _Step(here, Theta[l], planes[l], _functions(s, planes[l], count), tensors, towers)
        tensors, towers = step.tensors(), step.towers_above(memories[l])
        found.append(tensors)
    return {name: np.array([at[name] for at in found]) for name in ORDER_N}


def _zero(D: int) -> Tensors:
    """The tensors of layer 1."""
    return {name: np.zeros((D,) * (2 if name in ("G1", "Theta1") else 4)) for name in ORDER_N}


def _orders(memory: float) -> int:
    """How many orders a tower has whose largest correlation between two layers this is."""
    count = 8 + (math.ceil(math.log(PRECISION) / math.log(memory)) if 0 < memory < 1 else 0)
    if memory >= 1 or count > LONGEST:
        raise ValueError(f"skip: a neuron's correlation with itself a layer before is {memory:.6g}, too near one")
    return count


def _functions(s: Activation, planes: Mapping[Pair, Plane], count: int) -> Tensors:
    """The coefficients (D, D, T) of S = s_a s_b, E = s'_a s'_b and R = s_a s'_b, each pair's in its plane."""
    D = max(planes)[0] + 1
    out = {name: np.zeros((D, D, count * (count + 1) // 2)) for name in "SER"}
    for (a, b), plane in planes.items():
        products = plane.products(s, count)
        out["S"][a, b] = out["S"][b, a] = products[0, 0]
        out["E"][a, b] = out["E"][b, a] = products[1, 1]
        out["R"][a, b], out["R"][b, a] = products[0, 1], products[1, 0]
    return out


def _transposed(X: Array) -> Array:
    """X_(ab)(cd) as X_(cd)(ab), and X_acbd as X_bdac."""
    return X.transpose(2, 3, 0, 1)


@dataclass(frozen=True)
class _Step:
    """A step of docs/theory.md (11.6) from layer l, of which all is given: the frozen NTK, the planes, the functions,
    the tensors of order 1/n and the towers."""

    here: Layer
    Theta: Array
    planes: Mapping[Pair, Plane]
    functions: Tensors
    old: Tensors
    towers: Tensors

    def Lg(self, X: Array) -> Array:
        """Lg_ab of docs/theory.md (11.6), the first-order change of K' under K -> K + X, on the last two axes."""
        return self.here.skip**2 * X + self.here.L(X)

    def LO(self, X: Array) -> Array:
        """LO_ab of docs/theory.md (2.9) on the last two axes."""
        return self.here.LO(self.Theta, X)

    @cached_property
    def chi(self) -> Array:
        """chi_ab of docs/theory.md (11.6)."""
        return self.here.C_W * self.here.M(1, 1) + self.here.skip**2

    @cached_property
    def X(self) -> Array:
        """X_ac,p of docs/theory.md (11.6), (D, D, D)."""
        own = np.eye(len(self.Theta))[:, None, :]
        return self.here.C_W * self.here.slopes() + self.here.skip**2 * own

    @cached_property
    def Omega(self) -> Array:
        """The coefficients of Omega_ab, docs/theory.md (2.4), (D, D, T)."""
        return self.here.lambda_W * self.functions["S"] + self.here.C_W * self.Theta[..., None] * self.functions["E"]

    @cached_property
    def products(self) -> Array:
        """(K_ap K_bq + K_aq K_bp)/2, which makes `Layer.second` a mean with z_a z_b - K_ab."""
        both = np.multiply.outer(self.here.expectations.K, self.here.expectations.K)
        return (both.transpose(0, 2, 1, 3) + both.transpose(0, 2, 3, 1)) / 2

    def paired(self, tower: str, functions: Array) -> Array:
        """A tower at functions of its last two inputs, (D, D, D, D), docs/theory.md (11.6)."""
        return np.einsum("abcdt,cdt->abcd", self.towers[tower], functions)

    def tensors(self) -> Tensors:
        """The tensors of the next layer."""
        G1 = self.G1()
        return {"V": self.V(), "G1": G1, "Theta1": self.Theta1(G1), "A": self.A(), "B": self.B(), "D": self.D(),
                "F": self.F()}  # fmt: skip

    def V(self) -> Array:
        """V' of docs/theory.md (11.6)."""
        here, C_W = self.here, self.here.C_W
        sloped = here.skip**2 * C_W * here.second(0, self.products)
        mixed_in = sloped + C_W * here.on_first(self.Lg, self.paired("m", self.functions["S"]))
        flow = here.on_first(self.Lg, self.Lg(self.old["V"]))
        return C_W**2 * here.connected(0, 0, 0, 0) + flow + mixed_in + _transposed(mixed_in)

    def G1(self) -> Array:
        """G1' of docs/theory.md (11.6)."""
        bent = self.here.fourth(0, self.old["V"]) / 8 + self._bent(self.functions["S"]) / 2
        return self.Lg(self.old["G1"]) + self.here.C_W * bent

    def B(self) -> Array:
        """B' of docs/theory.md (11.6)."""
        here, C_W, chi, Theta = self.here, self.here.C_W, self.chi, self.Theta
        source = np.einsum("abcd,ab,cd->acbd", here.E(1, 1, 1, 1), Theta, Theta)
        of_skip = here.skip**2 * np.einsum("ac,ab,cd->acbd", here.M(1, 1), Theta, Theta)
        one = C_W * (of_skip + chi[:, :, None, None] * self.paired("b", self.functions["E"]))
        return C_W**2 * source + np.multiply.outer(chi, chi) * self.old["B"] + one + _transposed(one)

    def F(self) -> Array:
        """F' of docs/theory.md (11.6)."""
        here, C_W, Theta, K = self.here, self.here.C_W, self.Theta, self.here.expectations.K
        source = np.einsum("abcd,cd->acbd", here.E(0, 0, 1, 1), Theta)
        of_skip = here.skip**2 * np.einsum("cd,pb,acp->acbd", Theta, K, here.slopes())
        one = C_W * (of_skip + np.einsum("acp,pcbd->acbd", self.X, self.paired("f", self.functions["R"])))
        flow = np.einsum("acp,bdq,pcqd->acbd", self.X, self.X, self.old["F"], optimize=True)
        return C_W**2 * source + flow + one + _transposed(one)

    def D(self) -> Array:
        """D' of docs/theory.md (11.6)."""
        here, C_W, functions = self.here, self.here.C_W, self.functions
        source = here.lambda_W * here.connected(0, 0, 0, 0) + C_W * here.connected(0, 0, 1, 1) * self.Theta
        through = self.LO(self.old["V"]) / 2 + self.paired("m", self.Omega) + self.chi * self.old["D"]
        remembered = here.on_first(self.LO, self.paired("m", functions["S"])) / 2
        remembered = remembered + self.chi[:, :, None, None] * self.paired("d", functions["S"])
        of_skip = here.skip**2 * self.LO(self.products)
        return C_W * (source + _transposed(remembered)) + of_skip + here.on_first(self.Lg, through)

    def A(self) -> Array:
        """A' of docs/theory.md (11.6)."""
        here, chi = self.here, self.chi
        through = here.on_first(self.LO, self.paired("m", self.Omega) + chi * self.old["D"]) / 2
        one = through + chi * _transposed(self.paired("d", self.Omega))
        flow = here.on_first(self.LO, self.LO(self.old["V"])) / 4 + np.multiply.outer(chi, chi) * self.old["A"]
        return covariance_of_Omega(here, self.Theta) + flow + one + _transposed(one)

    def Theta1(self, G1: Array) -> Array:
        """Theta1' of docs/theory.md (11.6), with G1 of the next layer."""
        here, C_W, E, old = self.here, self.here.C_W, self.functions["E"], self.old
        bent = here.second(1, old["G1"]) / 2 + here.fourth(1, old["V"]) / 8 + self._bent(E) / 2
        towers = np.einsum("ababt,abt->ab", self.towers["d"], E) + self._sloped(E)
        new = here.lambda_W / C_W * (G1 - here.skip**2 * old["G1"])
        return new + C_W * (self.Theta * bent + mixed(here, old["D"], old["F"]) + towers) + self.chi * old["Theta1"]

    def _bent(self, functions: Array) -> Array:
        """The sum of m_pq[d_p d_q h_ab] over p and q, of docs/theory.md (11.6), (D, D)."""
        out, m = np.zeros_like(self.Theta), self.towers["m"]
        for (a, b), plane in self.planes.items():
            for (i, p), (j, q) in itertools.product(enumerate((a, b)), repeat=2):
                out[a, b] += m[p, q, a, b] @ plane.slope(plane.slope(functions[a, b], i), j)
            out[b, a] = out[a, b]
        return self._known(out)

    def _sloped(self, functions: Array) -> Array:
        """The sum of f^j_p;ab[d_p h_ab] + f^i_p;ab[d_p h_ab] over p, of docs/theory.md (11.6), (D, D)."""
        out, f = np.zeros_like(self.Theta), self.towers["f"]
        for (a, b), plane in self.planes.items():
            for i, p in enumerate((a, b)):
                out[a, b] += (f[p, a, a, b] + f[p, b, b, a]) @ plane.slope(functions[a, b], i)
            out[b, a] = out[a, b]
        return self._known(out)

    def _known(self, out: Array) -> Array:
        """NaN of two different inputs that are parallel: a function of their plane does not tell its slopes apart."""
        for (a, b), plane in self.planes.items():
            if a != b and plane.singular and any(tower.any() for tower in self.towers.values()):
                out[a, b] = out[b, a] = np.nan
        return out

    def towers_above(self, memory: Mapping[Pair, Array]) -> Tensors:
        """The towers of the next layer, docs/theory.md (11.6). memory: the regression of the variables of each plane
        there on those of this layer's."""
        here, C_W, Theta, gamma, chi = self.here, self.here.C_W, self.Theta, self.here.skip, self.chi
        if not gamma:
            return {name: np.zeros_like(tower) for name, tower in self.towers.items()}
        m, b, f, d = (self.towers[name] for name in "mbfd")
        S, E, R, Omega = self._everywhere([*(self.functions[name] for name in "SER"), self.Omega])
        both = np.einsum("ab,cd->acbd", Theta, Theta)
        above = {
            "m": here.on_first(self.Lg, m) + C_W * S,
            "b": gamma**2 * (chi[:, :, None, None, None] * b + C_W * both[..., None] * E),
            "f": gamma * (np.einsum("acp,pcbdt->acbdt", self.X, f) + C_W * np.einsum("cd,acbdt->acbdt", Theta, R)),
            "d": chi[:, :, None, None, None] * d + Omega + here.on_first(self.LO, m) / 2,
        }
        order = orders(m.shape[-1])
        # The orders that V, B, F and D themselves hold, and order 0 where a mean is taken off.
        for name, held in (("m", [0, 2]), ("b", [0]), ("f", [1]), ("d", [0, 2])):
            above[name][..., np.isin(order, held)] = 0.0
            for pair, regression in memory.items():
                for p, q in {pair, pair[::-1]}:
                    above[name][:, :, p, q] = carried(regression, above[name][:, :, p, q])
        return above

    def _everywhere(self, functions: Sequence[Array]) -> Array:
        """Coefficients (D, D, T) of functions in their own planes, in the planes of all pairs, (.., D, D, D, D, T)."""
        own, K, D = np.array(functions), self.here.expectations.K, len(self.Theta)
        out = np.empty((*own.shape[:3], D, D, own.shape[3]))
        for (a, b), plane in self.planes.items():
            for (c, d), other in self.planes.items():
                regression = other.inverse @ K[np.ix_((c, d), (a, b))] @ plane.inverse.T
                moved = carried(regression, own[:, [a, b], [b, a]])
                out[:, [a, b], [b, a], c, d] = out[:, [a, b], [b, a], d, c] = moved
        return out
