"""Taylor models: truncated expansions of a network, trained in function space, docs/theory.md (5.5) to (5.8).

The model of order 1 knows f and H of the network at initialisation and is linear; that of order 2 knows dH as well and
is quadratic; that of order 3 knows ddI and ddII as well and is right to order 1/n. All start from the network's outputs
and follow its algorithm with its eta.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from analysis.stages import stages
from simulate.registry import implements
from simulate.settings.training import ALGORITHMS

State = tuple[Tensor, Tensor, Tensor]  # z (M, P), H (M, P, P), dH (M, P, P, P); P outputs (i, a), neuron first
ModelStep = Callable[[State, Tensor, Tensor, Tensor, Tensor, float], State]
MODEL_STEPS: dict[str, ModelStep] = {}


def model_step(algorithm: str) -> Callable[[ModelStep], ModelStep]:
    """Register the step of a Taylor model under the algorithm of that name, whose record has `followed`: a function of
    the model's state, ddI, ddII, the targets (N,), the N trained outputs among the P, and eta, that returns the next
    state. Raises ValueError where ALGORITHMS has no such name."""
    return implements(ALGORITHMS, MODEL_STEPS, algorithm)


def _step(state: State, ddI: Tensor, ddII: Tensor, error: Tensor, train: Tensor, eta: float) -> State:
    """The change under a step of gradient descent, to third order in eta: docs/theory.md (5.5), (5.6) and (5.7)."""
    z, H, dH = state
    e = torch.zeros_like(z)
    e[:, train] = error
    He = torch.einsum("mij,mj->mi", H, e)
    dHe = torch.einsum("mijk,mk->mij", dH, e)
    dHee = torch.einsum("mij,mj->mi", dHe, e)
    Ie, IIe = torch.einsum("mijkl,ml->mijk", ddI, e), torch.einsum("mijkl,ml->mijk", ddII, e)
    Iee, IIee = (torch.einsum("mijk,mk->mij", contracted, e) for contracted in (Ie, IIe))
    Ieee = torch.einsum("mij,mj->mi", Iee, e)
    # In ddII_ikjl e_l the Hessian of output k is contracted with e, and that of output i with its own direction j.
    crossed = torch.einsum("mikjl,ml->mijk", ddII, e)
    return (
        z - eta * He + eta**2 / 2 * dHee - eta**3 / 6 * Ieee,
        H - eta * (dHe + dHe.mT) + eta**2 / 2 * (Iee + Iee.mT + IIee + IIee.mT),
        dH - eta * (Ie + IIe + crossed),
    )


def _slope(state: State, ddI: Tensor, ddII: Tensor, error: Tensor, train: Tensor) -> State:
    """The terms of `_step` that are linear in eta are the change under gradient flow, docs/theory.md (5.7)."""
    z, H, dH = state
    e = torch.zeros_like(z)
    e[:, train] = error
    dHe = torch.einsum("mijk,mk->mij", dH, e)
    Ie, IIe = torch.einsum("mijkl,ml->mijk", ddI, e), torch.einsum("mijkl,ml->mijk", ddII, e)
    crossed = torch.einsum("mikjl,ml->mijk", ddII, e)
    return -torch.einsum("mij,mj->mi", H, e), -(dHe + dHe.mT), -(Ie + IIe + crossed)


def trajectory(
    z: Tensor,
    H: Tensor,
    differentials: tuple[Tensor, Tensor, Tensor],
    targets: Tensor,
    train: Tensor,
    eta: float,
    algorithm: str,
    steps: tuple[int, ...],
) -> Iterator[Tensor]:
    """Outputs of the models of order 1, 2 and 3 of docs/theory.md (5.8) at each of the steps, (M, 3, P) float64.

    z (M, P), H (M, P, P) and differentials (dH, ddI, ddII) of the network at initialisation. train: the N trained
    outputs among the P. targets: (N,).
    """
    dH, ddI, ddII = differentials
    zeros = torch.zeros_like(dH), torch.zeros_like(ddI), torch.zeros_like(ddII)
    known = [zeros, (dH, *zeros[1:]), (dH, ddI, ddII)]
    states: list[State] = [(z, H, order[0]) for order in known]
    done = 0
    for step in steps:
        while done < step:
            for k, (_, I, II) in enumerate(known):
                states[k] = MODEL_STEPS[algorithm](states[k], I, II, targets, train, eta)
            done += 1
        yield torch.stack([state[0] for state in states], dim=1)


@model_step("gradient_descent")
def _descent(state: State, I: Tensor, II: Tensor, targets: Tensor, train: Tensor, eta: float) -> State:
    return _step(state, I, II, state[0][:, train] - targets, train, eta)


@model_step("gradient_flow")
def _flow(state: State, I: Tensor, II: Tensor, targets: Tensor, train: Tensor, eta: float) -> State:
    """One step by the stages with which the network itself follows the flow."""
    velocity: State | None = None
    for stage in stages("gradient_flow"):
        slope = _slope(state, I, II, state[0][:, train] - targets, train)
        velocity = slope if velocity is None else _plus(slope, velocity, stage.keep)
        state = _plus(state, velocity, stage.move * eta)
    return state


def _plus(state: State, slope: State, factor: float) -> State:
    a, b, c = (x + factor * y for x, y in zip(state, slope, strict=True))
    return a, b, c
