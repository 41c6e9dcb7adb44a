"""Files in the sparse format of LIBSVM and SVMlight."""

from __future__ import annotations

from dataclasses import dataclass
from os.path import isfile  # which no name is too long for
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from privrobust.core.lazy_imports import torch
from privrobust.data.dataset import Dataset, Split
from privrobust.data.source import HoldsOut, none_there, places_of
from privrobust.data.splitting import three_ways
from privrobust.errors import SpecError, in_short, shown

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# Examples times features, held dense once, in float32: 4 GiB, and 256 MiB of a file that names few.
_MOST_NUMBERS, _MOST_OF_FEW = 1 << 30, 1 << 26
_MOST_EACH = 1000  # numbers held for one that the file names


@dataclass(frozen=True)
class LIBSVM(HoldsOut):
    """Examples of a file in LIBSVM's format: a label, then `feature:value` where it is not 0.

    Sorted labels are the classes. Numbers stay as they are, in float32. Examples are split 70 / 10
    / 20 into train, validation and test, stratified by label. Features are counted from 1, or
    from 0 where the file has a feature 0, up to the last that it names; that number and the classes
    are taken for public.

    Args:
        path: of the file, which may end in .gz or .bz2: looked for as a `table` is.

    """

    paper: ClassVar[str] = "Chang, Lin 2011, LIBSVM"
    file_parameter: ClassVar[str | None] = "path"

    path: str

    def files(self, folder: Path) -> list[Path]:
        """List the one: the first that is there."""
        places = places_of(self.path, folder)
        return [next((file for file in places if isfile(file)), Path(self.path))]

    def load(self, name: str, folder: Path) -> Dataset:
        """Load it from the file."""
        (path,) = self.files(folder)
        if not isfile(path):
            raise none_there("file", self.path, folder)
        features, labels = _read(path)
        classes, codes = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise SpecError(
                f"dataset: {shown(self.path, 200)} has the label {classes[0]:g} in every line; "
                "accepted: two classes or more"
            )
        dealt = three_ways(name, codes, validation=self.validation)
        train, valid, test = (
            Split(
                torch.from_numpy(features[places].toarray()),
                torch.from_numpy(codes[places].astype(np.int64)),
            )
            for places in dealt
        )
        return Dataset(name, train, valid, test, len(classes))


def _read(path: Path) -> tuple[csr_matrix, np.ndarray]:
    """Read features `(examples, features)` in float32 and labels `(examples,)`.

    Raises:
        SpecError: the file has another format, a number that is not finite in float32, no number
            at all, or more than memory holds.

    """
    from sklearn.datasets import load_svmlight_file  # which loads slowly

    try:
        features, labels = load_svmlight_file(str(path))
    except Exception as error:  # whatever a broken file does to a parser
        problem = in_short(str(error), 200)
        raise SpecError(
            f"dataset: {str(path)!r} cannot be read ({problem}); accepted: lines of a label and "
            "feature:value"
        ) from None
    count, width = features.shape
    if not count or not features.nnz:
        raise SpecError(f"dataset: {str(path)!r} holds no value; accepted: feature:value in a line")
    most = min(_MOST_NUMBERS, max(_MOST_OF_FEW, _MOST_EACH * features.nnz))
    if count * width > most:
        raise SpecError(
            f"dataset: {str(path)!r} has {count} examples of {width} features; accepted: up to "
            f"{most} numbers"
        )
    with np.errstate(over="ignore"):
        narrow = features.astype(np.float32)
    if not np.isfinite(labels).all() or not np.isfinite(narrow.data).all():
        raise SpecError(
            f"dataset: {str(path)!r} holds a number that is not finite in float32; accepted: "
            "finite ones"
        )
    return narrow, labels
