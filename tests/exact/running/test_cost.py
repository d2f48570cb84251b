"""Working sets: literal numbers, because block sizes, and so identities of data sets, follow from them."""

import pytest

from simulate.api import read_one
from simulate.running.cost import network_bytes
from simulate.running.plan import block_size

SETTINGS = {
    "observables=kernel": (5120, 1024),
    "observables=ntk network.outputs=3 observables.output_layers=[3,4]": (40080, 128),
    "observables=preactivations network.width=256 ensemble.dtype=float64": (40960, 256),
    "observables.record=[kernel,dntk] network.width=16": (45604, 128),
    "observables=derivatives network.outputs=2 network.width=16": (1236872, 4),
    "observables.record=[outputs,fourth] network.width=32": (20004, 256),
    "observables=training dynamics=momentum": (106536, 64),
    "observables.record=[outputs,moved] dynamics=gradient_flow": (156716, 32),
    "observables.record=[outputs,taylor] dynamics=gradient_descent network.depth=3": (433956, 16),
    "observables.record=[outputs,taylor,dntk,ntk,moved] dynamics=gradient_flow network.depth=3 network.width=[8,24]": (
        111564,
        64,
    ),
    "observables=training dynamics=sgd network.width=1024": (8765476, 1),
}


@pytest.mark.parametrize("overrides", SETTINGS)
def test_network_bytes_are_those_of_format_1(overrides: str) -> None:
    """As commit e02c776 had them: bytes of a network, and the block size, of four samples with n_0 = 64."""
    settings = read_one([*overrides.split(), "ensemble.device=cpu"])
    assert (network_bytes(64, 4, settings), block_size(64, 4, "cpu", settings)) == SETTINGS[overrides]
