"""`--traceback`: of an error in a user's own code, all that led to it."""

import traceback
from collections.abc import Iterable
from typing import Any

import typer
from typer.core import TyperCommand, TyperOption

from privrobust.core.escaping import in_terminal
from privrobust.errors import PrivRobustError, in_a_line, is_of_a_user, root
from privrobust.store.address import without_addresses

_ASKED = "privrobust.traceback"


class Command(TyperCommand):
    """One that may run users' code; what that raises is a line, and on demand a traceback."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.params.append(
            TyperOption(
                param_decls=["--traceback"],
                is_flag=True,
                expose_value=False,
                callback=lambda context, option, asked: context.meta.update({_ASKED: asked}),
                help="Of an error in your own code, show all that led to it.",
            )
        )

    def invoke(self, ctx: Any) -> Any:
        """Run it.

        Raises:
            PrivRobustError: in place of whatever else users' code raises, too.

        """
        try:
            return super().invoke(ctx)
        except Exception as error:
            if not (isinstance(error, PrivRobustError) or is_of_a_user(error)):
                raise
            if is_asked(ctx):
                say(traceback.format_exception(root(error)))
            if isinstance(error, PrivRobustError):
                raise
            raise PrivRobustError(in_a_line(error)) from error


def is_asked(context: Any) -> bool:
    """Tell whether the command was given `--traceback`."""
    return bool(context.meta.get(_ASKED))


def say(lines: Iterable[str]) -> None:
    """Print a traceback on stderr; what it quotes is text."""
    for line in "".join(lines).splitlines():
        typer.echo(in_terminal(without_addresses(line)), err=True)
