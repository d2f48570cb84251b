"""Columns: their order, what symmetry makes equal, and the gather of components."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from simulate.observables.columns import OBSERVABLES, Family, Index
from simulate.observables.measure import MEASURED, columns
from simulate.registry import Registry

FAMILIES = [family for observable in OBSERVABLES.values() for family in observable.families]
every_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.prefix)


def test_order_is_that_of_format_1() -> None:
    """Literal index tuples of two samples and two outputs, as data sets on disk have them."""
    family = {family.prefix: family for family in FAMILIES}
    assert family["g"].indices(3, 2) == [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    assert family["m3"].indices(2, 1) == [(0, 0, 0), (0, 0, 1), (0, 1, 1), (1, 1, 1)]
    assert family["z"].indices(2, 2) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert family["H"].indices(2, 2) == [
        (0, 0, 0, 0), (0, 0, 0, 1), (0, 1, 0, 0), (0, 1, 0, 1), (0, 0, 1, 1), (0, 1, 1, 0), (0, 1, 1, 1),
        (1, 1, 0, 0), (1, 1, 0, 1), (1, 1, 1, 1),
    ]  # fmt: skip
    assert family["dH"].indices(1, 2) == [
        (0, 0, 0, 0, 0, 0), (0, 0, 1, 0, 0, 0), (0, 1, 1, 0, 0, 0),
        (1, 0, 0, 0, 0, 0), (1, 0, 1, 0, 0, 0), (1, 1, 1, 0, 0, 0),
    ]  # fmt: skip
    assert family["ddI"].indices(2, 1)[:4] == [(0,) * 8, (0,) * 7 + (1,), (0,) * 6 + (1, 1), (0,) * 5 + (1, 1, 1)]
    assert family["ddII"].indices(1, 2)[:5] == [
        (0, 0, 0, 0, 0, 0, 0, 0), (0, 0, 0, 1, 0, 0, 0, 0), (0, 1, 0, 0, 0, 0, 0, 0), (0, 1, 0, 1, 0, 0, 0, 0),
        (0, 0, 1, 1, 0, 0, 0, 0),
    ]  # fmt: skip
    assert family["loss"].indices(5, 3) == [()]
    assert family["taylor"].indices(1, 2) == [(1, 0, 0), (1, 1, 0), (2, 0, 0), (2, 1, 0), (3, 0, 0), (3, 1, 0)]


@every_family
def test_counts_are_those_of_the_list(family: Family) -> None:
    for D, outputs in itertools.product((1, 2, 3), (1, 2)):
        indices = family.indices(D, outputs)
        assert family.count(D, outputs) == len(indices) == len(set(indices))


def rows_of(family: Family, D: int, outputs: int) -> list[tuple[int | tuple[int, int], ...]]:
    """Every component of the whole tensor, stored or not, by one row a slot."""
    rows = list(range(D)) if family.of == "sample" else list(itertools.product(range(outputs), range(D)))
    return list(itertools.product(rows, repeat=family.slots))


@pytest.mark.parametrize("family", [f for f in FAMILIES if not f.labels], ids=lambda family: family.prefix)
def test_each_component_has_one_column(family: Family) -> None:
    """`canonical` leads from any component to a stored one, and only symmetry joins components."""
    D, outputs = 2, 2
    stored, classes = family.indices(D, outputs), {}
    for rows in rows_of(family, D, outputs):
        classes.setdefault(family.canonical(*rows), []).append(rows)
    assert sorted(classes) == sorted(stored)
    for members in classes.values():  # as many as there are orders of the groups that differ
        first = members[0]
        images = set()
        for order in itertools.permutations(family.symmetry):
            image = list(first)
            for target, source in zip(family.symmetry, order, strict=True):
                for to, origin in zip(target, source, strict=True):
                    image[to] = first[origin]
            images.add(tuple(image))
        assert images == set(members)


class Whole:
    """A snapshot that gives a tensor whose entries are their own places."""

    layer, step, outputs, samples = 1, 0, 2, 3

    def __init__(self, family: Family):
        rows = self.samples if family.of == "sample" else self.outputs * self.samples
        shape = [len(family.labels)] * bool(family.labels) + [rows] * family.slots
        size = int(np.prod(shape)) if shape else 1
        self.tensor = torch.arange(2 * size, dtype=torch.float64).reshape(2, *shape)

    def __getattr__(self, name: str) -> object:
        return lambda: (self.tensor,) * 3 if name == "differentials" else self.tensor


def literal(tensor: torch.Tensor, family: Family, index: Index, D: int) -> torch.Tensor:
    """The component at an index tuple, read off the subscripts."""
    label = [family.labels.index(index[0])] if family.labels else []
    outputs, samples = index[len(label) : len(index) - family.slots], index[len(index) - family.slots :]
    rows = list(samples) if family.of == "sample" else [i * D + a for i, a in zip(outputs, samples, strict=True)]
    return tensor[(slice(None), *label, *rows)]


# Without the moments, which are computed one by one, and the outputs, whose snapshot has another order of axes.
GATHERED = [family for family in FAMILIES if family.prefix not in ("m1", "m2", "m3", "m4", "z")]


@pytest.mark.parametrize("family", GATHERED, ids=lambda family: family.prefix)
def test_the_gather_against_a_loop(family: Family) -> None:
    snapshot, indices = Whole(family), family.indices(3, 2)
    got = columns(snapshot, family, indices)  # type: ignore[arg-type]
    want = torch.stack([literal(snapshot.tensor, family, index, 3) for index in indices], dim=1)
    assert torch.equal(got, want)
    if family.slots > 1:  # the slots in another order are other components
        k = len(indices[0]) - family.slots
        reversed_slots = [(*index[:k][::-1], *index[k:][::-1]) for index in indices]
        assert not torch.equal(got, columns(snapshot, family, reversed_slots))  # type: ignore[arg-type]


def test_a_swapped_symmetry_is_caught() -> None:
    """The first differential with its Hessian index among the symmetric ones: other columns, of the same number."""
    (dH,) = OBSERVABLES["dntk"].families
    swapped = replace(dH, symmetry=((0,), (1,)))
    assert swapped.count(3, 2) == dH.count(3, 2)
    assert swapped.indices(3, 2) != dH.indices(3, 2)
    assert swapped.canonical((0, 1), (0, 0), (0, 0)) != dH.canonical((0, 1), (0, 0), (0, 0))


def test_every_family_is_measured() -> None:
    assert set(MEASURED) == {family.prefix for family in FAMILIES}
    assert len({family.prefix for family in FAMILIES}) == len(FAMILIES)


def test_a_name_is_taken_once() -> None:
    registry: Registry = Registry("observable")
    registry.add(OBSERVABLES["kernel"])
    with pytest.raises(ValueError, match="observable 'kernel' is there already"):
        registry.add(OBSERVABLES["kernel"])
