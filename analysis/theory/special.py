"""Special functions of scipy for activations of docs/theory.md section 0.

scipy.special takes half a second to import. It is imported where a function is first called, since runs with tanh or
ReLU need none of them.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def erf(z: Any) -> Array:
    """The error function, docs/theory.md section 0."""
    from scipy import special

    return np.asarray(special.erf(z))


def expit(z: Any) -> Array:
    """The logistic function 1/(1 + e^-z), docs/theory.md section 0."""
    from scipy import special

    return np.asarray(special.expit(z))


def ndtr(z: Any) -> Array:
    """The distribution function of a standard normal, docs/theory.md section 0."""
    from scipy import special

    return np.asarray(special.ndtr(z))
