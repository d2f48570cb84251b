"""Responses to a change of the input and Jacobians are derivatives, and responses without weights have their law."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch.func import jacrev

import simulate
from analysis.theory import aspect_ratio
from simulate.api import read_one
from simulate.networks import activations, dense, streams
from simulate.networks.responses import directions, jacobian_traces, responses, squared_sines
from simulate.running import without_weights
from simulate.settings import SettingsError
from simulate.store.sets import DataSet

FALSE_ALARM = 1e-4  # of each statistical test in this file
SMALL = 1e-24  # sin^2 below this is rounding
RUN = ("workers=1", "ensemble.device=cpu", "inputs=sphere", "inputs.dimension=3", "ensemble.dtype=float64")
LAW = (*RUN, "network.depth=4", "network.outputs=6", "inputs.count=2", "initialization.C_b=0.2",
       "initialization.C_W=1.4", "observables.record=[kernel,response,angles]", "observables.layers=[2,3,4]",
       "ensemble.networks=6000")  # fmt: skip


def drawn(name: str) -> tuple[dense.Parameters, torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
    """Three networks of widths 4, 6, 5 and 3, two inputs, their preactivations, and the slopes of hidden layers."""
    given = ["network.width=[4,6,5]", "network.depth=4", "network.outputs=3", f"activation={name}"]
    settings = read_one([*given, "initialization=gaussian", "initialization.C_b=0.3", "initialization.C_W=1.3"])
    stream = streams.Stream(streams.key(0, "responses"), 0, 3, torch.float64, torch.device("cpu"))
    parameters = dense.draw(settings, 3, stream)
    x = torch.tensor([[0.3, -1.2, 0.8], [1.0, 0.1, 0.4]], dtype=torch.float64)
    s, slope = activations.functions(settings.activation)
    z, signals = dense.forward(parameters, x, s)
    return parameters, x, z, [slope(z[k], signals[k + 1]) for k in range(3)]


def outputs(name: str, parameters: dense.Parameters, m: int, first: int, last: int) -> Callable[..., torch.Tensor]:
    """z(last) of network m as a function of z(first), or of the input where `first` is 0."""
    s, _ = activations.functions(read_one([f"activation={name}"]).activation)

    def of(z: torch.Tensor) -> torch.Tensor:
        for layer in range(first, last):
            z = parameters.W[layer][m] @ (s(z) if layer else z) + parameters.b[layer][m]
        return z

    return of


@pytest.mark.parametrize("name", ["tanh", "relu"])
def test_responses_are_directional_derivatives(name: str) -> None:
    """Of all layers, against automatic differentiation. Negative control: without the slopes."""
    parameters, x, _, slopes = drawn(name)
    found, change = responses(parameters, x, slopes), directions(x)
    straight = responses(parameters, x, [torch.ones_like(slope) for slope in slopes])
    for layer in range(1, 5):
        for m, a in ((0, 0), (2, 1)):
            want = jacrev(outputs(name, parameters, m, 0, layer))(x[a]) @ change[a]
            torch.testing.assert_close(found[layer - 1][m, a], want, rtol=1e-10, atol=1e-12)
    assert not torch.allclose(straight[3], found[3])


@pytest.mark.parametrize("name", ["tanh", "relu"])
def test_traces_are_those_of_the_jacobian(name: str) -> None:
    """tr JJ^T and the effective rank against reverse automatic differentiation. Negative control: another layer."""
    parameters, _, z, slopes = drawn(name)
    found = jacobian_traces(parameters, slopes, (1, 3, 4))
    for layer in (1, 3, 4):
        for m, a in ((0, 0), (2, 1)):
            J = jacrev(outputs(name, parameters, m, 1, layer))(z[0][m, a])
            square = J @ J.T
            trace = square.trace()
            want = torch.stack([trace, trace**2 / square.square().sum()])
            torch.testing.assert_close(found[layer][:, m, a], want, rtol=1e-10, atol=1e-12)
    assert found[1][:, 0, 0].tolist() == [4, 4]
    assert not torch.allclose(found[3], found[4])


def test_directions_are_across_the_inputs() -> None:
    x = torch.tensor([[1.0, 2.0, -2.0], [0.0, 0.0, 0.0], [0.0, 5.0, 0.0]], dtype=torch.float64)
    change = directions(x)
    torch.testing.assert_close((change * x).sum(dim=1), torch.zeros(3, dtype=torch.float64), atol=1e-14, rtol=0)
    torch.testing.assert_close(change.norm(dim=1), torch.tensor([3.0, 1.0, 5.0], dtype=torch.float64))


def test_sines_of_small_angles_keep_their_digits() -> None:
    """sin^2 = 9e-20 to six digits. Negative control: one minus the squared cosine."""
    u = torch.tensor([[[1.0, 2.0, 2.0]]], dtype=torch.float64)
    v = 1.7 * (u + 3e-10 * torch.tensor([2.0, -2.0, 1.0], dtype=torch.float64))
    assert squared_sines(u, v).item() == pytest.approx(9e-20, rel=1e-6, abs=0)
    cosine = (u * v).sum() / u.norm() / v.norm()
    assert 1 - cosine.square().item() != pytest.approx(9e-20, rel=0.5, abs=0)


def statistics(data: DataSet) -> np.ndarray:
    """(M, 24): numbers of each network whose means test responses and angles, jointly with the kernel.

    Networks with a layer of fewer than two active neurons, in which sin^2 is zero but for rounding, are left out.
    """
    found, columns = [], {prefix: data.read(prefix)[:, 0] for prefix in ("response", "angle", "g")}
    alive = (columns["response"] > SMALL).all(axis=(1, 2))
    assert alive.mean() > 0.3
    for layer in range(3):
        r, angle, g = (columns[prefix][alive, layer] for prefix in ("response", "angle", "g"))
        found += [r, np.log(r), r[:, :1] * r[:, 1:], angle[:, 1:2], r[:, :1] * angle[:, 1:2], r[:, :1] * g[:, :1]]
    return np.concatenate(found, axis=1)


CASES = [("tanh", "gaussian", "6"), ("relu", "gaussian", "6"), ("tanh", "orthogonal", "6"),
         ("relu", "orthogonal", "[8,7,6]")]  # fmt: skip


@pytest.mark.parametrize(("activation", "weights", "widths"), CASES)
def test_responses_without_weights(
    activation: str, weights: str, widths: str, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docs/theory.md (12.5) is exact in law: both samplers agree in 24 statistics at width 6 with biases and two
    inputs, and so where orthogonal weights narrow. False alarms: FALSE_ALARM. Negative control: responses that meet
    fresh weights alone."""
    case = *LAW, f"activation={activation}", f"initialization={weights}", f"network.width={widths}"

    def z(sampler: str, name: str) -> np.ndarray:
        data = simulate.run(*case, f"ensemble.sampler={sampler}", f"output={tmp_path}/{name}")
        values = statistics(data)
        return np.stack([values.mean(axis=0), values.var(axis=0) / len(values)])

    exact, law = z("dense", "a"), z("law", "b")
    limit = norm.isf(FALSE_ALARM / 2 / exact.shape[1])
    assert np.abs((law[0] - exact[0]) / np.sqrt(law[1] + exact[1])).max() < limit
    true = without_weights.drawn_response
    monkeypatch.setattr(
        without_weights,
        "drawn_response",
        lambda change, s, C, xi, *more: true(change, s, C, torch.randn_like(xi), *more),
    )
    wrong = z("law", "c")
    assert np.abs((wrong[0] - exact[0]) / np.sqrt(wrong[1] + exact[1])).max() > limit


@pytest.mark.parametrize("activation", ["linear", "relu"])
def test_alignment_is_exact(activation: str, tmp_path: object) -> None:
    """The mean of log sin^2 of docs/theory.md (12.5) at width 16 in layers 1, 4 and 9; false alarms:
    FALSE_ALARM. Negative control: the other activation."""
    given = ["network.width=16", "network.depth=9", "network.outputs=16", "initialization=critical", "inputs.count=1"]
    record = ["observables.record=[response]", "observables.layers=[1,4,9]", "ensemble.networks=4000"]
    data = simulate.run(*RUN, *given, *record, f"activation={activation}", f"output={tmp_path}/a")
    sines = data.read("response")[:, 0, :, 0]
    log = np.log(sines[(sines > SMALL).all(axis=1)])
    assert len(log) > 0.99 * len(sines)

    def farthest(name: str) -> float:
        exact = [aspect_ratio.alignment(name, [16] * (layer - 1), 16) for layer in (1, 4, 9)]
        return float(np.abs((log.mean(axis=0) - exact) / log.std(axis=0)).max() * np.sqrt(len(log)))

    limit = norm.isf(FALSE_ALARM / 6)
    assert farthest(activation) < limit < farthest({"linear": "relu", "relu": "linear"}[activation])


def test_what_is_refused(tmp_path: object) -> None:
    for given, words in (
        (["observables.record=[jacobian]", "ensemble.sampler=law"], "jacobian needs the weights"),
        (["observables.record=[response]", "network.outputs=1"], "an angle over a layer's neurons"),
        (["observables.record=[angles]", "network.depth=3", "network.width=[4,1]"], "layer 2 has one neuron"),
        (["observables.record=[response]", "inputs.dimension=1", "inputs=gaussian"], "two or more"),
        (["observables.record=[response]", "network=quadratic"], "network=quadratic has"),
    ):
        with pytest.raises(SettingsError, match=words):
            simulate.run(*RUN, "network.outputs=2", *given, f"output={tmp_path}/a")
