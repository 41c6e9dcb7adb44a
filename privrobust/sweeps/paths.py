"""Paths in a sweep's file, which start from the folder that it lies in.

What a run is does not depend on that folder: a dataset keeps its name as it is written, and where
its file lies is the run's `data_dir`, which is in no key.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from privrobust.data.registry import built_in_source
from privrobust.errors import SpecError
from privrobust.spec.values import named
from privrobust.sweeps.run_maker import Settings
from privrobust.sweeps.yaml_lines import Field, as_written


def located(places: Iterable[Settings], has_data_dir: bool) -> list[Settings]:
    """Return settings with the folder that their paths start from, where they name any.

    A `data_dir` of the file is a folder beside it, else as it is. Without one, a dataset that is
    a file, as `table(path='scans.csv', ...)` is, gets the folder of the sweep's.

    Args:
        places: settings as one place of a sweep has them.
        has_data_dir: whether any place of the sweep sets it.

    """
    if has_data_dir:
        return [_beside(each) if "data_dir" in each else each for each in places]
    known: dict[tuple[Path, int], bool] = {}  # of values that the points of a grid share
    return [_with_folder(each, known) if "dataset" in each else each for each in places]


def _beside(settings: Settings) -> Settings:
    folder, given = _folder("data_dir", settings), settings["data_dir"]
    if folder is None or not isinstance(given, str):
        return settings
    path = folder / given
    return settings | {"data_dir": str(path)} if path.is_dir() else settings


def _with_folder(settings: Settings, known: dict[tuple[Path, int], bool]) -> Settings:
    folder, dataset = _folder("dataset", settings), settings["dataset"]
    if folder is None:
        return settings
    at = folder, id(dataset)
    if at not in known:
        known[at] = _is_relative_file(dataset)
    return settings | {"data_dir": str(folder)} if known[at] else settings


def _is_relative_file(dataset: Any) -> bool:
    """Tell whether a dataset, as a sweep names it, is a file of a relative path."""
    try:
        source = built_in_source(named(dataset))
    except SpecError:  # as whoever makes the run will say
        return False
    file = source.named_file if source is not None else None
    return file is not None and not Path(file).is_absolute()


def _folder(name: str, settings: Settings) -> Path | None:
    """Return the folder of the file that sets a field; of none that Python or `--set` sets."""
    written = as_written(name, settings)
    return written.file.parent if isinstance(written, Field) and written.file else None
