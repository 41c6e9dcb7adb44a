"""Noise whose bits keep what theory promises of real numbers.

- `add_noise` is for a training loop of your own, with keys from the operating system.
- `streams` makes random bits, `grid` says where gradient and noise meet, `exact` defines the laws;
  `compiled` (on `aes` and `intrinsics`) and `tensors` compute them fast, and `addition` chooses
  between these two.
"""

from privrobust.noise.addition import NOISE_LAWS
from privrobust.noise.streams import derived_keys, fresh_key
from privrobust.noise.vectors import add_noise

__all__ = ["NOISE_LAWS", "add_noise", "derived_keys", "fresh_key"]
