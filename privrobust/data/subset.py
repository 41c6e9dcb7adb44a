"""Fewer examples of a dataset to train on, and of some classes fewer than of others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from privrobust.core.parameters import parameter
from privrobust.data.dataset import Dataset
from privrobust.data.source import Source
from privrobust.errors import SpecError, shown

_SEED = 0  # which examples are kept never depends on a run's seed


@dataclass(frozen=True)
class Subset(Source):
    """A part of another dataset's training split; what is held out stays whole.

    Class k of K keeps in proportion to `imbalance^(-k / (K - 1))`: the first class the most, the
    last one the least, and held-out classes are as frequent as they were.

    Args:
        of: a built-in dataset, other than `table` and `subset`.
        size: training examples to keep; as many as there can be by default.
        imbalance: of the first class over the last; 1 for equal classes.

    """

    paper: ClassVar[str] = "Cui et al. 2019"

    of: str = "digits"
    size: int | None = parameter(None, least=1)
    imbalance: float = parameter(1.0, least=1, most=1e6)

    def __post_init__(self) -> None:
        """Refuse what is no built-in dataset, or one of the user's files.

        Raises:
            SpecError: as of every parameter.

        """
        from privrobust.data.registry import canonical_dataset  # which names this class

        super().__post_init__()
        source = self._source()
        if source is None or source.named_file or isinstance(source, Subset):
            raise SpecError(
                f"Subset.of: {self.of!r} is not accepted: a built-in dataset, other than table and "
                "subset"
            )
        object.__setattr__(self, "of", canonical_dataset(self.of))

    def _source(self) -> Source | None:
        from privrobust.data.registry import built_in_source

        return built_in_source(self.of)

    def files(self, folder: Path) -> list[Path]:
        """List those of the whole dataset."""
        source = self._source()
        return source.files(folder) if source else []

    def load(self, name: str, folder: Path) -> Dataset:
        """Load the whole dataset, and keep a part."""
        source = self._source()
        assert source is not None  # as when it was made
        whole = source.load(self.of, folder)
        labels = whole.train.labels.numpy()
        counts = self._counts(np.bincount(labels, minlength=whole.classes))
        random = np.random.default_rng(_SEED)
        kept = [
            random.permutation(np.flatnonzero(labels == label))[:count]
            for label, count in enumerate(counts)
        ]
        return replace(whole, name=name, train=whole.train.only(np.sort(np.concatenate(kept))))

    def _counts(self, there: np.ndarray) -> np.ndarray:
        """Return how many of each class are kept, of so many."""
        places = np.arange(len(there)) / (len(there) - 1)
        shares = self.imbalance**-places
        shares /= shares.sum()
        most = int(np.floor((there / shares).min() + 1e-9))
        size = most if self.size is None else self.size
        if size > most:
            raise SpecError(
                f"Subset.size: {shown(size)} of {self.of} is not accepted: at most {most} with an "
                f"imbalance of {self.imbalance:g}"
            )
        exact = size * shares
        counts = np.floor(exact + 1e-9).astype(int)
        by_remainder = np.argsort(counts - exact, kind="stable")
        counts[by_remainder[: size - counts.sum()]] += 1
        if not counts.all():
            raise SpecError(
                f"Subset.size: {size} of {self.of} leaves a class without examples; accepted: a "
                f"larger size, or less imbalance than {self.imbalance:g}"
            )
        return counts
