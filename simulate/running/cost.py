"""The cost of a network: parameters, bytes of its working set, operations, normals and rows.

The counts are leading orders. Block sizes follow from `network_bytes`, so a change there makes other data sets.
"""

import itertools
from dataclasses import dataclass

from simulate.observables.columns import recorded
from simulate.running.jobs import Job
from simulate.settings import Settings
from simulate.settings.training import ALGORITHMS, Dynamics


def parameters(n_0: int, settings: Settings) -> int:
    """Number of weights and biases of one network."""
    return sum(m * (n + 1) for n, m in itertools.pairwise(settings.network.sizes(n_0)))


def _copies(dynamics: Dynamics) -> int:
    """Tensors as large as the parameters that training holds in addition to them."""
    if dynamics.name == "none":
        return 0
    algorithm = ALGORITHMS[dynamics.name]
    start = bool(dynamics.tolerance) and not algorithm.rests  # a copy of networks that may have to be put back
    terms = 2 if dynamics.rules else 0  # the term of a rule, and the sum of all terms
    return algorithm.copies + start + terms


def network_bytes(n_0: int, samples: int, settings: Settings) -> int:
    """The working set of one network: activations and their temporaries, and the weights where they are held."""
    item = 4 if settings.ensemble.dtype == "float32" else 8
    hidden = sum(settings.network.widths) + settings.network.outputs
    if settings.ensemble.sampler == "closed":
        return 8 * samples * (6 * samples + 3 * settings.network.outputs)
    if settings.ensemble.sampler == "law":  # layer by layer: deviates, preactivations, activations and their copies
        widest = max(settings.network.outputs, *settings.network.widths, 1)
        if not pulls_back(settings):
            return item * samples * widest * 5 * vectors(settings)
        # the backward pass holds those of all layers (at most: z goes where the slope follows from s), and vectors for
        # every output
        return item * samples * (3 * hidden + widest * 5 * vectors(settings))
    observables = recorded(settings.observables.record)
    copies = 1 + _copies(settings.dynamics) + sum(observable.copies for observable in observables)
    held = item * (copies * parameters(n_0, settings) + 2 * samples * hidden)
    if responds(settings):
        held += 2 * item * samples * hidden
    held += item * max(observable.matrices for observable in observables) * max(settings.network.widths, default=0) ** 2
    if settings.initialization.weights == "orthogonal":  # the factors of the widest layer's normals, and their copies
        held += item * 4 * max(settings.network.widths) ** 2
    if settings.network.meta is not None:  # tangents of the quadratic term, for each output in float64
        held += 8 * settings.network.outputs * (samples + 2) * 3 * (settings.network.meta.rank + n_0)
    # Tangents along every direction, pair or triple of directions, in float64.
    tangents = [0]
    for observable in observables:
        outputs = min(settings.network.outputs, observable.tangents_of or settings.network.outputs)
        tangents.append((samples * outputs) ** observable.tangents if observable.tangents else 0)
    return held + 8 * hidden * 6 * max(tangents)


def pulls_back(settings: Settings) -> bool:
    """Whether the law sampler pulls vectors back through the networks."""
    return any("ntk" in observable.needs for observable in recorded(settings.observables.record))


def backward_passes(settings: Settings) -> int:
    """How many of them the law sampler makes."""
    observables = recorded(settings.observables.record)
    return pulls_back(settings) + any("prior" in observable.needs for observable in observables)


def controlled(settings: Settings) -> bool:
    """Whether the law sampler evaluates its normals at infinite width, too."""
    return any("controls" in observable.needs for observable in recorded(settings.observables.record))


def linear_parts(settings: Settings, D: int) -> int:
    """Forms of kernels at D samples, a layer, that the law sampler evaluates for controls of weights."""
    needed = any("linear_weights" in observable.needs for observable in recorded(settings.observables.record))
    return needed * len(settings.observables.noises) * (1 + settings.network.outputs * D)


def responds(settings: Settings) -> bool:
    """Whether the response of each layer to a change of the inputs is carried up."""
    return any("response" in observable.needs for observable in recorded(settings.observables.record))


def vectors(settings: Settings) -> int:
    """Rows that a sample has in the widest array of the law sampler: one, one for its response too, or one for each
    output pulled back."""
    if not pulls_back(settings):
        return 1 + 2 * responds(settings)
    return settings.network.outputs * len(settings.observables.output_layers)


# Orders of magnitude of one core: they only weigh counts against each other, and say whether measuring pays.
MEHLER = 1e3  # operations of a look-ahead for each element of a kernel
QUANTILE = 1.5e5  # operations in the time of a quantile of the closed sampler
NOMINAL = {"operations": 5e10, "normals": 1e9, "touched": 1e10, "rows": 3e7}


@dataclass(frozen=True)
class Counts:
    """The cost of one network to leading order. touched: bytes of the arrays that are read and written. rows: bytes of
    its rows before compression."""

    operations: float
    normals: float
    touched: float
    rows: float

    def seconds(self) -> float:
        """Seconds on a nominal core."""
        return sum(getattr(self, name) / rate for name, rate in NOMINAL.items())


def counts(job: Job) -> Counts:
    s, (D, n_0) = job.settings, job.samples.x.shape
    sizes = s.network.sizes(n_0)
    weights = float(sum(n * m for n, m in itertools.pairwise(sizes)))
    above = weights - n_0 * sizes[1]  # weights that something is pulled back through
    hidden, outputs = sum(sizes[1:-1]), s.network.outputs
    rows = job.layout.row_bytes()
    if s.ensemble.sampler == "closed":
        numbers = float(D * (D + outputs) * len(sizes))
        return Counts(QUANTILE * numbers, numbers, touched_bytes(job), rows)
    if s.ensemble.sampler == "law":
        operations, normals = 4.0 * D * D * hidden * (1 + controlled(s)), float(D * (hidden + outputs))
        N = job.samples.train  # a factor of the kernel for each noise, and its solutions
        operations += len(s.observables.noises) * N * N * (N / 3 + 2.0 * D)
        operations += (s.network.depth - 1) * linear_parts(s, D) * 2.0 * D * D
        if s.ensemble.tilt is not None:  # eigenvectors of each layer, and two products with its normals
            operations += (s.network.depth - 1) * 20.0 * N**3 + 8.0 * N * N * hidden
        if (given := s.ensemble.filter) is not None:  # particles, and look-aheads and factors at each of their stages
            of_stage = s.network.depth * given.groups * N * N * (N / 3 + 2.0 * D + MEHLER)
            of_particle = (operations + of_stage) * len(s.observables.noises)
            operations += given.particles / given.every * of_particle
        if s.initialization.weights == "orthogonal":  # each layer's normals are made orthonormal
            operations *= 2
        if responds(s):
            operations, normals = 4 * operations, 2 * normals
        if pulls_back(s):
            R = outputs * D * len(s.observables.output_layers)
            operations += backward_passes(s) * hidden * (4.0 * R * R + 6.0 * R * D)
            normals += backward_passes(s) * R * hidden
        return Counts(operations, normals, touched_bytes(job), rows)
    observables = recorded(s.observables.record)
    pulled = len(s.observables.output_layers) * sum(observable.pulled(D, outputs) for observable in observables)
    operations = len(job.layout.steps) * 2 * (weights * D + above * pulled)
    operations += 2 * above * sum(observable.pulled_once(D, outputs) for observable in observables)
    operations += carrying(job)
    if s.initialization.weights == "orthogonal":
        operations += sum(4.0 * n * m * m for n, m in itertools.pairwise(sizes[1:]))
    N = s.dynamics.batch or job.samples.train
    operations += gradients(job) * 2 * N * (2 * weights + above)
    return Counts(operations, weights, touched_bytes(job), rows)


def carrying(job: Job) -> float:
    """Operations that carry the NTK of all hidden neurons of one network, or their Jacobian, up through the weights."""
    s, (D, n_0) = job.settings, job.samples.x.shape
    if not any(observable.matrices for observable in recorded(s.observables.record)):
        return 0.0
    below = s.network.sizes(n_0)[1 : s.observables.layers[-1]]  # the hidden layers whose NTK is needed
    products = sum(2.0 * n * m * (n + m) for n, m in itertools.pairwise(below)) + sum(2.0 * n * n for n in below)
    products += sum(observable.squares for observable in recorded(s.observables.record)) * sum(
        2.0 * n**3 for n in below
    )
    return len(job.layout.steps) * D * products


def gradients(job: Job) -> int:
    """Number of gradients that the training of one network takes."""
    dynamics = job.settings.dynamics
    return dynamics.steps * ALGORITHMS[dynamics.name].gradients if dynamics.steps else 0


def touched_bytes(job: Job) -> float:
    """Bytes that one network touches: its working set, once for the measurement and twice a gradient."""
    x = job.samples.x
    return network_bytes(x.shape[1], len(x), job.settings) * (1 + 2 * gradients(job))


def work_bytes(job: Job) -> float:
    """Bytes that one network touches, and those that a nominal core would touch while it carries the NTK."""
    return touched_bytes(job) + carrying(job) * NOMINAL["touched"] / NOMINAL["operations"]
