"""Adam: D. P. Kingma and J. Ba, arXiv:1412.6980, algorithm 1. PDLT makes no prediction for it.

    python -m simulate plugins=[adam.py] dynamics=gradient_descent dynamics.name=adam dynamics.eta=0.01 \
        +dynamics.beta1=0.9 +dynamics.beta2=0.999 +dynamics.epsilon=1e-8 observables=training output=outputs/adam

The moments m and v are those of the bare gradient dLoss/dtheta, and the learning-rate tensor lambda multiplies the
step: theta <- theta - eta lambda m_hat / (sqrt(v_hat) + epsilon). Lambda in the moments would cancel.
"""

from simulate.settings.reader import real
from simulate.settings.training import ALGORITHMS, Algorithm, Option, below_one
from simulate.training.algorithms import Training, gradient, move, step

ALGORITHMS.add(
    Algorithm(
        "adam",
        "theta <- theta - eta lambda m_hat / (sqrt(v_hat) + epsilon)",
        options=(
            Option("beta1", below_one, "a number from 0 to below 1"),
            Option("beta2", below_one, "a number from 0 to below 1"),
            Option("epsilon", lambda value: real(value, 0.0, strict=True), "a number > 0"),
        ),
        # The copies of the parameters are g, m and v. Adam is not replayable: its bias correction depends on the step.
        copies=3,
    )
)


@step("adam")
def adam(t: Training) -> None:
    beta1, beta2, epsilon = (t.dynamics.option(name) for name in ("beta1", "beta2", "epsilon"))
    first, second, direction = t.buffer("first moment"), t.buffer("second moment"), t.buffer("direction")
    for g in direction.tensors:
        g.zero_()
    gradient(t, t.x, t.y, into=direction, rate=-1.0, bare=True)
    bias1, bias2 = 1 - beta1 ** (t.done + 1), 1 - beta2 ** (t.done + 1)
    for m, v, g in zip(first.tensors, second.tensors, direction.tensors, strict=True):
        m.mul_(beta1).add_(g, alpha=1 - beta1)
        v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
        g.copy_(m / bias1 / ((v / bias2).sqrt() + epsilon))
    move(t, direction, t.dynamics.eta)
