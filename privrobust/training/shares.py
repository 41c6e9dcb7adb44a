"""Who holds which examples: the training data, dealt to the honest workers."""

from functools import lru_cache

from torch import Tensor

from privrobust.data import Dataset, Split, get_dataset
from privrobust.data.partitions import Partition
from privrobust.errors import SpecError
from privrobust.spec import RunSpec


def shares(spec: RunSpec) -> list[Tensor]:
    """Return the training examples of each honest worker, as places in the training split.

    Raises:
        SpecError: the partition cannot be made of this dataset.

    """
    dataset = get_dataset(spec.dataset, spec.data_dir)
    return deal(dataset, spec.dealt_by, spec.honest, spec.seed)


def sizes(spec: RunSpec) -> tuple[int, ...]:
    """Return how many examples each honest worker holds; errors as of `shares`."""
    dataset = get_dataset(spec.dataset, spec.data_dir)
    return _sizes(dataset, spec.dealt_by, spec.honest, spec.seed)


# Sizes of many deals, for plans of many runs; the deals themselves of few, as they are large.
@lru_cache(maxsize=4096)
def _sizes(dataset: Dataset, partition: Partition, workers: int, seed: int) -> tuple[int, ...]:
    return tuple(len(share) for share in deal(dataset, partition, workers, seed))


@lru_cache(maxsize=64)
def deal(dataset: Dataset, partition: Partition, workers: int, seed: int) -> list[Tensor]:
    """Deal a dataset; arguments as runs have them, errors as of `shares`."""
    return partition.deal(codes(dataset, dataset.train, partition), workers, seed)


def codes(dataset: Dataset, split: Split, partition: Partition) -> Tensor:
    """Return what the partition goes by: the label of each example, or its group.

    Raises:
        SpecError: the dataset knows no groups.

    """
    if partition.by == "labels":
        return split.labels
    if split.groups is None:
        raise SpecError(
            f"partition: the dataset {dataset.name!r} has no groups; accepted: one with them, such "
            "as flights or table(path=..., label=..., group=...)"
        )
    return split.groups
