"""Noise whose bits keep what theory promises of real numbers.

- `add_noise` is for a training loop of your own, with keys from the operating system.
- `laws` has the noise laws by name, and a place for one of your own.
- `streams` makes random bits, `grid` says where gradient and noise meet, `exact` defines the laws;
  `compiled` (on `aes` and `intrinsics`) and `tensors` compute them fast, and `addition` chooses
  between these two.
"""

from typing import TYPE_CHECKING

from privrobust.core.lazy_imports import attributes
from privrobust.core.parameters import parameter

if TYPE_CHECKING:
    from privrobust.noise.laws import (
        NOISE_LAWS,
        NoiseLaw,
        available_noise_laws,
        get_noise_law,
        list_noise_laws,
        register_noise_law,
    )
    from privrobust.noise.streams import derived_keys, fresh_key
    from privrobust.noise.vectors import add_noise

__all__ = [
    "NOISE_LAWS",
    "NoiseLaw",
    "add_noise",
    "available_noise_laws",
    "derived_keys",
    "fresh_key",
    "get_noise_law",
    "list_noise_laws",
    "parameter",
    "register_noise_law",
]

__getattr__ = attributes(
    __name__,
    {
        "NOISE_LAWS": "laws",
        "NoiseLaw": "laws",
        "add_noise": "vectors",
        "available_noise_laws": "laws",
        "derived_keys": "streams",
        "fresh_key": "streams",
        "get_noise_law": "laws",
        "list_noise_laws": "laws",
        "register_noise_law": "laws",
    },
)
