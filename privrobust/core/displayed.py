"""What objects show of themselves: one short line in a terminal, a small table in a notebook.

>>> called("Push", {"scale": 2.0, "at": "mean"})
"Push(scale=2.0, at='mean')"
>>> told("Push", "mean", ["scale 2", "3 steps"])
'<Push mean: scale 2, 3 steps>'
"""

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from itertools import accumulate
from typing import Any

from privrobust.errors import in_short, shown

LONGEST = 200  # characters of a line
_LONGEST_PART = 60


class Displayed:
    """An object that notebooks show as a small table.

    What is in it `privrobust.reporting.notebook` says, for every kind in one place.
    """

    __slots__ = ()

    def _repr_html_(self) -> str:
        """Return a piece of HTML that needs nothing else, for Jupyter and others."""
        html: str = of_notebooks("html")(self)
        return html


def of_notebooks(name: str) -> Callable[..., Any]:
    """Return a function of `privrobust.reporting.notebook`.

    It is asked for by its name, as pandas asks what draws its plots: rooms below reporting import
    nothing of it.
    """
    function: Callable[..., Any] = getattr(import_module("privrobust.reporting.notebook"), name)
    return function


def called(name: str, arguments: Mapping[str, object]) -> str:
    """Write a call that makes an object again, unless it is long: then its beginning."""
    parts = [f"{each}={shown(value, _LONGEST_PART)}" for each, value in arguments.items()]
    return f"{in_short(name, _LONGEST_PART)}({_joined(parts)})"


def told(kind: str, name: str, facts: Iterable[str]) -> str:
    """Write what an object is, in a line that is no call: `<Store results.db: 3 runs done>`."""
    head = f"{in_short(kind, _LONGEST_PART)} {in_short(name, _LONGEST_PART)}".strip()
    said = _joined([in_short(fact, _LONGEST_PART) for fact in facts])
    return f"<{head}: {said}>" if said else f"<{head}>"


def _joined(parts: list[str]) -> str:
    """Join as many as a line has room for, beside 60 characters of a name."""
    ends = accumulate(len(part) + 2 for part in parts)
    kept = sum(end <= LONGEST - _LONGEST_PART for end in ends)
    more = [f"... {len(parts) - kept} more"] if kept < len(parts) else []
    return ", ".join(parts[:kept] + more)
