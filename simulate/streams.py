"""Random streams with an address: (seed, what the network is, block) -> one torch generator.

torch's own CPU seeding uses 32 bits of the seed, so that among a hundred thousand blocks some would be
twins. Here numpy's SeedSequence spreads the whole address over the full Mersenne Twister state.
"""

import hashlib

import numpy as np
import torch

_STATE_WORDS = 624


def address(seed: int, law: str, block_size: int, block: int) -> np.random.SeedSequence:
    """The entropy of a block's stream. `law` says in words whose parameters are drawn (architecture, sampler,
    dtype, activation), so that ensembles of two widths with one seed are independent."""
    words = np.frombuffer(hashlib.sha256(law.encode()).digest()[:16], dtype="<u4")
    return np.random.SeedSequence(seed, spawn_key=(*map(int, words), block_size, block))


def generator(entropy: np.random.SeedSequence, device: str) -> torch.Generator:
    """A torch generator in the state that the address names."""
    out = torch.Generator(device)
    if device != "cpu":
        return out.manual_seed(int(entropy.generate_state(1, np.uint64)[0]) >> 1)
    out.manual_seed(0)
    state = out.get_state().numpy()
    # Layout of torch's CPU state: seed (8 bytes), left and seeded (4 each), next (8), then 624 words of 8 bytes
    # each; `left` = 1 makes the next draw generate from these words.
    words = state[24 : 24 + 8 * _STATE_WORDS].view(np.uint64)
    words[:] = entropy.generate_state(_STATE_WORDS, np.uint32)
    words[0] = 0x80000000  # as MT19937's own array seeding does: the state is never zero
    state[8:12].view(np.int32)[0] = 1
    state[16:24].view(np.uint64)[0] = 0
    return out.set_state(torch.from_numpy(state))
