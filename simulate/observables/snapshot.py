"""A snapshot is one layer of a block of networks at one step; the functions of `simulate.observables.measure` read it.

Each of the two samplers (`simulate.running.samplers`, `simulate.running.without_weights`) has a class of snapshots,
which computes a tensor when it is first asked for. Networks without weights have the attributes of `Snapshot`, and
networks with weights those of `Weighted`. An observable declares what it uses beyond `preactivations`, `activations`
and `kernel` (`simulate.observables.record.NEEDS`).

M counts networks, D samples (the train samples first), n_l neurons of layer l, n_L outputs, and P = n_L D pairs of an
output and a sample, (i, a), in the order i D + a. Tensors have the precision and the device of the ensemble where
float64 is not stated. Functions must not change a tensor in place, and must not wait for a device (as `.item()`,
`.cpu()` or a condition on a number do).
"""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Protocol, TypeVar

from torch import Tensor

from simulate.networks.dense import Parameters
from simulate.settings import Settings

S = TypeVar("S")
T = TypeVar("T")
Row = tuple[int, tuple[Tensor, ...]]  # the place of a network in its block, and what stands there instead


def once(method: Callable[[S], T]) -> Callable[[S], T]:
    """A method without arguments whose value is kept: several columns may ask for it."""

    @wraps(method)
    def kept(snapshot: S) -> T:
        values = vars(snapshot).setdefault("_values", {})
        if method.__name__ not in values:
            values[method.__name__] = method(snapshot)
        value: T = values[method.__name__]
        return value

    return kept


def declared(value: T | None, need: str) -> T:
    """RuntimeError where nothing that is recorded has declared that it needs the value."""
    if value is None:
        raise RuntimeError(f"an observable that uses this declares it: needs=({need!r},)")
    return value


class Snapshot(Protocol):
    """The attributes that both samplers provide."""

    @property
    def settings(self) -> Settings:
        """All settings of the data set: `settings.network.widths`, `settings.dynamics.eta`, ..."""

    @property
    def layer(self) -> int:
        """l, from 1 to L"""

    @property
    def step(self) -> int:
        """Steps of training done"""

    @property
    def outputs(self) -> int:
        """n_L; in a hidden layer its first n_L neurons stand for the outputs"""

    @property
    def x(self) -> Tensor:
        """Inputs, (D, n_0)"""

    @property
    def y(self) -> Tensor | None:
        """Targets, (D, n_L), where the inputs have them"""

    @property
    def train(self) -> int:
        """The number of train samples"""

    def preactivations(self) -> Tensor:
        """z(l), (M, D, n_l)"""

    def activations(self) -> Tensor:
        """s(z(l)), (M, D, n_l), of the last layer too"""

    def kernel(self) -> Tensor:
        """g(l), the covariance of the layer's neurons given the layer below, (M, D, D) float64
        (docs/theory.md (1.11))"""

    def log_ratio(self) -> Tensor | float:
        """Log prior over proposal of the layers below, (M,) float64; zero where they are drawn from the prior
        (docs/theory.md (16.21))"""

    def filters(self) -> Iterable[Row]:
        """What is recorded in the place of some networks with posterior (docs/theory.md (16.20))"""

    def ntk(self) -> Tensor:
        """H_ij;ab of the layer's first n_L neurons, (M, n_L, D, n_L, D) float64 (docs/theory.md (2.1)); an observable
        that uses it needs "ntk" """

    def response(self) -> Tensor:
        """The response of z(l) to a change of each input at right angles to it, (M, D, n_l) (docs/theory.md (12.5)); an
        observable that uses it needs "response" """


class Weighted(Snapshot, Protocol):
    """The further attributes of networks with weights. An observable that uses one needs "weights", or the need that is
    stated there."""

    @property
    def parameters(self) -> Parameters:
        """W(l) of all layers at `W[l - 1]`, (M, n_l, n_{l-1}), and b(l) at `b[l - 1]`, (M, n_l), at this step"""

    def start(self) -> Parameters:
        """The same at step 0; needs "start" """

    def sums(self) -> Tensor:
        """Means of H_ii, z_i z_j H_ij, H_ij^2 and z_i H_ij H_jk z_k over this layer's weights, given the layers below,
        (4, M, D) float64 (docs/theory.md (17.9)), and of H_ij H_jk H_ki where "ntk_loops" is recorded; for layers up to
        the last of `observables.layers`"""

    def jacobian(self) -> Tensor:
        """tr JJ^T and (tr JJ^T)^2 / tr (JJ^T)^2 of J = dz(l)/dz(1), (2, M, D) float64 (docs/theory.md (12.5)); needs
        "jacobian" """

    def dntk(self) -> Tensor:
        """dH of the layer's first n_L neurons, (M, P, P, P) float64 (docs/theory.md (3.1))"""

    def ddntk(self) -> tuple[Tensor, Tensor]:
        """ddI and ddII, each (M, P, P, P, P) float64 (docs/theory.md (3.2), (3.3)); needs "ddntk" """

    def ntk_signs(self) -> tuple[Tensor, Tensor]:
        """The mean of z_i;a z_j;b H_ij;cd over the last layer's weights, (M, D, D, D, D) float64, and H_ii;ab with
        signs for these weights, averaged over outputs, (M, D, D) float64 (docs/theory.md (7.19)); of layer L alone"""

    def signs(self) -> Tensor:
        """The products whose means are P to U over n, with signs for the last layer's weights, (6, M, D, D, D, D)
        float64 (docs/theory.md (7.17)); of the last layer alone"""

    def fourth(self) -> Tensor:
        """The fourth derivative of each output along its own gradient, (M, P) float64"""

    def along_gradient(self) -> Tensor:
        """H of each output at its own sample and four derivatives of it along the output's gradient, (M, 5, P) float64
        (docs/theory.md (17.20))"""

    def taylor(self) -> Tensor:
        """Outputs of the Taylor models of order 1, 2, 3, (M, 3, P) float64 (docs/theory.md (5.5)); needs "models" """

    def linear(self) -> Tensor:
        """Outputs of the linear model, (M, P) (docs/theory.md (5.25)); needs "linear" """

    def movement(self) -> tuple[Tensor, Tensor]:
        """-2 dH s + dd s^2 with s = (z - y)/H of the first output at the first sample before training, and the mean of
        this over untrained networks, (M,) float64 each (docs/theory.md (5.9)); needs "companions" """
