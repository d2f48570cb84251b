"""Measures of derivatives along a network's own gradient find what is planted in rows."""

import numpy as np

from analysis import theory
from analysis.measures.derivative_orders import derivative_coefficients, derivative_exponents
from tests.exact.measures.rows import Rows, Wanted, expect, holds, inputs_of, rows, signs

GRAM, N1, N2 = np.array([[1.0, 0.3], [0.3, 0.8]]), 8, 12
SETTINGS = [
    "activation=sin", "initialization=gaussian", "initialization.C_b=0.1", "initialization.C_W=1.3", "network.depth=3",
    f"network.width=[{N1},{N2}]", "network.outputs=2", "observables.record=[outputs,ntk_derivatives]",
    "dynamics.lambda_b=0.4", "dynamics.lambda_W=0.8",
]  # fmt: skip
MEANS = {1: 0.03, 2: -0.5, 3: 0.02, 4: 0.7}  # of h_k, or of h_k z, at sample 0; at sample 1 they are doubled


def planted() -> Rows:
    """z is a sign, and h_k is this sign times its mean where k is odd; outputs differ by a tenth."""
    data = rows(*SETTINGS, x=inputs_of(GRAM))
    first, second, _ = signs(3)
    data.fill("z", 3, lambda i, a: (first, second)[i])

    def h(k: int, i: int, a: int) -> np.ndarray:
        mean = MEANS[k] * (1 + a) * (1 + 0.1 * (2 * i - 1))
        return mean * ((first, second)[i] if k % 2 else 1 + 0.2 * first * second)

    return data.fill("DH", 3, h)


def test_derivative_coefficients() -> None:
    """n E h_1 z and n E h_2 against docs/theory.md (17.21)."""
    data = planted()
    tensors = ("P", "Q", "R", "S", "T", "U")
    flow = theory.flow("sin", 3, 0.1, 1.3, inputs_of(GRAM), 0.4, 0.8, [1.0, N2 / N1], tensors)
    wanted = []
    for name, k in (("h1 z", 1), ("h2", 2)):
        components = {}
        for a in range(2):
            P, Q, R, S, T, U = (float(flow[tensor][2, a, a, a, a]) for tensor in tensors)
            predicted = 2 * P + 4 * Q if k == 1 else 6 * R + 4 * (S + T + U)
            components[f"{a}{a}"] = (N2 * MEANS[k] * (1 + a), predicted, abs(predicted))
        wanted.append(Wanted(name, 3, 0, components))

    def check(data: Rows) -> None:
        expect(list(derivative_coefficients(data.point, None)), *wanted, rtol=1e-8)

    holds(check, data, data.scaled("DH"), data.scaled("z"), data.exchanged("DH", (1, 0, 0), (2, 0, 0)))


def test_derivative_exponents() -> None:
    """The logarithm of each mean without its sign; docs/theory.md (17.20) has the powers of n."""
    data, wanted = planted(), []
    for name, k, exponent in (("log h1 z", 1, 1.0), ("log h2", 2, 1.0), ("log h3 z", 3, 2.0), ("log h4", 4, 2.0)):
        components = {f"{a}{a}": (float(np.log(abs(MEANS[k]) * (1 + a))), exponent, 1.0) for a in range(2)}
        wanted.append(Wanted(name, 3, 0, components))

    def check(data: Rows) -> None:
        expect(list(derivative_exponents(data.point, None)), *wanted, rtol=1e-8)

    holds(check, data, data.scaled("DH"), data.scaled("z"), data.exchanged("DH", (3, 0, 0), (4, 0, 0)))
