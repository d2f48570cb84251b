"""Measures of the NTK's differentials find planted tensors, and tensors of two layers (`TwoLayers`).

Rows have the Kronecker structure of each differential in the outputs (docs/theory.md (3.4) to (3.6)).
"""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from analysis.measures.differentials import P, Q, R, S, T, U, ddntk_size, dntk_size, fourth_size
from analysis.measures.measured import Measure
from tests.exact.measures.gaussian import TwoLayers
from tests.exact.measures.rows import NETWORKS, Array, Rows, Wanted, expect, holds, inputs_of, rows, signs

K = np.array([[1.0, 0.3], [0.3, 0.8]])
TWO = TwoLayers(K, 0.3 + 0.7 * K, C_W=1.0, lambda_b=0.5, lambda_W=0.9)
WIDTH = 8
ABCD = list(itertools.product(range(2), repeat=4))


def made(*overrides: str, x: Array | None = None) -> Rows:
    return rows(
        "activation=sin",
        "initialization=critical",
        "network.outputs=2",
        "dynamics.lambda_b=[0.3,0.5]",
        "dynamics.lambda_W=[0.7,0.9]",
        "network.depth=2",
        f"network.width={WIDTH}",
        "observables.record=[outputs,dntk,ddntk,fourth]",
        *overrides,
        x=inputs_of(K) if x is None else x,
    )


def planted(seed: int) -> Array:
    """A tensor (2, 2, 2, 2) without symmetries."""
    return np.random.default_rng(seed).normal(size=(2, 2, 2, 2))


p, q = planted(1), planted(2)
p = p + p.transpose(0, 2, 1, 3)  # as P_abcd = P_acbd
r = planted(3)
r = r + r.transpose(0, 1, 3, 2)  # as R_abcd = R_abdc
s, t, u = (planted(seed) for seed in (4, 5, 6))
s, t, u = (x + x.transpose(1, 0, 3, 2) for x in (s, t, u))  # both Hessians with their directions exchanged
NOISE = 0.1 * signs(7)[6]


def dH(i: tuple[int, ...], abc: tuple[int, ...], z: Array) -> Any:
    """n dH_i0i1i2;abc at outputs z (2, D, M), with P_abcd = p and Q_abcd = q. With output 0 as the first, both are
    1.2 times as large, so that the mean over the exchange of outputs is 1.1 times p and q."""
    a, b, c = abc
    sum_over_d = np.zeros(NETWORKS)
    for d in range(2):
        if i[1] == i[2]:
            sum_over_d += p[a, b, c, d] * z[i[0], d]
        if i[0] == i[1]:
            sum_over_d += q[a, b, c, d] * z[i[2], d]
        if i[0] == i[2]:
            sum_over_d += q[a, c, b, d] * z[i[1], d]
    return sum_over_d * (1.2 if i[0] == 0 else 1.0) + NOISE


def ddI(i: tuple[int, ...], abcd: tuple[int, ...]) -> Any:
    """n ddI_i0i1i2i3;abcd with R_abcd = r."""
    a, b, c, d = abcd
    value = (
        r[a, b, c, d] * (i[0] == i[1] and i[2] == i[3])
        + r[a, c, b, d] * (i[0] == i[2] and i[1] == i[3])
        + r[a, d, b, c] * (i[0] == i[3] and i[1] == i[2])
    )
    return value * (1.2 if i[0] == 0 else 1.0) + NOISE


def ddII(i: tuple[int, ...], abcd: tuple[int, ...]) -> Any:
    """n ddII_i1i2i3i4;abcd with S_abcd = s, T_acdb = t and U_adbc = u, all by [a, b, c, d]."""
    a, b, c, d = abcd
    value = s[a, b, c, d] * (i[0] == i[1] and i[2] == i[3]) * (1.2 if i[0] == 0 else 1.0)
    value += t[a, b, c, d] * (i[0] == i[2] and i[1] == i[3]) + u[a, b, c, d] * (i[0] == i[3] and i[1] == i[2])
    return value + NOISE


def filled(data: Rows) -> Rows:
    z = signs(4).reshape(2, 2, NETWORKS)
    data.fill("z", 2, lambda i, a: z[i, a])
    data.fill("dH", 2, lambda *index: dH(index[:3], index[3:], z) / WIDTH)
    data.fill("ddI", 2, lambda *index: ddI(index[:4], index[4:]) / WIDTH)
    return data.fill("ddII", 2, lambda *index: ddII(index[:4], index[4:]) / WIDTH)


@pytest.fixture(scope="module")
def data() -> Rows:
    return filled(made())


def measured_as(measure: Measure, estimate: Array, theory: Array) -> Callable[[Rows], None]:
    """The check that a measure gives these tensors at all samples [a, b, c, d]."""

    def check(data: Rows) -> None:
        size = np.abs(theory).max()
        components = {"".join(map(str, abcd)): (estimate[abcd], theory[abcd], size) for abcd in ABCD}
        expect(list(measure(data.point, None)), Wanted(measure.name, 2, 0, components))

    return check


def test_P(data: Rows) -> None:
    """P of docs/theory.md (3.4) by the estimator of docs/theory.md (7.6)."""
    check = measured_as(P, 1.1 * p, TWO.P)
    swapped = data.exchanged("dH", (0, 1, 1, 0, 0, 1), (0, 1, 1, 1, 0, 1))
    holds(check, data, data.scaled("dH"), data.scaled("z"), swapped)


def test_Q(data: Rows) -> None:
    """Q of docs/theory.md (3.4) by the estimator of docs/theory.md (7.6)."""
    check = measured_as(Q, 1.1 * q, TWO.Q)
    swapped = data.exchanged("dH", (0, 0, 1, 0, 0, 1), (0, 0, 1, 0, 1, 0))
    holds(check, data, data.scaled("dH"), data.scaled("z"), swapped)


def test_R(data: Rows) -> None:
    """R of docs/theory.md (3.5) by the estimator of docs/theory.md (7.6)."""
    check = measured_as(R, 1.1 * r, TWO.R)
    swapped = data.exchanged("ddI", (0, 0, 1, 1, 0, 1, 0, 0), (0, 0, 1, 1, 1, 0, 0, 0))
    holds(check, data, data.scaled("ddI"), swapped)


def test_S(data: Rows) -> None:
    """S of docs/theory.md (3.6) by the estimator of docs/theory.md (7.6)."""
    check = measured_as(S, 1.1 * s, TWO.S)
    swapped = data.exchanged("ddII", (0, 0, 1, 1, 0, 0, 0, 1), (0, 0, 1, 1, 0, 1, 0, 0))
    holds(check, data, data.scaled("ddII"), swapped)


def test_T(data: Rows) -> None:
    """T of docs/theory.md (3.6) by the estimator of docs/theory.md (7.6)."""
    check = measured_as(T, t, TWO.T)
    swapped = data.exchanged("ddII", (0, 1, 0, 1, 0, 0, 0, 1), (0, 1, 0, 1, 0, 1, 0, 0))
    holds(check, data, data.scaled("ddII"), swapped)


def test_U(data: Rows) -> None:
    """U of docs/theory.md (3.6) by the estimator of docs/theory.md (7.6)."""
    check = measured_as(U, u, TWO.U)
    swapped = data.exchanged("ddII", (0, 1, 1, 0, 0, 0, 0, 1), (0, 1, 1, 0, 0, 1, 0, 0))
    holds(check, data, data.scaled("ddII"), swapped)


@pytest.mark.parametrize("measure", [R, S, T, U])
def test_chosen_samples(measure: Measure) -> None:
    """Nothing is measured for samples that were not recorded."""
    data = filled(made("observables.tuples={ddntk: [[0,0,0,0],[0,0,1,1]]}"))
    (measured,) = measure(data.point, None)
    chosen = {"0000", *("".join(order) for order in itertools.permutations("0011"))}
    assert set(measured.samples) == chosen


def sizes(prefix: str) -> Rows:
    """One output has sizes 0.5 and 0.25 at samples 0 and 1, the other 1.5 and 0.75, with signs that drop out."""
    data = made()

    def value(*index: int) -> Any:
        outputs, samples = index[: len(index) // 2], index[len(index) // 2 :]
        if len(set(outputs)) > 1 or len(set(samples)) > 1:
            return 9.0
        return (0.5 + outputs[0]) / (1 + samples[0]) * signs(1)[0]

    return data.fill(prefix, 2, value)


def sized(measure: Measure, tensor: str, order: int, exponent: float) -> Callable[[Rows], None]:
    def check(data: Rows) -> None:
        square = (0.5**2 + 1.5**2) / 2
        components = {order * str(a): (np.log(square / (1 + a) ** 2), exponent, 1.0) for a in (0, 1)}
        expect(list(measure(data.point, None)), Wanted(tensor, 2, 0, components))

    return check


def test_dntk_size() -> None:
    """The exponent of dH is that of docs/theory.md (5.8)."""
    data = sizes("dH")
    swapped = data.exchanged("dH", (0, 0, 0, 0, 0, 0), (0, 0, 0, 0, 0, 1))
    holds(sized(dntk_size, "log dH^2", 3, 2.0), data, data.scaled("dH"), swapped)


def test_ddntk_size() -> None:
    """The exponent of ddI is that of docs/theory.md (5.8)."""
    data = sizes("ddI")
    swapped = data.exchanged("ddI", (0, 0, 0, 0, 0, 0, 0, 0), (0, 0, 0, 0, 0, 0, 0, 1))
    holds(sized(ddntk_size, "log ddI^2", 4, 2.0), data, data.scaled("ddI"), swapped)


def test_fourth_size() -> None:
    """The exponent of the fourth derivative is that of docs/theory.md (5.8)."""
    data = sizes("d4")
    holds(sized(fourth_size, "log d4^2", 1, 4.0), data, data.scaled("d4"), data.exchanged("d4", (0, 0), (0, 1)))
