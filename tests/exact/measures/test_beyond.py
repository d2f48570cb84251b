"""Measures at networks with skips or orthogonal weights: what is known there, what they need, and products beside g."""

from dataclasses import replace

import numpy as np
import pytest

from analysis import claims
from analysis.inference import check
from analysis.measures.given_below import pair_means, pair_products
from tests.exact.measures.rows import Rows, inputs_of, rows

GRAM = np.array([[1.0, 0.3], [0.3, 0.8]])
# Tilted networks have Gaussian weights and no skips by their settings.
OF_NETWORKS = sorted(name for name, record in claims.tests().items() if not (record.quadratic or record.tilted))
CONDITIONED = [name for name in OF_NETWORKS if claims.tests()[name].conditioned]
CONDITION = ["ensemble.condition.noise=0.1", "observables.record=[kernel,moments,outputs,ntk,log_w]"]
KNOWN = ("A", "B", "D", "F", "G1", "K", "Theta1", "V", "V_of_neurons", "cumulant", "ntk_mean", "ntk_variance")
MEASURED = ("ntk_movement",)  # where no theory has a number
OF_DIFFERENTIALS = ("P", "Q", "R", "S", "T", "U")  # known for orthogonal weights
AT_SKIPS = ("A", "B", "F", "G1", "K", "Theta1", "V", "V_of_neurons", "ntk_mean", "ntk_variance")


def data(*overrides: str, skip: object = 0.5, x: object = GRAM[:1, :1]) -> Rows:
    given = ["activation=tanh", "network=residual", "network.depth=4", "network.width=8", "network.outputs=2",
             f"network.skip={skip}", "observables.record=[kernel,moments,outputs,ntk]", "observables.layers=all",
             "observables.output_layers=all", "initialization=gaussian",
             "initialization.C_W=1.5", *overrides]  # fmt: skip
    return rows(*given, x=inputs_of(x))


def reasons(name: str, given: Rows, layers: list[int] | None = None) -> list[str]:
    return list(claims.tests()[name].missing(given.point, layers))


@pytest.mark.parametrize("name", OF_NETWORKS)
def test_tests_are_known_for_residual_networks_or_refused(name: str) -> None:
    """Every test that is not known for skips says so. Control: without a skip none does."""
    refusal = f"network.skip=0.5: {name} is known for networks without skips: with one, neurons remember their past"
    given = CONDITION if name in CONDITIONED else []
    assert (refusal in reasons(name, data(*given))) == (name not in (*KNOWN, *MEASURED))
    assert not any("skip" in reason for reason in reasons(name, data(*given, skip=0)))


@pytest.mark.parametrize("name", [name for name in OF_NETWORKS if name not in CONDITIONED])
def test_tests_are_known_for_orthogonal_weights_or_refused(name: str) -> None:
    """Every test that is not known for orthogonal weights says so; D is none: it reads g for z z. Networks that
    are conditioned on targets have Gaussian weights by their settings."""
    given = data("initialization=orthogonal", "initialization.C_b=0.1", "initialization.C_W=1.0", skip=0)
    refusal = f"initialization=orthogonal: {name} is known for Gaussian weights: orthogonal ones have other moments"
    assert (refusal in reasons(name, given)) == (name not in (*KNOWN, *MEASURED, *OF_DIFFERENTIALS) or name == "D")
    with pytest.raises(ValueError, match="this theory is known for Gaussian weights: independent"):
        given.point.network(given.point.samples[0])


@pytest.mark.parametrize("name", KNOWN)
def test_layers_to_which_a_skip_leads(name: str) -> None:
    """The conditional kernel is none of the neurons there, and D, which reads it, is refused; the last layer has no
    skip, and neither has layer 3 where its gamma is 0."""
    if name != "cumulant":
        known = reasons(name, data(), [2, 4])
        assert known == [] if name in AT_SKIPS else "not at layer 2" in known[0]
    assert reasons(name, data(), [4]) == []
    assert reasons(name, data(skip="[0.5,0]"), [3, 4]) == []


def test_moments_of_the_layer_below() -> None:
    """V and G1 need them where a skip leads to their layer, and nowhere else."""
    given = data("observables.record=[kernel]")
    assert reasons("V", given, [3]) == ["network.skip=0.5: V at layer 3 needs columns m2 and m4 at layer 2"]
    assert reasons("G1", given, [3]) == ["network.skip=0.5: G1 at layer 3 needs columns m2 at layer 2"]
    assert reasons("V", given, [4]) == reasons("G1", given, [4]) == []


def test_theory_of_other_networks_is_refused() -> None:
    """What the theory of a point does not know is an error, and never the number of the plain network."""
    point = data(x=GRAM).point
    assert point.flow(("K", "Theta")).K[1, 0, 1] != data(skip=0, x=GRAM).point.flow(("K", "Theta")).K[1, 0, 1]
    assert point.flow(True)["G1"].shape == (4, 2, 2)
    with pytest.raises(ValueError, match=r"P not known for skip"):
        point.flow(("P",))
    with pytest.raises(ValueError, match=r"network.skip=0.5: this theory is known for networks without skips"):
        point.network(point.samples[0])
    for other in (point, data("initialization=orthogonal", "initialization.C_b=0.1", skip=0).point):
        with pytest.raises(ValueError, match="inference is known for networks without skips and with Gaussian"):
            check(other, np.ones((1, 1)), 0.1)
    check(data(skip=0).point, np.ones((1, 1)), 0.1)
    single = data().point
    last = single.flow(True)
    assert last.V is not None
    assert last.V[3].item() != data(skip="[0.5,0.4]").point.flow(True)["V"][3].item()
    assert single.skips == (0.5, 0.5, 0.0)


@pytest.mark.parametrize("skip", [0.0, 0.5])
def test_products_of_distinct_neurons(skip: float) -> None:
    """`pair_products` are averages over neurons i != j of products of E[z_i z_i|below] = g + gamma^2 z z of
    docs/theory.md (11.10), as sums over all pairs of neurons have them. Without a skip they are products of g."""
    given, n = data(x=GRAM, skip=skip), 8
    generator = np.random.default_rng(0)
    z, g = generator.normal(size=(given.point.networks, n, 2)), generator.normal(size=(given.point.networks, 3))
    given = given.fill("g", 3, lambda a, b: g[:, a + b])
    for order in (2, 4):
        given = given.fill(f"m{order}", 2, lambda *a: z[:, :, list(a)].prod(axis=2).mean(axis=1))
    point, pairs = given.point, given.point.columns("g")
    kernel = np.stack([g[:, a + b] for a, b in pairs], axis=1)
    each = kernel[:, None] + skip**2 * np.stack([z[:, :, a] * z[:, :, b] for a, b in pairs], axis=2)
    np.testing.assert_allclose(pair_means(point, 3), each.mean(axis=1), rtol=1e-10, atol=1e-12)
    components = [(0, 0), (0, 1), (1, 1), (1, 2)]
    got = pair_products(point, 3, components)
    if not skip:
        assert got is None
        return
    assert got is not None
    for k, (p, q) in enumerate(components):
        total = each[:, :, None, p] * each[:, None, :, q] * (1 - np.eye(n))
        np.testing.assert_allclose(got[:, k], total.sum(axis=(1, 2)) / (n * (n - 1)), rtol=1e-10, atol=1e-12)
    assert pair_products(replace(given).point, 4, components) is None
