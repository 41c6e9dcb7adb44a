"""The command that draws: figures of a store for papers and meetings."""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from privrobust.errors import SpecError, shown, unknown_name
from privrobust.store.address import without_secrets

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from privrobust.store import Store

KINDS = (
    "epsilon", "heatmap", "pareto", "curves", "learning_rate", "partitions", "bias_variance",
)  # fmt: skip
_WITHOUT_STORE = "bias_variance"


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
    noise: Annotated[
        str | None, typer.Option(help="Of bias_variance: gaussian (default) or laplace.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Of partitions: the runs' data, where it is no built-in.")
    ] = None,
    data_dir: Annotated[str | None, typer.Option(help="Of partitions: folder of data.")] = None,
    partition: Annotated[
        list[str] | None, typer.Option(help="Of partitions: one of your own; again for more.")
    ] = None,
) -> None:
    """Draw a figure of the runs in a store, in the size and format of a paper.

    \b
    epsilon        accuracy against epsilon, clean and worst case
    heatmap        worst-case accuracy, f by heterogeneity, by method and b
    pareto         what nobody beats in utility, privacy and robustness
    curves         accuracy (or --measure) against the step
    learning_rate  the best one against b, of a sweep that tunes or varies it
    partitions     how many examples of each label these runs' workers hold
    bias_variance  of the noisy median against b, with theory; needs no store

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
    if kind not in KINDS:
        raise unknown_name("figure", kind, KINDS)
    for name, value, of in (
        ("measure", measure, "curves"),
        ("noise", noise, _WITHOUT_STORE),
        ("dataset", dataset, "partitions"),
        ("data_dir", data_dir, "partitions"),
        ("partition", partition, "partitions"),
    ):
        if value is not None and kind != of:
            raise SpecError(f"{name}: {value!r} says nothing of {kind}; accepted: with {of}")
    own = _Own(dataset, data_dir, partition or [])
    from privrobust.reporting.figures.canvas import check_ending, save_figure

    check_ending(output)
    if kind == _WITHOUT_STORE:
        drawn = _bias_variance(store, where, noise or "gaussian")
    else:
        drawn = _of_store(kind, store, where or [], measure or "accuracy", own)
    save_figure(drawn, output)
    typer.echo(f"{kind} is drawn in {output}")


class _Own(NamedTuple):
    """What a person names, as stores of others may name anything."""

    dataset: str | None
    data_dir: str | None
    partitions: Sequence[str]


def _of_store(
    kind: str, location: str | None, where: Sequence[str], measure: str, own: _Own
) -> "Figure":
    from privrobust.reporting.tables import chosen
    from privrobust.store import Store

    if location is None:
        raise SpecError(f"store: {kind} is drawn of results; give a file or an address")
    with Store(location, create=False) as results:
        runs = results.runs()
        if runs.empty:
            raise SpecError(f"store: {results.location} has no finished run yet")
        runs = chosen(runs, where)
        if kind == "curves":
            return _curves(runs, results, measure)
    if kind == "partitions":
        return _partitions(runs, own)
    module = import_module(f"privrobust.reporting.figures.{kind}")
    drawn: Figure = getattr(module, f"{kind}_figure")(runs)
    return drawn


def _curves(runs: "pd.DataFrame", store: "Store", measure: str) -> "Figure":
    from privrobust.reporting.figures.curves import curves_figure

    return curves_figure(runs, store.histories(list(runs.index)), measure)


def _partitions(runs: "pd.DataFrame", own: _Own) -> "Figure":
    """Those of the runs, which must agree on what is dealt to how many."""
    from privrobust.data import get_dataset
    from privrobust.data.partitions import is_known_partition
    from privrobust.data.registry import built_in_source
    from privrobust.reporting.figures.partitions import partition_figure

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
    if own.dataset is not None or source is None or source.names_a_file:
        _vouch("dataset", name, [own.dataset] if own.dataset else [])
    if isinstance(first["data_dir"], str) and (source is None or source.needs_folder):
        _vouch("data_dir", first["data_dir"], [own.data_dir] if own.data_dir else [])
    for each in partitions:
        if not is_known_partition(each):
            _vouch("partition", each, own.partitions)
    sys.path.insert(0, "")  # what is named may be beside the person who names it
    data = get_dataset(name, own.data_dir)
    return partition_figure(data, partitions, int(first["honest"]), int(first["seed"]))


def _vouch(field: str, named: str, own: Sequence[str]) -> None:
    """Refuse to import or open what a store names and the person who reads it does not."""
    if named not in own:
        raise SpecError(
            f"partitions: {field} is {shown(named, 200)} in the store, which may come from "
            f"anybody; accepted: the same as --{field.replace('_', '-')}, if you trust it"
        )


def _bias_variance(store: str | None, where: Sequence[str] | None, noise: str) -> "Figure":
    from privrobust.reporting.figures.bias_variance import bias_variance_figure

    if store is not None or where:
        given = f"where: {shown((where or [''])[0])}"
        if store is not None:
            given = f"store: {without_secrets(repr(store), store)}"
        raise SpecError(f"{given} says nothing of bias_variance; accepted: neither")
    return bias_variance_figure(noise=noise)
