"""The band around a learnt curve, and what tests of any loss and of the band need."""

import numpy as np
import pytest

from analysis.measures.trained import trained_band
from tests.exact.measures.rows import Rows, Wanted, drawn, expect, holds, inputs_of, rows
from tests.exact.measures.test_needs import BASE, CROSS, TRAINABLE, TRAINED, reasons, trained

GRAM, ETA, STEPS = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.2], [0.5, 0.2, 0.9]]), 0.1, 4


def test_trained_band() -> None:
    """Linear networks of two layers have Theta = 2 K, and leave (1 - 2 eta)^t of each error."""
    data = rows(
        "activation=linear", "initialization=critical", "network.depth=2", "network.width=8", "network.outputs=2",
        "dynamics=gradient_descent", "dynamics.lambda_b=0", f"dynamics.eta={ETA}", f"dynamics.steps={STEPS}",
        "observables.record=[outputs]", f"observables.steps=[0,{STEPS}]", x=inputs_of(GRAM), y=np.ones((2, 2)),
    )  # fmt: skip
    planted = np.diag([0.5, 0.4, 0.3]) + 0.1
    values = [drawn(np.zeros(3), planted), drawn(np.ones(3), 2 * planted)]
    data.fill("z", 2, lambda i, a: 9.0).fill("z", 2, lambda i, a: values[i][a], step=STEPS)
    left, test = (1 - 2 * ETA) ** STEPS, GRAM[2, :2]
    predicted = 0.9 - (1 - left**2) * (test @ test)

    def check(data: Rows) -> None:
        components = {f"{i},2": (0.4 * (i + 1), predicted, predicted) for i in (0, 1)}
        expect(list(trained_band(data.point, None)), Wanted("Var z", 2, STEPS, components))

    holds(check, data, data.scaled("z"), data.exchanged("z", (0, 1), (0, 2)))


@pytest.mark.parametrize("name", [name for name in TRAINABLE if name.startswith("loss_")])
def test_what_the_theory_of_a_loss_needs(name: str) -> None:
    """What the theory of any loss does not know. The mse has tests of its own at infinite width."""
    overrides, train, count = TRAINABLE[name]
    own_start = name not in ("loss_mean", "loss_covariance")
    start = trained(*overrides, "observables.steps=[60]", train=train, count=count)
    assert ("observables.steps=[60]: step 0 is needed" in reasons(name, start)) is own_start
    batches = trained(*overrides, "dynamics=sgd", "dynamics.batch=1", train=train, count=count)
    assert any(reason.startswith("dynamics=sgd: each network") for reason in reasons(name, batches)) is own_start
    square = trained(*TRAINED, train=train, count=count)
    assert any(reason.startswith("dynamics.loss=mse: one of") for reason in reasons(name, square)) is not own_start
    x = np.array([[1.0, 0.5], [1.0, 0.5]])
    twice = rows(*BASE, *CROSS, x=x, y=np.ones((1, 1)))
    assert any("the kernel of the last layer is singular" in reason for reason in reasons(name, twice))
    assert not any("singular" in reason for reason in reasons(name, trained(*CROSS)))


OF_TEST_SAMPLES = [
    *("trained_band", "trained_curve1", "trained_band1", "trained_mean_coefficient"),
    *("algorithm_difference", "algorithm_coefficient"),
]


@pytest.mark.parametrize("name", OF_TEST_SAMPLES)
def test_a_test_sample_is_needed(name: str) -> None:
    assert reasons(name, trained(*TRAINED, train=2)) == ["inputs.test=0: test samples are needed"]
