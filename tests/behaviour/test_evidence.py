"""The picture of model comparison on tiny cases: what docs/bayes.md says of it."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import evidence


def test_relu_prefers_its_targets_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """log p(y) has a peak in C_W near 2, and networks of all C_W from one draw, docs/theory.md (16.17), are nearer to
    order 1/n than to infinite width."""
    monkeypatch.setattr(evidence, "RELU_C_W", np.array([1.2, 1.8, 2.6, 3.2]))
    found = evidence.relu(3, networks=2000)
    assert np.argmax(found.infinite) == np.nanargmax(found.points.value) == 1
    there = np.isfinite(found.points.value)
    apart = np.abs(found.points.value - found.infinite - found.order_n / evidence.WIDTH)[there]
    assert there.sum() >= 3
    assert apart.max() < 0.5 * np.abs(found.points.value - found.infinite)[there].max()


@pytest.mark.long
def test_tanh_and_criticality() -> None:
    """With biases evidence dies in deep ordered and deep chaotic networks. Without them it is higher at C_W = 0.5 than
    at the critical 1, because the network becomes a linear one that keeps correlations."""
    with_biases, without = (evidence.tanh(C_b, depths=(30,), C_W=(0.5, 1.4, 3.0))[0] for C_b in (0.05, 0.0))
    assert with_biases[1] > with_biases[[0, 2]].max() + 2
    assert without[0] > without[1] > without[2]


def test_linear_networks_have_a_best_width() -> None:
    """The exact evidence is highest at a finite width, and tends to order 1/n and to infinite width."""
    found, n = evidence.linear(), np.array(evidence.LINEAR_WIDTHS)
    best = n[np.argmax(found.exact)]
    assert 64 <= best <= 192
    assert found.exact.max() > found.infinite
    apart = n * (found.exact - found.infinite) - found.order_n
    assert np.abs(apart[-1]) < 0.1 * np.abs(apart[n == 64])


def test_picture(tmp_path: Path) -> None:
    points = evidence.Points(np.full(21, -6.0), np.full(21, 0.1))
    relu = evidence.Relu(np.full(21, -6.0), np.ones(21), points)
    of_tanh = np.full((len(evidence.TANH_DEPTHS), len(evidence.TANH_C_W)), -9.0)
    found = evidence.Found({3: relu}, {0.0: of_tanh, 0.05: of_tanh}, evidence.linear(), {16: (-3.3, 0.01)})
    evidence.draw(found, tmp_path / "evidence.png")
    assert (tmp_path / "evidence.png").stat().st_size > 1000
    assert len(evidence.lines(found)) == 1 + 8 + 2
