"""The commands that train, and those that look at what was trained: run, status, export."""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privrobust.cli import tracebacks
from privrobust.cli.table import check_format, print_runs
from privrobust.core.escaping import in_terminal
from privrobust.core.interrupts import say_at_end
from privrobust.core.json_document import document
from privrobust.errors import PrivRobustError, SpecError, shown, unknown_name

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from privrobust.spec import RunSpec
    from privrobust.store import Store
    from privrobust.sweeps.executors import Executor
    from privrobust.sweeps.grid import Sweep

FAILED = 1

_MOST_REASONS = 20
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

    Examples: privrobust run experiments/quickstart.yaml

    privrobust run sweep.yaml --set seed=[0,1] --jobs 4 --store postgresql://me@host/results
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
    if dry_run:
        typer.echo(_foretold(plan, store, jobs, ray, task_cpus, task_gpus))
        return
    if log is not None:
        log_to(log)
    executor = _executor(jobs, ray, task_cpus, task_gpus)
    watch = Watch() if quiet else watch_on(console)
    with Store(store) as results, _warnings_on(console):
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
    print_runs(runs, form)
    failed = int((runs["status"] == "failed").sum())
    if failed:
        typer.echo(
            f"{failed} of {len(runs)} runs failed: see `privrobust status {location} --traceback`; "
            "--retry-failed tries them again",
            err=True,
        )
        raise typer.Exit(FAILED)


def status(
    context: typer.Context,
    store: Annotated[str, typer.Argument(help="File or postgresql:// address of results.")],
    sweep: Annotated[
        Path | None, typer.Argument(help="Of this sweep's runs only; tells what is missing.")
    ] = None,
    change: Changes = None,
    form: Annotated[str, typer.Option("--format", help="terminal or json.")] = "terminal",
) -> None:
    """Show how many runs are done, who is at work on which, and what failed and why.

    With --traceback, where failed runs ended, too: in which line of your attack, rule or model.

    Example: privrobust status results.db experiments/quickstart.yaml
    """
    if form not in _STATUS:
        raise unknown_name("format", form, _STATUS)
    from privrobust.store import Store
    from privrobust.sweeps.loading import load_sweep
    from privrobust.sweeps.planning import planned

    described = None if sweep is None else load_sweep(sweep, change or [])
    with Store(store, create=False) as results:
        keys = {run.key for run in planned(described, results)} if described else None
        typer.echo(_STATUS[form](_status(results, keys, tracebacks.is_asked(context))))


def export(
    store: Annotated[str, typer.Argument(help="File or postgresql:// address of results.")],
    tensorboard: Annotated[Path, typer.Option(help="Folder to write event files into.")],
) -> None:
    """Write the histories and settings of all finished runs for TensorBoard.

    Example: privrobust export results.db --tensorboard runs && tensorboard --logdir runs
    """
    from privrobust.reporting.tensorboard import to_tensorboard
    from privrobust.store.address import is_address

    if is_address(str(tensorboard)):
        raise SpecError("--tensorboard: the address of a database; accepted: a folder")
    from privrobust.store import Store

    with Store(store, create=False) as results:
        written = to_tensorboard(results, tensorboard)
    typer.echo(f"{written} runs are written to {tensorboard}")


@contextmanager
def _warnings_on(console: "Console") -> Iterator[None]:
    """Show what the log warns of, above the bars."""
    from rich.text import Text

    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: console.print(  # type: ignore[method-assign]
        Text(f"warning: {in_terminal(record.getMessage())}"), soft_wrap=True
    )
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


def _foretold(
    plan: Sequence["RunSpec"], store: str, jobs: int, ray: str | None, cpus: int, gpus: float
) -> str:
    """Say how many runs there are, and their time and memory."""
    import torch

    from privrobust.store import Store
    from privrobust.sweeps.estimate import estimate
    from privrobust.sweeps.progress import clock

    done, place = set(), "a store"
    try:
        with Store(store, create=False) as results:
            done, place = results.keys(), results.location
    except PrivRobustError:  # there is none yet
        pass
    missing = [run for run in plan if run.key not in done]
    told = f"{len(plan)} runs, {len(plan) - len(missing)} of them in {place}"
    if not missing:
        return told
    told = f"{told}, {len(missing)} to train"
    if ray is not None:
        return f"{told}\n{_foretold_on_ray(missing, ray, cpus, gpus)}"
    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))
    expected = estimate(missing)
    processes = f"{jobs} processes" if jobs > 1 else "one process"
    return (
        f"{told}\nabout {clock(expected.seconds / jobs)} in {processes} of "
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


def _status(store: "Store", keys: set[str] | None, in_full: bool) -> dict[str, Any]:
    """Count runs: all of the store, or those of these keys; `in_full` with tracebacks."""
    from privrobust.store.leases import is_gone

    done, claims, failed = store.keys(), store.claims(), store.failed()
    if keys is not None:
        done, claims = done & keys, claims[claims["key"].isin(keys)]
        failed = failed[failed.index.isin(keys)]
    found = {"done": len(done), "running": len(claims), "failed": len(failed)}
    if keys is not None:
        missing = len(keys) - len(done) - len(claims) - len(failed)
        found |= {"missing": missing, "of_the_sweep": len(keys)}
    owners = [
        {
            "owner": owner,
            "runs": len(of_owner),
            "seconds_left": float(of_owner["seconds_left"].max()),
            "has_ended": is_gone(owner),
        }
        for owner, of_owner in claims.groupby(claims["owner"].map(str))
    ]
    reasons = [{"reason": reason, "runs": count} for reason, count in failed.value_counts().items()]
    if in_full:
        attempts = store.failures().dropna(subset="details")
        last = dict(zip(attempts["reason"], attempts["details"], strict=True))
        reasons = [each | {"traceback": last.get(each["reason"])} for each in reasons]
    return {**found, "owners": owners, "failures": reasons}


def _status_lines(found: dict[str, Any]) -> str:
    lines = ["{done} done, {running} running, {failed} failed".format_map(found)]
    if "missing" in found:
        lines.append("{missing} of {of_the_sweep} runs of the sweep are missing".format_map(found))
    for each in found["owners"]:
        left = each["seconds_left"]
        lease = f"lease for {left:.0f} s" if left > 0 else "its lease ran out: free to take"
        if each["has_ended"]:
            lease = "it has ended: free to take"
        lines.append(f"running: {each['runs']} by {each['owner']} ({lease})")
    reasons = found["failures"]
    for each in reasons[:_MOST_REASONS]:
        lines.append(f"failed: {each['runs']} runs: {each['reason']}")
        lines += [f"    {line}" for line in (each.get("traceback") or "").splitlines()]
    if len(reasons) > _MOST_REASONS:
        lines.append(f"failed: {len(reasons) - _MOST_REASONS} more reasons")
    return "\n".join(map(in_terminal, lines))


_STATUS: dict[str, Callable[[dict[str, Any]], str]] = {
    "terminal": _status_lines,
    "json": document,
}
