"""Ensembles grow where the next network buys most."""

import numpy as np
import pytest

from analysis import growth
from analysis.growth import Open


def weighted(weights: list[float], seen: float = 2.0) -> Open:
    """A test whose squared error is sum_g w_g / networks_g, over that of now with 100 networks in each ensemble."""
    w = np.array(weights)

    def error(networks: np.ndarray) -> float:
        return float(np.sqrt((w / networks).sum() / (w / 100).sum()))

    return Open(error, np.arange(len(w)), seen)


def test_networks_go_as_the_root_of_weight_over_cost() -> None:
    """The least cost for an error sum_g w_g / M_g has M_g in proportion to (w_g / c_g)^(1/2); steps are of 10 %."""
    weights, costs = [1.0, 4.0, 9.0, 1.0], np.array([1.0, 1.0, 4.0, 16.0])
    found = growth.grown([weighted(weights, 30.0)], np.full(4, 100.0), costs, 1.0, np.inf)
    best = np.sqrt(np.array(weights) / costs)
    assert found / found[0] == pytest.approx(best / best[0], rel=0.15)
    cost, least = found @ costs, (np.sqrt(np.array(weights) * costs).sum()) ** 2
    error = (np.array(weights) / found).sum()
    assert cost * error == pytest.approx(least, rel=0.01)
    even = np.full(4, 1.0)
    assert (even @ costs) * (np.array(weights) / even).sum() > 1.3 * least, "the control: as many of each"


def test_the_share_is_reached_and_not_much_more() -> None:
    test = weighted([1.0, 4.0], 4.0)
    for share in growth.SHARES:
        found = growth.grown([test], np.full(2, 100.0), np.ones(2), share, np.inf)
        assert share <= test.time(found) <= 1.2 * share


def test_the_test_that_is_farthest_behind_grows() -> None:
    """What helps only a test that sees what it asks is not drawn."""
    behind, ahead = weighted([1.0, 0.0], 3.0), weighted([0.0, 1.0], 1.0)
    found = growth.grown([behind, ahead], np.full(2, 100.0), np.ones(2), 0.9, np.inf)
    assert found[0] > 700
    assert found[1] == 100


def test_limits_hold() -> None:
    test = weighted([1.0, 1.0], 10.0)
    found = growth.grown([test], np.full(2, 100.0), np.ones(2), 1.0, 50.0)
    assert 240 <= found.sum() <= 250
    found = growth.grown([test], np.full(2, 100.0), np.ones(2), 1.0, np.inf, 150.0)
    assert found.tolist() == [150, 150]
    assert growth.grown([test], np.full(2, 200.0), np.ones(2), 1.0, np.inf, 150.0).tolist() == [200, 200]


def test_shares_of_looks() -> None:
    assert [growth.next_share(t) for t in (0.0, 0.2, 0.24, 0.6, 0.9, 1.0)] == [0.25, 0.25, 0.5, 0.75, 1.0, 1.0]
