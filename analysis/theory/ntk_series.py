"""The NTK of one input to order 1/n^2, docs/theory.md (17.12): means and cumulants of its exact chain's state.

The conditional means and covariances of docs/theory.md (17.11) are polynomials in the state of the layer below. So the
mean of a monomial in layer l + 1 is that of a polynomial in layer l.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.theory.activations import Activation, Array
from analysis.theory.activations import activation as named
from analysis.theory.arguments import layerwise
from analysis.theory.jets import MONOMIALS, MOST, Jet, exponents, monomial, of_g
from analysis.theory.quadrature import mean1
from analysis.theory.second_order import derivative, half_fourth

# Cumulants of variables of the state, and the power of 1/n of which each is the coefficient.
COEFFICIENTS = (
    {f"{name}{order}": (variable, order) for name, variable in (("G", "g"), ("Theta", "h")) for order in (1, 2)}
    | {
        f"{name}{order if order > 1 else ''}": (variables, order)
        for name, variables in (("F", "y"), ("B", "b"), ("V", "gg"), ("D", "gh"), ("A", "hh"))
        for order in (1, 2)
    }
    | {"Z": ("w", 2), "T3": ("T", 2), "Yg": ("yg", 2), "Yh": ("yh", 2), "Bg": ("bg", 2), "Bh": ("bh", 2)}
    | {name: (name.removeprefix("W"), 2) for name in ("Wggg", "Wggh", "Wghh", "Whhh")}
)
OF_ONE_INPUT = {"Theta2": 2, "A2": 4, "B2": 4, "D2": 4, "F2": 4, "T3": 6}  # of `flow`, and numbers of indices


def refuse_several(names: Iterable[str], D: int, skip: ArrayLike, weights: str) -> None:
    """Raises ValueError where tensors of docs/theory.md (17.12) are wanted for D distinct inputs, or for networks that
    are not plain."""
    if names := sorted(names):
        if D > 1:
            why = "their chain has the state of one input"
            raise ValueError(f"tensors: {', '.join(names)} known for one input, not for {D} different ones: {why}")
        if np.any(skip) or weights != "gaussian":
            where = f"skip={skip!r}, weights={weights!r}"
            why = "in their chain neurons are independent and alike given a layer's state"
            raise ValueError(f"tensors: {', '.join(names)} known for plain networks, not for {where}: {why}")


@dataclass(frozen=True)
class NtkSeries:
    """The law of the state of docs/theory.md (17.9) to order 1/n^2 in layers l = 1..depth, n = n_{l-1}.

    K, Theta (depth,): the limits of g and h. moments (depth, monomials, 3): the coefficients of 1/n^p, p = 0..2, in the
    mean of each monomial of the state, in which g and h stand for g - K and h - Theta.
    """

    K: Array
    Theta: Array
    moments: Array

    def __getitem__(self, name: str) -> Array:
        """A coefficient by its name in docs/theory.md (17.12), (depth,), one of COEFFICIENTS: G1, G2, Theta1, Theta2,
        F, F2, B, B2 of the means of g, h, y and b, Z and T3 of those of w and T_3; V, D, A and V2, D2, A2 of the
        covariances of g and h, Yg, Yh, Bg, Bh of those of y and b with g and h, Wggg to Whhh of the third cumulants.
        Raises KeyError for another name."""
        variables, order = COEFFICIENTS[name]
        value = self._mean(variables, order)
        if order == 2 and len(variables) == 2:
            value = value - self._mean(variables[0], 1) * self._mean(variables[1], 1)
        if len(variables) == 3:
            for k, one in enumerate(variables):
                value = value - self._mean(variables[:k] + variables[k + 1 :], 1) * self._mean(one, 1)
        return value

    def _mean(self, variables: str, order: int) -> Array:
        """The coefficient of 1/n^order in the mean of a product of variables, (depth,)."""
        powers = exponents(**{name: variables.count(name) for name in variables})
        return np.asarray(self.moments[:, MONOMIALS.index(powers), order])


def ntk_next_order(
    activation: str | Activation,
    depth: int,
    C_b: float,
    C_W: float,
    K1: float,
    lambda_b: ArrayLike = 0.0,
    lambda_W: ArrayLike = 1.0,
    width_ratios: Sequence[float] | None = None,
) -> NtkSeries:
    """The NTK of one input to order 1/n^2 in layers 1..depth follows from docs/theory.md (17.12), for any activation.

    K1: the kernel of layer 1, C_b + C_W |x|^2/n_0. lambda_b, lambda_W: a number, or one a layer. width_ratios:
    n_l/n_{l-1} for l = 1..depth-1 (the first never matters); None means one width. Raises ValueError for an unknown
    activation, for settings that make no sense, and for a kernel of zero where derivatives are taken.
    """
    s = named(activation)
    if depth < 1:
        raise ValueError(f"depth={depth}: one layer or more")
    if not (K1 > 0 and C_W > 0):
        raise ValueError(f"K1={K1}, C_W={C_W}: numbers above zero, since derivatives are taken at K > 0")
    rates_b, rates_W = layerwise("lambda_b", lambda_b, depth), layerwise("lambda_W", lambda_W, depth)
    ratios = np.ones(depth - 1) if width_ratios is None else np.asarray(width_ratios, dtype=np.float64)
    if ratios.shape != (depth - 1,) or not np.all(ratios > 0):
        raise ValueError(f"width_ratios={width_ratios!r}: {depth - 1} numbers > 0, n_l / n_(l-1) for l = 1..L-1")
    K, Theta = K1, rates_b[0] + rates_W[0] * (K1 - C_b) / C_W
    means = np.zeros((len(MONOMIALS), 3))
    means[MONOMIALS.index(exponents()), 0] = 1.0
    rows = [(K, Theta, means)]
    for layer in range(1, depth):
        step = _Step(s, K, Theta, C_W, float(rates_b[layer]), float(rates_W[layer]))
        means = step.means(_with_eps(means * ratios[layer - 1] ** np.arange(3)))
        K, Theta = C_b + C_W * step.S0, step.Theta_above
        rows.append((K, Theta, means))
    return NtkSeries(*(np.array(column) for column in zip(*rows, strict=True)))


def _with_eps(means: Array) -> Array:
    """The means of all monomials from those without eps, which is 1/n_l: the powers of 1/n_l move up."""
    found = means.copy()
    for k, powers in enumerate(MONOMIALS):
        if (order := powers[-1]) > 0:
            found[k, order:] = means[MONOMIALS.index((*powers[:-1], 0)), : 3 - order]
    return found


def _taylor(f: Callable[[Array], Array], K: float, count: int) -> Array:
    """The coefficients of (g - K)^k in <f>_g, docs/theory.md (17.1), (count,)."""
    return np.array([derivative(f, K, k) / math.factorial(k) for k in range(count)])


def _of_square(s: Activation, K: float, order: int) -> Array:
    """The coefficients of (g - K)^k in the mean of s^2 or s'^2, by order 0 or 1, (MOST + 1,); from the second one on
    through the fourth derivative, as in `second_order`."""
    low = _taylor(lambda z: s.derivatives[order](z) ** 2, K, 2)
    high = [derivative(lambda z: half_fourth(s, z, order), K, k - 2) / math.factorial(k) for k in range(2, MOST + 1)]
    return np.array([*low, *high])


def _averages(s: Activation, K: float) -> dict[tuple[int, int], Array]:
    """The coefficients of (g - K)^k in <s^2i s'^2j>_g by (i, j), as many as order 1/n^2 takes: five, three and one
    where i + j is one, two and three."""
    powers = [(i, total - i) for total in (1, 2, 3) for i in range(total + 1)]
    if s.slopes is not None:  # A_2(i + j) (2i - 1)!! g^i
        A = [sum(slope ** (2 * k) for slope in s.slopes) / 2 for k in range(4)]
        odd = [1, 1, 3, 15]
        return {
            (i, j): np.array([A[i + j] * odd[i] * math.comb(i, k) * K ** max(i - k, 0) for k in range(MOST + 1)])
            for i, j in powers
        }
    f, slope = s.derivatives[:2]

    def product(i: int, j: int) -> Callable[[Array], Array]:
        return lambda z: f(z) ** (2 * i) * slope(z) ** (2 * j)

    squares = {(1, 0): _of_square(s, K, 0), (0, 1): _of_square(s, K, 1)}
    return squares | {(i, j): _taylor(product(i, j), K, 7 - 2 * (i + j)) for i, j in powers[2:]}


class _Step:
    """From layer l, where g = K and h = Theta in the limit, to layer l + 1: docs/theory.md (17.11)."""

    def __init__(self, s: Activation, K: float, Theta: float, C_W: float, lambda_b: float, lambda_W: float):
        self.C_W, self.rate, self.Theta, self.of = C_W, lambda_W, Theta, _averages(s, K)
        self.S0, self.e0 = (float(self.of[key][0]) for key in ((1, 0), (0, 1)))
        f, slope = s.derivatives[:2]
        self.p3 = float(self.of[0, 2][0]) if s.slopes else mean1(lambda z: z * f(z) * slope(z) ** 3, K) / K
        self.Theta_above = lambda_b + lambda_W * self.S0 + C_W * Theta * self.e0

    def means(self, below: Array) -> Array:
        """The means (monomials, 3) in layer l + 1 from those of layer l, both with powers of 1/n_l."""
        found, cumulants, others, mixed = np.zeros_like(below), self._cumulants(), self._others(), self._mixed()
        for k, (g, h, *rest, eps) in enumerate(MONOMIALS):
            if eps == 0:
                jet = _moment(cumulants, g, h)
                for mean, power in zip(others, rest, strict=True):
                    for _ in range(power):
                        jet = jet * mean
                jet = jet + mixed.get((g, h, *rest), 0.0)
                found[k] = jet.coefficients @ below
        return found

    def _jet(self, i: int, j: int) -> Jet:
        """The mean <s^2i s'^2j>_g as a function of g."""
        return of_g(self.of[i, j])

    def _slope(self, i: int, j: int) -> Jet:
        """Its derivative in g."""
        return of_g(self.of[i, j][1:] * np.arange(1, len(self.of[i, j])))

    def _cumulants(self) -> dict[tuple[int, int], Jet]:
        """The conditional cumulants of g - K and h - Theta in layer l + 1, by numbers of g and h."""
        C_W, rate, eps, S = self.C_W, self.rate, monomial(eps=1), self._jet(1, 0)
        along, square = self._along(), self._square()
        s_s = self._jet(2, 0) - S * S
        s_along = self._h() * self._jet(1, 1) + 2 * monomial(y=1) * self._slope(1, 1) - S * along
        found = {
            (1, 0): C_W * (S - self.S0),
            (0, 1): rate * (S - self.S0) + C_W * (along - self.Theta * self.e0),
            (2, 0): C_W**2 * eps * s_s,
            (1, 1): C_W * eps * (rate * s_s + C_W * s_along),
            (0, 2): eps * (rate**2 * s_s + 2 * rate * C_W * s_along + C_W**2 * (square - along * along)),
        }
        third = self._third()
        return found | {(3 - k, k): monomial(float(third[(0,) * (3 - k) + (1,) * k]), eps=2) for k in range(4)}

    def _h(self) -> Jet:
        return monomial(h=1) + self.Theta

    def _along(self) -> Jet:
        """E s'_k^2 H_kk given the layers below."""
        return self._h() * self._jet(0, 1) + 2 * monomial(y=1) * self._slope(0, 1)

    def _square(self) -> Jet:
        """E s'_k^4 H_kk^2 given the layers below, X of docs/theory.md (17.10)."""
        h, y, b, w = self._h(), monomial(y=1), monomial(b=1), monomial(w=1)
        q, dq, ddq = self._jet(0, 2), self._slope(0, 2), 2 * float(self.of[0, 2][2])
        return h * h * q + 4 * h * y * dq + 2 * b * q + 8 * w * dq + 4 * ddq * y * y

    def _third(self) -> Array:
        """The third cumulants of C_W s^2 and lambda_W s^2 + C_W Theta s'^2 of one neuron at K, (2, 2, 2)."""
        one = np.array([self.S0, self.e0])
        two, three = np.zeros((2, 2)), np.zeros((2, 2, 2))
        for place in np.ndindex(2, 2, 2):
            two[place[:2]] = self.of[2 - sum(place[:2]), sum(place[:2])][0]
            three[place] = self.of[3 - sum(place), sum(place)][0]
        split = np.multiply.outer(two, one)
        split = split + split.transpose(0, 2, 1) + split.transpose(2, 1, 0)
        cumulant = three - split + 2 * np.einsum("i,j,k->ijk", one, one, one)
        into = np.array([[self.C_W, 0.0], [self.rate, self.C_W * self.Theta]])
        return np.asarray(np.einsum("ai,bj,ck,ijk->abc", into, into, into, cumulant))

    def _others(self) -> tuple[Jet, Jet, Jet, Jet]:
        """The conditional means of y, b, w and T_3 in layer l + 1."""
        C_W, h, eps, e, de = self.C_W, self._h(), monomial(eps=1), self._jet(0, 1), self._slope(0, 1)
        y, b, w, T = (monomial(**{name: 1}) for name in ("y", "b", "w", "T"))
        p, q, R, dR = self._slope(1, 0), self._jet(0, 2), self._jet(1, 1), self._slope(1, 1)
        distinct = b * e * e + 4 * w * e * de + 4 * y * y * de * de
        path = eps * eps * h * h * float(self.of[1, 2][0]) + eps * b * R * e + 2 * eps * y * h * p * self.p3
        loop = eps * eps * h * h * h * float(self.of[0, 3][0]) + 3 * eps * h * b * q * e + T * e * e * e
        return (
            C_W**2 * (eps * (h * R + 2 * y * dR) + (1 - eps) * y * p * p),
            C_W**2 * (eps * self._square() + (1 - eps) * distinct),
            C_W**3 * (path + p * p * (w * e + 2 * y * y * de)),
            C_W**3 * loop,
        )

    def _mixed(self) -> dict[tuple[int, ...], Jet]:
        """The conditional covariances of y and b with g and h in layer l + 1, by the exponents of their product."""
        C_W, rate, of, h = self.C_W, self.rate, self.of, self.Theta
        eps, y, b = monomial(eps=1), monomial(y=1), monomial(b=1)
        p, dQ4 = float(of[1, 0][1]), float(of[2, 0][1])

        def with_own(i: int, j: int) -> tuple[float, float]:
            """The covariances of s^2i s'^2j with s^2 and with Omega = lambda_W s^2 + C_W h s'^2."""
            with_s = float(of[i + 1, j][0] - of[i, j][0] * self.S0)
            with_slope = float(of[i, j + 1][0] - of[i, j][0] * self.e0)
            return with_s, rate * with_s + C_W * h * with_slope

        (R_s, R_O), (q_s, q_O), (e_s, e_O) = with_own(1, 1), with_own(0, 2), with_own(0, 1)
        s_pair, slope_pair = dQ4 / 2 - p * self.S0, self.p3 - p * self.e0
        return {
            (1, 0, 1, 0, 0, 0): C_W**3 * eps * (h * R_s * eps + 2 * p * s_pair * y),
            (0, 1, 1, 0, 0, 0): C_W**2 * eps * (h * R_O * eps + 2 * p * (rate * s_pair + C_W * h * slope_pair) * y),
            (1, 0, 0, 1, 0, 0): C_W**3 * eps * (h**2 * q_s * eps + 2 * self.e0 * e_s * b),
            (0, 1, 0, 1, 0, 0): C_W**2 * eps * (h**2 * q_O * eps + 2 * self.e0 * e_O * b),
        }


def _moment(cumulants: dict[tuple[int, int], Jet], g: int, h: int) -> Jet:
    """The joint moment of g variables of one kind and h of another from their joint cumulants."""
    if g == h == 0:
        return monomial()
    if g == 0:
        return sum((math.comb(h - 1, k - 1) * cumulants[0, k] * _moment(cumulants, 0, h - k)
                    for k in range(1, h + 1) if (0, k) in cumulants), monomial(0.0))  # fmt: skip
    return sum(
        (
            math.comb(g - 1, j - 1) * math.comb(h, k) * cumulants[j, k] * _moment(cumulants, g - j, h - k)
            for j in range(1, g + 1)
            for k in range(h + 1)
            if (j, k) in cumulants
        ),
        monomial(0.0),
    )
