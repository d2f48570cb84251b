"""Exponents of the coordinate check: planted rows give exact logarithms, and the theory is that of the scaling."""

from collections.abc import Callable

import numpy as np
import pytest

from analysis.measures.coordinates import coordinate_change, coordinate_size
from analysis.measures.measured import Measure
from tests.exact.measures.rows import Rows, Wanted, expect, holds, inputs_of, rows, signs

GIVEN = ["activation=tanh", "initialization=critical", "network.depth=3", "network.width=4",
         "dynamics=gradient_descent", "dynamics.eta=0.1", "dynamics.steps=2", "observables.steps=[0,2]",
         "observables.record=[kernel,outputs,ntk,change]", "observables.layers=all"]  # fmt: skip


def planted(s: int) -> Rows:
    """Columns of known sizes; off-diagonal components of g and H are other ones."""
    data = rows(*GIVEN, f"dynamics.width_scaling={s}", x=inputs_of([[1.0, 0.3], [0.3, 0.8]]), y=np.ones((2, 1)))
    first, second = signs(2)
    for step in (0, 2):
        for layer in (2, 3):
            data.fill("g", layer, lambda a, b: (1 + a) * (5 + 4 * second) / 3 if a == b else 7.0, step)
        data.fill("z", 3, lambda i, a: (1 + 6 * a) * second, step)
        data.fill("H", 3, lambda i, j, a, b, step=step: first * (1 + 6 * a) * (1 + step) if a == b else 7.0, step)
        for layer in (1, 2, 3):
            data.fill("dz", layer, lambda a, layer=layer: layer**2 * (2 * a + 1) * (5 + 4 * second) / 2, step)
    return data


def checking(measure: Measure, wanted: Callable[[int], list[Wanted]], s: int) -> Callable[[Rows], None]:
    return lambda data: expect(list(measure(data.point, None)), *wanted(s))


def rms(tensor: str, layer: int, step: int, mean: float, exponent: float) -> Wanted:
    return Wanted(tensor, layer, step, {"rms": (np.log(mean), exponent, 1.0)})


def sizes(s: int) -> list[Wanted]:
    """Half of the networks have the g 1/2 in the mean over samples, and the others 9/2."""
    out = []
    for step in (0, 2):
        out += [rms("log g", layer, step, np.sqrt(0.5) * 2, 0.0) for layer in (2, 3)]
        out.append(rms("log f", 3, step, 5.0 / 2**s, 0.0 if step else s / 2))
        out.append(rms("log H", 3, step, 5.0 * (1 + step), 0.0))
    return out


def changes(s: int) -> list[Wanted]:
    hidden = [rms("log dz", layer, 2, 2.0 * layer, (1 - s) / 2) for layer in (1, 2)]
    return [*hidden, rms("log df", 3, 2, 6.0 / 2**s, 0.0), rms("log dH", 3, 2, 10.0, 1.0 - s)]


@pytest.mark.parametrize("s", [0, 1])
def test_coordinate_size(s: int) -> None:
    """docs/theory.md (15.3). Negative controls: larger rows, exchanged columns, and the other scaling."""
    data = planted(s)
    wrong = [data.scaled("g"), data.scaled("z"), data.exchanged("H", (0, 0, 0, 0), (0, 0, 0, 1))]
    holds(checking(coordinate_size, sizes, s), data, *wrong, planted(1 - s))


@pytest.mark.parametrize("s", [0, 1])
def test_coordinate_change(s: int) -> None:
    """docs/theory.md (15.3). Negative controls: larger rows, exchanged columns, and the other scaling."""
    data = planted(s)
    wrong = [data.scaled("dz"), data.exchanged("H", (0, 0, 0, 0), (0, 0, 0, 1))]
    holds(checking(coordinate_change, changes, s), data, *wrong, planted(1 - s))
