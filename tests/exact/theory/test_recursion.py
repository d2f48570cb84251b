"""The flow of all tensors agrees with reference numbers and finer grids; the registry of tensors."""

from collections.abc import Iterator

import numpy as np
import pytest

from analysis import theory
from analysis.theory import gaussian
from analysis.theory.next_tensors import NEXT
from analysis.theory.ntk_series import OF_ONE_INPUT
from analysis.theory.quadrature import calibrate_step
from analysis.theory.tensors import RECURSIONS, UNITS, closure, in_order, recursion
from tests.exact.theory.reference import ALL, KEYS, KINKED, REFERENCE


@pytest.mark.parametrize("name", ["tanh", "sin", "linear", "gelu", "relu"])
def test_single_input_reference(name: str) -> None:
    """Every tensor of theory_reference.json, made by docs/theory.md (1.1), (1.10), (2.3), (2.12) to (2.16) and (3.13)
    to (3.16); tanh was made there by a quadrature that is good to 1e-9."""
    case, tensors = REFERENCE[name], KINKED if name == "relu" else ALL
    flow = theory.flow(
        name, 8, case["C_b"], case["C_W"], np.ones((1, 3)), case["lambda_b"], case["lambda_W"], tensors=tensors
    )
    for layer in range(8):
        want = case["layers"][str(layer + 1)]
        for key in tensors:
            if (value := want.get(KEYS.get(key, key))) is not None:
                assert getattr(flow, key)[layer].item() == pytest.approx(value, rel=3e-9, abs=1e-11), (key, layer + 1)


@pytest.mark.parametrize(("name", "accuracy"), [("tanh", 1e-7), ("sin", 1e-12)])
def test_two_input_reference(name: str, accuracy: float) -> None:
    """All components of docs/theory.md (1.1), (1.5), (1.6), (2.3), (2.7) to (2.11) and (3.7) to (3.12); the reference's
    Gauss-Hermite rule leaves 7e-8 in T and U of tanh."""
    case = REFERENCE[f"two_input_{name}"]
    x = np.array(case["X_columns_are_samples"]).T
    flow = theory.flow(name, 4, case["C_b"], case["C_W"], x, case["lambda_b"], case["lambda_W"], tensors=ALL)
    for layer in range(4):
        want = case["layers"][str(layer + 1)]
        for key in ALL:
            value = np.array(want[KEYS.get(key, key)])
            scale = np.abs(value).max()
            np.testing.assert_allclose(getattr(flow, key)[layer], value, rtol=0, atol=accuracy * scale + 1e-15)


def test_tensors_of_two_inputs_have_converged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A grid that is 1.4 times as fine gives the same flow, docs/theory.md section 8, so that the differences from the
    reference are errors of the reference."""
    case = REFERENCE["two_input_tanh"]
    x = np.array(case["X_columns_are_samples"]).T

    def compute() -> theory.Flow:
        return theory.flow("tanh", 4, case["C_b"], case["C_W"], x, case["lambda_b"], case["lambda_W"], tensors=ALL)

    coarse, step = compute(), calibrate_step
    monkeypatch.setattr(gaussian, "calibrate_step", lambda *a: (step(*a)[0] / 1.4, False))
    fine = compute()
    for key in ALL:
        a, b = getattr(coarse, key), getattr(fine, key)
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10 * np.abs(b).max(), err_msg=key)


def test_repeated_inputs_are_one_input() -> None:
    """The tensors of docs/theory.md (1.5) and (1.6) at a repeated input are those of the single input, bit for bit."""
    x = np.random.default_rng(0).standard_normal((2, 5))
    for name in ("tanh", "relu"):
        once = theory.flow(name, 4, 0.1, 1.2, x)
        again = theory.flow(name, 4, 0.1, 1.2, x[[0, 1, 0]])
        np.testing.assert_array_equal(again.V[:, 2, 1, 0, 1], once.V[:, 0, 1, 0, 1])
        np.testing.assert_array_equal(again.G1[:, 0, 2], once.G1[:, 0, 0])


def test_more_inputs_change_nothing() -> None:
    """The components of docs/theory.md (1.5) and (1.6) depend on their own inputs alone."""
    x = np.random.default_rng(1).standard_normal((3, 6))
    for name in ("gelu", "leaky_relu(slope=0.2)"):
        two, three = theory.flow(name, 3, 0.1, 1.5, x[:2]), theory.flow(name, 3, 0.1, 1.5, x)
        np.testing.assert_allclose(three.V[:, :2, :2, :2, :2], two.V, rtol=1e-9, atol=1e-13)
        np.testing.assert_allclose(three.G1[:, :2, :2], two.G1, rtol=1e-9, atol=1e-13)


def test_tensors_not_asked_for_are_not_computed() -> None:
    flow = theory.flow("tanh", 3, 0.0, 1.0, np.ones((1, 2)), tensors=["K"])
    assert flow.V is None
    assert flow.Theta is None
    with pytest.raises(KeyError, match="V: not computed"):
        flow["V"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"activation": "tanhh"}, "activation"),
        ({"depth": 0}, "depth=0"),
        ({"inputs": np.ones(3)}, "inputs"),
        ({"inputs": np.full((1, 2), np.nan)}, "inputs"),
        ({"lambda_b": [1.0, 2.0]}, "lambda_b"),
        ({"lambda_W": -1.0}, "lambda_W"),
        ({"width_ratios": [1.0]}, "width_ratios"),
        ({"tensors": ["W2"]}, "tensors"),
    ],
)
def test_bad_arguments(arguments: dict, message: str) -> None:
    valid = {"activation": "tanh", "depth": 3, "C_b": 0.0, "C_W": 1.0, "inputs": np.ones((1, 2))}
    with pytest.raises(ValueError, match=message):
        theory.flow(**(valid | arguments))


def test_a_flow_beyond_the_range_of_numbers_is_refused_not_nan() -> None:
    """A kernel that grows tenfold a layer overflows at some depth, and kinks are not blamed for it."""
    for name in ("linear", "relu"):
        with np.errstate(all="ignore"), pytest.raises(ValueError, match="beyond float64's range"):
            theory.flow(name, 400, 0.0, 20.0, np.ones((1, 1)), tensors=["V"])


# ------------------------------------------------------------------- the registry of tensors


@pytest.fixture
def registry() -> Iterator[None]:
    """Everything that a test registers is removed after it."""
    before = dict(RECURSIONS), dict(UNITS)
    yield
    for kept, now in zip(before, (RECURSIONS, UNITS), strict=True):
        now.clear()
        now.update(kept)


def test_every_documented_tensor_is_registered() -> None:
    assert set(RECURSIONS) == {*ALL, *NEXT}
    fields = set(theory.Flow.__dataclass_fields__) - {"chi_parallel", "chi_perp", "others"}
    assert fields == {*RECURSIONS, *OF_ONE_INPUT}
    assert {name for name, entry in RECURSIONS.items() if entry.smooth_only} == set(ALL) - set(KINKED)
    assert set(UNITS) == set(ALL) - {"K", "Theta"}


def test_a_tensor_by_its_name() -> None:
    flow = theory.flow("tanh", 3, 0.0, 1.0, np.ones((1, 2)), tensors=ALL)
    for name in (*ALL, "chi_parallel", "chi_perp"):
        assert flow[name] is getattr(flow, name)
    for name in ("others", "W", "__class__"):
        with pytest.raises(KeyError, match="not computed"):
            flow[name]


def test_a_plugin_registers_a_tensor(registry: None) -> None:
    """G1 of docs/theory.md (1.6) under another name, fed by a copy of V, has the numbers of G1."""

    @recursion("copy", indices=4, needs=("V",), same_layer=("V",))
    def copy(here, old, new):  # type: ignore[no-untyped-def]
        np.testing.assert_array_equal(old["copy"], old["V"])
        return new["V"]

    @recursion("mine", indices=2, needs=("copy",), units=(1, 0))
    def mine(here, old, new):  # type: ignore[no-untyped-def]
        return here.rho * (here.L(old["mine"]) + here.C_W / 8 * here.fourth(0, old["copy"]))

    x = np.random.default_rng(4).standard_normal((2, 3))[[0, 1, 0]]
    flow = theory.flow("gelu", 4, 0.1, 1.5, x, width_ratios=[1.0, 2.0, 0.5], tensors=("mine", "G1"))
    assert set(flow.others) == {"copy", "mine"}
    np.testing.assert_array_equal(flow["mine"], flow["G1"])
    assert flow["mine"].shape == (4, 3, 3)
    assert theory.UNITS["mine"] == (1, 0)
    assert not theory.flow("gelu", 4, 0.1, 1.5, x).others


def test_layer_one_of_a_plugin(registry: None) -> None:
    """A tensor starts at layer 1 with the value that its recursion computes from the inputs and rates."""

    @recursion("sum", indices=1, first=lambda layer: layer.inputs.sum(axis=1) + layer.lambda_b)
    def total(here, old, new):  # type: ignore[no-untyped-def]
        return old["sum"] + 1

    flow = theory.flow("tanh", 3, 0.0, 1.0, np.array([[2.0, 3.0], [1.0, 0.0]]), lambda_b=0.5, tensors=["sum"])
    np.testing.assert_array_equal(flow["sum"], [[5.5, 1.5], [6.5, 2.5], [7.5, 3.5]])


@pytest.mark.parametrize("name", ["A", "K", "chi_perp", "others"])
def test_a_taken_name_is_refused(name: str, registry: None) -> None:
    with pytest.raises(ValueError, match=f"tensor '{name}' is there already"):
        recursion(name, indices=2)


def test_the_order_of_registration_does_not_matter(registry: None) -> None:
    """docs/theory.md (2.11) and (3.8) read G1 and F of the same layer; these are computed first even if they are
    registered last."""
    x = np.random.default_rng(2).standard_normal((2, 3))
    want = theory.flow("gelu", 3, 0.1, 1.5, x, 0.3, 0.9, tensors=ALL)
    for backwards in (False, True):
        turned = {name: RECURSIONS[name] for name in sorted(RECURSIONS, reverse=backwards)}
        assert (list(turned).index("Theta1") < list(turned).index("G1")) == backwards
        assert (list(turned).index("Q") < list(turned).index("F")) == backwards
        RECURSIONS.clear()
        RECURSIONS.update(turned)
        order = in_order(closure(["Theta1", "Q"]))
        assert order.index("G1") < order.index("Theta1")
        assert order.index("F") < order.index("Q")
        got = theory.flow("gelu", 3, 0.1, 1.5, x, 0.3, 0.9, tensors=ALL)
        for name in ALL:
            np.testing.assert_array_equal(got[name], want[name], err_msg=name)


def test_what_a_recursion_reads_it_has_to_declare(registry: None) -> None:
    """Neither an undeclared tensor of the layer below nor one of the same layer is visible, though both are known."""

    @recursion("below", indices=2)
    def below(here, old, new):  # type: ignore[no-untyped-def]
        return old["Theta"]

    @recursion("beside", indices=2, needs=("Theta",))
    def beside(here, old, new):  # type: ignore[no-untyped-def]
        return new["Theta"]

    for name in ("below", "beside"):
        with pytest.raises(KeyError, match="Theta"):
            theory.flow("tanh", 2, 0.0, 1.0, np.ones((1, 2)), tensors=["Theta", name])


def test_registrations_that_cannot_work_are_refused(registry: None) -> None:
    def step(here, old, new):  # type: ignore[no-untyped-def]
        return np.zeros(3)

    recursion("orphan", indices=2, needs=("nobody",))(step)
    recursion("a", indices=2, same_layer=("b",))(step)
    recursion("b", indices=2, same_layer=("a",))(step)
    recursion("flat", indices=2)(step)
    recursion("bent", indices=2, needs=("R",))(step)
    for name, message in (
        ("orphan", "orphan needs 'nobody'; known are "),
        ("a", "same_layer: .* read each other in a circle"),
        ("flat", r"flat: its recursion gave shape \(3,\); indices=2 means \(1, 1\)"),
    ):
        with pytest.raises(ValueError, match=message):
            theory.flow("tanh", 2, 0.0, 1.0, np.ones((1, 2)), tensors=[name])
    with pytest.raises(ValueError, match=r"bent of relu .* smooth s only"):
        theory.flow("relu", 2, 0.0, 2.0, np.ones((1, 2)), tensors=["bent"])
