"""The registry of the flow's tensors: each enters it with the facts that `flow` needs, under `@recursion`.

A plugin adds a tensor with the same decorator:

    from analysis.theory.tensors import recursion

    @recursion("mine", indices=2, needs=("Theta",))
    def mine(here, old, new):
        return here.C_W * here.M(1, 1) * (old["mine"] + old["Theta"])

and `theory.flow(..., tensors=["mine"])["mine"]` holds its layers.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

import numpy as np

from analysis.theory.activations import Array
from analysis.theory.layer import FirstLayer, Layer, Tensors

Step = Callable[[Layer, Tensors, Tensors], Array]
FirstValue = Callable[[FirstLayer], Array]
RESERVED = ("chi_parallel", "chi_perp", "others")  # `Flow` uses these names for something else than a tensor


@dataclass(frozen=True)
class Recursion:
    """The recursion of one tensor from layer l to layer l + 1, and the tensors that it reads.

    step(here, old, new): the tensor of layer l + 1, shape (D,) * indices. `old` holds layer l: the tensor itself and
        `needs`; `new` holds layer l + 1: `same_layer`. Nothing else is visible to the step.
    first: the tensor of layer 1; None where it vanishes there.
    smooth_only: whether kinked activations are refused.
    orthogonal: whether the step is right for orthogonal weights, too, of which `Layer` knows.
    """

    name: str
    step: Step
    indices: int
    needs: tuple[str, ...]
    same_layer: tuple[str, ...]
    first: FirstValue | None
    smooth_only: bool
    orthogonal: bool


RECURSIONS: dict[str, Recursion] = {}
# Powers of (K, Theta) by which a tensor is divided at criticality; what is left is of order l.
UNITS: dict[str, tuple[int, int]] = {}


def recursion(
    name: str,
    *,
    indices: int,
    needs: tuple[str, ...] = (),
    same_layer: tuple[str, ...] = (),
    first: FirstValue | None = None,
    smooth_only: bool = False,
    orthogonal: bool = False,
    units: tuple[int, int] | None = None,
) -> Callable[[Step], Step]:
    """Register the decorated step as the recursion of tensor `name`, docs/theory.md sections 1 to 3.

    indices: how many sample indices the tensor has. needs, same_layer, first, smooth_only, orthogonal: see `Recursion`.
    units: the tensor's entry of UNITS, if it has one. Raises ValueError where the name is taken.
    """
    if name in RECURSIONS or name in RESERVED:
        raise ValueError(f"tensor {name!r} is there already; choose another name")

    def register(step: Step) -> Step:
        facts = indices, tuple(needs), tuple(same_layer), first, smooth_only, orthogonal
        RECURSIONS[name] = Recursion(name, step, *facts)
        if units is not None:
            UNITS[name] = units
        return step

    return register


def closure(tensors: Iterable[str]) -> set[str]:
    """The tensors that have to be iterated for those asked for, docs/theory.md sections 1 to 3.

    Raises ValueError where one needs a tensor that nobody registered.
    """
    names, todo = set(), [("K", "flow"), *((name, "flow") for name in tensors)]
    while todo:
        name, reader = todo.pop()
        if name not in RECURSIONS:
            raise ValueError(f"tensors: {reader} needs {name!r}; known are {', '.join(RECURSIONS)}")
        if name not in names:
            names.add(name)
            todo += [(other, name) for other in (*RECURSIONS[name].needs, *RECURSIONS[name].same_layer)]
    return names


def in_order(names: Iterable[str]) -> list[str]:
    """The same names, each after those of its own layer that it reads, docs/theory.md (2.11) and (3.8).

    The order in which recursions were registered does not matter. Raises ValueError where some read each other in a
    circle.
    """
    chosen = set(names)
    graph = {name: RECURSIONS[name].same_layer for name in RECURSIONS if name in chosen}
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise ValueError(f"same_layer: {', '.join(error.args[1])} read each other in a circle") from None


def of_copies(tensor: Array, D: int, indices: int) -> Array:
    """A tensor (L,) of one input is that of D copies of it, (L, D, ...), docs/theory.md section 0."""
    return np.asarray(np.multiply.outer(tensor, np.ones((D,) * indices)))
