"""Observables: the families of columns that each writes, and what it needs. No torch here.

An index tuple names outputs first, then samples, as the subscripts of docs/theory.md do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations_with_replacement, product
from math import comb

OF_TRAINING = ("loss", "moved", "taylor")  # observables that need dynamics other than none
# What the sampler without weights can give; everything else needs the weights.
WITHOUT_WEIGHTS = ("kernel", "moments", "outputs", "ntk")
SAMPLES_OF = {"ntk": 2, "dntk": 3, "ddntk": 4}  # samples in a component of each


@dataclass(frozen=True)
class Observable:
    """where: at the chosen `layers`, at the `output_layers`, or at the `end`. tuples(D, outputs) -> index tuples;
    count(D, outputs): how many, which may be more than could be listed."""

    prefix: str
    where: str
    meaning: str
    tuples: Callable[[int, int], list[tuple[int, ...]]]
    count: Callable[[int, int], int]


def pairs(D: int) -> list[tuple[int, ...]]:
    return list(combinations_with_replacement(range(D), 2))


def _ntk(D: int, outputs: int) -> list[tuple[int, ...]]:
    """(i, j, a, b), one of each pair H_ij;ab = H_ji;ba."""
    rows = list(product(range(outputs), range(D)))
    return [(i, j, a, b) for (i, a), (j, b) in combinations_with_replacement(rows, 2)]


# The same for the differentials, which are symmetric under permutations of (output, sample) of their directions;
# column names list outputs first, then samples, as the subscripts of docs/theory.md do.
def _joined(*rows: tuple[int, int]) -> tuple[int, ...]:
    return (*(i for i, _ in rows), *(a for _, a in rows))


def _outputs(D: int, outputs: int) -> list[tuple[int, int]]:
    return [(i, a) for i in range(outputs) for a in range(D)]


def _dntk(D: int, outputs: int) -> list[tuple[int, ...]]:
    rows = _outputs(D, outputs)
    return [_joined(p, q, k) for p in rows for q, k in combinations_with_replacement(rows, 2)]


def _ddntk1(D: int, outputs: int) -> list[tuple[int, ...]]:
    rows = _outputs(D, outputs)
    return [_joined(p, *others) for p in rows for others in combinations_with_replacement(rows, 3)]


def _ddntk2(D: int, outputs: int) -> list[tuple[int, ...]]:
    """Symmetric under exchange of the two Hessians with their directions."""
    rows = _outputs(D, outputs)
    return [_joined(p, q, k, m) for (p, k), (q, m) in combinations_with_replacement(list(product(rows, rows)), 2)]


def _moments(order: int) -> Callable[[int, int], int]:
    return lambda D, outputs: comb(D + order - 1, order)


def _moment(order: int) -> Callable[[int, int], list[tuple[int, ...]]]:
    return lambda D, outputs: list(combinations_with_replacement(range(D), order))


# An observable of the config may write several families of columns.
OBSERVABLES: dict[str, tuple[Observable, ...]] = {
    "kernel": (
        Observable(
            "g",
            "layers",
            "conditional kernel g_ab = C_b + (C_W/n) sum_j s_ja s_jb, PDLT ch. 4",
            lambda D, o: pairs(D),
            lambda D, o: comb(D + 1, 2),
        ),
    ),
    "moments": tuple(
        Observable(
            f"m{k}",
            "layers",
            f"mean over the layer's neurons of the product of {k} preactivations",
            _moment(k),
            _moments(k),
        )
        for k in (1, 2, 3, 4)
    ),
    "outputs": (
        Observable(
            "z",
            "output_layers",
            "output z_i;a of neuron i at sample a",
            lambda D, o: list(product(range(o), range(D))),
            lambda D, o: o * D,
        ),
    ),
    "ntk": (
        Observable(
            "H",
            "output_layers",
            "neural tangent kernel H_ij;ab of the outputs, PDLT ch. 8",
            _ntk,
            lambda D, o: comb(o * D + 1, 2),
        ),
    ),
    "dntk": (
        Observable(
            "dH",
            "output_layers",
            "dH_i0i1i2;abc: z_i0;a differentiated along lambda grad z_i1;b and z_i2;c",
            _dntk,
            lambda D, o: o * D * comb(o * D + 1, 2),
        ),
    ),
    "ddntk": (
        Observable(
            "ddI",
            "output_layers",
            "ddI_i0i1i2i3;abcd: z_i0;a differentiated along three gradients",
            _ddntk1,
            lambda D, o: o * D * comb(o * D + 2, 3),
        ),
        Observable(
            "ddII",
            "output_layers",
            "ddII_i1i2i3i4;abcd: Hessians of z_i1;a and z_i2;b on two gradients",
            _ddntk2,
            lambda D, o: comb((o * D) ** 2 + 1, 2),
        ),
    ),
    "fourth": (
        Observable(
            "d4",
            "output_layers",
            "fourth derivative of z_i;a along lambda grad z_i;a",
            lambda D, o: list(product(range(o), range(D))),
            lambda D, o: o * D,
        ),
    ),
    "loss": (Observable("loss", "end", "the loss of the train samples, summed", lambda D, o: [()], lambda D, o: 1),),
    "moved": (
        Observable(
            "moved",
            "layers",
            "distance that a layer's weights have moved, over their size at step 0",
            lambda D, o: [()],
            lambda D, o: 1,
        ),
    ),
    "taylor": (
        Observable(
            "taylor",
            "end",
            "output z_i;a of the Taylor model of order k, trained beside the network (columns k, i, a)",
            lambda D, o: list(product((1, 2, 3), range(o), range(D))),
            lambda D, o: 3 * o * D,
        ),
    ),
}
