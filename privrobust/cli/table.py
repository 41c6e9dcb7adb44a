"""The command that makes tables of a store."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privrobust.cli.saying import say
from privrobust.core.escaping import in_csv, in_encoding, in_terminal
from privrobust.core.files import write_whole
from privrobust.core.formatting import NBSP, counted
from privrobust.core.json_document import document, records
from privrobust.core.window import columns_of
from privrobust.errors import SpecError, unknown_name

if TYPE_CHECKING:
    import pandas as pd

    from privrobust.reporting.tables import Layout

_DATA = ("csv", "json", "parquet")


def table(
    store: Annotated[str, typer.Argument(help="File or postgresql:// address of results.")],
    preset: Annotated[
        str | None,
        typer.Option(
            help="attacks (default), budget, clipping, fairness, generalisation, noise, theory, "
            "trilemma or tuning."
        ),
    ] = None,
    rows: Annotated[
        str | None, typer.Option(help="Fields that come first, in place of a preset: a,b.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="Fields that are spread over columns; epsilon is one.")
    ] = None,
    show: Annotated[
        str | None, typer.Option(help="Of epsilon,clean,attacks,worst,success,gap,breakdown.")
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(help="What is shown: accuracy (default), worst_class_accuracy, ...: a,b."),
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="field=value, or field=[a, b]: these runs; repeat.")
    ] = None,
    sweep: Annotated[
        Path | None, typer.Option(help="A YAML file: its runs only, of a store of several sweeps.")
    ] = None,
    form: Annotated[
        str, typer.Option("--format", help="terminal, markdown, latex, html, csv, json or parquet.")
    ] = "terminal",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write, instead of the screen.")
    ] = None,
) -> None:
    """Make a table of the runs in a store: means over seeds with 95 % intervals.

    A preset says what is compared; --rows, --columns, --show and --metric build another table. csv,
    json and parquet hold one row a cell, with all digits: every cell, so without these.

    A window that is narrower than the table shows it in parts; a file has every row in one line.

    \b
    Examples:
      $ privrobust table results.db
      $ privrobust table results.db | less -S
      $ privrobust table results.db --preset trilemma --where heterogeneity=1
      $ privrobust table results.db --preset noise --format latex -o noise.tex
    """
    from privrobust.cli.stored import finished
    from privrobust.reporting.tables import FORMATS, chosen, tested, validated
    from privrobust.store import Store

    check_format(form)
    if form in _DATA:
        options = {"preset": preset, "rows": rows, "columns": columns, "show": show}
        _refuse(form, {**options, "metric": metric})
    with Store(store, create=False) as results:
        runs = finished(results, sweep)
    runs = chosen(runs, where or [])
    found, runs = len(runs), validated(runs) if preset == "tuning" else tested(runs)
    if preset != "tuning" and len(runs) < found:
        say(
            f"Left out: {counted(found - len(runs), 'run')} on validation data, there to tune by; "
            "--where evaluate_on=validation shows them.\n",
            err=True,
        )
    if form in _DATA:
        write(_data(runs, form, output), output)
        return
    layout = _laid_out(runs, preset, rows, columns, show, metric)
    if form == "terminal" and output is None:
        if preset is rows is columns is show is metric is None:
            _print_findings(runs)
        print_table(layout)
    else:
        write(FORMATS[form](layout).encode(), output)


def _laid_out(
    runs: "pd.DataFrame",
    preset: str | None,
    rows: str | None,
    columns: str | None,
    show: str | None,
    metric: str | None,
) -> "Layout":
    from privrobust.reporting import tables
    from privrobust.reporting.metrics import ACCURACY

    if rows is columns is show is metric is None:
        return tables.preset(preset or "attacks")(runs)
    if preset is not None:
        raise SpecError(
            f"preset: {preset} with --rows, --columns, --show or --metric; accepted: one of them"
        )
    metrics = _names(metric) or ACCURACY
    return tables.lay_out(runs, _names(show) or None, _names(rows), _names(columns), metrics)


def _refuse(form: str, options: dict[str, str | None]) -> None:
    """Refuse what lays tables out for a format of data."""
    for name, value in options.items():
        if value is not None:
            raise SpecError(
                f"{name}: {value!r} says nothing of {form}, which holds every cell; accepted: "
                "with terminal, markdown, latex or html"
            )


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()] if text else []


def check_format(form: str) -> None:
    """Refuse what no table is written as."""
    from privrobust.reporting.tables import FORMATS

    if form not in {*FORMATS, *_DATA}:
        raise unknown_name("format", form, [*FORMATS, *_DATA])


def _data(runs: "pd.DataFrame", form: str, output: Path | None) -> bytes:
    from privrobust.reporting.findings import findings
    from privrobust.reporting.legend import promise
    from privrobust.reporting.tables import data

    cells = data(runs)
    if form == "csv":
        return csv_of(cells)
    if form == "json":
        found = [text.replace(NBSP, " ") for text in findings(runs)]
        table = {"rows": records(cells), "findings": found, "notes": list(promise(runs))}
        written = document(table)
        return f"{written}\n".encode()
    if output is None:
        raise SpecError("format: parquet is no text; accepted: with --output FILE")
    mixed = [name for name in cells if cells[name].map(type).nunique() > 1]
    try:
        return cells.astype(dict.fromkeys(mixed, str)).to_parquet(index=False)
    except ImportError:
        raise SpecError(
            "format: parquet needs the package pyarrow: pip install 'privrobust[data]'"
        ) from None


def csv_of(cells: "pd.DataFrame") -> bytes:
    """Write cells as CSV, in which no text is a formula."""
    from pandas.api.types import is_numeric_dtype

    for name in cells:
        if not is_numeric_dtype(cells[name]):
            cells[name] = [in_csv(each) if isinstance(each, str) else each for each in cells[name]]
    return cells.to_csv(index=False).encode()


def print_runs(runs: "pd.DataFrame", form: str) -> None:
    """Print the default table of these runs in a format that is text."""
    from privrobust.reporting.tables import FORMATS, lay_out

    if form in _DATA:
        write(_data(runs, form, None), None)
    elif form == "terminal":
        _print_findings(runs)
        print_table(lay_out(runs))
    else:
        write(FORMATS[form](lay_out(runs)).encode(), None)


def write(content: bytes, output: Path | None) -> None:
    """Write to the screen, or to a file."""
    if output is None:
        typer.echo(content.decode(), nl=False)
    else:
        write_whole(content, output)


def _print_findings(runs: "pd.DataFrame") -> None:
    """Print what the runs found, in sentences, before the table that has all of it."""
    from privrobust.reporting.findings import findings
    from privrobust.reporting.tables.formats import prose_lines

    said = prose_lines(findings(runs), columns_of(sys.stdout))
    encoding = sys.stdout.encoding or "utf-8"
    typer.echo("\n".join([*(in_encoding(line, encoding) for line in said), ""]))


def print_table(layout: "Layout") -> None:
    """Print a table, in parts that fit where a window shows it, and whole elsewhere."""
    from privrobust.reporting.tables.folding import folded
    from privrobust.reporting.tables.formats import lines, note_lines

    columns = columns_of(sys.stdout)
    first, parts = folded(_writable(layout), columns)
    if first:
        say("\n".join([*first, ""]))
    for part in parts:
        print(*lines(part, _bold), sep="\n")
    print(*note_lines(layout, columns), sep="\n", flush=True)


def _writable(layout: "Layout") -> "Layout":
    """Write a table in the signs that the screen has, so that its columns stay straight."""
    encoding = sys.stdout.encoding or "utf-8"

    def text(of: str) -> str:
        return in_encoding(in_terminal(of), encoding)

    return replace(
        layout,
        columns=[replace(each, header=tuple(map(text, each.header))) for each in layout.columns],
        blocks=[
            [[replace(entry, text=text(entry.text)) for entry in row] for row in block]
            for block in layout.blocks
        ],
        notes=[text(note) for note in layout.notes],
    )


def _bold(text: str) -> str:
    """Write the best of a column bold where that can be seen; it has a star everywhere."""
    is_plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return text if is_plain or not sys.stdout.isatty() else typer.style(text, bold=True)
