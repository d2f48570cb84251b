"""Observables: the families of columns that each writes, what it needs and what it costs. No torch here.

A new observable is a record that is added to OBSERVABLES and, for the prefix of each family, a function that is
decorated with `simulate.observables.measure.whole` or `.components`. Settings, layouts, manifests and readers follow.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from simulate.observables.family import Family
from simulate.observables.refusals import Refusal, averages, no_taylor_model
from simulate.registry import Registry

# What an observable may need, and what a snapshot (`simulate.observables.snapshot`) gives for it. All but the NTK need
# networks with weights, which the law sampler does not draw.
NEEDS = {
    "weights": "`parameters`, `dntk()`, `fourth()`, `sums()`, `signs()` and `ntk_signs()`",
    "training": "networks that are trained",
    "ntk": "`ntk()`",
    "ddntk": "`ddntk()`",
    "start": "`start()`, the parameters before training",
    "models": "`taylor()`",
}


@dataclass(frozen=True)
class Observable:
    """An option of `observables.record`. ValueError for a record that contradicts itself.

    families: the columns, each computed by a function that `simulate.observables.measure` registers by their prefix.
    needs: names among NEEDS. refusals(settings): yields (setting, its value, what would be right) for whatever else
    forbids to record it with these `simulate.settings.Settings`.
    choosable: whether `observables.tuples` may choose the samples of its components. residual: whether it is right for
    networks with skips, too; any_network: and for quadratic models, which are no layers of neurons.

    The cost is what it adds, to leading order; block sizes and forecasts follow from it.
    pulled(D, outputs): vectors or tangents pulled back through the network for each recorded step and output layer;
    pulled_once: before training. tangents: the order in the n_L D directions of the largest tensor of tangents that is
    held; tangents_of: the most outputs that have directions. copies: tensors as large as the parameters that are held.
    matrices: those of the widest hidden layer, neurons by neurons, that are held while the NTK of all hidden neurons is
    carried up through the weights.
    """

    name: str
    families: tuple[Family, ...]
    needs: tuple[str, ...] = ()
    refusals: Callable[[Any], Iterable[Refusal]] = lambda settings: ()
    choosable: bool = False
    any_network: bool = False
    residual: bool = False
    pulled: Callable[[int, int], int] = lambda D, outputs: 0
    pulled_once: Callable[[int, int], int] = lambda D, outputs: 0
    tangents: int = 0
    tangents_of: int | None = None
    copies: int = 0
    matrices: int = 0

    def __post_init__(self) -> None:
        prefixes = [family.prefix for family in self.families]
        elsewhere = [family.prefix for family in self.families if family.where != "output_layers"]
        unknown = sorted(set(self.needs) - set(NEEDS))
        for wrong, right in (
            (not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", self.name), "a name is a letter, then letters, digits and _"),
            (not prefixes or len(set(prefixes)) < len(prefixes), f"prefixes {prefixes}: one or more, all different"),
            (unknown, f"needs {unknown}: known are {', '.join(NEEDS)}"),
            ("ntk" in self.needs and elsewhere, f"column {elsewhere} needs the NTK: where='output_layers'"),
            (
                self.choosable and len({family.slots for family in self.families} - {0}) != 1,
                "choosable: families of one number of slots",
            ),
        ):
            if wrong:
                raise ValueError(f"observable {self.name!r}: {right}")

    @property
    def needs_weights(self) -> bool:
        return bool(set(self.needs) - {"ntk"})

    @property
    def slots(self) -> int:
        """Number of samples in a component of a choosable observable."""
        return self.families[0].slots


OBSERVABLES: Registry[Observable] = Registry("observable")
PAIR = ((0,), (1,))
HESSIANS = ((0, 2), (1, 3))  # of ddII, each with its direction; in z_a z_b H_cd, too, a belongs to c and b to d

OBSERVABLES.add(
    Observable(
        "kernel",
        (
            Family(
                "g", "layers", "conditional kernel g_ab = C_b + (C_W/n) sum_j s_ja s_jb, PDLT ch. 4", 2, symmetry=PAIR
            ),
        ),
        residual=True,
    )
)
OBSERVABLES.add(
    Observable(
        "moments",
        tuple(
            Family(
                f"m{k}",
                "layers",
                f"mean over the layer's neurons of the product of {k} preactivations",
                k,
                symmetry=tuple((slot,) for slot in range(k)),
            )
            for k in (1, 2, 3, 4)
        ),
        residual=True,
    )
)
OBSERVABLES.add(
    Observable(
        "outputs",
        (Family("z", "output_layers", "output z_i;a of neuron i at sample a", 1, "output"),),
        any_network=True,
    )
)
OBSERVABLES.add(
    Observable(
        "ntk",
        (Family("H", "output_layers", "neural tangent kernel H_ij;ab of the outputs, PDLT ch. 8", 2, "output", PAIR),),
        needs=("ntk",),
        choosable=True,
        any_network=True,
        pulled=lambda D, outputs: outputs * D,
    )
)


OBSERVABLES.add(
    Observable(
        "ntk_sums",
        tuple(
            Family(prefix, "layers", f"mean of {what} at sample a over the layer's weights, given the layers below", 1)
            for prefix, what in (
                ("h", "H_ii"),
                ("y", "z_i z_j H_ij"),
                ("b", "H_ij^2"),
                ("w", "z_i H_ij H_jk z_k"),
            )
        ),
        needs=("weights",),
        refusals=averages("ntk_sums"),
        matrices=3,
    )
)
OBSERVABLES.add(
    Observable(
        "dntk",
        (
            Family(
                "dH",
                "output_layers",
                "dH_i0i1i2;abc: z_i0;a differentiated along lambda grad z_i1;b and z_i2;c",
                3,
                "output",
                symmetry=((1,), (2,)),
            ),
        ),
        needs=("weights",),
        choosable=True,
        pulled=lambda D, outputs: 4 * (outputs * D) ** 2,
        tangents=2,
    )
)
OBSERVABLES.add(
    Observable(
        "ddntk",
        (
            Family("ddI", "output_layers", "ddI_i0i1i2i3;abcd: z_i0;a differentiated along three gradients", 4,
                   "output", symmetry=((1,), (2,), (3,))),
            Family("ddII", "output_layers", "ddII_i1i2i3i4;abcd: Hessians of z_i1;a and z_i2;b on two gradients", 4,
                   "output", symmetry=HESSIANS),
        ),
        needs=("ddntk",),
        choosable=True,
        pulled=lambda D, outputs: 4 * (outputs * D) ** 3,
        tangents=3,
    )
)  # fmt: skip


OBSERVABLES.add(
    Observable(
        "ntk_signs",
        (
            Family("F", "end", "mean of z_i;a z_j;b H_ij;cd over last weights, given the rest", 4, symmetry=HESSIANS),
            Family("Hs", "end", "H_ii;ab with signs for last weights, averaged over outputs", 2, symmetry=PAIR),
        ),
        needs=("weights",),
        refusals=averages("ntk_signs", depth=2),
        pulled=lambda D, outputs: D * (D + outputs),
    )
)
OBSERVABLES.add(
    Observable(
        "ddntk_signs",
        tuple(
            Family(prefix, "end", f"mean of {what} of two outputs over signs for last weights", 4, symmetry=symmetry)
            for prefix, what, symmetry in (
                ("P", "dH_011;abc z_0;d", ((1,), (2,))),
                ("Q", "dH_001;abc z_1;d", ()),
                ("R", "ddI_0011;abcd", ((2,), (3,))),
                ("S", "ddII_0011;abcd", HESSIANS),
                ("T", "ddII_0101;abcd", HESSIANS),
                ("U", "ddII_0110;abcd", HESSIANS),
            )
        ),
        needs=("weights",),
        refusals=averages("ddntk_signs", outputs=2, depth=2),
        pulled=lambda D, outputs: 2 * D + 9 * D**2 + 2 * D**3,
        tangents=2,
        tangents_of=2,
    )
)
OBSERVABLES.add(
    Observable(
        "fourth",
        (Family("d4", "output_layers", "fourth derivative of z_i;a along lambda grad z_i;a", 1, "output"),),
        needs=("weights",),
        pulled=lambda D, outputs: 8 * outputs * D,
    )
)
OBSERVABLES.add(
    Observable(
        "loss",
        (Family("loss", "end", "the loss of the train samples, summed"),),
        needs=("training",),
        any_network=True,
    )
)
OBSERVABLES.add(
    Observable(
        "moved",
        (Family("moved", "layers", "distance that a layer's weights have moved, over their size at step 0"),),
        needs=("training", "start"),
        any_network=True,
        copies=1,
    )
)


OBSERVABLES.add(
    Observable(
        "taylor",
        (
            Family(
                "taylor",
                "end",
                "output z_i;a of the Taylor model of order k, trained beside the network (columns k, i, a)",
                1,
                "output",
                labels=(1, 2, 3),
            ),
        ),
        needs=("training", "models"),
        refusals=no_taylor_model,
        pulled_once=lambda D, outputs: 4 * (outputs * D) ** 3,
        tangents=3,
    )
)


def recorded(names: tuple[str, ...]) -> list[Observable]:
    """The observables of these names."""
    return [OBSERVABLES[name] for name in names]
