"""Orthogonal weights in the theory: reference values, saturation and slopes, and refusals."""

import numpy as np
import pytest

from analysis import theory

TENSORS = ("V", "G1", "Theta1", "A", "B", "D", "F")
# The TENSORS of layers 2, 4 and 8 by another program, from K = 1 and Theta = 2 on, with rates of one.
REFERENCE = {
    "tanh": {
        2: (-0.2134125522, 0.0, 0.0, 0.1686381331, 0.5033566061, -0.1185973674, -0.2161211055),
        4: (-0.04688377483, 0.08333534507, 0.06962100778, 0.4294643001, 0.8739079509, -0.05884327843, -0.1765171324),
        8: (-0.0100384302, 0.07150452984, -0.1958393172, 0.9250926312, 1.477541137, -0.02869045956, -0.1483628393),
    },
    "relu": {
        2: (3, 0.0, 0.0, 7.25, 4, 4.5, 2),
        4: (9, 0.0, 0.0, 74.25, 41.25, 22.5, 10.5),
        8: (21, 0.0, 0.0, 628.25, 358.75, 94.5, 45.5),
    },
    "linear": {
        2: (0.0, 0.0, 0.0, 2, 0.0, 2, 0.0),
        4: (0.0, 0.0, 0.0, 18, 0.0, 6, 0.0),
        8: (0.0, 0.0, 0.0, 98, 0.0, 14, 0.0),
    },
}


def flow(name: str, depth: int, weights: str, **changes: object) -> theory.Flow:
    C_W = theory.critical(name).C_W
    first = {"lambda_b": [2 - 1 / C_W] + [1.0] * (depth - 1), "tensors": ("K", "Theta", *TENSORS)}
    return theory.flow(name, depth, 0.0, C_W, [[C_W**-0.5]], weights=weights, **(first | changes))


@pytest.mark.parametrize("name", REFERENCE)
def test_reference_values(name: str) -> None:
    """All tensors of docs/theory.md (14.1). Negative control: those of Gaussian weights are other ones."""
    found, gaussian = flow(name, 8, "orthogonal"), flow(name, 8, "gaussian")
    for layer, numbers in REFERENCE[name].items():
        values = [found[tensor][layer - 1].item() for tensor in TENSORS]
        np.testing.assert_allclose(values, numbers, rtol=2e-9, atol=1e-9)
        others = [gaussian[tensor][layer - 1].item() for tensor in "VBF"]
        assert (np.abs(np.subtract(others, [found[tensor][layer - 1].item() for tensor in "VBF"])) > 0.01).all()


@pytest.mark.parametrize("name", ["tanh", "sin"])
def test_saturation(name: str) -> None:
    """V/K^2 -> -2, G1/K -> 2, F/(K Theta) -> -2/3 and l B/Theta^2 -> 2 for K* = 0 with the rates of
    docs/theory.md (4.5), and corrections that fall as 1/l: docs/theory.md
    (14.2). Negative control: with Gaussian weights V/K^2 grows."""
    depth = 100
    rates = theory.equal_shares(name, depth)
    given = {"lambda_b": rates[0], "lambda_W": rates[1], "tensors": ("V", "G1", "B", "F")}
    ends = []
    for l in (depth // 2, depth):
        at = flow(name, depth, "orthogonal", **given)
        K, Theta = at.K[l - 1].item(), at["Theta"][l - 1].item()
        units = {"V": K**2, "G1": K, "F": K * Theta, "B": Theta**2 / l}
        ends.append([at[tensor][l - 1].item() / unit for tensor, unit in units.items()])
    limit = np.array([-2, 2, -2 / 3, 2])
    half, end = np.abs(np.array(ends) / limit - 1)
    assert (end < 0.2).all()
    assert (end < 0.7 * half).all()
    gaussian = flow(name, depth, "gaussian", tensors=("V",))
    assert gaussian["V"][-1].item() / gaussian.K[-1].item() ** 2 > 50


def test_slopes_of_scale_invariant_activations() -> None:
    """The slope of V/K^2 is 0 for linear networks and 3 for ReLU at each layer, and B and F of ReLU are half of the
    Gaussian ones: docs/theory.md (14.2)."""
    for name, slope in (("linear", 0.0), ("relu", 3.0)):
        found = flow(name, 6, "orthogonal", tensors=("V", "B", "F"))
        np.testing.assert_allclose(found["V"].ravel(), slope * np.arange(6), rtol=1e-9, atol=1e-10)
    gaussian = flow("relu", 6, "gaussian", tensors=("B", "F"))
    for tensor in "BF":
        np.testing.assert_allclose(found[tensor], gaussian[tensor] / 2, rtol=1e-9, atol=1e-12)


def test_several_inputs() -> None:
    """Two equal inputs have the tensors of one, and V, B and F keep their symmetries for two different ones."""
    tensors = (*TENSORS, *"PQRSTU")
    one = theory.flow("tanh", 4, 0.1, 1.2, [[0.9]], 0.5, 1.0, tensors=tensors, weights="orthogonal")
    x = [[0.9, 0.0], [0.2, 0.7]]
    two = theory.flow("tanh", 4, 0.1, 1.2, np.array(x) * 2**0.5, 0.5, 1.0, tensors=tensors, weights="orthogonal")
    for tensor in tensors:
        corner = two[tensor][(slice(None), *(0,) * (two[tensor].ndim - 1))]
        np.testing.assert_allclose(corner, one[tensor].reshape(4), rtol=1e-7, atol=1e-9)
    V = two["V"][-1]
    np.testing.assert_allclose(V, V.transpose(2, 3, 0, 1), rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(V, V.transpose(1, 0, 2, 3), rtol=1e-8, atol=1e-10)


def test_differentials_of_two_linear_layers() -> None:
    """dH_001 is lambda_W Theta(1) z_1/n there, so that Q of docs/theory.md (14.6) is lambda_W Theta(1) K(2), whatever
    the law of the weights, though F vanishes for orthogonal ones and not for Gaussian ones (control)."""
    rates = {"lambda_b": 0.3, "lambda_W": 1.7, "tensors": ("K", "Theta", "F", "Q")}
    for weights, F in (("orthogonal", 0.0), ("gaussian", 1.0)):
        found = theory.flow("linear", 2, 0.0, 0.8, [[1.1]], weights=weights, **rates)
        K, Theta = found.K.ravel(), found["Theta"].ravel()
        np.testing.assert_allclose(found["Q"][1].item(), 1.7 * Theta[0] * K[1], rtol=1e-12)
        np.testing.assert_allclose(found["F"][1].item(), F * 0.8**2 * K[0] * Theta[0], atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": "haar"}, "weights='haar': gaussian or orthogonal"),
        ({"tensors": ("V", "P", "V2", "W")}, "V2, W not known for weights='orthogonal', .*: frames are not Gaussian"),
        ({"skip": 0.5}, "not known with skips, by which neurons of frames remember"),
        ({"width_ratios": (1.0, 1.0, 2.0)}, "layers that are not wider"),
    ],
)
def test_refusals(changes: dict, message: str) -> None:
    given = {"activation": "tanh", "depth": 4, "C_b": 0.0, "C_W": 1.0, "inputs": [[1.0]], "weights": "orthogonal"}
    with pytest.raises(ValueError, match=message):
        theory.flow(**(given | changes))


def test_orthogonal_first_layer() -> None:
    """V of layers 2 to 6 where layer 1 is orthogonal, too, docs/theory.md (14.1), by another program. Negative control:
    a Gaussian first layer has other ones."""
    for name, C_W, wanted in (
        ("tanh", 1.0, (-0.2795, -0.0992, -0.0494, -0.0293, -0.0193)),
        ("relu", 2.0, (1, 4, 7, 10)),
    ):
        depth = len(wanted) + 1
        given = {"tensors": ("V",), "weights": "orthogonal"}
        V, plain = (
            theory.flow(name, depth, 0.0, C_W, [[C_W**-0.5]], **given, first_weights=first).V
            for first in ("orthogonal", "gaussian")
        )
        np.testing.assert_allclose(V.ravel(), [-2, *wanted], atol=5e-5)
        assert not np.allclose(plain[1:].ravel(), wanted, rtol=0.01)
    with pytest.raises(ValueError, match="first_weights='orthogonal': gaussian, or orthogonal where"):
        theory.flow("tanh", 3, 0.0, 1.0, [[1.0]], first_weights="orthogonal")
