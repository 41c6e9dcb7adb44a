"""privrobust: privacy, robustness and utility of noisy median and sign SGD, measured together.

>>> from privrobust import RunSpec, train
>>> result = train(RunSpec(aggregator="median", noise_scale=0.1, clip_norm=1.0, steps=20))
>>> round(result.epsilon, 2)  # at delta = 1e-5, for one example's contribution (zero-out)
1.55
"""

from typing import TYPE_CHECKING

from privrobust.core.lazy_imports import attributes

if TYPE_CHECKING:
    from privrobust.spec import RunSpec
    from privrobust.training.loop import train
    from privrobust.training.result import RunResult

__all__ = ["RunResult", "RunSpec", "train"]

__getattr__ = attributes(
    __name__, {"RunResult": "training.result", "RunSpec": "spec", "train": "training.loop"}
)
