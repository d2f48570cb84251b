"""Compare the two samplers with millions of networks at n = 8 and 16, where 1/n effects are large.

    python -m benchmarks.law_against_dense [--networks 4000000] [--kinds plain residual orthogonal]

The command compares the means of moments of H up to third order, of H g, of H z z, and of moments of z, for two inputs
and two outputs, tanh and ReLU with biases, of plain, residual and orthogonal networks. tests/statistical makes such
comparisons with fewer networks. The largest |z| of a case should lie below the limit. If the samplers are equal it
exceeds the limit with probability 1e-3 (Bonferroni). Each kind ends with its negative control, a backward pass that
takes its known part from another network, which should lie above.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import product

import numpy as np
import torch
from scipy.stats import norm

from simulate.api import read_one
from simulate.networks import law
from simulate.running import compute
from simulate.running.prepare import prepare

CASE = (
    "network.depth=4",
    "network.outputs=2",
    "inputs=sphere",
    "inputs.dimension=3",
    "observables.record=[kernel,outputs,ntk]",
    "observables.layers=[4]",
    "initialization.C_b=0.3",
    "initialization.C_W=1.5",
    "dynamics.lambda_b=0.5",
    "ensemble.networks=1",
    "ensemble.device=cpu",
    "ensemble.block=4096",
)
KINDS = {
    "plain": ("initialization=gaussian",),
    "residual": ("initialization=gaussian", "network=residual", "network.skip=0.6"),
    "orthogonal": ("initialization=orthogonal",),
}
CONTROL = "tanh", 8  # the case of the negative control
pull_back = law._pull_back


def strangers(u, square, above, *rest):  # type: ignore[no-untyped-def]
    """`simulate.networks.law._pull_back` of networks whose forward pass is that of their neighbours in the block."""
    return pull_back(u, square, replace(above, xi=above.xi.roll(1, 0)), *rest)


def moments(kind: str, activation: str, width: int, sampler: str, networks: int) -> tuple[np.ndarray, np.ndarray]:
    """The means of all statistics of one case and sampler, and their squared standard errors. sampler: dense, law or
    control."""
    torch.set_num_threads(1)
    law._pull_back = strangers if sampler == "control" else pull_back
    names = [f"activation={activation}", f"network.width={width}"]
    names.append(f"ensemble.sampler={'dense' if sampler == 'dense' else 'law'}")
    job = prepare(read_one([*CASE, *KINDS[kind], *names]))
    blocks = -(-networks // job.block)
    first = second = np.zeros(1)
    for index in range(blocks):
        values, _ = compute.compute_block(job, index)
        H, g, z = (values[k][:, 0, 0].astype(np.float64) for k in ("H", "g", "z"))
        columns = [H, H**2, H**3, H[:, :1] * H, g[:, :1] * H, g[:, 1:2] * H]
        columns += [z[:, :1] * z[:, 1:2] * H, z[:, :1] * z[:, 2:3] * H, z**2, z**4, z[:, :2] ** 2 * z[:, 2:] ** 2]
        x = np.concatenate(columns, axis=1)
        first, second = first + x.sum(axis=0), second + (x**2).sum(axis=0)
    M = blocks * job.block
    return first / M, (second / M - (first / M) ** 2) / M


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=4_000_000)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--workers", type=int)
    given = parser.parse_args()
    networks, cases = given.networks, list(product(given.kinds, ("tanh", "relu"), (8, 16)))
    with ProcessPoolExecutor(given.workers) as pool:
        samplers = {case: ["dense", "law"] + ["control"] * (case[1:] == CONTROL) for case in cases}
        futures = {(*c, s): pool.submit(moments, *c, s, networks) for c in cases for s in samplers[c]}
        for kind, activation, width in cases:
            a, va = futures[kind, activation, width, "dense"].result()
            for sampler in samplers[kind, activation, width][1:]:
                b, vb = futures[kind, activation, width, sampler].result()
                z = np.abs(a - b) / np.sqrt(va + vb)
                limit = norm.isf(1e-3 / (2 * len(z)))
                print(
                    f"{kind} {activation} n={width} {sampler}: {networks:,} networks, {len(z)} statistics, "
                    f"largest |z| {z.max():.2f}, limit {limit:.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
