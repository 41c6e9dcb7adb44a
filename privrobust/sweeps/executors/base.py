"""What an executor is, and what all of them do with a batch of runs."""

import gc
import pickle
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Protocol

import torch

from privrobust.accountants.registry import ACCOUNTANTS
from privrobust.aggregators.registry import AGGREGATORS
from privrobust.attacks.registry import ATTACKS
from privrobust.core.registry import Registry
from privrobust.data import Dataset, get_dataset, hand_over
from privrobust.data.partitions import PARTITIONS
from privrobust.errors import PrivRobustError
from privrobust.gradients.losses import LOSSES
from privrobust.models.registry import MODELS
from privrobust.noise.laws import REGISTRY as NOISE_REGISTRY
from privrobust.schedules import SCHEDULES
from privrobust.spec import RunSpec
from privrobust.spec.run_fields import named
from privrobust.training.loop import train_lanes
from privrobust.training.privacy_plan import PrivacyPlan
from privrobust.training.result import RunResult

_REGISTRIES: dict[str, Registry[Any]] = {
    registry.kind: registry
    for registry in (
        ACCOUNTANTS, AGGREGATORS, ATTACKS, LOSSES, MODELS, NOISE_REGISTRY, PARTITIONS, SCHEDULES,
    )
}  # fmt: skip
_names = attrgetter(*named(lambda field: field.names_own))


@dataclass(frozen=True)
class Supplies:
    """What runs need beside their specs, for processes that do not share this one's memory."""

    datasets: Mapping[tuple[str, str | None], Dataset]
    """By name and `data_dir`, as specs have them."""
    registered: Mapping[str, Mapping[str, Any]]
    """What was registered here and these runs name, by kind and name."""

    @classmethod
    def of(cls, runs: Sequence[RunSpec]) -> "Supplies":
        """Collect everything that these runs need."""
        places = dict.fromkeys((run.dataset, run.data_dir) for run in runs)
        datasets = {place: get_dataset(*place) for place in places}
        own = {kind: registry.registered for kind, registry in _REGISTRIES.items()}
        if not any(own.values()):
            return cls(datasets, {})
        said = {str(text) for run in runs for text in _names(run)}
        is_named = {
            name: any(name in text for text in said) for each in own.values() for name in each
        }
        return cls(
            datasets,
            {
                kind: {name: thing for name, thing in things.items() if is_named[name]}
                for kind, things in own.items()
            },
        )

    def install(self) -> None:
        """Install them in this process."""
        hand_over(self.datasets)
        for kind, things in self.registered.items():
            _REGISTRIES[kind].registered.update(things)

    def check(self) -> None:
        """Refuse what cannot travel.

        Raises:
            PrivRobustError: something registered is known to this process alone.

        """
        for kind, things in self.registered.items():
            for name, thing in things.items():
                try:
                    pickle.dumps(thing)
                except Exception as error:  # whatever pickling meets
                    raise PrivRobustError(
                        f"{kind}: {name!r} is known to this process alone ({error}); accepted for "
                        "other processes: what a module defines, or its 'package.module:name'"
                    ) from None


OnProgress = Callable[[float], object]
"""Called with how many runs, mostly a part of one, were trained since the last call."""


@dataclass(frozen=True)
class Outcome:
    """What became of runs that trained side by side: results, or why there are none."""

    specs: Sequence[RunSpec]
    results: Sequence[RunResult] = ()
    seconds: float = 0.0
    """Of all together."""
    reason: str | None = None
    details: str | None = None
    """For developers: a traceback."""


class Executor(Protocol):
    """Where runs are computed."""

    at_once: int
    """Batches that it trains at a time."""

    def run(
        self, batches: Iterable[list[RunSpec]], supplies: Supplies, on_progress: OnProgress
    ) -> Iterator[Outcome]:
        """Train batches, as they come; yield outcomes in any order, one or more a batch.

        Batches are taken one by one when there is room for them: the caller claims a batch as it
        is taken.
        """


def train_batch(specs: Sequence[RunSpec], on_progress: OnProgress) -> Iterator[Outcome]:
    """Train runs side by side; if that fails, halves, so that one run cannot take others with it.

    Memory that does not suffice for all of them often does for half.
    """
    started = time.perf_counter()
    elsewhere: list[Exception] = []  # raised where progress is shown: no run is at fault

    def on_step() -> None:
        try:
            on_progress(share)
        except Exception as error:
            elsewhere.append(error)
            raise

    try:
        share = len(specs) / PrivacyPlan(specs[0]).steps
        results = train_lanes(specs, on_step)
    except Exception as error:  # whatever a user's class raises, or too little memory
        if elsewhere:
            raise elsewhere[0] from None
        reason, details = _one_line(error), traceback.format_exc()
    else:
        yield Outcome(specs, results, time.perf_counter() - started)
        return
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if len(specs) == 1:
        yield Outcome(specs, reason=reason, details=details)
        return
    for half in halves(specs):
        yield from train_batch(half, on_progress)


def halves(specs: Sequence[RunSpec]) -> Iterator[Sequence[RunSpec]]:
    """Split at least two runs into halves."""
    middle = len(specs) // 2
    yield from (specs[:middle], specs[middle:])


def _one_line(error: Exception) -> str:
    """Write an error of ours as it is, another's with its type."""
    text = " ".join(str(error).split())
    return (
        text
        if type(error).__module__.startswith("privrobust")
        else f"{type(error).__name__}: {text}"
    )
