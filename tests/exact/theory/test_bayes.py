"""Bayesian inference at order 1/n agrees with reference numbers, exact laws and identities: docs/theory.md section
16."""

import json
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis import theory
from analysis.theory.bayes import EXACT_SAMPLES, Given
from analysis.theory.vertex import exact_vertex, pulled_back

REFERENCE = json.loads((Path(__file__).parents[2] / "data" / "bayes_reference.json").read_text())
CASES = REFERENCE["cases"]
X, Y = np.array([[1.0, 0.3], [-0.4, 1.2], [0.8, -0.9]]), np.array([[0.7], [-1.1]])


def of_case(name: str, **changes: Any) -> theory.Posterior:
    case = CASES[name] | changes
    arguments = [case[key] for key in ("act", "depth", "C_b", "C_W", "x", "y", "noise")]
    return theory.posterior(*arguments, points=case.get("points"))


@lru_cache
def known(name: str) -> theory.Posterior:
    return of_case(name)


@pytest.mark.parametrize("name", CASES)
def test_reference(name: str) -> None:
    """Every coefficient of docs/theory.md (16.7) to (16.11), (16.15) and (16.16) for tanh, ReLU, linear and two outputs
    with biases, computed by other code. Negative control: another noise."""
    case = CASES[name]
    outputs, want = len(case["y"][0]), case["prediction"]

    def numbers(found: theory.Posterior) -> dict[str, np.ndarray]:
        numbers = {
            "logZ": np.array(found.log_evidence1),
            "mean": found.mean1,
            "within": (found.covariance1 - found.features_covariance1)[0, :, 0],
            "between": found.features_covariance1.transpose(1, 0, 3, 2),
            "mean_prior": found.features_mean1,
            "train_error": found.train_error1,
        }
        numbers |= {f"g{layer}": found.kernels1[layer - 2] for layer in range(2, case["depth"] + 1)}
        return {key: np.ravel(value) for key, value in numbers.items()}

    found = known(name)
    for key, value in numbers(found).items():
        np.testing.assert_allclose(value, want[key], rtol=1e-10, atol=1e-11, err_msg=key)
    np.testing.assert_allclose(found.log_evidence, case["psi"], rtol=1e-12)
    np.testing.assert_allclose(found.mean, case["m"], rtol=1e-11)
    np.testing.assert_allclose(found.covariance, case["S"], rtol=1e-10, atol=1e-14)
    assert found.covariance1.shape == (outputs, len(case["x"]), outputs, len(case["x"]))
    for key, value in numbers(of_case(name, noise=1.1 * case["noise"])).items():
        assert not np.allclose(value, want[key], rtol=1e-3), key


def test_predictive_cumulants() -> None:
    """Third and fourth cumulant of the test sample's output, docs/theory.md (16.11)."""
    found = known("tanh_L3_2+1")
    np.testing.assert_allclose([found.third1[2, 0], found.fourth1[2]], REFERENCE["predictive"], rtol=1e-10)
    assert (found.fourth1 > 0).all()


@pytest.mark.parametrize(("name", "case"), [("tanh", "tanh_L3_2+1"), ("relu", "tanh_L3_2+1")])
def test_ntk(name: str, case: str) -> None:
    """The posterior NTK of docs/theory.md (16.13). Negative control: without conditioning the last layer, which leaves
    out the terms of F, it differs by more than a tenth."""
    changed = CASES[case] | {"act": name, "C_W": theory.critical(name).C_W}
    arguments = [changed[key] for key in ("act", "depth", "C_b", "C_W", "x", "y", "noise")]
    found = theory.posterior(*arguments, lambda_b=1.0, lambda_W=1.0).ntk1
    assert found is not None
    want = np.array(REFERENCE["ntk"][name]["predicted_posterior"])
    np.testing.assert_allclose(found[0, :, 0][np.triu_indices(3)], want, rtol=1e-8)
    flow = theory.flow(*arguments[:5], 1.0, 1.0, tensors=("K", "Theta1", "D"))
    Phi = Given.of(flow.K[-1], np.array(changed["y"]), changed["noise"]).Phi
    unconditioned = flow["Theta1"][-1] + np.einsum("cdab,cd->ab", flow["D"][-1], Phi) / 2
    assert np.abs(unconditioned[np.triu_indices(3)] / want - 1).max() > 0.1
    assert theory.posterior(*arguments).ntk1 is None


def test_one_sample_is_a_hermite_polynomial() -> None:
    """docs/theory.md (16.7) at one sample: G1/2K (u - 1) + V/8K^2 He_4(sqrt u), and zeros of He_4 for a scale-invariant
    activation, whose G1 vanishes. Negative control: u = 1."""
    x = np.array([[0.8, -0.5]])
    flow = theory.flow("tanh", 4, 0.1, 1.3, x)
    K, G1, V = flow.K[-1, 0, 0], flow["G1"][-1, 0, 0], flow["V"][-1, 0, 0, 0, 0]
    for u in (0.2, 1.0, 3.0, 9.0):
        found = theory.posterior("tanh", 4, 0.1, 1.3, x, [math.sqrt(u * K)], 0.0)
        want = G1 / (2 * K) * (u - 1) + V / (8 * K**2) * (u**2 - 6 * u + 3)
        assert found.log_evidence1 == pytest.approx(want, rel=1e-9)
    K = theory.flow("relu", 4, 0.0, 2.0, x).K[-1, 0, 0]
    at = [theory.posterior("relu", 4, 0.0, 2.0, x, [math.sqrt(u * K)], 0.0).log_evidence1
          for u in (3 - math.sqrt(6), 3 + math.sqrt(6), 1.0)]  # fmt: skip
    assert np.abs(at[:2]).max() < 1e-12
    assert at[2] < -1


def test_no_correction_at_train_samples_without_noise() -> None:
    """Outputs are given there, docs/theory.md (16.10) and (16.11). Negative control: the test sample."""
    found = theory.posterior("tanh", 3, 0.1, 1.2, X, Y, 0.0)
    np.testing.assert_allclose(found.mean[:2], Y, rtol=1e-12)
    for value in (found.mean1[:2], found.covariance1[0, :2], found.features_mean1[:2], found.covariance[:2],
                  found.features_covariance1[0, :2], found.third1[:2], found.train_error1):  # fmt: skip
        np.testing.assert_allclose(value, 0, atol=1e-13)
    assert min(abs(found.mean1[2, 0]), abs(found.covariance1[0, 2, 0, 2]), abs(found.third1[2, 0])) > 0.01


def test_outputs_are_exchangeable() -> None:
    """Exchanged outputs exchange their posteriors; an output hears of the targets of another through what kernels
    learn alone, docs/theory.md (16.10), and two of equal targets are correlated, docs/theory.md (16.11)."""
    y = np.array([[0.7, 0.2], [-1.1, 0.4]])
    found, other = (theory.posterior("tanh", 3, 0.1, 1.2, X, targets, 0.1) for targets in (y, y[:, ::-1]))
    np.testing.assert_allclose(found.mean1, other.mean1[:, ::-1], rtol=1e-12)
    np.testing.assert_allclose(found.covariance1, other.covariance1[::-1][:, :, ::-1], rtol=1e-11, atol=1e-14)
    assert found.log_evidence1 == pytest.approx(other.log_evidence1, rel=1e-12)
    moved = theory.posterior("tanh", 3, 0.1, 1.2, X, y * [1.0, 2.0], 0.1)
    np.testing.assert_allclose(moved.features_mean1[:, 0], found.features_mean1[:, 0], rtol=1e-12)
    assert np.abs(moved.mean1[:, 0] / found.mean1[:, 0] - 1).max() > 0.01
    assert np.abs(found.covariance1[0, :, 1]).max() > 1e-3


@pytest.mark.parametrize("key", REFERENCE["deep_linear_exact"])
def test_exact_law_of_deep_linear_networks(key: str) -> None:
    """Evidence, mean, variance and E G of docs/theory.md (16.18) at widths 16 to 256, the evidence by Meijer's G where
    there is no noise, and what is left of the coefficients of 1/n beyond the exact law falls as 1/n."""
    want, (noise, n) = REFERENCE["deep_linear_exact"][key], map(float, key.split("_"))
    case = CASES["linear_L4_3+1"]
    K = theory.flow("linear", 4, 0.0, 1.0, case["x"], tensors=("K",)).K[-1]
    wide = Given.of(K, np.array(case["y"]), noise)

    def corrections(width: float) -> np.ndarray:
        law = theory.deep_linear(K, case["y"], noise, [int(width)] * 3)
        mean, variance = law.mean - K @ wide.a[0], np.diag(law.covariance - wide.S)
        return width * np.array([law.log_evidence - wide.log_evidence, *mean, *variance])

    np.testing.assert_allclose(corrections(n), [want["logZ"], *want["mean"], *want["var"]], rtol=1e-6, atol=2e-9)
    exact = theory.deep_linear(K, case["y"], noise, [int(n)] * 3)
    assert n * (exact.scale - 1) == pytest.approx(want["EG"], rel=1e-7)
    if want["meijer"] is not None:
        assert exact.log_evidence == pytest.approx(want["meijer"], abs=1e-12)


@pytest.mark.parametrize("noise", [0.1, 0.0])
def test_expansion_of_the_exact_law(noise: float) -> None:
    """The coefficients of docs/theory.md (16.7), (16.10) and (16.11) are limits of the exact law, docs/theory.md
    (16.18), at unequal widths too. Negative control: the ratios of the widths the other way round."""
    case = CASES["linear_L4_3+1"]
    found = theory.posterior("linear", 4, 0.0, 1.0, case["x"], case["y"], noise, width_ratios=[1.0, 2.0, 0.5])
    K, y = theory.flow("linear", 4, 0.0, 1.0, case["x"], tensors=("K",)).K[-1], case["y"]

    def extrapolated(second: int) -> np.ndarray:
        rows = []
        sizes = [256, 512, 1024, 2048]
        for n in sizes:
            law = theory.deep_linear(K, y, noise, [n, second * n // 2, n])
            mean, variance = law.mean - found.mean[:, 0], np.diag(law.covariance - found.covariance)
            rows.append(n * np.array([law.log_evidence - found.log_evidence, *mean, *variance]))
        return np.linalg.solve(np.vander(1 / np.array(sizes), increasing=True), np.array(rows))[0]

    want = np.array([found.log_evidence1, *found.mean1[:, 0], *np.diag(found.covariance1[0, :, 0])])
    np.testing.assert_allclose(extrapolated(4), want, rtol=2e-5, atol=2e-5)
    assert not np.allclose(extrapolated(1), want, rtol=1e-2)


@pytest.mark.parametrize("name", [name for name in REFERENCE["training"] if name.startswith("readout")])
def test_training_of_the_readout(name: str) -> None:
    """At sigma = 0 docs/theory.md (16.4) and (16.15) give what the theory of training says of gradient flow of the last
    layer alone, and Bayesian inference differs by what kernels learn, docs/theory.md (16.14)."""
    want, (_, activation, depth) = REFERENCE["training"][name], name.split()
    case = CASES["tanh_L3_2+1"]
    found = theory.posterior(activation, int(depth), 0.0, 1.0, case["x"], case["y"], 0.0)
    assert found.features_mean1[2, 0] == pytest.approx(want["m1_pred"], abs=1e-9)
    assert found.features_mean1[2, 0] == pytest.approx(want["m1"], abs=1e-6)
    assert found.mean1[2, 0] == pytest.approx(want["bayes_m1"], abs=1e-9)
    assert found.covariance1[0, 2, 0, 2] == pytest.approx(want["bayes_C1"], rel=1e-9)


def test_training_of_the_readout_by_the_other_theory() -> None:
    """The mean at the end of gradient flow of the last layer, docs/theory.md (5.29), is that of docs/theory.md (16.4).
    Negative control: flow of all layers."""
    found = theory.posterior("tanh", 3, 0.1, 1.2, X, Y, 0.0)
    end = [
        theory.trained_to_order_n("tanh", 3, 0.1, 1.2, X, Y, 0.5, [400], "gradient_flow", lambda_b=b, lambda_W=W)
        for b, W in (([0, 0, 0.1], [0, 0, 1.2]), (0.1, 1.2))
    ]
    np.testing.assert_allclose(end[0].mean1[0], found.features_mean1[:, 0], atol=1e-9)
    np.testing.assert_allclose(end[0].mean[0], found.mean[:, 0], rtol=1e-9)
    assert abs(end[1].mean1[0, 2] - found.features_mean1[2, 0]) > 0.01


@pytest.mark.parametrize("depth", [2, 4])
def test_training_of_all_layers(depth: int) -> None:
    """Gradient flow of all layers of deep linear networks ends with half of what Bayesian inference and training of the
    readout, change of the test variance at order 1/n, and none of the mean: docs/theory.md (16.14), to 1e-4, which is
    the error of its steps. Negative control: tanh."""
    case = CASES["tanh_L3_2+1"]

    def both(activation: str) -> tuple[float, float, float]:
        common = [activation, depth, 0.0, 1.0, case["x"], case["y"]]
        end = theory.trained_to_order_n(*common, 0.05, [500], "gradient_flow")
        return end.covariance1[0, 2, 2], theory.posterior(*common, 0.0).covariance1[0, 2, 0, 2], end.mean1[0, 2]

    trained, inferred, mean1 = both("linear")
    assert inferred == pytest.approx(REFERENCE["training"][f"linear {depth}"]["bayes"], rel=1e-10)
    assert trained == pytest.approx(inferred / 2, rel=1e-4)
    assert abs(mean1) < 1e-9
    trained, inferred, _ = both("tanh")
    assert abs(trained / inferred - 1 / 2) > 0.1


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_pull_back(activation: str) -> None:
    """Averages over points, docs/theory.md (16.12), approach V of the quadrature in forms, in what kernels learn,
    docs/theory.md (16.9), and in G1, with unequal widths, a repeated sample and biases. Negative control: one width."""
    s, x = theory.activation(activation), X[[0, 1, 2, 1]]
    rng = np.random.default_rng(0)
    forms = rng.standard_normal((3, 4, 4))
    forms += forms.swapaxes(1, 2)
    exact = exact_vertex(s, 4, 0.1, 1.2, x, [1.0, 2.0, 0.5])

    def numbers(vertex: Any) -> np.ndarray:
        products = [np.einsum("kab,iab->ki", J, forms) for J in vertex.roots()]
        of_forms = sum(product.T @ product for product in products)
        return np.concatenate([np.ravel(of_forms), np.ravel(vertex.learned(forms[0])), np.ravel(vertex.G1)])

    want = numbers(exact)
    assert np.abs(numbers(pulled_back(s, 4, 0.1, 1.2, x, [1.0, 2.0, 0.5], 2**16)) - want).max() < 4e-3 * want.max()
    assert np.abs(numbers(pulled_back(s, 4, 0.1, 1.2, x, None, 2**16)) - want).max() > 0.1 * want.max()


def test_refusals() -> None:
    """Wrong arguments are refused with what would be right."""
    right: list[Any] = ["tanh", 3, 0.0, 1.0, X, Y, 0.1]
    for place, value, words in (
        (5, np.ones((4, 1)), "1 to D=3"),
        (5, [np.nan], "finite"),
        (6, -0.1, "noise=-0.1"),
        (6, math.nan, "noise=nan"),
        (1, 0, "depth=0"),
    ):
        with pytest.raises(ValueError, match=words):
            theory.posterior(*right[:place], value, *right[place + 1 :])
    twice = X[[0, 0]]
    with pytest.raises(ValueError, match="more noise gives it one"):
        theory.posterior("tanh", 3, 0.0, 1.0, twice, Y, 0.0)
    assert math.isfinite(theory.posterior("tanh", 3, 0.0, 1.0, twice, Y, 0.1).log_evidence1)
    with pytest.raises(ValueError, match=f"at most {EXACT_SAMPLES}"):
        theory.posterior("tanh", 2, 0.0, 1.0, np.eye(5), Y, 0.1, lambda_W=1.0)
    for arguments, words in (((np.eye(2), [1.0], 0.1, [0]), "widths"), ((-np.eye(2), [1.0], 0.1, [4]), "eigenvalue"),
                             ((np.ones(2), [1.0], 0.1, [4]), "shapes")):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            theory.deep_linear(*arguments)


def test_one_layer_has_no_corrections() -> None:
    """Networks without a hidden layer are Gaussian at every width."""
    found = theory.posterior("tanh", 1, 0.1, 1.0, X, Y, 0.1)
    assert found.log_evidence1 == 0
    assert not found.mean1.any()
    assert found.kernels1.shape == (0, 3, 3)
    assert found.share(8) == 1
