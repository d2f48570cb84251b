"""The correlation length is that of planted distances and of closed forms."""

import numpy as np
import pytest

from analysis.measures.correlation import correlation_length
from tests.exact.measures.rows import Rows, Wanted, expect, holds, inputs_of, rows, signs

C_W, DISTANCE = 0.8, {1: 0.6, 2: 0.5, 4: 0.2}  # |z_0 - z_1|^2/n by layer


def kernels(activation: str, angle: float, layers: str = "[1,2,4]") -> Rows:
    """Rows of g of two samples of one length, with the distances above."""
    data = rows(
        f"activation={activation}", "initialization=gaussian", f"initialization.C_W={C_W}", "network.depth=4",
        "network.width=8", "observables=kernel", f"observables.layers={layers}",
        x=inputs_of([[1.0, np.cos(angle)], [np.cos(angle), 1.0]]),
    )  # fmt: skip
    noise = 1 + 0.1 * signs(1)[0]
    for layer in data.layout.layers:
        data.fill("g", layer, lambda a, b, d=DISTANCE[layer]: (1.0 if a == b else 1 - d / 2) * noise)
    return data


def test_correlation_length() -> None:
    """Between layers that are recorded, on those of linear networks, where every distance falls by C_W in a layer."""
    data, rate = kernels("linear", 0.5), -np.log(C_W)

    def check(data: Rows) -> None:
        wanted = [
            Wanted("1/xi_perp", layer, 0, {"01": (np.log(DISTANCE[below] / DISTANCE[layer]) / apart, rate, 1.0)},
                   theory_next=np.array([rate]))
            for below, layer, apart in ((1, 2, 1), (2, 4, 2))
        ]  # fmt: skip
        expect(list(correlation_length(data.point, None)), *wanted)

    longer = kernels("linear", 0.5).fill("g", 4, lambda a, b: 1.01 if a == b else 1 - DISTANCE[4] / 2)
    holds(check, data, longer)


def test_close_samples_have_the_length_of_the_susceptibility() -> None:
    """-1/log chi_perp of docs/theory.md (4.6), up to a deviation that falls as the square of the angle. Control:
    chi_parallel is another number."""
    deviations = []
    for angle in (0.1, 0.05):
        point = kernels("sin", angle).point
        (second, _), flow = correlation_length(point, None), point.flow()
        deviations.append([second.theory.item() + np.log(chi[0, 0]) for chi in (flow.chi_perp, flow.chi_parallel)])
    (wide, _), (close, control) = deviations
    assert wide / close == pytest.approx(4, rel=0.01)
    assert abs(close) < 1e-3 < abs(control)


def test_what_a_correlation_length_needs() -> None:
    """Two layers, and two samples that rounding does not bring together. Control: the rows above lack nothing."""
    reasons = [
        list(correlation_length.missing(data.point))
        for data in (kernels("sin", 0.5), kernels("sin", 0.5, "[2]"), kernels("sin", 0.01))
    ]
    assert reasons[:2] == [[], ["observables.layers=[2]: kernels of two layers are needed"]]
    assert reasons[2] == [
        "inputs: two samples are needed that theory keeps apart, |z_a - z_b|^2 > 0.0001 (K_aa + K_bb)"
    ]
