"""Settings of feature functions, which map the inputs before any network sees them, and the facts of each map.

Their functions are registered under the same names in `simulate.inputs.features`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from simulate.registry import Registry
from simulate.settings.reader import Reader, integer, real
from simulate.settings.training import Option


@dataclass(frozen=True)
class FeatureMap:
    """The facts of a map from inputs x (D, d) to feature functions phi_j(x), j >= 1; a network's bias is phi_0 = 1.

    kernel: x.x'/n_0 after the map, as a formula. count(d, parameters): the number of feature functions, which is n_0 of
    the network. Raises ValueError for the name "none", and for an option that is called name.
    """

    name: str
    kernel: str
    count: Callable[[int, Mapping[str, Any]], int]
    options: tuple[Option, ...] = ()

    def __post_init__(self) -> None:
        if self.name == "none":
            raise ValueError("features 'none' means that inputs stay as they are; choose another name")
        if any(option.name == "name" for option in self.options):
            raise ValueError(f"features {self.name!r}: an option cannot be called 'name'")


FEATURES: Registry[FeatureMap] = Registry("features")

FEATURES.add(
    FeatureMap(
        "polynomial",
        "the mean of (x.x'/d)^k over k = 1 to degree",
        count=lambda d, p: math.comb(d + p["degree"], d) - 1,
        options=(Option("degree", lambda v: integer(v, 1, 100), "a whole number from 1 to 100"),),
    )
)
FEATURES.add(
    FeatureMap(
        "fourier",
        "the mean of cos(2 pi k (x_i - x'_i)/period) over components i and k = 1 to frequencies",
        count=lambda d, p: 2 * d * p["frequencies"],
        options=(
            Option("frequencies", lambda v: integer(v, 1, 10**6), "a whole number from 1 to 1000000"),
            Option("period", lambda v: real(v, 0.0, strict=True), "a number > 0"),
        ),
    )
)
FEATURES.add(
    FeatureMap(
        "random",
        "the mean of tanh(w.x/sqrt(d) + b) tanh(w.x'/sqrt(d) + b) over fixed standard normal w and b",
        count=lambda d, p: int(p["count"]),
        options=(
            Option("count", lambda v: integer(v, 1, 10**7), "a whole number from 1 to 10000000"),
            Option("seed", lambda v: integer(v, 0), "a whole number >= 0"),
        ),
    )
)


@dataclass(frozen=True)
class Features:
    """The feature functions of the inputs. name: of a `FeatureMap`, or none. parameters: the values of its options."""

    name: str = "none"
    parameters: Mapping[str, Any] = field(default_factory=dict)


def read_features(r: Reader) -> Features:
    name = r.choice("name", ("none", *FEATURES))
    options = FEATURES[name].options if name != "none" else ()
    features = Features(name, {option.name: r.get(option.name, option.check, option.right) for option in options})
    r.close()
    return features
