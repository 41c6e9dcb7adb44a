"""The command that lists what specs may name."""

import warnings
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privrobust.cli.saying import say
from privrobust.core.json_document import document
from privrobust.errors import PrivRobustWarning, SpecError, unknown_name

if TYPE_CHECKING:
    from privrobust.core.registry import Entry
    from privrobust.data import Dataset


class Kind(StrEnum):
    """What `list` lists, and the module that knows."""

    accountants = "privrobust.accountants"
    aggregators = "privrobust.aggregators"
    attacks = "privrobust.attacks"
    datasets = "privrobust.data"
    losses = "privrobust.gradients.losses"
    models = "privrobust.models"
    noise_laws = "privrobust.noise"
    partitions = "privrobust.data.partitions"
    repeats = "privrobust.accountants.repeats"
    samplings = "privrobust.accountants.registry"
    schedules = "privrobust.schedules"


_FORMS = ("terminal", "json")
_PICTURED = [
    "iid",
    "similarity(heterogeneity=0.5)",
    "similarity(heterogeneity=1.0)",
    "dirichlet(alpha=1.0)",
    "dirichlet(alpha=0.1)",
    "labels(k=2)",
    "power_law(exponent=1.0)",
]


def list_(
    context: typer.Context,
    kind: Annotated[
        str | None,
        typer.Argument(help=f"What to list: {', '.join(Kind.__members__)}; without it, these."),
    ] = None,
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
    form: Annotated[str, typer.Option("--format", help="terminal or json.")] = "terminal",
) -> None:
    """Show what a spec may name, with parameters and papers.

    Parameters go in brackets: attack: alie(z=1.5). Pre-aggregators come before a rule: aggregator:
    nnm + trimmed_mean.

    \b
    Examples:
      $ privrobust list
      $ privrobust list attacks
      $ privrobust list partitions --plot partitions.png
    """
    if kind is not None and kind not in Kind.__members__:
        raise unknown_name("list", kind, Kind.__members__)
    if form not in _FORMS:
        raise unknown_name("format", form, _FORMS)
    if plot is None:
        _refuse_options_of_plot(context)
        if form == "json":
            typer.echo(_written(kind, form))
        else:
            say(_written(kind, form))
        return
    if kind != Kind.partitions.name:
        raise SpecError(f"plot: {kind or 'kinds'} have no picture; accepted: partitions")

    from privrobust.data import get_dataset
    from privrobust.reporting.figures import save_figure
    from privrobust.reporting.figures.partitions import partition_figure

    data = get_dataset(dataset, data_dir)
    drawn = partition or _possible(data, honest, seed)
    save_figure(partition_figure(data, drawn, honest, seed), plot)


def _written(kind: str | None, form: str) -> str:
    if kind is None:
        kinds = list(Kind.__members__)
        return document(kinds) if form == "json" else "\n".join(kinds)
    entries: list[Entry] = getattr(import_module(Kind[kind]), f"list_{kind}")()
    if form == "json":
        return document([entry.facts for entry in entries])
    return "\n".join(entries)


def _refuse_options_of_plot(context: typer.Context) -> None:
    for name in ("partition", "dataset", "data_dir", "honest", "seed"):
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = f"--{name.replace('_', '-')}"
            raise SpecError(f"{option}: says what to draw; accepted: with --plot FILE")


def _possible(data: "Dataset", honest: int, seed: int) -> list[str]:
    """Of the default panels those that can be made, with a warning for each of the others."""
    from privrobust.data.partitions import get_partition

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
