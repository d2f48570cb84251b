"""What measures of trained networks need and a point lacks, in words."""

import numpy as np
import pytest

from tests.exact.measures.rows import inputs_of, rows
from tests.exact.measures.test_needs import BASE, FLOW, GRAM, TRAINABLE, reasons, trained

OF_FLOW = ("ntk_change", "ntk_change_controlled", "movement_growth")


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in TRAINABLE
        if name not in ("taylor_error", "taylor_mean_error", "ntk_movement", "kernel_movement", *OF_FLOW)
        and not name.startswith(("loss_", "sgd_", "coordinate_"))
    ],
)
def test_a_closed_form(name: str) -> None:
    """Tests need a closed form of training, but for those which the loop over steps knows. `simulate` refuses
    other Taylor models; ntk_change needs gradient_flow."""
    overrides, train, count = TRAINABLE[name]
    for change, start in (
        (["dynamics=sgd", "dynamics.batch=1"], "dynamics=sgd, loss=mse: one of gradient_descent"),
        (["dynamics.loss=cross_entropy"], "dynamics=gradient_descent, loss=cross_entropy: one of"),
    ):
        data = trained(*overrides, *change, train=train, count=count)
        assert any(reason.startswith(start) for reason in reasons(name, data)), change


ARRIVED = [
    *("trained_mean_coefficient", "algorithm_difference", "algorithm_coefficient"),
    *(*OF_FLOW, "one_layer"),
]


@pytest.mark.parametrize("name", ARRIVED)
def test_the_end_of_training(name: str) -> None:
    overrides, train, count = TRAINABLE[name]
    data = trained(*overrides, "dynamics.steps=5", "observables.steps=[0,5]", train=train, count=count)
    (reason,) = reasons(name, data)
    assert reason.startswith("dynamics.steps=5: a share ")
    assert reason.endswith("of the error is left, less than 1e-4 is needed")


@pytest.mark.parametrize(
    ("name", "changes", "train", "count", "reason"),
    [
        ("trained_mean_coefficient", ["observables.steps=[60]"], 1, 2, "observables.steps=[60]: step 0 is needed"),
        ("taylor_error", ["observables.steps=[60]"], 1, 2, "observables.steps=[60]: step 0 is needed"),
        ("one_layer", ["observables.steps=[60]"], 1, 2, "observables.steps=[60]: step 0 is needed"),
        ("one_layer", ["network.depth=2", "network.width=8"], 1, 2,
         "network.depth=2: networks of one layer are needed"),
        ("ntk_change", ["observables.steps=[60]"], 1, 1, "observables.steps=[60]: ntk_change needs step 0"),
        ("ntk_change", [], 1, 2, "inputs: 2 samples: inputs.count=1 and inputs.test=0 are needed"),
        ("ntk_change", ["dynamics=gradient_descent"], 1, 1,
         "dynamics=gradient_descent: gradient_flow is needed"),
        ("ntk_change_of_step", ["dynamics=gradient_flow"], 2, 2,
         "dynamics=gradient_flow: gradient_descent is needed"),
        ("ntk_change_of_step", ["observables.steps=[0,60]"], 2, 2, "observables.steps=[0, 60]: step 1 is needed"),
        ("ntk_change_of_step", [], 1, 2, "inputs.test=1: 0 is needed"),
        ("ntk_change_size", ["observables.steps=[60]"], 1, 2, "observables.steps=[60]: ntk_change_size needs step 0"),
    ],
)  # fmt: skip
def test_what_one_measure_needs(name: str, changes: list[str], train: int, count: int, reason: str) -> None:
    overrides = TRAINABLE[name][0]
    assert reason in reasons(name, trained(*overrides, *changes, train=train, count=count))


@pytest.mark.parametrize("name", [*OF_FLOW, "ntk_movement", "kernel_movement"])
def test_one_output(name: str) -> None:
    data = rows(*BASE, *FLOW, "network.outputs=2", x=inputs_of(GRAM[:1, :1]), y=np.ones((1, 2)))
    assert reasons(name, data) == ["network.outputs=2: one output is needed"]


@pytest.mark.parametrize("name", TRAINABLE)
def test_targets_that_grow_with_the_width(name: str) -> None:
    """Only exponents of the width are known there, docs/theory.md (15.3), and between NTK scaling and muP none is."""
    overrides, train, count = TRAINABLE[name]
    grown = [] if "dynamics.loss=cross_entropy" in overrides else ["dynamics.width_scaling=0.5"]
    found = reasons(name, trained(*overrides, *grown, train=train, count=count)) if grown else []
    refused = f"dynamics.width_scaling=0.5: {name} is known for targets of one size"
    between = "dynamics.width_scaling=0.5: 0 or 1 is needed, because corrections are powers of n^-s"
    assert not grown or (between if name.startswith("coordinate_") else refused) in found


@pytest.mark.parametrize("name", ["coordinate_size", "coordinate_change"])
def test_steps_linear_in_gradients(name: str) -> None:
    overrides, train, count = TRAINABLE[name]
    for change in ("dynamics.loss=cross_entropy", "dynamics.rules={ridge: 0.1}"):
        (reason,) = reasons(name, trained(*overrides, change, train=train, count=count))
        assert reason.startswith("dynamics=gradient_descent, loss=")
        assert reason.endswith("with loss=mse and without rules is needed")
    assert reasons(name, trained(*overrides, "dynamics.width_scaling=1", train=train, count=count)) == []
