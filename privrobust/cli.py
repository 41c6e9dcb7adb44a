"""The command line. Commands import what they need when they run, so that `--help` is quick."""

import io
import sys
import warnings
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privrobust.budget import budget
from privrobust.errors import PrivRobustError

if TYPE_CHECKING:
    from rich.table import Table

    from privrobust.data import Dataset

BAD_INPUT = 2
INTERRUPTED = 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _privrobust() -> None:
    """Privacy, robustness and utility of noisy median and sign SGD, measured together."""


app.command()(budget)


@app.command()
def run(
    sweep: Annotated[Path, typer.Argument(help="A YAML file: fixed fields, cases, grid.")],
    store: Annotated[Path, typer.Option(help="SQLite file that keeps every finished run.")] = Path(
        "results.db"
    ),
) -> None:
    """Train every run of a sweep that the store lacks, then print the table.

    Stop it with Ctrl-C at any time: the same command goes on where it stopped.

    Example: privrobust run experiments/quickstart.yaml
    """
    from rich.console import Console

    sys.path.insert(0, "")  # a spec may name a module beside it: model: my_models:cnn
    console = Console(stderr=True)
    kept = "nothing is written yet"
    try:
        with console.status("checking the runs"):
            from privrobust.grid import load_runs
            from privrobust.store import Store
            from privrobust.sweep import check, run_sweep
            from privrobust.tables import legend, render

            runs = load_runs(sweep)
            check(runs)
        keys = [run.key for run in runs]
        with Store(store) as results:
            try:
                run_sweep(runs, results, console)
            finally:
                stored = len(results.keys().intersection(keys))
                kept = f"{stored} of {len(runs)} runs are kept in {store}"
            table = results.runs().loc[keys]
    except KeyboardInterrupt:
        typer.echo(f"interrupted: {kept}; the same command computes the rest", err=True)
        raise typer.Exit(INTERRUPTED) from None
    _print_whole(render(table))
    typer.echo("\n".join(legend(table)))


class Kind(StrEnum):
    """What `list` lists, and the module that knows."""

    aggregators = "privrobust.aggregators"
    attacks = "privrobust.attacks"
    datasets = "privrobust.data"
    losses = "privrobust.losses"
    models = "privrobust.models"
    partitions = "privrobust.partitions"
    schedules = "privrobust.schedules"


_PICTURED = [
    "iid",
    "similarity(heterogeneity=0.5)",
    "similarity(heterogeneity=1.0)",
    "dirichlet(alpha=1.0)",
    "dirichlet(alpha=0.1)",
    "labels(k=2)",
    "power_law(exponent=1.0)",
]


@app.command("list")
def list_(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(help=f"What to list: {', '.join(Kind.__members__)}.")],
    plot: Annotated[
        Path | None, typer.Option(help="Of partitions: draw what workers hold into this file.")
    ] = None,
    partition: Annotated[
        list[str] | None, typer.Option(help="To draw; again for more. Several by default.")
    ] = None,
    dataset: Annotated[str, typer.Option(help="Whose partitions are drawn.")] = "digits",
    data_dir: Annotated[str | None, typer.Option(help="Folder of its files.")] = None,
    honest: Annotated[int, typer.Option(min=1, help="Workers to deal to.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Of the partition.")] = 0,
) -> None:
    """Show what a spec may name, with parameters and papers.

    Parameters go in brackets: attack: alie(z=1.5). Pre-aggregators come before a rule: aggregator:
    nnm + trimmed_mean.

    Examples: privrobust list attacks

    privrobust list partitions --plot partitions.png
    """
    from importlib import import_module

    from privrobust.errors import SpecError, unknown_name

    if kind not in Kind.__members__:
        raise unknown_name("list", kind, Kind.__members__)
    if plot is None:
        _refuse_options_of_plot(context)
        typer.echo("\n".join(getattr(import_module(Kind[kind]), f"list_{kind}")()))
        return
    if kind != Kind.partitions.name:
        raise SpecError(f"plot: {kind} have no picture; accepted: partitions")

    from privrobust.data import get_dataset
    from privrobust.figures import partition_figure, save_figure

    data = get_dataset(dataset, data_dir)
    drawn = partition or _possible(data, honest, seed)
    save_figure(partition_figure(data, drawn, honest, seed), plot)


def _refuse_options_of_plot(context: typer.Context) -> None:
    from privrobust.errors import SpecError

    for name in ("partition", "dataset", "data_dir", "honest", "seed"):
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = f"--{name.replace('_', '-')}"
            raise SpecError(f"{option}: says what to draw; accepted: with --plot FILE")


def _possible(data: "Dataset", honest: int, seed: int) -> list[str]:
    """Of the default panels those that can be made, with a warning for each of the others."""
    from privrobust.errors import PrivRobustWarning, SpecError
    from privrobust.partitions import get_partition

    problems = {}
    for text in _PICTURED:
        try:
            get_partition(text).deal(data.train.labels, honest, seed)
        except SpecError as error:
            problems[text] = error
    if len(problems) == len(_PICTURED):
        raise problems[_PICTURED[0]]
    for text, problem in problems.items():
        warnings.warn(f"plot: {text} is left out: {problem}", PrivRobustWarning, stacklevel=2)
    return [text for text in _PICTURED if text not in problems]


def _print_whole(table: "Table") -> None:
    """Print a table at its own width: rich would fold its cells into a narrow screen's."""
    from rich.console import Console
    from rich.measure import Measurement

    console = Console()
    screen = console.width
    console.width = 10_000
    console.width = Measurement.get(console, console.options, table).maximum
    console.print(table)
    if console.is_terminal and console.width > screen:
        typer.echo(f"The table is {console.width} columns wide: widen the window, or add | less -S")


def main() -> None:
    """Entry point of the `privrobust` command: errors a user can act on are one line, exit 2."""
    warnings.showwarning = _show_warning
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without ± still gets its table
    try:
        app()
    except PrivRobustError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(BAD_INPUT)


def _show_warning(message: Warning | str, *where: object, **more: object) -> None:
    _warn_once(str(message))


@lru_cache
def _warn_once(text: str) -> None:
    typer.echo(f"warning: {text}", err=True)
