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
from torch import nn

from privrobust.data import Dataset, get_dataset, hand_over
from privrobust.data.registry import DATASETS
from privrobust.errors import PrivRobustError, in_a_line, root
from privrobust.gradients.layer_rules import OWN_RULES, LayerRule
from privrobust.spec import RunSpec
from privrobust.spec.registries import REGISTRIES
from privrobust.spec.run_fields import named
from privrobust.training.loop import train_lanes
from privrobust.training.privacy_plan import PrivacyPlan
from privrobust.training.result import RunResult

_names = attrgetter(*named(lambda field: field.names_own))


@dataclass(frozen=True)
class Supplies:
    """What runs need beside their specs, for processes that do not share this one's memory."""

    datasets: Mapping[tuple[str, str | None], Dataset]
    """By name and `data_dir`, as specs have them."""
    registered: Mapping[str, Mapping[str, Any]]
    """What was registered here and these runs name, by kind and name."""
    layer_rules: Mapping[type[nn.Module], LayerRule]
    """Those of users' own that can travel; another's layer is in no model that can."""

    @classmethod
    def of(cls, runs: Sequence[RunSpec]) -> "Supplies":
        """Collect everything that these runs need."""
        places = dict.fromkeys((run.dataset, run.data_dir) for run in runs)
        own = {
            kind: registry.registered
            for kind, registry in REGISTRIES.items()
            if registry.registered and registry is not DATASETS  # which go as they are loaded
        }
        said = {str(text) for run in runs for text in _names(run)} if own else set()
        return cls(
            {place: get_dataset(*place) for place in places},
            {
                kind: {
                    name: thing
                    for name, thing in things.items()
                    if any(name in text for text in said)
                }
                for kind, things in own.items()
            },
            {layer: rule for layer, rule in OWN_RULES.items() if not _objection((layer, rule))},
        )

    def install(self) -> None:
        """Install them in this process."""
        hand_over(self.datasets)
        for kind, things in self.registered.items():
            for name, thing in things.items():
                REGISTRIES[kind].register(name, thing)
        OWN_RULES.update(self.layer_rules)

    def check(self) -> None:
        """Refuse what cannot travel.

        Raises:
            PrivRobustError: something registered is known to this process alone.

        """
        for kind, things in self.registered.items():
            for name, thing in things.items():
                if objection := _objection(thing):
                    raise PrivRobustError(
                        f"{kind}: {name!r} is known to this process alone ({objection}); accepted "
                        "for other processes: what a module defines, or its 'package.module:name'"
                    )


def _objection(thing: object) -> Exception | None:
    """Return why a thing cannot travel."""
    try:
        pickle.dumps(thing)
    except Exception as error:  # whatever pickling meets
        return error
    return None


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
        reason = _one_line(error)
        details = "".join(traceback.format_exception(root(error)))  # of the code at fault
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
    """Write an error of ours as it is, of another's what it says and where it was raised."""
    line = str(error) if isinstance(error, PrivRobustError) else in_a_line(error)
    return " ".join(line.split())
