"""What samplers take of the theory: kernels of infinite width and linear parts of weights, docs/theory.md (16.6), and
tilts, docs/theory.md (16.21)."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from simulate.networks import law
from simulate.networks.activations import Function
from simulate.networks.tilt import Tilt
from simulate.running.jobs import Job


class Controls:
    """The kernels K of infinite width, docs/theory.md (1.1), and the layer below the present one.

    linear: the linear parts of log w and of the means of outputs up to the present layer, (M, noises, 1 + n_L D)
    float64, docs/theory.md (16.6); None where they are not wanted.
    """

    below: law.Drawn | None = None
    linear: Tensor | None = None

    def __init__(self, job: Job, s: Function, linear: bool):
        from analysis.theory.recursion import flow  # late: most runs need no theory

        self.settings, self.s, start = job.settings, s, job.settings.initialization
        spec, depth = job.settings.activation.spec, job.settings.network.depth
        K = flow(spec, depth, start.C_b, start.C_W, job.samples.x, tensors=("K",)).K
        self.K = torch.tensor(K, dtype=torch.float64, device=job.settings.ensemble.device)
        self.forms = _forms_of(job) if linear else None

    def up(self, layer: int, drawn: law.Drawn) -> Callable[[], Tensor]:
        """Go up to a layer. The function that is returned gives its controls, (M, D, D); zero in layer 1, which does
        not fluctuate."""
        below, self.below = self.below, drawn
        if below is None:
            if self.forms is not None:
                self.linear = drawn.g.new_zeros(len(drawn.xi), *self.forms.shape[1:3])
            return lambda: torch.zeros_like(drawn.g)
        of_layer = partial(law.controls, self.settings, self.K, layer, below, self.s)
        if self.forms is not None:
            assert self.linear is not None
            self.linear = self.linear + torch.einsum("mab,kpab->mkp", of_layer(), self.forms[layer - 2])
        return of_layer


Theory = Callable[..., Any]


def _of_targets(theory: Theory, job: Job, samples: int, *more: float | tuple[int, ...]) -> Tensor:
    """What a function of the theory makes of a job's network, its first samples and the targets of its train samples,
    float64; all blocks of a data set share it."""
    s, (x, y, N) = job.settings, (job.samples.x, job.samples.y, job.samples.train)
    assert y is not None
    rows = (tuple(map(tuple, array.tolist())) for array in (x[:samples], y[:N]))
    network = s.activation.spec, s.network.depth, s.initialization.C_b, s.initialization.C_W
    return _computed(theory, *network, *rows, *more).to(s.ensemble.device)


@lru_cache(maxsize=16)  # a tilt, and the forms of each noise
def _computed(theory: Theory, *given: Any) -> Tensor:
    return torch.tensor(theory(*given))


def _forms_of(job: Job) -> Tensor:
    """X(l) of docs/theory.md (16.12) by noise, (L - 1, noises, 1 + n_L D, D, D)."""
    from analysis.theory.linear_weights import weight_forms  # late: most runs need no theory

    D, noises = len(job.samples.x), job.settings.observables.noises
    return torch.stack([_of_targets(weight_forms, job, D, noise) for noise in noises], dim=1)


def tilt_of(job: Job) -> Tilt | None:
    """The tilt of hidden layers that `ensemble.tilt` asks for, docs/theory.md (16.21)."""
    tilt = job.settings.ensemble.tilt
    if tilt is None:
        return None
    from analysis.theory.saddle import tilts  # late: most runs need no theory

    Phi = _of_targets(tilts, job, job.samples.train, tilt.noise, job.settings.network.widths)
    return Tilt(Phi, tilt.control)
