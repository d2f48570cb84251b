"""Taylor models of networks by the path of their training: docs/theory.md (5.24) and (5.25).

A network knows its training through what the algorithm sums up, and through its derivatives at the start. This holds
for every algorithm whose step is linear in past gradients. All numbers are float64.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from analysis.stages import stages
from simulate.settings.training import Dynamics

ORDERS = (1, 2, 3)
Weights = Callable[[int], Tensor]  # of a step: what each train output's error counts there, (M, N)


@dataclass(frozen=True)
class Path:
    """a_j (M, N), b_jk (M, N, N), c_jkl and d_jkl (M, N, N, N) of docs/theory.md (5.23), of N train outputs."""

    a: Tensor
    b: Tensor
    c: Tensor
    d: Tensor

    def plus(self, other: "Path", factor: float) -> "Path":
        """This path and factor times the other."""
        pairs = ((getattr(self, field.name), getattr(other, field.name)) for field in fields(Path))
        return Path(*(x + factor * y for x, y in pairs))


def increments(path: Path, e: Tensor) -> Path:
    """What one gradient with these errors (M, N) adds: G of docs/theory.md (5.24)."""
    a, b = path.a, path.b
    once = e[:, :, None] * a[:, None, :]
    return Path(e, once, once[..., None] * a[:, None, None, :] / 2, e[:, :, None, None] * b[:, None])


@dataclass(frozen=True)
class Expansion:
    """A Taylor model of order 1, 2 or 3: outputs z(0) (M, P), and the derivatives that multiply the products of a path
    in docs/theory.md (5.25), (M, P, products)."""

    order: int
    z: Tensor
    derivatives: Tensor

    def of(self, rows: Tensor) -> "Expansion":
        """The model of these outputs alone."""
        return Expansion(self.order, self.z[:, rows], self.derivatives[:, rows])

    def outputs(self, path: Path) -> Tensor:
        """The outputs (M, P) at the end of the path, docs/theory.md (5.25)."""
        return self.z + (self.derivatives @ _products(path, self.order)[..., None]).squeeze(-1)


def _products(path: Path, order: int) -> Tensor:
    """The products of a path that a model of this order knows, (M, products)."""
    a, b = path.a, path.b
    found = [a]
    if order > 1:
        square = a[:, :, None] * a[:, None, :]
        found += [b, square / 2]
    if order > 2:
        found += [path.c, square[..., None] * a[:, None, None, :] / 6, path.d, a[:, :, None, None] * b[:, None]]
    return torch.cat([product.flatten(1) for product in found], dim=1)


def linear(z: Tensor, H: Tensor, train: Tensor) -> Expansion:
    """The expansion of order 1, docs/theory.md (5.25), from z (M, P) and H (M, P, P) at the start. train: the N train
    outputs among the P."""
    return Expansion(1, z, H[:, :, train])


def expansions(z: Tensor, H: Tensor, differentials: tuple[Tensor, Tensor, Tensor], train: Tensor) -> list[Expansion]:
    """The expansions of order 1, 2 and 3 from z (M, P), H (M, P, P) and (dH, ddI, ddII) at the start.

    train: the N train outputs among the P.
    """
    dH, ddI, ddII = differentials
    t = train
    first = [linear(z, H, train).derivatives]
    second = [dH[:, t][..., t].transpose(1, 2), dH[:, :, t][..., t]]  # dH_jik and dH_ijk
    third = [
        ddI[:, t][:, :, :, t][..., t].permute(0, 2, 1, 3, 4),  # ddI_jikl
        ddI[:, :, t][:, :, :, t][..., t],  # ddI_ijkl
        ddII[:, t][:, :, t][..., t].permute(0, 3, 1, 2, 4),  # ddII_jkil
        ddII[:, :, t][:, :, :, t][..., t].permute(0, 1, 3, 2, 4),  # ddII_ikjl as [i, j, k, l]
    ]
    known = [first, first + second, first + second + third]
    return [
        Expansion(order, z, torch.cat([tensor.flatten(2) for tensor in tensors], dim=2))
        for order, tensors in zip(ORDERS, known, strict=True)
    ]


def trajectory(
    models: list[Expansion], targets: Tensor, train: Tensor, dynamics: Dynamics, steps: tuple[int, ...],
    weights: Weights | None = None,
) -> Iterator[Tensor]:  # fmt: skip
    """Outputs of the models at each of the steps, (M, models, P), each trained with errors of its own on targets (N,)
    by the stages of the algorithm: docs/theory.md (5.24)."""
    M, N = len(models[0].z), len(train)
    zeros = [torch.zeros(M, *[N] * power, dtype=torch.float64, device=train.device) for power in (1, 2, 3, 3)]
    states, velocities = ([Path(*zeros)] * len(models) for _ in range(2))
    trained, of_step, done = [model.of(train) for model in models], stages(dynamics.name, dynamics.momentum), 0
    for step in steps:
        while done < step:
            eta = dynamics.eta_at(done)
            weight = None if weights is None else weights(done)
            for k, model in enumerate(trained):
                for stage in of_step:
                    ahead = states[k].plus(velocities[k], -eta * stage.look) if stage.look else states[k]
                    e = model.outputs(ahead) - targets
                    gradient = increments(ahead, e if weight is None else e * weight)
                    velocities[k] = gradient.plus(velocities[k], stage.keep)
                    states[k] = states[k].plus(velocities[k], -eta * stage.move)
            done += 1
        yield torch.stack([model.outputs(state) for model, state in zip(models, states, strict=True)], dim=1)
