"""Activations as formulas: symbolic derivatives agree with Taylor series, and the grammar refuses all else."""

from pathlib import Path

import numpy as np
import pytest
import torch

import simulate
from analysis import theory
from analysis.theory import expression as series
from simulate.networks.activations import derivatives, functions
from simulate.settings.expression import parse
from simulate.settings.network import Activation

Z = np.linspace(-6.0, 6.0, 241) + 0.0123
FORMULAS = (
    "z*tanh(z)", "z*Phi(z)", "z*sigmoid(z)", "softplus(z)-log(2)", "z/sqrt(1+z**2)", "atan(2*z)+0.1*z",
    "erf(z)*exp(-z**2/4)",
    "sin(pi*z)**2-cos(z)/e", "-(z+1)**3/(4+z**2)**1.5", "+z**-2*(z**4+1)", "log(1+exp(z))",
)  # fmt: skip
TWINS = {"tanh": "tanh(z)", "sin": "sin(z)", "erf": "erf(z)", "gelu": "z*Phi(z)", "swish": "z*sigmoid(z)",
         "softplus": "softplus(z)", "sigmoid": "sigmoid(z)"}  # fmt: skip


@pytest.mark.parametrize("text", FORMULAS)
def test_derivatives_of_both_sides(text: str) -> None:
    """Symbolic derivatives agree with the series to fourth order, and the series with autograd to fifth order."""
    jets = series.derivatives(text, 5)
    for order, function in enumerate(derivatives(Activation("expression", expression=text))):
        np.testing.assert_allclose(function(torch.tensor(Z)).numpy(), jets[order](Z), rtol=1e-8, atol=1e-10)
    z = torch.tensor(Z, requires_grad=True)
    current = functions(Activation("expression", expression=text))[0](z)
    for order, jet in enumerate(jets):
        np.testing.assert_allclose(current.detach().numpy(), jet(Z), rtol=1e-6, atol=1e-8, err_msg=f"order {order}")
        (current,) = torch.autograd.grad(current.sum(), z, create_graph=True)


@pytest.mark.parametrize("name", TWINS)
def test_a_built_in_activation_as_a_formula(name: str) -> None:
    """Values and slopes in both precisions, and the theory's K and V, are those of the built-in activation."""
    twin = Activation("expression", expression=TWINS[name])
    for dtype, close in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        z = torch.tensor(Z, dtype=dtype)
        (s, slope), (s_twin, slope_twin) = functions(Activation(name)), functions(twin)
        torch.testing.assert_close(s_twin(z), s(z), rtol=close, atol=close)
        torch.testing.assert_close(slope_twin(z, s_twin(z)), slope(z, s(z)), rtol=close, atol=close)
        assert s_twin(z).dtype == dtype
    x = np.array([[1.0, 0.5], [0.3, -1.0]])
    flow, flow_twin = (theory.flow(spec, 3, 0.1, 1.2, x) for spec in (name, twin.spec))
    np.testing.assert_allclose(flow_twin.K, flow.K, rtol=1e-10)
    np.testing.assert_allclose(flow_twin.V, flow.V, rtol=1e-8, atol=1e-12)


def test_a_wrong_rule_would_be_caught(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Negative control: with a wrong series for tanh the two sides differ, and the run does not start."""
    settings = ["activation=expression", "activation.expression=tanh(z)", "initialization=gaussian", "workers=1",
                "ensemble.networks=32", f"output={tmp_path}/a"]  # fmt: skip
    rule = series.FUNCTIONS["tanh"]
    monkeypatch.setitem(series.FUNCTIONS, "tanh", lambda u: [c * (1 + 1e-6 * (k == 3)) for k, c in enumerate(rule(u))])
    with pytest.raises(simulate.SettingsError, match="derivative 3"):
        simulate.run(*settings)
    monkeypatch.undo()
    assert simulate.run(*settings).complete


def test_spaces_do_not_matter(tmp_path: Path) -> None:
    common = ["initialization=gaussian", "ensemble.networks=32", "workers=1", f"output={tmp_path}/a"]
    first = simulate.run("activation=expression", "activation.expression=z * tanh( z )", *common)
    assert first.settings["activation"]["expression"] == "z*tanh(z)"
    assert simulate.run("activation=expression", "activation.expression=z*tanh(z)", *common).complete
    with pytest.raises(simulate.StoreError, match=r"activation\.expression"):
        simulate.run("activation=expression", "activation.expression=z*sin(z)", *common)


REFUSED = {
    "1/z": "not finite at z=0", "log(z)": "not finite at z=-10", "exp(z**4)": "not finite", "z**0.5": "not finite",
    "z**z": "an exponent is a number", "10**10**10": "at most 64", "1e999*z": "too large", "3": "does not depend on z",
    "__import__(\'os\')": "not allowed", "z.real": "not allowed", "lambda z: z": "not allowed",
    "z if z else 1": "not allowed",
    "relu(z)": "allowed are z, numbers", "\u03b6": "not allowed", "z=1": "position", "tanh": "not allowed",
    "tanh(z=1)": "not allowed", "True*z": "not allowed", "z;z": "position", "(" * 150 + "z": "",
    "z" + "+z" * 200: "at most 200 characters", "(-1)**0.5*z": "real number", "tanh(z)(z)": "not allowed",
    "z[0]": "not allowed",
    "z@z": "not allowed", "z//2": "not allowed", "0x10*z**65": "at most 64", "1j*z": "not allowed",
    "\'z\'": "not allowed",
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:20])
def test_what_the_grammar_refuses(text: str, tmp_path: Path) -> None:
    """The refusal is one line with the setting, before anything is written."""
    quoted = "activation.expression='" + text.replace("'", "\\'") + "'"
    few = ["initialization=gaussian", "ensemble.networks=32", "workers=1", f"output={tmp_path}/a"]
    with pytest.raises(simulate.SettingsError, match=r"activation\.expression=") as caught:
        simulate.run("activation=expression", quoted, *few)
    assert REFUSED[text] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a").exists()


def test_parsing_is_not_running(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not allowed"):
        parse(f"open('{tmp_path}/x','w')")
    assert list(tmp_path.iterdir()) == []
