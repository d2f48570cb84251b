"""How the NTK of networks with kinks moves in training (docs/theory.md (5.52), PDLT ch. 11)."""

from collections.abc import Iterator

import numpy as np

from analysis import estimators
from analysis.measures.measured import Layers, Measured, label_of, measure
from analysis.measures.solved import closed_form_known, etas_of, response, solved, targets
from analysis.points import Point
from analysis.theory import activation, movement


def neurons_that_cross_once(point: Point) -> Iterator[str]:
    """Needs of the movement by kinks: two layers, one input, and an error that does not change its sign."""
    settings, rule = point.settings, point.settings["dynamics"]
    if point.depth != 2:
        yield f"network.depth={point.depth}: 2 is needed"
    if settings["network"]["outputs"] != 1:
        yield f"network.outputs={settings['network']['outputs']}: one output is needed"
    if point.D != 1:
        yield f"inputs: {point.D} samples: inputs.count=1 and inputs.test=0 are needed"
    s = activation(point.activation)
    if s.slopes is not None and min(s.slopes) < 0:
        yield f"activation={point.activation}: slopes >= 0 are needed"
    yield from closed_form_known(point)
    if point.trained and rule["name"] != "gradient_descent":
        yield f"dynamics={rule['name']}: gradient_descent is needed"
    elif solved(point):
        Theta = point.flow(("K", "Theta")).Theta
        assert Theta is not None
        if (largest := etas_of(rule).max() * Theta[-1].max()) > 1 / 2:
            yield f"dynamics.eta={rule['eta']}: eta Theta is {largest:.3g}, and at most 1/2 is needed"


@measure(
    "ntk_root_movement",
    tensor="n^1/2 dH(t)",
    symbol=r"$\sqrt{n}\,\mathrm{E}[H(t)-H(0)]$",
    model="half_powers",
    steps="both",
    families=("H",),
    needs=neurons_that_cross_once,
)
def ntk_root_movement(point: Point, layers: Layers) -> Iterator[Measured]:
    """sqrt(n) E[H(t) - H(0)] of one hidden layer and one input at every recorded step, docs/theory.md (5.52): zero for
    a smooth activation as n grows, and not zero where neurons lose their slope at a kink. In units of what it is for
    slopes 1 and 0."""
    flow, C_W = point.flow(("K", "Theta")), point.settings["initialization"]["C_W"]
    for step in filter(None, point.data.layout.steps):
        target, learnt = float(targets(point)[0, 0]), float(response(point, step)[0, 0])
        predicted, unit = movement.kinked_movement(flow, point.activation, C_W, target, learnt)
        change = point.read("H", point.depth, step) - point.read("H", point.depth, 0)
        yield Measured(
            tensor="n^1/2 dH(t)",
            layer=point.depth,
            step=step,
            samples=[label_of((0, 0))],
            estimate=estimators.mean(change).scaled(np.sqrt(point.n)),
            theory=np.array([predicted]),
            scale=np.array([abs(unit)]),
        )
