"""Noisy median and sign SGD with clipped per-sample gradients (after Chen et al. 2020).

The loop in `train_lanes` is the algorithm. Many runs that share shapes train as one tensor program:
parameters are `(lanes, dim)`, messages `(lanes, workers, dim)`, and a single run is one lane.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from itertools import groupby
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from privrobust.aggregators import Aggregator, get_aggregator
from privrobust.attacks import Attack
from privrobust.clipping import Batch
from privrobust.data import Split, get_dataset, partition, worker_sizes
from privrobust.devices import in_full_precision, resolve_device
from privrobust.errors import PrivRobustError
from privrobust.honest import Clipping, Perturbation, column
from privrobust.memory import keep_freed_memory
from privrobust.metrics import Evaluation, Evaluator, RunResult
from privrobust.models import EXAMPLES, initial_parameters
from privrobust.privacy import spent, steps_within_budget, warn_of_large_delta
from privrobust.sampling import distinct, poisson_batches, stream
from privrobust.spec import RunSpec


def train(spec: RunSpec) -> RunResult:
    """Train one run.

    Raises:
        SpecError: the settings contradict the data or the model.
        PrivRobustError: a gradient broke `grad_norm_bound`.

    """
    warn_of_large_delta(spec)
    result = train_lanes([spec])[0]
    if result.failure:
        raise PrivRobustError(result.failure)
    return result


def lane_shape(spec: RunSpec) -> tuple[object, ...]:
    """What runs must share to train side by side in `train_lanes`."""
    return (
        spec.device,
        spec.dataset,
        spec.model,
        spec.honest,
        spec.batch_size,
        steps_within_budget(spec),
        spec.noise,
        spec.clipping,
        spec.unit,
        spec.worker_sampling_rate,
        spec.evaluate_on,
        spec.evaluate_every,
    )


@in_full_precision()
def train_lanes(
    specs: Sequence[RunSpec], on_step: Callable[[], object] = lambda: None
) -> list[RunResult]:
    """Train runs of equal `lane_shape` side by side; each gets the result it would get alone.

    Args:
        specs: the runs.
        on_step: called after every step, for progress.

    Returns:
        Their results, in the order of `specs`. A run that broke its `grad_norm_bound` has a
        `failure` in place of an accuracy.

    """
    keep_freed_memory()
    places = sorted(range(len(specs)), key=lambda place: _rule_key(specs[place]))
    lanes = [specs[place] for place in places]
    budgets = [spent(spec) for spec in lanes]

    shared = lanes[0]
    steps = steps_within_budget(shared)
    device = resolve_device(shared.device)
    dataset = get_dataset(shared.dataset)
    train = dataset.train.to(device)
    held_out = dataset.held_out(shared.evaluate_on).to(device)
    seeds, seed_of = distinct([spec.seed for spec in lanes], device)
    model, starts = initial_parameters(shared.model, dataset, seeds)
    model, parameters = deepcopy(model).to(device), starts.to(device)[seed_of]
    evaluate = Evaluator(model, held_out)
    clip = Clipping(lanes, model, train.inputs[:EXAMPLES])
    perturb = Perturbation(lanes, parameters.shape[-1], device)
    rules = list(_rules(lanes))
    learning_rate = column(lanes, lambda spec: spec.learning_rate, device)
    momentum = column(lanes, lambda spec: spec.momentum, device)
    velocity = torch.zeros_like(parameters)
    evaluations: dict[int, Evaluation] = {}

    for step, batch in enumerate(_batches(lanes, train, steps), start=1):
        honest = perturb(clip(step, parameters, batch))
        update = torch.cat([rule(honest[rule.lanes]) for rule in rules])
        velocity = velocity.mul_(momentum).add_(update)
        parameters = parameters - learning_rate * velocity
        if step % shared.evaluate_every == 0 or step == steps:
            evaluations[step] = evaluate(parameters)
        on_step()
        if clip.bound.broken_by_all():
            break

    results = {
        place: RunResult(
            spec=lanes[lane],
            spent=budgets[lane],
            history=_history(evaluations, lane),
            steps=steps,
        )
        for lane, place in enumerate(places)
    }
    for lane, failure in clip.bound.failures.items():
        results[places[lane]] = results[places[lane]].ended_by(failure)
    return [results[place] for place in range(len(specs))]


class _Rule(NamedTuple):
    """How neighbouring lanes make an update of honest vectors: message, attack, aggregate."""

    lanes: slice
    aggregator: Aggregator
    attack: Attack | None
    byzantine: int

    def __call__(self, honest: Tensor) -> Tensor:
        messages = honest.sign() if self.aggregator.message == "sign" else honest
        if self.attack is not None:
            messages = torch.cat([messages, self.attack(messages, self.byzantine)], dim=-2)
        return self.aggregator(messages)


def _rule_key(spec: RunSpec) -> tuple[str, str, int]:
    return spec.aggregator, repr(spec.attack), spec.byzantine


def _rules(lanes: Sequence[RunSpec]) -> Iterator[_Rule]:
    """One rule for every stretch of lanes that share it."""
    start = 0
    for _, group in groupby(lanes, key=_rule_key):
        members = list(group)
        spec = members[0]
        stretch = slice(start, start + len(members))
        attack = spec.attack.build() if spec.attack else None
        yield _Rule(
            stretch, get_aggregator(spec.aggregator, spec.byzantine), attack, spec.byzantine
        )
        start = stretch.stop


def _batches(lanes: Sequence[RunSpec], train: Split, steps: int) -> Iterator[Batch]:
    """Every lane's Poisson batches, step by step; lanes of equal seed draw equal ones."""
    shared, device = lanes[0], train.labels.device
    sizes = worker_sizes(len(train), shared.honest)
    seeds, seed_of = distinct([spec.seed for spec in lanes], device)
    deals, deal_of = distinct([(spec.seed, spec.heterogeneity) for spec in lanes], device)
    labels = train.labels.cpu()
    tables = torch.stack([_deal(labels, sizes, *deal) for deal in deals]).to(device)
    streams = [stream(seed, "batches", device) for seed in seeds]
    drawn_by = torch.tensor([seeds.index(seed) for seed, _ in deals], device=device)
    for slots, present in poisson_batches(sizes, shared.batch_size, steps, streams):
        examples = tables.gather(-1, slots[drawn_by])[deal_of]
        yield Batch(train.inputs[examples], train.labels[examples], present[seed_of])


def _deal(labels: Tensor, sizes: list[int], seed: int, heterogeneity: float) -> Tensor:
    """Which training examples each worker holds, `(workers, most)`, padded with 0."""
    table = torch.zeros(len(sizes), max(sizes), dtype=torch.long)
    for row, indices in zip(table, partition(labels, len(sizes), heterogeneity, seed), strict=True):
        row[: len(indices)] = indices
    return table


def _history(evaluations: dict[int, Evaluation], lane: int) -> pd.DataFrame:
    rows = [
        (step, float(evaluation.accuracy[lane]), float(evaluation.loss[lane]))
        for step, evaluation in evaluations.items()
    ]
    return pd.DataFrame(rows, columns=["step", "accuracy", "loss"])
