"""Running a sweep: check every run before the first, skip what is stored, train side by side."""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from privrobust.backward import activations, side_by_side
from privrobust.clipping import Flat
from privrobust.data import get_dataset
from privrobust.devices import resolve_device
from privrobust.gradients import gradient_sum
from privrobust.losses import LOSSES
from privrobust.models import EXAMPLES, initial_parameters
from privrobust.privacy import spent, steps_within_budget, warn_of_large_delta
from privrobust.schedules import get_schedule, rates
from privrobust.spec import RunSpec
from privrobust.store import Store
from privrobust.training import lane_shape, train_lanes

# Runs trained side by side: enough that the tensors outweigh Python, and few enough that a step
# makes do with memory that the process already has (benchmarks/lanes.py measures both).
LANES = 64
_NUMBERS = 1 << 23  # of a tensor: 32 MiB


def check(runs: Sequence[RunSpec]) -> None:
    """Find what no spec can see alone, before anything is trained or written.

    Warns where delta is too large to promise anything.

    Raises:
        SpecError: a GPU that is not here, q > 1, a worker without data, an unsupported accountant,
            an unsound model, a schedule that fails at some step.

    """
    for name, warmup, steps in dict.fromkeys(
        (run.schedule, run.warmup_steps, run.steps) for run in runs
    ):
        rates(get_schedule(name), warmup, steps)
    for run in runs:
        resolve_device(run.device)
        spent(run)
        warn_of_large_delta(run)
    tasks = dict.fromkeys((run.dataset, run.data_dir, run.model, run.loss) for run in runs)
    for name, data_dir, model, loss in tasks:
        dataset = get_dataset(name, data_dir)
        module, _ = initial_parameters(model, dataset, seeds=(0, 1))
        gradient_sum(module, dataset.train.examples(slice(EXAMPLES)), Flat(), LOSSES[loss])


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
        lanes = _lanes(max(alike, key=lambda run: run.workers))
        for start in range(0, len(alike), lanes):
            yield alike[start : start + lanes]


def _lanes(run: RunSpec) -> int:
    """How many lanes like this run train side by side: as many as `_NUMBERS` allows, or one."""
    dataset = get_dataset(run.dataset, run.data_dir)
    model, parameters = initial_parameters(run.model, dataset, seeds=(0,))
    example = dataset.train.examples(slice(1))
    messages = run.workers * parameters.numel()
    examples = run.honest * 2 * math.ceil(run.batch_size)  # a Poisson batch may be twice as large
    held = dataset.shape.numel()
    if side_by_side(model, example):
        held = max(held, activations(model, example))
    of_lane = max(messages, examples * held)
    return max(1, min(LANES, _NUMBERS // of_lane))


class _Pace(ProgressColumn):
    """Stored / total, runs a second, time left; the bar also counts runs under way."""

    def render(self, task: Task) -> Text:
        rate = f"{task.speed:.1f} runs/s" if task.speed else "- runs/s"
        left = task.time_remaining
        clock = "-:--" if left is None else f"{int(left) // 60}:{int(left) % 60:02}"
        return Text(f"{task.fields['done']}/{int(task.total or 0)} runs, {rate}, {clock} left")
