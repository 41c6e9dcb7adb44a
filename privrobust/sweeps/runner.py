"""Running a sweep: check every run before the first, skip what is stored, train side by side."""

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from operator import attrgetter

from privrobust.core.devices import resolve_device
from privrobust.core.plugins import is_built_in
from privrobust.core.random import stream
from privrobust.data import get_dataset
from privrobust.errors import PrivRobustError, SpecError
from privrobust.gradients.clipped_sums import gradient_sum
from privrobust.gradients.clipping import Flat
from privrobust.gradients.layout import Layout
from privrobust.gradients.losses import get_loss
from privrobust.models.validation import EXAMPLES, initial_parameters
from privrobust.noise import NoiseLaw, get_noise_law
from privrobust.noise.backend import compiled_loop
from privrobust.schedules import get_schedule, rate
from privrobust.spec import RunSpec
from privrobust.spec.run_fields import named
from privrobust.store import Store
from privrobust.store.leases import heartbeat
from privrobust.store.schema import DONE, FAILED
from privrobust.sweeps.cautions import warn_of_noise
from privrobust.sweeps.executors import Executor, InProcess
from privrobust.sweeps.executors.base import Supplies
from privrobust.sweeps.grid import Sweep
from privrobust.sweeps.packing import batches
from privrobust.sweeps.planning import accuracies
from privrobust.sweeps.progress import Watch, watching
from privrobust.sweeps.tuning import candidates, choose, undecided
from privrobust.training.held_out import divides_validation, evaluated_on, refuse_too_many
from privrobust.training.noise import grid_of
from privrobust.training.poisoning import examples_of
from privrobust.training.privacy_plan import PrivacyPlan

# Runs that differ only in what comes after the noise have one budget, checked once.
_budgeted = attrgetter(*named(lambda field: not field.is_after_noise))

_POLL_SECONDS = 1.0  # between looks at what other processes have finished


def check(runs: Sequence[RunSpec], tell: Callable[[str], object] = lambda text: None) -> None:
    """Find what no spec can see alone, before anything is trained or written.

    Warns where delta is too large to promise anything, and where noise leaves nothing to learn.

    Args:
        runs: of a sweep.
        tell: is given what is under way, in words.

    Raises:
        SpecError: a GPU that is not here, q > 1, a worker without data, nothing held out for what
            asks for it, an unsupported accountant, an unsound model, noise that no grid holds, a
            schedule that fails at some step, a rule or an attack with parameters that do not fit
            the data.

    """
    for name, warmup, steps in dict.fromkeys(
        (run.schedule, run.warmup_steps, run.steps) for run in runs
    ):
        schedule = get_schedule(name)
        if not is_built_in(schedule):  # ours do not fail, and a run may have billions of steps
            tell(f"checking the runs: {name} at {steps} steps")
            for step in range(1, steps + 1):
                rate(schedule, warmup, step, steps)
    for device in dict.fromkeys(run.device for run in runs):
        resolve_device(device)
    plans = [PrivacyPlan(run) for run in {_budgeted(run): run for run in runs}.values()]
    for place, plan in enumerate(plans, start=1):
        tell(f"checking the runs: privacy of {place} of {len(plans)} settings")
        _ = plan.spent  # found for the first time here, where what cannot be is said
        plan.warn_of_large_delta()
    tasks, dims = dict.fromkeys(map(_task, runs)), {}
    for place, task in enumerate(tasks, start=1):
        tell(f"checking the runs: {place} of {len(tasks)} models on their data")
        dims[task] = _checked_dim(*task)
    _check_on_data(runs)
    for plan in plans:
        on_grid = not isinstance(get_noise_law(plan.spec.noise), NoiseLaw)
        if plan.spec.noise_scale and on_grid:
            grid_of(plan, dims[_task(plan.spec)])
    warn_of_noise(plans)
    tell("loading the loop that draws noise, which is compiled once per machine")
    compiled_loop()


def _task(run: RunSpec) -> tuple[str, str | None, str, str]:
    """Return what decides the model, its size and its gradients."""
    return run.dataset, run.data_dir, run.model, run.loss


def _checked_dim(name: str, data_dir: str | None, model: str, loss: str) -> int:
    """Return how many parameters a model has that is sound on this data."""
    dataset = get_dataset(name, data_dir)
    module, _ = initial_parameters(model, dataset, seeds=(0, 1))
    layout, examples = Layout(module), dataset.train.examples(slice(EXAMPLES))
    gradient_sum(module, layout, examples, Flat(), get_loss(loss))
    return layout.dim


def _check_on_data(runs: Sequence[RunSpec]) -> None:
    """Refuse what asks for held-out examples that are not there, and goals that no data meets."""
    unlike = {
        (run.dataset, run.data_dir, run.evaluate_on, run.aggregator, run.byzantine): run
        for run in runs
    }
    for run in unlike.values():
        dataset = get_dataset(run.dataset, run.data_dir)
        evaluated_on(run, dataset)
        refuse_too_many(run, dataset)
    attacked = {
        (
            run.dataset,
            run.data_dir,
            run.attack.in_json,
            run.evaluate_on,
            divides_validation(run),
        ): (run.attack, run)
        for run in runs
        if run.attack is not None
    }
    for stated, run in attacked.values():
        attack, dataset = stated.build(), get_dataset(run.dataset, run.data_dir)
        data, held_out = dataset.train, evaluated_on(run, dataset)
        try:
            if attack.sees == "own":
                attack.poisoned(examples_of(dataset, data), stream(run.seed, "poison"))
            attack.aimed_at(examples_of(dataset, data), examples_of(dataset, held_out))
        except SpecError as error:
            error.field = error.field or "attack"
            raise


def run_whole(
    sweep: Sweep,
    store: Store,
    executor: Executor | None = None,
    watch: Watch | None = None,
    retry_failed: bool = False,
) -> list[RunSpec]:
    """Tune on the validation split if the sweep says so, then train its runs: those.

    Arguments and errors as of `run_sweep`.
    """
    tried = candidates(sweep)
    if tried:
        run_sweep(tried, store, executor, watch, retry_failed)
    found = accuracies(tried, store)
    if lost := undecided(sweep, found):
        raise PrivRobustError(
            f"tune: in {len(lost)} settings every candidate had failed runs, the first {lost[0]}; "
            "`privrobust status` says why, --retry-failed tries again"
        )
    runs = choose(sweep, found)
    run_sweep(runs, store, executor, watch, retry_failed)
    return runs


def run_sweep(
    runs: Sequence[RunSpec],
    store: Store,
    executor: Executor | None = None,
    watch: Watch | None = None,
    retry_failed: bool = False,
) -> None:
    """Train the runs that the store lacks, writing each batch of lanes as it ends.

    Other processes may do the same at the same time: each run is done by one of them, and all
    return when all runs are done. A run that fails is kept as failed, the others go on.

    Args:
        runs: of the sweep, checked.
        store: what is finished.
        executor: where to train; this process by default.
        watch: shows progress; nothing by default.
        retry_failed: also those that failed before.

    Raises:
        PrivRobustError: the store cannot be written, or has results of other data.

    """
    executor, watch = executor or InProcess(), watch or Watch()
    supplies = Supplies.of(runs)
    store.same_data(supplies.datasets.values())
    if retry_failed:
        store.retry([run.key for run in runs])
    settled = store.keys(DONE) | store.keys(FAILED)
    if all(run.key in settled for run in runs):
        return
    groups = _without(list(batches(runs, executor.at_once)), settled)
    with watching(watch, runs, len(runs) - sum(map(len, groups))), heartbeat(store.renew):
        try:
            while groups:
                mine = _claimed(groups, store)
                if first := next(mine, None):  # executors do not start for nothing
                    for outcome in executor.run(chain([first], mine), supplies, watch.progress):
                        _refuse_changed(supplies)
                        if outcome.reason is None:
                            each = outcome.seconds / len(outcome.specs)
                            store.add(outcome.results, each)
                        else:
                            store.fail(outcome.specs, outcome.reason, outcome.details)
                        watch.settled(outcome)
                groups = _without(groups, store.keys(DONE) | store.keys(FAILED))
                held = sum(map(len, groups))
                watch.wait(len(runs) - held, held)
                if held:
                    time.sleep(_POLL_SECONDS)
        finally:
            store.release()


def _without(groups: list[list[RunSpec]], settled: set[str]) -> list[list[RunSpec]]:
    """Return what is left of batches without runs that are settled."""
    left = [[run for run in group if run.key not in settled] for group in groups]
    return [group for group in left if group]


def _claimed(groups: list[list[RunSpec]], store: Store) -> Iterator[list[RunSpec]]:
    """Yield batches of what is this process's to do, claimed as they are asked for."""
    for group in groups:
        if mine := store.claim(group):
            yield mine


def _refuse_changed(supplies: Supplies) -> None:
    """Refuse to store results of other data than the store knows under that name."""
    for place, dataset in supplies.datasets.items():
        if get_dataset(*place) is not dataset:
            raise PrivRobustError(
                f"dataset: {place[0]} changed while the sweep ran; what was finished before is kept"
            )
