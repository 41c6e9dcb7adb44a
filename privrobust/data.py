"""Datasets held in memory once, and partitions of the training set over honest workers."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from privrobust.errors import SpecError, unknown_name
from privrobust.plugins import find

_SPLIT_SEED = 0  # which examples are test examples never depends on a run's seed


@dataclass(frozen=True)
class Split:
    """Examples and their labels.

    Args:
        inputs: `(examples, *features)`, float32, or integers for models that embed them.
        labels: `(examples,)`, int64, from 0.

    Raises:
        SpecError: other types, or counts that differ.

    """

    inputs: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.labels) or self.labels.dim() != 1:
            raise SpecError(
                f"labels: shape {tuple(self.labels.shape)} with inputs {tuple(self.inputs.shape)} "
                "is not accepted: one label an example"
            )
        if self.labels.dtype != torch.long:
            raise SpecError(f"labels: {self.labels.dtype} is not accepted: torch.int64")
        if self.inputs.dtype not in (torch.float32, torch.int32, torch.int64):
            raise SpecError(
                f"inputs: {self.inputs.dtype} is not accepted: torch.float32, or integers"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "Split":
        """The same on that device."""
        return Split(self.inputs.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Dataset:
    """Three disjoint splits; learning rates are tuned on `validation`, never on `test`.

    Raises:
        SpecError: an empty split, examples of different shapes, or a label that is no class.

    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: int

    def __post_init__(self) -> None:
        shape = self.train.inputs.shape[1:]
        for name in ("train", "validation", "test"):
            split = getattr(self, name)
            if not len(split):
                raise SpecError(f"dataset: {name} of {self.name!r} has no examples")
            if split.inputs.shape[1:] != shape:
                raise SpecError(
                    f"dataset: {name} of {self.name!r} has examples of shape "
                    f"{tuple(split.inputs.shape[1:])}, train of {tuple(shape)}; accepted: one shape"
                )
            low, high = int(split.labels.min()), int(split.labels.max())
            if low < 0 or high >= self.classes:
                raise SpecError(
                    f"dataset: {name} of {self.name!r} has labels {low} to {high}; accepted: 0 to "
                    f"{self.classes - 1}, for {self.classes} classes"
                )

    @classmethod
    def from_tensors(cls, name: str, inputs: Tensor, labels: Tensor) -> "Dataset":
        """Split examples 70 / 10 / 20 into train, validation and test, stratified by label.

        Which examples are test examples depends on the labels alone, never on a run's seed.

        Args:
            name: what specs and results call it.
            inputs: `(examples, *features)`, as `Split` takes them.
            labels: `(examples,)`, from 0; the largest tells how many classes there are.

        Raises:
            SpecError: what `Split` refuses, or too few examples of a class for every split.

        """
        from sklearn.model_selection import train_test_split

        whole, of = Split(inputs, labels), labels.cpu().numpy()
        indices = np.arange(len(whole))
        chance = {"random_state": _SPLIT_SEED}
        try:
            rest, test = train_test_split(indices, test_size=0.2, stratify=of, **chance)
            train, validation = train_test_split(rest, test_size=0.125, stratify=of[rest], **chance)
        except ValueError as error:  # scikit-learn's, of classes that cannot be split
            raise SpecError(f"labels: {name!r} cannot be split by class ({error})") from None

        def split(chosen: np.ndarray) -> Split:
            return Split(inputs[chosen], labels[chosen])

        classes = int(labels.max()) + 1
        return cls(name, split(train), split(validation), split(test), classes)

    @property
    def features(self) -> int:
        """Numbers in one example."""
        return self.train.inputs[0].numel()

    def held_out(self, name: str) -> Split:
        """The split that a run is evaluated on."""
        return {"validation": self.validation, "test": self.test}[name]


def digits() -> Dataset:
    """scikit-learn's 1,797 handwritten digits, 8 x 8, scaled from 0..16 to [0, 1]."""
    from sklearn.datasets import load_digits

    inputs, labels = load_digits(return_X_y=True)
    scaled = torch.tensor(inputs / 16.0, dtype=torch.float32)
    return Dataset.from_tensors("digits", scaled, torch.tensor(labels, dtype=torch.long))


_DATASETS: dict[str, Callable[[], Dataset]] = {"digits": digits}
_loaded: dict[str, Dataset] = {}


def register_dataset(dataset: Dataset) -> None:
    """Let specs name a dataset; an earlier one of that name is replaced.

    Results are kept by name: give changed data a new one.
    """
    _DATASETS[dataset.name] = lambda: dataset
    _loaded[dataset.name] = dataset


def available_datasets() -> list[str]:
    """Names that a spec may use."""
    return sorted(_DATASETS)


def check_name(name: str) -> None:
    """Refuse a name that no dataset can have, without loading or importing any.

    Raises:
        SpecError: it is neither registered nor of the form `package.module:factory`.

    """
    if name not in _DATASETS and ":" not in name:
        raise unknown_name("dataset", name, _DATASETS)


def get_dataset(name: str) -> Dataset:
    """The dataset of that name, loaded once a process.

    Args:
        name: a registered name, or `package.module:factory`, a callable that takes nothing and
            returns a `Dataset`.

    Raises:
        SpecError: no dataset has that name, or its factory fails.

    """
    if name not in _loaded:
        factory = find("dataset", name, _DATASETS)
        try:
            dataset = factory()
        except Exception as error:  # whatever a user's factory raises
            raise SpecError(f"dataset: {name!r} failed ({error})") from error
        if not isinstance(dataset, Dataset):
            raise SpecError(f"dataset: {name!r} made a {type(dataset).__name__}, not a Dataset")
        _loaded[name] = dataset
    return _loaded[name]


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
