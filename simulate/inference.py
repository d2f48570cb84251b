"""Inference that draws what it needs: particle filters, of which no rows are stored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.arguments import overrides_of
from simulate.api import read_all, with_arrays
from simulate.settings.reader import SettingsError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from simulate.running.filtering import Filtered


def particle_filter(
    *overrides: str | Mapping[str, Any],
    noise: float,
    targets: ArrayLike | None = None,
    particles: int = 1000,
    groups: int = 4,
    inputs: Any = None,
    test: Any = None,
    config_dir: str | Path | None = None,
) -> Filtered:
    """The posterior of networks given the targets of the train samples, by particle filters: docs/theory.md (16.20). It
    is exact at any width as `analysis.posterior` is, and carries more train samples (docs/bayes.md). Nothing is stored.

    Networks, activation and inputs are those that `run` would draw with these arguments, and `ensemble.networks` of
    them are the particles of all filters. noise: the variance of a target about its output. targets: (N, n_L) or (N,)
    of the first N samples; None takes those of the train samples. particles: of one filter; 16 filters or more are
    needed for errors. groups: the stages in which the neurons of a layer are drawn.

    Raises what `run` raises for a wrong setting, and ValueError where the particles cannot carry an estimate.
    """
    from simulate.running.filtering import filtered  # late: it imports torch

    given = with_arrays(overrides_of(overrides, "simulate.particle_filter"), inputs, test)
    settings, _ = read_all(given, True, config_dir)
    if len(settings) != 1:
        raise SettingsError("", None, f"these overrides are a sweep of {len(settings)} points: give one")
    return filtered(settings[0], (inputs, test), targets, noise, particles, groups)
