"""Orthogonal networks: their weights are Haar matrices, and fluctuations are as predicted.

Seeds are fixed, false-alarm rates are stated, and each check has a negative control.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm

from analysis import claims, estimators, theory
from analysis.measures.given_below import pair_products
from analysis.points import Point
from simulate.networks import dense, haar, law
from simulate.store.sets import DataSet
from tests.exact.measures.rows import rows
from tests.statistical import two_samplers

FALSE_ALARM = 1e-4  # of each test in this file; its statistics share it (Bonferroni)


def test_products_of_two_rows() -> None:
    """E z_i;a z_i;b z_j;c z_j;d over Haar weights and Gaussian biases, of two neurons on fixed activations, is that of
    docs/theory.md (14.3), with false-alarm rate 1e-4. Negative controls: products of two means, which are those of
    Gaussian weights, and a QR whose signs are left as a library has them, whose z has a mean."""
    n, draws, C_b, C_W = 4, 60_000, 0.3, 1.4
    generator = torch.Generator().manual_seed(3)
    s = torch.randn(2, n, dtype=torch.float64, generator=generator)
    normals = torch.randn(draws, n, n, dtype=torch.float64, generator=generator)
    biases = C_b**0.5 * torch.randn(draws, 2, dtype=torch.float64, generator=generator)
    W = dense.frames(normals, C_W**0.5).mT
    z = torch.einsum("mik,ak->mai", W[:, :2], s) + biases[:, None]  # (draws, samples, neurons)
    point = rows("network.depth=3", f"network.width={n}", "initialization=orthogonal", f"initialization.C_b={C_b}",
                 f"initialization.C_W={C_W}", "observables=kernel", "observables.layers=all",
                 x=np.eye(2))  # fmt: skip
    g = (C_b + C_W / n * s @ s.mT).numpy()
    at = point.fill("g", 2, lambda a, b: np.full(point.point.networks, g[a, b])).point
    pairs = at.columns("g")
    components = [(p, q) for p in range(3) for q in range(p, 3)]
    exact = pair_products(at, 2, components)
    assert exact is not None
    limit, pulls, plain = norm.isf(FALSE_ALARM / (2 * 8)), [], []
    for k, (p, q) in enumerate(components):
        (a, b), (c, d) = pairs[p], pairs[q]
        drawn = (z[:, a, 0] * z[:, b, 0] * z[:, c, 1] * z[:, d, 1]).numpy()
        error = drawn.std() / draws**0.5
        pulls.append((drawn.mean() - exact[0, k]) / error)
        plain.append((drawn.mean() - g[a, b] * g[c, d]) / error)
    means = W[:, 0, :2].mean(dim=0).numpy() / (W[:, 0, :2].std(dim=0).numpy() / draws**0.5)
    assert np.abs([*pulls, *means]).max() < limit
    assert np.abs(plain).max() > limit
    raw = torch.linalg.qr(normals)[0][:, 0, 0].numpy()
    assert abs(raw.mean() / (raw.std() / draws**0.5)) > limit


def test_fluctuations_are_those_of_orthogonal_weights(run: Callable[..., DataSet]) -> None:
    """V of linear and ReLU networks is that of docs/theory.md (14.3) at every n, 0 of linear ones, and V of ReLU and
    tanh that of docs/theory.md (14.1) up to the next order of 1/n, which two widths take off, with false-alarm rate
    1e-4. Negative control: n Var g."""
    values, errors, old, at_width = [], [], [], []
    for name, widths in (("linear", [8]), ("relu", [16, 32]), ("tanh", [16, 32])):
        found = []
        for n in widths:
            data = run(f"activation={name}", f"network.width={n}", "network.depth=4", "initialization=orthogonal",
                       "inputs=sphere", "inputs.count=1", "observables=kernel", "observables.layers=[3,4]",
                       "ensemble.networks=5000", f"ensemble.seed={n}")  # fmt: skip
            point = Point(data)
            measured = list(claims.tests()["V"](point, [3, 4]))
            plain = [estimators.covariance(point.read("g", l), [(0, 0)]).scaled(n) for l in (3, 4)]
            if name != "tanh":
                network = n, theory.critical(name).C_W, point.flow(("K", "Theta")).K[0, 0, 0]
                exact = [theory.finite_width.orthogonal_vertex(name, l, *network) for l in (3, 4)]
                pairs = zip(measured, exact, strict=True)
                at_width += [(m.estimate.value[0] - V) / m.estimate.error[0] for m, V in pairs]
            found.append([(m.estimate, m.theory[0], p) for m, p in zip(measured, plain, strict=True)])
        factors = [1] if len(widths) == 1 else [-1, 2]
        for at in zip(*found, strict=True):
            values.append(sum(f * e.value[0] for f, (e, _, _) in zip(factors, at, strict=True)) - at[0][1])
            old.append(sum(f * p.value[0] for f, (_, _, p) in zip(factors, at, strict=True)) - at[0][1])
            errors.append(np.sqrt(sum((f * e.error[0]) ** 2 for f, (e, _, _) in zip(factors, at, strict=True))))
    limit = norm.isf(FALSE_ALARM / (2 * len(values + at_width)))
    assert np.abs([*np.array(values) / errors, *at_width]).max() < limit
    of_linear_and_tanh = (np.array(old) / errors)[[0, 1, 4, 5]]
    assert np.abs(of_linear_and_tanh).min() > limit


@pytest.mark.parametrize(("activation", "widths"), [("tanh", "8"), ("relu", "16"), ("tanh", "[6,5,4]")])
def test_dense_and_law_are_one_law(
    activation: str, widths: str, run: Callable[..., DataSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The frames of docs/theory.md (14.4) agree with weights from a QR in 28 statistics of z, g and H, also where
    layers narrow and vectors fill all of their space, with false-alarm rate 1e-4. Negative control: a backward pass
    whose frames are drawn again."""
    case = ["initialization=orthogonal", "initialization.C_b=0.1", "initialization.C_W=1.2",
            f"network.width={widths}", f"activation={activation}", "ensemble.networks=12000"]  # fmt: skip
    if activation == "relu":
        case += ["initialization.first=orthogonal", "inputs.dimension=16"]
    largest, limit = two_samplers.apart(run, case), two_samplers.limit(FALSE_ALARM)
    assert largest() < limit
    if widths == "8":
        pull_back = law._pull_back

        def fresh(u, square, above, s, *rest):  # type: ignore[no-untyped-def]
            xi = haar.frame(above.C, torch.randn_like(s), above.xi.shape[2])
            return pull_back(u, square, replace(above, xi=xi), s, *rest)

        monkeypatch.setattr(law, "_pull_back", fresh)
        assert largest() > limit
