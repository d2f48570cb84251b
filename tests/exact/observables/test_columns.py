"""Columns: their order, their symmetries, and records that contradict themselves."""

import itertools
from dataclasses import replace
from math import comb
from typing import Any

import pytest

from simulate.api import read_one
from simulate.observables.columns import OBSERVABLES, Observable
from simulate.observables.family import Family, Index, Row
from simulate.observables.record import NEEDS
from simulate.registry import Registry
from simulate.settings import SettingsError

FAMILIES = {family.prefix: family for observable in OBSERVABLES.values() for family in observable.families}
every_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)


def test_order_is_that_of_format_1() -> None:
    """Literal index tuples of few samples and outputs, as data sets on disk have them."""
    assert FAMILIES["g"].indices(3, 2) == ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    assert FAMILIES["m1"].indices(3, 2) == ((0,), (1,), (2,))
    assert FAMILIES["m3"].indices(2, 1) == ((0, 0, 0), (0, 0, 1), (0, 1, 1), (1, 1, 1))
    assert FAMILIES["z"].indices(2, 2) == FAMILIES["d4"].indices(2, 2) == ((0, 0), (0, 1), (1, 0), (1, 1))
    assert FAMILIES["H"].indices(2, 2) == (
        (0, 0, 0, 0), (0, 0, 0, 1), (0, 1, 0, 0), (0, 1, 0, 1), (0, 0, 1, 1), (0, 1, 1, 0), (0, 1, 1, 1),
        (1, 1, 0, 0), (1, 1, 0, 1), (1, 1, 1, 1),
    )  # fmt: skip
    assert FAMILIES["dH"].indices(1, 2) == (
        (0, 0, 0, 0, 0, 0), (0, 0, 1, 0, 0, 0), (0, 1, 1, 0, 0, 0),
        (1, 0, 0, 0, 0, 0), (1, 0, 1, 0, 0, 0), (1, 1, 1, 0, 0, 0),
    )  # fmt: skip
    assert FAMILIES["ddI"].indices(2, 1) == tuple(
        (0, 0, 0, 0, *samples)
        for samples in (
            (0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 1, 1), (0, 1, 1, 1),
            (1, 0, 0, 0), (1, 0, 0, 1), (1, 0, 1, 1), (1, 1, 1, 1),
        )
    )  # fmt: skip
    assert FAMILIES["ddII"].indices(1, 2) == tuple(
        (*outputs, 0, 0, 0, 0)
        for outputs in (
            (0, 0, 0, 0), (0, 0, 0, 1), (0, 1, 0, 0), (0, 1, 0, 1),
            (0, 0, 1, 1), (0, 1, 1, 0), (0, 1, 1, 1),
            (1, 1, 0, 0), (1, 1, 0, 1),
            (1, 1, 1, 1),
        )
    )  # fmt: skip
    assert FAMILIES["loss"].indices(5, 3) == FAMILIES["moved"].indices(5, 3) == ((),)
    assert FAMILIES["taylor"].indices(1, 2) == ((1, 0, 0), (1, 1, 0), (2, 0, 0), (2, 1, 0), (3, 0, 0), (3, 1, 0))


# The number of columns for D samples and n outputs, by formulas that do not use the code's.
COUNTS = {
    "g": lambda D, n: comb(D + 1, 2),
    "c": lambda D, n: comb(D + 1, 2),
    "m1": lambda D, n: D,
    "m2": lambda D, n: comb(D + 1, 2),
    "m3": lambda D, n: comb(D + 2, 3),
    "m4": lambda D, n: comb(D + 3, 4),
    "z": lambda D, n: n * D,
    "H": lambda D, n: comb(n * D + 1, 2),
    "h": lambda D, n: D,
    "y": lambda D, n: D,
    "b": lambda D, n: D,
    "w": lambda D, n: D,
    "t3": lambda D, n: D,
    **dict.fromkeys(("response", "trace", "rank"), lambda D, n: D),
    "angle": lambda D, n: comb(D + 1, 2),
    "dH": lambda D, n: n * D * comb(n * D + 1, 2),
    "ddI": lambda D, n: n * D * comb(n * D + 2, 3),
    "ddII": lambda D, n: comb((n * D) ** 2 + 1, 2),
    "Hs": lambda D, n: comb(D + 1, 2),
    **dict.fromkeys(("P", "R"), lambda D, n: D * D * comb(D + 1, 2)),
    "Q": lambda D, n: D**4,
    **dict.fromkeys(("F", "S", "T", "U"), lambda D, n: comb(D**2 + 1, 2)),
    "d4": lambda D, n: n * D,
    "DH": lambda D, n: 4 * n * D,
    "loss": lambda D, n: 1,
    "H0": lambda D, n: comb(n * D + 1, 2),
    **dict.fromkeys(("logw", "lw", "x", "dHs", "dHu"), lambda D, n: 1),
    **dict.fromkeys(("mu", "xm"), lambda D, n: n * D),
    "var": lambda D, n: D,
    "moved": lambda D, n: 1,
    "dz": lambda D, n: D,
    "taylor": lambda D, n: 3 * n * D,
    "linear": lambda D, n: n * D,
}


@every_family
def test_counts(family: Family) -> None:
    """`count` is the number of columns, also where these are too many to be listed."""
    for D, outputs in itertools.product((1, 2, 3), (1, 2)):
        indices = family.indices(D, outputs)
        assert family.count(D, outputs) == len(indices) == len(set(indices)) == COUNTS[family.prefix](D, outputs)
    assert family.count(10_000, 7) == COUNTS[family.prefix](10_000, 7)


def rows_of(family: Family, D: int, outputs: int) -> list[tuple[Row, ...]]:
    """Every component of the tensor, stored or not, as one row for each slot."""
    rows: list[Row] = list(range(D)) if family.of == "sample" else list(itertools.product(range(outputs), range(D)))
    return list(itertools.product(rows, repeat=family.slots))


def classes_of(family: Family, D: int, outputs: int) -> dict[Index, set[tuple[Row, ...]]]:
    """The components that share a column, by the column's index tuple."""
    classes: dict[Index, set[tuple[Row, ...]]] = {}
    for rows in rows_of(family, D, outputs):
        classes.setdefault(family.canonical(*rows), set()).add(rows)
    return classes


def images_of(rows: tuple[Row, ...], symmetry: tuple[tuple[int, ...], ...]) -> set[tuple[Row, ...]]:
    """A component under all exchanges of the groups of slots."""
    images = set()
    for order in itertools.permutations(symmetry):
        image = list(rows)
        for slots, origins in zip(symmetry, order, strict=True):
            for slot, origin in zip(slots, origins, strict=True):
                image[slot] = rows[origin]
        images.add(tuple(image))
    return images


@pytest.mark.parametrize("family", [f for f in FAMILIES.values() if not f.labels], ids=lambda family: family.prefix)
def test_each_component_has_one_column(family: Family) -> None:
    """`canonical` leads from any component to a stored one, and only symmetry joins components."""
    classes = classes_of(family, 2, 2)
    assert set(classes) == set(family.indices(2, 2))
    for members in classes.values():
        assert images_of(next(iter(members)), family.symmetry) == members


def test_a_swapped_symmetry_is_caught() -> None:
    """Negative control: dH with its Hessian index among the symmetric ones has as many columns, but other ones."""
    dH = FAMILIES["dH"]
    swapped = replace(dH, symmetry=((0,), (1,)))
    assert swapped.count(3, 2) == dH.count(3, 2)
    assert swapped.indices(3, 2) != dH.indices(3, 2)
    assert any(images_of(next(iter(m)), dH.symmetry) != m for m in classes_of(swapped, 2, 2).values())


def test_chosen_samples() -> None:
    """The columns whose samples are chosen, in any order of the samples, keep the order of the full list."""
    chosen = FAMILIES["dH"].indices(3, 2, ((0, 0, 1), (2, 2, 2)))
    assert chosen == tuple(i for i in FAMILIES["dH"].indices(3, 2) if sorted(i[3:]) in ([0, 0, 1], [2, 2, 2]))
    # At samples 0, 0, 1 outputs are free, and only directions that are both at sample 0 are exchanged: 8 + 6.
    # At 2, 2, 2 there are 2 outputs and 3 pairs of directions.
    assert len(chosen) == 8 + 6 + 2 * 3
    assert chosen[0] == (0, 0, 0, 0, 0, 1)
    assert (0, 0, 1, 1, 0, 0) in chosen


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"prefix": "a_b"}, "letters and digits"),
        ({"prefix": "2a"}, "letters and digits"),
        ({"prefix": "step"}, "every data set has"),
        ({"where": "top"}, "where='top'"),
        ({"of": "neuron"}, "of='neuron'"),
        ({"of": "output", "where": "layers"}, "output_layers"),
        ({"slots": 2, "symmetry": ((0,), (2,))}, "each slot once"),
        ({"slots": 2, "symmetry": ((0,), (0,))}, "each slot once"),
        ({"slots": 3, "symmetry": ((0,), (1, 2))}, "one size"),
    ],
)
def test_families_that_contradict_themselves(wrong: dict[str, Any], message: str) -> None:
    fields: dict[str, Any] = {"prefix": "a", "where": "layers", "meaning": "a test"}
    Family(**fields)
    with pytest.raises(ValueError, match=message):
        Family(**fields | wrong)


A, B = Family("a", "layers", "a test"), Family("b", "output_layers", "a test", 1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "my observable"}, "a name is"),
        ({"families": ()}, "one or more"),
        ({"families": (A, A)}, "all different"),
        ({"needs": ("weight",)}, "known are weights"),
        ({"needs": ("ntk",)}, "output_layers"),
        ({"choosable": True, "families": (B, replace(B, prefix="c", slots=2))}, "one number of slots"),
        ({"choosable": True}, "one number of slots"),
    ],
)
def test_observables_that_contradict_themselves(wrong: dict[str, Any], message: str) -> None:
    fields: dict[str, Any] = {"name": "mine", "families": (A,)}
    Observable(**fields)
    with pytest.raises(ValueError, match=message):
        Observable(**fields | wrong)


def test_a_name_is_taken_once(registries: None) -> None:
    registry: Registry[Observable] = Registry("observable")
    registry.add(OBSERVABLES["kernel"])
    with pytest.raises(ValueError, match="observable 'kernel' is there already"):
        registry.add(OBSERVABLES["kernel"])


def test_needs_of_the_observables() -> None:
    """The names of observables that the law sampler gives, that need training, and whose samples can be chosen."""
    without_weights = [
        "kernel",
        "kernel_controls",
        "log_w",
        "posterior",
        "weight_controls",
        "moments",
        "outputs",
        "ntk",
        "prior_ntk",
        "response",
        "angles",
    ]
    assert [name for name, o in OBSERVABLES.items() if not o.needs_weights] == without_weights
    trained = ["loss", "moved", "change", "taylor", "linear", "movement_controls"]
    assert [name for name, o in OBSERVABLES.items() if "training" in o.needs] == trained
    assert {name: o.slots for name, o in OBSERVABLES.items() if o.choosable} == {"ntk": 2, "dntk": 3, "ddntk": 4}
    assert set().union(*(o.needs for o in OBSERVABLES.values())) == set(NEEDS)


TAYLOR = ["observables.record=[outputs,taylor]", "network.depth=3", "dynamics=gradient_descent"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["observables.record=[kernel,loss,moved]"], "loss, moved needs training"),
        (["dynamics=none"], "taylor needs training"),
        (["dynamics=momentum", "dynamics.loss=cross_entropy"], "momentum or nesterov or sgd with loss=mse"),
        (["dynamics.loss=cross_entropy"], "gradient_descent or gradient_flow or momentum"),
        (["dynamics.tolerance=0.1"], r"dynamics\.tolerance=0\.1: 0 where taylor"),
        (["observables.output_layers=[2]"], r"observables\.output_layers=\[2\]: taylor needs the last layer"),
        (["dynamics=none", "observables.record=[outputs,linear]"], "linear needs training"),
        (["dynamics.tolerance=0.1", "observables.record=[outputs,linear]"], "0 where linear is recorded"),
    ],
)
def test_what_cannot_be_recorded_is_refused(overrides: list[str], message: str) -> None:
    first = TAYLOR if "record" not in overrides[0] else []
    read_one(TAYLOR)
    with pytest.raises(SettingsError, match=message):
        read_one([*first, *overrides])
