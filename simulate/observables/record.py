"""The record of an observable: its families of columns, what it needs and what it costs. No torch here."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from simulate.observables.family import Family
from simulate.observables.refusals import Refusal


def _no_refusal(settings: Any) -> Iterable[Refusal]:
    return ()


# What an observable may need, and what a snapshot (`simulate.observables.snapshot`) gives for it. All but
# WITHOUT_WEIGHTS need networks with weights, which the law sampler does not draw.
NEEDS = {
    "weights": "`parameters`, `dntk()`, `fourth()`, `along_gradient()`, `sums()`, `signs()` and `ntk_signs()`",
    "training": "networks that are trained",
    "ntk": "`ntk()`",
    "prior": "`prior_ntk()`, of networks without weights alone",
    "controls": "`controls()`, of networks without weights alone",
    "linear_weights": "`linear_weights()`, of networks without weights alone",
    "posterior": "targets, with the variances `settings.observables.noises`",
    "response": "`response()`",
    "jacobian": "`jacobian()`",
    "ddntk": "`ddntk()`",
    "start": "`start()`, the parameters before training",
    "models": "`taylor()`",
    "linear": "`linear()`",
    "companions": "`movement()`, with untrained networks beside each",
}
WITHOUT_WEIGHTS = {"ntk", "prior", "controls", "linear_weights", "posterior", "response"}


@dataclass(frozen=True)
class Observable:
    """An option of `observables.record`. ValueError for a record that contradicts itself.

    families: the columns, each computed by a function that `simulate.observables.measure` registers by their prefix.
    needs: names among NEEDS. refusals(settings): yields (setting, its value, what would be right) for whatever else
    forbids to record it with these `simulate.settings.Settings`.
    choosable: whether `observables.tuples` may choose the samples of its components. residual: whether it is right for
    networks with skips, too; any_network: and for quadratic models, which are no layers of neurons. of_kernels: whether
    it takes no neuron of its layer, so that those of layer L need not be drawn for it.

    The cost is what it adds, to leading order; block sizes and forecasts follow from it.
    pulled(D, outputs): vectors or tangents pulled back through the network for each recorded step and output layer;
    pulled_once: before training. tangents: the order in the n_L D directions of the largest tensor of tangents that is
    held; tangents_of: the most outputs that have directions. copies: tensors as large as the parameters that are held.
    matrices: those of the widest hidden layer, neurons by neurons, that are held while the NTK of all hidden neurons,
    or their Jacobian, is carried up through the weights; squares: products of two of them in each hidden layer.
    """

    name: str
    families: tuple[Family, ...]
    needs: tuple[str, ...] = ()
    refusals: Callable[[Any], Iterable[Refusal]] = _no_refusal
    choosable: bool = False
    any_network: bool = False
    residual: bool = False
    of_kernels: bool = False
    pulled: Callable[[int, int], int] = lambda D, outputs: 0
    pulled_once: Callable[[int, int], int] = lambda D, outputs: 0
    tangents: int = 0
    tangents_of: int | None = None
    copies: int = 0
    matrices: int = 0
    squares: int = 0

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

    def of_noises(self, noises: int) -> "Observable":
        """The same with the columns of so many variances of targets."""
        if not any(family.by_noise for family in self.families):
            return self
        labels = tuple(range(noises))
        families = tuple(replace(f, labels=labels) if f.by_noise else f for f in self.families)
        return replace(self, families=families)

    @property
    def needs_weights(self) -> bool:
        return bool(set(self.needs) - WITHOUT_WEIGHTS)

    @property
    def slots(self) -> int:
        """Number of samples in a component of a choosable observable."""
        return self.families[0].slots
