"""The posteriors that `python -m analysis data=DIR posterior.noise=V` asks for, as tables and files."""

import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.estimators import Array
from analysis.inference import Inferred, posterior
from analysis.outputs import file_for
from simulate.settings import printable
from simulate.store.sets import DataSet

TABLE, WEIGHTS = "posterior.parquet", "posterior_weights.parquet"
SHOWN = 40  # rows of the table on the terminal


@dataclass(frozen=True)
class Asked:
    """The settings `posterior.*` of configs/analysis.yaml. targets: None takes those of the data set. C_W: None is that
    of the data set."""

    noise: float
    targets: Array | None = None
    weights: bool = False
    C_W: Sequence[float | None] = (None,)


def asked(given: Any) -> Asked | None:
    """The settings, or None where no posterior is wanted. ValueError names a setting that is wrong."""
    if not isinstance(given, Mapping):
        raise ValueError(f"posterior={given!r}: settings of a posterior, as posterior.noise=0.1")
    noise, targets, weights, C_W = (given.get(name) for name in ("noise", "targets", "weights", "C_W"))
    if unknown := set(given) - {"noise", "targets", "weights", "C_W"}:
        raise ValueError(f"posterior.{min(unknown)}: no such setting; there are noise, targets, weights and C_W")
    if C_W is not None and not (isinstance(C_W, list) and C_W):
        raise ValueError(f"posterior.C_W={C_W!r}: a list of numbers, as [1.6,2.0]")
    if not isinstance(weights, bool):
        raise ValueError(f"posterior.weights={weights!r}: true or false")
    if noise is None:
        if targets is not None or weights or C_W:
            raise ValueError("posterior.noise=null: the variance of a target about its output, as posterior.noise=0.1")
        return None
    if isinstance(noise, bool) or not isinstance(noise, int | float) or not (math.isfinite(noise) and noise >= 0):
        raise ValueError(f"posterior.noise={noise!r}: a variance, zero or larger")
    return Asked(float(noise), None if targets is None else _read(targets), weights, C_W or (None,))


def _read(path: Any) -> Array:
    """Targets (N, n_L) from a .npy or .csv file."""
    right = "a .npy or .csv file of numbers, a row for each of the first N samples and a column for each output"
    file = Path(str(path))
    if file.suffix not in (".npy", ".csv"):
        raise ValueError(f"posterior.targets={path}: {right}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # numpy only warns of an empty file and of imaginary parts
            if file.exists() and not file.is_file():
                raise ValueError("not a plain file")  # a pipe would be waited for
            if file.suffix == ".npy":
                return np.asarray(np.load(file, allow_pickle=False), dtype=np.float64)
            return np.loadtxt(file, delimiter=",", ndmin=2, encoding="utf-8-sig")  # perhaps with a byte order mark
    except (OSError, ValueError, TypeError, Warning) as error:
        raise ValueError(f"posterior.targets={path}: {right}; {error}") from None


def infer(sets: Sequence[DataSet], asked: Asked) -> tuple[dict[str, Inferred], dict[str, str]]:
    """The posterior of each data set by name, with C_W where it was asked for, and why there is none of the others.
    ValueError where there is none at all."""
    found: dict[str, Inferred] = {}
    refused: dict[str, str] = {}
    for data, C_W in itertools.product(sets, asked.C_W):
        own, at = ((of if C_W is None else f"{of} C_W={C_W}") for of in (data.path.name, str(data.path)))
        name = own if own not in found else at
        try:
            found[name] = posterior(data, asked.targets, asked.noise, C_W)
        except ValueError as error:
            refused[name] = str(error)
    if not found:
        raise ValueError("; ".join(f"{name}: no posterior: {reason}" for name, reason in refused.items()))
    return found, refused


def write(found: Mapping[str, Inferred], folder: Path, weights: bool) -> list[Path]:
    """posterior.parquet, the tables of all data sets, and if wanted posterior_weights.parquet, the log evidence of each
    network. Returns their paths."""
    frames = {TABLE: [inferred.table.assign(data=name) for name, inferred in found.items()]}
    if weights:
        frames[WEIGHTS] = [inferred.log_weights().assign(data=name) for name, inferred in found.items()]
    for name, parts in frames.items():
        pd.concat(parts, ignore_index=True).to_parquet(file_for(folder / name), index=False)
    return [folder / name for name in frames]


def print_posteriors(found: Mapping[str, Inferred], refused: Mapping[str, str]) -> None:
    """One table a data set, with the numbers that theory has for it."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False, width=None if Console().is_terminal else 140)
    for name, inferred in found.items():
        title = (
            f"{name}: {len(inferred.targets)} train samples, noise {inferred.noise:g}; {len(inferred.networks):,} "
            f"networks weigh as much as {inferred.effective:,.0f}"
        )
        table = Table(title=escape(printable(title)), title_justify="left")
        columns = ("quantity", "layer", "samples", "estimate", "error", "prior", "infinite_width", "theory")
        for column in columns:
            table.add_column(column, justify="left" if column in ("quantity", "samples") else "right")
        rows = inferred.table
        for row in rows.head(SHOWN).to_dict("records"):
            numbers = ["-" if math.isnan(row[c]) else f"{row[c]:.5g}" for c in columns[3:]]
            table.add_row(escape(row["quantity"]), str(row["layer"]), escape(row["samples"]), *numbers)
        console.print(table)
        if len(rows) > SHOWN:
            console.print(f"and {len(rows) - SHOWN} more in {TABLE}")
    for name, reason in refused.items():
        console.print(escape(printable(f"{name}: no posterior: {reason}")), soft_wrap=True)
