"""The movement of the NTK by kinks: planted movements are found, and what a point lacks is said."""

from collections.abc import Sequence

import numpy as np
import pytest

from analysis.measures.kinks import ntk_root_movement
from tests.exact.measures.rows import Rows, Wanted, expect, holds, inputs_of, rows, signs

WIDTH, ETA, TARGET, FOUND = 9, 0.1, 1.5, {2: -0.4, 20: -0.9}


def made(*overrides: str, x: Sequence[Sequence[float]] = ((1.0,),)) -> Rows:
    return rows(
        "activation=relu", "initialization=gaussian", "initialization.C_W=2", "network.depth=2",
        f"network.width={WIDTH}", "dynamics=gradient_descent", "dynamics.lambda_b=1", f"dynamics.eta={ETA}",
        "dynamics.steps=20", "observables.record=[ntk]", "observables.steps=[0,2,20]", *overrides,
        x=inputs_of(np.array(x)), y=[[TARGET]],
    )  # fmt: skip


@pytest.mark.parametrize(("activation", "factor"), [("relu", 1.0), ("gelu", 0.0)])
def test_ntk_root_movement(activation: str, factor: float) -> None:
    """With K = 2, Theta(1) = 2 and a share 1 - (1 - eta Theta)^t that is learnt, docs/theory.md (5.52) is by hand, with
    E |z - y| from an average over a grid."""
    data = made(f"activation={activation}")
    flow = data.point.flow(("K", "Theta"))
    assert flow.Theta is not None
    K, Theta = flow.K[-1, 0, 0], flow.Theta[-1, 0, 0]
    z = np.linspace(-12, 12, 200_001) * np.sqrt(K)
    away = np.average(np.abs(z - TARGET), weights=np.exp(-(z**2) / (2 * K)))
    data.fill("H", 2, lambda *index: 3 + signs(1)[0])
    for step, found in FOUND.items():
        data.fill("H", 2, lambda *index, found=found: 3 + signs(1)[0] + (found + signs(2)[1]) / 3, step=step)

    def check(data: Rows) -> None:
        wanted = []
        for step, found in FOUND.items():
            unit = 2**2 * 2**1.5 * away * (1 - (1 - ETA * Theta) ** step) / (np.pi * np.sqrt(2) * Theta)
            wanted.append(Wanted("n^1/2 dH(t)", 2, step, {"00": (found, -factor * unit, unit)}))
        expect(list(ntk_root_movement(data.point, None)), *wanted, rtol=1e-7)

    holds(check, data, data.scaled("H"))


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["dynamics.eta=0.13"], "dynamics.eta=0.13: eta Theta is 0.52, and at most 1/2 is needed"),
        (["dynamics=gradient_flow"], "dynamics=gradient_flow: gradient_descent is needed"),
        (["network.depth=3"], "network.depth=3: 2 is needed"),
        (["activation=leaky_relu", "activation.slope=-0.1"],
         "activation=leaky_relu(slope=-0.1): slopes >= 0 are needed"),
    ],
)  # fmt: skip
def test_what_the_movement_by_kinks_needs(overrides: list[str], reason: str) -> None:
    assert reason in list(ntk_root_movement.missing(made(*overrides).point))
    assert list(ntk_root_movement.missing(made().point)) == []
