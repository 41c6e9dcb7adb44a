"""Running a sweep: check every run before the first, skip what is stored, train side by side."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from privrobust.clipping import Flat
from privrobust.data import get_dataset
from privrobust.gradients import gradient_sum
from privrobust.models import EXAMPLES, initial_parameters
from privrobust.privacy import spent, steps_within_budget, warn_of_large_delta
from privrobust.spec import RunSpec
from privrobust.store import Store
from privrobust.training import lane_shape, train_lanes

# Runs trained side by side: enough that the tensors outweigh Python, few enough for the cache
# (benchmarks/lanes.py measures), and few enough for memory where models are large.
LANES = 32
MEMORY = 2 << 30
_COPIES_OF_MESSAGES = 6  # sums, averages, noise, perturbed, with Byzantine ones, aggregation


def check(runs: Sequence[RunSpec]) -> None:
    """Find what no spec can see alone, before anything is trained or written.

    Warns where delta is too large to promise anything.

    Raises:
        SpecError: q > 1, a worker without data, an unsupported accountant, an unsound model.

    """
    for run in runs:
        spent(run)
        warn_of_large_delta(run)
    for name, model in sorted({(run.dataset, run.model) for run in runs}):
        dataset = get_dataset(name)
        module, _ = initial_parameters(model, dataset, seeds=(0, 1))
        gradient_sum(module, dataset.train.inputs[:EXAMPLES], Flat())


def run_sweep(runs: Sequence[RunSpec], store: Store, console: Console) -> None:
    """Train the runs that the store lacks, writing each batch of lanes as it ends."""
    finished = store.keys()
    missing = [run for run in runs if run.key not in finished]
    with Progress(
        TextColumn("training"), BarColumn(bar_width=30), _Pace(), console=console
    ) as progress:
        done = len(runs) - len(missing)
        task = progress.add_task("", total=len(runs), completed=done, done=done)
        for batch in _batches(missing):
            share = len(batch) / steps_within_budget(batch[0])
            store.add(train_lanes(batch, on_step=partial(progress.advance, task, share)))
            done += len(batch)
            progress.update(task, completed=done, done=done)


def _batches(runs: Sequence[RunSpec]) -> Iterator[list[RunSpec]]:
    """Runs that can train side by side, seed by seed, so that lanes share batches and noise."""

    def shape(run: RunSpec) -> str:
        return repr(lane_shape(run))

    for _, group in groupby(sorted(runs, key=lambda run: (shape(run), run.seed)), key=shape):
        alike = list(group)
        lanes = _lanes(alike[0].dataset, alike[0].model, max(run.workers for run in alike))
        for start in range(0, len(alike), lanes):
            yield alike[start : start + lanes]


def _lanes(dataset: str, model: str, workers: int) -> int:
    """How many lanes fit into `MEMORY`, at most `LANES`; messages are what grows."""
    _, parameters = initial_parameters(model, get_dataset(dataset), seeds=(0,))
    message = parameters.numel() * parameters.element_size()
    return max(1, min(LANES, MEMORY // (message * workers * _COPIES_OF_MESSAGES)))


class _Pace(ProgressColumn):
    """Stored / total, runs a second, time left; the bar also counts runs under way."""

    def render(self, task: Task) -> Text:
        rate = f"{task.speed:.1f} runs/s" if task.speed else "- runs/s"
        left = task.time_remaining
        clock = "-:--" if left is None else f"{int(left) // 60}:{int(left) % 60:02}"
        return Text(f"{task.fields['done']}/{int(task.total or 0)} runs, {rate}, {clock} left")
