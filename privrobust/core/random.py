"""Random streams of what nobody has to be protected by: attacks, random rules, initial parameters.

They are torch's generators, which are not cryptographic; on a CPU one keeps 32 bits of its seed.
"""

import zlib

import numpy as np
import torch


def stream(seed: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return torch's generator for one purpose of a run ("attack", ...), on that device."""
    entropy = np.random.SeedSequence([seed, zlib.crc32(purpose.encode())])
    return torch.Generator(device).manual_seed(int(entropy.generate_state(1, np.uint64)[0]))
