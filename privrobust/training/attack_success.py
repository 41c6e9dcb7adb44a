"""How often attacks with a goal of their own, as backdoors have, get their way."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from privrobust.attacks import Attack
from privrobust.data import Dataset, Split
from privrobust.spec import RunSpec
from privrobust.training.evaluation import Evaluator
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
        evaluator: Callable[[Split], Evaluator],
        device: torch.device,
    ) -> None:
        """Let attacks choose among held-out examples.

        Args:
            lanes: the runs.
            rules: how lanes are grouped.
            dataset: theirs.
            evaluator: makes an evaluator of a split on that device.
            device: where parameters are.

        Raises:
            SpecError: as `Attack.aimed_at`.

        """
        held_out = dataset.held_out(lanes[0].evaluate_on)
        data = examples_of(dataset, dataset.train)
        lanes_of: dict[Attack, list[int]] = {}
        for rule in rules:
            if attacked := lanes[rule.lanes][0].attack:
                lanes_of.setdefault(attacked.build(), []).extend(
                    range(rule.lanes.start, rule.lanes.stop)
                )
        self._aimed: list[tuple[Tensor, Evaluator]] = []
        for attack, places in lanes_of.items():
            goal = attack.aimed_at(data, examples_of(dataset, held_out))
            if goal is not None:
                split = Split(goal.inputs, goal.labels, held_out.scaling).to(device)
                self._aimed.append((torch.tensor(places, device=device), evaluator(split)))

    def __call__(self, parameters: Tensor) -> Success:
        """Evaluate parameters `(lanes, dim)`."""
        rates = torch.full((len(parameters),), torch.nan, dtype=torch.float64)
        for places, evaluate in self._aimed:
            rates[places.cpu()] = evaluate(parameters[places]).means.accuracy
        return Success(rates)
