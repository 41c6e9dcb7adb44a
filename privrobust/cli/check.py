"""The command that holds what configurations claim against what they do."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privrobust.cli.saying import say
from privrobust.cli.table import csv_of, print_table, write
from privrobust.errors import unknown_name

if TYPE_CHECKING:
    from privrobust.federated.check.reading import Checked

FAILED = 1

_FORMS = ("terminal", "markdown", "latex", "html", "csv", "json")


def check(
    config: Annotated[
        Path,
        typer.Argument(
            help="A Flower app or its pyproject.toml, an NVFlare job, or a YAML file of runs."
        ),
    ],
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="name=value: answers what is asked, or replaces; repeat."),
    ] = None,
    form: Annotated[
        str, typer.Option("--format", help="terminal, markdown, latex, html, csv or json.")
    ] = "terminal",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write, instead of the screen.")
    ] = None,
) -> None:
    """Say which privacy a configuration claims, what of it holds, and why.

    Source and files are read, never run. What they do not state is asked back,
    and --set answers. The exit code is 1 where a claim does not hold; one that
    cannot be told, for want of answers, does not count.

    \b
    Examples:
      $ privrobust check my-flower-app
      $ privrobust check my-flower-app --set delta=1e-5 --set largest_share=0.05
      $ privrobust check jobs/my-nvflare-job --set parameters=62006 --format json
    """
    if form not in _FORMS:
        raise unknown_name("format", form, _FORMS)
    from privrobust.federated.check.reading import check as checked_of

    checked = checked_of(config, change or [])
    _show(checked, form, output)
    failed = sum(found.verdict == "does not hold" for found in checked.findings)
    if failed:
        claims = "claim does" if failed == 1 else "claims do"
        say(f"{failed} {claims} not hold", err=True)
        raise typer.Exit(FAILED)


def _show(checked: "Checked", form: str, output: Path | None) -> None:
    from privrobust.core.json_document import document
    from privrobust.reporting.checks import NOTHING, check_frame, laid_out, record
    from privrobust.reporting.tables import FORMATS

    if form == "json":
        write(f"{document(record(checked))}\n".encode(), output)
    elif form == "csv":
        write(csv_of(check_frame(checked)), output)
    elif not checked.findings:
        write("".join(f"{line}\n" for line in (NOTHING, *checked.reading.notes)).encode(), output)
    elif form == "terminal" and output is None:
        print_table(laid_out(checked))
    else:
        write(FORMATS[form](laid_out(checked)).encode(), output)
