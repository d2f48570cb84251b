"""A block in the form that devices other than a CPU run."""

import numpy as np
import pytest
import torch

from simulate.api import read_one
from simulate.networks import one_pass
from simulate.numerics import layer, normals
from simulate.running import compute
from simulate.running.prepare import prepare

CASES = {
    "law": ["observables=preactivations"],
    "law with NTK": ["observables=ntk", "initialization=gaussian", "initialization.C_b=0.2", "initialization.C_W=1.3"],
    "sums": ["observables=ntk_sums", "inputs.count=2"],
    "descent": ["observables=training", "dynamics=gradient_descent", "dynamics.eta=0.1"],
    "sgd": ["observables=training", "dynamics=sgd", "dynamics.eta=0.1"],
}


@pytest.mark.parametrize("case", CASES)
def test_a_block_in_its_form_for_other_devices(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The torch forms, which a CUDA device would run, make the same networks on this CPU to rounding."""
    small = ["network.width=200", "network.depth=3", "ensemble.block=8", "ensemble.device=cpu", "dynamics.lambda_b=0.5"]
    job = prepare(read_one([*small, *CASES[case]]))
    loops, _ = compute.compute_block(job, 3)

    def normal(address: normals.Address, out: torch.Tensor | None = None) -> torch.Tensor:
        M, N, _, tensor, key, scale, dtype, device = address
        per_network = -(-N // 64)
        words = (tensor, per_network, *key)
        flat = normals._normals_torch(M * per_network, address.start, words, scale, dtype, device)
        return flat.reshape(M, -1)[:, :N].contiguous()

    monkeypatch.setattr(torch.Tensor, "is_cpu", property(lambda self: False))
    for place in (normals, layer):
        monkeypatch.setattr(place, "normal", normal)
    monkeypatch.setattr(one_pass, "applies", lambda settings: False)
    forms, _ = compute.compute_block(job, 3)
    for family, values in loops.items():
        np.testing.assert_allclose(forms[family], values, rtol=1e-4, atol=2e-5, err_msg=family)
