"""What samplers take of the theory: kernels of infinite width, docs/theory.md (16.6), and tilts, docs/theory.md
(16.21)."""

from collections.abc import Callable
from functools import lru_cache, partial

import torch
from torch import Tensor

from simulate.networks import law
from simulate.networks.activations import Function
from simulate.networks.tilt import Tilt
from simulate.running.jobs import Job

Rows = tuple[tuple[float, ...], ...]


class Controls:
    """The kernels K of infinite width, docs/theory.md (1.1), and the layer below the present one."""

    below: law.Drawn | None = None

    def __init__(self, job: Job, s: Function):
        from analysis.theory.recursion import flow  # late: most runs need no theory

        self.settings, self.s, start = job.settings, s, job.settings.initialization
        spec, depth = job.settings.activation.spec, job.settings.network.depth
        K = flow(spec, depth, start.C_b, start.C_W, job.samples.x, tensors=("K",)).K
        self.K = torch.tensor(K, dtype=torch.float64, device=job.settings.ensemble.device)

    def of(self, layer: int, drawn: law.Drawn) -> Callable[[], Tensor]:
        """A function that gives the controls of a layer, (M, D, D); zero in layer 1, which does not fluctuate."""
        if self.below is None:
            return lambda: torch.zeros_like(drawn.g)
        return partial(law.controls, self.settings, self.K, layer, self.below, self.s)


def tilt_of(job: Job) -> Tilt | None:
    """The tilt of hidden layers that `ensemble.tilt` asks for, docs/theory.md (16.21)."""
    s, tilt, N = job.settings, job.settings.ensemble.tilt, job.samples.train
    if tilt is None:
        return None
    assert job.samples.y is not None
    network = s.activation.spec, s.network.depth, s.initialization.C_b, s.initialization.C_W
    rows = (tuple(map(tuple, array[:N].tolist())) for array in (job.samples.x, job.samples.y))
    return Tilt(_Phi(*network, *rows, tilt.noise, s.network.widths).to(s.ensemble.device), tilt.control)


@lru_cache(maxsize=4)
def _Phi(activation: str, depth: int, C_b: float, C_W: float, x: Rows, y: Rows, noise: float,
         widths: tuple[int, ...]) -> Tensor:  # fmt: skip
    """(L - 1, N, N) float64, which all blocks of a data set share, docs/theory.md (16.21)."""
    from analysis.theory.saddle import tilts  # late: most runs need no theory

    return torch.tensor(tilts(activation, depth, C_b, C_W, x, y, noise, widths))
