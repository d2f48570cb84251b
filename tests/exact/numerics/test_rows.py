"""Rows of networks on a device are to numpy what arrays are, as far as numbers need not come to the host."""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special

from simulate.numerics.rows import FUNCTIONS, UFUNCS, Rows

X, Y = np.random.default_rng(5).uniform(0.5, 2.0, (2, 12, 3))
ON_ROWS = {
    np.concatenate: lambda x, y: np.concatenate([x, y[:, [2, 0]]], axis=1),
    np.stack: lambda x, y: np.stack([x[:, 0], y[:, 1]], axis=1),
    np.einsum: lambda x, y: np.einsum("mi,mj,jk->mik", x, y, np.eye(3)),
    np.where: lambda x, y: np.where(np.array([True, False, True]), x, y),
    np.sum: lambda x, y: np.sum(np.stack([x, y]), axis=0),
    np.mean: lambda x, y: np.mean(np.stack([x, y]), axis=0),
    np.tensordot: lambda x, y: np.tensordot(x, y, axes=([1], [1])),
    np.zeros_like: lambda x, y: x + np.zeros_like(y),
    np.ones_like: lambda x, y: x + np.ones_like(y),
}


def of(function: Callable[..., Any]) -> tuple[np.ndarray, np.ndarray]:
    """What a function gives of arrays and of rows."""
    there = function(*(Rows(torch.from_numpy(x)) for x in (X, Y)))
    assert isinstance(there, Rows)
    return function(X, Y), there.numpy()


@pytest.mark.parametrize("ufunc", UFUNCS, ids=lambda ufunc: ufunc.__name__)
def test_ufuncs(ufunc: np.ufunc) -> None:
    """With rows, an array and a number."""
    given: list[Callable[..., Any]] = [lambda x, y: ufunc(x)]
    if ufunc is np.matmul:
        given = [lambda x, y: ufunc(x, np.eye(3)), lambda x, y: ufunc(x[:, None], y[..., None])]
    elif ufunc.nin == 2:
        given = [lambda x, y: ufunc(x, y), lambda x, y: ufunc(Y[0], x), lambda x, y: ufunc(np.float64(3.0), x)]
    for function in given:
        np.testing.assert_allclose(*of(function), rtol=1e-15)


def test_functions() -> None:
    assert {*ON_ROWS} == {*FUNCTIONS}
    for function in ON_ROWS.values():
        np.testing.assert_allclose(*of(function), rtol=1e-15)


def test_methods() -> None:
    """Columns are chosen by numbers, slices and lists, and means and sums are those of numpy."""
    for function in (
        lambda x, y: x[:, 1] + y[:, np.array([2])][..., 0],
        lambda x, y: x[:, 1:].mean(axis=1, keepdims=True) * y.sum(axis=1)[:, None],
        lambda x, y: (3 - x).reshape(len(x), -1, 3)[:, 0].astype(np.float32),
        lambda x, y: (1 / x).astype(np.float64),
        lambda x, y: (x.max(axis=1, keepdims=True) + y).swapaxes(0, 1),
        lambda x, y: special.erf(x) + special.gammaln(y),  # by their names in torch.special
    ):
        np.testing.assert_allclose(*of(function), rtol=1e-15)


@pytest.mark.parametrize(
    "needs_numbers",
    [bool, float, list, np.asarray, operator.attrgetter("T"), lambda x: x[0], lambda x: x[x.all(axis=1)],
     np.linalg.norm, np.add.reduce, lambda x: np.concatenate([x, x], out=X), lambda x: np.sqrt(x, where=True)],
)  # fmt: skip
def test_what_is_beyond(needs_numbers: Callable[[Any], Any]) -> None:
    with pytest.raises((TypeError, AttributeError)):
        needs_numbers(Rows(torch.from_numpy(X)))


@pytest.mark.parametrize(("first", "size"), [(0, 4), (5, 4), (3, 16), (7, 1)])
def test_sums_of_cells(first: int, size: int) -> None:
    """Those of the finite networks of each aligned range of addresses."""
    finite = np.arange(len(X)) % 5 != 2
    x = np.where(finite[:, None], X, np.nan)
    cells = np.arange(first, first + len(X)) // size
    expected = [X[finite & (cells == cell)].sum(axis=0) for cell in np.unique(cells)]
    there = Rows(torch.from_numpy(x)).in_cells(Rows(torch.from_numpy(finite)), first, size)
    np.testing.assert_allclose(there.numpy(), expected, rtol=1e-15)
