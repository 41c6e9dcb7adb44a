"""In this process, one batch after the other: torch spreads the lanes over the cores."""

from collections.abc import Iterable, Iterator

from privrobust.spec import RunSpec
from privrobust.sweeps.executors.base import OnProgress, Outcome, Supplies, train_batch


class InProcess:
    """The executor that needs nothing."""

    at_once = 1

    def run(
        self, batches: Iterable[list[RunSpec]], supplies: Supplies, on_progress: OnProgress
    ) -> Iterator[Outcome]:
        """Train as `Executor.run`; what runs need is here already."""
        for batch in batches:
            yield from train_batch(batch, on_progress)
