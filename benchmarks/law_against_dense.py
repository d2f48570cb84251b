"""Compare the two samplers with millions of networks at n = 8 and 16, where 1/n effects are large.

    python -m benchmarks.law_against_dense [--networks 4000000]

The command compares the means of moments of H up to third order, of H g, of H z z, and of moments of z, for two inputs
and two outputs, tanh and ReLU with biases. tests/statistical/test_samplers.py makes the same comparison with 60,000
networks. The largest |z| of a case should lie below the limit. If the samplers are equal it exceeds the limit with
probability 1e-3 (Bonferroni).
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from itertools import product

import numpy as np
import torch
from scipy.stats import norm

from simulate.api import read_one
from simulate.running import compute
from simulate.running.prepare import prepare

CASE = (
    "network.depth=4",
    "network.outputs=2",
    "inputs=sphere",
    "inputs.dimension=3",
    "observables.record=[kernel,outputs,ntk]",
    "observables.layers=[4]",
    "initialization=gaussian",
    "initialization.C_b=0.3",
    "initialization.C_W=1.5",
    "dynamics.lambda_b=0.5",
    "ensemble.networks=1",
    "ensemble.device=cpu",
    "ensemble.block=4096",
)


def moments(activation: str, width: int, sampler: str, networks: int) -> tuple[np.ndarray, np.ndarray]:
    """The means of all statistics of one case and sampler, and their squared standard errors."""
    torch.set_num_threads(1)
    job = prepare(
        read_one([*CASE, f"activation={activation}", f"network.width={width}", f"ensemble.sampler={sampler}"])
    )
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
    networks = parser.parse_args().networks
    cases = list(product(("tanh", "relu"), (8, 16)))
    with ProcessPoolExecutor() as pool:
        futures = {(*case, s): pool.submit(moments, *case, s, networks) for case in cases for s in ("dense", "law")}
        for activation, width in cases:
            (a, va), (b, vb) = (futures[activation, width, s].result() for s in ("dense", "law"))
            z = np.abs(a - b) / np.sqrt(va + vb)
            limit = norm.isf(1e-3 / (2 * len(z)))
            print(
                f"{activation} n={width}: {networks:,} networks, {len(z)} statistics, largest |z| {z.max():.2f}, "
                f"limit {limit:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
