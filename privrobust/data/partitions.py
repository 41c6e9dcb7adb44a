"""Partitions: how a training set is dealt to the honest workers.

Every example goes to exactly one worker, and no worker is empty. How many examples each holds is
public: it enters epsilon, workers with fewer examples spending more.

>>> import torch
>>> labels = torch.tensor([0, 0, 0, 1, 1, 1])
>>> [sorted(labels[share].tolist()) for share in Labels(k=1).deal(labels, workers=2, seed=0)]
[[0, 0, 0], [1, 1, 1]]
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.random import Generator, default_rng

from privrobust.core.lazy_imports import torch
from privrobust.core.numbers import as_whole, shown
from privrobust.core.parameters import Configured, parameter, parse
from privrobust.core.plugins import Own
from privrobust.core.registry import Entry, Registry
from privrobust.data.dataset import as_tensor
from privrobust.errors import SpecError, failure

if TYPE_CHECKING:
    from torch import Tensor

_PURPOSE = 1  # of the random stream, beside the seed
_TRIES = 1000

# Where Dirichlet draws are equal shares in double precision, and sums over workers still finite.
_EQUAL = 1e300

Shares = list[np.ndarray]
"""Indices of examples, an array a worker."""


@dataclass(frozen=True)
class Partition(Configured, ABC):
    """A way to deal examples; a user's own derives from it."""

    by: ClassVar[str] = "labels"
    """What examples differ in between workers: their "labels", or their "groups"."""

    def deal(self, codes: Tensor | np.ndarray, workers: int, seed: int) -> list[Tensor]:
        """Deal all examples.

        Args:
            codes: the label, or group, of each example, `(examples,)`.
            workers: how many share them.
            seed: the run's; equal seeds give equal shares.

        Returns:
            A tensor of places in `codes` a worker.

        Raises:
            SpecError: a worker would be empty, or the partition cannot be made of these examples.

        """
        workers = as_whole("workers", workers, "a whole number, 1 or more", least=1)
        seed = as_whole("seed", seed, "a whole number, 0 or more", least=0)
        codes = as_tensor("codes", codes)
        if workers > len(codes):
            raise SpecError(
                f"honest: {shown(workers)} workers cannot share {len(codes)} training examples; "
                f"accepted: at most {len(codes)}"
            )
        try:
            shares = list(self.split(codes.cpu().numpy(), workers, default_rng([seed, _PURPOSE])))
            dealt = np.sort(np.concatenate(shares)) if shares else np.empty(0)
        except (Exception, SystemExit) as error:  # whatever a user's partition raises
            raise failure(self, error, "split(self, codes, workers, random)") from error
        if len(shares) != workers or not np.array_equal(dealt, np.arange(len(codes))):
            raise SpecError(
                f"partition: {type(self).__name__} deals {len(dealt)} examples to {len(shares)} "
                f"workers; accepted: each of {len(codes)} to one of {workers}"
            )
        empty = [worker for worker, share in enumerate(shares) if not len(share)]
        if empty:
            raise SpecError(f"partition: {self!r} leaves honest worker {empty[0]} {self.remedy}")
        return [torch.as_tensor(share, dtype=torch.long) for share in shares]

    @property
    def remedy(self) -> str:
        """What is said of a worker without examples."""
        return "without examples; accepted: fewer honest workers"

    @abstractmethod
    def split(self, codes: np.ndarray, workers: int, random: Generator) -> Shares:
        """Deal every example to one worker.

        Args:
            codes: the label, or group, of each example, `(examples,)`.
            workers: how many share them, at most as many as there are examples.
            random: the stream to draw from; another would make runs that nobody can repeat.

        Returns:
            An array of places in `codes` a worker. All places together are each there once.

        """


@dataclass(frozen=True)
class Similarity(Partition):
    """Equal sizes; a share is sorted by label and dealt in blocks, the rest at random.

    A heterogeneity of 0 is iid, at 1 each worker has one block of labels. The similarity of the
    paper is 1 minus this, in percent.

    Args:
        heterogeneity: the share that is sorted.

    """

    paper: ClassVar[str] = "Hsu, Qi, Brown 2019; Karimireddy et al. 2020, section 7"

    heterogeneity: float = parameter(0.0, least=0, most=1)

    def split(self, codes: np.ndarray, workers: int, random: Generator) -> Shares:
        """Deal shares whose sizes differ by one at most, and depend on counts alone."""
        order = random.permutation(len(codes))
        count = round(self.heterogeneity * len(codes))
        by_label, at_random = order[:count], order[count:]
        by_label = by_label[np.argsort(codes[by_label], kind="stable")]
        sizes = len(codes) // workers + (np.arange(workers) < len(codes) % workers)
        blocks = np.array_split(by_label, workers)
        rest = np.split(at_random, np.cumsum(sizes - [len(block) for block in blocks])[:-1])
        return [np.concatenate(dealt) for dealt in zip(blocks, rest, strict=True)]


@dataclass(frozen=True)
class Dirichlet(Partition):
    """Each label is dealt in proportions drawn from a symmetric Dirichlet distribution.

    Small alpha gives a label to few workers, large alpha is close to iid. Sizes differ too. As in
    the code of Li et al. 2022, all is drawn again until every worker holds enough.

    Args:
        alpha: the concentration.
        least: examples that every worker must hold.

    """

    paper: ClassVar[str] = "Yurochkin et al. 2019; Li et al. 2022"

    alpha: float = parameter(0.5, above=0)
    least: int = parameter(10, least=1)

    def split(self, codes: np.ndarray, workers: int, random: Generator) -> Shares:
        """Draw until every worker holds enough."""
        of_label = [np.flatnonzero(codes == label) for label in np.unique(codes)]
        alphas = np.full(workers, min(self.alpha, _EQUAL))
        for _ in range(_TRIES):
            counts = _counts(random.dirichlet(alphas, len(of_label)), of_label)
            if np.sum(counts, axis=0).min() >= self.least:
                return _by_label(of_label, counts, random)
        equal = _counts(np.full((len(of_label), workers), 1 / workers), of_label)
        # what no alpha can do is not worth a larger one
        larger = "larger alpha, " if np.sum(equal, axis=0).min() >= self.least else ""
        raise SpecError(
            f"partition: {self!r}: in {_TRIES} draws some worker always had fewer than "
            f"{self.least} of {len(codes)} examples; accepted: {larger}smaller least, or "
            f"fewer than {workers} honest workers"
        )


def _counts(proportions: np.ndarray, of_label: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Count what each worker holds of each label, from its share of that label."""
    return [
        np.diff(np.round(np.cumsum(row) * len(places)).astype(int), prepend=0)
        for row, places in zip(proportions, of_label, strict=True)
    ]


def _by_label(of_label: Sequence[np.ndarray], counts: Any, random: Generator) -> Shares:
    """Deal so many of each label to each worker, at random."""
    pieces = [
        np.split(random.permutation(places), np.cumsum(row)[:-1])
        for places, row in zip(of_label, counts, strict=True)
    ]
    return [np.concatenate(dealt) for dealt in zip(*pieces, strict=True)]


@dataclass(frozen=True)
class Labels(Partition):
    """Each worker holds examples of k labels only, those of a label shared equally.

    Every label has a worker, and labels have as equally many as can be.

    Args:
        k: labels a worker.

    """

    paper: ClassVar[str] = "McMahan et al. 2017, section 3; Li et al. 2022"

    k: int = parameter(2, least=1)

    def split(self, codes: np.ndarray, workers: int, random: Generator) -> Shares:
        """Let workers take the labels in turns, in a random order."""
        labels = random.permutation(np.unique(codes))
        if self.k > len(labels) or self.k * workers < len(labels):
            least = -(-len(labels) // workers)
            raise SpecError(
                f"partition: Labels.k: {self.k} labels for each of {workers} workers; accepted: "
                f"{least} to {len(labels)}, as there are {len(labels)} labels, all to be dealt"
            )
        turns = np.arange(workers * self.k).reshape(workers, self.k) % len(labels)
        counts = []
        for place, label in enumerate(labels):
            holds = (turns == place).any(axis=1)
            examples = int((codes == label).sum())
            ranks = np.cumsum(holds) - 1
            equal = examples // holds.sum() + (ranks < examples % holds.sum())
            counts.append(np.where(holds, equal, 0))
        return _by_label([np.flatnonzero(codes == label) for label in labels], counts, random)


@dataclass(frozen=True)
class PowerLaw(Partition):
    """Unequal sizes: worker i of 1, 2, ... holds in proportion to `i^-exponent`, at random.

    Everybody's labels are alike; the workers at the end hold little, sample each example more often
    and spend more epsilon.

    Args:
        exponent: 0 for equal sizes.

    """

    paper: ClassVar[str] = "Zipf's law; Li et al. 2022, quantity skew"

    exponent: float = parameter(1.0, least=0)

    def split(self, codes: np.ndarray, workers: int, random: Generator) -> Shares:
        """Deal shares whose sizes depend on counts alone."""
        weights = np.arange(1.0, workers + 1) ** -self.exponent
        ends = np.round(np.cumsum(weights) / weights.sum() * len(codes)).astype(int)
        return np.split(random.permutation(len(codes)), ends[:-1])

    @property
    def remedy(self) -> str:
        """Sizes fall too fast."""
        return "without examples; accepted: a smaller exponent or fewer honest workers"


@dataclass(frozen=True)
class Groups(Partition):
    """Real groups of the data: each goes to one worker, the largest first to who has least."""

    by: ClassVar[str] = "groups"

    def split(self, codes: np.ndarray, workers: int, random: Generator) -> Shares:
        """Deal whole groups."""
        groups, sizes = np.unique(codes, return_counts=True)
        if workers > len(groups):
            raise SpecError(
                f"honest: {workers} workers cannot share {len(groups)} groups; "
                f"accepted: at most {len(groups)} with partition: groups"
            )
        holder, held = np.zeros(len(groups), dtype=int), np.zeros(workers, dtype=int)
        for group in np.argsort(-sizes, kind="stable"):
            holder[group] = held.argmin()
            held[holder[group]] += sizes[group]
        of_example = holder[np.searchsorted(groups, codes)]
        return [np.flatnonzero(of_example == worker) for worker in range(workers)]


@dataclass(frozen=True)
class Natural(Partition):
    """Real groups of the data, each a worker, in the order of their names.

    Workers differ in how much they hold, and of what, as the groups do. There are as many honest
    workers as groups; `groups` deals several to each.
    """

    paper: ClassVar[str] = "Caldas et al. 2018; Ogier du Terrail et al. 2022"
    by: ClassVar[str] = "groups"

    def split(self, codes: np.ndarray, workers: int, random: Generator) -> Shares:
        """Give each worker its group."""
        groups = np.unique(codes)
        if workers != len(groups):
            fewer = ", or fewer with partition: groups" if workers < len(groups) else ""
            raise SpecError(
                f"honest: {workers} workers for {len(groups)} groups with partition: natural; "
                f"accepted: {len(groups)}{fewer}"
            )
        return [np.flatnonzero(codes == group) for group in groups]


_IID = "similarity(heterogeneity=0.0)"
PARTITIONS: Registry[type[Partition]] = Registry(
    "partition",
    {
        "dirichlet": Dirichlet,
        "groups": Groups,
        "iid": Similarity,
        "labels": Labels,
        "natural": Natural,
        "power_law": PowerLaw,
        "similarity": Similarity,
    },
    Own((Partition,), "a class that derives from privrobust.data.partitions.Partition"),
)


def available_partitions() -> list[str]:
    """Return the names that a spec may use."""
    return PARTITIONS.available()


def register_partition(name: str, partition: type[Partition]) -> None:
    """Let specs name a partition; an earlier one of your own of that name is replaced.

    Results are kept by name: give changed code a new one.

    Raises:
        SpecError: the name is one of ours, or none that a spec can write; or it is no partition's
            class.

    """
    PARTITIONS.register(name, partition)


def list_partitions() -> list[Entry]:
    """Describe every partition, as `privrobust list partitions` shows them."""
    return [
        Entry(name, _IID) if name == "iid" else PARTITIONS.entry(name)
        for name in available_partitions()
    ]


def is_known_partition(text: str) -> bool:
    """Tell whether it is one of these, and no module's."""
    return parse("partition", text)[0] in PARTITIONS


def get_partition(text: str) -> Partition:
    """Make the partition that a spec names: `dirichlet(alpha=0.1)`, or `package.module:Class`.

    Raises:
        SpecError: no such partition or parameter, or a value that it does not accept.

    """
    made: Partition = PARTITIONS.get(_in_full(text))
    return made


def canonical_partition(text: str) -> str:
    """Write the same partition in one way; iid is a similarity.

    A heterogeneity that is given stays, for `RunSpec` to hold against its own.
    """
    return PARTITIONS.canonical(_in_full(text), {"heterogeneity"})


def _in_full(text: str) -> str:
    """Return iid as the similarity that it is, and any other text as it is."""
    name, given = parse("partition", text)
    if name != "iid":
        return text
    if given:
        raise SpecError(f"partition: iid takes no parameters, not {shown(given)}")
    return _IID
