"""What an executor is, and what all of them do with a batch of runs."""

import gc
import pickle
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from privrobust.data import Dataset, get_dataset, hand_over
from privrobust.errors import PrivRobustError
from privrobust.models.registry import Named, register_model, registered_models
from privrobust.spec import RunSpec
from privrobust.training.loop import train_lanes
from privrobust.training.privacy_plan import PrivacyPlan
from privrobust.training.result import RunResult


@dataclass(frozen=True)
class Supplies:
    """What runs need beside their specs, for processes that do not share this one's memory."""

    datasets: Mapping[tuple[str, str | None], Dataset]
    """By name and `data_dir`, as specs have them."""
    models: Mapping[str, Named]
    """Those that were registered here."""

    @classmethod
    def of(cls, runs: Iterable[RunSpec]) -> "Supplies":
        """Collect everything that these runs need."""
        places = dict.fromkeys((run.dataset, run.data_dir) for run in runs)
        return cls({place: get_dataset(*place) for place in places}, registered_models())

    def install(self) -> None:
        """Install them in this process."""
        hand_over(self.datasets)
        for name, factory in self.models.items():
            register_model(name, factory)

    def check(self) -> None:
        """Refuse what cannot travel.

        Raises:
            PrivRobustError: a model's factory is known to this process alone.

        """
        for name, factory in self.models.items():
            try:
                pickle.dumps(factory)
            except Exception as error:  # whatever pickling meets
                raise PrivRobustError(
                    f"model: {name!r} is known to this process alone ({error}); accepted for "
                    "other processes: 'package.module:factory', or a function of a module"
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
