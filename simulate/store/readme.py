"""The README.md and the CITATION.cff of a data set, written from its manifest when it is begun.

They are for people: nothing reads them, they are no part of the data set's identity, and files of these names that are
there already are left as they are.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from simulate.observables.family import Family
from simulate.settings.reader import printable
from simulate.store import disk
from simulate.store.arrays import dimensions
from simulate.store.folders import HEAD, NETWORKS
from simulate.store.layout import KEYS, Layout
from simulate.store.locks import Writer
from simulate.store.summary import in_short

# As in pyproject.toml, which an installed package no longer has.
PROJECT, SUMMARY = (
    "nearly-gaussian",
    "Ensembles of finite-width networks held against the effective theory of deep learning",
)
AUTHOR, LICENSE = "The nearly-gaussian developers", "MIT"


READING = f"""In this folder:

```python
import pandas as pd
rows = pd.read_parquet("{NETWORKS}")

import polars as pl
rows = pl.read_parquet("{NETWORKS}")

import duckdb
rows = duckdb.sql("SELECT * FROM '{NETWORKS}/*.parquet'")

import simulate
data = simulate.open_data_set(".")
rows, tensors = data.table(), data.to_xarray()  # checksums are verified; tensors have named dimensions
```

```r
library(arrow)
rows <- dplyr::collect(open_dataset("{NETWORKS}"))
```
"""
NOT_KEPT = f"""
Rows of networks were not kept (`ensemble.keep=sums`). {NETWORKS}/ holds sums over cells of networks, from which the
tests of the claim are estimated, and {HEAD}/ the rows of the first networks, whose columns the table below tells.
"""
READING_SUMS = """`python -m analysis data=.` judges the claim. What else needs rows needs another data set: the same
command with `ensemble.keep=rows` and another output draws the same networks and keeps them.
"""


def describe(writer: Writer, manifest: Mapping[str, Any]) -> None:
    """Write those of the two files that are not there. StoreError where another process is the writer by now, OSError
    where the disk fails."""
    for name, text in {"README.md": readme, "CITATION.cff": citation}.items():
        if not disk.status(writer.path / name):
            _write(writer, name, text(manifest))


def _write(writer: Writer, name: str, text: str) -> None:
    writer.commit(name, lambda stream: stream.write(text.encode(errors="backslashreplace")))


def readme(manifest: Mapping[str, Any]) -> str:
    """The text of README.md. Whatever can change later, such as the number of networks, is left to dataset.json."""
    layout = Layout.from_plain(_plain(manifest["layout"]))
    settings = "\n".join(f"{name}: {value}" for name, value in in_short(_plain(manifest["settings"])).items())
    rows = [f"| `{name}` | 1 | all | {_cell(meaning)} |" for name, (_, meaning) in KEYS.items()]
    rows += [_row(layout, family) for family in layout.families()]
    commands = manifest.get("commands") or [{}]
    command = printable(commands[0].get("command", ""))
    keep = "" if layout.keeps_rows else NOT_KEPT
    reading = READING if layout.keeps_rows else READING_SUMS
    made = f"The command that began it:\n\n    {command}" if command else "The command was not recorded."
    return f"""# An ensemble of networks

{_version(manifest)} drew and measured these multilayer perceptrons of finite width, to be held against The Principles
of Deep Learning Theory (PDLT, arXiv:2106.10165). CITATION.cff says how to cite both.
{keep}
    {NETWORKS}/          the {layout.keep}, as parquet files, which together are one table
    samples.parquet    the samples: sample, train (whether it is trained on), inputs x_0, x_1, ..., targets y_0, ...
    dataset.json       all settings, the number of networks, the meaning of each column, versions, device
    commits/           who wrote each parquet file, when, on which device, and its SHA-256

## Settings

```
{settings}
```

## Columns

A row is one network at one step of training and one layer. Rows are sorted by network, step and layer.

- Steps: {_range(layout.steps)}. Layers: {_range(layout.layers)}.
- Indices count from 0: i, j, ... are outputs ({layout.outputs}), and a, b, ... are samples ({layout.samples}).
- Of components that are equal by symmetry one is recorded.
- A number is null at layers where its column is not recorded. NaN and infinity are results of the computation.
- All numbers are dimensionless.

| columns | number | layers | meaning |
| --- | --- | --- | --- |
{chr(10).join(rows)}

## Reading

{reading}
`python -m simulate.status . --verify` says how many networks there are, and whether all files are as they were written.

## How it was made

{made}

This file and CITATION.cff were written when the data set was begun. They are yours to edit: they are not rewritten.
"""


def citation(manifest: Mapping[str, Any]) -> str:
    """The text of CITATION.cff, in the Citation File Format 1.2.0."""
    version = manifest.get("versions", {}).get(PROJECT, "unknown")
    known = f"version: {json.dumps(version)}\n" if version != "unknown" else ""
    return f"""# Add yourself where you publish these data, for example as a reference of type data.
cff-version: 1.2.0
message: "Cite the program that made these data, and the theory that it holds them against."
type: software
title: {json.dumps(f"{PROJECT}: {SUMMARY}")}
{known}license: {LICENSE}
authors:
  - name: {json.dumps(AUTHOR)}
references:
  - type: book
    title: "The Principles of Deep Learning Theory"
    authors:
      - given-names: "Daniel A."
        family-names: "Roberts"
      - given-names: "Sho"
        family-names: "Yaida"
      - given-names: "Boris"
        family-names: "Hanin"
    year: 2022
    publisher:
      name: "Cambridge University Press"
    identifiers:
      - type: other
        value: "arXiv:2106.10165"
    url: "https://arxiv.org/abs/2106.10165"
"""


def _plain(value: Any) -> Any:
    """A manifest's entry as it will be read again, with lists for tuples."""
    return json.loads(json.dumps(value))


def _version(manifest: Mapping[str, Any]) -> str:
    return f"{PROJECT} {manifest.get('versions', {}).get(PROJECT, '')}".strip()


def _row(layout: Layout, family: Family) -> str:
    """The row of a family in the table of columns."""
    letters = [name.rpartition("_")[2] for name in dimensions(family)]
    layers = [layer for layer, defined in zip(layout.layers, layout.defined(family), strict=True) if defined]
    name, count = "_".join([family.prefix, *letters]), len(layout.indices(family))
    return f"| `{name}` | {count:,} | {_range(layers)} | {_cell(family.meaning)} |"


def _cell(text: str) -> str:
    return printable(text).replace("|", "\\|")


def _range(values: Sequence[int]) -> str:
    """Rising numbers in words: 1 to 8, or 1, 2, 5."""
    if len(values) > 2 and list(values) == list(range(values[0], values[-1] + 1)):
        return f"{values[0]} to {values[-1]}"
    return ", ".join(map(str, values))
