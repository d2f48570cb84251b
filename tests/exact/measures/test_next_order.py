"""Measures of order 1/n^2 take the leading order, or what the exact law has beyond, off the controlled estimates."""

import numpy as np
import pytest

from analysis import theory
from analysis.measures.controls import controlled
from analysis.measures.measured import Measure
from analysis.measures.next_order import (
    metric_beyond,
    metric_corrected,
    sign_of_metric,
    third_beyond,
    third_corrected,
    vertex_beyond,
    vertex_corrected,
)
from tests.exact.measures.rows import Rows, inputs_of, rows, signs
from tests.exact.measures.test_controls import C_W, K1, K2, n, planted, t, v

k = np.array(K1)
SQUARES = {  # of s = z^2 in layer 3: leading order and next order of E g - K, Var g
    "mean": (3 * C_W * v(k), 0.0),
    "covariance": (
        v(K2) + 36 * C_W**2 * K2**2 * v(k),
        576 * C_W**2 * K2**2 * v(k) + 9 * C_W**2 * (4 * K2 * t(k) + 2 * v(k) ** 2),
    ),
}
SMOOTH = ["initialization=critical", "network.depth=3", "observables=kernel", "observables.layers=all"]
N = 16


def squares() -> Rows:
    first, second, third = signs(3)
    sd2, sd3 = np.sqrt(v(k) / n), np.sqrt(v(K2) / n)
    return planted(sd2 * (first + 0.3 * first * second), sd3 * (second + 0.2 * third * first))


def smooth(activation: str) -> Rows:
    """Rows of one input, whose kernels are near those of infinite width."""
    data = rows(*SMOOTH, f"activation={activation}", f"network.width={N}", x=inputs_of([[1.0]]))
    K = data.point.flow(False).K
    for layer in (1, 2, 3):
        spread = 0.0 if layer == 1 else 0.1 * signs(3)[layer - 2] + 0.03 * signs(3)[2] * signs(3)[0]
        data.fill("g", layer, lambda *pair, l=layer, s=spread: K[(l - 1, *pair)] * (1 + s + np.zeros(len(signs(1)[0]))))
    return data


def found(measure: Measure, data: Rows) -> tuple[float, float, float]:
    """Estimate, theory and scale in layer 3."""
    (of_layer,) = measure(data.point, [3])
    return tuple(float(x[0]) for x in (of_layer.estimate.value, of_layer.theory, of_layer.scale))  # type: ignore[return-value]


def estimate_of(data: Rows, name: str) -> float:
    (value,) = getattr(controlled(data.point, 3), name).value
    return float(value)


def is_beyond(measure: Measure, name: str, size: float) -> None:
    """n (n estimate - leading order) is measured, and the next order is predicted. Negative control: other rows."""
    data, (leading, following) = squares(), SQUARES[name]
    value, predicted, scale = found(measure, data)
    assert value == pytest.approx(n * (n * estimate_of(data, name) - leading), rel=1e-6, abs=1e-6 * n * leading)
    assert predicted == pytest.approx(following, rel=1e-8, abs=1e-9 * leading)
    assert scale == pytest.approx(size, rel=1e-8)
    assert found(measure, data.scaled("g", 1.001))[0] != pytest.approx(value, rel=1e-3)


def test_G2_controlled() -> None:
    """E g(3) = 3 C_W (K(2)^2 + v/n) exactly, so that G2 vanishes, and its scale is V2/K."""
    is_beyond(metric_beyond, "mean", SQUARES["covariance"][1] / float(3 * C_W * K2**2))


def test_V2_controlled() -> None:
    is_beyond(vertex_beyond, "covariance", SQUARES["covariance"][1])


def test_W2_controlled() -> None:
    data = squares()
    series = theory.chain(data.point.activation, 3, 0.0, C_W, K1, 3)
    value, predicted, scale = found(third_beyond, data)
    W, W2 = (float(series[name][-1]) for name in ("W", "W2"))
    slope, curvature, dv = 6 * C_W * K2, 6 * C_W, 384 * C_W**2 * K2**3
    leading = t(K2) + 3 * slope * dv * v(k) + slope**3 * t(k) + 3 * slope**2 * curvature * v(k) ** 2
    assert pytest.approx(leading, rel=1e-8) == W
    assert value == pytest.approx(n * (n**2 * estimate_of(data, "third") - leading), rel=1e-5, abs=1e-6 * n * leading)
    assert predicted == pytest.approx(W2)
    assert scale == pytest.approx(abs(W2))
    assert found(third_beyond, data.scaled("g", 1.001))[0] != pytest.approx(value, rel=1e-3)


def is_corrected(measure: Measure, name: str, of_law: str, tensor: str, order: int) -> None:
    """n^order (estimate - exact) + next order is measured. Negative control: other rows."""
    data = smooth("tanh")
    start = data.settings["initialization"]
    arguments = ("tanh", 3, start["C_b"], start["C_W"], float(data.point.flow(False).K[0, 0, 0]))
    exact = getattr(theory.exact_law(*arguments, [N, N]), of_law)[-1]
    following = float(theory.chain(*arguments, 3)[tensor][-1])
    value, predicted, scale = found(measure, data)
    assert predicted == pytest.approx(following, rel=1e-8)
    assert scale == pytest.approx(abs(following), rel=1e-8)
    assert value == pytest.approx(N**order * (estimate_of(data, name) - exact) + following, rel=1e-6)
    assert found(measure, data.scaled("g", 1.01))[0] != pytest.approx(value, rel=1e-4)


def test_G2_corrected() -> None:
    is_corrected(metric_corrected, "mean", "shift", "G2", 2)


def test_V2_corrected() -> None:
    is_corrected(vertex_corrected, "covariance", "variance", "V2", 2)


def test_W2_corrected() -> None:
    is_corrected(third_corrected, "third", "third", "W2", 3)


def test_sign_of_G2() -> None:
    """E g - K over its exact value, where order 1/n has the other sign; tanh, for which it has not, is left out."""
    settings = ["activation=gelu", "network.depth=8", "network.width=64"]
    data = rows(*SMOOTH, *settings, x=inputs_of([[1.0]]))
    start = data.settings["initialization"]
    x = data.point.samples[0] * np.sqrt(theory.critical("gelu").K_star / start["C_W"])
    data = rows(*SMOOTH, *settings, x=x)
    K = data.point.flow(False).K
    for layer in range(1, 9):
        data.fill("g", layer, lambda *pair, l=layer: K[(l - 1, *pair)] * (1 + (0.05 * signs(1)[0] if l > 1 else 0.0)))
    shift = theory.exact_law("gelu", 8, start["C_b"], start["C_W"], float(K[0, 0, 0]), [64] * 7).shift[-1]
    (of_layer,) = sign_of_metric(data.point, [8])
    (expected,) = controlled(data.point, 8).mean.value / shift
    assert of_layer.estimate.value == pytest.approx([expected], rel=1e-6)
    assert of_layer.theory == of_layer.scale == [1.0]
    (other,) = sign_of_metric(data.scaled("g", 1.01).point, [8])
    assert other.estimate.value != pytest.approx([expected], rel=1e-3)
    assert list(sign_of_metric(smooth("tanh").point, [3])) == []
