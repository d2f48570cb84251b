"""The posterior of one small problem by weights and by Hamiltonian Monte Carlo on the weights of the same network.

    python -m benchmarks.hmc             # prints a table, in CPU seconds of one thread

The problem is that of docs/bayes.md: four points of a sine, noise 0.05, tanh of depth 3. HMC moves all parameters in
units of their prior, with an identity mass, chains from the prior, and a step size that is set in the first half of the
run, which is thrown away. Its error bars are those of means of independent chains. Weighting has the error bars of
`analysis.posterior`, docs/theory.md (16.5).
"""

import argparse
import math
import tempfile
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

import analysis
import simulate

X = np.array([[-1.5, 1], [-0.5, 1], [0.5, 1], [1.5, 1]])
Y = np.array([-0.9, -0.6, 0.5, 1.0])
GRID = np.array([[-1.0, 1], [0.0, 1], [1.0, 1], [2.5, 1]])
NOISE, WIDTH, NETWORKS = 0.05, 64, 20000
CHAINS, STEPS, LEAPS, ACCEPTED = 64, 1500, 15, 0.8


@dataclass(frozen=True)
class Answer:
    """The posterior mean of outputs at GRID with errors, and CPU seconds. accepted: the share of moves of HMC."""

    mean: np.ndarray
    error: np.ndarray
    seconds: float
    accepted: float = 1.0


def by_weights(networks: int = NETWORKS) -> Answer:
    settings = [f"network.width={WIDTH}", "network.depth=3", "activation=tanh", "observables=kernel", "workers=1"]
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        data = simulate.run(
            *settings, f"ensemble.networks={networks}", f"output={folder}/a", inputs=np.vstack([X, GRID])
        )
        found = analysis.posterior(data, targets=Y, noise=NOISE)
    return Answer(found.mean[4:, 0], found.mean_error[4:, 0], time.process_time() - began)


def outputs(theta: list[Tensor], x: Tensor) -> Tensor:
    """z (chains, samples) of networks at criticality, C_b = 0 and C_W = 1, from standard normal parameters."""
    signal = x.expand(len(theta[0]), *x.shape)
    for layer, W in enumerate(theta):
        z = signal @ W.mT / math.sqrt(W.shape[-1])
        signal = torch.tanh(z) if layer < len(theta) - 1 else z
    return signal[..., 0]


def energy(theta: list[Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Minus the log posterior of each chain, up to a constant."""
    prior = torch.stack([W.square().sum(dim=(1, 2)) for W in theta]).sum(dim=0)
    return prior / 2 + (outputs(theta, x) - y).square().sum(dim=1) / (2 * NOISE)


def slopes(theta: list[Tensor], x: Tensor, y: Tensor) -> list[Tensor]:
    wanted = [W.detach().requires_grad_() for W in theta]
    return list(torch.autograd.grad(energy(wanted, x, y).sum(), wanted))


def by_hmc(chains: int = CHAINS, steps: int = STEPS, seed: int = 1) -> Answer:
    began, generator = time.process_time(), torch.Generator().manual_seed(seed)

    def normal(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=generator)

    x, y, grid = (torch.tensor(a, dtype=torch.float32) for a in (X, Y, GRID))
    theta = [normal((chains, m, n)) for n, m in ((X.shape[1], WIDTH), (WIDTH, WIDTH), (WIDTH, 1))]
    size, sums, accepted = 0.05, torch.zeros(chains, len(GRID)), []
    for step in range(steps):
        momentum, moved = [normal(tuple(W.shape)) for W in theta], list(theta)
        kinetic = torch.stack([p.square().sum(dim=(1, 2)) for p in momentum]).sum(dim=0) / 2
        before = energy(theta, x, y) + kinetic
        momentum = [p - size / 2 * g for p, g in zip(momentum, slopes(moved, x, y), strict=True)]
        for leap in range(LEAPS):
            moved = [W + size * p for W, p in zip(moved, momentum, strict=True)]
            factor = size if leap < LEAPS - 1 else size / 2
            momentum = [p - factor * g for p, g in zip(momentum, slopes(moved, x, y), strict=True)]
        kinetic = torch.stack([p.square().sum(dim=(1, 2)) for p in momentum]).sum(dim=0) / 2
        taken = torch.rand(chains, generator=generator).log() < before - energy(moved, x, y) - kinetic
        theta = [torch.where(taken[:, None, None], new, old) for new, old in zip(moved, theta, strict=True)]
        share = float(taken.float().mean())
        if step < steps // 2:
            size *= math.exp(0.1 * (share - ACCEPTED))
        else:
            sums += outputs(theta, grid)
            accepted.append(share)
    means = (sums / len(accepted)).double().numpy()
    error = means.std(axis=0, ddof=1) / math.sqrt(chains)
    return Answer(means.mean(axis=0), error, time.process_time() - began, float(np.mean(accepted)))


def lines(weights: Answer, hmc: Answer) -> list[str]:
    """A table in text: both answers, and the time that HMC would take for the errors of weighting."""
    factor = (hmc.error / weights.error) ** 2
    rows = [
        f"{name}: mean {np.round(found.mean, 4)}, error {np.round(found.error, 4)}, {found.seconds:.1f} s"
        for name, found in (("weights", weights), ("HMC", hmc))
    ]
    pulls = (hmc.mean - weights.mean) / np.hypot(hmc.error, weights.error)
    rows.append(f"HMC less weights in standard errors: {np.round(pulls, 1)}; accepted {hmc.accepted:.0%}")
    rows.append(f"HMC for the same error: {np.round(hmc.seconds * factor / weights.seconds, 1)} times the CPU time")
    return rows


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    by_weights(1000)  # compiles the loops
    print("\n".join(lines(by_weights(), by_hmc())))


if __name__ == "__main__":
    main()
