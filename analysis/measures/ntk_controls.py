"""Controls of the NTK's tensors at one sample, from the rows of `ntk_sums` and `kernel`: docs/theory.md (17.16).

A control has the mean zero at every width if networks are drawn rightly, so that subtracting it changes no mean and
removes most of the noise. If they are drawn wrongly it hides the fault, which `ntk_one_step` is there to see. Rounding
of single precision, some 1e-7 of h, is n 1e-7 Theta in Theta1.
"""

from collections.abc import Iterator

import numpy as np

from analysis import estimators, theory
from analysis.estimators import Array
from analysis.points import Point
from analysis.theory.ntk_chain import Response, Step, Table, orbit, responses

SUMS = ("h", "y", "b", "w")
FAMILIES = ("g", *SUMS)
G, H, Y, B = range(4)  # places in a state
MARGIN = 1.001  # of the table beyond the range of the data


def all_layers_below(point: Point) -> Iterator[str]:
    """Needs of measures with controls: the means of a layer follow from the layer below it."""
    if not all(point.data.records(family) for family in FAMILIES):
        return  # the families themselves are asked for
    recorded = point.layers("h")
    if recorded != list(range(1, len(recorded) + 1)):
        yield f"observables.layers={recorded}: all layers from 1 to the last one that is measured are needed"


class Chain:
    """The states of one sample in every recorded layer, and how they deviate from their means given the layer below.

    M counts networks. A state (5, M) is g, h, y, b and w of docs/theory.md (17.9). low, high: the least and the largest
    g of the sample in all layers and networks.
    """

    def __init__(self, point: Point, sample: int, low: float, high: float):
        settings, dynamics = point.settings["initialization"], point.settings["dynamics"]
        column = point.columns("g").index((sample, sample))
        self.point, self.sample = point, sample
        self.states: list[Array] = []
        for layer in point.layers("h"):
            sums = [point.read(family, layer)[:, point.columns(family).index((sample,))] for family in SUMS]
            self.states.append(np.stack([point.read("g", layer)[:, column], *sums]))
        self.steps = [
            Step(settings["C_b"], settings["C_W"], dynamics["lambda_b"][layer], dynamics["lambda_W"][layer], n)
            for layer, n in enumerate(point.widths, start=1)
        ]
        s = theory.activation(point.activation)
        self.table = Table(s, low / MARGIN, high * MARGIN)
        flow = point.flow(("K", "Theta"), sample)
        assert flow.Theta is not None
        first = np.array([flow.K[0, 0, 0], flow.Theta[0, 0, 0], 0.0, 0.0])
        self.orbit = orbit(self.table.neuron, self.steps[: len(self.states) - 1], first)
        self.known: dict[int, list[Response]] = {}  # the responses of each layer at the top that was asked for
        self.means, self.covariances = [], []
        for step, state in zip(self.steps, self.states[:-1], strict=False):
            at = self.table(state[G])
            self.means.append(step.means(at, state))
            self.covariances.append(step.covariance(at, state) / step.n)

    def mean(self, layer: int) -> Array:
        """E (g, h, y, b) given the layer below, (4, M)."""
        return self.means[layer - 2]

    def increment(self, layer: int) -> Array:
        """(g, h, y, b) less their means given the layer below, (4, M): each has the mean zero at every width."""
        return self.states[layer - 1][:4] - self.means[layer - 2]

    def covariance(self, layer: int) -> Array:
        """The covariance of g and h given the layer below, (2, 2, M)."""
        return self.covariances[layer - 2]

    def _responses(self, top: int) -> Iterator[tuple[int, Response]]:
        """The layers from 2 to `top`, each with the response of layer `top` to it."""
        if top not in self.known:
            self.known[top] = responses(self.table.neuron, self.steps, self.orbit, top)
        return enumerate(self.known[top], start=2)

    def _coefficient(self, response: Response, layer: int, output: int) -> Array:
        """The coefficients (4, M) of the increments of a layer. They depend on the layer below alone, and so make no
        bias."""
        shift = self.mean(layer) - response.center[:, None]
        return response.gradient[output][:, None] + response.curvature[output] @ shift

    def _second(self, response: Response, layer: int, output: int) -> Array:
        """The part (M,) of a control that is of second order in the increments of g and h."""
        m = self.increment(layer)
        squares = m[:2, None] * m[None, :2] - self.covariance(layer)
        return np.asarray(np.einsum("ij,ijm->m", response.curvature[output, :2, :2], squares) / 2)

    def control(self, top: int, output: int) -> Array:
        """The control (M,) of g, h, y or b of layer `top`, to second order in the increments of g and h."""
        found = np.zeros(self.states[0].shape[1])
        for layer, response in self._responses(top):
            found += (self._coefficient(response, layer, output) * self.increment(layer)).sum(axis=0)
            found += self._second(response, layer, output)
        return found

    def linear(self, top: int) -> tuple[Array, Array]:
        """The controls (2, M) of g and h of layer `top` that are linear in the increments of g and h, and numbers
        (2, 2, M) whose mean is exactly the covariance of the two.

        Increments of different layers are orthogonal. The numbers are less what has the mean zero, too: their own
        answer to the increments, and the products of the linear controls with the rest of the control of other layers.
        """
        M = self.states[0].shape[1]
        controls, others, known = np.zeros((2, M)), np.zeros((2, M)), np.zeros((2, 2, M))
        for layer, response in self._responses(top):
            coefficients = np.stack([self._coefficient(response, layer, output) for output in (G, H)])
            m, P = self.increment(layer), coefficients[:, :2]
            known += np.einsum("ijm,jkm,lkm->ilm", P, self.covariance(layer), P)
            known -= np.einsum("ilk,km->ilm", response.spread, m)
            own = np.einsum("ijm,jm->im", P, m[:2])
            rest = np.einsum("ijm,jm->im", coefficients[:, 2:], m[2:])
            rest += np.stack([self._second(response, layer, output) for output in (G, H)])
            products = own[:, None] * others + controls[:, None] * rest  # of this layer with those below it
            known -= products + products.transpose(1, 0, 2)
            controls += own
            others += rest
        return controls, known


def chains(point: Point) -> list[Chain]:
    """A chain for each sample."""
    columns = [point.columns("g").index((sample, sample)) for sample in range(point.D)]
    g = np.stack([point.read("g", layer)[:, columns] for layer in point.layers("h")])
    lows, highs = estimators.extremes(*np.moveaxis(g, 2, 0))
    return [Chain(point, sample, *ends) for sample, ends in enumerate(zip(lows, highs, strict=True))]
