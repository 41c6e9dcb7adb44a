"""The command that writes the report."""

from pathlib import Path
from typing import Annotated

import typer

from privrobust.cli.saying import say
from privrobust.errors import SpecError


def report(
    store: Annotated[str, typer.Argument(help="File or postgresql:// address of results.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page to write.")] = Path(
        "report.html"
    ),
    sweep: Annotated[
        Path | None,
        typer.Option(
            help="A YAML file: its runs only, of a store of several sweeps; the page has its name."
        ),
    ] = None,
) -> None:
    """Write one self-contained page that shows what a store holds: findings, table, figures.

    It needs no network and no server: open it, mail it, print it. Charts need altair and
    vl-convert-python (pip install 'privrobust[report]').

    \b
    Example:
      $ privrobust report results.db -o report.html
    """
    same = "://" not in store and Path(store).exists() and output.exists()
    if same and output.samefile(store):
        raise SpecError(f"output: {str(output)!r} is the store; accepted: another file")
    from privrobust.cli.stored import finished
    from privrobust.reporting.report.page import write_report
    from privrobust.store import Store

    with Store(store, create=False) as results:
        if sweep is None:
            write_report(results, output)
        else:
            write_report(results, output, finished(results, sweep), sweep.stem)
    say(f"{output}: open it in a browser")
