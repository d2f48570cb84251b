"""One layer of the chain of kernel and NTK: averages, and exact means and covariances given the layer below."""

from dataclasses import fields

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.stats import norm

from analysis import theory
from analysis.theory.activations import Activation
from analysis.theory.ntk_chain import ORDERS, Averages, Neuron, Step, Table, orbit, responses

Array = NDArray[np.float64]
FALSE_ALARM = 1e-6  # of each test that draws
STEP = Step(C_b=0.3, C_W=1.4, lambda_b=0.5, lambda_W=0.9, n=5)


def integrals(s: Activation, g: float) -> list[float]:
    """The averages of docs/theory.md (17.11) with the derivatives in g written out: d/dg is half the mean of a second
    derivative in z, docs/theory.md (1.7)."""
    f, f1, f2, f3, f4, f5 = s.derivatives

    def half_second(d0: Array, d1: Array, d2: Array, power: int) -> Array:
        """Half the second derivative of u^power from those of u."""
        return (power * (power - 1) * d0 ** (power - 2) * d1**2 + power * d0 ** (power - 1) * d2) / 2

    def fourth(z: Array) -> Array:
        """A quarter of the fourth derivative of s'^4."""
        a, b, c, d, e = f1(z), f2(z), f3(z), f4(z), f5(z)
        return (24 * b**4 + 144 * a * b**2 * c + 36 * a**2 * c**2 + 48 * a**2 * b * d + 4 * a**3 * e) / 4

    def product(z: Array) -> Array:
        """Half the second derivative of (s s')^2."""
        r, r1, r2 = f(z) * f1(z), f1(z) ** 2 + f(z) * f2(z), 3 * f1(z) * f2(z) + f(z) * f3(z)
        return half_second(r, r1, r2, 2)

    functions = [
        lambda z: f(z) ** 2,
        lambda z: half_second(f(z), f1(z), f2(z), 2),
        lambda z: f1(z) ** 2,
        lambda z: half_second(f1(z), f2(z), f3(z), 2),
        lambda z: (f(z) * f1(z)) ** 2,
        product,
        lambda z: f1(z) ** 4,
        lambda z: half_second(f1(z), f2(z), f3(z), 4),
        fourth,
        lambda z: f(z) ** 4,
    ]
    root, density = np.sqrt(g), 1 / np.sqrt(2 * np.pi)
    return [
        quad(
            lambda u, f=f: float(f(np.array(root * u))) * density * np.exp(-u * u / 2), -9, 9, epsabs=1e-13, limit=200
        )[0]
        for f in functions
    ]


def values(averages: Averages) -> Array:
    return np.stack([getattr(averages, field.name) for field in fields(Averages)], axis=-1)


@pytest.mark.parametrize("name", ["tanh", "gelu", "sin"])
def test_averages_are_integrals(name: str) -> None:
    """Hermite moments, docs/theory.md (1.7) and (1.9), are the means of derivatives that scipy integrates. Negative
    control: at a kernel that is 1 % off."""
    s, g = theory.activation(name), np.array([0.1, 0.7, 3.0])
    found = values(Neuron(s, 3.0)(g))
    want = np.array([integrals(s, kernel) for kernel in g.tolist()])
    np.testing.assert_allclose(found, want, rtol=1e-10, atol=1e-11)
    off = values(Neuron(s, 3.1)(1.01 * g))
    assert np.all(np.abs(off - want).max(axis=0) > 1e-4)


@pytest.mark.parametrize("name", ["relu", "linear", "leaky_relu(slope=-0.3)"])
def test_averages_without_a_scale(name: str) -> None:
    """The closed forms are Hermite moments of the piecewise functions: docs/theory.md (4.2) and (1.9)."""
    s, g = theory.activation(name), 1.7
    u = np.linspace(-9, 9, 2**16 + 1)[:-1] + 9 / 2**16  # no node at the kink
    weight = np.exp(-(u**2) / 2) / np.exp(-(u**2) / 2).sum()
    hermite = [np.ones_like(u), u**2 - 1, u**4 - 6 * u**2 + 3]
    f, f1 = (derivative(np.sqrt(g) * u) for derivative in s.derivatives[:2])
    means = [
        [weight @ (x * h) / (2 * g) ** k for k, h in enumerate(hermite)] for x in (f**2, f1**2, f**2 * f1**2, f1**4)
    ]
    S, e, R, q = means
    want = [S[0], S[1], e[0], e[1], R[0], R[1], q[0], q[1], q[2], weight @ f**4]
    np.testing.assert_allclose(values(Neuron(s, 2.0)(np.array(g))), want, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", ["tanh", "gelu", "sin", "relu"])
def test_tables_are_averages(name: str) -> None:
    """A polynomial in log g errs by rounding between its nodes, too, relative to its largest value; derivatives have
    the rounding of their differences. Outside, it is refused."""
    s, low, high = theory.activation(name), 0.05, 8.0
    table, g = Table(s, low, high), np.geomspace(0.05, 8.0, 333)
    found, want = values(table(g)), values(table.neuron(g))
    limit = 1e-12 * np.abs(want).max(axis=0) + 1e-14 / (2 * low) ** ORDERS
    assert np.all(np.abs(found - want).max(axis=0) <= limit)
    if s.slopes is None:
        assert np.all(np.abs(found - values(table.neuron(1.0001 * g))).max(axis=0) > limit), "negative control"
        with pytest.raises(ValueError, match=r"the table runs from 0\.05 to 8"):
            table(np.array([8.1]))


def state_of(s: Array, bent: Array) -> Array:
    """g, h, y, b and w after a layer of activations s (..., n) and s' H s' (..., n, n): docs/theory.md (17.9)."""
    n, kappa = s.shape[-1], STEP.C_W / s.shape[-1]
    along = np.einsum("...km,...m->...k", bent, s)
    return np.stack([
        STEP.C_b + kappa * (s**2).sum(axis=-1),
        STEP.lambda_b + STEP.lambda_W / n * (s**2).sum(axis=-1) + kappa * np.einsum("...kk->...", bent),
        kappa**2 * (along * s).sum(axis=-1),
        kappa**2 * (bent**2).sum(axis=(-2, -1)),
        kappa**3 * (along**2).sum(axis=-1),
    ])  # fmt: skip


def next_states(name: str, networks: int) -> tuple[Array, Array]:
    """The state of one layer (5,), and states (5, networks) of the next, by the forward equation docs/theory.md (2.2)
    for many weights of the layer between them."""
    rng, s = np.random.default_rng(4), theory.activation(name)
    signal, root = rng.normal(size=4), rng.normal(size=(4, 4))
    bent = root @ root.T / 4
    state = state_of(signal, bent)
    W = rng.normal(size=(networks, STEP.n, 4)) * np.sqrt(STEP.C_W / 4)
    z = W @ signal + np.sqrt(STEP.C_b) * rng.normal(size=(networks, STEP.n))
    share = STEP.lambda_b + STEP.lambda_W * (signal**2).mean()
    H = share * np.eye(STEP.n) + W @ bent @ W.transpose(0, 2, 1)
    f, f1 = (derivative(z) for derivative in s.derivatives[:2])
    return state, state_of(f, f1[:, :, None] * H * f1[:, None, :])


def scores(name: str, given: Array, drawn: Array) -> Array:
    """z-scores of the four means and three covariances of docs/theory.md (17.11) from a state (5,) of the layer below,
    against the states (5, networks) that were drawn."""
    at = Neuron(theory.activation(name), 2 * float(given[0]))(given[0])
    means, covariance = STEP.means(at, given), STEP.covariance(at, given)
    centred = drawn[:4] - means[:, None]
    products = STEP.n * centred[[0, 0, 1]] * centred[[0, 1, 1]] - covariance[[0, 0, 1], [0, 1, 1], None]
    every = np.concatenate([centred, products])
    return np.asarray(every.mean(axis=1) / (every.std(axis=1) / np.sqrt(drawn.shape[1])))


@pytest.mark.parametrize(("name", "places"), [("tanh", "ghybw"), ("gelu", "ghyb"), ("relu", "ghyb")])
def test_means_and_covariances_are_exact(name: str, places: str) -> None:
    """Four means and three covariances of five neurons, where the terms of order 1/n^2 are large, are those of
    docs/theory.md (17.10) and (17.11). False alarms: FALSE_ALARM. Negative controls: each of g, h, y, b and w changed
    by a fifth is noticed; w enters with the derivative of <s'^2>, which is zero for ReLU and small for GELU."""
    state, drawn = next_states(name, 100_000)
    limit = norm.isf(FALSE_ALARM / 14)
    assert np.abs(scores(name, state, drawn)).max() < limit
    for place in places:
        changed = np.where(np.array(list("ghybw")) == place, 0.8, 1.0)
        assert np.abs(scores(name, state * changed, drawn)).max() > limit, f"{place} changed"


@pytest.mark.parametrize("name", ["tanh", "gelu", "relu"])
def test_a_chain_has_the_tensors_of_the_flow(name: str) -> None:
    """At large width the orbit gives K, Theta, F and B, and responses carry the covariances of one layer into V, D and
    A: docs/theory.md (2.12) to (2.15). Negative control: without the increments of layer 2."""
    n, depth, critical = 10**7, 5, theory.critical(name)
    K = critical.K_star if critical.universality_class == "half-stable" else 1.0
    x = np.full((1, 3), np.sqrt((K - critical.C_b) / critical.C_W))
    tensors = ("K", "Theta", "V", "A", "B", "D", "F")
    flow = theory.flow(name, depth, critical.C_b, critical.C_W, x, 0.7, 1.2, tensors=tensors)
    neuron = Neuron(theory.activation(name), 2 * K)
    steps = [Step(critical.C_b, critical.C_W, 0.7, 1.2, n)] * (depth - 1)
    assert flow.Theta is not None
    states = orbit(neuron, steps, np.array([flow.K[0, 0, 0], flow.Theta[0, 0, 0], 0.0, 0.0]))
    for layer, state in enumerate(states):
        want = [flow[name][layer].item() for name in ("K", "Theta", "F", "B")]
        np.testing.assert_allclose(state * [1, 1, n, n], want, rtol=1e-5)

    def spread(skip: int) -> Array:
        total = np.zeros((2, 2))
        for layer, response in enumerate(responses(neuron, steps, states, depth), start=2):
            below = np.append(states[layer - 2], 0.0)
            P = response.gradient[:2, :2]
            total += (layer != skip) * P @ steps[0].covariance(neuron(below[0]), below) @ P.T
        return total

    want = np.array([[flow[name][-1].item() for name in row] for row in ("VD", "DA")])
    np.testing.assert_allclose(spread(0), want, rtol=1e-5)
    assert not np.allclose(spread(2), want, rtol=0.02)
