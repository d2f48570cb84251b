"""Activations as formulas: parsed by a grammar over a whitelist, and differentiated symbolically. No torch here.

    expression = sum of products of powers of: z, numbers, pi, e, functions of expressions, (expression)

An exponent is a number. The text is read into a syntax tree by Python's parser and never run: what is not on the
whitelist is refused. The theory has a parser and derivatives of its own (`analysis.theory.expression`), and the two are
held against each other when a run starts.
"""

import ast
import math
from functools import lru_cache
from typing import Any

LONGEST = 200  # characters of an expression
LARGEST = 20_000  # nodes of a derivative
CONSTANTS = {"pi": math.pi, "e": math.e}
FUNCTIONS = ("tanh", "sin", "cos", "exp", "log", "sqrt", "erf", "sigmoid", "softplus", "atan", "Phi")
ALLOWED = f"z, numbers, pi, e, + - * / **, and {', '.join(FUNCTIONS)}"

# ("z",), (number,), ("+" or "*" or "/", a, b), ("**", a, exponent), (function, a)
Tree = tuple[Any, ...]
Z: Tree = ("z",)


@lru_cache(maxsize=64)
def parse(text: str) -> Tree:
    """The tree of an expression in z. A ValueError says what is not allowed."""
    if len(text) > LONGEST:
        raise ValueError(f"at most {LONGEST} characters")
    if not text.isascii():
        raise ValueError(f"{next(c for c in text if not c.isascii())!r} is not allowed; allowed are {ALLOWED}")
    try:
        tree = _read(ast.parse(text.strip(), mode="eval").body)
    except SyntaxError as error:
        raise ValueError(f"not an expression at position {error.offset or 1}; allowed are {ALLOWED}") from None
    except (RecursionError, MemoryError, OverflowError, ZeroDivisionError):
        raise ValueError("too deep, or its numbers are too large") from None
    if tree[0] != "z" and Z not in _nodes(tree):
        raise ValueError("it does not depend on z")
    return tree


def _read(node: ast.expr) -> Tree:
    match node:
        case ast.Name(id="z"):
            return Z
        case ast.Name(id=name) if name in CONSTANTS:
            return (CONSTANTS[name],)
        case ast.Constant(value=int(value) | float(value)) if not isinstance(value, bool):
            number = float(value)
            if not math.isfinite(number):
                raise ValueError("a number is too large")
            return (number,)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return times((-1.0,), _read(operand))
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _read(operand)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return plus(_read(left), _read(right))
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return plus(_read(left), times((-1.0,), _read(right)))
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return times(_read(left), _read(right))
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return over(_read(left), _read(right))
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            exponent = _read(right)
            if not is_number(exponent):
                raise ValueError("an exponent is a number: write exp(...) for other powers")
            if abs(exponent[0]) > 64:
                raise ValueError(f"exponent {exponent[0]:g}: at most 64")
            return power(_read(left), exponent[0])
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in FUNCTIONS:
            return (name, _read(argument))
    raise ValueError(f"{ast.unparse(node)!r} is not allowed; allowed are {ALLOWED}")


def is_number(tree: Tree) -> bool:
    return isinstance(tree[0], float)


def plus(a: Tree, b: Tree) -> Tree:
    if is_number(a) and is_number(b):
        return (a[0] + b[0],)
    if a == (0.0,):
        return b
    return a if b == (0.0,) else ("+", a, b)


def times(a: Tree, b: Tree) -> Tree:
    if is_number(a) and is_number(b):
        return (a[0] * b[0],)
    if (0.0,) in (a, b):
        return (0.0,)
    if a == (1.0,):
        return b
    return a if b == (1.0,) else ("*", a, b)


def over(a: Tree, b: Tree) -> Tree:
    if is_number(b):
        return times(a, (1 / b[0],))
    return (0.0,) if a == (0.0,) else ("/", a, b)


def power(a: Tree, exponent: float) -> Tree:
    if is_number(a):
        value = a[0] ** exponent
        if not isinstance(value, float):
            raise ValueError(f"{a[0]:g} ** {exponent:g} is not a real number")
        return (value,)
    if exponent == 0:
        return (1.0,)
    return a if exponent == 1 else ("**", a, exponent)


def _outer_slope(name: str, u: Tree) -> Tree:
    """The derivative of a function of the whitelist at u."""
    match name:
        case "tanh":
            return plus((1.0,), times((-1.0,), power(("tanh", u), 2.0)))
        case "sin":
            return ("cos", u)
        case "cos":
            return times((-1.0,), ("sin", u))
        case "exp":
            return ("exp", u)
        case "log":
            return over((1.0,), u)
        case "sqrt":
            return over((0.5,), ("sqrt", u))
        case "erf":
            return times((2 / math.sqrt(math.pi),), ("exp", times((-1.0,), power(u, 2.0))))
        case "sigmoid":
            return times(("sigmoid", u), ("sigmoid", times((-1.0,), u)))
        case "softplus":
            return ("sigmoid", u)
        case "atan":
            return over((1.0,), plus((1.0,), power(u, 2.0)))
    assert name == "Phi"
    return times((1 / math.sqrt(2 * math.pi),), ("exp", times((-0.5,), power(u, 2.0))))


@lru_cache(maxsize=256)
def derivative(tree: Tree) -> Tree:
    """The derivative d/dz of a tree. ValueError where it has more nodes than LARGEST."""
    slopes: dict[Tree, Tree] = {}

    def slope(node: Tree) -> Tree:
        if node not in slopes:
            slopes[node] = rule(node)
        return slopes[node]

    def rule(node: Tree) -> Tree:
        if node == Z:
            return (1.0,)
        if is_number(node):
            return (0.0,)
        kind, a, *rest = node
        if kind == "+":
            return plus(slope(a), slope(rest[0]))
        if kind == "*":
            return plus(times(slope(a), rest[0]), times(a, slope(rest[0])))
        if kind == "/":
            b = rest[0]
            return plus(over(slope(a), b), times((-1.0,), over(times(a, slope(b)), power(b, 2.0))))
        if kind == "**":
            return times(times((rest[0],), power(a, rest[0] - 1)), slope(a))
        return times(_outer_slope(kind, a), slope(a))

    result = slope(tree)
    if len(_nodes(result)) > LARGEST:
        raise ValueError("its derivatives are too long")
    return result


def _nodes(tree: Tree) -> set[Tree]:
    """The different subtrees of a tree."""
    found: set[Tree] = set()
    todo = [tree]
    while todo and len(found) <= LARGEST:
        node = todo.pop()
        if node not in found:
            found.add(node)
            todo += [part for part in node[1:] if isinstance(part, tuple)]
    return found
