"""Rows of networks that stay on a device while functions of numpy compute with them.

What is written for arrays (M, ...) of numpy runs on `Rows` as it stands: numpy hands its operators and functions on to
the class of an argument (`__array_ufunc__`, `__array_function__`), which has them done by torch. No number is told to
the host, and no shape depends on numbers. What lies beyond the tables below raises TypeError or AttributeError.
M counts networks.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from types import EllipsisType
from typing import Any

import numpy as np
import torch
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import DTypeLike, NDArray
from torch import Tensor


def _of_two(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """A function of two tensors that takes a number for one of them, which is written on the device."""

    def of_both(a: Any, b: Any) -> Tensor:
        return function(
            a if isinstance(a, Tensor) else torch.full_like(b, a), b if isinstance(b, Tensor) else torch.full_like(a, b)
        )

    return of_both


UFUNCS: Mapping[Any, Callable[..., Tensor]] = {
    np.add: operator.add, np.subtract: operator.sub, np.multiply: operator.mul, np.divide: operator.truediv,
    np.power: operator.pow, np.negative: operator.neg, np.absolute: torch.abs, np.square: torch.square,
    np.sqrt: torch.sqrt, np.matmul: operator.matmul, np.exp: torch.exp, np.log: torch.log, np.isfinite: torch.isfinite,
    np.less: operator.lt, np.greater: operator.gt, np.maximum: _of_two(torch.maximum),
    np.arctan2: _of_two(torch.arctan2),
}  # fmt: skip
FUNCTIONS: Mapping[Any, Callable[..., Tensor]] = {
    np.concatenate: torch.cat, np.stack: torch.stack, np.einsum: torch.einsum, np.where: torch.where,
    np.sum: torch.sum, np.mean: torch.mean, np.tensordot: torch.tensordot, np.zeros_like: torch.zeros_like,
    np.ones_like: torch.ones_like,
}  # fmt: skip

OPTIONS = {"axis": "dim", "axes": "dims"}  # of functions of numpy, as torch has them


class Rows(NDArrayOperatorsMixin):
    """A tensor (M, ...) that numpy takes for an array."""

    __iter__ = None  # no loop over networks

    def __init__(self, tensor: Tensor):
        self.tensor = tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)

    @property
    def ndim(self) -> int:
        return self.tensor.ndim

    def __len__(self) -> int:
        return len(self.tensor)

    def __bool__(self) -> bool:
        raise TypeError("numbers stay on the device")

    def __array__(self, *_: Any, **__: Any) -> NDArray[Any]:
        raise TypeError("numbers stay on the device")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        function = UFUNCS.get(ufunc) or getattr(torch.special, ufunc.__name__, None)  # which has names of scipy.special
        if method != "__call__" or options or function is None:
            return NotImplemented
        return Rows(function(*map(self._there, inputs)))

    def __array_function__(self, function: Any, types: Any, inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
        if function not in FUNCTIONS or not options.keys() <= OPTIONS.keys():
            return NotImplemented
        given = {OPTIONS[name]: value for name, value in options.items()}
        return Rows(FUNCTIONS[function](*map(self._there, inputs), **given))

    def _there(self, value: Any) -> Any:
        """The same on the device: arrays as tensors, of which the host does not wait to be copied."""
        if isinstance(value, Rows):
            return value.tensor
        if isinstance(value, np.ndarray):
            return torch.as_tensor(value).to(self.tensor.device, non_blocking=True)
        if isinstance(value, list | tuple):
            return [self._there(each) for each in value]
        return value.item() if isinstance(value, np.generic) else value

    def __getitem__(self, key: Any) -> "Rows":
        every, *chosen = key if isinstance(key, tuple) else (key,)
        if not (isinstance(every, EllipsisType) or every == slice(None)):
            raise TypeError("no network is chosen on the device")
        return Rows(self.tensor[(every, *(self._index(of_axis) for of_axis in chosen))])

    def _index(self, of_axis: Any) -> Any:
        """An index of an axis: lists are whole numbers in an array, whose shape the host knows."""
        return self._there(np.asarray(of_axis, dtype=np.int64) if isinstance(of_axis, list) else of_axis)

    def astype(self, dtype: DTypeLike) -> "Rows":
        return Rows(self.tensor.to(torch.from_numpy(np.empty(0, dtype)).dtype))

    def sum(self, axis: int) -> "Rows":
        return Rows(self.tensor.sum(dim=axis))

    def mean(self, axis: int, keepdims: bool = False) -> "Rows":
        return Rows(self.tensor.mean(dim=axis, keepdim=keepdims))

    def max(self, axis: int | tuple[int, ...], keepdims: bool = False) -> "Rows":
        return Rows(self.tensor.amax(dim=axis, keepdim=keepdims))

    def all(self, axis: int) -> "Rows":
        return Rows(self.tensor.all(dim=axis))

    def reshape(self, *shape: int) -> "Rows":
        return Rows(self.tensor.reshape(*shape))

    def swapaxes(self, one: int, other: int) -> "Rows":
        return Rows(self.tensor.swapaxes(one, other))

    def in_cells(self, finite: "Rows", first: int, size: int) -> "Rows":
        """The sums (c, k) of rows (M, k) over the finite networks of each cell, an aligned range of `size` addresses.
        finite: (M,) bool; first: the address of the first network."""
        low, high = first % size, -(first + len(self)) % size
        kept = torch.where(finite.tensor[:, None], self.tensor.double(), 0.0)
        whole = torch.nn.functional.pad(kept, (0, 0, low, high)) if low or high else kept
        return Rows(whole.unflatten(0, (-1, size)).sum(dim=1))

    def numpy(self) -> NDArray[Any]:
        """The numbers on the host, which waits for them."""
        return self.tensor.cpu().numpy()
