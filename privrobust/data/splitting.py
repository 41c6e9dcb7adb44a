"""Which examples are for training, validation and test: never a matter of a run's seed."""

import math
from collections.abc import Sequence
from itertools import count

import numpy as np

from privrobust.core.numbers import as_float, shown
from privrobust.errors import SpecError

_SEED = 0

TEST = 0.2
"""The share of examples that are for test where nobody has said which."""
VALIDATION = 0.1
"""The share that is for validation unless a spec says another."""
MOST_VALIDATION = 0.5


def three_ways(
    name: str,
    labels: np.ndarray,
    groups: np.ndarray | None = None,
    validation: float = VALIDATION,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Deal examples to train, validation and test, a fifth of them to test.

    Stratified by label, or where groups are known within each of them, so that every group has
    training examples, and all but the smallest have held-out ones.

    Args:
        name: of the dataset, for errors.
        labels: `(examples,)`.
        groups: `(examples,)`, as whole numbers.
        validation: the share of all examples that is for it, 0 to 0.5.

    Returns:
        Places in `labels`.

    Raises:
        SpecError: too few examples for every split, or a share that is not accepted.

    """
    shares = [TEST, _checked(validation) / (1 - TEST)]
    rest, valid, test = _dealt(name, labels, groups, shares)
    return rest, valid, test


def two_ways(
    name: str,
    labels: np.ndarray,
    groups: np.ndarray | None = None,
    validation: float = VALIDATION,
) -> tuple[np.ndarray, np.ndarray]:
    """Take examples for validation out of an official training split; as `three_ways`."""
    rest, valid = _dealt(name, labels, groups, [_checked(validation)])
    return rest, valid


def halves(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Deal examples to two parts, the first of which has one more of an odd number.

    Stratified: of no label does a part have over one example more than the other.

    Args:
        labels: `(examples,)`, as whole numbers.

    Returns:
        Places in `labels`, ascending.

    """
    (by_label,) = _strata(labels, np.zeros_like(labels), np.random.default_rng(_SEED))
    return np.sort(by_label[::2]), np.sort(by_label[1::2])


def _checked(validation: float) -> float:
    accepted = f"a number from 0 to {MOST_VALIDATION}"
    share = as_float("validation", validation, accepted)
    if not 0 <= share <= MOST_VALIDATION:
        raise SpecError(f"validation: {shown(validation)} is not accepted: {accepted}")
    return share


def _dealt(
    name: str, labels: np.ndarray, groups: np.ndarray | None, shares: Sequence[float]
) -> list[np.ndarray]:
    """Take a share of all examples away, then one of what is left, and so on.

    Returns:
        Places of what is left, then of the last share taken, down to those of the first.

    """
    taken = [share for share in shares if share]
    if groups is None:
        parts = _stratified(name, labels, *taken)
    else:
        parts = _within_groups(name, labels, groups, taken)
    missing = [np.empty(0, np.int64)] * (len(shares) - len(taken))  # of validation, the last share
    return [parts[0], *missing, *parts[1:]]


def _stratified(name: str, labels: np.ndarray, *shares: float) -> list[np.ndarray]:
    """Do so with a share of the examples of each label, as `_dealt` returns it."""
    from sklearn.model_selection import train_test_split

    places = [np.arange(len(labels))]
    try:
        for share in shares:
            left, taken = train_test_split(
                places[0], test_size=share, stratify=labels[places[0]], random_state=_SEED
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


def _within_groups(
    name: str, labels: np.ndarray, groups: np.ndarray, shares: Sequence[float]
) -> list[np.ndarray]:
    """Do so within each group, as `_dealt` returns it.

    A group's examples are sorted by label, labels in a random order, and every k-th is taken
    (systematic sampling): labels are as frequent in what is taken as in what it is taken of, to
    within one example, and of n examples `round(share n)` are taken, but never all.
    """
    random = np.random.default_rng(_SEED)
    left = _strata(labels, groups, random)
    parts: list[np.ndarray] = []
    for share in shares:
        picked = [_every(len(places), share) for places in left]
        taken = [places[at] for places, at in zip(left, picked, strict=True)]
        left = [places[~at] for places, at in zip(left, picked, strict=True)]
        parts.insert(0, np.sort(np.concatenate(taken)))
        if not len(parts[0]):
            raise SpecError(
                f"groups: {name!r} has {len(labels)} examples in {len(left)} groups, too small "
                f"each to hold a share of {share:g} out; accepted: larger groups"
            )
    return [np.sort(np.concatenate(left)), *parts]


def _strata(
    labels: np.ndarray, groups: np.ndarray, random: np.random.Generator
) -> list[np.ndarray]:
    """Return the places of each group, sorted by label, labels and examples in random orders."""
    shuffled = random.permutation(len(labels))
    by_group = shuffled[np.argsort(groups[shuffled], kind="stable")]
    ends = np.flatnonzero(np.diff(groups[by_group])) + 1
    sorted_by_label = []
    for places in np.split(by_group, ends):
        own, codes = np.unique(labels[places], return_inverse=True)
        ranks = random.permutation(len(own))[codes]
        sorted_by_label.append(places[np.argsort(ranks, kind="stable")])  # on every processor
    return sorted_by_label


def _every(n: int, share: float) -> np.ndarray:
    """Tell which of n examples in a row are taken, `round(share n)` of them and n - 1 at most."""
    taken: np.ndarray = np.diff(np.floor(np.arange(n + 1) * share + 0.5)) > 0
    if taken.all():
        taken[0] = False
    return taken
