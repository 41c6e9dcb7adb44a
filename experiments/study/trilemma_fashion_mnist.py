"""What one can have of utility, privacy and robustness where a worker has thousands of examples."""

from study.trilemma import EXPERIMENT

__all__ = ["EXPERIMENT"]
