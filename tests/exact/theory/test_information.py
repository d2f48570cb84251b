"""Mutual information between neurons of a layer agrees with tables, with its expansion, and with Gaussians."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from analysis import theory
from analysis.theory import information
from analysis.theory.aspect_ratio import log_kernel

REFERENCE = json.loads((Path(__file__).parents[2] / "data" / "aspect_ratio_reference.json").read_text())["section13"]
NORMAL = np.arange(-9, 9.01, 0.05)
WEIGHT = np.exp(-(NORMAL**2) / 2)


def log_normal(variance: float) -> np.ndarray:
    return np.exp(math.sqrt(variance) * NORMAL - variance / 2)


def test_entropy_of_a_gaussian() -> None:
    """docs/theory.md (13.1) at one g. Negative control: two g."""
    for m in (1, 2, 7):
        want = m / 2 * math.log(2 * math.pi * math.e * 0.3)
        assert information.entropy(np.array([0.3]), np.ones(1), m) == pytest.approx(want, abs=1e-12)
        assert information.entropy(np.array([0.2, 0.4]), np.ones(2), m) != pytest.approx(want, abs=1e-3)


def test_log_normal_kernels() -> None:
    """The information of docs/theory.md (13.1) and its third order, docs/theory.md (13.2), are those of the table, and
    it rises with nu r, docs/theory.md (13.4). Negative control: the third order falls."""
    rows = REFERENCE["lognormal"]["rows"]
    found, cubic = [], []
    for row in rows:
        values = dict(zip(REFERENCE["lognormal"]["columns"], row, strict=True))
        g = log_normal(values["sigma2"])
        for m1, m2 in ((1, 1), (1, 2), (4, 4)):
            got = information.mutual_information(g, WEIGHT, m1, m2)
            assert got == pytest.approx(values[f"I_{m1}{m2}"], rel=1e-6)
            third = information.expansion(values["sigma2"], m1, m2)
            assert third == pytest.approx(values[f"pdlt_{m1}{m2}"], rel=1e-9, abs=1e-14)
        found.append(information.mutual_information(g, WEIGHT, 4, 4))
        cubic.append(information.expansion(values["sigma2"], 4, 4))
    assert np.all(np.diff(found) > 0)
    assert not np.all(np.diff(cubic) > 0)


def test_expansion_holds_at_small_fluctuations() -> None:
    """The error of docs/theory.md (13.2) falls 16 times where mu2 is halved, for a law whose third moment is of the
    third order. Negative control: with 14 in place of 20 it falls
    by less than 8 times."""
    errors, others = [], []
    for variance in (0.01, 0.005):
        g, mu2 = log_normal(variance), math.expm1(variance)
        full = information.mutual_information(g, WEIGHT, 2, 3)
        errors.append(full - information.expansion(mu2, 2, 3))
        others.append(errors[-1] + 2 * 3 * mu2**2 / 8 * (-6 * mu2 / 6))
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.1)
    assert others[0] / others[1] < 8


def test_optimal_ratio() -> None:
    """r* of docs/theory.md (6.8) is where the third order of docs/theory.md (13.2) has its maximum with mu2 = nu r, and
    that of docs/theory.md (13.3) where the third order in r has it. One neuron has none."""
    nu, neurons = 2.0, 6
    r = information.optimal_ratio(nu, neurons)
    values = [information.expansion(nu * r * (1 + x), 2, 4) for x in (-1e-3, 0.0, 1e-3)]
    assert values[1] > max(values[0], values[2])

    def cubic(r: float, c: float) -> float:
        return (nu * r) ** 2 * (1 + 2 * c * nu * r - (20 + 3 * neurons) * nu * r / 6)

    for c in (0.5, 0.3):
        r = information.optimal_ratio(nu, neurons, c)
        assert cubic(r, c) > max(cubic(r * 1.001, c), cubic(r * 0.999, c))
    assert information.optimal_ratio(5.0, 2) == pytest.approx(0.030769, rel=1e-4)
    with pytest.raises(ValueError, match="neurons=1"):
        information.optimal_ratio(2.0, 1)


def test_information_of_linear_networks_rises() -> None:
    """Kernels of linear networks are products of chi-square numbers: their information is that of the table in 4
    standard errors of both samples at six depths (false-alarm rate 4e-4), and rises with depth, docs/theory.md (13.4).
    Negative control: the log-normal law of the same variance of log g at the smallest depth."""
    rng, M, n = np.random.default_rng(5), 50_000, 32
    columns = REFERENCE["simulated"]["columns"]
    rows = [dict(zip(columns, row, strict=True)) for row in REFERENCE["simulated"]["rows"]]
    rows = [row for row in rows if row["act"] == "linear" and row["m1"] == 1]
    found, log_g, done = [], np.zeros(M), 1
    for row in rows:
        for _ in range(int(row["L"]) - done):
            log_g += np.log(rng.chisquare(n, M) / n)
        done = int(row["L"])
        value, *without = information.informations(np.exp(log_g), 1, 1, 25)
        error = math.sqrt(24 / 25 * ((np.array(without) - np.mean(without)) ** 2).sum())
        assert abs(value - row["I"]) < 4 * math.hypot(error, row["se"]), row
        found.append(value)
    assert np.all(np.diff(found) > 0)
    variance = log_kernel("linear", [n], 1.0, 1.0)[1]
    other = information.mutual_information(log_normal(variance), WEIGHT, 1, 1)
    assert abs(other - rows[0]["I"]) > 4 * rows[0]["se"]


def test_exact_laws_have_the_information_of_networks() -> None:
    """By the law of docs/theory.md (12.1) for linear and ReLU networks, and of docs/theory.md (17.5) for tanh, in 4
    standard errors of samples of the table (false-alarm rate 5e-4).
    Negative control: the law of a layer more."""
    columns, worst = REFERENCE["simulated"]["columns"], [0.0, 0.0]
    for row in (dict(zip(columns, row, strict=True)) for row in REFERENCE["simulated"]["rows"]):
        n, L = int(row["n"]), int(row["L"])
        if row["m1"] == 1 or L > 9 or (row["act"] == "tanh" and L > 3):
            continue
        for more in (0, 1):
            if row["act"] == "tanh":
                law = theory.exact_rule("tanh", L + more, 0.0, 1.0, 1.0, n)[-1]
            else:
                C_W = theory.critical(row["act"]).C_W
                law = theory.aspect_ratio.kernel_law(row["act"], [n] * (L - 1 + more), C_W, 1.0)
            exact = information.mutual_information(*law, int(row["m1"]), int(row["m2"]))
            worst[more] = max(worst[more], abs(row["I"] - exact) / row["se"])
    assert worst[0] < 4 < worst[1]


def test_a_sample_shared_out_among_cells() -> None:
    """`informations` of docs/theory.md (13.1) is `mutual_information` of the sample. Negative control: another one."""
    g = np.exp(0.3 * np.random.default_rng(2).standard_normal(4000))
    got = information.informations(g, 1, 3, 2)
    for value, part in zip(got, (g, g[2000:], g[:2000]), strict=True):
        assert value == pytest.approx(information.mutual_information(part, np.ones(len(part)), 1, 3), rel=1e-4)
    assert abs(got[1] / got[2] - 1) > 1e-3
    assert information.informations(np.ones(10), 1, 1, 2).tolist() == [0, 0, 0]


def test_bad_input_is_refused() -> None:
    g = np.array([1.0, 0.0])
    for call, words in (
        (lambda: information.entropy(g, np.ones(2), 1), "above 0"),
        (lambda: information.entropy(g + 1, np.ones(2), 0), "m=0"),
        (lambda: information.informations(g, 1, 1, 2), "above 0"),
        (lambda: information.informations(g + 1, 1, 1, 3), "2 networks in 3 blocks"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    assert theory.information is information
