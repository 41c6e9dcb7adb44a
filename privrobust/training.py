"""Noisy median and sign SGD with clipped per-sample gradients (after Chen et al. 2020).

The loop in `train_lanes` is the algorithm. Many runs that share shapes train as one tensor program:
parameters are `(lanes, dim)`, messages `(lanes, workers, dim)`, and a single run is one lane.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple, TypeVar

import pandas as pd
import torch
from torch import Tensor

from privrobust.aggregators import Aggregator, get_aggregator
from privrobust.attacks import Attack
from privrobust.clipping import Batch, clip_vectors, gradient_sum
from privrobust.data import Dataset, get_dataset, partition, worker_sizes
from privrobust.errors import PrivRobustError
from privrobust.metrics import Evaluation, RunResult, evaluate
from privrobust.models import build_model, flat_parameters
from privrobust.perturbation import NOISE_LAWS
from privrobust.privacy import spent, steps_within_budget
from privrobust.sampling import poisson_batches, stream
from privrobust.spec import RunSpec

T = TypeVar("T")

# Relative slack when norms are held against a proven bound: float32 rounding, not the gradient.
_BOUND_SLACK = 1e-5


def train(spec: RunSpec) -> RunResult:
    """Train one run.

    Raises:
        SpecError: the settings contradict the data or the model.
        PrivRobustError: a gradient broke `grad_norm_bound`.

    """
    result = train_lanes([spec])[0]
    if result.failure:
        raise PrivRobustError(result.failure)
    return result


def lane_shape(spec: RunSpec) -> tuple[object, ...]:
    """What runs must share to train side by side in `train_lanes`."""
    return (
        spec.dataset,
        spec.model,
        spec.honest,
        spec.batch_size,
        steps_within_budget(spec),
        spec.noise,
        spec.unit,
        spec.worker_sampling_rate,
        spec.evaluate_on,
        spec.evaluate_every,
    )


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
    places = sorted(range(len(specs)), key=lambda index: _rule_name(specs[index]))
    lanes = [specs[place] for place in places]
    budgets = [spent(spec) for spec in lanes]

    shared = lanes[0]
    dataset = get_dataset(shared.dataset)
    models = {
        spec.seed: build_model(spec.model, dataset.features, dataset.classes, spec.seed)
        for spec in lanes
    }
    model = models[shared.seed]
    order = 1 if shared.noise == "laplace" else 2
    gradients = gradient_sum(model, dataset.train.inputs[0], order)
    steps = steps_within_budget(shared)
    batches = _batches(lanes, dataset, steps)
    participation = _Participation(lanes)
    noise = _Noise(lanes)
    bound = _Bound(lanes)
    rules = list(_rules(lanes))
    held_out = dataset.held_out(shared.evaluate_on)

    clip_norms = _column(lanes, lambda spec: spec.clip_norm or torch.inf).flatten()
    unclipped = torch.full_like(clip_norms, torch.inf)
    example_clip_norms = clip_norms if shared.unit == "example" else unclipped
    learning_rate = _column(lanes, lambda spec: spec.learning_rate)
    momentum = _column(lanes, lambda spec: spec.momentum)
    parameters = torch.stack([flat_parameters(models[spec.seed]) for spec in lanes])
    velocity = torch.zeros_like(parameters)
    evaluations: dict[int, Evaluation] = {}

    for step, batch in enumerate(batches, start=1):
        vectors, norms = gradients(parameters, batch, example_clip_norms)
        vectors /= shared.batch_size
        if shared.unit == "worker":
            vectors, norms = clip_vectors(vectors, clip_norms, order)
            vectors = participation.draw(vectors)
        bound.check(step, norms)
        honest = noise.perturb(vectors)
        update = torch.cat([rule(honest[rule.lanes]) for rule in rules])
        velocity = velocity.mul_(momentum).add_(update)
        parameters -= learning_rate * velocity
        if step % shared.evaluate_every == 0 or step == steps:
            evaluations[step] = evaluate(model, parameters, held_out)
        on_step()
        if bound.broken_by_all():
            break

    results: list[RunResult] = [None] * len(lanes)  # type: ignore[list-item]
    for lane, place in enumerate(places):
        history = _history(evaluations, lane)
        failure = bound.failures.get(lane)
        results[place] = RunResult(lanes[lane], budgets[lane], history, steps, failure)
    return results


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


def _rule_name(spec: RunSpec) -> tuple[str, str, int]:
    return spec.aggregator, str(spec.attack), spec.byzantine


def _rules(lanes: Sequence[RunSpec]) -> Iterator[_Rule]:
    """One rule for every stretch of lanes that share it."""
    start = 0
    for _, group in groupby(lanes, key=_rule_name):
        members = list(group)
        spec = members[0]
        stretch = slice(start, start + len(members))
        attack = spec.attack.build() if spec.attack else None
        yield _Rule(stretch, get_aggregator(spec.aggregator), attack, spec.byzantine)
        start = stretch.stop


def _batches(lanes: Sequence[RunSpec], dataset: Dataset, steps: int) -> Iterator[Batch]:
    """Every lane's Poisson batches, step by step; lanes of equal seed draw equal ones."""
    shared, train = lanes[0], dataset.train
    sizes = worker_sizes(len(train), shared.honest)
    seeds, seed_of = _distinct([spec.seed for spec in lanes])
    deals, deal_of = _distinct([(spec.seed, spec.heterogeneity) for spec in lanes])
    tables = torch.stack([_deal(train.labels, sizes, *deal) for deal in deals])
    streams = [stream(seed, "batches") for seed in seeds]
    drawn_by = torch.tensor([seeds.index(seed) for seed, _ in deals])
    for slots, present in poisson_batches(sizes, shared.batch_size, steps, streams):
        examples = tables.gather(-1, slots[drawn_by])
        yield Batch(
            train.inputs[examples][deal_of], train.labels[examples][deal_of], present[seed_of]
        )


def _deal(labels: Tensor, sizes: list[int], seed: int, heterogeneity: float) -> Tensor:
    """Which training examples each worker holds, `(workers, most)`, padded with 0."""
    table = torch.zeros(len(sizes), max(sizes), dtype=torch.long)
    for row, indices in zip(table, partition(labels, len(sizes), heterogeneity, seed), strict=True):
        row[: len(indices)] = indices
    return table


class _Participation:
    """Which honest workers take part in a step; one that sits out still sends pure noise."""

    def __init__(self, lanes: Sequence[RunSpec]) -> None:
        seeds, self._seed_of = _distinct([spec.seed for spec in lanes])
        self._streams = [stream(seed, "participation") for seed in seeds]
        self._rate = lanes[0].worker_sampling_rate

    def draw(self, vectors: Tensor) -> Tensor:
        """Zero the vectors `(lanes, honest, dim)` of those that sit out."""
        if self._rate == 1:
            return vectors
        draws = [
            torch.rand(vectors.shape[1], dtype=torch.float64, generator=stream) < self._rate
            for stream in self._streams
        ]
        return vectors * torch.stack(draws)[self._seed_of].unsqueeze(-1)


class _Noise:
    """The noise of every honest worker: b times a draw of the run's own stream."""

    def __init__(self, lanes: Sequence[RunSpec]) -> None:
        self._law = NOISE_LAWS[lanes[0].noise]
        seeds, self._seed_of = _distinct([spec.seed for spec in lanes])
        self._streams = [stream(seed, "noise") for seed in seeds]
        self._scales = _column(lanes, lambda spec: spec.noise_scale).unsqueeze(-1)

    def perturb(self, averages: Tensor) -> Tensor:
        """Add `b * xi` to averaged gradients `(lanes, honest, dim)`, in place."""
        if not bool(self._scales.any()):
            return averages
        draws = torch.stack([self._law(averages.shape[1:], stream) for stream in self._streams])
        return averages.add_(draws[self._seed_of].mul_(self._scales))


class _Bound:
    """Holds every unit's gradient against the bound that a run claims for it."""

    def __init__(self, lanes: Sequence[RunSpec]) -> None:
        self.failures: dict[int, str] = {}
        self._claimed = {
            lane: spec.grad_norm_bound
            for lane, spec in enumerate(lanes)
            if spec.grad_norm_bound is not None
        }
        self._lanes = len(lanes)

    def check(self, step: int, norms: Tensor) -> None:
        """Record the first violation of each lane; norms are `(lanes, honest, pad)`."""
        for lane, bound in self._claimed.items():
            worst = norms[lane].amax(-1)  # NaN, which keeps no bound, is the largest to amax
            if lane not in self.failures and not bool((worst <= bound * (1 + _BOUND_SLACK)).all()):
                worker = int(worst.argmax())
                self.failures[lane] = (
                    f"grad_norm_bound: at step {step}, honest worker {worker} has a gradient of "
                    f"norm {float(worst[worker]):.6g}, above the bound {bound:g}; the run is ended"
                )

    def broken_by_all(self) -> bool:
        """Whether no lane is left to train."""
        return len(self.failures) == self._lanes


def _distinct(values: list[T]) -> tuple[list[T], Tensor]:
    """The distinct values, and for every value its place among them."""
    distinct = list(dict.fromkeys(values))
    return distinct, torch.tensor([distinct.index(value) for value in values])


def _column(lanes: Sequence[RunSpec], setting: Callable[[RunSpec], float]) -> Tensor:
    """A setting of every lane, `(lanes, 1)`."""
    return torch.tensor([setting(spec) for spec in lanes], dtype=torch.float32).unsqueeze(-1)


def _history(evaluations: dict[int, Evaluation], lane: int) -> pd.DataFrame:
    rows = [
        (step, float(evaluation.accuracy[lane]), float(evaluation.loss[lane]))
        for step, evaluation in evaluations.items()
    ]
    return pd.DataFrame(rows, columns=["step", "accuracy", "loss"])
