"""Tables in log g are the functions that they tabulate."""

import numpy as np
import pytest

from analysis.theory.log_table import ROWS, LogTable, tabulated
from tests.exact.measures.rows import Array


def functions(g: Array) -> Array:
    return np.stack([np.sqrt(g), np.exp(-g)], axis=1)


def converged(coefficients: Array) -> bool:
    return bool(np.all(np.abs(coefficients[-2:]) < 1e-14))


def table() -> LogTable:
    found = tabulated(functions, 0.1, 4.0, (7, 15, 31, 63), converged)
    assert found is not None
    return found


def test_a_table_is_its_functions() -> None:
    """For more kernels than are computed at a time. Negative control: kernels that are 1e-9 off."""
    g = np.geomspace(0.1, 4.0, ROWS + 7).clip(0.1, 4.0)
    np.testing.assert_allclose(table()(g), functions(g), rtol=1e-13)
    assert not np.allclose(table()(g), functions(g * (1 + 1e-9)), rtol=1e-13, atol=0)


def test_what_is_not_tabulated() -> None:
    assert len(table().coefficients) == 32
    assert tabulated(functions, 0.1, 4.0, (3, 7), converged) is None
    for g in (0.09, 4.1, np.nan):
        with pytest.raises(ValueError, match=r"the table runs from 0.1 to 4.0"):
            table()(np.array([1.0, g]))
