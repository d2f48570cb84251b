"""Activations as formulas, for the theory: derivatives by truncated Taylor series.

A jet holds the Taylor coefficients c_0 .. c_5 of a function of z around each point of an array; arithmetic on jets is
arithmetic on series, so that the k-th derivative is k! c_k. Nothing here is shared with the simulation's symbolic
derivatives (`simulate.settings.expression`), so that neither can hide an error of the other.
"""

import ast
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from analysis.theory.special import erf, expit, ndtr

Array = NDArray[np.float64]
Jet = list[Array]
MOST = 200  # characters


def _multiply(a: Jet, b: Jet) -> Jet:
    return [sum((a[j] * b[k - j] for j in range(k + 1)), np.zeros_like(a[0])) for k in range(len(a))]


def _divide(a: Jet, b: Jet) -> Jet:
    out: Jet = []
    for k in range(len(a)):
        known = sum((b[j] * out[k - j] for j in range(1, k + 1)), np.zeros_like(a[0]))
        out.append((a[k] - known) / b[0])
    return out


def _integrated(first: Array, slope: Callable[[Jet], Jet], u: Jet) -> Jet:
    """The series of f(u) with f(u_0) known and df/du as a function of the series of f found so far: f' = slope u'."""
    out = [first]
    for k in range(1, len(u)):
        outer = slope(out)
        out.append(sum((j * u[j] * outer[k - j] for j in range(1, k + 1)), np.zeros_like(first)) / k)
    return out


def _raised(u: Jet, exponent: float) -> Jet:
    if exponent == int(exponent):
        one = [np.ones_like(u[0]), *(np.zeros_like(c) for c in u[1:])]
        out = one
        for _ in range(abs(int(exponent))):
            out = _multiply(out, u)
        return out if exponent >= 0 else _divide(one, out)
    out = [u[0] ** exponent]
    for k in range(1, len(u)):
        terms = ((exponent * j - (k - j)) * u[j] * out[k - j] for j in range(1, k + 1))
        out.append(sum(terms, np.zeros_like(u[0])) / (k * u[0]))
    return out


def _sin_cos(u: Jet) -> tuple[Jet, Jet]:
    sine, cosine = [np.sin(u[0])], [np.cos(u[0])]
    for k in range(1, len(u)):
        zero = np.zeros_like(u[0])
        sine.append(sum((j * u[j] * cosine[k - j] for j in range(1, k + 1)), zero) / k)
        cosine.append(-sum((j * u[j] * sine[k - j] for j in range(1, k + 1)), zero) / k)
    return sine, cosine


def _plus(a: Jet, number: float) -> Jet:
    return [a[0] + number, *a[1:]]


def _scaled(a: Jet, factor: float) -> Jet:
    return [factor * c for c in a]


def _exp(u: Jet) -> Jet:
    return _integrated(np.exp(u[0]), lambda f: f, u)


def _given(value: Array, slope: Jet, u: Jet) -> Jet:
    """f(u) from its value and the series of f'(u)."""
    return _integrated(value, lambda f: slope, u)


def _sigmoid(u: Jet) -> Jet:
    def slope(f: Jet) -> Jet:
        return _multiply(f, _plus(_scaled(f, -1.0), 1.0))

    out = [expit(u[0])]
    for k in range(1, len(u)):
        outer = slope(out)
        # 1 - sigma without the cancellation where sigma is nearly 1
        outer[0] = expit(u[0]) * expit(-u[0])
        out.append(sum((j * u[j] * outer[k - j] for j in range(1, k + 1)), np.zeros_like(u[0])) / k)
    return out


def _tanh(u: Jet) -> Jet:
    return _integrated(np.tanh(u[0]), lambda f: _plus(_scaled(_multiply(f, f), -1.0), 1.0), u)


def _atan(u: Jet) -> Jet:
    one = [np.ones_like(u[0]), *(np.zeros_like(c) for c in u[1:])]
    return _given(np.arctan(u[0]), _divide(one, _plus(_multiply(u, u), 1.0)), u)


def _gaussian(u: Jet, rate: float, height: float) -> Jet:
    return _scaled(_exp(_scaled(_multiply(u, u), -rate)), height)


FUNCTIONS: dict[str, Callable[[Jet], Jet]] = {
    "tanh": _tanh,
    "sin": lambda u: _sin_cos(u)[0],
    "cos": lambda u: _sin_cos(u)[1],
    "exp": _exp,
    "log": lambda u: _given(np.log(u[0]), _raised(u, -1.0), u),
    "sqrt": lambda u: _raised(u, 0.5),
    "erf": lambda u: _given(erf(u[0]), _gaussian(u, 1.0, 2 / math.sqrt(math.pi)), u),
    "sigmoid": _sigmoid,
    "softplus": lambda u: _given(np.logaddexp(0, u[0]), _sigmoid(u), u),
    "atan": _atan,
    "Phi": lambda u: _given(ndtr(u[0]), _gaussian(u, 0.5, 1 / math.sqrt(2 * math.pi)), u),
}


def _evaluate(node: ast.expr, z: Jet) -> Jet:
    """The jet of a syntax tree; ValueError for what is not on the whitelist."""
    if isinstance(node, ast.Name) and node.id == "z":
        return z
    if isinstance(node, ast.Name) and node.id in ("pi", "e"):
        return _constant(getattr(math, node.id), z)
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return _constant(float(node.value), z)  # type: ignore[arg-type]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        return _scaled(_evaluate(node.operand, z), -1.0 if isinstance(node.op, ast.USub) else 1.0)
    called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
    if isinstance(node, ast.Call) and called in FUNCTIONS and len(node.args) == 1 and not node.keywords:
        return FUNCTIONS[called](_evaluate(node.args[0], z))
    if isinstance(node, ast.BinOp):
        left, right = _evaluate(node.left, z), _evaluate(node.right, z)
        if isinstance(node.op, ast.Add):
            return [a + b for a, b in zip(left, right, strict=True)]
        if isinstance(node.op, ast.Sub):
            return [a - b for a, b in zip(left, right, strict=True)]
        if isinstance(node.op, ast.Mult):
            return _multiply(left, right)
        if isinstance(node.op, ast.Div):
            return _divide(left, right)
        if isinstance(node.op, ast.Pow) and not any(c.any() for c in right[1:]) and abs(right[0].flat[0]) <= 64:
            return _raised(left, float(right[0].flat[0]))
    raise ValueError(f"{ast.unparse(node)!r} is not allowed in an expression")


def _constant(value: float, z: Jet) -> Jet:
    return [np.full_like(z[0], value), *(np.zeros_like(c) for c in z[1:])]


def derivatives(text: str, orders: int) -> tuple[Callable[[Array], Array], ...]:
    """s of docs/theory.md section 0 and its first `orders` derivatives, each mapping a float64 array to one of the same
    shape.

    Raises ValueError for what is not an expression over the whitelist.
    """
    if len(text) > MOST:
        raise ValueError(f"an expression of more than {MOST} characters")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        _evaluate(tree, [np.ones(1), np.ones(1)])
    except (SyntaxError, RecursionError, MemoryError, OverflowError) as error:
        raise ValueError(f"expression {text!r}: {type(error).__name__}") from None

    def of_order(k: int) -> Callable[[Array], Array]:
        def value(z: Array) -> Array:
            z = np.asarray(z, dtype=np.float64)
            jet = [z, np.ones_like(z), *(np.zeros_like(z) for _ in range(k - 1))][: k + 1]
            with np.errstate(all="ignore"):
                return np.asarray(math.factorial(k) * _evaluate(tree, jet)[k])

        return value

    return tuple(of_order(k) for k in range(orders + 1))
