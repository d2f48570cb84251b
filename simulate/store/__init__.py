"""Rows in, data set out: the data format, its files, and its reader."""

from simulate.store.files import StoreError
from simulate.store.sets import DataSet, find, open_data_set

__all__ = ["DataSet", "StoreError", "find", "open_data_set"]
