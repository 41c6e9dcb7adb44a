"""Rows of a CSV or Parquet file."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from decimal import Decimal
from numbers import Number
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from privrobust.core.lazy_imports import pandas as pd
from privrobust.core.lazy_imports import torch
from privrobust.data.dataset import Dataset, Split
from privrobust.data.source import HoldsOut, none_there, places_of
from privrobust.data.splitting import three_ways
from privrobust.errors import PrivRobustWarning, SpecError, did_you_mean, in_short

# Of a column that holds no numbers, each a feature of its own.
_MOST_VALUES = 100

# Root mean squares of features, see `_warn_of_scale`.
_TINY, _LARGE, _UNEVEN = 0.02, 50, 10

_LARGEST = float(np.finfo(np.float32).max)

# What pandas calls a column without a name, and an index in a Parquet file.
_NAMELESS = r"Unnamed: \d+|__index_level_\d+__"


@dataclass(frozen=True)
class Table(HoldsOut):
    """Rows of a CSV or Parquet file: a label column, the others are features.

    Numbers stay as they are, whole numbers and decimals of any length too, until they are rounded
    to float32; other columns become one 0/1 feature for each of their values. Rows
    are split 70 / 10 / 20 into train, validation and test, stratified by label, or where groups are
    named within each. Classes, groups and values of columns are taken for public. In a CSV file an
    empty cell is a missing value, and any other text is a value.

    Args:
        path: of the file: in `data_dir`, which for a sweep's file is the folder that it lies in
            unless it says another, in the folder of data, or as it is.
        label: the column to predict; its sorted values are the classes.
        group: a column that says whose a row is, kept out of the features: with `partition:
            natural` each of its values is a worker.
        scaling: "none", or "standard" for features of mean 0 and variance 1 over the training
            split, made in float64, which epsilon does not count.

    """

    file_parameter: ClassVar[str | None] = "path"

    path: str
    label: str
    group: str | None = None
    scaling: Literal["none", "standard"] = "none"

    @property
    def measures_data(self) -> bool:
        """Whether features are scaled by the training split's."""
        return self.scaling == "standard"

    def files(self, folder: Path) -> list[Path]:
        """List the one: the first that is there."""
        places = places_of(self.path, folder)
        return [next((file for file in places if file.exists()), Path(self.path))]

    def load(self, name: str, folder: Path) -> Dataset:
        """Load it from the file."""
        (path,) = self.files(folder)
        if not path.exists():
            raise none_there("file", self.path, folder)
        rows = _read(path)
        for role, column in (("label", self.label), ("group", self.group)):
            if column is not None and column not in rows.columns:
                _refuse_other_separators(path)
                columns = list(map(str, rows.columns))
                known, hint = in_short(", ".join(columns), 200), did_you_mean(column, columns)
                raise SpecError(
                    f"dataset: {role}: {self.path} has no column {column!r}{hint} (it has: {known})"
                )
        if self.label == self.group:
            raise SpecError(
                f"dataset: group: {self.group!r} is the label of {self.path}; accepted: another one"
            )
        _refuse_missing(rows, self.path)
        _refuse_nested(rows, self.path)
        labels, classes = pd.factorize(rows.pop(self.label), sort=True)
        if len(classes) < 2:
            raise SpecError(
                f"dataset: label: column {self.label!r} of {self.path} is {str(classes[0])!r} in "
                "every row; accepted: two classes or more"
            )
        codes, group_names = None, pd.Index([])
        if self.group is not None:
            codes, group_names = pd.factorize(rows.pop(self.group), sort=True)
        features = _features(rows, self.path)
        if self.measures_data:
            of_train, *_ = three_ways(name, labels, codes, self.validation)
            features = _standardised(name, features, of_train)
        inputs = torch.from_numpy(_in_float32(features, self.path))
        if not self.measures_data:
            _warn_of_scale(self.path, features)
        whole = Split(
            inputs,
            torch.from_numpy(labels.astype(np.int64)),
            groups=None if codes is None else torch.from_numpy(codes.astype(np.int64)),
        )
        names = [str(each) for each in group_names]
        return Dataset.from_split(name, whole, len(classes), names, self.validation)


def _read(path: Path) -> pd.DataFrame:
    # of x.csv.gz the kind is .csv: pandas unpacks it
    kind = next((kind for kind in reversed(path.suffixes) if kind in (".csv", ".parquet")), None)
    if kind is None:
        raise SpecError(f"dataset: path: {str(path)!r}; accepted: a .csv or .parquet file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # of rows that are cut
            rows = _parsed(path, kind)
    except ImportError:
        raise SpecError(
            f"dataset: {str(path)!r} needs the package pyarrow; pip install 'privrobust[data]'"
        ) from None
    except UnicodeDecodeError:
        raise SpecError(
            f"dataset: {str(path)!r} is not in UTF-8; accepted: the file, saved as UTF-8"
        ) from None
    except Exception as error:  # whatever a broken file does to a parser
        _refuse_other_separators(path)
        problem = in_short(str(error), 200)
        if isinstance(error, pd.errors.ParserWarning):  # pandas' words are of its own arguments
            problem = "its rows have more cells than its first line"
        raise SpecError(f"dataset: {str(path)!r} cannot be read ({problem})") from None
    if rows.empty:
        raise SpecError(f"dataset: {str(path)!r} has no rows")
    rows.index = _places(path, len(rows))
    return rows


def _refuse_other_separators(path: Path) -> None:
    """Refuse a CSV file whose first line names more columns with another separator."""
    if ".csv" not in path.suffixes:
        return
    try:
        columns = {
            separator: len(pd.read_csv(path, sep=separator, nrows=0).columns)
            for separator in ",;\t|"
        }
    except Exception:  # there is no such file, or no first line in it
        return
    most = max(columns, key=columns.__getitem__)
    if most != ",":
        raise SpecError(
            f"dataset: {str(path)!r} has cells separated by {most!r}; accepted: ',', and decimals "
            "with a point"
        )


def _places(path: Path, count: int) -> pd.Index:
    """Name rows as an editor does; where lines are no rows, count the rows from 1.

    Quotes may hold line breaks, empty lines are skipped, and Parquet or packed files have no lines.
    """
    if path.suffix == ".csv":
        with path.open("rb") as file:
            lines = sum(1 for _ in file)
        if lines == count + 1:
            return pd.RangeIndex(2, count + 2, name="line")
    return pd.RangeIndex(1, count + 1, name="data row")


def _parsed(path: Path, kind: str) -> pd.DataFrame:
    if kind == ".parquet":
        return pd.read_parquet(path, engine="pyarrow")
    # only an empty cell is missing: "NA" may be Namibia, and "None" an answer; low memory would
    # guess types chunk by chunk, so that one column holds 1 and "1"
    rows = pd.read_csv(
        path, index_col=False, keep_default_na=False, na_values=[""], low_memory=False
    )
    for column in rows.select_dtypes(exclude=["number", "bool"]).columns:
        if bool(pd.to_numeric(rows[column], errors="coerce").notna().all()):
            rows[column] = rows[column].map(Decimal).astype(object)  # beyond 64 bits, still exact
    return rows


def _refuse_missing(rows: pd.DataFrame, path: str) -> None:
    numbers = rows.select_dtypes("number")
    missing = rows.isna()
    missing[numbers.columns] |= np.isinf(numbers)
    for column in rows.columns[missing.any()]:
        count, first = int(missing[column].sum()), missing[column].idxmax()
        raise SpecError(
            f"dataset: column {column!r} of {path} holds no value or infinity in {count} rows, "
            f"the first in {rows.index.name} {first}; accepted: a value in every row"
        )


def _refuse_nested(rows: pd.DataFrame, path: str) -> None:
    for column in rows.columns[rows.dtypes.map(pd.api.types.is_object_dtype)]:
        for row, value in rows[column].items():
            if not pd.api.types.is_hashable(value):
                raise SpecError(
                    f"dataset: column {column!r} of {path} holds a {type(value).__name__} in "
                    f"{rows.index.name} {row}; accepted: a number or text in every cell"
                )


def _refuse_row_numbers(rows: pd.DataFrame, path: str) -> None:
    """Refuse row numbers as a feature: they give away the order of rows, often that of classes."""
    for column in rows.columns:
        if re.fullmatch(_NAMELESS, str(column)):
            raise SpecError(
                f"dataset: column {column!r} of {path} has no name of its own, as row numbers have "
                "that pandas writes; write the file with index=False, or name the column"
            )


def _features(rows: pd.DataFrame, path: str) -> pd.DataFrame:
    """Turn every column into float64 features."""
    if not len(rows.columns):
        raise SpecError(f"dataset: {path} has no column beside label and group to learn from")
    _refuse_row_numbers(rows, path)
    rows = rows.apply(_of_numbers)
    # durations, which numpy takes for whole numbers, are none: in which unit?
    others = list(rows.select_dtypes(exclude=["number", "bool"]).columns) + list(
        rows.select_dtypes("timedelta").columns
    )
    for column in others:
        values = rows[column].astype(str)
        odd = values[pd.to_numeric(values, errors="coerce").isna()]
        if values.nunique() > _MOST_VALUES or 0 < len(odd) < len(values) / 2:
            raise SpecError(
                f"dataset: column {column!r} of {path} has {values.nunique()} values such as "
                f"{odd.iloc[0] if len(odd) else values.iloc[0]!r}; accepted: numbers, or at most "
                f"{_MOST_VALUES} different texts"
            )
    return pd.get_dummies(rows, columns=others).astype(np.float64)


def _of_numbers(column: pd.Series) -> pd.Series:
    """Return a column of Python's own numbers, such as decimals, in float64; others as they are."""
    if not pd.api.types.is_object_dtype(column.dtype):
        return column
    is_number = all(isinstance(each, Number) and not isinstance(each, bool) for each in column)
    return column.astype(np.float64) if is_number else column


def _standardised(name: str, features: pd.DataFrame, of_train: np.ndarray) -> pd.DataFrame:
    """Scale by the mean and deviation of each feature over the training split, at these places."""
    warnings.warn(
        f"dataset: {name}: scaling='standard' measures the training data, "
        "which epsilon does not count",
        PrivRobustWarning,
        stacklevel=2,
    )
    train = features.iloc[of_train]
    varies = train.min() < train.max()
    # what is alike in all rows is moved to 0, exactly; of what varies, squares must not overflow
    size = train.abs().max().where(varies, 1.0)
    mean = (train / size).mean().where(varies, train.iloc[0])
    std = (train / size).std().where(varies, 1.0)
    return (features / size - mean) / std


def _warn_of_scale(path: str, features: pd.DataFrame) -> None:
    """Warn of features whose size no usual step fits, before a run trains to chance.

    Where one is large beside others it fills the clipped gradients, and a step along them moves
    scores by the square of its size; where all are tiny, nothing moves them. Logistic regression
    with steps of 0.5 on three Gaussian classes gets 97 % right where one of eight features has size
    10, 95 % at 30, 49 % at 100, and 42 % where all have size 0.01.
    """
    largest = features.abs().max()
    sizes = (features / largest).pow(2).mean().pow(0.5) * largest
    sizes = sizes[sizes > 0]
    if sizes.empty:
        return
    column, most, least = sizes.idxmax(), sizes.max(), sizes.min()
    is_uneven = len(sizes) == 1 or most >= _UNEVEN * least
    if not (most <= _TINY or (most >= _LARGE and is_uneven)):
        return
    warnings.warn(
        f"dataset: column {str(column)!r} of {in_short(path)} holds numbers of size {most:.0e}; "
        "steps are made for size 1: the model may learn nothing; accepted: columns divided by "
        "public constants, or scaling='standard', which measures the training data",
        PrivRobustWarning,
        stacklevel=3,
    )


def _in_float32(features: pd.DataFrame, path: str) -> np.ndarray:
    too_large = features.abs() > _LARGEST
    for column in features.columns[too_large.any()]:
        first = int(too_large[column].argmax())
        raise SpecError(
            f"dataset: column {column!r} of {path} holds {features[column].iloc[first]:g} in "
            f"{features.index.name} {features.index[first]}; accepted: numbers up to "
            f"{_LARGEST:.4g} (float32)"
        )
    return np.array(features, np.float32)  # a copy: pandas' own may not be written to
