"""Calls of ByzPy, which is an extra step to install: a cell says so where it is not."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

Call = Callable[[], object]

NOT_INSTALLED = "not installed"


def byzpy_call(
    use: Callable[[Any], object], place: str, *arguments: object, **settings: object
) -> Call | str:
    """Make an object of ByzPy's class at `place`, to be used in every call; or what a cell says."""
    if find_spec("byzpy") is None:
        return NOT_INSTALLED
    module, _, name = place.rpartition(".")
    made = getattr(import_module(f"byzpy.{module}"), name)(*arguments, **settings)
    return lambda: use(made)
