"""Who draws which examples: the honest workers' shares, and Byzantine workers' copies of them."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from privrobust.clipping import Batch
from privrobust.data import Split, partition, worker_sizes
from privrobust.sampling import distinct, poisson_batches, stream
from privrobust.spec import RunSpec


def honest_batches(lanes: Sequence[RunSpec], train: Split, steps: int) -> Iterator[Batch]:
    """Every lane's Poisson batches, step by step; lanes of equal seed draw equal ones."""
    return _batches(lanes, train, steps, "batches", list(range(lanes[0].honest)))


def byzantine_batches(lanes: Sequence[RunSpec], train: Split, steps: int) -> Iterator[Batch]:
    """Batches of Byzantine workers: worker j draws for itself from a copy of worker j's share.

    That is data such as a worker of this run holds, while the honest shares, and with them epsilon,
    stay what they are without an attack.
    """
    shares = [worker % lanes[0].honest for worker in range(lanes[0].byzantine)]
    return _batches(lanes, train, steps, "byzantine batches", shares)


def _batches(
    lanes: Sequence[RunSpec], train: Split, steps: int, purpose: str, shares: list[int]
) -> Iterator[Batch]:
    shared, device = lanes[0], train.labels.device
    sizes = worker_sizes(len(train), shared.honest)
    seeds, seed_of = distinct([spec.seed for spec in lanes], device)
    deals, deal_of = distinct([(spec.seed, spec.heterogeneity) for spec in lanes], device)
    labels = train.labels.cpu()
    tables = torch.stack([_deal(labels, sizes, *deal)[shares] for deal in deals]).to(device)
    streams = [stream(seed, purpose, device) for seed in seeds]
    drawn_by = torch.tensor([seeds.index(seed) for seed, _ in deals], device=device)
    drawn = poisson_batches([sizes[share] for share in shares], shared.batch_size, steps, streams)
    for slots, present in drawn:
        examples = tables.gather(-1, slots[drawn_by])[deal_of]
        yield Batch(train.inputs[examples], train.labels[examples], present[seed_of])


def _deal(labels: Tensor, sizes: list[int], seed: int, heterogeneity: float) -> Tensor:
    """Which training examples each worker holds, `(workers, most)`, padded with 0."""
    table = torch.zeros(len(sizes), max(sizes), dtype=torch.long)
    for row, indices in zip(table, partition(labels, len(sizes), heterogeneity, seed), strict=True):
        row[: len(indices)] = indices
    return table
