"""Training by any loss at order 1/n, docs/theory.md (5.37) and (5.38), agrees with reference numbers and identities."""

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from analysis import theory
from analysis.stages import stages
from analysis.theory import composite, cumulants, nodes, responses
from analysis.theory.activations import Array
from analysis.theory.losses import LOSSES

REFERENCE = json.loads((Path(__file__).parents[2] / "data" / "training_reference.json").read_text())
SETTINGS = REFERENCE["tanh L=3 descent"]["settings"]
TRAIN = np.arange(2)


@pytest.fixture(scope="module")
def start() -> composite.Initial:
    """tanh at depth 3, two train samples and a test sample, one output."""
    x = np.array(SETTINGS["inputs"])
    return composite.initial(theory.flow("tanh", 3, 0.0, 1.0, x, 1.0, 1.0, tensors=composite.TENSORS), 1)


@pytest.mark.parametrize("algorithm", ["gradient_descent", "nesterov"])
def test_nodes_of_the_mse_are_the_closed_form(algorithm: str, start: composite.Initial) -> None:
    """With the loss 1/2 sum (z - y)^2 the average over nodes is docs/theory.md (5.29), (5.30) and (5.33). Negative
    control: without the density of Edgeworth, which the covariance needs."""
    y, recursion = np.array([[1.0], [-0.7]]), stages(algorithm, 0.4)
    (answer,) = responses.responses(start, TRAIN, np.full(6, 0.2), [6], recursion)
    wanted = cumulants.cumulants(start, answer, y[:, 0])
    (found,) = nodes.by_nodes(start, TRAIN, y, LOSSES["mse"], np.full(6, 0.2), [6], recursion, 8)
    for field in fields(cumulants.Cumulants):
        value = getattr(found, field.name)
        if value is not None:
            np.testing.assert_allclose(value, getattr(wanted, field.name), atol=1e-12)
    without = composite.Initial(**{**vars(start), "k4": 0 * start.k4, "G1": 0 * start.G1})
    (found,) = nodes.by_nodes(without, TRAIN, y, LOSSES["mse"], np.full(6, 0.2), [6], recursion, 8)
    assert not np.allclose(found.covariance1, wanted.covariance1, rtol=0.05)


def test_logistic_reference(start: composite.Initial) -> None:
    """Mean and covariance of logistic regression at infinite width and order 1/n; the error falls with the nodes."""
    known = REFERENCE["tanh L=3 logistic"]
    steps = sorted(map(int, known["steps"]))
    y, errors = np.reshape(known["targets"], (2, 1)).astype(float), {}
    for count in (4, 12):
        found = nodes.by_nodes(
            start,
            TRAIN,
            y,
            LOSSES["cross_entropy"],
            np.full(steps[-1], known["eta"]),
            steps,
            stages("gradient_descent"),
            count,
        )
        errors[count] = 0.0
        for step, at_step in zip(steps, found, strict=True):
            reference = known["steps"][str(step)]
            pairs = {
                "m0": at_step.mean,
                "m1": at_step.mean1,
                "C0": at_step.covariance,
                "C1": at_step.covariance1,
            }
            errors[count] = max(errors[count], *(np.abs(pairs[key] - reference[key]).max() for key in pairs))
    assert errors[12] < 1e-9 < 1e-6 < errors[4]


def test_two_classes_are_logistic_regression() -> None:
    """The difference of two outputs under softmax follows the logistic dynamics of twice the kernels, docs/theory.md
    (5.37), at infinite width. Negative control: once the kernels."""
    x, y = np.array(SETTINGS["inputs"])[:2], np.array([[1.0, 0.0], [0.0, 1.0]])
    two = theory.trained_to_order_n("tanh", 2, 0.0, 1.0, x, y, 0.3, 8, loss="cross_entropy", nodes=8)
    difference = two.mean[0, :2] - two.mean[0, 2:]
    flow = theory.flow("tanh", 2, 0.0, 1.0, x, 0.0, 1.0)
    assert flow.Theta is not None
    assert np.abs(difference).max() > 0.1

    def logistic(scale: float) -> Array:
        z, share = nodes.nodes(scale * flow.K[-1], TRAIN, 14)
        a, sign = np.zeros((len(z), 2)), np.array([1.0, -1.0])
        for _ in range(8):
            margin = sign * (z[:, :2] + a @ (scale * flow.Theta[-1][:2, :2]))  # type: ignore[index]
            a = a + 0.3 * sign * expit(-margin)
        return np.asarray(share @ (z + a @ (scale * flow.Theta[-1][:2])))  # type: ignore[index]

    np.testing.assert_allclose(difference, logistic(2.0), atol=1e-7)
    assert not np.allclose(difference, logistic(1.0), rtol=0.05)


@pytest.mark.parametrize(
    ("name", "outputs", "y"),
    [("mse", 2, [1.0, 2.0]), ("cross_entropy", 1, [-1.0]), ("cross_entropy", 3, [0.2, 0.5, 0.7])],
)
def test_derivatives_of_losses(name: str, outputs: int, y: list[float]) -> None:
    """Curvature and third derivative by central differences of what they are derivatives of."""
    loss, target, h = LOSSES[name], np.array(y), 1e-6
    z = np.random.default_rng(0).normal(size=(5, outputs))
    steps = h * np.eye(outputs)
    for function, slope in ((loss.slope, loss.curvature), (loss.curvature, loss.third)):
        difference = np.stack([(function(z + e, target) - function(z - e, target)) / (2 * h) for e in steps], axis=-1)
        np.testing.assert_allclose(slope(z, target), difference, atol=1e-8)


def test_a_singular_kernel_is_refused(start: composite.Initial) -> None:
    singular = composite.Initial(**{**vars(start), "K": np.ones((3, 3))})
    with pytest.raises(ValueError, match="two inputs may be parallel"):
        nodes.nodes(singular.K, TRAIN, 4)
