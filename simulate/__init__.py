"""Draw, train and measure ensembles of finite-width multilayer perceptrons.

    data = simulate.run("network.width=64", "network.depth=4", "output=outputs/a")     # one data set
    sets = simulate.sweep("experiment=preactivations", "ensemble.networks=10000")      # one per width

    frame = simulate.table("outputs")                                                  # all data sets there

Each data set is a folder of parquet files; `data.table()` is a pandas frame with one row for each network, step and
layer, and `data.to_xarray()` has named dimensions.
"""

from simulate import system  # noqa: F401 first, since it refuses systems that cannot run the rest
from simulate.api import run, sweep
from simulate.inference import particle_filter
from simulate.settings.reader import SettingsError
from simulate.store.files import StoreError
from simulate.store.frames import table
from simulate.store.sets import DataSet, find, open_data_set

__all__ = [
    "DataSet",
    "SettingsError",
    "StoreError",
    "find",
    "open_data_set",
    "particle_filter",
    "run",
    "sweep",
    "table",
]
