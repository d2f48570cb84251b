"""Feature functions: fixed maps of the inputs. A network of one layer on top is a generalised linear model.

D samples with d inputs each become D samples with n_0 feature functions, scaled such that x.x'/n_0 is a kernel of order
one: docs/theory.md (5.43) to (5.45). The facts of a map are in `simulate.settings.features`.
"""

import itertools
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from simulate.inputs.rows import Array
from simulate.inputs.samples import Samples
from simulate.inputs.sources import MOST_BYTES
from simulate.registry import implements
from simulate.settings.features import FEATURES, Features
from simulate.settings.reader import SettingsError

Function = Callable[..., Array]
FUNCTIONS: dict[str, Function] = {}


def feature_functions(name: str) -> Callable[[Function], Function]:
    """Register the functions of the feature map of that name: a function of x (D, d) and of the options by name that
    returns phi (D, n_0) float64. ValueError where FEATURES has no such name."""
    return implements(FEATURES, FUNCTIONS, name)


@feature_functions("polynomial")
def polynomial(x: Array, degree: int) -> Array:
    """All monomials of degree 1 to `degree`, whose kernel is docs/theory.md (5.43). Equal monomials with their factors
    in another order are one feature, which is larger by the root of their number."""
    u, columns = x / math.sqrt(x.shape[1]), []
    for k in range(1, degree + 1):
        for factors in itertools.combinations_with_replacement(range(x.shape[1]), k):
            orders = math.factorial(k) / math.prod(map(math.factorial, Counter(factors).values()))
            columns.append(math.sqrt(orders) * u[:, list(factors)].prod(axis=1))
    return math.sqrt(len(columns) / degree) * np.stack(columns, axis=1)


@feature_functions("fourier")
def fourier(x: Array, frequencies: int, period: float) -> Array:
    """Cosine and sine of whole frequencies of each component of x, docs/theory.md (5.44)."""
    phase = 2 * math.pi / period * x[:, :, None] * np.arange(1, frequencies + 1)
    waves: Array = math.sqrt(2) * np.stack([np.cos(phase), np.sin(phase)], axis=3)
    return waves.reshape(len(x), -1)


@feature_functions("random")
def random(x: Array, count: int, seed: int) -> Array:
    """A fixed random hidden layer, docs/theory.md (5.45)."""
    rng = np.random.default_rng(seed)
    w, b = rng.standard_normal((x.shape[1], count)), rng.standard_normal(count)
    return np.asarray(np.tanh(x @ w / math.sqrt(x.shape[1]) + b))


def mapped(samples: Samples, features: Features) -> Samples:
    """The samples with their feature functions as inputs.

    Raises SettingsError where the map has no function, where there are too many features, where one is not a finite
    number, and where the function of a plugin returns another shape than its record states.
    """
    if features.name == "none":
        return samples
    if features.name not in FUNCTIONS:
        raise SettingsError("features", features.name, "it has a record without a function; a plugin registers both")
    x, parameters = samples.x, features.parameters
    count = FEATURES[features.name].count(x.shape[1], parameters)
    if 8 * len(x) * count > MOST_BYTES:
        right = f"{count:,} features of {len(x)} samples are more than {MOST_BYTES / 2**30:.0f} GiB; choose fewer"
        raise SettingsError("features", features.name, right)
    with np.errstate(all="ignore"):
        phi = np.asarray(FUNCTIONS[features.name](x, **parameters), dtype=np.float64)
    if phi.shape != (len(x), count):
        raise SettingsError("features", features.name, f"its function gives {phi.shape}, not {(len(x), count)}")
    if len(bad := np.flatnonzero(~np.isfinite(phi).all(axis=1))):
        right = f"{samples.name(int(bad[0]))} has a feature that is not a finite number; use smaller units"
        raise SettingsError("features", features.name, right)
    words = f"{samples.words}; {count:,} {features.name} features" if samples.words else ""
    return replace(samples, x=phi, words=words)
