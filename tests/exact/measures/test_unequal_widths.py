"""Coefficients of training are those of 1/n_{L-1} where hidden layers differ in width, as `order_n` has them."""

import numpy as np
import pytest

from analysis import theory
from analysis.measures.trained_cumulants import trained_mean1
from analysis.theory import composite
from analysis.theory.own_kernel import own_kernel
from tests.exact.measures.rows import Array, Rows, Wanted, expect, inputs_of, rows, signs
from tests.exact.measures.test_trained import GRAM, Y

ETA, STEP, LAMBDA_B, WIDTHS = 0.2, 3, 0.4, (8, 16)
FOUND = np.array([[0.3, -0.2, 0.5], [0.1, 0.4, -0.6]])


def predicted(ratio: float) -> Array:
    """The part of the mean's coefficient that the network's own NTK does not give, (outputs, samples)."""
    network = ("sin", 3, 0.1, 1.1, inputs_of(GRAM), LAMBDA_B, 1.0, [1.0, ratio])
    exact = theory.trained_to_order_n(*network[:5], Y, ETA, STEP, lambda_b=LAMBDA_B, width_ratios=network[7])
    start = theory.flow(*network, tensors=composite.TENSORS)
    (own,) = own_kernel(start, Y, ETA, [STEP], "gradient_descent")
    return np.asarray((exact.mean1[0] - own.mean1).reshape(2, 3))


def made(*widths: int) -> Rows:
    """Networks whose NTK at the start is the frozen one, and whose outputs differ from the frozen kernel's by FOUND
    over the last width."""
    data = rows(
        "activation=sin", "initialization=gaussian", "initialization.C_b=0.1", "initialization.C_W=1.1",
        "network.depth=3", f"network.width={list(widths)}".replace(" ", ""), "network.outputs=2",
        "dynamics=gradient_descent", f"dynamics.lambda_b={LAMBDA_B}", f"dynamics.eta={ETA}", f"dynamics.steps={STEP}",
        "observables.record=[outputs,ntk]", f"observables.steps=[0,{STEP}]", x=inputs_of(GRAM), y=Y,
    )  # fmt: skip
    Theta = data.point.flow(("K", "Theta")).Theta
    assert Theta is not None
    start = signs(6).reshape(2, 3, -1)
    z = start.copy()
    for _ in range(STEP):
        z = z - ETA * np.einsum("ab,ibN->iaN", Theta[-1][:, :2], z[:, :2] - Y.T[:, :, None])
    data.fill("z", 3, lambda i, a: start[i, a]).fill("H", 3, lambda i, j, a, b: (i == j) * Theta[-1][a, b])
    return data.fill("z", 3, lambda i, a: z[i, a] + (FOUND[i, a] + 0.1 * signs(7)[6]) / widths[-1], step=STEP)


def test_unequal_widths() -> None:
    """The widest layer is the last. Negative controls: widths in the other order, and the coefficients of one width."""

    def check(data: Rows, at_step: Array) -> None:
        components = {f"{i},{a}": (FOUND[i, a], at_step[i, a], abs(at_step[i, a])) for i in (0, 1) for a in range(3)}
        expect(list(trained_mean1(data.point, None)), Wanted("n dz(t)", 3, STEP, components))

    right = predicted(WIDTHS[1] / WIDTHS[0])
    check(made(*WIDTHS), right)
    for data, wrong in ((made(*WIDTHS[::-1]), right), (made(*WIDTHS), predicted(1.0)), (made(16, 16), right)):
        with pytest.raises(AssertionError):
            check(data, wrong)
