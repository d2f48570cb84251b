"""The control of the NTK's movement is what a network's derivatives say, and its mean is that of untrained networks."""

from collections.abc import Callable

import numpy as np
import pytest

from simulate.running import samplers
from simulate.store.sets import DataSet
from simulate.training.algorithms import Training

RUN = ("dynamics=gradient_flow", "dynamics.eta=0.15", "network.depth=2", "inputs=digits", "inputs.count=1",
       "observables.steps=[0,40]", "dynamics.steps=40", "initialization=critical", "activation=tanh")  # fmt: skip
START = (*RUN, "observables.record=[movement_controls]", "observables.steps=[0]")
Run = Callable[..., DataSet]


def column(data: DataSet, prefix: str) -> np.ndarray:
    """The first column of a family at the last layer and step 0, (M,)."""
    return data.read(prefix)[:, 0, -1, 0].astype(float)


def test_the_control_of_each_network(run: Run) -> None:
    """docs/theory.md (5.9) to second order with s = (z - y)/H, from the recorded derivatives. Negative control: another
    dd, ddI + ddII."""
    data = run(*RUN, "network.width=8", "ensemble.networks=20", "ensemble.dtype=float64",
               "observables.record=[outputs,ntk,dntk,ddntk,movement_controls]")  # fmt: skip
    z, H, dH, ddI, ddII = (column(data, prefix) for prefix in ("z", "H", "dH", "ddI", "ddII"))
    s = (z - data.samples()[1][0, 0]) / H

    def control(share: float) -> np.ndarray:
        return -2 * dH * s + (ddI + share * ddII) * s**2

    np.testing.assert_allclose(column(data, "dHs"), control(2), rtol=1e-9)
    assert np.abs(column(data, "dHs") / control(1) - 1).max() > 1e-2


def means(run: Run, width: int, networks: int) -> tuple[float, float]:
    """Pulls from zero of the mean of the control less that of untrained networks, and of the control alone."""
    data = run(*START, f"network.width={width}", f"ensemble.networks={networks}")
    own, beside = column(data, "dHs"), column(data, "dHu")
    left, alone = (float(x.mean() / x.std() * networks**0.5) for x in (own - beside, own))
    return left, alone


def test_the_mean_of_the_control(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """At n = 8 the control has the mean of its companions; seed 0. False alarms: 1e-4. Negative controls: companions of
    a C_W that is 30 % larger in the last layer, and none."""
    left, alone = means(run, 8, 8000)
    assert abs(left) < 3.9
    assert abs(alone) > 3.9
    drawn = samplers.training_of

    def larger(*job_and_stream: object) -> Training:
        training = drawn(*job_and_stream)
        training.parameters.W[-1].mul_(1.3**0.5)
        return training

    count = iter(range(10**6))
    monkeypatch.setattr(samplers, "training_of", lambda *given: (larger if next(count) % 11 else drawn)(*given))
    left, _ = means(run, 8, 8000)
    assert abs(left) > 3.9


def test_blocks_share_nothing(run: Run) -> None:
    """A network has the same companions in any block, and no two have one in common. Negative control: another seed."""
    given = (*START, "network.width=8")
    whole, pieces = (run(*given, "ensemble.networks=12", f"ensemble.block={block}") for block in (12, 4))
    np.testing.assert_array_equal(column(whole, "dHu"), column(pieces, "dHu"))
    assert len(set(column(whole, "dHu"))) == 12
    other = run(*given, "ensemble.networks=12", "ensemble.seed=1")
    assert not np.isclose(column(other, "dHu"), column(whole, "dHu")).any()
