"""How often attacks with a goal of their own, as backdoors have, get their way."""

from collections.abc import Sequence

import torch
from torch import Tensor

from privrobust.attacks import Attack
from privrobust.data import Dataset, Split
from privrobust.spec import RunSpec
from privrobust.training.evaluation import Evaluator
from privrobust.training.held_out import evaluated_on
from privrobust.training.measures import Success
from privrobust.training.poisoning import examples_of
from privrobust.training.server import Rule


class AttackSuccess:
    """Evaluates each lane's parameters on the examples that its attack aims at, if it has any."""

    def __init__(
        self,
        lanes: Sequence[RunSpec],
        rules: Sequence[Rule],
        dataset: Dataset,
        evaluate: Evaluator,
        device: torch.device,
    ) -> None:
        """Let attacks choose among held-out examples.

        Args:
            lanes: the runs.
            rules: how lanes are grouped.
            dataset: theirs.
            evaluate: the model's.
            device: where parameters are.

        Raises:
            SpecError: as `Attack.aimed_at`.

        """
        held_out = evaluated_on(lanes[0], dataset)
        data = examples_of(dataset, dataset.train)
        lanes_of: dict[Attack, list[int]] = {}
        for rule in rules:
            if attacked := lanes[rule.lanes][0].attack:
                lanes_of.setdefault(attacked.build(), []).extend(
                    range(rule.lanes.start, rule.lanes.stop)
                )
        self._evaluate = evaluate
        self._aimed: list[tuple[Tensor, Split]] = []
        for attack, places in lanes_of.items():
            goal = attack.aimed_at(data, examples_of(dataset, held_out))
            if goal is not None:
                split = Split(goal.inputs, goal.labels, held_out.scaling).to(device)
                self._aimed.append((torch.tensor(places, device=device), split))

    def __call__(self, parameters: Tensor) -> Success:
        """Evaluate parameters `(lanes, dim)`."""
        rates = torch.full((len(parameters),), torch.nan, dtype=torch.float64)
        for places, split in self._aimed:
            rates[places.cpu()] = self._evaluate(parameters[places], split).means.accuracy
        return Success(rates)
