"""Which examples are for training, validation and test: dealt by their labels alone."""

import math
from collections.abc import Sequence
from itertools import count

import numpy as np

from privrobust.errors import SpecError

_SPLIT_SEED = 0  # which examples are test examples never depends on a run's seed


def three_ways(name: str, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Deal places in `labels` 70 / 10 / 20 to train, validation and test, stratified by label.

    Raises:
        SpecError: too few examples of a class for every split.

    """
    rest, validation, test = stratified(name, labels, 0.2, 0.125)
    return rest, validation, test


def stratified(name: str, labels: np.ndarray, *shares: float) -> list[np.ndarray]:
    """Take away a share of the examples of each label, then one of what is left, and so on.

    Returns:
        Places of what is left, then of the last share taken, down to those of the first.

    """
    from sklearn.model_selection import train_test_split

    places = [np.arange(len(labels))]
    try:
        for share in shares:
            left, taken = train_test_split(
                places[0], test_size=share, stratify=labels[places[0]], random_state=_SPLIT_SEED
            )
            places[:1] = [left, taken]
    except ValueError:  # scikit-learn's, of classes that cannot be split
        _, counts = np.unique(labels, return_counts=True)
        least = next(n for n in count(1) if _smallest_part(n, shares) >= len(counts))
        raise SpecError(
            f"labels: {name!r} has {len(counts)} distinct labels in {len(labels)} examples, the "
            f"rarest in {min(counts)}; accepted: each in {1 + len(shares)} or more, and for so "
            f"many labels {least} examples or more"
        ) from None
    return places


def _smallest_part(n: int, shares: Sequence[float]) -> int:
    """Return how many of n examples the smallest part has, once scikit-learn has rounded."""
    parts = []
    for share in shares:
        parts.append(math.ceil(n * share))
        n -= parts[-1]
    return min(*parts, n)
