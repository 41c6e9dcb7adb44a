"""What stands for a value that source does not tell."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Unknown:
    """A value that cannot be told without running something."""

    text: str
    """The expression."""
