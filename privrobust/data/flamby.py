"""FLamby's Fed-Heart-Disease, in the files that its script downloads."""

from __future__ import annotations

from dataclasses import dataclass
from os.path import isdir, isfile
from pathlib import Path
from typing import ClassVar

import numpy as np

from privrobust.core.lazy_imports import pandas as pd
from privrobust.core.lazy_imports import torch
from privrobust.data.dataset import Dataset, Split
from privrobust.data.source import HoldsOut, named_folder, none_there
from privrobust.errors import SpecError, in_short, shown

_CENTRES = ("cleveland", "hungarian", "switzerland", "va")

# Columns of the files, from 0. The scales are clinical: years, mm Hg, mg/dl, beats a minute, mm.
_CHEST_PAIN, _ECG, _LABEL, _COLUMNS = 2, 6, 13, 14
_SCALES = {0: (50, 10), 3: (130, 20), 4: (200, 100), 7: (140, 25), 9: (1, 1)}
_FLAGS = (1, 5, 8)
_CATEGORIES = {_CHEST_PAIN: (1, 2, 3, 4), _ECG: (0, 1, 2)}
_OFTEN_MISSING = (10, 11, 12)


@dataclass(frozen=True)
class HeartDisease(HoldsOut):
    """Heart disease or none, of patients at four hospitals: 13 numbers, the group is the hospital.

    As FLamby has it: columns that most hospitals lack are left out, then patients with a missing
    value, and chest pain and electrocardiogram become a 0/1 feature for each value but the first.
    Numbers are scaled by public constants, and each hospital is split 70 / 10 / 20.

    Args:
        path: the folder with processed.cleveland.data and so on, looked for as a `table` is.

    """

    paper: ClassVar[str] = "Janosi et al. 1988; Ogier du Terrail et al. 2022 (FLamby)"
    file_parameter: ClassVar[str | None] = "path"

    path: str = "fed_heart_disease"

    def files(self, folder: Path) -> list[Path]:
        """List the four."""
        root = named_folder(self.path, folder)
        return [root / f"processed.{centre}.data" for centre in _CENTRES]

    def load(self, name: str, folder: Path) -> Dataset:
        """Load it from the files."""
        if not isdir(named_folder(self.path, folder)):
            raise none_there("folder", self.path, folder)
        paths = self.files(folder)
        if missing := [path.name for path in paths if not isfile(path)]:
            raise SpecError(
                f"dataset: path: {shown(self.path, 200)} has no {missing[0]}; accepted: the "
                "folder that FLamby's download for fed_heart_disease, or UCI's archive, fills"
            )
        read = [_patients(path) for path in paths]
        values = np.concatenate(read)
        groups = np.repeat(np.arange(len(read)), [len(each) for each in read])
        whole = Split(
            torch.from_numpy(_features(values)),
            torch.from_numpy((values[:, _LABEL] > 0).astype(np.int64)),
            groups=torch.from_numpy(groups),
        )
        return Dataset.from_split(name, whole, 2, _CENTRES, self.validation)


def _patients(path: Path) -> np.ndarray:
    """Read the patients of a hospital without missing values, `(patients, 14)`.

    Raises:
        SpecError: the file cannot be read, or has other columns or values.

    """
    try:
        rows = pd.read_csv(
            path, header=None, na_values=["?"], skipinitialspace=True, skip_blank_lines=False
        )
        if len(rows.columns) != _COLUMNS:
            raise SpecError(
                f"data: {path} has {len(rows.columns)} columns; accepted: {_COLUMNS}, without a "
                "header"
            )
        rows = rows.drop(columns=list(_OFTEN_MISSING)).dropna().astype(np.float64)
        lines = 1 + rows.index.to_numpy()
    except SpecError:
        raise
    except Exception as error:  # whatever a broken file does to a parser
        raise SpecError(f"data: {path} cannot be read ({in_short(str(error), 200)})") from None
    if rows.empty:
        raise SpecError(f"data: {path} has no patient without a missing value")
    flags: dict[int, tuple[int, ...]] = dict.fromkeys(_FLAGS, (0, 1))
    accepted = {**_CATEGORIES, **flags, _LABEL: (0, 1, 2, 3, 4)}
    values = np.array(rows.reindex(columns=range(_COLUMNS), fill_value=0.0))
    for column in range(_COLUMNS):
        wrong = ~np.isfinite(values[:, column])
        if column in accepted:
            wrong |= ~np.isin(values[:, column], accepted[column])
        if wrong.any():
            first = int(wrong.argmax())
            known = ", ".join(map(str, accepted.get(column, ("finite numbers",))))
            raise SpecError(
                f"data: {path} has {values[first, column]:g} in column {column + 1} of line "
                f"{int(lines[first])}; accepted: {known}"
            )
    return values


def _features(values: np.ndarray) -> np.ndarray:
    """Return features in float32, `(patients, 13)`."""
    scaled = [(values[:, at] - centre) / unit for at, (centre, unit) in _SCALES.items()]
    flags = [values[:, at] for at in _FLAGS]
    chosen = [values[:, at] == value for at, kinds in _CATEGORIES.items() for value in kinds[1:]]
    return np.stack([*scaled, *flags, *chosen], axis=1).astype(np.float32)
