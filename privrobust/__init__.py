"""privrobust: privacy, robustness and utility of noisy median and sign SGD, measured together.

>>> from privrobust import RunSpec, train
>>> result = train(RunSpec(aggregator="median", noise_scale=0.1, clip_norm=1.0, steps=20))
>>> round(result.epsilon, 2)  # at delta = 1e-5, for one example's contribution (zero-out)
1.55
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from privrobust.metrics import RunResult
    from privrobust.spec import RunSpec
    from privrobust.training import train

_HOMES = {
    "RunResult": "privrobust.metrics",
    "RunSpec": "privrobust.spec",
    "train": "privrobust.training",
}

__all__ = ["RunResult", "RunSpec", "train"]


def __getattr__(name: str) -> Any:
    """Import torch only for who trains: `privrobust.accountants` alone stays light (PEP 562)."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'privrobust' has no attribute {name!r}")
