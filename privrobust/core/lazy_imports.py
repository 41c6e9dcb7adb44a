"""torch, pandas and what packages offer, imported when something of them is first used.

torch takes a second and 200 MB, and looking names up takes none of it. What describes a run (rules,
attacks, data, losses) therefore has, in place of `import torch`,

>>> from privrobust.core.lazy_imports import torch
>>> torch.zeros(2).tolist()
[0.0, 0.0]

and imports `Tensor` for type checkers alone. Packages whose modules need torch offer what is in
them by `attributes`.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any


class _Late:
    """Stands for a module that is imported at the first look into it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._module: ModuleType | None = None

    def __getattr__(self, attribute: str) -> Any:
        if self._module is None:
            self._module = import_module(self._name)
        return getattr(self._module, attribute)


def attributes(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Make a package's `__getattr__`, which imports what is asked for (PEP 562).

    Args:
        package: its `__name__`.
        homes: by name, the module of the package that has it, such as `training.loop`.

    """

    def get(name: str) -> Any:
        if name in homes:
            return getattr(import_module(f"{package}.{homes[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get


if TYPE_CHECKING:
    import pandas as pandas
    import torch as torch
    from torch import nn as nn
else:
    pandas = _Late("pandas")
    torch, nn = _Late("torch"), _Late("torch.nn")
