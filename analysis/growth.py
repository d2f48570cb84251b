"""Where the next network buys most: how ensembles grow until the tests that are open see what they ask."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.estimators import Array

GROW = 1.1  # factor by which one ensemble grows at a step of the plan
SHARES = (0.25, 0.5, 0.75, 1.0)  # of the information at which looks are planned; below these almost no alpha is spent
MARGIN = 1.03  # by which a plan exceeds its share, because errors are estimates themselves


@dataclass(frozen=True)
class Open:
    """A series that does not see yet what its test asks. error: of its coefficient with networks (k,) at its points,
    over that of now (`analysis.fits.error_at`). group: (k,), the ensemble of each point. seen: the visible deviation of
    now over the one that is asked."""

    error: Callable[[Array], float]
    group: NDArray[np.int_]
    seen: float

    def time(self, networks: Array) -> float:
        """The share of the information that it has with so many networks in each ensemble."""
        return (self.seen * self.error(networks[self.group])) ** -2


def next_share(time: float) -> float:
    """The share of the information at which the next look is planned."""
    return next((share for share in SHARES if share > 1.05 * time), 1.0)


def grown(
    tests: Sequence[Open], networks: Array, costs: Array, share: float, seconds: float, most: float = np.inf
) -> Array:
    """The numbers of networks (G,) of ensembles that have grown until every test has a share of the information, or the
    seconds of one core are spent, or each ensemble that helps has `most`.

    networks, costs: (G,), the networks of now, and the seconds that one takes. At each step the ensemble grows that
    brings the test that is farthest behind most information for a second.
    """
    networks, left = networks.astype(float), seconds
    while True:
        behind = min(tests, key=lambda test: test.time(networks))
        now = behind.time(networks)
        if now >= MARGIN * share:
            return networks
        best, gain, price = networks, 0.0, 0.0
        for group in sorted(set(behind.group.tolist())):
            trial = networks.copy()
            trial[group] = max(min(GROW * networks[group], most), networks[group])
            paid = float((trial - networks) @ costs)
            if 0 < paid <= left and (bought := np.log(behind.time(trial) / now) / paid) > gain:
                best, gain, price = trial, bought, paid
        if not gain:
            return networks
        networks, left = best, left - price
