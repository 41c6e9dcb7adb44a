"""Datasets: by name, from files, or from tensors of one's own; and how they are dealt to workers.

>>> digits = get_dataset("digits")
>>> len(digits.train), tuple(digits.shape), digits.classes
(1257, (64,), 10)
"""

from privrobust.core.parameters import parameter
from privrobust.data.dataset import Dataset, Scaling, Split
from privrobust.data.partitions import (
    Partition,
    available_partitions,
    get_partition,
    list_partitions,
    register_partition,
)
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
    "Partition",
    "Scaling",
    "Split",
    "available_datasets",
    "available_partitions",
    "canonical_dataset",
    "get_dataset",
    "get_partition",
    "hand_over",
    "list_datasets",
    "list_partitions",
    "parameter",
    "register_dataset",
    "register_partition",
]
