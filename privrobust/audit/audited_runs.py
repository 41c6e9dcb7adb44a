"""Runs with canaries, trained as any others, and what observers see of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from operator import attrgetter

import numpy as np
import torch
from torch import Tensor

from privrobust.aggregators import get_aggregator
from privrobust.audit.beside import Beside
from privrobust.audit.canaries import Canary, ExampleCanary
from privrobust.audit.effects import Coordinates, Effects
from privrobust.audit.helpers import mimic
from privrobust.audit.pilot import NUMBERS, Finding, Pilot
from privrobust.audit.planting import PlantedExamples, PlantedGradients, Planting, Slots
from privrobust.audit.trials import Law, Trials
from privrobust.audit.watching import Observation, Observer
from privrobust.data import get_dataset
from privrobust.errors import SpecError
from privrobust.gradients.clipping import GradientSum
from privrobust.gradients.layout import Layout
from privrobust.models.validation import initial_parameters
from privrobust.noise import NoiseLaw, get_noise_law
from privrobust.spec import RunSpec
from privrobust.sweeps.packing import lanes_like
from privrobust.training.loop import train_lanes
from privrobust.training.privacy_plan import PrivacyPlan
from privrobust.training.shares import shares

_VECTORS = 1 << 23  # numbers of the directions of all lanes
_rate = attrgetter("sampling_rate")
_PILOT, _PILOT_STEPS = 0.2, 20
"""Of the trials, how many runs a pilot has at most, and of what length."""
_LEAST_PILOT = 4
_MOST_REFUSED = 10_000  # seeds of shares that are too small


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is the same for all cells of a table."""

    helpers: int
    runs: int
    per_run: int
    opposed: bool
    seed: int
    on_step: Callable[[float], object]


class AuditedRuns:
    """Runs like one, with one kind of canary."""

    def __init__(self, spec: RunSpec, kind: Canary, asked: Asked) -> None:
        """Prepare to train.

        Raises:
            SpecError: the run cannot have such canaries, or so many.

        """
        if asked.per_run > 1 and kind.is_alone:
            raise SpecError(f"per_run: {asked.per_run} canaries {kind.name}; accepted: 1")
        if spec.unit == "worker" and isinstance(kind, ExampleCanary):
            raise SpecError(
                f"canaries: {kind.name} with unit: worker; accepted: gradients, as a worker's "
                "whole vector is protected"
            )
        if spec.local_steps > 1:
            raise SpecError(
                f"local_steps: {spec.local_steps} in an audit; accepted: 1, as canaries are "
                "followed from one gradient to one message"
            )
        plan = PrivacyPlan(spec)
        update = {
            "noise_scale": plan.spec.noise_scale,
            "target_epsilon": None,
            "max_epsilon": None,
            "steps": plan.steps,
            "evaluate_every": plan.steps,
            "device": "cpu",
        }
        if asked.helpers:
            update |= {"byzantine": asked.helpers, "attack": "sign_flip"}
        self.given, self.kind, self.asked = spec, kind, asked
        self._spec = spec.model_copy(update=update)
        self._generator = torch.Generator()
        self._directions: Effects | None = None
        self._beside: Beside | None = None
        self._finding: Finding | None = None
        self.counterexample: str | None = None
        """An example that moves more than it may, once runs have trained."""
        dataset = get_dataset(spec.dataset, spec.data_dir)
        _, parameters = initial_parameters(spec.model, dataset, seeds=(0,))
        self._dataset, self._dim = dataset, parameters.shape[-1]
        if asked.per_run > self._dim:
            raise SpecError(
                f"per_run: {asked.per_run} canaries; accepted: at most {self._dim}, the model's "
                "parameters"
            )
        self.release = max(PrivacyPlan(self._spec).releases, key=_rate)
        """What spends most of all that is trained: shares are dealt anew for each run."""
        if asked.opposed:
            replace(
                self.release, adjacency="replace-one"
            )  # refuses schemes that have no such bound

    def drawn(self, purpose: str) -> np.random.Generator:
        """Return a stream of its own: what one observer is shown does not depend on the others."""
        named = f"{self.given.model_copy(update={'seed': 0}).key} {self.kind.name} {purpose}"
        return np.random.default_rng([self.asked.seed, *named.encode()])

    def trials(self, observers: Sequence[Observer]) -> Iterator[tuple[Observer, Trials]]:
        """Train, and yield what each observer saw."""
        # Signs that change by chance show noise that steps share, or that is negated. What remains
        # in the last model is their sum, so that its observer is given runs without.
        of_steps = [observer for observer in observers if observer != "model"]
        self._look_ahead()
        seen: dict[Observer, Trials] = {}
        for group, is_signed in ((of_steps, True), (["model"], False)):
            looking = [observer for observer in observers if observer in group]
            if looking:
                seen |= self._train(looking, is_signed)
        self._finding = None  # which holds noise
        yield from ((observer, seen[observer]) for observer in observers)

    def _look_ahead(self) -> None:
        """Look at runs without canaries: for where noise is least, and for a counterexample."""
        asked, rng = self.asked, self.drawn("pilot")
        steps, runs = 1, 1
        if self.kind.name == "coordinate":
            steps = min(self._spec.steps, _PILOT_STEPS)
            of_run = steps * self._spec.honest * self._dim
            wanted = min(NUMBERS // of_run, 3 * self._dim // (steps * self._spec.honest) + 1)
            most = max(_LEAST_PILOT, round(_PILOT * asked.runs * asked.per_run))
            runs = min(max(_LEAST_PILOT, wanted), most)
        spec = self._spec.model_copy(update={"steps": steps, "evaluate_every": steps})
        pilot = Pilot(self.release.contribution)
        seeds, lanes = list(islice(self._seeds(rng), runs)), lanes_like(spec)
        for start in range(0, runs, lanes):
            of_lanes = seeds[start : start + lanes]
            batch = [spec.model_copy(update={"seed": seed}) for seed in of_lanes]
            pilot.begin(batch)
            train_lanes(batch, watch=pilot)
            pilot.end()
        self.counterexample = pilot.counterexample
        if self.kind.name == "coordinate":
            self._finding = pilot.finding(torch.Generator().manual_seed(int(rng.integers(2**63))))

    def _train(self, observers: list[Observer], is_signed: bool) -> dict[Observer, Trials]:
        asked, spec = self.asked, self._spec
        rng = self.drawn("runs with signs" if is_signed else "runs")
        self._generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        self._directions = self._beside = None
        ties = rng.permuted(np.tile(np.arange(spec.honest), (asked.runs, 1)), axis=1)
        included = rng.random((asked.runs, asked.per_run)) < 0.5
        seeds = list(islice(self._seeds(rng), asked.runs))
        lanes = lanes_like(spec)
        if self.kind.name != "coordinate":
            lanes = max(1, min(lanes, _VECTORS // (asked.per_run * self._dim)))
        parts: dict[Observer, list[Trials]] = {observer: [] for observer in observers}
        for start in range(0, asked.runs, lanes):
            at = slice(start, start + lanes)
            runs = [spec.model_copy(update={"seed": seed}) for seed in seeds[at]]
            for observer, trials in self._watch(runs, included[at], ties[at], observers, is_signed):
                parts[observer].append(trials)
        return {observer: Trials.joined(each) for observer, each in parts.items()}

    def _watch(
        self,
        runs: list[RunSpec],
        included: np.ndarray,
        ties: np.ndarray,
        observers: list[Observer],
        is_signed: bool,
    ) -> Iterator[tuple[Observer, Trials]]:
        """Train runs side by side, and yield what each observer saw."""
        slots, rates = self._slots(runs, included, ties)
        planted = partial(self._planted, slots, runs, is_signed)
        helpers = self.asked.helpers
        observation = Observation(
            runs,
            observers,
            slots.workers,
            planted,
            partial(mimic, byzantine=helpers) if helpers else None,
            self._tells,
        )
        train_lanes(runs, partial(self.asked.on_step, len(runs) / runs[0].steps), observation)
        for observer in observers:
            values, amplitudes = observation.seen_by(observer)
            has_parts = observer == "messages"
            parts = slots.workers.flatten().numpy() if has_parts else np.zeros(included.size, int)
            b, law = self._law() if has_parts else (0.0, "gaussian")
            yield (
                observer,
                Trials.of(
                    values,
                    parts=parts,
                    amplitudes=amplitudes,
                    included=included.ravel(),
                    rates=np.ones(included.size) if observer == "model" else rates,
                    opposed=self.asked.opposed,
                    noise_scale=b,
                    law=law,
                    per_run=self.asked.per_run,
                    beside=observation.beside() if has_parts else None,
                    echoes=observation.echoes(self.asked.opposed) if has_parts else None,
                ),
            )

    def _planted(
        self,
        slots: Slots,
        runs: list[RunSpec],
        is_signed: bool,
        gradients: GradientSum,
        layout: Layout,
    ) -> Planting:
        kind, dataset = self.kind, self._dataset
        if isinstance(kind, ExampleCanary):
            return PlantedExamples(gradients, slots, dataset, kind, self._generator)
        signs = self._generator if is_signed else None
        return PlantedGradients(
            gradients, slots, len(dataset.train), runs, layout, kind, self._chosen, signs
        )

    def _chosen(self, quiet: Tensor) -> Effects:
        """Choose directions once, for all runs: noise that runs share is to show."""
        assert not isinstance(self.kind, ExampleCanary)
        if self._directions is None:
            order, found = get_noise_law(self._spec.noise).order, self._finding
            if found is not None:
                quiet = found.quieter(quiet)
            self._directions = self.kind.directions(
                quiet, self.asked.per_run, order, self._generator
            )
        return self._directions

    def _tells(self) -> Beside:
        """Return what tells of the noise on the canary, once its coordinate is chosen."""
        if self._beside is None:
            self._beside = Beside()
            if self._finding is not None and self.asked.per_run == 1:
                assert isinstance(self._directions, Coordinates)
                self._beside = self._finding.beside(int(self._directions.places))
        return self._beside

    def _seeds(self, rng: np.random.Generator) -> Iterator[int]:
        """Draw seeds of runs; one that deals shares that are too small is drawn again."""
        refused = 0
        while True:
            seed = int(rng.integers(2**63))
            try:
                _ = PrivacyPlan(self._spec.model_copy(update={"seed": seed})).releases
            except SpecError:
                refused += 1
                if refused > _MOST_REFUSED:
                    raise
                continue
            yield seed

    def _slots(
        self, runs: list[RunSpec], included: np.ndarray, ties: np.ndarray
    ) -> tuple[Slots, np.ndarray]:
        """Choose where canaries are: with one of those who spend most, and others if it is full."""
        workers, examples, rates = [], [], []
        is_hidden = [False] * runs[0].honest
        if self._finding is not None:
            is_hidden = (~self._finding.workers()).tolist()
        for run, order in zip(runs, ties.tolist(), strict=True):
            releases = PrivacyPlan(run).releases
            held = shares(run)
            most = 1 if run.unit == "worker" else self.asked.per_run
            rates_of = [_rate(release) for release in releases]
            about = 0.98 * max(rates_of)  # above it, who holds a canary is drawn
            worth = [
                (-min(rate, about), hidden)
                for rate, hidden in zip(rates_of, is_hidden, strict=True)
            ]
            first = sorted(order, key=worth.__getitem__)
            places = [(each, place) for each in first for place in held[each][:most].tolist()]
            if len(places) < self.asked.per_run:
                raise SpecError(
                    f"per_run: {self.asked.per_run} canaries; accepted: at most {len(places)}, "
                    f"one for each {run.unit}"
                )
            taken = places[: self.asked.per_run]
            workers.append([worker for worker, _ in taken])
            examples.append([place for _, place in taken])
            rates += [float(releases[worker].sampling_rate) for worker, _ in taken]
            self.release = max(self.release, *releases, key=_rate)
        out = -1.0 if self.asked.opposed else 0.0
        weights = torch.from_numpy(np.where(included, 1.0, out))
        return Slots(torch.tensor(workers), torch.tensor(examples), weights), np.array(rates)

    def _law(self) -> tuple[float, Law]:
        """Return what is claimed of the noise along a canary in a message, or 0 and any."""
        spec = self._spec
        is_coordinate = self.kind.name == "coordinate"
        if isinstance(get_noise_law(spec.noise), NoiseLaw):
            return 0.0, "gaussian"
        if get_aggregator(spec.aggregator, spec.byzantine).message == "sign":
            is_known = is_coordinate and not spec.worker_momentum and spec.noise == "gaussian"
            is_known = is_known and not spec.pairwise_noise
            return (spec.noise_scale if is_known else 0.0), "sign"
        if spec.noise == "gaussian":
            # with that of pairs, as if it were the worker's own: other scores look at all workers
            return spec.noise_std, "gaussian"
        if is_coordinate:
            return spec.noise_scale, "laplace" if spec.noise == "laplace" else "logistic"
        return spec.noise_std, "gaussian"  # about
