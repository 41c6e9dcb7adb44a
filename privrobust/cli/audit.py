"""The command that attacks what a run claims: epsilon from below."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privrobust.cli.saying import say
from privrobust.cli.table import csv_of, print_table, write
from privrobust.errors import SpecError, shown, unknown_name
from privrobust.reporting.figures import DARK, LIGHT, check_ending, painted, save_figure

if TYPE_CHECKING:
    from privrobust.audit import AuditResult
    from privrobust.spec import RunSpec
    from privrobust.sweeps.grid import Sweep

REFUTED = 1

_FORMS = ("terminal", "markdown", "latex", "html", "csv", "json")


def audit(
    context: typer.Context,
    sweep: Annotated[
        Path | None, typer.Argument(help="A YAML file: the fields of a run, or a sweep.")
    ] = None,
    store: Annotated[
        str | None, typer.Option(help="In its place: file or address of results, with --run.")
    ] = None,
    run: Annotated[
        str | None, typer.Option(help="Key of a finished run in the store, or how it starts.")
    ] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="field=value, in place of its own; repeat.")
    ] = None,
    observer: Annotated[
        list[str] | None,
        typer.Option(help="Who looks: messages, aggregates, model; all by default."),
    ] = None,
    canaries: Annotated[
        list[str] | None,
        typer.Option(
            help="What is planted: coordinate (default), orthogonal, update; or examples: "
            "mislabelled, blank, out_of_distribution. tails: none, noise is looked at."
        ),
    ] = None,
    helpers: Annotated[
        int, typer.Option(help="f Byzantine workers who help, in place of the run's own.")
    ] = 0,
    runs: Annotated[int, typer.Option(help="How many train: more prove more.")] = 1000,
    per_run: Annotated[int, typer.Option(help="Canaries in each; many share a run.")] = 1,
    adjacency: Annotated[
        str | None, typer.Option(help="replace-one, in place of the run's own neighbours.")
    ] = None,
    claimed: Annotated[
        float | None, typer.Option(help="The epsilon to attack, in place of the accountant's.")
    ] = None,
    confidence: Annotated[float, typer.Option(help="Of the whole table.")] = 0.95,
    seed: Annotated[int, typer.Option(help="Of what the audit draws.")] = 0,
    no_plugins: Annotated[
        bool, typer.Option("--no-plugins", help="Refuse every name of a module in the file.")
    ] = False,
    form: Annotated[
        str, typer.Option("--format", help="terminal, markdown, latex, html, csv or json.")
    ] = "terminal",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write, instead of the screen.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Also draw what is claimed and found into this file.")
    ] = None,
    dark: Annotated[bool, typer.Option("--dark", help="Of --plot: for dark pages.")] = False,
) -> None:
    """Attack the privacy of runs: how much epsilon is there at least, and is the claim true?

    Runs like each run of the file train with canaries, of which a coin decides whether they are
    in, and observers are to tell. Options that take names take several, with commas or repeated.
    The exit code is 1 where a claim is refuted.

    A sweep that names modules (attack: package.module:Class) is code: audit it if you trust it.

    \b
    Examples:
      $ privrobust audit run.yaml --observer messages,aggregates --helpers 2
      $ privrobust audit run.yaml --canaries coordinate,blank --format json
      $ privrobust audit --store results.db --run 3f2a --set data_dir=mnist
    """
    if form not in _FORMS:
        raise unknown_name("format", form, _FORMS)
    if plot is not None:
        check_ending(plot)
    described = _described(context, sweep, store, run, change or [], no_plugins)
    given: dict[str, Any] = {
        "observers": _names(observer) or ["messages", "aggregates", "model"],
        "canaries": _names(canaries) or ["coordinate"],
        "helpers": helpers,
        "runs": runs,
        "per_run": per_run,
        "adjacency": adjacency,
        "claimed": claimed,
        "confidence": confidence,
        "seed": seed,
    }
    specs = _distinct(described, helpers > 0)
    # who sees the last model alone is shown other runs than who sees steps
    planted = [name for name in given["canaries"] if name != "tails"]
    groups = len({each == "model" for each in given["observers"]})
    of_each = runs * (len(planted) * groups + ("tails" in given["canaries"]))
    with _progress(len(specs) * of_each) as count:
        from privrobust.audit import audits  # which takes seconds

        found = audits(specs, **given, on_step=count)
    if plot is not None:
        from privrobust.reporting.figures.audits import audits_figure

        with painted(DARK if dark else LIGHT):
            save_figure(audits_figure(found), plot)
    _show(found, form, output)
    refuted = [each for each in found if each.is_refuted]
    if refuted:
        claims = "claim is" if len(found) == 1 else "claims are"
        why = "an attack tells more than epsilon allows"
        if not any(each.is_exceeded for each in refuted):
            why = str(refuted[0].counterexample)
        estimates = sum(each.is_estimate for each in refuted)
        of_these = f", {estimates} of them estimates" if estimates else ""
        say(f"{len(refuted)} of {len(found)} {claims} refuted{of_these}: {why}", err=True)
        raise typer.Exit(REFUTED)


def _names(values: Sequence[str] | None) -> list[str]:
    parts = (part.strip() for value in values or [] for part in value.split(","))
    return list(dict.fromkeys(parts))


def _described(
    context: typer.Context,
    sweep: Path | None,
    store: str | None,
    run: str | None,
    change: Sequence[str],
    no_plugins: bool,
) -> "Sweep":
    """Read what is to be audited."""
    if (sweep is None) == (store is None):
        have = "neither is" if sweep is None else "both are"
        raise SpecError(f"audit: give either a YAML file or --store with --run; {have} given")
    if (store is None) != (run is None):
        raise SpecError("run: --store and --run go together; accepted: both")
    if no_plugins or sweep is None:
        from privrobust.core.plugins import without_plugins

        context.with_resource(without_plugins())
    if sweep is not None:
        from privrobust.sweeps.loading import load_sweep

        sys.path.insert(0, "")  # a spec may name a module beside it: model: my_models:cnn
        return load_sweep(sweep, change)
    return _stored(str(store), str(run), change)


def _stored(location: str, run: str, change: Sequence[str]) -> "Sweep":
    """Read a run of a store, which may come from anybody."""
    from privrobust.data.registry import built_in_source
    from privrobust.reporting.report.recipes import settings_of
    from privrobust.store import Store
    from privrobust.sweeps.loading import changed

    with Store(location, create=False) as results:
        keys = [key for key in sorted(results.keys()) if key.startswith(run)]
        if len(keys) != 1:
            raise SpecError(
                f"run: {shown(run)} starts the keys of {len(keys)} finished runs; accepted: that "
                "of one"
            )
        (row,) = results.runs(keys).to_dict("records")
    settings = {name: value for name, value in settings_of(row).items() if value is not None}
    source = built_in_source(settings["dataset"])
    is_vouched = any(each.partition("=")[0].strip() == "dataset" for each in change)
    if source is not None and source.named_file and not is_vouched:
        raise SpecError(
            f"dataset: {shown(settings['dataset'], 200)} is a file that the store names, which "
            "may come from anybody; accepted: the same with --set dataset=..., if you trust it"
        )
    return changed(settings, change)


def _distinct(described: "Sweep", is_helped: bool) -> "list[RunSpec]":
    """Return runs without what an audit replaces: their seed and, by helpers, their attackers."""
    replaced: dict[str, Any] = {"seed": 0}
    if is_helped:
        replaced |= {"byzantine": 0, "attack": None}
    runs = [run.model_copy(update=replaced) for run in described.runs()]
    return list({run.key: run for run in runs}.values())


@contextmanager
def _progress(runs: int) -> Iterator[Callable[[float], object]]:
    """Show on a terminal how many runs have trained."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("attacking"),
        BarColumn(bar_width=30),
        TextColumn("{task.completed:.0f}/{task.total} runs"),
        TimeRemainingColumn(),
    )
    is_seen = console.is_terminal and not console.is_dumb_terminal
    with Progress(*columns, console=console, disable=not is_seen) as bar:
        task = bar.add_task("", total=runs)
        yield lambda trained: bar.advance(task, trained)


def _show(results: "Sequence[AuditResult]", form: str, output: Path | None) -> None:
    from privrobust.core.json_document import document
    from privrobust.reporting.audits import audit_frame, laid_out
    from privrobust.reporting.tables import FORMATS

    if form == "json":
        write(f"{document([each.as_record() for each in results])}\n".encode(), output)
    elif form == "csv":
        write(csv_of(audit_frame(results)), output)
    elif form == "terminal" and output is None:
        print_table(laid_out(results))
    else:
        write(FORMATS[form](laid_out(results)).encode(), output)
