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
) -> None:
    """Write one self-contained page that shows what is in a store: table, figures, guarantee.

    It needs no network and no server: open it, mail it, print it. Charts need altair and
    vl-convert-python (pip install 'privrobust[report]').

    \b
    Example:
      $ privrobust report results.db -o report.html
    """
    same = "://" not in store and Path(store).exists() and output.exists()
    if same and output.samefile(store):
        raise SpecError(f"output: {str(output)!r} is the store; accepted: another file")
    from privrobust.reporting.report.page import write_report
    from privrobust.store import Store

    with Store(store, create=False) as results:
        write_report(results, output)
    say(f"{output}: open it in a browser")
