"""The data of Byzantine workers: the training split as their attacks have poisoned it."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from privrobust.attacks import Attack, Examples
from privrobust.core.random import stream
from privrobust.data import Dataset, Split
from privrobust.gradients.batch import Batch
from privrobust.spec import RunSpec
from privrobust.training.lanes import distinct
from privrobust.training.server import Rule
from privrobust.training.shares import deal


def examples_of(dataset: Dataset, split: Split) -> Examples:
    """Return a split as attacks see it."""
    return Examples(split.inputs, split.labels, dataset.classes)


class PoisonedData:
    """What every lane's Byzantine workers train on.

    Of inputs, those are kept that changed and that some of them hold.
    """

    def __init__(
        self,
        lanes: Sequence[RunSpec],
        rules: Sequence[Rule],
        attacks: Sequence[Attack | None],
        dataset: Dataset,
        train: Split,
    ) -> None:
        """Poison the training split, once for lanes of equal attack and seed.

        Args:
            lanes: the runs.
            rules: how lanes are grouped.
            attacks: that of each rule's lanes.
            dataset: theirs.
            train: its training split, where batches are.

        Raises:
            SpecError: as `Attack.poisoned`.

        """
        device = train.labels.device
        of_lanes: list[tuple[Attack, int] | None] = []
        held: dict[tuple[Attack, int], Tensor] = {}
        for rule, attack in zip(rules, attacks, strict=True):
            if attack is None or attack.sees != "own":
                of_lanes += [None] * len(lanes[rule.lanes])
                continue
            for spec in lanes[rule.lanes]:
                # repetitions have the same: it is what the Byzantine workers hold, and no release
                of_lanes.append((attack, spec.seed))
                some = held.setdefault(
                    (attack, spec.seed), torch.zeros(len(dataset.train), dtype=torch.bool)
                )
                for share in deal(dataset, spec.dealt_by, spec.honest, spec.seed)[: spec.byzantine]:
                    some[share] = True  # worker j's are a copy of honest worker j's
        versions, self._version_of = distinct(of_lanes, device)

        # the data is poisoned where it lies, on the CPU, so that every device trains on the same
        data = examples_of(dataset, dataset.train)
        self._train = train
        every = torch.arange(len(data.labels))
        places, labels, rows = [], [], [data.inputs[:0]]
        for version in versions:
            made, changed = data, every[:0]
            if version is not None:
                attack, seed = version
                made = attack.poisoned(data, stream(seed, "poison"))
                changed = _changed(data.inputs, made.inputs, held[version].nonzero().squeeze(-1))
            after = len(every) + sum(map(len, rows))
            places.append(every.index_copy(0, changed, after + torch.arange(len(changed))))
            labels.append(made.labels)
            rows.append(made.inputs[changed])
        self._places, self._labels = torch.stack(places).to(device), torch.stack(labels).to(device)
        inputs = torch.cat(rows)
        unlabelled = torch.zeros(len(inputs), dtype=torch.long)
        self._poisoned = Split(inputs, unlabelled, train.scaling).to(device)

    def __call__(self, batch: Batch, lanes: slice) -> Batch:
        """Return what stands in some lanes' data where theirs has the examples of a batch."""
        version = self._version_of[lanes].view(-1, 1, 1)
        places, labels = (table[version, batch.places] for table in (self._places, self._labels))
        examples = self._examples if len(self._poisoned) else batch.examples
        return replace(batch, examples=examples, places=places, labels=labels)

    def _examples(self, which: Tensor) -> Tensor:
        """Return inputs as a model takes them: beyond the training split, those that changed."""
        is_poisoned = which >= len(self._train)
        inputs = self._train.examples(which.masked_fill(is_poisoned, 0))
        inputs[is_poisoned] = self._poisoned.examples(which[is_poisoned] - len(self._train))
        return inputs


def _changed(before: Tensor, after: Tensor, places: Tensor) -> Tensor:
    """Return at which of these places inputs are others, `(changed,)`."""
    if after is before:
        return places[:0]
    return places[(before[places] != after[places]).flatten(1).any(1)]
