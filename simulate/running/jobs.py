"""A data set to be made: everything resolved, nothing written yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from simulate import inputs
from simulate.numerics.rows import Rows
from simulate.settings import Settings
from simulate.store.cells import Summed
from simulate.store.head import Head
from simulate.store.layout import FORMAT, Layout
from simulate.store.manifest import digest
from simulate.store.samples import samples_digest


class Reduction(Protocol):
    """What makes the sums of a part of its rows, in whose place they are kept (`analysis.reduced.Reduction`). plan: the
    text that tells what each sum is; head: what the data set is to begin with, None where it has begun."""

    @property
    def plan(self) -> str: ...

    @property
    def head(self) -> Head | None: ...

    def by(self, plan: str) -> Reduction:
        """The same by the text that the data set has."""

    def __call__(self, first: int, values: Mapping[str, NDArray[Any]], status: NDArray[np.int8]) -> Summed:
        """The sums of networks first, ..., first + M - 1; arguments as those of `simulate.store.parts.write_part`."""

    def on_device(self, first: int, values: Mapping[str, Rows], finite: Rows) -> Summed:
        """The same of rows that are on a device, with finite (M, steps)."""


@dataclass(frozen=True)
class Job:
    """Settings, the samples they name, the rows they ask for, and the block size that follows."""

    settings: Settings
    samples: inputs.Samples
    layout: Layout
    block: int
    recorded: Mapping[str, Any] | None = None  # the identity in the manifest of the data set that the job continues
    command: Mapping[str, Any] | None = None  # that makes the data set: its text, and its overrides as a list
    reduction: Reduction | None = None  # with ensemble.keep=sums

    @property
    def path(self) -> Path:
        return Path(self.settings.output)

    @property
    def first(self) -> int:
        return self.settings.ensemble.first

    @property
    def last(self) -> int:
        return self.first + self.settings.ensemble.networks

    def law_in_words(self) -> str:
        """Whose parameters are drawn; not on which inputs, by which training or on which device, so that those can
        differ on the same networks."""
        s = self.settings
        sizes = s.network.sizes(self.samples.x.shape[1])
        e, meta = s.ensemble, s.network.meta
        bent = f" epsilon={meta.epsilon!r}" if meta else ""  # so that models of two epsilon are independent
        added = f" skip={s.network.skip!r}" if s.network.skip else ""
        added += f" branch={s.network.branch!r}" if s.network.branch != 1 else ""
        added += f" {s.initialization.weights}" if s.initialization.weights != "gaussian" else ""
        added += f" first={s.initialization.first}" if s.initialization.first != "gaussian" else ""
        return f"{e.sampler} {s.activation.spec} {'-'.join(map(str, sizes))} {e.dtype}{bent}{added}"

    def identity(self) -> Mapping[str, Any]:
        """The identity of the data set. A data set that is continued keeps the identity whose digest its parts
        carry."""
        if self.recorded is not None:
            return self.recorded
        out = self.settings.identity() | {"samples": samples_digest(self.samples.x, self.samples.y)}
        out["ensemble"]["block"] = self.block
        out["network"]["n_0"] = self.samples.x.shape[1]
        return out

    def digest(self) -> str:
        """The digest of the identity, which part files carry."""
        return digest(self.identity())

    def manifest(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "identity": self.identity(),
            "settings": asdict(self.settings),
            "layout": asdict(self.layout),
            "first": self.first,
            "networks": self.settings.ensemble.networks,
            "versions": {
                "nearly-gaussian": package_version(),
                "torch": torch.__version__,
                "numpy": np.__version__,
                "numba": numba.__version__,
            },
            "device": device_name(self.settings.ensemble.device),
            "commands": [self.command] if self.command else [],
            "columns": {
                name: {"unit": "dimensionless", "meaning": family.meaning}
                for family in self.layout.families()
                for name in self.layout.names(family)
            },
        }


def package_version() -> str:
    try:
        return version("nearly-gaussian")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "unknown"


def device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else f"cpu {torch.backends.cpu.get_cpu_capability()}"
