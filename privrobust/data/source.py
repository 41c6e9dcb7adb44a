"""Where datasets come from: small classes that load one, and the folders that they look in."""

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import ClassVar

from privrobust.core.parameters import Configured, parameter
from privrobust.data.dataset import Dataset
from privrobust.data.splitting import MOST_VALIDATION, VALIDATION
from privrobust.errors import SpecError, shown

VARIABLE = "PRIVROBUST_DATA"
"""The environment variable that names the folder of data."""


@dataclass(frozen=True)
class Source(Configured, ABC):
    """A dataset that specs can name, with its parameters."""

    needs_folder: ClassVar[bool] = True
    """Whether it looks into the folder of data at all."""
    file_parameter: ClassVar[str | None] = None
    """The parameter that says which file is read, if one does."""

    @property
    def named_file(self) -> str | None:
        """The file that its parameters name."""
        return getattr(self, self.file_parameter) if self.file_parameter else None

    @property
    def measures_data(self) -> bool:
        """Whether what it loads depends on what is measured on private examples, uncounted."""
        return False

    def files(self, folder: Path) -> list[Path]:
        """List the files that it would read: where they change, it is loaded again."""
        return []

    @abstractmethod
    def load(self, name: str, folder: Path) -> Dataset:
        """Read it into memory.

        Args:
            name: what the dataset is called.
            folder: of data.

        Raises:
            SpecError: a file is missing, corrupt, or holds what is no data for training.

        """


@dataclass(frozen=True, kw_only=True)
class HoldsOut(Source):
    """A source that holds some of its training examples out.

    Args:
        validation: the share of an official training split that is for validation, and where there
            is no official test split of all examples; 0 to train on it, too.

    """

    validation: float = parameter(VALIDATION, least=0, most=MOST_VALIDATION)


def data_folder(given: str | None) -> Path:
    """Find the folder of data: that given, the environment variable's, or one in the home folder.

    Raises:
        SpecError: one was named that does not exist.

    """
    for origin, named in (("data_dir", given), (VARIABLE, os.environ.get(VARIABLE))):
        if named:
            folder = Path(named).expanduser()
            if not os.path.isdir(folder):  # as Path.is_dir, which raises for a name too long
                looked = "" if folder.is_absolute() else f"; looked in: {os.getcwd()}"
                raise SpecError(f"{origin}: {shown(named, 200)} is no folder{looked}")
            return folder
    return Path.home() / ".cache" / "privrobust"


def places_of(path: str, folder: Path) -> list[Path]:
    """List where what a parameter names may lie: `data_dir`, the folder of data, where we are."""
    folders = dict.fromkeys((folder, data_folder(None), Path()))
    return [each / Path(path).expanduser() for each in folders]


def named_folder(path: str, folder: Path) -> Path:
    """Return the first of these places that is a folder, or the name as it is."""
    return next(filter(os.path.isdir, places_of(path, folder)), Path(path))


def none_there(kind: str, path: str, folder: Path) -> SpecError:
    """Return the error that no such file, or folder, is in any of these places."""
    looked = dict.fromkeys(str(place.absolute().parent) for place in places_of(path, folder))
    return SpecError(
        f"dataset: path: there is no {kind} {shown(path, 200)}; looked in: {', '.join(looked)}"
    )


def needed(module: str, dataset: str) -> ModuleType:
    """Import a module of the extra `data`.

    Raises:
        SpecError: it is not installed.

    """
    package = module.partition(".")[0]
    try:
        return import_module(module)
    except ImportError as error:
        raise SpecError(
            f"dataset: {dataset} needs the package {package} ({error}); "
            "pip install 'privrobust[data]'"
        ) from None
