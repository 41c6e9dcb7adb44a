"""Datasets held in memory once, and partitions of the training set over honest workers."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from privrobust.errors import SpecError, unknown_name

_SPLIT_SEED = 0  # which examples are test examples never depends on a run's seed


@dataclass(frozen=True)
class Split:
    """Examples `(examples, *features)` in float32 and their labels `(examples,)`."""

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """Three disjoint splits; learning rates are tuned on `validation`, never on `test`."""

    name: str
    train: Split
    validation: Split
    test: Split
    classes: int

    @property
    def features(self) -> int:
        """Numbers in one example."""
        return self.train.inputs[0].numel()

    def held_out(self, name: str) -> Split:
        """The split that a run is evaluated on."""
        return {"validation": self.validation, "test": self.test}[name]


def digits() -> Dataset:
    """scikit-learn's 1,797 handwritten digits, 8 x 8, scaled from 0..16 to [0, 1].

    Split 70 / 10 / 20 into train, validation and test, stratified by label.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    inputs, labels = load_digits(return_X_y=True)
    indices = np.arange(len(labels))
    rest, test = train_test_split(indices, test_size=0.2, stratify=labels, random_state=_SPLIT_SEED)
    train, validation = train_test_split(
        rest, test_size=0.125, stratify=labels[rest], random_state=_SPLIT_SEED
    )
    scaled = torch.tensor(inputs / 16.0, dtype=torch.float32)
    targets = torch.tensor(labels, dtype=torch.long)

    def split(chosen: np.ndarray) -> Split:
        return Split(scaled[chosen], targets[chosen])

    return Dataset("digits", split(train), split(validation), split(test), classes=10)


_DATASETS: dict[str, Callable[[], Dataset]] = {"digits": digits}


def available_datasets() -> list[str]:
    """Names that a spec may use."""
    return sorted(_DATASETS)


@lru_cache
def get_dataset(name: str) -> Dataset:
    """The dataset of that name, loaded once a process.

    Raises:
        SpecError: no dataset has that name.

    """
    if name not in _DATASETS:
        raise unknown_name("dataset", name, _DATASETS)
    return _DATASETS[name]()


def worker_sizes(examples: int, workers: int) -> list[int]:
    """How many examples each worker is dealt: as equal as can be.

    Raises:
        SpecError: a worker would get none.

    """
    if workers > examples:
        raise SpecError(
            f"honest: {workers} workers cannot share {examples} training examples; "
            f"accepted: at most {examples}"
        )
    return [examples // workers + (worker < examples % workers) for worker in range(workers)]


def partition(labels: Tensor, workers: int, heterogeneity: float, seed: int) -> list[Tensor]:
    """Deal training examples to honest workers; every example goes to exactly one.

    The share `heterogeneity` of the examples is sorted by label and dealt in consecutive blocks,
    the rest at random (the similarity setting of Karimireddy et al. 2020, section 7): 0 is iid,
    1 gives each worker one block of labels. Sizes depend on the counts alone (`worker_sizes`).

    Returns:
        One tensor of indices into `labels` a worker.

    """
    order = np.random.default_rng([seed, 1]).permutation(len(labels))
    count = round(heterogeneity * len(labels))
    by_label, random = order[:count], order[count:]
    by_label = by_label[np.argsort(labels.numpy()[by_label], kind="stable")]
    sizes = np.array(worker_sizes(len(labels), workers))
    blocks = np.array_split(by_label, workers)
    rest = np.split(random, np.cumsum(sizes - [len(block) for block in blocks])[:-1])
    return [torch.from_numpy(np.concatenate(dealt)) for dealt in zip(blocks, rest, strict=True)]
