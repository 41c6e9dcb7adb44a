"""The server's own gradients, of public examples, for rules that want one."""

from collections.abc import Sequence
from itertools import repeat

import torch
from pydantic import BaseModel
from torch import Tensor

from privrobust.core.random import stream
from privrobust.data import Dataset, Split
from privrobust.gradients.batch import Batch
from privrobust.gradients.clipping import GradientSum
from privrobust.gradients.layout import Layout
from privrobust.spec import RunSpec
from privrobust.training.held_out import public_pool, refuse_too_many
from privrobust.training.local_steps import LocalSteps
from privrobust.training.server import Rule
from privrobust.training.workers import Clipping


class PublicGradients:
    """Computes for every lane whose rule wants it the gradient of the server's examples.

    They are drawn once a run from the validation split, or where results are of that split from
    one half of it (`public_pool`); no worker holds them and no epsilon protects them. Each gradient
    is clipped as a worker's are, and averaged over all of them; no noise is added. The server takes
    as many local steps as a worker, each with all of its examples (Cao et al. 2021 take them with
    batches).
    """

    def __init__(
        self,
        lanes: Sequence[RunSpec],
        rounds: int,
        rules: Sequence[Rule],
        gradients: GradientSum,
        layout: Layout,
        dataset: Dataset,
        device: torch.device,
    ) -> None:
        """Draw the examples, for so many rounds.

        Raises:
            SpecError: a rule wants more than there are.

        """
        for rule in rules:
            refuse_too_many(lanes[rule.lanes][0], dataset)
        held = public_pool(lanes[0], dataset).to(device)  # lanes are evaluated alike
        self._of_rules = [
            _Examples(lanes[rule.lanes], rounds, many, gradients, layout, held)
            if (many := rule.aggregator.public_examples)
            else None
            for rule in rules
        ]
        self._lanes = [rule.lanes for rule in rules]

    def __call__(self, parameters: Tensor) -> list[Tensor | None]:
        """Return each rule's, `(its lanes, dim)`, at parameters `(lanes, dim)`."""
        return [
            None if examples is None else examples(parameters[lanes])
            for examples, lanes in zip(self._of_rules, self._lanes, strict=True)
        ]


class _Examples:
    """Those of lanes that share a rule."""

    def __init__(
        self,
        lanes: Sequence[RunSpec],
        rounds: int,
        many: int,
        gradients: GradientSum,
        layout: Layout,
        split: Split,
    ) -> None:
        drawn = [
            torch.randperm(len(split), generator=stream(spec.stream_seed, "public examples"))[:many]
            for spec in lanes
        ]
        device = split.labels.device
        places = torch.stack(drawn).unsqueeze(1).to(device)
        present = torch.ones_like(places, dtype=torch.bool)
        batch = Batch(split.examples, places, split.labels[places], present)
        # one worker, who takes part in every step and averages over all that it holds
        one = {"batch_size": float(many), "worker_sampling_rate": 1.0}
        alike = [BaseModel.model_copy(spec, update=one) for spec in lanes]
        clip = Clipping(alike, gradients, layout, device)
        self._work = LocalSteps(alike, rounds, repeat(batch), clip, _as_it_is, device)

    def __call__(self, parameters: Tensor) -> Tensor:
        return self._work(parameters).vectors.squeeze(1).to(parameters.dtype)


def _as_it_is(vectors: Tensor, into: Tensor | None) -> Tensor:
    """Add no noise: public examples need none."""
    return vectors
