"""A table as people read it, whatever it is of and whatever it is then written as."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from privrobust.core.displayed import Displayed, told

Attacks = frozenset[tuple[int, str]]
"""f and the attack."""


@dataclass(frozen=True)
class Entry:
    """A cell of a table."""

    text: str = ""
    score: float = math.nan
    """What makes it better than others of its column, NaN where nothing is compared."""
    is_learnt: bool = True
    """Whether it may be the best: what is not clearly above chance is not."""
    is_best: bool = False
    attacks: Attacks = frozenset()
    """Over which it is the worst."""


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    header: tuple[str, ...]
    """From the group that it belongs to down to its own name."""
    is_text: bool = False
    """Whether it tells rows apart: it stands to the left, in HTML as the heading of its row."""
    detail: str = ""
    """What can be done without where there is no room, as another column tells the worst of it."""

    @property
    def title(self) -> str:
        """The header in one line."""
        return " ".join(filter(None, self.header))


@dataclass(frozen=True, repr=False)
class Layout(Displayed):
    """A table as people read it."""

    columns: Sequence[Column]
    blocks: Sequence[Sequence[Sequence[Entry]]]
    """Rows, in blocks that belong together."""
    notes: Sequence[str]
    """What the numbers are, and which guarantee epsilon is."""

    def __repr__(self) -> str:
        """Say in a line how large it is."""
        rows = sum(map(len, self.blocks))
        return told(type(self).__name__, "", [f"{rows} rows", f"{len(self.columns)} columns"])
