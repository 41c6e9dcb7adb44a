"""How findings word what was measured: lists, changes, shares with their intervals."""

from collections.abc import Iterable, Sequence
from textwrap import shorten
from typing import TypeVar

from privrobust.core.formatting import NBSP, in_percent
from privrobust.reporting.paired import Estimate, Values, difference

MOST = 4
"""Names, epsilons, or groups of them, that a sentence lists."""
_LONGEST_NAME = 60  # characters, of data and models
_LONGEST_REASON = 80
_Found = TypeVar("_Found")


def listed(names: Sequence[str], between: str = "and", most: int = MOST) -> str:
    """List names, at most so many; the last after a word, or all with what is no word between."""
    if len(names) > most:
        names = [*names[:most], f"{len(names) - most} more"]
    if not between.isalpha() or len(names) < 2:
        return between.join(names)
    return f"{', '.join(names[:-1])} {between} {names[-1]}"


def spread(found: Sequence[_Found]) -> Sequence[_Found]:
    """Keep the ends of many, and some between."""
    if len(found) <= MOST:
        return found
    return [found[round(place * (len(found) - 1) / (MOST - 1))] for place in range(MOST)]


def ends(names: Sequence[str]) -> str:
    """Name neighbours, of many the ends."""
    return f"{names[0]} to {names[-1]}" if len(names) > 2 else listed(names)


def share(found: Estimate) -> str:
    """Write a mean in percent, without its sign, and half of its interval."""
    mean, half = in_percent(found.mean, found.half)
    return f"{mean}{NBSP}±{NBSP}{half}" if half else mean


def change(new: Values, old: Values) -> str:
    """Write by how much accuracies differ seed by seed, with a sign; empty if no seed has both."""
    found = difference(new, old)
    if not found.seeds:
        return ""
    told = share(found)
    is_zero = not told.partition(NBSP)[0].strip("0.")
    return told if is_zero or told.startswith("-") else f"+{told}"


def named(thing: object) -> str:
    """Name data or a model, in short."""
    return shorten(str(thing), _LONGEST_NAME, placeholder=" ...")


def reasons(failures: Iterable[object]) -> str:
    """Give the first of the reasons why runs failed, and how many more there are."""
    first, *others = dict.fromkeys(map(str, failures))
    more = f", and {len(others)} more reason{'s'[: len(others) - 1]}" if others else ""
    return shorten(first, _LONGEST_REASON, placeholder=" ...") + more


def capital(text: str) -> str:
    """Begin a sentence."""
    return text[:1].upper() + text[1:]
