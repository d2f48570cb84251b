"""The functions that compute the columns of each family from a snapshot, one number a network and column.

A function that is decorated with `whole` returns the whole tensor, of which the recorded components are picked. One
that is decorated with `components` is given the recorded components and computes these alone.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import methodcaller
from typing import Any

import torch
from torch import Tensor

from simulate.networks import activations
from simulate.networks.dense import forward
from simulate.networks.posterior import log_evidence, processes
from simulate.networks.responses import squared_sines
from simulate.numerics.gram import gram
from simulate.observables.columns import Observable
from simulate.observables.family import Family, Index
from simulate.observables.snapshot import Snapshot, Weighted, once
from simulate.registry import Registry
from simulate.settings.reader import SettingsError
from simulate.store.layout import Layout
from simulate.training.losses import VALUE_AND_SLOPE

Function = Callable[..., Tensor]


@dataclass(frozen=True)
class Measure:
    """name: the prefix of a family. chooses: whether the function is given the index tuples."""

    name: str
    function: Function
    chooses: bool


MEASURES: Registry[Measure] = Registry("column")


def whole(prefix: str) -> Callable[[Function], Function]:
    """Register a function of a snapshot that returns the whole tensor of the family with this prefix.

    The shape is M, then the labels, if the family has some, then for each slot the D samples, or the P outputs (i, a)
    in the order i D + a. Axes may be split where the order stays, as (M, n_L, D) for (M, P). ValueError where the
    prefix is taken.
    """

    def register(function: Function) -> Function:
        MEASURES.add(Measure(prefix, function, chooses=False))
        return function

    return register


def components(prefix: str) -> Callable[[Function], Function]:
    """Register a function of (snapshot, indices) that returns the components (M, C) at the C index tuples, in order.

    ValueError where the prefix is taken.
    """

    def register(function: Function) -> Function:
        MEASURES.add(Measure(prefix, function, chooses=True))
        return function

    return register


def check(observables: Iterable[Observable]) -> None:
    """SettingsError where a column has no function, or where two of the observables share a column."""
    owners: dict[str, str] = {}
    for observable in observables:
        for family in observable.families:
            if family.prefix not in MEASURES:
                right = f"its column {family.prefix!r} has no function: decorate one with @whole or @components"
                raise SettingsError("observables.record", observable.name, right)
            if family.prefix in owners:
                right = f"its column {family.prefix!r} is one of {owners[family.prefix]}, too: rename it"
                raise SettingsError("observables.record", observable.name, right)
            owners[family.prefix] = observable.name


def gather(layout: Layout, family: Family, device: torch.device) -> Callable[[Any], Tensor]:
    """A function of a snapshot that returns the C recorded components of a family, (M, C).

    It raises RuntimeError where the registered function returns another shape.
    """
    measure, indices = MEASURES[family.prefix], layout.indices(family)
    if measure.chooses:
        return lambda snapshot: _of_width(family, len(indices), measure.function(snapshot, indices))
    size = family.size(layout.samples, layout.outputs)
    positions = family.positions(indices, layout.samples, layout.outputs)
    if positions == list(range(size)):
        return lambda snapshot: _of_width(family, size, measure.function(snapshot))
    places = torch.tensor(positions, device=device)
    return lambda snapshot: _of_width(family, size, measure.function(snapshot)).index_select(1, places)


def _of_width(family: Family, width: int, tensor: Tensor) -> Tensor:
    """(M, ...) -> (M, width)"""
    if tensor.dim() == 0 or tensor[:1].numel() != width:
        raise RuntimeError(f"column {family.prefix!r}: its function gives {tuple(tensor.shape)}, not (M, {width})")
    return tensor.reshape(len(tensor), width)


@whole("g")
def kernel(snapshot: Snapshot) -> Tensor:
    return snapshot.kernel()


@whole("c")
def kernel_controls(snapshot: Any) -> Tensor:
    controls: Tensor = snapshot.controls()
    return controls


@whole("logw")
def log_weight(snapshot: Snapshot) -> Tensor:
    """log w given the kernel of layer L, (M,) float64 (docs/theory.md (16.1))"""
    condition = snapshot.settings.ensemble.condition
    assert snapshot.y is not None
    assert condition is not None
    return log_evidence(snapshot.kernel(), snapshot.y[: snapshot.train], condition.noise)


@once
def _posterior(snapshot: Snapshot) -> tuple[Tensor, ...]:
    """log w, means and variances of outputs by noise, (M, noises, ...) float64 (docs/theory.md (16.1), (16.2))"""
    assert snapshot.y is not None
    g, y, ratio = snapshot.kernel(), snapshot.y[: snapshot.train], snapshot.log_ratio()
    by_noise = [processes(g, y, noise, ratio) for noise in snapshot.settings.observables.noises]
    columns = tuple(torch.stack(column, dim=1) for column in zip(*by_noise, strict=True))
    for place, row in snapshot.filters():
        for column, value in zip(columns, row, strict=True):
            column[place] = value
    return columns


def entry(of: Callable[[Any], Any], place: int) -> Function:
    return lambda snapshot: of(snapshot)[place]


for place, prefix in enumerate(("lw", "mu", "var")):
    whole(prefix)(entry(_posterior, place))


@whole("x")
def linear_weight(snapshot: Any) -> Tensor:
    """(M, noises)"""
    return snapshot.linear_weights()[:, :, 0]


@whole("xm")
def linear_means(snapshot: Any) -> Tensor:
    """(M, noises, n_L D)"""
    return snapshot.linear_weights()[:, :, 1:]


def moments(snapshot: Snapshot, indices: Sequence[Index]) -> Tensor:
    """Neuron moments (1/n) sum_i z_i;a z_i;b ... of the layer, accumulated in float64, (M, C).

    Products of distinct neurons follow from these in one network (docs/theory.md (7.1)):
    sum_{i != j} z_ia z_ib z_jc z_jd = n^2 m2_ab m2_cd - n m4_abcd (`analysis.estimators`).
    """
    z = snapshot.preactivations().double()
    means = []
    for first, *others in indices:
        product = z[:, first]
        for sample in others:
            product = product * z[:, sample]
        means.append(product.mean(dim=-1))
    return torch.stack(means, dim=1)


for prefix in ("m1", "m2", "m3", "m4"):
    components(prefix)(moments)


@whole("z")
def outputs(snapshot: Snapshot) -> Tensor:
    """z_i;a of the first n_L neurons, (M, n_L, D)"""
    return snapshot.preactivations()[..., : snapshot.outputs].transpose(1, 2)


@whole("H")
def ntk(snapshot: Snapshot) -> Tensor:
    return snapshot.ntk()


@whole("H0")
def prior_ntk(snapshot: Any) -> Tensor:
    H: Tensor = snapshot.prior_ntk()
    return H


@whole("response")
def response_alignment(snapshot: Snapshot) -> Tensor:
    """sin^2 of the angle between each z_a and its own response, (M, D) float64 (docs/theory.md (12.5))"""
    sines = squared_sines(snapshot.preactivations(), snapshot.response())
    return sines.diagonal(dim1=1, dim2=2)


@whole("angle")
def angle(snapshot: Snapshot) -> Tensor:
    """sin^2 of the angle between each z_a and z_b, (M, D, D) float64 (docs/theory.md (12.5))"""
    z = snapshot.preactivations()
    return squared_sines(z, z)


@whole("trace")
def trace_of_jacobian(snapshot: Weighted) -> Tensor:
    return snapshot.jacobian()[0]


@whole("rank")
def rank_of_jacobian(snapshot: Weighted) -> Tensor:
    return snapshot.jacobian()[1]


@whole("h")
def mean_of_equal_outputs(snapshot: Weighted) -> Tensor:
    return snapshot.sums()[0]


@whole("y")
def mean_with_two_outputs(snapshot: Weighted) -> Tensor:
    return snapshot.sums()[1]


@whole("b")
def mean_square_of_distinct_outputs(snapshot: Weighted) -> Tensor:
    return snapshot.sums()[2]


@whole("w")
def mean_product_with_two_outputs(snapshot: Weighted) -> Tensor:
    return snapshot.sums()[3]


@whole("t3")
def mean_of_three_distinct_outputs(snapshot: Weighted) -> Tensor:
    return snapshot.sums()[4]


@whole("dH")
def dntk(snapshot: Weighted) -> Tensor:
    return snapshot.dntk()


for method, prefixes in (
    ("ddntk", ("ddI", "ddII")), ("ntk_signs", ("F", "Hs")), ("signs", "PQRSTU"), ("movement", ("dHs", "dHu")),
):  # fmt: skip
    for place, prefix in enumerate(prefixes):
        whole(prefix)(entry(methodcaller(method), place))


@whole("d4")
def fourth(snapshot: Weighted) -> Tensor:
    return snapshot.fourth()


@whole("DH")
def derivatives_of_ntk(snapshot: Weighted) -> Tensor:
    return snapshot.along_gradient()[:, 1:]


@whole("loss")
def loss(snapshot: Weighted) -> Tensor:
    """The loss of the train samples, (M,) float64"""
    assert snapshot.y is not None
    z, N = snapshot.preactivations(), snapshot.train
    return VALUE_AND_SLOPE[snapshot.settings.dynamics.loss](z[:, :N], snapshot.y[:N])[0]


@whole("moved")
def moved(snapshot: Weighted) -> Tensor:
    """|W(l) - W(l) at step 0| / |W(l) at step 0|, (M,) float64"""
    first, now = (parameters.W[snapshot.layer - 1].mT for parameters in (snapshot.start(), snapshot.parameters))
    distance, size = (gram(V.flatten(1)[:, None])[:, 0, 0] for V in (now - first, first))
    return distance.div(size).sqrt()


@whole("dz")
def dz(snapshot: Weighted) -> Tensor:
    """The mean over neurons of (z - z at step 0)^2, (M, D) float64 (docs/theory.md (15.3))"""
    s, _ = activations.functions(snapshot.settings.activation)
    at_start = forward(snapshot.start(), snapshot.x, s)[0][snapshot.layer - 1]
    return (snapshot.preactivations() - at_start).double().square().mean(dim=2)


@whole("taylor")
def taylor(snapshot: Weighted) -> Tensor:
    return snapshot.taylor()


@whole("linear")
def linear(snapshot: Weighted) -> Tensor:
    return snapshot.linear()
