"""The coordinate check: powers of the width with which activations, outputs and the NTK, and their changes in training,
go under NTK scaling and muP (docs/theory.md (15.2), (15.3); PDLT ch. 11).

A number y goes as n^-p, and its exponent p is that of the mean over networks of root mean squares over neurons and
samples. Outputs are n^(-s/2) z, those of the network whose targets do not grow with the width.
"""

from collections.abc import Iterator

import numpy as np

from analysis import estimators
from analysis.estimators import Array
from analysis.measures.measured import Layers, Measured, chosen_layers, measure
from analysis.points import Point
from analysis.stages import STAGES


def scaling(point: Point) -> float:
    """s of docs/theory.md (15.2): targets were multiplied by n^(s/2)."""
    return float(point.settings["dynamics"]["width_scaling"])


def powers_of_the_width(point: Point) -> Iterator[str]:
    """Needs of exponents whose corrections are powers of 1/n."""
    rule, s = point.settings["dynamics"], scaling(point)
    if s not in (0, 1):
        yield f"dynamics.width_scaling={s:g}: 0 or 1 is needed, because corrections are powers of n^-s"
    if point.trained and (rule["name"] not in STAGES or rule["loss"] != "mse" or rule["rules"]):
        given = f"dynamics={rule['name']}, loss={rule['loss']}, rules={rule['rules'] or 'none'}"
        yield f"{given}: one of {', '.join(STAGES)} with loss=mse and without rules is needed"


def _exponent(point: Point, tensor: str, layer: int, step: int, squares: Array, p: float) -> Measured:
    """The logarithm of the mean over networks of a root mean square. squares: (M, k), which are averaged."""
    estimate = estimators.mean(np.sqrt(squares.mean(axis=1, keepdims=True))).log()
    return Measured(tensor, layer, step, ["rms"], estimate, theory=np.array([p]), scale=np.ones(1))


def _diagonal(point: Point, family: str, layer: int, step: int) -> Array:
    """The columns (M, k) of a family of two slots that belong to one output and one sample."""
    rows = [np.reshape(index, (-1, 2)) for index in point.columns(family)]  # (output, sample), or (sample,), of each
    kept = [k for k, index in enumerate(rows) if (index[..., 0] == index[..., 1]).all()]
    return point.read(family, layer, step)[:, kept]


@measure(
    "coordinate_size",
    symbol={
        "log g": r"$\log\mathrm{E}\,g^{1/2}$",
        "log f": r"$\log\mathrm{E}\,|f|$",
        "log H": r"$\log\mathrm{E}\,|H|$",
    },
    model="exponent",
    families=("g", "z", "H"),
    steps="both",
    width_scaling=True,
    needs=powers_of_the_width,
)
def coordinate_size(point: Point, layers: Layers) -> Iterator[Measured]:
    """Activations of hidden layers, which make up g of the next one, and the NTK are of order one in n at every step,
    and outputs of order n^(-s/2) before and of order one in training, docs/theory.md (15.3)."""
    s, L = scaling(point), point.depth
    for step in point.data.layout.steps:
        for layer in chosen_layers(point, "g", layers):
            yield _exponent(point, "log g", layer, step, _diagonal(point, "g", layer, step), 0.0)
        f = point.read("z", L, step) * point.n ** (-s / 2)
        yield _exponent(point, "log f", L, step, f**2, 0.0 if step else s / 2)
        yield _exponent(point, "log H", L, step, _diagonal(point, "H", L, step) ** 2, 0.0)


@measure(
    "coordinate_change",
    symbol={
        "log dz": r"$\log\mathrm{E}\,|\Delta z|$",
        "log df": r"$\log\mathrm{E}\,|\Delta f|$",
        "log dH": r"$\log\mathrm{E}\,|\Delta H|$",
    },
    model="exponent",
    families=("dz", "H"),
    steps="both",
    lowest=1,
    width_scaling=True,
    needs=powers_of_the_width,
)
def coordinate_change(point: Point, layers: Layers) -> Iterator[Measured]:
    """Hidden preactivations, layer 1 included, change by n^-((1-s)/2) in training, outputs by order one, and the NTK by
    n^-(1-s), docs/theory.md (15.3)."""
    s, L = scaling(point), point.depth
    for step in filter(None, point.data.layout.steps):
        for layer in point.layers("dz"):
            if layer < L and (layers is None or layer in layers):
                yield _exponent(point, "log dz", layer, step, point.read("dz", layer, step), (1 - s) / 2)
        yield _exponent(point, "log df", L, step, point.read("dz", L, step) * point.n**-s, 0.0)
        change = _diagonal(point, "H", L, step) - _diagonal(point, "H", L, 0)
        yield _exponent(point, "log dH", L, step, change**2, 1 - s)
