"""Datasets: by name, from files, or from tensors of one's own.

>>> digits = get_dataset("digits")
>>> len(digits.train), tuple(digits.shape), digits.classes
(1257, (64,), 10)
"""

from privrobust.data.dataset import Dataset, Scaling, Split
from privrobust.data.registry import (
    available_datasets,
    canonical_dataset,
    get_dataset,
    hand_over,
    list_datasets,
    register_dataset,
)

__all__ = [
    "Dataset",
    "Scaling",
    "Split",
    "available_datasets",
    "canonical_dataset",
    "get_dataset",
    "hand_over",
    "list_datasets",
    "register_dataset",
]
