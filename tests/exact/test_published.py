"""Published formulas, evaluated by `benchmarks.published` on their own, have the values of our theory."""

import json
import math

import numpy as np
import pytest
from scipy.stats import norm

import configs
from analysis import theory
from benchmarks import published
from benchmarks.published import DOCS, RECORD, Row

CRITICAL = {"linear": 1.0, "relu": 2.0}


@pytest.mark.parametrize("activation", CRITICAL)
def test_moments_of_priors(activation: str) -> None:
    """E z^2 and E z^4 of arXiv:2104.11734 are E g and 3 E g^2 of the closed form, docs/theory.md (6.4)."""
    for widths in ([3], [4, 4], [2, 5]):
        C_W = CRITICAL[activation]
        first, second, _ = theory.finite_width.kernel_moments(activation, widths, C_W, 1.0)
        assert published.moment_of_prior(activation, widths, C_W, 1) == pytest.approx(first, rel=1e-12)
        assert published.moment_of_prior(activation, widths, C_W, 2) == pytest.approx(3 * second, rel=1e-12)


@pytest.mark.parametrize("activation", CRITICAL)
def test_tails_of_priors(activation: str) -> None:
    """P(|z| > 2) of a hidden layer of four neurons is the mean of a normal law's tail over a chi variable, here by
    a sum; the tail of the limit is another (control)."""
    u = np.linspace(0, 9, 4001)[1:]  # chi^2_k / 2 = u^2
    total = 0.0
    for p, (k,) in published.active_neurons(activation, [4]):
        if k:
            density = 2 * u ** (k - 1) * np.exp(-(u**2)) / math.gamma(k / 2)
            variance = CRITICAL[activation] * 2 * u**2 / 4
            total += p * float(np.trapezoid(density * 2 * norm.sf(2 / np.sqrt(variance)), u))
    ours = published.tail_of_prior(activation, [4], CRITICAL[activation], 2.0)
    assert ours == pytest.approx(total, rel=1e-5)
    assert ours != pytest.approx(2 * norm.sf(2), rel=0.1)


def test_the_edge_of_chaos() -> None:
    """At the C_W and C_b of the experiment the formula's chi is one, and our kernel stays at the formula's q*, which it
    has reached from the experiment's inputs in the layers that are recorded; off the edge chi is not one (control)."""
    s = configs.compose("simulate", ["experiment=reproduce/edge_of_chaos"])
    C_b, C_W = s["initialization"]["C_b"], s["initialization"]["C_W"]
    q, chi = published.edge_of_chaos(C_b, C_W)
    assert chi == pytest.approx(1, abs=1e-3)
    there = np.full((1, 1), math.sqrt((q - C_b) / C_W))
    assert theory.flow("tanh", 6, C_b, C_W, there).K[:, 0, 0] == pytest.approx(q, rel=1e-9)
    flow = theory.flow("tanh", s["network"]["depth"], C_b, C_W, np.sqrt([s["inputs"]["squares"][:1]]))
    assert flow.K[np.array(s["observables"]["layers"]) - 1, 0, 0] == pytest.approx(q, rel=1e-5)
    assert abs(published.edge_of_chaos(C_b, 1.5)[1] - 1) > 0.05


def test_the_ntk_of_one_input() -> None:
    flow = theory.flow("relu", depth=5, C_b=0.0, C_W=2.0, inputs=np.ones((1, 3)), lambda_b=1.0, lambda_W=3.0)
    assert flow.Theta[-1, 0, 0] == pytest.approx(published.ntk_of_one_input(5, 2.0, 2.0, 1.0, 3.0), rel=1e-12)


def test_the_ntk_of_gelu() -> None:
    """At the setting of the figure the numbers that were read off it are Theta and Theta1; at C_W = 2 they are not."""
    s = configs.compose("simulate", ["experiment=reproduce/ntk_gelu"])
    x, rates = np.sqrt([s["inputs"]["squares"]]), (s["dynamics"]["lambda_b"], s["dynamics"]["lambda_W"])
    for C_W, right in ((s["initialization"]["C_W"], True), (2.0, False)):
        flow = theory.flow("gelu", s["network"]["depth"], 0.0, C_W, x, *rates, tensors=("Theta", "Theta1"))
        found = flow["Theta"][-1].item(), flow["Theta1"][-1].item()
        assert (found == pytest.approx(published.GELU, rel=1e-4)) is right


def test_the_second_moment_of_the_ntk_is_bounded() -> None:
    """Over its squared mean and (1 + 5/n)^(L-1) it stays within the bounds that docs/reproduce.md states."""
    n, factors = 128, []
    for r in (1 / 128, 1, 8, 16):
        depth = int(r * n) + 1
        moments = theory.finite_width.ntk_moments("relu", [n] * (depth - 1), 2.0, 2.0, 1.0, 1.0, 1.0)
        factors.append(moments.HH / moments.H**2 * math.exp(-math.log1p(5 / n) * (depth - 1)))
    assert factors == sorted(factors, reverse=True)
    assert factors[0] > 0.95
    assert factors[2:] == pytest.approx([0.0343, 0.0310], rel=0.01)


def test_fits_of_a_limit_and_a_power() -> None:
    widths = [8, 16, 32, 64]
    exact = [(2 + 3 / n - 5 / n**2, 0.1) for n in widths]
    assert published.limit(widths, exact)[0] == pytest.approx(2, rel=1e-9)
    assert published.slope(widths, [(3 * n**-1.5, 0.1 * n**-1.5) for n in widths])[0] == pytest.approx(-1.5, rel=1e-9)
    bent = [(3 * (1 + 0.5 / n) / n, 0.1 / n) for n in widths]
    corrected, plain = (published.slope(widths, bent, how)[0] for how in (True, False))
    assert abs(corrected + 1) < 0.002 < abs(plain + 1)
    value, error = published.jackknife(lambda z: z.mean(), np.random.default_rng(0).standard_normal((4000, 1)))
    assert error == pytest.approx(1 / math.sqrt(4000), rel=0.4)  # a relative error of 1/sqrt(2 BLOCKS), 3.5 of them
    assert abs(value) < 4 * error


def test_the_page() -> None:
    """docs/reproduce.md shows the rows of docs/reproduce.json, which has every experiment with a number, and none is
    off by more than what the largest of so many pulls may be, in one of 100 tables."""
    found = [Row(**row) for row in json.loads(RECORD.read_text())]
    assert published.render(found) in (DOCS / "reproduce.md").read_text()
    assert published.render(found[:-1]) + "\n\n<!-- end" not in (DOCS / "reproduce.md").read_text(), "the control"
    names = {name.removeprefix("reproduce/") for name in configs.options("experiment") if name.startswith("reproduce/")}
    assert names - {row.experiment for row in found} == {"ntk_second_moment"}
    assert max(abs(row.pull) for row in found) < norm.isf(0.005 / len(found))
    assert all((DOCS / "reproduce.md").read_text().count(name) for name in names)
