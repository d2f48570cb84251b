"""A data set as an xarray.Dataset: each family of columns as a tensor with named dimensions. xarray is optional."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from simulate.observables.family import Family, Index
from simulate.store.layout import KEYS, Layout

Samples = tuple[NDArray[Any], NDArray[Any] | None, int]


def labelled(
    layout: Layout, families: Sequence[Family], rows: pa.Table, samples: Samples, attributes: Mapping[str, str]
) -> Any:
    """The families in `rows` as `simulate.store.sets.DataSet.to_xarray` describes; samples: as of its `samples`."""
    try:
        import xarray as xr
    except ImportError:
        raise ImportError("to_xarray needs xarray: pip install 'nearly-gaussian[xarray]'") from None
    shape = (-1, len(layout.steps), len(layout.layers))
    keys = {name: rows[name].to_numpy().reshape(shape) for name in KEYS}
    x, y, train = samples
    coordinates: dict[str, Any] = {
        "network": ("network", keys["network"][:, 0, 0], _of_key("network")),
        "step": ("step", np.array(layout.steps), _of_key("step")),
        "layer": ("layer", np.array(layout.layers), _of_key("layer")),
        "sample_train": ("sample_a", np.arange(len(x)) < train, {"long_name": "whether the sample is trained on"}),
        "sample_x": (("sample_a", "input_k"), x, {"long_name": "inputs", "units": "dimensionless"}),
    }
    if y is not None:
        coordinates["sample_y"] = (("sample_a", "target_i"), y, {"long_name": "targets", "units": "dimensionless"})
    variables: dict[str, Any] = {"status": (("network", "step"), keys["status"][:, :, 0], _of_key("status"))}
    for family in families:
        columns = [rows[name].to_numpy().reshape(shape) for name in layout.names(family)]
        dimensions, indices, values = _tensor(layout, family, np.stack(columns, axis=-1))
        layers = [layer for layer, defined in zip(layout.layers, layout.defined(family), strict=True) if defined]
        of_rows = ["network", "step", "layer"]
        if family.where == "end":
            values = values[:, :, layout.layers.index(layout.depth)]
            of_rows = of_rows[:2]
        coordinates |= {name: (name, index) for name, index in zip(dimensions, indices, strict=True)}
        about = {"long_name": family.meaning, "units": "dimensionless", "layers": layers}
        variables[family.prefix] = ((*of_rows, *dimensions), values, about)
    return xr.Dataset(variables, coordinates, dict(attributes))


def _of_key(name: str) -> dict[str, str]:
    return {"long_name": KEYS[name][1]}


def dimensions(family: Family) -> list[str]:
    """The dimensions of a family's tensor, in the order of the indices in the names of its columns."""
    outputs = [f"output_{chr(ord('i') + slot)}" for slot in range(family.slots)] if family.of == "output" else []
    samples = [f"sample_{chr(ord('a') + slot)}" for slot in range(family.slots)]
    return [f"{family.prefix}_k"] * bool(family.labels) + outputs + samples


def _tensor(layout: Layout, family: Family, columns: NDArray[Any]) -> tuple[list[str], list[Any], NDArray[Any]]:
    """The dimensions of a family's tensor, their coordinates, and its values, with the dimensions in place of the
    last axis of `columns` (M, steps, layers, columns)."""
    D, outputs, indices = layout.samples, layout.outputs, layout.indices(family)
    if any(family in o.families and o.name in layout.tuples for o in layout.observables()):
        return [f"{family.prefix}_column"], [layout.names(family)], columns
    place = {index: k for k, index in enumerate(indices)}
    rows: list[Any] = list(range(D)) if family.of == "sample" else list(product(range(outputs), range(D)))
    labels: list[Index] = [(label,) for label in family.labels] or [()]
    take = [place[*label, *family.canonical(*row)] for label in labels for row in product(rows, repeat=family.slots)]
    sizes = ((D,) if family.of == "sample" else (outputs, D)) * family.slots
    slots = np.array(take).reshape(len(labels), *sizes)
    if family.of == "output":  # from i, a, j, b to i, j, a, b
        slots = slots.transpose(0, *range(1, slots.ndim, 2), *range(2, slots.ndim, 2))
    names = dimensions(family)
    lengths = {"sample": D, "output": outputs}
    coordinates: list[Any] = [np.arange(lengths[name.partition("_")[0]]) for name in names[bool(family.labels) :]]
    if not family.labels:
        return names, coordinates, columns[..., slots[0]]
    return names, [np.array(family.labels), *coordinates], columns[..., slots]
