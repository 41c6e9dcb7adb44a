"""What privrobust raises and warns with: one line that names the field, the value, the remedy."""

from collections.abc import Iterable
from difflib import get_close_matches


class PrivRobustError(Exception):
    """Base of every error that a user can act on; the command line prints it and exits with 2."""


class SpecError(PrivRobustError, ValueError):
    """A setting that is unknown, impossible, or contradicts another."""


class PrivRobustWarning(UserWarning):
    """A result that holds, with a caveat that the user should read."""


def failure(of: object, error: Exception) -> PrivRobustError:
    """The error for a class, a user's own perhaps, in which another was raised: one line."""
    if isinstance(error, PrivRobustError):
        return error
    return SpecError(f"{type(of).__name__}: it failed ({in_a_line(error)})")


def in_a_line(error: BaseException) -> str:
    """Of an error of other people's code, its type and its first line."""
    return f"{type(error).__name__}: {error}".split("\n")[0]


def unknown_name(kind: str, name: str, known: Iterable[str]) -> SpecError:
    """The error for a name that no registry has: what exists, and the closest match."""
    names = sorted(known)
    close = get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return SpecError(f"{kind}: unknown name {name!r}{hint} (known: {', '.join(names)})")
