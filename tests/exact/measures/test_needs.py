"""A measure states in words what it needs and a point lacks, in the same words before and after networks are drawn."""

from dataclasses import replace

import numpy as np
import pytest

from analysis import claims
from analysis.measures.controls import all_layers_of_two_inputs
from analysis.measures.measured import MEASURES
from analysis.measures.next_order import controls_and_law
from analysis.points import Planned, Point
from tests.exact.measures.rows import Rows, inputs_of, rows

GRAM = np.array([[1.0, 0.3], [0.3, 0.8]])
PARALLEL = [[1.0, 0.5], [-2.0, -1.0]]
RAY = [[1.0, 1.0], [0.5, 0.5]]
BASE = ["activation=sin", "initialization=critical", "network.depth=2", "network.width=8", "network.outputs=2"]
EVERYTHING = "observables.record=[kernel,moments,outputs,ntk,dntk,ddntk,fourth,ntk_derivatives]"
SUMS = ["network.depth=3", "network.width=[8,8]", "observables.record=[kernel,ntk_sums,ntk_loops]"]
SIGNS = ["observables.record=[kernel,ntk_signs,ddntk_signs]", "observables.layers=all"]
SIGNED = [("Hs", "g"), *((tensor,) for tensor in "FPQRSTU")]
SCALED = ["dynamics.lambda_b=1.0", "dynamics.scaling=critical"]
TRAINED = ["network.outputs=1", "dynamics=gradient_descent", "dynamics.eta=0.3", "dynamics.steps=60",
           "observables.record=[kernel,outputs,ntk]", "observables.steps=[0,1,60]"]  # fmt: skip
CROSS = [*TRAINED, "dynamics.loss=cross_entropy"]
BATCHES = [*TRAINED, "observables.record=[outputs,linear]"]
TAYLOR = [*TRAINED, "observables.record=[outputs,taylor]"]
CHANGED = [*TRAINED, "observables.record=[kernel,outputs,ntk,change]"]
FLOW = [*TRAINED, "dynamics=gradient_flow", "observables.record=[kernel,outputs,ntk,movement_controls]"]
ONE_LAYER = ["activation=linear", *TRAINED, "network.depth=1", "network.width=[]", "observables.record=[outputs]"]
# They need the targets of test samples, too.
ON_TEST_TARGETS = ("squared_error", "wrong_sign", "wrong_signs", "features_test_error")
# Points at which tests of trained networks can be judged: overrides, and the numbers of train samples and samples.
TRAINABLE = {
    **dict.fromkeys(
        ("trained_mean", "trained_covariance", "trained_skewness", "trained_kurtosis", "trained_mean_coefficient"),
        (TRAINED, 1, 2),
    ),
    **dict.fromkeys(("algorithm_difference", "algorithm_coefficient", "algorithm_mean1"), (TRAINED, 1, 2)),
    **dict.fromkeys(("trained_band", "loss_mean1", "loss_mean1_controlled", "loss_covariance1"), (TRAINED, 1, 2)),
    **dict.fromkeys(("loss_mean", "loss_covariance"), (CROSS, 1, 2)),
    **dict.fromkeys(("ntk_change", "ntk_change_controlled", "movement_growth"), (FLOW, 1, 1)),
    "ntk_change_of_step": (TRAINED, 2, 2),
    "ntk_root_movement": ([*TRAINED, "dynamics.eta=0.1"], 1, 1),
    **dict.fromkeys(("ntk_movement", "kernel_movement", "ntk_change_size", "kernel_change_size"), (TRAINED, 1, 2)),
    **dict.fromkeys(("trained_mean1", "trained_covariance1", "trained_third", "trained_fourth"), (TRAINED, 1, 2)),
    **dict.fromkeys(("trained_curve1", "trained_band1", *ON_TEST_TARGETS[:3]), (TRAINED, 1, 2)),
    **dict.fromkeys(("training_mean", "training_covariance"), (TRAINED, 1, 2)),
    **dict.fromkeys(("sgd_mean", "sgd_mean1"), (BATCHES, 1, 2)),
    "taylor_error": (TAYLOR, 1, 2),
    "taylor_mean_error": (TAYLOR, 1, 2),
    "one_layer": (ONE_LAYER, 1, 2),
    **dict.fromkeys(("coordinate_size", "coordinate_change"), (CHANGED, 1, 2)),
}


def trained(*overrides: str, train: int = 1, count: int = 2) -> Rows:
    return rows(*BASE, *overrides, x=inputs_of(GRAM[:count, :count]), y=np.ones((train, 1)))


OFF, DEEP = ["initialization=gaussian", "initialization.C_W=1.5"], ["network.depth=3", "observables.layers=all"]


CONDITIONED = ["observables.record=[ntk,prior_ntk,log_w]", "ensemble.condition.noise=0.1"]


def tilted(*changes: str, noise: float = 0.1) -> Rows:
    """A point of tilted networks with one train sample and two outputs."""
    record, law = "observables.record=[posterior,weight_controls]", ["ensemble.tilt={noise: 0.1, control: 2}", *changes]
    data = rows(*BASE, "observables=posterior", record, *law, x=inputs_of(GRAM), y=[[1.0, -0.5]])
    return replace(data, settings=data.settings | {"claim": {"noise": noise}})


def inferred(*changes: str, noise: float | None = 0.1) -> Rows:
    """A point of Bayesian inference with one train sample and two outputs."""
    own = ["network.depth=3", "observables.record=[kernel,kernel_controls]", "observables.layers=all"]
    data = rows(*BASE, *own, *changes, x=inputs_of(GRAM), y=[[1.0, -0.5]])
    return replace(data, settings=data.settings | {"claim": {"noise": noise}})


def sufficient(name: str, *changes: str) -> Rows:
    """A point that has everything that a test needs, with these changes."""
    if claims.tests()[name].conditioned:
        return rows(*BASE, *CONDITIONED, *changes, x=inputs_of(GRAM), y=[[1.0, -0.5]])
    if claims.tests()[name].tilted:
        return tilted("network.outputs=1", "ensemble.filter.particles=2", *changes)
    if "c" in claims.tests()[name].families:
        data = inferred(*changes)
        return replace(data, given=(data.given[0], np.ones((2, 2)), 1)) if name in ON_TEST_TARGETS else data
    if name in TRAINABLE:
        overrides, train, count = TRAINABLE[name]
        data = trained(*overrides, *changes, train=train, count=count)
        return replace(data, given=(data.given[0], np.ones((count, 1)), train)) if name in ON_TEST_TARGETS else data
    given, x = [EVERYTHING, *SCALED], inputs_of(GRAM)
    if name == "K_exponential":
        given, x = [EVERYTHING, *OFF], np.array(RAY)
    elif {"response", "rank"} & set(claims.tests()[name].families):
        given = ["observables.record=[kernel,response,jacobian]"]
    elif {"h", "t3"} & set(claims.tests()[name].families):
        given = SUMS
    elif claims.tests()[name].families in SIGNED:
        given = SIGNS
    elif name == "correlation_length" or claims.tests()[name].needs in (all_layers_of_two_inputs, controls_and_law):
        given = [EVERYTHING, *SCALED, *DEEP]
    return rows(*BASE, *given, *changes, x=x)


def reasons(name: str, data: Rows, layers: list[int] | None = None) -> list[str]:
    """What a test lacks in these rows. A planned data set gives the same reasons, and the test raises the first one."""
    tested = claims.tests()[name]
    found = list(tested.missing(data.point, layers))
    planned = Planned(data.path, data.settings, data.layout, data.given)
    assert list(tested.missing(Point(planned), layers)) == found
    given = [data.point]
    if tested.paired:
        given.append(trained(*(TRAINED if data.settings["dynamics"]["name"] == "gradient_flow" else FLOW)).point)
    if found and not list(tested.undefined(*given)):
        with pytest.raises(ValueError, match="rows: ") as error:
            tested(*given, layers)
        assert str(error.value) == f"rows: {found[0]}"
    return found


OF_NETWORKS = [name for name, record in claims.tests().items() if not record.quadratic]


@pytest.mark.parametrize("name", OF_NETWORKS)
def test_nothing_is_missing_where_a_test_can_be_judged(name: str) -> None:
    """Control of all tests below, for every test that a claim can name."""
    assert reasons(name, sufficient(name)) == []


UNTRAINED = [name for name in OF_NETWORKS if name not in TRAINABLE and not claims.tests()[name].tilted]
PAIRS = [name for name, record in MEASURES.items() if record.outputs == 2]
SMOOTH = [name for name, record in MEASURES.items() if record.smooth]


@pytest.mark.parametrize("name", PAIRS)
def test_two_outputs(name: str) -> None:
    data = rows(*BASE, EVERYTHING, "network.outputs=1", x=inputs_of(GRAM))
    assert reasons(name, data) == [f"network.outputs=1: {name} needs 2 outputs"]


@pytest.mark.parametrize("name", UNTRAINED)
def test_columns(name: str) -> None:
    """Missing families are reported, and layer 1 alone does not suffice, since it is Gaussian at every width."""
    record = claims.tests()[name]
    other = "moments" if "m4" not in record.families else "kernel"
    other += ", log_w" * record.conditioned
    data = sufficient(name, f"observables.record=[{other}]")
    needed = f"observables.record=[{other}]: {name} needs columns {' and '.join(record.families)}"
    assert any(reason.startswith(needed) for reason in reasons(name, data))
    if set(record.families) <= {"g", "m2", "m4"}:
        data = sufficient(name, "observables.layers=[1]")
        assert any(f"together at a layer from {record.lowest} on" in reason for reason in reasons(name, data))


@pytest.mark.parametrize("name", TRAINABLE)
def test_training(name: str) -> None:
    data = rows(*BASE, EVERYTHING, "network.outputs=1", x=inputs_of(GRAM))
    assert f"dynamics=none: {name} needs trained networks" in reasons(name, data)


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_activations(name: str) -> None:
    kinked = [f"activation=relu: {name} is defined for smooth activations only"]
    if claims.tests()[name].needs is all_layers_of_two_inputs:
        kinked.append("activation=relu: controls of two samples need a smooth activation")
    assert reasons(name, sufficient(name, "activation=relu")) == kinked


@pytest.mark.parametrize("name", TRAINABLE)
def test_a_step_of_training(name: str) -> None:
    """Where the start alone is recorded, nothing changes and a Taylor model has no error."""
    assert f"observables.steps=[0]: {name} needs a step of training" in reasons(
        name, sufficient(name, "observables.steps=[0]")
    )


@pytest.mark.parametrize("name", ["trained_mean_coefficient", "algorithm_coefficient"])
def test_few_outputs(name: str) -> None:
    """The loop over steps costs N^6 operations a step, docs/theory.md (5.28)."""

    def data(samples: int) -> Rows:
        return rows(*BASE, *TRAINED, "dynamics=gradient_flow", "dynamics.eta=0.01", "dynamics.steps=200",
                    "observables.steps=[0,200]", x=np.eye(samples), y=np.ones((samples - 1, 1)))  # fmt: skip

    reason = "network.outputs=1, inputs: 25 outputs at all samples: at most 24, the cost grows as their sixth power"
    assert reason in reasons(name, data(25))
    assert not any("sixth power" in reason for reason in reasons(name, data(24)))


def test_where_theory_predicts_nothing() -> None:
    """Such a point yields nothing, whatever else it lacks. Controls are on the other side of each condition."""

    def undefined(name: str, *points: Rows) -> list[str]:
        measured = claims.tests()[name]
        reasons = list(measured.undefined(*(data.point for data in points)))
        if reasons:
            assert list(measured(*(data.point for data in points), None)) == []
        return reasons

    critical, off = sufficient("K_power_law"), sufficient("K_exponential")
    assert undefined("K_power_law", off) == [
        "initialization: C_b=0.0, C_W=1.5: K falls as a power of l at criticality only"
    ]
    assert undefined("K_power_law", critical) == []
    assert undefined("K_exponential", critical) == [
        "initialization: C_b=0.0, C_W=1.0: at criticality K has no exponential flow"
    ]
    assert undefined("K_exponential", off) == []
    flow, descent, momentum = trained(*FLOW), trained(*TRAINED), trained(*TRAINED, "dynamics=momentum")
    assert undefined("algorithm_difference", flow, flow) == ["dynamics=gradient_flow: two flows are one algorithm"]
    assert undefined("algorithm_difference", descent, flow) == []
    assert undefined("algorithm_coefficient", descent, flow) == []
    assert undefined("algorithm_coefficient", descent, descent) == [
        "dynamics=gradient_descent: both are trained by one algorithm with the same settings"
    ]
    assert undefined("algorithm_coefficient", momentum, flow) == []
    linear = ["activation=linear"]
    assert undefined("A_slope", sufficient("A_slope", *linear)) == []
    assert undefined("P_exponent", sufficient("P_exponent", *linear)) == [
        "activation=linear: its universality class predicts no growth of P"
    ]
    assert undefined("P_exponent", sufficient("P_exponent")) == []


def test_noise_and_targets() -> None:
    """Bayesian inference needs the variance of the targets, and correlations two outputs with targets."""
    reason = "claim.noise=null: the variance of targets about outputs, as claim.noise=0.1"
    assert reasons("posterior_mean", inferred(noise=None)) == [reason]
    data = inferred()
    x, y, train = data.given
    assert y is not None
    one = replace(data, given=(x, y * [1.0, 0.0], train))
    assert list(claims.tests()["posterior_correlation"].undefined(one.point)) == [
        "inputs: fewer than two outputs have targets other than zero, and no other ones are correlated"
    ]
    assert list(claims.tests()["posterior_correlation"].undefined(data.point)) == []
    (untold,) = reasons("posterior_mean", replace(data, given=(x, None, train)))
    assert untold.endswith("targets of the train samples are needed")


@pytest.mark.parametrize("name", OF_NETWORKS)
def test_posterior_networks(name: str) -> None:
    """Where the last layer is drawn given targets, nothing else is tested than what is made for it."""
    if claims.tests()[name].conditioned:
        prior = reasons(name, rows(*BASE, "observables=ntk", x=inputs_of(GRAM), y=[[1.0, -0.5]]))
        assert prior == [f"ensemble.condition.noise=null: {name} is a test of networks whose last layer is drawn given "
                         "targets"]  # fmt: skip
    else:
        of_prior = [f"ensemble.condition.noise=0.1: {name} is a test of networks of the prior"]
        assert reasons(name, rows(*BASE, *CONDITIONED, x=inputs_of(GRAM), y=[[1.0, -0.5]])) == of_prior


def test_layers_are_recorded() -> None:
    data = sufficient("V")
    assert reasons("V", data, [2]) == []
    assert reasons("V", data, [2, 3])[0] == "claim.tests.V.layers=[2, 3]: layer 3 is not recorded"


@pytest.mark.parametrize("name", ["G1", "Theta1"])
def test_kinks_do_not_meet(name: str) -> None:
    def data(*overrides: str, x: object = PARALLEL) -> Rows:
        return rows(*BASE, EVERYTHING, *overrides, x=x)

    reason = "inputs: two samples are parallel, where the kinks of activation=relu meet"
    assert reasons(name, data("activation=relu")) == [reason]
    assert reasons(name, data("activation=sin")) == []
    assert reasons(name, data("activation=relu", x=[[1.0, 0.5], [-2.0, 1.0]])) == []
    assert reasons(name, data("activation=relu", x=[PARALLEL[0], PARALLEL[0]])) == [], "one sample twice"
    assert reasons(name, data("activation=relu", "initialization=gaussian", "initialization.C_b=0.1")) == []


def test_the_last_layer() -> None:
    """The cumulant is measured at the last layer only."""
    data = rows(*BASE, EVERYTHING, "network.depth=3", "observables.output_layers=[2]", x=inputs_of(GRAM))
    assert reasons("cumulant", data) == ["observables.output_layers=[2]: the last layer is needed"]


@pytest.mark.parametrize("name", [*(name for name in claims.tests() if name not in MEASURES), "class_coefficient"])
def test_criticality_and_scaled_rates(name: str) -> None:
    off = rows(*BASE, EVERYTHING, "initialization=gaussian", "initialization.C_W=1.2", x=inputs_of(GRAM))
    critical = "initialization: C_b=0.0, C_W=1.2: tensors grow as their class predicts at criticality only"
    assert reasons(name, off) == [critical]
    unscaled = rows(*BASE, EVERYTHING, "dynamics.lambda_b=1.0", x=inputs_of(GRAM))
    assert reasons(name, unscaled) == ["dynamics.scaling=none: classes compare with rates scaled as critical"]


def test_two_lengths() -> None:
    """The flow to K* > 0 needs two samples of different length; below criticality one sample flows to zero."""

    def data(C_W: float, x: object) -> Rows:
        return rows(*BASE, "observables=kernel", "initialization=gaussian", f"initialization.C_W={C_W}", x=x)

    needed = ["inputs: samples 0 and 1 of different length are needed, as inputs=ray gives them"]
    assert reasons("K_exponential", data(1.5, [[1.0, 1.0], [1.0, -1.0]])) == needed
    assert reasons("K_exponential", data(1.5, [[1.0, 1.0]])) == needed
    assert reasons("K_exponential", data(0.8, [[1.0, 1.0]])) == []
