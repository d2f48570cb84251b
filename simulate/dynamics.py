"""Training of stacked networks by hand-written batched passes: full-batch gradient descent on the MSE."""

from collections.abc import Iterator

from torch import Tensor

from simulate import gemm
from simulate.activations import Function, Slope
from simulate.ensemble import Parameters, forward
from simulate.settings import Dynamics


def descend(parameters: Parameters, x: Tensor, y: Tensor, s: Function, slope: Slope, dynamics: Dynamics) -> None:
    """One step in place: theta <- theta - eta lambda dLoss/dtheta, Loss = 1/2 sum_{i,a} (z_i;a - y_i;a)^2,
    with lambda_b on biases and lambda_W / n_{l-1} on weights (theory.md section 0, PDLT ch. 8).

    x: (N, n_0) train samples; y: (N, n_L). The error delta(l) = dLoss/dz(l) is (M, N, n_l).
    """
    z, signals = forward(parameters, x, s)
    delta = z[-1] - y
    for layer in reversed(range(parameters.depth)):
        W, b, signal = parameters.W[layer], parameters.b[layer], signals[layer]
        rate = dynamics.eta * dynamics.lambda_W[layer] / W.shape[-1]
        below = gemm.descend(delta, signal, W.mT, W.mT, rate, below=layer > 0)
        b.sub_(delta.sum(dim=1), alpha=dynamics.eta * dynamics.lambda_b[layer])
        if below is not None:
            delta = below.mul_(slope(z[layer - 1], signal))


def trajectory(
    parameters: Parameters,
    x: Tensor,
    y: Tensor,
    s: Function,
    slope: Slope,
    dynamics: Dynamics,
    steps: tuple[int, ...],
) -> Iterator[int]:
    """Trains in place and yields each chosen step when the parameters have reached it."""
    done = 0
    for step in steps:
        while done < step:
            descend(parameters, x, y, s, slope, dynamics)
            done += 1
        yield step
