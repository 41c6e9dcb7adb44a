"""The entry point of the command line: it listens to signals before it loads anything."""

import sys
from typing import TYPE_CHECKING, Any

from privrobust.core.interrupts import run_as_process

if TYPE_CHECKING:
    from privrobust.cli.commands import app

__all__ = ["app", "main"]


def main() -> None:
    """Run the `privrobust` command; where it is what the whole program does, end the process."""
    from_the_top = sys._getframe(1).f_back is None  # elsewhere, others go on after it
    if from_the_top:
        run_as_process(_run)
    _run()


def _run() -> None:
    from privrobust.cli.commands import run_command

    run_command()


def __getattr__(name: str) -> Any:
    """Load the commands for who asks for them (PEP 562)."""
    if name == "app":
        from privrobust.cli.commands import app

        return app
    raise AttributeError(f"module 'privrobust.cli.main' has no attribute {name!r}")
