"""Adam as a plugin agrees with torch's Adam, network by network."""

import dataclasses

import pytest
import torch

from simulate.settings.training import ALGORITHMS
from simulate.store import StoreError, open_data_set
from simulate.training.algorithms import Training
from simulate.training.trajectory import trajectory
from tests.exact.training.networks import ETA, M, Theta, assert_same, network, slope, training
from tests.exact.training.test_algorithms import arriving, rests

OPTIONS = {"beta1": 0.8, "beta2": 0.95, "epsilon": 1e-4}
STEPS = 25


def torch_adam(t: Training, theta: Theta, steps: int, **changed: float) -> Theta:
    """theta after `steps` of torch.optim.Adam with the rates eta lambda, on the bare gradient with weight decay."""
    options = OPTIONS | changed
    rates_W = [ETA * rate / W.shape[1] for rate, W in zip(t.dynamics.lambda_W, theta[0], strict=True)]
    rates = [*rates_W, *(ETA * rate for rate in t.dynamics.lambda_b)]
    tensors = [p.clone() for kind in theta for p in kind]
    groups = [{"params": [p], "lr": rate} for p, rate in zip(tensors, rates, strict=True)]
    adam = torch.optim.Adam(groups, betas=(options["beta1"], options["beta2"]), eps=options["epsilon"])
    for _ in range(steps):
        now = tensors[: len(theta[0])], tensors[len(theta[0]) :]
        for p, g in zip(tensors, [g for kind in slope(now, t, bare=True) for g in kind], strict=True):
            p.grad = g
        adam.step()
    return tensors[: len(theta[0])], tensors[len(theta[0]) :]


@pytest.mark.parametrize("rules", [{}, {"weight_decay": 0.3}], ids=["alone", "with weight decay"])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_adam_is_that_of_torch(loss: str, rules: dict[str, float], plugin) -> None:
    plugin("adam")
    plugin("weight_decay")
    t = training("adam", loss=loss, options=OPTIONS, rules=rules)
    start = [network(t, m) for m in range(M)]
    list(trajectory(t, (STEPS,)))
    for m in range(M):
        assert_same(t, m, torch_adam(t, start[m], STEPS), rtol=1e-9)
    wrong = [torch_adam(t, start[0], STEPS - 1), torch_adam(t, start[0], STEPS, beta1=0.801)]
    wrong += [torch_adam(t, start[0], STEPS, **{name: 1.01 * OPTIONS[name]}) for name in ("beta2", "epsilon")]
    for theta in wrong:  # controls
        with pytest.raises(AssertionError):
            assert_same(t, 0, theta, rtol=1e-6)


@pytest.mark.parametrize("declared", [False, True])
def test_a_network_that_has_arrived_is_not_carried_on_by_its_moments(declared: bool, plugin) -> None:
    """The network stays without any help of the plugin. Control: it moves if the record declares that it rests."""
    plugin("adam")
    ALGORITHMS["adam"] = dataclasses.replace(ALGORITHMS["adam"], rests=declared)
    t, first = arriving("adam", eta=0.2, options=OPTIONS)
    assert rests(t, first) is not declared


# ------------------------------------------------------------------- through the program


RUN = ["network.width=8", "network.depth=3", "observables=training", "dynamics=gradient_descent", "dynamics.name=adam",
       "dynamics.steps=5", "dynamics.eta=0.1", "+dynamics.beta1=0.8", "+dynamics.beta2=0.95", "+dynamics.epsilon=1e-4",
       "ensemble.networks=8", "ensemble.block=8"]  # fmt: skip


def test_its_options_are_kept_in_the_data_set(run, tmp_path, plugin, registries) -> None:
    """Adam's options are part of the settings and of the identity. A run with the same options continues the data set,
    one with another option is refused, and the data set can be read without the plugin."""
    plugin("adam")
    data = run(*RUN, f"output={tmp_path}/adam")
    assert data.settings["dynamics"]["options"] == OPTIONS
    assert data.manifest["identity"]["dynamics"]["options"] == OPTIONS
    more = run(*RUN, "ensemble.networks=16", f"output={tmp_path}/adam")
    assert more.networks == 16
    with pytest.raises(StoreError, match=r"dynamics\.options\.beta1=0\.8, not 0\.7\. Choose"):
        run(*RUN, "++dynamics.beta1=0.7", f"output={tmp_path}/adam")
    del ALGORITHMS["adam"]
    table = open_data_set(tmp_path / "adam").table()
    losses = table.groupby("step")["loss"].mean()
    assert losses.iloc[-1] < losses.iloc[0]
