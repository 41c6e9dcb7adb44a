"""The command that draws: figures of a store for papers and meetings."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from privrobust.cli.saying import say
from privrobust.errors import SpecError, shown, unknown_name
from privrobust.reporting.figures import DARK, FIGURES, LIGHT, check_ending, painted, save_figure
from privrobust.reporting.figures.registry import listed
from privrobust.store.address import without_secrets

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def figure(
    kind: Annotated[str, typer.Argument(help="What to draw: see above.")],
    store: Annotated[
        str | None,
        typer.Argument(help="File or postgresql:// address of results; none for bias_variance."),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write: .pdf, .svg, .png, ...")
    ] = Path("figure.pdf"),
    where: Annotated[
        list[str] | None,
        typer.Option(help="field=value, or field=[a, b]: these runs; repeat."),
    ] = None,
    measure: Annotated[
        str | None, typer.Option(help="Of curves: accuracy (default), loss, kappa, variance, ...")
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(help="Of epsilon and heatmap: worst_class_accuracy, ..., as of tables."),
    ] = None,
    noise: Annotated[
        str | None, typer.Option(help="Of bias_variance: gaussian (default), laplace or logistic.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Of partitions: the runs' data, where it is no built-in.")
    ] = None,
    data_dir: Annotated[str | None, typer.Option(help="Of partitions: folder of data.")] = None,
    partition: Annotated[
        list[str] | None, typer.Option(help="Of partitions: one of your own; again for more.")
    ] = None,
    dark: Annotated[bool, typer.Option("--dark", help="For dark pages and slides.")] = False,
) -> None:
    """Draw a figure of the runs in a store, in the size and format of a paper.

    \b
    FIGURES

    A figure shows every field that varies. Where that is too much, it says which: choose with
    --where. Most figures want runs without attackers, too: attack=[none, alie].

    A store may come from anybody: no module is imported and no file read that only it names.
    Name those of partitions yourself: --dataset my_module:stripes.

    \b
    Examples:
      $ privrobust figure epsilon results.db -o epsilon.pdf
      $ privrobust figure heatmap results.db --where noise_scale=0.1
      $ privrobust figure curves results.db -o curves.png --measure loss \\
          --where noise_scale=0.1 --where 'attack=[none, alie]'
    """
    if kind not in FIGURES:
        raise unknown_name("figure", kind, FIGURES)
    settings = {"measure": measure, "metric": metric, "noise": noise}
    given = settings | {"dataset": dataset, "data_dir": data_dir, "partition": partition}
    for name, value in given.items():
        if value is not None and name not in FIGURES[kind].options:
            of = next(other for other, each in FIGURES.items() if name in each.options)
            raise SpecError(f"{name}: {value!r} says nothing of {kind}; accepted: with {of}")
    check_ending(output)
    named = {name: value for name, value in settings.items() if value is not None}
    with painted(DARK if dark else LIGHT):
        if FIGURES[kind].needs:
            own = _Own(dataset, data_dir, partition or [])
            drawn = _of_store(kind, store, where or [], named, own)
        else:
            _refuse_results(kind, store, where)
            drawn = FIGURES[kind].draw(**named)
    save_figure(drawn, output)
    say(f"{kind} is drawn in {output}")


figure.__doc__ = str(figure.__doc__).replace("FIGURES", listed().replace("\n", "\n    "))


class _Own(NamedTuple):
    """What a person names, as stores of others may name anything."""

    dataset: str | None
    data_dir: str | None
    partitions: Sequence[str]


def _of_store(
    kind: str,
    location: str | None,
    where: Sequence[str],
    settings: Mapping[str, str],
    own: _Own,
) -> "Figure":
    from privrobust.cli.stored import finished
    from privrobust.reporting.tables import chosen
    from privrobust.store import Store

    if location is None:
        raise SpecError(f"store: {kind} is drawn of results; give a file or an address")
    with Store(location, create=False) as results:
        runs = chosen(finished(results), where)
        if "histories" in FIGURES[kind].needs:
            histories = results.histories(list(runs.index))
            return FIGURES[kind].draw(runs, histories, **settings)
    if "dataset" in FIGURES[kind].needs:
        return _partitions(runs, own)
    return FIGURES[kind].draw(runs, **settings)


def _partitions(runs: "pd.DataFrame", own: _Own) -> "Figure":
    """Draw the partitions of runs, which must agree on what is dealt to how many."""
    from privrobust.data import get_dataset
    from privrobust.data.partitions import is_known_partition
    from privrobust.data.registry import built_in_source

    runs = runs.sort_values("seed")
    for field in ("dataset", "data_dir", "honest"):
        if runs[field].nunique(dropna=False) > 1:
            there = ", ".join(map(str, runs[field].unique()))
            raise SpecError(f"partitions: {field} is {there}; choose one: --where {field}=value")
    first = runs.iloc[0]
    named = runs["partition"].mask(
        runs["partition"] == "similarity",
        runs["heterogeneity"].map(lambda share: f"similarity(heterogeneity={float(share)!r})"),
    )
    partitions = [str(each) for each in named.drop_duplicates()]
    name = str(first["dataset"])
    source = built_in_source(name)
    if own.dataset is not None or source is None or source.named_file:
        _vouch("dataset", name, [own.dataset] if own.dataset else [])
    if isinstance(first["data_dir"], str) and (source is None or source.needs_folder):
        _vouch("data_dir", first["data_dir"], [own.data_dir] if own.data_dir else [])
    for each in partitions:
        if not is_known_partition(each):
            _vouch("partition", each, own.partitions)
    sys.path.insert(0, "")  # what is named may be beside the person who names it
    data = get_dataset(name, own.data_dir)
    return FIGURES["partitions"].draw(data, partitions, int(first["honest"]), int(first["seed"]))


def _vouch(field: str, named: str, own: Sequence[str]) -> None:
    """Refuse to import or open what a store names and the person who reads it does not."""
    if named not in own:
        raise SpecError(
            f"partitions: {field} is {shown(named, 200)} in the store, which may come from "
            f"anybody; accepted: the same as --{field.replace('_', '-')}, if you trust it"
        )


def _refuse_results(kind: str, store: str | None, where: Sequence[str] | None) -> None:
    """Refuse a store, or a choice of its runs, for a figure that shows none."""
    if store is not None or where:
        given = f"where: {shown((where or [''])[0])}"
        if store is not None:
            given = f"store: {without_secrets(repr(store), store)}"
        raise SpecError(f"{given} says nothing of {kind}; accepted: neither")
