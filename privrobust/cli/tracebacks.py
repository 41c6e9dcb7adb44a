"""`--traceback`: of an error in a user's own code, all that led to it."""

import traceback
from collections.abc import Callable, Iterable
from functools import wraps
from inspect import Parameter, signature
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from privrobust.core.escaping import in_terminal
from privrobust.errors import PrivRobustError, in_a_line, is_of_a_user, root
from privrobust.store.address import without_addresses

_ASKED = "privrobust.traceback"


def _ask(context: typer.Context, asked: bool) -> bool:
    context.meta[_ASKED] = asked
    return asked


_Option = Annotated[
    bool,
    typer.Option(
        "--traceback", callback=_ask, help="Of an error in your own code, show all that led to it."
    ),
]


def offered(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that takes `--traceback` besides."""
    own = signature(command)

    @wraps(command)
    def with_option(*given: Any, traceback: bool, **settings: Any) -> None:
        command(*given, **settings)

    option = Parameter("traceback", Parameter.KEYWORD_ONLY, default=False, annotation=_Option)
    parameters = [*own.parameters.values(), option]
    with_option.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_option.__annotations__ = {**command.__annotations__, "traceback": _Option}
    return with_option


class Command(TyperCommand):
    """One that may run users' code; what that raises is a line, and on demand a traceback."""

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
