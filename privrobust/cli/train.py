"""The commands that train, and what takes it elsewhere: run, export."""

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privrobust.cli.saying import say
from privrobust.cli.table import check_format, print_runs
from privrobust.core.escaping import in_terminal
from privrobust.core.interrupts import say_at_end
from privrobust.core.window import wrapped
from privrobust.errors import PrivRobustError, SpecError, shown

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from privrobust.spec import RunSpec
    from privrobust.sweeps.executors import Executor
    from privrobust.sweeps.grid import Sweep

FAILED = 1

_WARNING = "warning: "
_REST = "the same command computes the rest"

At = Annotated[str, typer.Option("--store", help="File or postgresql:// address of results.")]
SweepFile = Annotated[Path, typer.Argument(help="A YAML file: fixed fields, cases, zip, grid.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="field=value, in place of the file's; repeat.")
]


def run(
    context: typer.Context,
    sweep: SweepFile,
    store: At = "results.db",
    change: Changes = None,
    dry_run: Annotated[bool, typer.Option(help="Say what it would take; train nothing.")] = False,
    retry_failed: Annotated[bool, typer.Option(help="Train what failed before, too.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that share the cores.")] = 1,
    ray: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster, auto, or local.")
    ] = None,
    task_cpus: Annotated[int, typer.Option(min=1, help="With --ray: cores a batch.")] = 1,
    task_gpus: Annotated[float, typer.Option(min=0, help="With --ray: GPUs a batch.")] = 0.0,
    no_plugins: Annotated[
        bool, typer.Option("--no-plugins", help="Refuse every name of a module in the sweep.")
    ] = False,
    quiet: Annotated[bool, typer.Option(help="Show no progress.")] = False,
    log: Annotated[Path | None, typer.Option(help="File to append what happens to.")] = None,
    form: Annotated[
        str, typer.Option("--format", help="Of the table: as those of privrobust table.")
    ] = "terminal",
) -> None:
    """Train every run of a sweep that the store lacks, then print the table.

    Stop it at any time, or let it be killed: the same command goes on where it was. Several may
    share a store, on one machine or many; each run is done by one of them.

    A sweep that names modules (attack: package.module:Class) is code: run it if you trust it.
    With --no-plugins every such name is refused, and nothing is imported.

    \b
    Examples:
      $ privrobust run experiments/quickstart.yaml
      $ privrobust run sweep.yaml --set seed=[0,1] --jobs 4
      $ privrobust run sweep.yaml --store postgresql://me@host/results
    """
    from rich.console import Console

    if ray is not None and jobs > 1:
        raise SpecError(f"jobs, ray: {jobs} and {shown(ray)}; accepted: one of them")
    _check_format(form, dry_run)
    if no_plugins:
        from privrobust.core.plugins import without_plugins

        context.with_resource(without_plugins())
    else:
        sys.path.insert(0, "")  # a spec may name a module beside it: model: my_models:cnn
    if not dry_run:
        say_at_end(lambda: f"what was finished is kept; {_REST}")
    console = Console(stderr=True)
    with console.status("reading the sweep") as spinner:
        from privrobust.sweeps.loading import load_sweep

        described = load_sweep(sweep, change or [])
        finished = None if dry_run else _finished(described, store, retry_failed)
        if finished is None:  # else neither torch nor the data are needed
            from privrobust.sweeps.planning import planned

            plan = planned(described)
            if not dry_run:
                say_at_end(lambda: _kept(described, plan, store))

            spinner.update("loading torch")
            from privrobust.store import Store
            from privrobust.sweeps.cautions import warn_of_idle
            from privrobust.sweeps.progress import Watch, log_to, watch_on
            from privrobust.sweeps.runner import check, run_whole

            try:
                check(plan, spinner.update)
            except SpecError as error:
                raise described.placed(error) from error.__cause__
            warn_of_idle(described, plan, sweep)
    if finished is not None:
        table, place = finished
        done = int((table["status"] == "done").sum())
        say_at_end(lambda: _told(done, len(table), place))
        _show(table, place, form)
        return
    missing, told = _missing(plan, store, retry_failed)
    if dry_run:
        takes = [_foretold(missing, jobs, ray, task_cpus, task_gpus)] if missing else []
        say("\n".join([told, *takes]))
        return
    if log is not None:
        log_to(log)
    executor = _executor(jobs, ray, task_cpus, task_gpus)
    watch = Watch() if quiet else watch_on(console)
    with Store(store) as results, _warnings_on(console):
        if missing and not quiet:
            say(f"{told}; --dry-run says how long that takes, and trains nothing", err=True)
        runs = run_whole(described, results, executor, watch, retry_failed)
        table = results.runs([run.key for run in runs])
    _show(table, results.location, form)


def _finished(
    sweep: "Sweep", location: str, retry_failed: bool
) -> "tuple[pd.DataFrame, str] | None":
    """Return the runs of a sweep of which none is left to do, and where they are; else None."""
    from privrobust.store import Store
    from privrobust.sweeps.planning import settled

    try:
        with Store(location, create=False) as results:
            runs = settled(sweep, results, retry_failed)
            if runs is None:
                return None
            return results.runs([run.key for run in runs]), results.location
    except PrivRobustError:  # there is none yet, or training tells what is wrong with it
        return None


def _kept(sweep: "Sweep", plan: Sequence["RunSpec"], location: str) -> str:
    """Say what the store has of a sweep; of one that is tuned, more of the plan is known by now."""
    from privrobust.store import Store
    from privrobust.sweeps.planning import planned

    try:
        with Store(location, create=False) as store:
            keys = {run.key for run in (planned(sweep, store) if sweep.tune else plan)}
            return _told(len(store.keys() & keys), len(keys), store.location)
    except PrivRobustError:  # nothing is written yet, or it cannot be read now
        return f"what was finished is kept; {_REST}"


def _told(done: int, total: int, location: str) -> str:
    then = "the same command prints the table" if done == total else _REST
    return f"{done} of {total} runs are kept in {in_terminal(location)}; {then}"


def _check_format(form: str, dry_run: bool) -> None:
    """Refuse before anything is trained what no table can be printed as."""
    if form == "terminal":
        return
    check_format(form)
    if form == "parquet" or dry_run:
        of = "a dry run, which prints no table" if dry_run else "a terminal: it is no text"
        raise SpecError(
            f"format: {form!r} is not for {of}; accepted: with privrobust table, afterwards"
        )


def _show(runs: "pd.DataFrame", location: str, form: str) -> None:
    """Print the table, and end with the exit code of failures where there are any."""
    failed = int((runs["status"] == "failed").sum())
    if failed:
        see = f"see `privrobust status {in_terminal(location)} --traceback`"
        tries = "--retry-failed tries them again\n"
        say(f"{failed} of {len(runs)} runs failed: {see}; {tries}", err=True)
    print_runs(runs, form)
    if failed:
        raise typer.Exit(FAILED)


def export(
    store: Annotated[str, typer.Argument(help="File or postgresql:// address of results.")],
    tensorboard: Annotated[Path, typer.Option(help="Folder to write event files into.")],
) -> None:
    """Write the histories and settings of all finished runs for TensorBoard.

    \b
    Example:
      $ privrobust export results.db --tensorboard runs
      $ tensorboard --logdir runs
    """
    from privrobust.reporting.tensorboard import to_tensorboard
    from privrobust.store.address import is_address

    if is_address(str(tensorboard)):
        raise SpecError("--tensorboard: the address of a database; accepted: a folder")
    from privrobust.store import Store

    with Store(store, create=False) as results:
        written = to_tensorboard(results, tensorboard)
    say(f"{written} runs are written to {tensorboard}")


@contextmanager
def _warnings_on(console: "Console") -> Iterator[None]:
    """Show what the log warns of, above the bars."""
    from rich.text import Text

    def show(record: logging.LogRecord) -> None:
        text = f"{_WARNING}{in_terminal(record.getMessage())}"
        columns = console.width if console.is_terminal else None
        console.print(Text(wrapped(text, columns, len(_WARNING))), soft_wrap=True)

    handler = logging.Handler(logging.WARNING)
    handler.emit = show  # type: ignore[method-assign]
    logger = logging.getLogger("privrobust")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _executor(jobs: int, ray: str | None, cpus: int, gpus: float) -> "Executor":
    from privrobust.sweeps.executors import InProcess, OnRay, Processes

    if ray is not None:
        return OnRay(ray, cpus, gpus)
    return Processes(jobs) if jobs > 1 else InProcess()


def _missing(
    plan: Sequence["RunSpec"], location: str, retry_failed: bool
) -> "tuple[list[RunSpec], str]":
    """Return which runs are to be trained, and how many that are in words."""
    from privrobust.store import Store

    done, failed, place = set[str](), set[str](), "a store"
    keys = {run.key for run in plan}
    try:
        with Store(location, create=False) as store:
            done, place = keys & store.keys(), in_terminal(store.location)
            failed = set() if retry_failed else keys & set(store.failed().index)
    except PrivRobustError:  # there is none yet
        pass
    missing = [run for run in plan if run.key not in done | failed]
    told = [f"{len(plan)} runs", f"{len(done)} of them in {place}"]
    if failed:
        told.append(f"{len(failed)} failed before (--retry-failed trains them, too)")
    return missing, ", ".join([*told, *([f"{len(missing)} to train"] if missing else [])])


def _foretold(
    missing: Sequence["RunSpec"], jobs: int, ray: str | None, cpus: int, gpus: float
) -> str:
    """Say what time and memory training takes."""
    import torch

    from privrobust.sweeps.estimate import estimate
    from privrobust.sweeps.progress import clock

    if ray is not None:
        return _foretold_on_ray(missing, ray, cpus, gpus)
    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))
    expected = estimate(missing)
    processes = f"{jobs} processes" if jobs > 1 else "one process"
    return (
        f"about {clock(expected.seconds / jobs)} in {processes} of "
        f"{torch.get_num_threads()} threads, {expected.memory * jobs / 2**30:.1f} GiB of memory"
    )


def _foretold_on_ray(missing: Sequence["RunSpec"], ray: str, cpus: int, gpus: float) -> str:
    """Say what the cluster has, and the time its cores would take were they like those here.

    Steps are timed here: no task is started, as whoever asks may share the cluster with others.
    """
    import torch

    from privrobust.sweeps.estimate import estimate
    from privrobust.sweeps.executors import OnRay
    from privrobust.sweeps.packing import batches
    from privrobust.sweeps.progress import clock

    cluster = OnRay(ray, cpus, gpus)
    try:
        has, slots = cluster.has(), cluster.at_once
    finally:
        cluster.close()
    tasks = min(slots, len(list(batches(missing, slots))))
    each = f"{cpus} core{'s' * (cpus > 1)}" + f" and {gpus:g} GPUs" * bool(gpus)
    room = "one batch" if slots == 1 else f"{slots} batches"
    lines = [f"the Ray cluster has {has}: room for {room} at a time, of {each} each"]
    if gpus and not torch.cuda.is_available():
        return f"{lines[0]}\nhow long cannot be told: there is no GPU here to time a step on"
    torch.set_num_threads(cpus)
    expected = estimate(missing)
    lines.append(
        f"about {clock(expected.seconds / tasks)} with {tasks} at a time, if its machines "
        f"are free and as fast as this one; {expected.memory / 2**30:.1f} GiB of memory a batch"
    )
    return "\n".join(lines)
