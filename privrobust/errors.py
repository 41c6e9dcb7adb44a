"""What privrobust raises and warns with: one line that names the field, the value, the remedy."""

import sysconfig
import traceback
from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from reprlib import Repr
from typing import Any

_LONGEST = 40
_MOST_BITS = 128  # of a whole number that is written out
_NOT_A_USERS = {"privrobust", "numpy", "torch"}
_STDLIB = sysconfig.get_path("stdlib")
_INSTALLED = {"site-packages", "dist-packages"}
# What is raised to say something to people, in words of their own: its type adds nothing.
_SAY_IT_THEMSELVES = {
    *(Exception, RuntimeError, ValueError),
    *(ImportError, ModuleNotFoundError, SyntaxError, IndentationError, TabError),
}


class PrivRobustError(Exception):
    """Base of every error that a user can act on; the command line prints it and exits with 2."""


class SpecError(PrivRobustError, ValueError):
    """A setting that is unknown, impossible, or contradicts another."""

    field: str | None = None
    """The field of a spec that it is about, where the text starts with another: `Krum.f`."""


class BudgetExhausted(PrivRobustError):
    """A release that a ledger refuses, as it would spend more than is allowed: send nothing."""


class PrivRobustWarning(UserWarning):
    """A result that holds, with a caveat that the user should read."""


def failure(of: object, error: Exception, method: str) -> PrivRobustError:
    """Make the error for a class, a user's own perhaps, in which another was raised: one line.

    Args:
        of: the object.
        error: as it was caught where the method was called.
        method: how it is to be defined, for one that cannot even be called so.

    """
    if isinstance(error, PrivRobustError):
        return error
    if is_of_the_call(error):
        return SpecError(f"{type(of).__name__}: it cannot be called so; accepted: {method}")
    return SpecError(f"{type(of).__name__}: it failed ({in_a_line(error)})")


def is_of_the_call(error: BaseException) -> bool:
    """Tell whether what was called takes other arguments: none of its own lines ran."""
    was_called = error.__traceback__ and error.__traceback__.tb_next
    return isinstance(error, TypeError) and not was_called


def in_a_line(error: BaseException) -> str:
    """Of an error of other people's code, what it says, and where in a user's file it was raised.

    Its type is told where what it says is no sentence without: `KeyError: 'oops'`.
    """
    return ", ".join([said(error), *(f"{name}, line {line}" for name, line in _place(error))])


def said(error: BaseException) -> str:
    """Return the first line of what an error of other people's code says."""
    if isinstance(error, OSError) and error.strerror:  # without the system's number for it
        named = [shown(error.filename, 5 * _LONGEST)] if error.filename is not None else []
        return ": ".join([error.strerror, *named])
    text, name = text_of(error).split("\n")[0], type(error).__name__
    if not text:
        return name
    return text if type(error) in _SAY_IT_THEMSELVES and text != name else f"{name}: {text}"


def _place(error: BaseException) -> list[tuple[str, int]]:
    """Return file and line of a user's that led to an error, the last of them; at most one."""
    frames = [
        (Path(frame.f_code.co_filename), line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__", "").partition(".")[0] not in _NOT_A_USERS
        and not frame.f_code.co_filename.startswith("<frozen ")
    ]
    return [(file.name, line) for file, line in frames if not is_installed(file)][-1:]


def is_of_a_user(error: BaseException) -> bool:
    """Tell whether an error was raised in, or by what was called from, code of a user's own."""
    return bool(_place(error))


def is_installed(file: Path) -> bool:
    """Tell whether a file or folder is Python's own, or of what was installed for it."""
    return bool(_INSTALLED.intersection(file.parts)) or file.is_relative_to(_STDLIB)


def root(error: BaseException) -> BaseException:
    """Return the error that led to this one, over however many others: a user's own, perhaps."""
    known = {id(error)}
    while (cause := _cause(error)) is not None and id(cause) not in known:
        error = cause
        known.add(id(error))
    return error


def _cause(error: BaseException) -> BaseException | None:
    if error.__cause__ is not error:
        return error.__cause__
    context = error.__context__  # it was raised again, from itself, which hid what it came from
    return context if context is not None and is_of_a_user(context) else None


def text_of(error: BaseException) -> str:
    """Return what an error says, or the name of its type where it cannot say it."""
    try:
        return str(error)
    except Exception:  # whatever a user's class raises
        return type(error).__name__


def unknown_name(kind: str, name: object, known: Iterable[str]) -> SpecError:
    """Make the error for a name that no registry has: what exists, and the closest match."""
    names = sorted(known)
    likely = in_short(name) if isinstance(name, str) else shown(name)
    hint = did_you_mean(likely, names)
    return SpecError(f"{kind}: unknown name {shown(name)}{hint} (known: {', '.join(names)})")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of an error: the known name that is closest, or nothing if none is close."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def shown(value: object, longest: int = _LONGEST) -> str:
    """Return how an error shows a value: its repr, in one short line whatever that is or does."""
    if isinstance(value, bool):
        return str(value).lower()  # as YAML has it
    if type(value) is int and value.bit_length() > _MOST_BITS:
        return f"a number of {value.bit_length()} bits"
    try:
        text = str(_BOUNDED.repr(value))
    except Exception:  # whatever a user's class raises
        text = f"a {type(value).__name__}"
    return in_short(text, longest)


def in_short(text: str, longest: int = 2 * _LONGEST) -> str:
    """Return the beginning of a text as one line that a terminal shows as it is."""
    line = "".join(each if each.isprintable() else " " for each in text[: 4 * longest])
    line = " ".join(line.split())
    cut = len(line) > longest or len(text) > 4 * longest
    return f"{line[: longest - 3]}..." if cut else line


class _Bounded(Repr):
    """The beginning of a repr: lists in lists that a few lines of YAML make have no end of it."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdict = 20
        self.maxstring = self.maxlong = 1000

    def repr_instance(self, x: Any, level: int) -> str:
        return repr(x)

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        """Write one in its own order, which `Repr` would sort."""
        if x and level <= 0:
            return "{...}"
        pieces = [
            f"{self.repr1(key, level - 1)}: {self.repr1(value, level - 1)}"
            for key, value in islice(x.items(), self.maxdict)
        ]
        return "{" + ", ".join(pieces + ["..."] * (len(x) > self.maxdict)) + "}"


_BOUNDED = _Bounded()
