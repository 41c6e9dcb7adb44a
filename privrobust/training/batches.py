"""The batches that workers draw from their shares, for all lanes, step by step.

Whoever holds equal shares under an equal seed draws equal batches: lanes that differ in noise, rule
or attack are compared on the same examples, and what they share is drawn once.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from privrobust.data import Dataset, Split
from privrobust.gradients.batch import Batch
from privrobust.spec import RunSpec
from privrobust.training.lanes import distinct
from privrobust.training.sampling import draw_batches
from privrobust.training.shares import deal


def honest_batches(
    lanes: Sequence[RunSpec], dataset: Dataset, train: Split, steps: int
) -> Iterator[Batch]:
    """Draw every lane's batches, step by step.

    Args:
        lanes: the runs.
        dataset: theirs.
        train: its training split, where batches are to be.
        steps: how many.

    Yields:
        Batches `(lanes, honest, pad, *features)`.

    """
    return _batches(lanes, dataset, train, steps, "batches", list(range(lanes[0].honest)))


def byzantine_batches(
    lanes: Sequence[RunSpec], dataset: Dataset, train: Split, steps: int
) -> Iterator[Batch]:
    """Draw batches of Byzantine workers: worker j draws from a copy of honest worker j's share.

    That is data such as a worker of this run holds, while the honest shares, and with them epsilon,
    stay what they are without an attack. Arguments and batches are as of `honest_batches`.
    """
    copied = [worker % lanes[0].honest for worker in range(lanes[0].byzantine)]
    return _batches(lanes, dataset, train, steps, "byzantine batches", copied)


def _batches(
    lanes: Sequence[RunSpec],
    dataset: Dataset,
    train: Split,
    steps: int,
    purpose: str,
    workers: list[int],
) -> Iterator[Batch]:
    """Draw for workers that hold the shares of these honest ones."""
    shared, device = lanes[0], train.labels.device
    # data is dealt once for lanes of equal seed and partition
    streams = [(spec.seed, spec.dealt_by, spec.stream_seed) for spec in lanes]
    deals, deal_of = distinct(streams, device)
    dealt = [deal(dataset, partition, shared.honest, seed) for seed, partition, _ in deals]
    held = [[share[worker] for worker in workers] for share in dealt]
    # and drawn once for deals of equal seed and sizes: which places join depends on no more
    sizes = [tuple(map(len, of_deal)) for of_deal in held]
    draws, drawn_by = distinct(
        [(seed, of_deal) for (*_, seed), of_deal in zip(deals, sizes, strict=True)], device
    )
    table = _padded(held).to(device)
    drawn = draw_batches(
        [of_draw for _, of_draw in draws],
        shared.batch_size,
        steps,
        [seed for seed, _ in draws],
        purpose,
        shared.sampling,
        shared.sampling_rate,
    )
    for slots, present in drawn:
        slots, present = slots.to(device), present.to(device)
        examples = table.gather(-1, slots[drawn_by])[deal_of]
        joins = present[drawn_by[deal_of]]
        yield Batch(train.examples, examples, train.labels[examples], joins)


def _padded(held: list[list[Tensor]]) -> Tensor:
    """Write the shares into one table `(deals, workers, most)`, padded with 0."""
    most = max(len(share) for of_deal in held for share in of_deal)
    table = torch.zeros(len(held), len(held[0]), most, dtype=torch.long)
    for of_deal, rows in zip(held, table, strict=True):
        for share, row in zip(of_deal, rows, strict=True):
            row[: len(share)] = share
    return table
