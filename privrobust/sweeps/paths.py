"""Paths in a sweep's file, which start from the folder that it lies in.

What a run is does not depend on that folder: a dataset keeps its name as it is written, and where
its file lies is the run's `data_dir`, which is in no key.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from privrobust.data.registry import named_file
from privrobust.errors import SpecError
from privrobust.spec.values import named
from privrobust.sweeps.run_maker import Settings
from privrobust.sweeps.yaml_lines import Field, as_written


def located(places: Iterable[Settings]) -> list[tuple[Settings, Settings]]:
    """Return settings, and with each the folder of its dataset, for runs without a `data_dir`.

    A `data_dir` of a file is a folder beside it, or else of the working directory, where that of
    `--set` is. A dataset that is a file, as `table(path='scans.csv', ...)` is, has the folder of
    the sweep's.

    Args:
        places: settings as one place of a sweep has them.

    """
    known: dict[tuple[Path, int], bool] = {}  # of values that the points of a grid share
    return [(_beside(each), _folder_of_dataset(each, known)) for each in places]


def _beside(settings: Settings) -> Settings:
    given = settings.get("data_dir")
    if not isinstance(given, str) or not isinstance(as_written("data_dir", settings), Field):
        return settings
    folder, named = _folder("data_dir", settings) or Path(), Path(given).expanduser()
    is_elsewhere = os.path.isdir(named) and not os.path.isdir(folder / named)
    return settings | {"data_dir": os.path.abspath(named if is_elsewhere else folder / named)}


def _folder_of_dataset(settings: Settings, known: dict[tuple[Path, int], bool]) -> Settings:
    if "dataset" not in settings:
        return {}
    folder, dataset = _folder("dataset", settings), settings["dataset"]
    if folder is None:
        return {}
    at = folder, id(dataset)
    if at not in known:
        known[at] = _is_relative_file(dataset)
    return {"data_dir": str(folder)} if known[at] else {}


def _is_relative_file(dataset: Any) -> bool:
    """Tell whether a dataset, as a sweep names it, is a file of a relative path."""
    try:
        file = named_file(named(dataset))
    except SpecError:  # as whoever makes the run will say
        return False
    return file is not None and not Path(file).expanduser().is_absolute()


def _folder(name: str, settings: Settings) -> Path | None:
    """Return the folder of the file that sets a field; of none that Python or `--set` sets."""
    written = as_written(name, settings)
    file = written.file if isinstance(written, Field) else None
    return Path(os.path.abspath(file.parent)) if file else None
