"""D and F with the last layer's weights integrated out and fitted controls: planted tensors of two layers."""

import itertools

import numpy as np

from analysis.measures.ntk_signs import D_signs, F_signs
from tests.exact.measures.gaussian import TwoLayers
from tests.exact.measures.rows import Rows, Wanted, expect, holds, inputs_of, rows, signs

K = np.array([[1.0, 0.3], [0.3, 0.8]])
TWO = TwoLayers(K, 0.3 + 0.7 * K, C_W=1.0, lambda_b=0.5, lambda_W=0.9)
WIDTH = 8
SETTINGS = ("activation=sin", "initialization=critical", "network.outputs=2", "dynamics.lambda_b=[0.3,0.5]",
            "dynamics.lambda_W=[0.7,0.9]", "network.depth=2", f"network.width={WIDTH}", "observables.layers=all",
            "observables.record=[kernel,ntk_signs]")  # fmt: skip
PAIRS = [(0, 0), (0, 1), (1, 1)]
FACTORS = signs(6)
SPREAD = 0.02 * FACTORS[:3] * (1 + 0.3 * FACTORS[3:])  # of the kernels, with squares that differ between networks
ANSWER = np.random.default_rng(2).normal(size=(2, 2, 2, 2))


def made() -> Rows:
    data = rows(*SETTINGS, x=inputs_of(K))
    data.fill("g", 1, lambda *pair: K[pair])
    return data.fill("g", 2, lambda *pair: TWO.K[pair] + SPREAD[PAIRS.index(pair)])


def test_F_signs() -> None:
    """F of docs/theory.md (2.6) by docs/theory.md (7.19): the planted mean, without the noise of the kernels."""
    mean = np.random.default_rng(1).normal(size=(2, 2, 2, 2))
    data = made()
    data.fill("F", 2, lambda *abcd: mean[abcd] / WIDTH + ANSWER[abcd] * (SPREAD[0] - 2 * SPREAD[2]))
    samples = data.layout.indices(data.family("F"))
    theory = {abcd: TWO.F[abcd] for abcd in samples}
    size = max(map(abs, theory.values()))

    def check(data: Rows) -> None:
        components = {f"{a}{b},{c}{d}": (mean[a, b, c, d], theory[a, b, c, d], size) for a, b, c, d in samples}
        expect(list(F_signs(data.point, None)), Wanted("F", 2, 0, components), rtol=1e-6)

    holds(check, data, data.scaled("F"), data.exchanged("F", samples[0], samples[1]))


def test_D_signs() -> None:
    """D of docs/theory.md (2.6) by docs/theory.md (7.19). Where H_cd answers linearly to the kernels by c, D_ab,cd is
    sum_r V_ab,r c_cd,r, whatever the kernels of these networks are."""
    answers = np.random.default_rng(3).normal(size=(3, 3))
    data = made()
    data.fill("Hs", 2, lambda *pair: 1.5 + answers[PAIRS.index(pair)] @ SPREAD)
    V = np.array([[TWO.V[(*p, *q)] for q in PAIRS] for p in PAIRS])
    unbiased = WIDTH * np.cov(SPREAD) @ answers.T / SPREAD.shape[1]  # 1/(M - 1) where products have 1/M
    found = V @ answers.T + unbiased
    theory = {(p, q): TWO.D[(*p, *q)] for p, q in itertools.product(PAIRS, PAIRS)}
    size = max(map(abs, theory.values()))

    def check(data: Rows) -> None:
        components = {
            f"{p[0]}{p[1]},{q[0]}{q[1]}": (found[PAIRS.index(p), PAIRS.index(q)], theory[p, q], size) for p, q in theory
        }
        expect(list(D_signs(data.point, None)), Wanted("D", 2, 0, components), rtol=1e-6)

    holds(check, data, data.scaled("Hs"), data.exchanged("Hs", (0, 0), (0, 1)))
