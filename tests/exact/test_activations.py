"""Theory and simulation each have their activations; both are held to each other and to differentiation."""

import numpy as np
import pytest
import torch

from analysis.theory.activations import REGISTRY, activation
from simulate.networks.activations import derivatives, functions, slope_of_s
from simulate.settings.network import ACTIVATIONS, Activation

Z = np.linspace(-6.0, 6.0, 241) + 0.0123  # no node on a kink


def simulated(name: str) -> Activation:
    return Activation(name, 0.2 if name == "leaky_relu" else None)


def test_both_sides_register_the_same_names() -> None:
    assert set(REGISTRY) == set(ACTIVATIONS)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_simulation_equals_theory(name: str) -> None:
    setting = simulated(name)
    theory = activation(setting.spec)
    value, slope = functions(setting)
    z = torch.tensor(Z)
    np.testing.assert_allclose(value(z).numpy(), theory(Z), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(slope(z, value(z)).numpy(), theory.derivatives[1](Z), rtol=1e-12, atol=1e-14)
    for order, derivative in enumerate(derivatives(setting)):
        want = theory.derivatives[order](Z) if order < 2 or not theory.kinked else np.zeros_like(Z)
        np.testing.assert_allclose(derivative(z).numpy(), want, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", [n for n in ACTIVATIONS if n not in ("relu", "leaky_relu")])
def test_derivatives_to_fifth_order(name: str) -> None:
    """Against automatic differentiation of the simulation's function."""
    value, _ = functions(simulated(name))
    z = torch.tensor(Z, requires_grad=True)
    current = value(z)
    for order, theory in enumerate(activation(name).derivatives):
        np.testing.assert_allclose(current.detach().numpy(), theory(Z), rtol=1e-8, atol=1e-9, err_msg=f"order {order}")
        if not current.requires_grad:  # a derivative that is constant
            current = torch.zeros_like(z)
            continue
        (current,) = torch.autograd.grad(current.sum(), z, create_graph=True, allow_unused=True)
        current = torch.zeros_like(z) if current is None else current


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_which_slopes_follow_from_s(name: str) -> None:
    """slope(s, s) is slope(z, s), bit for bit, for those that say so, and for no other."""
    value, slope = functions(simulated(name))
    z = torch.cat([torch.tensor(Z), torch.zeros(1)])
    assert torch.equal(slope(value(z), value(z)), slope(z, value(z))) == slope_of_s(simulated(name))


def test_a_leaky_slope_below_zero_does_not() -> None:
    value, slope = functions(folded := Activation("leaky_relu", -0.2))
    z = torch.tensor(Z)
    assert not slope_of_s(folded)
    assert not torch.equal(slope(value(z), value(z)), slope(z, value(z)))


def test_unknown_names_and_parameters_are_refused() -> None:
    for spec in ("tnah", "leaky_relu(slop=0.1)", "leaky_relu(slope=x)", "tanh(2)"):
        with pytest.raises(ValueError, match="activation="):
            activation(spec)
