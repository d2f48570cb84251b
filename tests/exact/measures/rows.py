"""Points made of arrays instead of simulated networks, whose moments are known exactly.

The M networks are the runs of a full factorial design of signs, so that every moment of the signs is exact.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import hadamard

from analysis import claims
from analysis.measures.measured import Measured
from analysis.points import Point
from simulate.api import read_one
from simulate.observables.columns import Family
from simulate.settings import plain
from simulate.store.files import StoreError
from simulate.store.layout import Layout, layout_of

Array = NDArray[np.float64]
NETWORKS = 128
FACTORS = 7  # 2^7 networks


@dataclass(frozen=True)
class Rows:
    """A `DataSet` without files. values: (M, steps, layers, columns) for each family, NaN where nothing was filled
    in."""

    settings: dict[str, Any]
    layout: Layout
    given: tuple[Array, Array | None, int]
    values: dict[str, Array]
    states: NDArray[np.int8]  # (M, steps)
    path: Path = field(default_factory=lambda: Path("rows"))

    @property
    def networks(self) -> int:
        return len(self.states)

    @property
    def addresses(self) -> tuple[tuple[int, int], ...]:
        first = self.settings["ensemble"]["first"]
        return ((first, first + self.networks),)

    @property
    def point(self) -> Point:
        return Point(self)  # type: ignore[arg-type]

    def samples(self) -> tuple[Array, Array | None, int]:
        return self.given

    def status(self) -> NDArray[np.int8]:
        return self.states

    def records(self, prefix: str) -> bool:
        return prefix in self.values

    def family(self, prefix: str) -> Family:
        for family in self.layout.families():
            if family.prefix == prefix:
                return family
        raise StoreError(f"{prefix!r} was not recorded")

    def read(self, prefix: str) -> Array:
        return self.values[prefix]

    def fill(self, prefix: str, layer: int, value: Callable[..., ArrayLike], step: int = 0) -> "Rows":
        """Set each column of a family at a layer and step to value(*index): a number, or (M,). Returns self."""
        place = self.layout.steps.index(step), self.layout.layers.index(layer)
        for column, index in enumerate(self.layout.indices(self.family(prefix))):
            self.values[prefix][:, *place, column] = value(*index)
        return self

    def scaled(self, prefix: str, factor: float = 1.01) -> "Rows":
        """For negative controls: the same rows with one family multiplied by a factor."""
        return replace(self, values=self.values | {prefix: factor * self.values[prefix]})

    def exchanged(self, prefix: str, index: Sequence[int], other: Sequence[int]) -> "Rows":
        """For negative controls of the order of indices: the same rows with two columns exchanged."""
        columns = self.layout.indices(self.family(prefix))
        order = list(range(len(columns)))
        first, second = columns.index(tuple(index)), columns.index(tuple(other))
        order[first], order[second] = second, first
        return replace(self, values=self.values | {prefix: self.values[prefix][..., order]})

    def with_diverged(self) -> "Rows":
        """The same networks and five that have diverged: their rows are huge, and NaN at the last step."""
        broken = {prefix: np.full((5, *value.shape[1:]), 1e30) for prefix, value in self.values.items()}
        for value in broken.values():
            value[:, -1] = np.nan
        states = np.zeros((5, self.states.shape[1]), dtype=np.int8)
        states[:, -1] = 1
        values = {prefix: np.concatenate([broken[prefix], value]) for prefix, value in self.values.items()}
        return replace(self, values=values, states=np.concatenate([states, self.states]))


def rows(*overrides: str, x: ArrayLike, y: ArrayLike | None = None, networks: int = NETWORKS) -> Rows:
    """Empty rows at these settings. x (D, n_0); y (N, n_L) are targets, of the first N samples alone."""
    settings = read_one([*overrides, f"ensemble.networks={networks}"])
    x = np.asarray(x, dtype=np.float64)
    layout, targets = layout_of(settings, len(x)), None
    train = len(x)
    if y is not None:
        train = len(np.asarray(y))
        targets = np.full((len(x), np.shape(y)[1]), np.nan)  # NaN for test samples, since no measure may read them
        targets[:train] = y
    shape = networks, len(layout.steps), len(layout.layers)
    values = {f.prefix: np.full((*shape, len(layout.indices(f))), np.nan) for f in layout.families()}
    return Rows(plain(settings), layout, (x, targets, train), values, np.zeros(shape[:2], dtype=np.int8))


def inputs_of(gram: ArrayLike) -> Array:
    """x (D, D) with x.x'/n_0 = gram, so that K of layer 1 is C_b + C_W gram."""
    gram = np.asarray(gram, dtype=np.float64)
    return np.asarray(np.linalg.cholesky(gram) * np.sqrt(len(gram)))


def flow_left(x: ArrayLike) -> Array:
    """The share of an error that a step of the flow leaves, for x = eta lambda: the stability polynomial of the solver
    (Carpenter and Kennedy, NASA TM 109112, 1994), which is exp(-x) up to the fourth order."""
    return np.polynomial.Polynomial([1, -1, 1 / 2, -1 / 6, 1 / 24, -1 / 200])(np.asarray(x, dtype=float))


def signs(count: int, networks: int = NETWORKS) -> Array:
    """(count, M) signs of a full factorial design: products of different signs have mean zero."""
    assert 2**count <= networks
    return np.asarray(hadamard(networks)[[2**k for k in range(count)]], dtype=np.float64)


def drawn(mean: ArrayLike, covariance: ArrayLike, networks: int = NETWORKS) -> Array:
    """(k, M) numbers of exactly this mean and this unbiased covariance."""
    values, vectors = np.linalg.eigh(np.asarray(covariance, dtype=np.float64))
    assert values[0] > -1e-12, "not a covariance"
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    orthogonal = hadamard(networks)[1 : len(values) + 1] * np.sqrt((networks - 1) / networks)
    return np.asarray(np.asarray(mean, dtype=np.float64)[:, None] + root @ orthogonal)


@dataclass(frozen=True)
class Wanted:
    """What a measure has to yield at one layer and step: by component, estimate, theory and natural size."""

    tensor: str
    layer: int
    step: int
    components: dict[str, tuple[float, float, float]]
    theory_next: Array | None = None


def expect(measured: Sequence[Measured], *wanted: Wanted, rtol: float = 1e-9, atol: float = 1e-12) -> None:
    """Assert that what was measured is exactly what is wanted, and that each tensor has a symbol."""
    assert [(m.tensor, m.layer, m.step) for m in measured] == [(w.tensor, w.layer, w.step) for w in wanted]
    known = {tensor for measure in claims.tests().values() for tensor in measure.symbols}
    for m, w in zip(measured, wanted, strict=True):
        assert m.tensor in known
        assert m.samples == list(w.components)
        estimate, theory, scale = (np.array(column) for column in zip(*w.components.values(), strict=True))
        close = {"rtol": rtol, "atol": atol}
        np.testing.assert_allclose(m.estimate.value, estimate, err_msg="estimate", **close)
        np.testing.assert_allclose(m.theory, theory, err_msg="theory", **close)
        np.testing.assert_allclose(m.scale, scale, err_msg="scale", **close)
        assert m.estimate.replicates.shape[1] == len(m.samples)
        # The mean of the replicates is the estimate, but for the small bias of a logarithm.
        np.testing.assert_allclose(m.estimate.replicates.mean(axis=0), estimate, rtol=0, atol=0.02 * np.max(scale))
        assert (m.theory_next is None) == (w.theory_next is None)
        if w.theory_next is not None:
            np.testing.assert_allclose(m.theory_next, w.theory_next, err_msg="theory_next", **close)


def holds(check: Callable[[Rows], None], right: Rows, *wrong: Rows) -> None:
    """Assert that the check passes for these rows, with and without diverged networks, and fails for the wrong ones."""
    check(right)
    check(right.with_diverged())
    assert wrong, "a test of a measure needs a negative control"
    for mutant in wrong:
        with pytest.raises(AssertionError):
            check(mutant)
