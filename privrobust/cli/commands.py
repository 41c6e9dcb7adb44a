"""The commands. They import what they need when they run, so that `--help` is quick."""

import io
import sys
import warnings
from functools import lru_cache
from importlib.metadata import version
from inspect import signature
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from privrobust.cli import tracebacks
from privrobust.cli.audit import audit
from privrobust.cli.budget import budget
from privrobust.cli.check import check
from privrobust.cli.figure import figure
from privrobust.cli.listing import list_
from privrobust.cli.report import report
from privrobust.cli.saying import say
from privrobust.cli.status import status
from privrobust.cli.table import table
from privrobust.cli.train import export, run
from privrobust.core.escaping import PLAIN, in_terminal
from privrobust.errors import PrivRobustError
from privrobust.store.address import without_addresses, without_secrets

BAD_INPUT = 2


class _Commands(TyperGroup):
    """Ours, which do not repeat a password that stands where none belongs."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            if hasattr(error, "format_message"):  # click's, of wrong usage
                message = _printable(str(getattr(error, "message", "")))
                error.message = message  # type: ignore[attr-defined]
                if "Did you mean" in message and hasattr(error, "possibilities"):
                    error.possibilities = None  # typer has said so, and click 8.5 would again
            raise


class _Command(TyperCommand):
    def __init__(self, *given: Any, **more: Any) -> None:
        """Give arguments back their help, which some typer and click lose between them."""
        super().__init__(*given, **more)  # typer 0.20 sets it before click 8.5 sets none
        stated = signature(self.callback).parameters if self.callback else {}
        for each in [each for each in self.params if each.name in stated]:
            for info in getattr(stated[str(each.name)].annotation, "__metadata__", ()):
                each.help = getattr(each, "help", None) or info.help

    def format_arguments(self, ctx: Any, formatter: Any) -> None:
        """Write nothing: typer writes arguments with the options, and click 8.5 would again."""

    def get_help(self, ctx: Any) -> str:
        """Return it as it is to be read: older ones of typer escape brackets for rich, unasked."""
        return super().get_help(ctx).replace("\\[", "[")


class _OwnCode(_Command, tracebacks.Command):
    """One that may run users' code."""


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode=None,  # rich would read what stands in brackets, as names do, as markup
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"privrobust {version('privrobust')}")
        raise typer.Exit


@app.callback()
def _privrobust(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_say_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Measure privacy, robustness and utility of noisy median and sign SGD together."""


app.command(cls=_OwnCode, context_settings={"allow_extra_args": True})(tracebacks.offered(budget))
app.command(cls=_OwnCode)(tracebacks.offered(run))
app.command(cls=_OwnCode)(tracebacks.offered(status))
app.command(cls=_Command)(export)
app.command(cls=_OwnCode)(tracebacks.offered(table))
app.command(cls=_OwnCode)(tracebacks.offered(report))
app.command(cls=_OwnCode)(tracebacks.offered(figure))
app.command(cls=_OwnCode)(tracebacks.offered(audit))
app.command(cls=_OwnCode)(tracebacks.offered(check))
app.command("list", cls=_OwnCode)(tracebacks.offered(list_))


def run_command() -> None:
    """Do what the command line says: errors a user can act on are one line, exit 2."""
    warnings.showwarning = _show_warning
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=PLAIN)  # a terminal without ± still gets its table
    try:
        app()
    except PrivRobustError as error:
        say(_printable(str(error)), "error: ", err=True)
        sys.exit(BAD_INPUT)


def _show_warning(message: Warning | str, *where: object, **more: object) -> None:
    _warn_once(str(message))


@lru_cache
def _warn_once(text: str) -> None:
    say(_printable(text), "warning: ", err=True)


def _printable(text: str) -> str:
    """Write a message in one line, without secrets of addresses, wherever these were given."""
    for argument in sys.argv[1:]:
        for address in (argument, argument.partition("=")[2]):
            text = without_secrets(text, address)
    return in_terminal(without_addresses(text))
