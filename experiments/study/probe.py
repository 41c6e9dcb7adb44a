"""The honest gradients along a run, before noise: what a store does not keep."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from privrobust import RunSpec
from privrobust.core.plugins import without_plugins
from privrobust.data import get_dataset
from privrobust.gradients.clipped_sums import gradient_sum
from privrobust.gradients.clipping import Flat
from privrobust.gradients.layout import Layout
from privrobust.gradients.losses import get_loss
from privrobust.models.validation import EXAMPLES, initial_parameters
from privrobust.training.batches import honest_batches


class Gradients(NamedTuple):
    """Of one step of one run."""

    step: int
    clipped: Tensor
    """Averages over B, `(limits, workers, dim)`."""
    whole: Tensor
    """The same of unclipped gradients, `(workers, dim)`."""
    norms: Tensor
    """Of each example's whole gradient, `(examples,)`."""


def specs(runs: pd.DataFrame) -> list[RunSpec]:
    """Of a store's rows; what they name is built in."""
    rows: list[dict[Any, Any]] = runs[list(RunSpec.model_fields)].to_dict("records")
    given = [
        {name: None if pd.isna(value) else value for name, value in row.items()} for row in rows
    ]
    with without_plugins():
        return [RunSpec.restored(each) for each in given]


def gradients(spec: RunSpec, limits: Sequence[float], every: int) -> Iterator[Gradients]:
    """Train a run by plain averages of unclipped gradients, without noise, and look at them.

    So all limits see the same gradients, at the parameters of one trainer who needs no protection.

    Args:
        spec: the data, the model, B, T, the learning rate and the seed.
        limits: values of C.
        every: steps between looks; the first is step 1.

    """
    dataset = get_dataset(spec.dataset, spec.data_dir)
    model, parameters = initial_parameters(spec.model, dataset, (spec.seed,))
    examples = dataset.train.examples(slice(EXAMPLES))
    clipped_sums = gradient_sum(model, Layout(model), examples, Flat(), get_loss(spec.loss))
    for step, batch in enumerate(honest_batches([spec], dataset, dataset.train, spec.steps), 1):
        looks = [clipped_sums(parameters, batch, torch.tensor([c])) for c in (*limits, torch.inf)]
        averages = (torch.cat([look.sums for look in looks]) / spec.batch_size).float()
        if step % every == 1:
            yield Gradients(step, averages[:-1], averages[-1], looks[-1].norms[batch.present])
        parameters = parameters - spec.learning_rate * averages[-1].mean(0)
