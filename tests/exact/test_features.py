"""Feature functions have the kernels that docs/theory.md states, and change nothing where there are none."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import configs
from simulate import inputs
from simulate.api import read_one
from simulate.inputs.features import FUNCTIONS, feature_functions
from simulate.settings.features import FEATURES, FeatureMap, Features
from simulate.settings.reader import SettingsError
from simulate.store.sets import DataSet

X = np.random.default_rng(0).standard_normal((5, 3))
PERIOD = 3.0


def phi(name: str, **parameters: object) -> np.ndarray:
    return inputs.mapped(inputs.Samples(X, None, 5), Features(name, parameters)).x


def gram(features: np.ndarray) -> np.ndarray:
    return np.asarray(features @ features.T / features.shape[1])


def test_polynomials_have_the_polynomial_kernel() -> None:
    """docs/theory.md (5.43), the mean of (x.x'/d)^k. Negative control: another degree."""
    found = phi("polynomial", degree=3)
    assert found.shape[1] == math.comb(6, 3) - 1
    for degree, right in ((3, True), (2, False), (4, False)):
        kernel = sum((X @ X.T / 3) ** k for k in range(1, degree + 1)) / degree
        assert np.allclose(gram(found), kernel, rtol=1e-12, atol=1e-13) == right
    monomials = [np.prod(X[:, list(f)], axis=1) for k in (1, 2, 3) for f in itertools.product(range(3), repeat=k)]
    assert np.linalg.matrix_rank(np.vstack([phi("polynomial", degree=3).T, monomials])) == 5, "nothing but monomials"


def test_waves_have_the_periodic_kernel() -> None:
    """docs/theory.md (5.44). Negative control: another period."""
    found = phi("fourier", frequencies=4, period=PERIOD)
    for period, right in ((PERIOD, True), (1.01 * PERIOD, False)):
        apart = 2 * np.pi / period * (X[:, None] - X[None])
        kernel = np.mean([np.cos(k * apart).mean(axis=2) for k in range(1, 5)], axis=0)
        assert np.allclose(gram(found), kernel, rtol=1e-12, atol=1e-13) == right
    shifted = FUNCTIONS["fourier"](X + PERIOD, frequencies=4, period=PERIOD)
    np.testing.assert_allclose(found, shifted, atol=1e-12)


def test_random_features_are_those_of_their_seed() -> None:
    """docs/theory.md (5.45): many of them have the mean over w and b as their kernel, here of one sample, to four
    standard errors, which a false alarm of 6e-5 exceeds. Control: without the random offsets b the mean is another."""
    np.testing.assert_array_equal(phi("random", count=7, seed=3), phi("random", count=7, seed=3))
    assert not np.array_equal(phi("random", count=7, seed=3), phi("random", count=7, seed=4))
    squares = phi("random", count=40_000, seed=0)[0] ** 2
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    error = squares.std() / math.sqrt(len(squares))
    for offset, right in ((1.0, True), (0.0, False)):
        mean = weights @ np.tanh(math.sqrt(offset + (X[0] ** 2).mean()) * nodes) ** 2 / weights.sum()
        assert (abs(squares.mean() - mean) < 4 * error) == right


@pytest.mark.parametrize("name", FEATURES)
def test_every_map_has_its_function_its_file_and_its_number(name: str) -> None:
    features = read_one([f"features={name}"]).features
    assert features.name == name
    assert phi(name, **features.parameters).shape == (5, FEATURES[name].count(3, features.parameters))
    assert set(features.parameters) == {option.name for option in FEATURES[name].options}
    assert FEATURES.keys() == FUNCTIONS.keys() == set(configs.options("features")) - {"none"}


def test_without_features_nothing_changes(run: Callable[..., DataSet]) -> None:
    """The identity of a data set on plain inputs does not name them; that of one on feature functions does."""
    small = ["network.width=4", "network.depth=2", "ensemble.networks=4", "ensemble.block=4", "inputs.classes=[3,5]"]
    plain, mapped = run(*small), run(*small, "features=fourier", "features.frequencies=3")
    assert "features" not in plain.manifest["identity"]
    assert plain.manifest["identity"]["network"]["n_0"] == 64
    assert mapped.manifest["identity"]["features"]["parameters"] == {"frequencies": 3, "period": 4.0}
    assert mapped.manifest["identity"]["network"]["n_0"] == mapped.samples()[0].shape[1] == 64 * 6
    np.testing.assert_allclose((mapped.samples()[0] ** 2).mean(axis=1), 1.0, rtol=1e-12)
    rows = mapped.table()
    np.testing.assert_allclose(rows.loc[rows["layer"] == 1, "g_0_0"], 1.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["features=polynomial", "features.degree=0"], "features.degree=0: a whole number from 1 to 100"),
        (["features=fourier", "features.period=0"], "features.period=0: a number > 0"),
        (["features=random", "features.frequencies=2"], "features.frequencies=2"),
        (["features=polynomial", "features.name=spline"], "one of none, polynomial, fourier, random"),
    ],
)
def test_wrong_settings_are_named(overrides: list[str], message: str) -> None:
    with pytest.raises((SettingsError, configs.ConfigError), match=message):
        read_one(overrides)


def test_maps_that_cannot_be_used_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = inputs.Samples(X, None, 5, words="inputs=a.csv: x = a")
    assert inputs.mapped(samples, Features("fourier", {"frequencies": 2, "period": 1.0})).words.endswith(
        "; 12 fourier features"
    )
    with pytest.raises(SettingsError, match="more than 8 GiB; choose fewer"):
        inputs.mapped(replace(samples, x=np.ones((5, 1000))), Features("polynomial", {"degree": 5}))
    with pytest.raises(SettingsError, match="sample 0 has a feature that is not a finite number"):
        inputs.mapped(replace(samples, x=1e200 * X), Features("polynomial", {"degree": 3}))
    monkeypatch.setitem(FEATURES, "two", FeatureMap("two", "none", count=lambda d, p: 2))
    with pytest.raises(SettingsError, match="a record without a function"):
        inputs.mapped(samples, Features("two"))
    monkeypatch.setitem(FUNCTIONS, "two", lambda x: x)
    with pytest.raises(SettingsError, match=r"its function gives \(5, 3\), not \(5, 2\)"):
        inputs.mapped(samples, Features("two"))
    with pytest.raises(ValueError, match="no features 'three' is registered"):
        feature_functions("three")
    with pytest.raises(ValueError, match="choose another name"):
        FeatureMap("none", "none", count=lambda d, p: 1)
