"""Noisy median and sign SGD with clipped per-sample gradients (after Chen et al. 2020).

The loop in `train_lanes` is the algorithm. Many runs that share shapes train as one tensor program:
parameters are `(lanes, dim)`, messages `(lanes, workers, dim)`, and a single run is one lane.
"""

from collections import deque
from collections.abc import Callable, Sequence
from copy import deepcopy

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from privrobust.core.allocator import keep_freed_memory
from privrobust.core.devices import in_full_precision, resolve_device
from privrobust.data import get_dataset
from privrobust.errors import PrivRobustError
from privrobust.gradients.losses import get_loss
from privrobust.models.validation import EXAMPLES, initial_parameters
from privrobust.spec import RunSpec
from privrobust.training.batches import honest_batches
from privrobust.training.evaluation import Evaluator
from privrobust.training.lanes import distinct
from privrobust.training.measures import Evaluation, Measures, measure
from privrobust.training.noise import Perturbation
from privrobust.training.optimizer import Descent
from privrobust.training.privacy import calibrated, spent, steps_within_budget, warn_of_large_delta
from privrobust.training.result import RunResult
from privrobust.training.server import Server, rule_key
from privrobust.training.workers import Clipping, Momentum

Record = tuple[Evaluation, Measures]
"""Of one step."""


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


@in_full_precision()
def train_lanes(
    specs: Sequence[RunSpec], on_step: Callable[[], object] = lambda: None
) -> list[RunResult]:
    """Train runs of equal `lane_shape` side by side; each gets the result it would get alone.

    It draws the same numbers; sums may round otherwise, in the last bits of float32.

    Args:
        specs: the runs.
        on_step: called after every step, for progress.

    Returns:
        Their results, in the order of `specs`, whose own specs are `calibrated`. A run that broke
        its `grad_norm_bound` has a `failure` in place of an accuracy.

    """
    keep_freed_memory()
    places = sorted(range(len(specs)), key=lambda place: rule_key(specs[place]))
    lanes = [calibrated(specs[place]) for place in places]
    budgets = [spent(spec) for spec in lanes]

    shared = lanes[0]
    steps = steps_within_budget(shared)
    device = resolve_device(shared.device)
    dataset = get_dataset(shared.dataset, shared.data_dir)
    train = dataset.train.to(device)
    held_out = dataset.held_out(shared.evaluate_on).to(device)
    seeds, seed_of = distinct([spec.seed for spec in lanes], device)
    model, starts = initial_parameters(shared.model, dataset, seeds)
    model, parameters = deepcopy(model).to(device), starts.to(device)[seed_of]
    evaluate = Evaluator(model, held_out, get_loss(shared.loss))
    clip = Clipping(lanes, model, train.examples(slice(EXAMPLES)))
    perturb = Perturbation(lanes, (shared.honest, parameters.shape[-1]), device)
    remember = Momentum(lanes, device)
    attack_and_aggregate = Server(lanes, model, dataset, train, steps)
    descend = Descent(lanes, parameters, steps)
    update = torch.full_like(parameters, torch.nan)
    records: dict[int, Record] = {}
    last: deque[Tensor] = deque(maxlen=max(spec.final_evaluations for spec in lanes))

    for step, batch in enumerate(honest_batches(lanes, dataset, train, steps), start=1):
        honest = remember(perturb(clip(step, parameters, batch)))
        previous = update
        update, messages = attack_and_aggregate(honest, parameters)
        parameters = descend(step, parameters, update)
        if step % shared.evaluate_every == 0 or step == steps:
            means, correct = evaluate(parameters)
            records[step] = means, measure(messages, update, previous)
            last.append(correct)
        on_step()
        if clip.bound.broken_by_all():
            break

    results = {
        place: RunResult(
            spec=lanes[lane],
            spent=budgets[lane],
            history=_history(records, lane),
            correct=_shares(list(last), lane, lanes[lane].final_evaluations, len(held_out)),
            steps=steps,
        )
        for lane, place in enumerate(places)
    }
    for lane, failure in clip.bound.failures.items():
        results[places[lane]] = results[places[lane]].ended_by(failure)
    return [results[place] for place in range(len(specs))]


def _history(records: dict[int, Record], lane: int) -> pd.DataFrame:
    columns = ["step", *Evaluation._fields, *Measures._fields]
    rows = [
        (step, *(float(column[lane]) for part in parts for column in part))
        for step, parts in records.items()
    ]
    # also where there are no rows to tell
    kinds = {name: float if name != "step" else int for name in columns}
    return pd.DataFrame(rows, columns=columns).astype(kinds)


def _shares(last: list[Tensor], lane: int, evaluations: int, examples: int) -> np.ndarray:
    """Of the last evaluations, how many found each example's class, `(examples,)`."""
    if not last:  # ended before the first
        return np.full(examples, np.nan)
    shares: np.ndarray = np.mean([found[lane].numpy() for found in last[-evaluations:]], axis=0)
    return shares
