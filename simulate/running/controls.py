"""Controls of kernels, docs/theory.md (16.6): the normals of networks, put at the kernels of infinite width."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from simulate.networks import law
from simulate.networks.activations import Function
from simulate.running.jobs import Job


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
