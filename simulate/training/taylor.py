"""Taylor models: truncated expansions of a network, trained in function space, docs/theory.md (5.5) to (5.8).

The model of order 1 knows f and H of the network at initialisation and is linear; that of order 2 knows dH as well and
is quadratic; that of order 3 knows ddI and ddII as well and is right to order 1/n. All start from the network's outputs
and follow its algorithm with its eta.

`simulate.training.paths` follows every algorithm. Descent and flow are followed here, by the state of the models at
each step: the descent of the two differs by rounding and the flow by the error of its solver, and data sets that are
there keep their bits.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from analysis.stages import stages
from simulate.settings.training import Dynamics
from simulate.training import paths
from simulate.training.paths import Weights

State = tuple[Tensor, Tensor, Tensor]  # z (M, P), H (M, P, P), dH (M, P, P, P); P outputs (i, a), neuron first
Step = Callable[[State, Tensor, Tensor, Tensor, Tensor, float], State]


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
    dynamics: Dynamics,
    steps: tuple[int, ...],
    weights: Weights | None = None,
) -> Iterator[Tensor]:
    """Outputs of the models of order 1, 2 and 3 of docs/theory.md (5.8) at each of the steps, (M, 3, P) float64.

    z (M, P), H (M, P, P) and differentials (dH, ddI, ddII) of the network at initialisation. train: the N trained
    outputs among the P. targets: (N,). weights: what the error of each train output counts in a step, for sgd.
    """
    if dynamics.name in BY_STATE:
        yield from _by_state((z, H), differentials, targets, train, dynamics, steps)
    else:
        models = paths.expansions(z, H, differentials, train)
        yield from paths.trajectory(models, targets, train, dynamics, steps, weights)


def _by_state(
    start: tuple[Tensor, Tensor], differentials: tuple[Tensor, Tensor, Tensor], targets: Tensor, train: Tensor,
    dynamics: Dynamics, steps: tuple[int, ...],
) -> Iterator[Tensor]:  # fmt: skip
    """The models by the state of docs/theory.md (5.5) to (5.7), which is theirs at each step."""
    dH, ddI, ddII = differentials
    zeros = torch.zeros_like(dH), torch.zeros_like(ddI), torch.zeros_like(ddII)
    known = [zeros, (dH, *zeros[1:]), (dH, ddI, ddII)]
    states: list[State] = [(*start, order[0]) for order in known]
    done = 0
    for step in steps:
        while done < step:
            for k, (_, I, II) in enumerate(known):
                states[k] = BY_STATE[dynamics.name](states[k], I, II, targets, train, dynamics.eta_at(done))
            done += 1
        yield torch.stack([state[0] for state in states], dim=1)


def _descent(state: State, I: Tensor, II: Tensor, targets: Tensor, train: Tensor, eta: float) -> State:
    return _step(state, I, II, state[0][:, train] - targets, train, eta)


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


BY_STATE: dict[str, Step] = {"gradient_descent": _descent, "gradient_flow": _flow}
