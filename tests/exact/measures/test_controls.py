"""Measures with martingale controls find what is known in closed form where s = z^2: its maps are polynomials.

F = C_b + 3 C_W g^2 + ..., so that with C_b = 0 and one input F = 3 C_W g^2, v = 96 C_W^2 g^4 and t = C_W^3 kappa_3(z^4)
with kappa_3(z^4) = 9504 g^6. The rows are a factorial design of signs.
"""

import numpy as np
import pytest

from analysis.measures.controls import (
    controlled,
    metric_controlled,
    six_point_controlled,
    vertex_controlled,
)
from analysis.measures.laws import layer_law, outputs_law
from analysis.measures.next_order import collapse
from tests.exact.measures.rows import Array, Rows, drawn, inputs_of, rows, signs

C_W, n = 0.25, 512
K1 = 1.25 * C_W
SQUARE = ["activation=expression", "activation.expression=z**2", "initialization=gaussian", "initialization.C_b=0",
          f"initialization.C_W={C_W}", f"network.width={n}", "network.depth=3", "observables.layers=all"]  # fmt: skip


def F(g: Array) -> Array:
    return 3 * C_W * g**2


def v(g: Array) -> Array:
    return 96 * C_W**2 * g**4


def t(g: Array) -> Array:
    return 9504 * C_W**3 * g**6


K2 = F(np.array(K1))
K3 = F(K2)


def planted(m2: Array, m3: Array, *overrides: str) -> Rows:
    """Rows of one input whose steps m(2) and m(3) are given."""
    data = rows(*SQUARE, "observables=kernel", *overrides, x=inputs_of([[K1 / C_W]]))
    g2 = K2 + m2
    for layer, g in ((1, np.full(len(m2), K1)), (2, g2), (3, F(g2) + m3)):
        data.fill("g", layer, lambda *pair, g=g: g)
    return data


@pytest.fixture(scope="module")
def data() -> Rows:
    first, second, third = signs(3)
    sd2, sd3 = np.sqrt(v(np.array(K1)) / n), np.sqrt(v(K2) / n)
    return planted(sd2 * (first + 0.3 * first * second), sd3 * (second + 0.2 * third * first))


def value(function, data: Rows, layer: int) -> float:
    (found,) = function(data.point, [layer])
    (number,) = found.estimate.value
    return float(number)


def test_G1_controlled(data: Rows) -> None:
    """E F(g(2)) - K(3) is F'' v/2n at every n, whatever the rows are."""
    assert value(metric_controlled, data, 3) == pytest.approx(3 * C_W * v(np.array(K1)), rel=1e-6)
    other = planted(*(0.01 * signs(2)))
    assert value(metric_controlled, other, 3) == pytest.approx(3 * C_W * v(np.array(K1)), rel=1e-6)
    shifted = data.scaled("g", 1.001)
    assert value(metric_controlled, shifted, 3) != pytest.approx(3 * C_W * v(np.array(K1)), rel=1e-3), "the control"


def test_V_controlled(data: Rows) -> None:
    """Of g(3), all but the known term cancels where the kernel is the linear control and its square."""
    P, Q = 6 * C_W * K2, 6 * C_W
    g2, g3 = (data.point.read("g", layer)[:, 0] for layer in (2, 3))
    m2, m3 = g2 - K2, g3 - F(g2)
    linear = P * m2 + m3
    known = (P**2 * v(np.array(K1)) + (v(g2)).mean()) / n
    expected = n * (np.var(g3, ddof=1) - np.var(linear, ddof=1) + known)
    assert Q * m2.std() > 0.01 * P
    assert value(vertex_controlled, data, 3) == pytest.approx(expected, rel=1e-6)
    exact = controlled(data.point, 2).covariance
    assert n * exact.value == pytest.approx(v(np.array(K1)), rel=1e-9), "whatever the rows are"
    assert exact.error < 1e-9 * exact.value
    assert value(vertex_controlled, data.scaled("g", 1.001), 3) != pytest.approx(expected, rel=1e-3), "the control"


def test_V_collapse_exact(data: Rows) -> None:
    """Var g(3) of a chain of squares in closed form: g(2) is C_W times a mean of z^4 over n neurons."""
    z = [float(np.prod(np.arange(4 * k - 1, 0, -2))) for k in range(5)]  # E z^4k of a unit normal, 1, 3, 105, ..
    cumulants = [z[1], z[2] - z[1] ** 2, z[3] - 3 * z[1] * z[2] + 2 * z[1] ** 3]
    central = z[4] - 4 * z[1] * z[3] + 6 * z[1] ** 2 * z[2] - 3 * z[1] ** 4
    mean, second, third = (c * n ** (1 - k) for k, c in enumerate(cumulants, 1))
    fourth = (central - 3 * cumulants[1] ** 2) / n**3 + 3 * second**2
    square = mean**2 + second
    quartic = mean**4 + 6 * mean**2 * second + 4 * mean * third + fourth
    unit = C_W * K1**2
    exact = (3 * C_W * unit**2) ** 2 * (quartic - square**2) + 96 * C_W**2 * unit**4 * quartic / n
    of_layer = value(vertex_controlled, data, 3) / n
    assert value(collapse, data, 3) == pytest.approx(of_layer / exact, rel=1e-6)
    assert value(collapse, data.scaled("g", 1.001), 3) != pytest.approx(of_layer / exact, rel=1e-3), "the control"


def test_six_point_controlled(data: Rows) -> None:
    P = 6 * C_W * K2
    g2, g3 = (data.point.read("g", layer)[:, 0] for layer in (2, 3))
    m2, m3 = g2 - K2, g3 - F(g2)
    linear = P * m2 + m3
    known = (P**3 * t(np.array(K1)) + t(g2).mean()) / n**2 + 3 * (P * m2 * (v(g2) - v(K2))).mean() / n

    def k3(x: Array) -> float:
        M = len(x)
        return float(M**2 / ((M - 1) * (M - 2)) * ((x - x.mean()) ** 3).mean())

    expected = n**2 * (k3(g3) - k3(linear) + known)
    assert value(six_point_controlled, data, 3) == pytest.approx(expected, rel=1e-5)
    assert n**2 * controlled(data.point, 2).third.value == pytest.approx(t(np.array(K1)), rel=1e-9)
    assert value(six_point_controlled, data.scaled("g", 1.001), 3) != pytest.approx(expected, rel=1e-3), "the control"


def test_layer_law() -> None:
    """Means of m, of m^2 - v/n and of m g(l-1), in standard deviations of one network."""
    first, second = signs(2)
    sd2, sd3 = np.sqrt(v(np.array(K1)) / n), np.sqrt(v(K2) / n)
    data = planted(sd2 * (0.1 + first), sd3 * (0.2 + second + 0.3 * first))
    found = {(m.tensor, m.layer): m.estimate.value for m in layer_law(data.point, None)}
    assert found["m", 2] == pytest.approx([0.1])
    assert found["m", 3] == pytest.approx([0.2])
    assert found["m m - v/n", 2] == pytest.approx([0.01])
    g2 = K2 + sd2 * (0.1 + first)
    assert found["m m - v/n", 3] == pytest.approx([0.04 + 1 + 0.09 - (v(g2) / v(K2)).mean()])
    assert found["m g", 3] == pytest.approx([0.02 + 0.3])
    assert ("m g", 2) not in found, "the kernel of layer 1 does not fluctuate"
    right = planted(sd2 * first, np.zeros(len(first)))
    found = {(m.tensor, m.layer): m.estimate.value for m in layer_law(right.point, None)}
    assert found["m", 2] == pytest.approx([0])
    assert found["m m - v/n", 2] == pytest.approx([0])


def test_unequal_widths() -> None:
    """A layer's step has the width of the layer below, and a tensor is multiplied by it. Negative control: the two
    widths exchanged."""
    n1, n2 = 512, 128
    first, second, third = signs(3)
    sd2, sd3 = np.sqrt(v(np.array(K1)) / n1), np.sqrt(v(K2) / n2)
    m2, m3 = sd2 * (0.1 + first), sd3 * (0.2 + second + 0.3 * third * first)
    data = planted(m2, m3, f"network.width=[{n1},{n2}]")
    assert value(metric_controlled, data, 3) == pytest.approx(3 * C_W * v(np.array(K1)) * n2 / n1, rel=1e-6)
    g2, linear = K2 + m2, 6 * C_W * K2 * m2 + m3
    known = (6 * C_W * K2) ** 2 * v(np.array(K1)) / n1 + v(g2).mean() / n2
    expected = n2 * (np.var(F(g2) + m3, ddof=1) - np.var(linear, ddof=1) + known)
    assert value(vertex_controlled, data, 3) == pytest.approx(expected, rel=1e-6)
    found = {(m.tensor, m.layer): m.estimate.value for m in layer_law(data.point, None)}
    assert found["m", 2] == pytest.approx([0.1])
    assert found["m", 3] == pytest.approx([0.2])
    assert found["m g", 3] == pytest.approx([0.02])
    wrong = planted(m2, m3, f"network.width=[{n2},{n1}]")
    assert value(vertex_controlled, wrong, 3) != pytest.approx(expected, rel=0.5)
    with pytest.raises(ValueError, match=r"network.width=\[512, 128\]: six_point_controlled is known for one width"):
        six_point_controlled(data.point, None)


def test_outputs_law() -> None:
    data = rows(*SQUARE, "network.outputs=2", "observables.record=[kernel,outputs]", x=inputs_of([[K1 / C_W]]))
    g = np.exp(drawn([0.0], [[0.3]])[0])
    data.fill("g", 3, lambda *pair: g)
    data.fill("z", 3, lambda i, a: np.sqrt(g) * (1.1 if i else 0.8))
    found = {m.tensor: m.estimate.value for m in outputs_law(data.point, None)}
    squares = np.array([1.1**2, 0.8**2])
    assert found["u^2 - 1"] == pytest.approx([(squares - 1).mean() / np.sqrt(2)])
    assert found["He4(u)"] == pytest.approx([(squares**2 - 6 * squares + 3).mean() / np.sqrt(24)])


def test_refusals(data: Rows) -> None:
    with pytest.raises(ValueError, match=r"claim.tests.G1_controlled.layers=\[2, 3\]: layers from 3 on can be judged"):
        metric_controlled(data.point, [2, 3])
    kernels = ["network.depth=3", "observables=kernel"]
    some = rows(*kernels, "observables.layers=[2,3]", x=inputs_of([[1.0]]))
    with pytest.raises(ValueError, match=r"observables.layers=\[2, 3\]: all layers from 1 on are needed"):
        metric_controlled(some.point, None)
    kinked = rows(*kernels, "activation=relu", "observables.layers=all", x=inputs_of(np.eye(2) + 0.5))
    with pytest.raises(ValueError, match="activation=relu: controls of two samples need a smooth activation"):
        layer_law(kinked.point, None)
    three = rows(*kernels, "observables.layers=all", x=inputs_of(np.eye(3) + 0.5))
    with pytest.raises(ValueError, match="inputs: 3 samples; controls are known for one or two"):
        vertex_controlled(three.point, None)
