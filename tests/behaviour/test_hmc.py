"""The comparison with Hamiltonian Monte Carlo on a short run: both have one posterior."""

import numpy as np
import pytest
import torch

from benchmarks import hmc


@pytest.mark.long
def test_hmc_and_weights_agree() -> None:
    """Short chains of narrow networks are within 0.1 of the weighted mean at the inner points. The slopes that move
    them are those of the energy, by differences. Negative control: targets of the other sign are 1 apart."""
    weights = hmc.by_weights(2000)
    short = hmc.by_hmc(chains=16, steps=60)
    assert np.abs(short.mean - weights.mean)[[0, 2]].max() < 0.1
    assert np.abs(short.mean + weights.mean)[[0, 2]].min() > 1
    assert len(hmc.lines(weights, short)) == 4
    x, y = (torch.tensor(a) for a in (hmc.X, hmc.Y))
    theta = [torch.randn(1, m, n, dtype=torch.float64) for n, m in ((2, 3), (3, 3), (3, 1))]
    slope, step = hmc.slopes(theta, x, y)[1][0, 1, 2], torch.zeros(1, 3, 3, dtype=torch.float64)
    step[0, 1, 2] = 1e-5
    up, down = (hmc.energy([theta[0], theta[1] + sign * step, theta[2]], x, y) for sign in (1, -1))
    torch.testing.assert_close(slope, (up - down)[0] / 2e-5, rtol=1e-6, atol=1e-6)
