"""The activations of the theory and of the simulation agree with each other and with automatic differentiation."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import configs
import simulate
from analysis import theory
from analysis.theory.activations import REGISTRY, activation, theory_of
from simulate.networks.activations import FUNCTIONS, Functions, derivatives, functions, slope_of_s
from simulate.networks.activations import activation as simulated_as
from simulate.settings.network import ACTIVATIONS, Activation

Z = np.linspace(-6.0, 6.0, 241) + 0.0123  # no node on a kink


VALUES = {"leaky_relu": {"slope": 0.2}, "expression": {"expression": "z*sin(z)-0.3*z**3"}}


def simulated(name: str) -> Activation:
    return Activation(name, **VALUES.get(name, {}))


def test_names_are_those_of_the_option_files() -> None:
    assert set(REGISTRY) == set(ACTIVATIONS) == set(FUNCTIONS) == set(configs.options("activation"))
    formula = ["activation.expression=z"]
    for name in ACTIVATIONS:
        chosen = configs.compose("simulate", [f"activation={name}", *formula * (name == "expression")])
        assert chosen["activation"]["name"] == name
        assert set(ACTIVATIONS[name].parameters) == set(VALUES.get(name, {}))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_simulation_equals_theory(name: str) -> None:
    setting = simulated(name)
    theory = activation(setting.spec)
    value, slope = functions(setting)
    z = torch.tensor(Z)
    np.testing.assert_allclose(value(z).numpy(), theory(Z), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(slope(z, value(z)).numpy(), theory.derivatives[1](Z), rtol=1e-12, atol=1e-14)
    for order, derivative in enumerate(derivatives(setting, 5)):
        want = theory.derivatives[order](Z) if order < 2 or not theory.kinked else np.zeros_like(Z)
        np.testing.assert_allclose(derivative(z).numpy(), want, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", [n for n in ACTIVATIONS if n not in ("relu", "leaky_relu")])
def test_derivatives_to_fifth_order(name: str) -> None:
    """The theory's derivatives are those of the simulation's function by automatic differentiation."""
    value, _ = functions(simulated(name))
    z = torch.tensor(Z, requires_grad=True)
    current = value(z)
    for order, derivative in enumerate(activation(simulated(name).spec).derivatives):
        got = current.detach().numpy()
        np.testing.assert_allclose(got, derivative(Z), rtol=1e-8, atol=1e-9, err_msg=f"order {order}")
        if not current.requires_grad:  # a derivative that is constant
            current = torch.zeros_like(z)
            continue
        (current,) = torch.autograd.grad(current.sum(), z, create_graph=True, allow_unused=True)
        current = torch.zeros_like(z) if current is None else current


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_which_slopes_follow_from_s(name: str) -> None:
    """slope(s, s) is slope(z, s) bit for bit for exactly those activations for which slope_of_s says so."""
    value, slope = functions(simulated(name))
    z = torch.cat([torch.tensor(Z), torch.zeros(1)])
    assert torch.equal(slope(value(z), value(z)), slope(z, value(z))) == slope_of_s(simulated(name))


def test_a_slope_below_zero_does_not_follow_from_s() -> None:
    value, slope = functions(folded := Activation("leaky_relu", slope=-0.2))
    z = torch.tensor(Z)
    assert not slope_of_s(folded)
    assert not torch.equal(slope(value(z), value(z)), slope(z, value(z)))


def test_unknown_names_and_parameters_are_refused() -> None:
    for spec in ("tnah", "leaky_relu(slop=0.1)", "leaky_relu(slope=x)", "tanh(2)"):
        with pytest.raises(ValueError, match="activation="):
            activation(spec)


@pytest.fixture
def softsign() -> Iterator[str]:
    """An activation that is added to theory and simulation, to the latter without derivatives beyond the slope."""
    name = "softsign"

    @simulated_as(name, "width")
    def functions_of_softsign(width: float) -> Functions:
        return Functions(lambda z: z / (1 + (z / width).abs()), lambda z, s: 1 / (1 + (z / width).abs()).square())

    @theory_of(name)
    def theory_of_softsign(width: float) -> theory.activations.Activation:
        smooth = activation(f"expression(z/sqrt(1+(z/{width})**2))")  # a smooth stand-in: |z| has no derivatives
        return theory.activations.Activation(name, smooth.derivatives)

    yield name
    for registry in (FUNCTIONS, REGISTRY, ACTIVATIONS):
        del registry[name]


def test_an_activation_of_a_plugin(softsign: str, tmp_path: Path) -> None:
    """Networks are drawn, the parameter is part of the identity, and a missing derivative is an error, not zero."""
    choice = [f"activation.name={softsign}", "+activation.width=2.0", "initialization=gaussian"]
    few = ["ensemble.networks=40", "network.width=8", "network.depth=2", "workers=1", "ensemble.device=cpu"]
    data = simulate.run(*choice, *few, "observables=ntk", "ensemble.sampler=dense", f"output={tmp_path}/a")
    assert data.manifest["identity"]["activation"] == {"name": softsign, "parameters": {"width": 2.0}}
    assert np.isfinite(data.read("H")[:, 0, -1]).all()
    with pytest.raises(simulate.SettingsError, match="activation='softsign': it has no derivatives beyond the slope"):
        simulate.run(*choice, *few, "observables=derivatives", f"output={tmp_path}/b")
    assert not (tmp_path / "b").exists()
    with pytest.raises(simulate.StoreError, match=r"activation\.parameters\.width=2\.0, not 3\.0"):
        simulate.run(*choice[:1], "+activation.width=3.0", *choice[2:], *few, "observables=ntk",
                     "ensemble.sampler=dense", f"output={tmp_path}/a")  # fmt: skip
    with pytest.raises(ValueError, match="is there already"):
        simulated_as(softsign)(lambda: None)  # type: ignore[arg-type,return-value]


def test_too_few_derivatives_are_refused_by_the_theory() -> None:
    with pytest.raises(ValueError, match=r"2 functions: s and 5 derivatives are needed, none is zero"):
        theory.activations.Activation("half", (np.tanh, lambda z: 1 - np.tanh(z) ** 2))
