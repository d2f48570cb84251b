"""Networks with weights against networks without them: the statistics in which they are compared."""

from collections.abc import Callable

import numpy as np
from scipy.stats import norm

from simulate.store.sets import DataSet

CASE = (
    "network.depth=4", "network.outputs=2", "inputs=sphere", "inputs.count=2", "inputs.dimension=3",
    "observables.record=[kernel,moments,outputs,ntk]", "observables.layers=[3,4]", "observables.output_layers=[3,4]",
    "dynamics.lambda_b=[0.5,0.2,0.7,0.4]",
)  # fmt: skip


def statistics(data: DataSet) -> np.ndarray:
    """(M, 28): moments of g, z and H of two inputs and two outputs, to fourth order, at the last layer and at
    layer 3."""
    g, m2, m4, m3 = (data.read(prefix)[:, 0].astype(float) for prefix in ("g", "m2", "m4", "m3"))
    z, H = (data.read(prefix)[:, 0].astype(float) for prefix in ("z", "H"))
    names = data.layout.names(data.family("H"))
    places = [names.index(name) for name in ("H_0_0_0_0", "H_0_0_0_1", "H_0_1_0_1")]
    h, lower = H[:, 1][:, places], H[:, 0][:, places]
    first, last = z[:, 1, :1], z[:, 1, 2:3]
    out = [g[:, 1], g[:, 1] ** 2, m2[:, 0], m3[:, 0, :1], m4[:, 0, :1], m2[:, 0] ** 2]
    out += [h, h**2, lower, lower**2, g[:, 1, :1] * h[:, :1], first**2 * h[:, :1], first * last * h[:, 2:]]
    return np.concatenate(out, axis=1)


def apart(run: Callable[..., DataSet], case: list[str]) -> Callable[[], float]:
    """A function that draws networks of a case without weights, and gives the largest |z| of their statistics against
    networks with weights, which are drawn once."""
    dense = statistics(run(*CASE, *case, "ensemble.sampler=dense"))

    def largest() -> float:
        drawn = statistics(run(*CASE, *case, "ensemble.sampler=law"))
        error = np.sqrt(dense.var(axis=0) / len(dense) + drawn.var(axis=0) / len(drawn))
        return float(np.abs((dense.mean(axis=0) - drawn.mean(axis=0)) / error).max())

    return largest


def limit(false_alarm: float) -> float:
    """What the largest |z| exceeds with this probability, at most, where the samplers are one law."""
    return float(norm.isf(false_alarm / (2 * 28)))
