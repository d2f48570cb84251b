"""Arrays of numpy as columns of Arrow, without copies."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def column(values: NDArray[Any], absent: NDArray[np.bool_] | None = None) -> pa.Array:
    """The numbers or truth values (k,) as a column, null where `absent` (k,) is true; NaN stays a number.

    It equals pyarrow.array(values, mask=absent, from_pandas=False), which imports pandas and so takes a second at the
    start of each run.
    """
    values = np.ascontiguousarray(values)
    content = np.packbits(values, bitorder="little") if values.dtype == np.bool_ else values
    present = None if absent is None else pa.py_buffer(np.packbits(~absent, bitorder="little"))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [present, pa.py_buffer(content)])
