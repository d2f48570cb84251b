"""What inference learns beyond training of the readout, on networks of known averages: docs/theory.md (16.14)."""

import numpy as np
import pytest

from analysis import theory
from analysis.measures.measured import MEASURES
from tests.exact.measures.rows import Rows, Wanted, expect, inputs_of
from tests.exact.measures.test_bayesian import NOISE, SIGNS, X, Y, data, plain, wide
from tests.exact.measures.test_random_features import point, predictors
from tests.exact.measures.test_trained_cumulants import BY_STEP, DATA, ENGINE, GRAM, OWN, WIDTH
from tests.exact.measures.test_trained_cumulants import Y as TARGETS


def check(name: str, value: np.ndarray, coefficient: np.ndarray) -> None:
    """A measure against plain averages, up to the jackknife's correction of order 1/M, and its theory. Negative
    control: networks with half the signs."""
    (found,), (half,) = (MEASURES[name](rows.point, None) for rows in (point(), data(0.02)))
    np.testing.assert_allclose(found.estimate.value, 8 * value, rtol=0.05)
    assert np.abs(half.estimate.value - 8 * value).max() > 0.3 * np.abs(8 * value).max()
    np.testing.assert_allclose(found.theory, coefficient, rtol=1e-9)


def within(rows: Rows) -> float:
    """The mean over networks of S at the test sample, by inverses."""
    g = rows.values["g"][:, 0, 2]
    known = g[:, [0, 1, 1, 3]].reshape(-1, 2, 2) + NOISE * np.eye(2)  # columns 00, 01, 02, 11, 12, 22
    cross = g[:, [2, 4]]
    return float((g[:, 5] - np.einsum("mi,mij,mj->m", cross, np.linalg.inv(known), cross)).mean())


def test_learning_mean() -> None:
    f, exact = predictors(point())[:, :, 2].mean(axis=0), wide()
    check("learning_mean", plain(data())["mean"][[2, 5]] - f, (exact.mean1 - exact.features_mean1)[2])


def test_learning_covariance() -> None:
    f, V = predictors(point())[:, :, 2], theory.flow("tanh", 3, 0.1, 1.0, X).V
    assert V is not None
    after, before = plain(data())["covariance"][[2, 5], [2, 5]], f.var(axis=0) + within(point())
    K = theory.flow("tanh", 3, 0.1, 1.0, X, tensors=("K",)).K[-1]
    inverse = np.zeros((3, 3))
    inverse[:2, :2] = np.linalg.inv(K[:2, :2] + NOISE * np.eye(2))
    a, r = inverse[:, :2] @ np.array(Y), np.eye(3)[2] - K[2] @ inverse
    learned = np.einsum("p,pqst,st,q->", r, V[-1], a @ a.T - 2 * inverse, r) / 2
    check("learning_covariance", after - before, np.full(2, learned))


def test_training_mean() -> None:
    """Each network's outputs beyond those of its own NTK, less those of its trained readout, at the test sample: the
    constant of their regression on g - K, by inverses. Negative controls: other outputs, and other kernels."""
    x, (*_, last) = inputs_of(GRAM), BY_STEP.values()
    K = theory.flow("sin", 2, 0.0, 1.0, x, tensors=("K",)).K
    g, upper = last["g"], np.triu_indices(3)
    readout = np.einsum("ma,mab,bi->mi", g[:, 2, :2], np.linalg.inv(g[:, :2, :2]), TARGETS)
    wide = K[1, 2, :2] @ np.linalg.inv(K[1, :2, :2]) @ TARGETS
    d = (last["z"] - last["frozen"] - last["d"])[:, :, 2] - readout + wide
    design = np.column_stack([np.ones(len(g)), (g - K[1])[:, upper[0], upper[1]]])
    value = WIDTH * np.linalg.lstsq(design, d, rcond=None)[0][0]
    exact = theory.posterior("sin", 2, 0.0, 1.0, x, TARGETS, 0.0).features_mean1[2]
    predicted, whole = (ENGINE.mean1[1] - OWN[1].mean1)[[2, 5]] - exact, np.abs(ENGINE.mean1[1][[2, 5]] - exact).max()
    wanted = Wanted("all layers less readout", 2, 6, {f"{i},2": (value[i], predicted[i], whole) for i in range(2)})
    known = DATA.fill("g", 1, lambda a, b: K[0, a, b] * np.ones(len(g)))
    expect(list(MEASURES["training_mean"](known.point, None)), wanted)
    for wrong in (known.scaled("z"), known.exchanged("g", (0, 2), (1, 2))):
        with pytest.raises(AssertionError):
            expect(list(MEASURES["training_mean"](wrong.point, None)), wanted)


def test_training_covariance() -> None:
    """Covariances of the outputs at the test sample less those of the same networks with a trained readout, by
    inverses: the constant of their regression on g - K times 1, xi and xi xi, z = C xi. Negative controls: other
    outputs, and other kernels."""
    x, (*_, last) = inputs_of(GRAM), BY_STEP.values()
    flow = theory.flow("sin", 2, 0.0, 1.0, x)
    assert flow.V is not None
    K, V, g, start = flow.K[1], flow.V[1], last["g"], DATA.point.read("z", 2).reshape(-1, 2, 3)
    moved = np.linalg.inv(g[:, :2, :2]) @ (TARGETS - start[:, :, :2].swapaxes(1, 2))
    both = last["z"][:, :, 2], start[:, :, 2] + np.einsum("ma,mai->mi", g[:, 2, :2], moved)
    squares = [(z - z.mean(axis=0)) ** 2 for z in both]
    exact, inverse = theory.posterior("sin", 2, 0.0, 1.0, x, TARGETS, 0.0), np.zeros((3, 3))
    inverse[:2, :2] = np.linalg.inv(K[:2, :2])
    a, r = inverse[:, :2] @ TARGETS, np.eye(3)[2] - K[2] @ inverse
    learned = np.einsum("p,pqst,st,q->", r, V, a @ a.T - 2 * inverse, r) / 2
    wide = ENGINE.covariance[1][[2, 5], [2, 5]] - exact.covariance[2, 2]
    predicted = ENGINE.covariance1[1][[2, 5], [2, 5]] - exact.covariance1[[0, 1], 2, [0, 1], 2] + learned
    upper, values = np.triu_indices(3), []
    for i in range(2):
        xi = np.linalg.solve(np.linalg.cholesky(g), start[:, i, :, None])[:, :, 0]
        factors = np.column_stack([np.ones(len(g)), xi, xi[:, upper[0]] * xi[:, upper[1]]])
        controls = ((g - K)[:, upper[0], upper[1], None] * factors[:, None]).reshape(len(g), -1)
        design = np.column_stack([np.ones(len(g)), controls / controls.std(axis=0)])
        values.append(np.linalg.lstsq(design, squares[0][:, i] - squares[1][:, i], rcond=None)[0][0])
    of_sample = WIDTH * (np.array(values) - wide) * len(g) / (len(g) - 1)
    columns = {f"{i}{i},22": (of_sample[i], predicted[i], np.abs(predicted).max()) for i in range(2)}
    wanted = Wanted("all layers less readout, covariance", 2, 6, columns)
    known = DATA.fill("g", 1, lambda a, b: flow.K[0, a, b] * np.ones(len(g)))
    expect(list(MEASURES["training_covariance"](known.point, None)), wanted)
    for wrong in (known.scaled("z"), known.scaled("g")):
        with pytest.raises(AssertionError):
            expect(list(MEASURES["training_covariance"](wrong.point, None)), wanted)


def test_readout_controls() -> None:
    """m(2) = g(2) - K(2) and m(3) = g(3) - C_b - C_W g(2) of linear networks. Negative control: another g(3)."""
    signs, K = SIGNS[:, :6], theory.flow("linear", 3, 0.1, 1.0, X, tensors=("K",)).K
    known = data(0.03, activation="linear")
    pairs = known.layout.indices(known.family("g"))
    known.fill("g", 2, lambda a, b: K[1, a, b] + 0.05 * signs[:, pairs.index((a, b))] + 0.01)
    V = theory.flow("linear", 3, 0.1, 1.0, X).V
    assert V is not None
    unit = np.sqrt([[V[(layer, *pair, *pair)] / 8 for pair in pairs] for layer in (1, 2)])
    m2, m3 = 0.05 * signs + 0.01, -0.02 * signs - 0.01
    names = [f"{a}{b}" for a, b in pairs]
    products = (m2[:, :, None] * m3[:, None, :]).mean(axis=0) / np.outer(*unit)

    def wanted(tensor: str, layer: int, values: dict[str, float]) -> Wanted:
        return Wanted(tensor, layer, 0, {name: (value, 0.0, 1.0) for name, value in values.items()})

    expected = [wanted("m", layer, dict(zip(names, m.mean(axis=0) / of, strict=True)))
                for layer, m, of in ((2, m2, unit[0]), (3, m3, unit[1]))]  # fmt: skip
    of_pairs = {f"{a},{b} of 2": products[i, j] for i, a in enumerate(names) for j, b in enumerate(names)}
    expected.append(wanted("m m", 3, of_pairs))
    expect(list(MEASURES["readout_controls"](known.point, None)), *expected)
    with pytest.raises(AssertionError):
        expect(list(MEASURES["readout_controls"](known.scaled("g").point, None)), *expected)
