"""Training at order 1/n agrees with reference numbers, closed forms and identities, docs/theory.md (5.23) to (5.40)."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis import theory
from analysis.theory import composite, movement, order_n
from analysis.theory.activations import Array
from tests.exact.theory import nearly_kernel

REFERENCE = json.loads((Path(__file__).parents[2] / "data" / "training_reference.json").read_text())
CASES = ["tanh L=3 descent", "tanh L=3 momentum", "tanh L=3 flow", "tanh L=2 two outputs"]
X, Y = np.array([[1.0, 0.3], [-0.4, 1.2], [0.8, -0.9]]), np.array([[0.7], [-1.1]])


@lru_cache
def started(samples: int = 3) -> tuple[theory.Flow, dict[int, movement.Hidden]]:
    """tanh at depth 3 off criticality with biases, at the first of three inputs."""
    flow = theory.flow("tanh", 3, 0.1, 1.2, X[:samples], 0.5, 0.8, tensors=composite.TENSORS)
    return flow, movement.hidden_tensors(flow, "tanh", 0.1, 1.2, [0.8] * 3)


def trained(eta: Any, steps: int | list[int], algorithm: str = "gradient_descent", **options: Any) -> Any:
    """Networks of that theory, trained on the first two inputs."""
    return order_n.of_flow(*started(), options.pop("targets", Y), eta, steps, algorithm, **options)


@pytest.fixture(scope="module")
def flow() -> theory.Flow:
    return started()[0]


@pytest.mark.parametrize("name", CASES)
def test_reference(name: str) -> None:
    """Every mean, covariance and diagonal cumulant, the NTK and the hidden kernels, of descent, momentum, flow and two
    outputs, at every step. Negative control: the numbers of the step before are others."""
    settings, known = REFERENCE[name]["settings"], REFERENCE[name]["steps"]
    steps = sorted(map(int, known))
    arguments = [settings[key] for key in ("activation", "depth", "C_b", "C_W", "inputs", "targets", "eta")]
    rates = {key: settings[key] for key in ("lambda_b", "lambda_W", "momentum")}
    found = theory.trained_to_order_n(*arguments, steps, settings["algorithm"], **rates)
    for k, step in enumerate(steps):
        reference, p = known[str(step)], np.arange(found.mean.shape[1])
        pairs = {
            "m0": found.mean[k],
            "m1": found.mean1[k],
            "C0": found.covariance[k],
            "C1": found.covariance1[k],
            "k3": found.third[k][p, p, p],
            "k4": found.fourth[k][p, p, p, p],
            "dH": found.ntk_change[k],
            "dg": found.kernel_change[k],
        }
        for key, value in pairs.items():
            wanted = reference.get(key)
            if key == "dg" and wanted is not None:
                wanted = [wanted[layer] for layer in sorted(wanted)]
            if wanted:
                np.testing.assert_allclose(value, np.reshape(wanted, value.shape), rtol=1e-8, atol=1e-10)
        if k:
            assert not np.allclose(found.mean1[k - 1], reference["m1"], rtol=1e-3)


@pytest.mark.parametrize("outputs", [1, 2])
def test_the_end_of_descent_is_nearly_kernel_regression(outputs: int, flow: theory.Flow) -> None:
    """docs/theory.md (5.29) after 2,000 steps against the closed form, docs/theory.md (5.16) to (5.21), as a whole and
    in the pieces that Taylor models leave out. Negative control: the closed form of another eta."""
    targets = np.array([[0.7, -0.2], [-1.1, 0.4]])[:, :outputs]
    found = trained(0.2, 600, targets=targets)
    by_sample = [found.mean1[0].reshape(outputs, 3).T, *(e.reshape(outputs, 3).T for e in found.taylor_errors[0])]
    pieces = nearly_kernel.trained_mean_pieces(flow, targets, 0.2)
    second = pieces["ddI"] + pieces["ddII"]
    whole = nearly_kernel.trained_mean(flow, targets, 0.2)
    for value, wanted in zip(by_sample, (whole, whole, pieces["dH"] + second, second, 0 * second), strict=True):
        np.testing.assert_allclose(value, wanted, atol=1e-11)
    assert not np.allclose(by_sample[0], nearly_kernel.trained_mean(flow, targets, 0.1), rtol=1e-2, atol=0)


def test_the_end_of_flow(flow: theory.Flow) -> None:
    """Flow ends where descent of no step does, to the error of its integrator, which falls with its step. Its NTK on
    one sample moves by docs/theory.md (5.9)."""
    wanted = nearly_kernel.trained_mean(flow, Y, 0.0)[:, 0]
    errors = [np.abs(trained(eta, round(60 / eta), "gradient_flow").mean1[0] - wanted).max() for eta in (0.4, 0.2)]
    assert errors[1] < 1e-4
    assert errors[1] < errors[0] / 10
    one, hidden = started(1)
    moved = order_n.of_flow(one, hidden, Y[:1], 0.05, 800, "gradient_flow")
    np.testing.assert_allclose(moved.ntk_change[0, 0, 0], nearly_kernel.ntk_change_of_flow(one, 0.7), rtol=1e-6)


def test_the_first_step_moves_the_ntk(flow: theory.Flow) -> None:
    """docs/theory.md (5.33) after one step is docs/theory.md (5.10)."""
    wanted = nearly_kernel.ntk_change_of_step(flow, Y, 0.2)
    np.testing.assert_allclose(trained(0.2, 1).ntk_change[0], wanted, rtol=1e-12)


def test_infinite_width_is_the_closed_form(flow: theory.Flow) -> None:
    """Mean and covariance are docs/theory.md (5.2) at every step of every algorithm that has a closed form."""
    K, Theta = flow.K[-1], flow.Theta
    assert Theta is not None
    for algorithm, options in (("gradient_descent", {}), ("momentum", {"momentum": 0.6})):
        found = trained(0.2, [1, 7, 30], algorithm, **options)
        for k, step in enumerate(found.steps):
            mean, covariance = theory.trained(K, Theta[-1], Y, 0.2, step, algorithm, **options)
            np.testing.assert_allclose(found.mean[k], mean[:, 0], atol=1e-13)
            np.testing.assert_allclose(found.covariance[k], covariance, atol=1e-13)


def test_every_algorithm_ends_at_one_mean_and_at_its_own_coefficient() -> None:
    """At infinite width the end does not depend on the algorithm; at order 1/n it does, and for heavy ball to first
    order in eta as the eta of descent that docs/theory.md (5.39) names."""
    ends = {
        "descent": trained(0.2, 400),
        "flow": trained(0.2, 300, "gradient_flow"),
        "ball": trained(0.1, 400, "momentum", momentum=0.5),
        "nesterov": trained(0.1, 400, "nesterov", momentum=0.5),
        "sgd": trained(0.2, 400, "sgd", batches=np.tile([[0], [1]], (200, 1))),
    }
    for end in ends.values():
        np.testing.assert_allclose(end.mean, ends["descent"].mean, atol=1e-7)
        np.testing.assert_allclose(end.covariance, ends["descent"].covariance, atol=1e-7)
    test = [float(end.mean1[0, 2]) for end in ends.values()]
    assert min(abs(a - b) for k, a in enumerate(test) for b in test[:k]) > 1e-3
    ratios = []
    for eta in (0.02, 0.01):
        ball, flow, descent = (
            float(trained(step, round(60 / step), name, **options).mean1[0, 2])
            for name, step, options in (
                ("momentum", eta, {"momentum": 0.3}),
                ("gradient_flow", 0.2, {}),
                ("gradient_descent", eta * 1.3 / 0.7**2, {}),
            )
        )
        ratios.append((ball - flow) / (descent - flow))
    assert abs(2 * ratios[1] - ratios[0] - 1) < 0.01 < abs(ratios[1] - 1)


def test_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Averages over all sequences of single samples against the averages by hand; sequences that are drawn tend to
    them within their errors (six standard errors: a false alarm of 2e-9 each), and the full batch is descent."""
    every = trained(0.3, 3, "sgd", batches=1)
    singles = [trained(0.3, 3, "sgd", batches=[[a], [b], [c]]) for a in (0, 1) for b in (0, 1) for c in (0, 1)]
    means, means1 = (np.array([getattr(one, name)[0] for one in singles]) for name in ("mean", "mean1"))
    np.testing.assert_allclose(every.mean1[0], means1.mean(axis=0), atol=1e-14)
    within = np.mean([one.covariance[0] for one in singles], axis=0)
    np.testing.assert_allclose(every.covariance[0], within + np.cov(means.T, bias=True), atol=1e-14)
    descent = trained(0.3, 3)
    np.testing.assert_allclose(every.mean, descent.mean, atol=1e-14)
    assert np.abs(every.mean1 - descent.mean1).max() > 0.01
    assert every.third is None
    full = trained(0.3, 3, "sgd", batches=2)
    np.testing.assert_allclose(full.covariance1, descent.covariance1, atol=1e-14)
    drawn = trained(0.3, 11, "sgd", batches=1)
    np.testing.assert_allclose(drawn.mean, trained(0.3, 11).mean, atol=1e-13)
    monkeypatch.setattr(order_n, "MOST_SEQUENCES", 2**11)
    every = trained(0.3, 11, "sgd", batches=1)
    np.testing.assert_allclose(drawn.covariance, every.covariance, atol=1e-13)
    for name in ("mean1", "covariance1", "ntk_change"):
        distance, error = np.abs(getattr(drawn, name) - getattr(every, name)), drawn.errors[name]
        assert np.all(distance < 6 * error), name
        assert 0 < error.max() < 0.2 * np.abs(getattr(every, name)).max(), name
    assert every.errors["mean1"].max() == 0


def test_a_list_of_rates_is_a_schedule() -> None:
    """Descent by two rates in turn; one rate for all steps is the number. Negative control: the rates exchanged."""
    np.testing.assert_array_equal(trained([0.2] * 5, 5).mean1, trained(0.2, 5).mean1)
    K_first, K_second = trained([0.1, 0.3], 2), trained([0.3, 0.1], 2)
    np.testing.assert_allclose(K_first.mean, K_second.mean, atol=1e-14)  # linear steps commute
    assert np.abs(K_first.mean1 - K_second.mean1).max() > 1e-3


def test_one_layer_has_no_order_n() -> None:
    """A network of one layer is linear in its parameters."""
    found = theory.trained_to_order_n("tanh", 1, 0.1, 1.2, X, Y, 0.1, [0, 3])
    for values in (found.mean1, found.covariance1, found.third, found.fourth, found.ntk_change):
        np.testing.assert_array_equal(values, 0)
    assert found.kernel_change.shape == (2, 0, 3, 3)


def test_linear_networks_of_one_train_sample_keep_the_mean_of_the_frozen_kernel() -> None:
    """The test sample is a multiple of the train sample, which ends at its target: exact at every width."""
    end = theory.trained_to_order_n("linear", 3, 0.0, 1.0, [[1.0, 0.5], [0.5, 0.25]], [1.0], 0.1, 2000)
    np.testing.assert_allclose(end.mean1, 0, atol=1e-9)


def test_refusals() -> None:
    """Each names the setting, the value and what would be right."""
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("algorithm='adam'", {"algorithm": "adam"}),
        ("momentum=0.5: gradient_descent has none", {"momentum": 0.5}),
        ("momentum=1.5: from 0 to below 1", {"algorithm": "momentum", "momentum": 1.5}),
        ("loss='hinge': known are mse, cross_entropy", {"loss": "hinge"}),
        ("batches=None: a batch size for sgd", {"algorithm": "sgd"}),
        ("batches=1: a batch size for sgd", {"batches": 1}),
        ("batches=3: a batch size from 1 to 2", {"algorithm": "sgd", "batches": 3}),
        ("batches: 4 rows of samples from 0 to 1", {"algorithm": "sgd", "batches": [[0], [1]]}),
        ("outputs=2", {"outputs": 2}),
        ("targets: 1 or -1", {"loss": "cross_entropy"}),
    ]
    for message, options in wrong:
        with pytest.raises(ValueError, match=message):
            theory.trained_to_order_n("tanh", 2, 0.1, 1.2, X, Y, 0.1, 4, **options)
    for steps in ([], [3, 2], [-1]):
        with pytest.raises(ValueError, match="whole numbers >= 0 that ascend"):
            trained(0.1, steps)
    with pytest.raises(ValueError, match="eta=50: gradient_descent diverges"):
        trained(50, 500)
    with pytest.raises(ValueError, match="eta: 2 numbers for steps=3"):
        trained([0.1, 0.1], 3)
    with pytest.raises(ValueError, match="smooth s only"):
        theory.trained_to_order_n("relu", 2, 0.0, 2.0, X, Y, 0.1, 1)


def test_many_inputs_by_points(flow: theory.Flow) -> None:
    """Quasi-random points reach the tensors of three inputs to a few parts in a thousand, and have exact second
    moments. Negative control: a hundredth of the points."""
    exact, few, many = (
        {name: table[name][-1] for name in composite.TENSORS if name != "Theta1"}
        for table in (flow, *(by_points(points) for points in (64, 8192)))
    )

    def error(found: dict[str, Array]) -> float:
        return max(float(np.abs(found[name] - exact[name]).max() / np.abs(exact[name]).max()) for name in exact)

    assert error(many) < 8e-3 < error(few)
    np.testing.assert_allclose(many["K"], exact["K"], rtol=1e-12)
    with pytest.raises(ValueError, match="points=100: a power of two"):
        by_points(100)


def by_points(points: int) -> theory.Flow:
    return theory.flow("tanh", 3, 0.1, 1.2, X, 0.5, 0.8, tensors=composite.TENSORS, points=points)
