"""Working sets have literal sizes, because block sizes and identities of data sets follow from them."""

from pathlib import Path

import pytest

from simulate.api import read_one
from simulate.running.cost import counts, network_bytes
from simulate.running.plan import block_size
from simulate.running.prepare import prepare

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
    """Bytes of a network and the block size for four samples with n_0 = 64 are those of commit e02c776."""
    settings = read_one([*overrides.split(), "ensemble.device=cpu"])
    assert (network_bytes(64, 4, settings), block_size(64, 4, "cpu", settings)) == SETTINGS[overrides]


# For each record and algorithm: bytes of a network for one sample with n_0 = 7 and for four samples with n_0 = 64.
RECORDS = {
    ("kernel", "none"): (1600, 6400),
    ("kernel,moments", "gradient_flow"): (7216, 14080),
    ("outputs", "momentum"): (7216, 14080),
    ("ntk", "none"): (10752, 43008),
    ("ntk", "gradient_descent"): (3992, 8576),
    ("dntk", "sgd"): (24728, 340352),
    ("ddntk", "none"): (66200, 3989888),
    ("dntk,ddntk", "momentum"): (69424, 3995392),
    ("ntk_signs", "none"): (3992, 8576),
    ("ddntk_signs", "none"): (13208, 156032),
    ("fourth", "none"): (3992, 8576),
    ("kernel,ntk_sums", "none"): (42392, 46976),
    ("kernel,ntk_sums,ntk_loops", "none"): (55192, 59776),
    ("loss", "sgd"): (3992, 8576),
    ("moved", "gradient_descent"): (7216, 14080),
    ("ntk,dntk,moved", "gradient_flow"): (31176, 351360),
    ("taylor", "gradient_flow"): (69424, 3995392),
    ("movement_controls", "gradient_flow"): (72648, 4000896),
    ("taylor,dntk", "gradient_descent"): (66200, 3989888),
    ("kernel,moments,outputs,ntk,dntk,ddntk,fourth,loss,moved,taylor", "gradient_flow"): (72648, 4000896),
}


@pytest.mark.parametrize("case", RECORDS, ids="-".join)
def test_network_bytes_of_every_observable(case: tuple[str, str]) -> None:
    record, dynamics = case
    network = ["network.outputs=3", "network.width=[5,40]", "network.depth=3", "observables.output_layers=[2,3]"]
    common = ["ensemble.dtype=float64", "ensemble.device=cpu"]
    settings = read_one([f"observables.record=[{record}]", f"dynamics={dynamics}", *network, *common])
    assert (network_bytes(7, 1, settings), network_bytes(64, 4, settings)) == RECORDS[case]


# Operations of one network, to leading order; all but the last as commit e02c776 counted them.
OPERATIONS = {
    "observables=ntk network.outputs=2 network.width=32 inputs.count=3": 27648,
    "observables=derivatives network.outputs=2 network.width=16 inputs.count=2": 358784,
    "observables=training dynamics=gradient_descent dynamics.steps=10 network.width=32": 463104,
    "observables.record=[outputs,taylor,fourth] dynamics=gradient_flow dynamics.steps=10 network.width=8 "
    "inputs.count=2 network.depth=3": 261888,
    # 2 (64 32 + 2 32^2 + 32) for each of three samples, and 2 (2 32^3 + 2 32^3) + 3 (2 32^2)
    "observables.record=[kernel,ntk_sums] network.width=32 inputs.count=3 network.depth=4": 829632,
    # and 3 (2 32^3) for each of three samples
    "observables.record=[kernel,ntk_sums,ntk_loops] network.width=32 inputs.count=3 network.depth=4": 1419456,
}


@pytest.mark.parametrize("overrides", OPERATIONS)
def test_operations_are_counted_as_before(overrides: str, tmp_path: Path) -> None:
    job = prepare(read_one([*overrides.split(), "ensemble.device=cpu", f"output={tmp_path}/a"]))
    assert round(counts(job).operations) == OPERATIONS[overrides]
