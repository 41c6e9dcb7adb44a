"""The Byzantine workers: what they see of a step, and what they send."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from privrobust.attacks import Attack, Setting
from privrobust.core.random import stream
from privrobust.data import Dataset, Split
from privrobust.gradients.batch import Batch
from privrobust.gradients.clipping import GradientSum
from privrobust.gradients.layout import Layout
from privrobust.training.batches import byzantine_batches
from privrobust.training.local_steps import LocalSteps
from privrobust.training.messages import signs_
from privrobust.training.noise import Perturbation, known_noise, noise_std
from privrobust.training.poisoning import PoisonedData
from privrobust.training.privacy_plan import PrivacyPlan
from privrobust.training.server import Rule
from privrobust.training.workers import Clipping, Momentum


class ByzantineWorkers:
    """Those of all lanes; the f of one lane collude."""

    def __init__(
        self,
        plans: Sequence[PrivacyPlan],
        rules: Sequence[Rule],
        gradients: GradientSum,
        layout: Layout,
        dataset: Dataset,
        train: Split,
    ) -> None:
        self._rules = rules
        lanes = [plan.spec for plan in plans]
        named = [lanes[rule.lanes][0].attack for rule in rules]
        attacks = [None if attack is None else attack.build() for attack in named]
        poisoned = PoisonedData(lanes, rules, attacks, dataset, train)
        self._crews = [
            None
            if attack is None
            else _Crew(plans[rule.lanes], attack, rule, gradients, layout, dataset, train, poisoned)
            for rule, attack in zip(rules, attacks, strict=True)
        ]

    def __call__(self, honest: Tensor, parameters: Tensor) -> list[Tensor]:
        """Craft the messages of each rule's lanes, `(its lanes, f, dim)`.

        Args:
            honest: messages of this step, `(lanes, honest, dim)`.
            parameters: `(lanes, dim)`, which everybody knows.

        """
        none = honest[:, :0]
        return [
            none[rule.lanes] if crew is None else crew(honest, parameters)
            for rule, crew in zip(self._rules, self._crews, strict=True)
        ]


class _Crew:
    """The colluding workers of lanes that share a rule, and with it the attack and f."""

    def __init__(
        self,
        plans: Sequence[PrivacyPlan],
        attack: Attack,
        rule: Rule,
        gradients: GradientSum,
        layout: Layout,
        dataset: Dataset,
        train: Split,
        poisoned: PoisonedData,
    ) -> None:
        lanes, device = [plan.spec for plan in plans], train.labels.device
        self._rule = rule
        self._attack = attack
        self._streams = [stream(spec.stream_seed, "attack", device) for spec in lanes]
        seen_std, known = noise_std(lanes, device), known_noise(lanes, device)
        setting = Setting(rule.aggregator, seen_std, known)
        if rule.aggregator.message == "sign" and attack.sees != "own":
            # they see signs, of which it is not the spread
            setting = Setting(rule.aggregator, torch.zeros_like(seen_std))
        self._craft = attack.started(setting)
        if attack.sees == "own":
            poison = partial(poisoned, lanes=rule.lanes)
            self._own = _Protocol(plans, poison, gradients, layout, dataset, train)

    def __call__(self, honest: Tensor, parameters: Tensor) -> Tensor:
        rule = self._rule
        seen = honest[rule.lanes]
        if self._attack.sees == "own":
            seen = self._own(parameters[rule.lanes])
        elif self._attack.sees == "nothing":
            seen = seen.new_zeros(()).expand_as(seen)
        sent = self._attack.carry_out(self._craft, seen, rule.byzantine, self._streams)
        return signs_(sent.clone()) if rule.aggregator.message == "sign" else sent


class _Protocol:
    """The honest protocol, followed on data and noise of their own: steps 1 to 4 of the loop."""

    def __init__(
        self,
        plans: Sequence[PrivacyPlan],
        poison: Callable[[Batch], Batch],
        gradients: GradientSum,
        layout: Layout,
        dataset: Dataset,
        train: Split,
    ) -> None:
        lanes, device = [plan.spec for plan in plans], train.labels.device
        rounds, shape = plans[0].steps, (lanes[0].byzantine, layout.dim)
        batches = byzantine_batches(lanes, dataset, train, rounds * lanes[0].local_steps)
        clip = Clipping(lanes, gradients, layout, device, owner="byzantine ")
        perturb = Perturbation(plans, shape, device, owner="byzantine ")
        self._work = LocalSteps(lanes, rounds, map(poison, batches), clip, perturb, device)
        self._remember = Momentum(lanes, device)

    def __call__(self, parameters: Tensor) -> Tensor:
        """Compute what these workers would send, `(lanes, f, dim)`, from `(lanes, dim)`."""
        return self._remember(self._work(parameters).vectors)
