"""What training makes of an ensemble, against theory.md section 5: outputs, algorithms, representations, models."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from analysis import estimators, theory
from analysis.estimators import Array, Estimate
from analysis.measured import Measured, chosen_layers, label_of
from analysis.points import Point
from analysis.theory import linear_model, nearly_kernel

# Shares of the variance at the start: below the first, float32 is all that is left; above the second, a distribution.
ROUNDING, SPREAD = 1e-9, 1e-3
SOLVED = ("gradient_descent", "gradient_flow", "momentum")  # algorithms with a closed form at infinite width


def solved(point: Point) -> bool:
    """Whether the point was trained by an algorithm whose infinite-width end and way there are known."""
    rule = point.settings["dynamics"]
    return bool(point.trained and rule["name"] in SOLVED and rule["loss"] == "mse")


def _rule(point: Point) -> Mapping[str, Any]:
    """The dynamics of a point that was trained on the MSE by an algorithm with a closed form."""
    rule: Mapping[str, Any] = point.settings["dynamics"]
    if not solved(point):
        said = f"dynamics={rule['name']}" + f", loss={rule['loss']}" * point.trained
        raise ValueError(f"{point.data.path}: {said}: this test needs one of {', '.join(SOLVED)}, with loss=mse")
    return rule


def targets(point: Point) -> Array:
    """(N, n_L) of the train samples."""
    _, y, train = point.samples
    assert y is not None
    return y[:train]


def response(point: Point, step: int) -> Array:
    """M (D, N) at infinite width: z(t) = z(0) - M (z_train(0) - y) (theory.md 5.1)."""
    rule, flow = _rule(point), point.flow(("K", "Theta"))
    assert flow.Theta is not None
    return theory.response(
        flow.Theta[-1], len(targets(point)), rule["eta"], step, rule["name"], rule.get("momentum", 0.0)
    )


def closed_form(point: Point, step: int) -> tuple[Array, Array]:
    """Mean (D, n_L) and covariance (D, D) of outputs at infinite width (theory.md 5.2)."""
    rule, flow = _rule(point), point.flow(("K", "Theta"))
    assert flow.Theta is not None
    how = rule["eta"], step, rule["name"], rule.get("momentum", 0.0)
    return theory.trained(flow.K[-1], flow.Theta[-1], targets(point), *how)


def _outputs(point: Point, step: int) -> Array:
    """(M, n_L, D)"""
    z = point.read("z", point.depth, step)
    return z.reshape(len(z), -1, point.D)


def linear_in_z(point: Point, step: int) -> Array:
    """z(0) - M (z_train(0) - y) of every network, (M, n_L, D): its outputs if its NTK were the frozen one.

    Their mean over networks is M y exactly, at every width: a network and the one with its last layer's sign reversed
    are equally likely.
    """
    start, y, M = _outputs(point, 0), targets(point), response(point, step)
    return np.asarray(start - (start[..., : len(y)] - y.T) @ M.T)


def _last(point: Point) -> int:
    return int(point.data.layout.steps[-1])


def _measured(
    name: str, point: Point, labels: list[str], estimate: Estimate, predicted: Array, scale: Array
) -> Measured:
    nothing = np.full(len(labels), np.nan)
    return Measured(name, point.depth, _last(point), labels, estimate, predicted, scale, nothing)


# ------------------------------------------------------------------------------------------- trained outputs


def _spread(point: Point, least: float) -> tuple[list[int], Array]:
    """Samples whose trained outputs have at infinite width more than this share of their variance at the start, and
    their variance. Fully trained train samples have none: what differs there is rounding, no statistics."""
    _, covariance = closed_form(point, _last(point))
    size = point.flow(("K", "Theta")).K[-1].diagonal()
    kept = [a for a in range(point.D) if covariance[a, a] > least * size[a]]
    return kept, covariance.diagonal()[kept]


def trained_mean(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """E z_i;a after training, train and test samples, in units of the targets (theory.md 5.2, PDLT ch. 10)."""
    mean, _ = closed_form(point, _last(point))
    kept, _ = _spread(point, ROUNDING)
    every, unit = point.columns("z"), np.sqrt((targets(point) ** 2).mean())
    columns = [(i, a) for i, a in every if a in kept]
    z = point.read("z", point.depth, _last(point))[:, [every.index(column) for column in columns]]
    yield _measured(
        "z",
        point,
        [label_of((i,), (a,)) for i, a in columns],
        estimators.mean(z),
        np.array([mean[a, i] for i, a in columns]),
        np.full(len(columns), unit),
    )


def trained_covariance(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """Cov(z_i;a, z_i;b) after training of one output, in units of its size before (theory.md 5.2)."""
    _, covariance = closed_form(point, _last(point))
    kept, _ = _spread(point, ROUNDING)
    columns = point.columns("z")
    there = [k for k, (_, a) in enumerate(columns) if a in kept]
    chosen = [(p, q) for p in there for q in there if p <= q and columns[p][0] == columns[q][0]]
    size = np.sqrt(point.flow(("K", "Theta")).K[-1].diagonal())
    ab = [(columns[p][1], columns[q][1]) for p, q in chosen]
    yield _measured(
        "Cov z",
        point,
        [label_of((columns[p][0],), pair) for (p, _), pair in zip(chosen, ab, strict=True)],
        estimators.covariance(point.read("z", point.depth, _last(point)), chosen),
        np.array([covariance[pair] for pair in ab]),
        np.array([size[a] * size[b] for a, b in ab]),
    )


def trained_skewness(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """Third cumulant of a trained output over its infinite-width deviation cubed: zero at infinite width."""
    test, variance = _spread(point, SPREAD)
    z = _outputs(point, _last(point))[:, 0, test]
    estimate = estimators.third_cumulant(z).scaled(variance**-1.5)
    yield _measured("skewness", point, [label_of((a,)) for a in test], estimate, 0 * variance, variance**0)


def trained_kurtosis(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """Fourth cumulant over the infinite-width variance squared: zero at infinite width, where p(f*) is Gaussian."""
    test, variance = _spread(point, SPREAD)
    z = _outputs(point, _last(point))[:, 0, test]
    estimate = estimators.fourth_cumulant(z).scaled(variance**-2)
    yield _measured("kurtosis", point, [label_of((a,)) for a in test], estimate, 0 * variance, variance**0)


def _nearly_kernel(point: Point, eta: float) -> Array:
    flow = point.flow(nearly_kernel.TENSORS)
    return nearly_kernel.trained_mean(flow, targets(point), eta)


def _arrived(point: Point) -> None:
    """Raises ValueError where training has not come to its end at infinite width."""
    M, N = response(point, _last(point)), len(targets(point))
    left = np.abs(np.eye(N) - M[:N]).max()
    if left > 1e-4:
        raise ValueError(
            f"{point.data.path}: dynamics.steps: a share {left:.1g} of the error is left; this test needs < 1e-4"
        )


def trained_mean_coefficient(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """n (E z_test - infinite width) at the end of training: nearly-kernel regression (theory.md 5.21).

    Measured as the mean of z minus the same network's output with a frozen NTK, whose mean is known at every width.
    """
    _arrived(point)
    rule, N = _rule(point), len(targets(point))
    if rule["name"] == "momentum":
        raise ValueError(f"{point.data.path}: dynamics=momentum: the coefficient is known for descent and flow only")
    predicted = _nearly_kernel(point, rule["eta"] if rule["name"] == "gradient_descent" else 0.0)
    difference = _outputs(point, _last(point)) - linear_in_z(point, _last(point))
    columns = [(i, a) for i in range(difference.shape[1]) for a in range(N, point.D)]
    estimate = estimators.mean(np.stack([difference[:, i, a] for i, a in columns], axis=1)).scaled(point.n)
    theory_there = np.array([predicted[a, i] for i, a in columns])
    labels = [label_of((i,), (a,)) for i, a in columns]
    yield _measured("n dz", point, labels, estimate, theory_there, np.abs(theory_there))


# ------------------------------------------------------------------------------------------- two algorithms


def _both(point: Point, reference: Point) -> tuple[Array, Array, list[int]]:
    """Trained outputs of the same networks under both algorithms, (M, n_L, D) each, and the test samples."""
    for one in (point, reference):
        _arrived(one)
    first, second = (one.data.read("z")[:, -1, -1].astype(np.float64) for one in (point, reference))
    both = np.isfinite(first).all(axis=1) & np.isfinite(second).all(axis=1)
    if first.shape != second.shape or point.data.manifest["first"] != reference.data.manifest["first"]:
        raise ValueError(f"{point.data.path}: not the networks of {reference.data.path}")
    shape = (int(both.sum()), -1, point.D)
    return first[both].reshape(shape), second[both].reshape(shape), list(range(len(targets(point)), point.D))


def algorithm_difference(point: Point, reference: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """E z_test of one algorithm minus that of another on the same networks, in units of the targets: at infinite width
    zero, but for what is left of the error after so many steps (PDLT ch. 10); nothing for two flows, which are one
    algorithm and differ by the error of their solver."""
    if all(_rule(one)["name"] == "gradient_flow" for one in (point, reference)):
        return
    estimate, infinite, columns = _difference(point, reference)
    unit = np.full(len(columns), np.sqrt((targets(point) ** 2).mean()))
    yield _measured("z - z'", point, [label_of((i,), (t,)) for i, t in columns], estimate, infinite, unit)


def _difference(point: Point, reference: Point) -> tuple[Estimate, Array, list[tuple[int, int]]]:
    """Of trained test outputs, network by network: its mean, what it is at infinite width, and the (output, sample)."""
    a, b, test = _both(point, reference)
    columns = [(i, t) for i in range(a.shape[1]) for t in test]
    estimate = estimators.mean(np.stack([a[:, i, t] - b[:, i, t] for i, t in columns], axis=1))
    ends = [closed_form(one, _last(one))[0] for one in (point, reference)]
    return estimate, np.array([ends[0][t, i] - ends[1][t, i] for i, t in columns]), columns


def algorithm_coefficient(point: Point, reference: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """n times that difference between descents of two eta, or descent and flow, against theory.md 5.21; nothing for
    other algorithms, and nothing where the two are predicted to be one."""
    etas = []
    for one in (point, reference):
        rule = _rule(one)
        if rule["name"] == "momentum":
            return
        etas.append(rule["eta"] if rule["name"] == "gradient_descent" else 0.0)
    if etas[0] == etas[1]:
        return
    found, infinite, columns = _difference(point, reference)
    estimate = Estimate(point.n * (found.value - infinite), point.n * (found.replicates - infinite))
    predicted = _nearly_kernel(point, etas[0]) - _nearly_kernel(point, etas[1])
    there = np.array([predicted[t, i] for i, t in columns])
    labels = [label_of((i,), (t,)) for i, t in columns]
    yield _measured("n (z - z')", point, labels, estimate, there, np.abs(there))


# ------------------------------------------------------------------------------------------- representations


def ntk_change(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """n E[H(T) - H(0)] of one output and one sample, trained by gradient flow to the end (theory.md 5.9)."""
    rule = _rule(point)
    if rule["name"] != "gradient_flow" or point.D != 1 or point.settings["network"]["outputs"] != 1:
        right = "this test needs dynamics=gradient_flow, inputs.count=1, inputs.test=0, network.outputs=1"
        raise ValueError(f"{point.data.path}: {right}")
    _arrived(point)
    flow = point.flow(nearly_kernel.TENSORS)
    predicted = np.array([nearly_kernel.ntk_change_of_flow(flow, float(targets(point)[0, 0]))])
    change = point.read("H", point.depth, _last(point)) - point.read("H", point.depth, 0)
    estimate = estimators.mean(change).scaled(point.n)
    yield _measured("n dH", point, [label_of((0, 0))], estimate, predicted, np.abs(predicted))


def ntk_change_of_step(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """n E[H_ab(1) - H_ab(0)] of one output after one step of gradient descent on all samples (theory.md 5.10)."""
    rule = _rule(point)
    if rule["name"] != "gradient_descent" or 1 not in point.data.layout.steps or len(targets(point)) != point.D:
        right = "this test needs dynamics=gradient_descent, step 1 among observables.steps, inputs.test=0"
        raise ValueError(f"{point.data.path}: {right}")
    predicted = nearly_kernel.ntk_change_of_step(point.flow(nearly_kernel.TENSORS), targets(point), rule["eta"])
    pairs = [(a, b) for _, _, a, b in point.columns("H")]
    there = np.array([predicted[pair] for pair in pairs])
    change = point.read("H", point.depth, 1) - point.read("H", point.depth, 0)
    estimate, size = estimators.mean(change).scaled(point.n), np.full(len(pairs), np.abs(there).max())
    yield _measured("n dH", point, [label_of(pair) for pair in pairs], estimate, there, size)


def _size(point: Point, family: str, layers: Sequence[int] | None) -> Iterator[Measured]:
    """log E of the squared change in training of a family's diagonal: falls as n^-2 (theory.md 5.8)."""
    _rule(point)
    columns = point.columns(family)
    chosen = [k for k, index in enumerate(columns) if index[-1] == index[-2] and index[0] == index[len(index) // 2 - 1]]
    for layer in chosen_layers(point, family, layers):
        change = point.read(family, layer, _last(point)) - point.read(family, layer, 0)
        estimate = estimators.mean(change[:, chosen] ** 2).log()
        labels = [label_of(columns[k][-2:]) for k in chosen]
        two: Array = np.full(len(chosen), 2.0)
        nothing = np.full(len(chosen), np.nan)
        name = "log dg^2" if family == "g" else "log dH^2 in training"
        yield Measured(name, layer, _last(point), labels, estimate, two, np.ones(len(two)), nothing)


def kernel_change_size(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """Hidden representations: in every network the conditional kernel of a layer moves by order 1/n."""
    return _size(point, "g", layers)


def ntk_change_size(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """So does the NTK: in the mean and in every network (theory.md 5.8)."""
    return _size(point, "H", layers)


# ------------------------------------------------------------------------------------------- Taylor models

EXPONENTS = {"frozen": 0.5, "linear": 1.0, "quadratic": 1.0, "cubic": 2.0}


def taylor_error(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """E log sup_t max_ia |z - model| of each model, whose exponents in 1/n are 1/2, 1, 1 and 2 (theory.md 5.8).

    The mean of the logarithm is a robust statistic: at small n the cubic model of a few networks diverges, and a mean
    square would be theirs alone.
    """
    steps = [step for step in point.data.layout.steps if step]
    worst = {name: np.zeros(int(point.finite.sum())) for name in EXPONENTS}
    for step in steps:
        z = _outputs(point, step)
        models = point.read("taylor", point.depth, step).reshape(len(z), 3, *z.shape[1:])
        for name, model in zip(EXPONENTS, (linear_in_z(point, step), *models.transpose(1, 0, 2, 3)), strict=True):
            worst[name] = np.maximum(worst[name], np.abs(z - model).max(axis=(1, 2)))
    logs = np.log(np.stack(list(worst.values()), axis=1))
    predicted = np.array(list(EXPONENTS.values()))
    yield _measured("log error", point, list(EXPONENTS), estimators.mean(logs), predicted, np.ones(len(predicted)))


# ------------------------------------------------------------------------------------------- linear models


def one_layer(point: Point, layers: Sequence[int] | None) -> Iterator[Measured]:
    """A network of one layer is a linear model: trained to the end, every single network is where the normal equations
    (primal) and the kernel (dual) send it from its z(0), to rounding (theory.md 5.4, PDLT ch. 10).

    The largest deviation over networks, outputs and samples, in units of the targets.
    """
    if point.depth != 1:
        raise ValueError(f"{point.data.path}: network.depth={point.depth}: this test needs networks of one layer")
    _arrived(point)
    (lambda_b,), (lambda_W,) = (point.settings["dynamics"][name] for name in ("lambda_b", "lambda_W"))
    x, y = point.samples[0], targets(point)
    N, phi = len(y), linear_model.layer_features(x, lambda_b, lambda_W)
    start, end = _outputs(point, 0), _outputs(point, _last(point))
    rest = (y.T - start[..., :N]).reshape(-1, N)  # what is to be learnt from where each network starts
    k = linear_model.kernel(phi, phi[:N])
    primal = np.stack([linear_model.primal(phi, phi[:N], one) for one in rest]).reshape(start.shape)
    dual = np.stack([linear_model.dual(k, k[:N], one) for one in rest]).reshape(start.shape)
    unit = np.sqrt((y**2).mean())
    worst = np.array([np.abs(start + how - end).max() for how in (primal, dual)] + [np.abs(primal - dual).max()]) / unit
    estimate = Estimate(worst, np.tile(worst, (estimators.BLOCKS, 1)))  # no sampling error
    yield _measured("deviation", point, ["primal", "dual", "primal - dual"], estimate, 0 * worst, worst**0)
