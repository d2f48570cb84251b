"""The law of one layer given the layer below, measured: statistics whose means vanish at every width.

They need no expansion in 1/n. A claim whose estimates use controls contains them, because a sampler with a fault in one
layer has nearly the right coefficients once the controls are subtracted (docs/theory.md (7.15)).
"""

from collections.abc import Iterator

import numpy as np

from analysis import estimators
from analysis.estimators import Array
from analysis.measures.controls import Step, all_layers_of_two_inputs, steps_of
from analysis.measures.measured import Layers, Measured, chosen_layers, label_of, measure
from analysis.measures.needs import outputs_of_last_layer
from analysis.points import Point


def _of_step(step: Step, before: Step | None) -> dict[str, tuple[list[tuple[int, ...]], Array]]:
    """By tensor: the components, and (M, components) in standard deviations of one network."""
    pairs = step.m.shape[1]
    spread = np.sqrt(step.v_at_K.diagonal() / step.n)
    m = step.m / spread
    both: list[tuple[int, ...]] = [(p, q) for p in range(pairs) for q in range(p, pairs)]
    unit = np.outer(spread, spread) * step.n
    products = [m[:, p] * m[:, q] - step.v[:, p, q] / unit[p, q] for p, q in both]
    found: dict[str, tuple[list[tuple[int, ...]], Array]] = {
        "m": ([(p,) for p in range(pairs)], m),
        "m m - v/n": (both, np.stack(products, axis=1)),
    }
    if before is not None:
        g = (before.m + before.drift) / np.sqrt(before.V.diagonal() / before.n)
        ordered: list[tuple[int, ...]] = [(p, q) for p in range(pairs) for q in range(pairs)]
        found["m g"] = (ordered, np.stack([m[:, p] * g[:, q] for p, q in ordered], axis=1))
    return found


@measure(
    "layer_law",
    symbol={
        "m": r"$\mathrm{E}\,m$",
        "m m - v/n": r"$\mathrm{E}(mm-v/n)$",
        "m g": r"$\mathrm{E}\,m\,g(\ell-1)$",
    },
    model="constant",
    families=("g",),
    needs=all_layers_of_two_inputs,
    any_widths=True,
)
def layer_law(point: Point, layers: Layers) -> Iterator[Measured]:
    """Means of m = g(l) - F(g(l-1)), of m m - v(g(l-1))/n and of m (g(l-1) - K(l-1)), docs/theory.md (7.15), which are
    zero at every n. They are in standard deviations of one network at leading order."""
    pairs = point.columns("g")
    steps = steps_of(point)
    for layer in chosen_layers(point, "g", layers):
        before = steps[layer - 3] if layer > 2 else None
        for tensor, (components, values) in _of_step(steps[layer - 2], before).items():
            one = np.ones(len(components))
            yield Measured(
                tensor=tensor,
                layer=layer,
                step=0,
                samples=[label_of(*(pairs[p] for p in component)) for component in components],
                estimate=estimators.mean(values),
                theory=0 * one,
                scale=one,
            )


@measure(
    "outputs_law",
    symbol={"u^2 - 1": r"$\mathrm{E}(u^2-1)$", "He4(u)": r"$\mathrm{E}\,He_4(u)$"},
    model="constant",
    families=("z", "g"),
    needs=outputs_of_last_layer,
    any_widths=True,
)
def outputs_law(point: Point, layers: Layers) -> Iterator[Measured]:
    """Given the layers below, an output over sqrt(g) is a standard normal u at every n, docs/theory.md (7.2): the means
    over outputs of u^2 - 1 and of u^4 - 6 u^2 + 3 are zero. They are in standard deviations of one output."""
    L = point.depth
    z, g = point.read("z", L), point.read("g", L)
    columns, pairs = point.columns("z"), point.columns("g")
    samples = range(point.D)
    squares = [
        z[:, [k for k, (_, b) in enumerate(columns) if b == a]] ** 2 / g[:, [pairs.index((a, a))]] for a in samples
    ]
    one = np.ones(point.D)
    for tensor, values in (
        ("u^2 - 1", [(u2 - 1) / np.sqrt(2.0) for u2 in squares]),
        ("He4(u)", [(u2**2 - 6 * u2 + 3) / np.sqrt(24.0) for u2 in squares]),
    ):
        yield Measured(
            tensor=tensor,
            layer=L,
            step=0,
            samples=[label_of((a, a)) for a in samples],
            estimate=estimators.mean(np.stack([x.mean(axis=1) for x in values], axis=1)),
            theory=0 * one,
            scale=one,
        )
