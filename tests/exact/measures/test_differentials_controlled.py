"""P to U with signs for the last layer's weights and fitted controls: planted tensors of two layers (`TwoLayers`)."""

import numpy as np

from analysis.measures.differentials_controlled import (
    P_controlled,
    Q_controlled,
    R_controlled,
    S_controlled,
    T_controlled,
    U_controlled,
    fitted,
)
from analysis.measures.measured import Measure
from tests.exact.measures.gaussian import TwoLayers
from tests.exact.measures.rows import Array, Rows, Wanted, expect, holds, inputs_of, rows, signs

K = np.array([[1.0, 0.3], [0.3, 0.8]])
TWO = TwoLayers(K, 0.3 + 0.7 * K, C_W=1.0, lambda_b=0.5, lambda_W=0.9)
WIDTH = 8
SETTINGS = ("activation=sin", "initialization=critical", "network.outputs=2", "dynamics.lambda_b=[0.3,0.5]",
            "dynamics.lambda_W=[0.7,0.9]", "network.depth=2", f"network.width={WIDTH}", "observables.layers=all",
            "observables.record=[kernel,ddntk_signs]")  # fmt: skip
SPREAD = 0.02 * signs(6)  # of the kernels; the seventh sign tells the two halves of the networks
MEASURES = (P_controlled, Q_controlled, R_controlled, S_controlled, T_controlled, U_controlled)


def planted(seed: int) -> Array:
    return np.random.default_rng(seed).normal(size=(2, 2, 2, 2))


def filled(tensor: str) -> Rows:
    """Rows in which a tensor has a planted mean, and all of its noise is that of the kernels of layer 2."""
    data = rows(*SETTINGS, x=inputs_of(K))
    place = {(0, 0): 0, (0, 1): 1, (1, 1): 2}
    data.fill("g", 1, lambda *pair: K[pair])
    data.fill("g", 2, lambda *pair: TWO.K[pair] + SPREAD[place[pair]])
    mean, answer = planted(1), planted(2)
    return data.fill(tensor, 2, lambda *abcd: mean[abcd] / WIDTH + answer[abcd] * (SPREAD[0] - 2 * SPREAD[abcd[0] + 1]))


def leaves_the_mean(measure: Measure) -> None:
    """A measure finds the planted mean without noise, with theory's tensor and its size."""
    (tensor,) = measure.families
    data = filled(tensor)
    theory, mean = getattr(TWO, tensor), planted(1)
    samples = data.layout.indices(data.family(tensor))
    size = max(abs(theory[abcd]) for abcd in samples)

    def check(data: Rows) -> None:
        found = list(measure(data.point, None))
        components = {"".join(map(str, abcd)): (mean[abcd], theory[abcd], size) for abcd in samples}
        expect(found, Wanted(tensor, 2, 0, components), rtol=1e-6)
        assert found[0].estimate.error.max() < 1e-6

    swapped = data.exchanged(tensor, samples[0], samples[1])
    holds(check, data, data.scaled(tensor), swapped)


def test_P_controlled() -> None:
    """P of docs/theory.md (3.4) by docs/theory.md (7.17) and (7.18)."""
    leaves_the_mean(P_controlled)


def test_Q_controlled() -> None:
    """Q of docs/theory.md (3.4) by docs/theory.md (7.17) and (7.18)."""
    leaves_the_mean(Q_controlled)


def test_R_controlled() -> None:
    """R of docs/theory.md (3.5) by docs/theory.md (7.17) and (7.18)."""
    leaves_the_mean(R_controlled)


def test_S_controlled() -> None:
    """S of docs/theory.md (3.6) by docs/theory.md (7.17) and (7.18)."""
    leaves_the_mean(S_controlled)


def test_T_controlled() -> None:
    """T of docs/theory.md (3.6) by docs/theory.md (7.17) and (7.18)."""
    leaves_the_mean(T_controlled)


def test_U_controlled() -> None:
    """U of docs/theory.md (3.6) by docs/theory.md (7.17) and (7.18)."""
    leaves_the_mean(U_controlled)


def test_coefficients_are_those_of_the_other_half() -> None:
    """A control that explains one half alone is taken from the other half, where it was not wanted, docs/theory.md
    (7.18). Negative control: coefficients of the same half, which leave nothing."""
    m, half = signs(7)[[0, 6]]
    x = np.where(half > 0, m, 0.0)
    found = x - fitted(x[:, None], m[:, None])[:, 0]
    np.testing.assert_allclose(found, np.where(half > 0, m, -m), atol=1e-12)
    twice, both = np.tile(x[half > 0], 2)[:, None], np.tile(m[half > 0], 2)[:, None]
    assert np.abs(twice - fitted(twice, both)).max() < 1e-12


def test_the_mean_is_not_biased() -> None:
    """Few networks and many controls: over 4,000 sets of networks the mean error is zero within 5 standard errors
    (false alarms: 6e-7). Negative control: coefficients of the same networks, whose bias is seen."""
    rng = np.random.default_rng(3)
    other_half, same = [], []
    for _ in range(4000):
        m = rng.normal(size=(32, 4))
        x = m[:, :1] ** 2 * m[:, :1] + m[:, :1] ** 2 - 1.0  # of mean zero, and not linear in the controls
        other_half.append((x - fitted(x, m)).mean())
        design = np.column_stack([np.ones(32), m])
        same.append((x - m @ np.linalg.lstsq(design, x, rcond=None)[0][1:]).mean())
    z = [np.mean(found) / (np.std(found) / np.sqrt(len(found))) for found in (other_half, same)]
    assert abs(z[0]) < 5
    assert abs(z[1]) > 5


def test_partner_and_needs() -> None:
    """Each test asks for `layer_law`, and for kernels of all layers."""
    for measure in MEASURES:
        assert measure.partner == "layer_law"
        lacking = rows(*SETTINGS[:-2], "observables.layers=[2]", SETTINGS[-1], x=inputs_of(K))
        assert any("all layers from 1 on" in reason for reason in measure.missing(lacking.point))
        assert not list(measure.missing(filled(*measure.families).point))
