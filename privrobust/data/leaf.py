"""LEAF's femnist, in the JSON files that its scripts write."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from os.path import isdir
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from privrobust.core.lazy_imports import torch
from privrobust.data.dataset import Dataset, Split
from privrobust.data.source import HoldsOut, named_folder, none_there
from privrobust.errors import SpecError, in_a_line, in_short, shown

_SIDE = 28
_CLASSES = 62

Writers = list[tuple[str, np.ndarray, np.ndarray]]
"""Names, pixels `(images, 1, 28, 28)` and labels `(images,)`."""


@dataclass(frozen=True)
class FEMNIST(HoldsOut):
    """Handwritten digits and letters in 62 classes, 28 x 28 grey, the group being their writer.

    Read from what `preprocess.sh` of LEAF leaves: the folders `train` and `test`, or where they are
    not there `all_data` or the JSON files in the folder itself, each writer's then split
    70 / 10 / 20. White is 1, as LEAF has it.

    Args:
        path: the folder, LEAF's `data/femnist/data`: looked for as the file of a `table` is.

    """

    paper: ClassVar[str] = "Caldas et al. 2018; Cohen, Afshar, Tapson, van Schaik 2017"
    file_parameter: ClassVar[str | None] = "path"

    path: str = "femnist"

    def files(self, folder: Path) -> list[Path]:
        """List the JSON files that it reads."""
        return [path for part in self._parts(folder) for path in part]

    def load(self, name: str, folder: Path) -> Dataset:
        """Load it from the files."""
        if not isdir(named_folder(self.path, folder)):
            raise none_there("folder", self.path, folder)
        parts = self._parts(folder)
        if not all(parts):
            raise SpecError(
                f"dataset: path: {shown(self.path, 200)} has no JSON files of LEAF's; accepted: a "
                "folder with train/ and test/, or all_data/, that each have *.json"
            )
        read = [[writer for path in part for writer in _read(path)] for part in parts]
        names = sorted({writer for part in read for writer, _, _ in part})
        first, *rest = (
            _split(part, names, paths[0]) for part, paths in zip(read, parts, strict=True)
        )
        if not rest:
            return Dataset.from_split(name, first, _CLASSES, names, self.validation)
        return Dataset.from_official(name, first, rest[0], _CLASSES, names, self.validation)

    def _parts(self, folder: Path) -> list[list[Path]]:
        """List the files of training and of test, or of all."""
        root = named_folder(self.path, folder)
        places = [root / "train", root / "test"]
        if not all(map(isdir, places)):
            places = [root / "all_data" if isdir(root / "all_data") else root]
        return [sorted(place.glob("*.json")) if isdir(place) else [] for place in places]


def _read(path: Path) -> Writers:
    """Read one file.

    Raises:
        SpecError: it cannot be read, or holds something else.

    """
    try:
        written = json.loads(path.read_bytes())
        writers = [
            (writer, *_images(path, writer, written["user_data"][writer], number))
            for writer, number in zip(written["users"], written["num_samples"], strict=True)
        ]
    except SpecError:
        raise
    except Exception as error:  # whatever broken text does to a parser, and other text to us
        problem = in_short(in_a_line(error), 200)
        raise SpecError(f"data: {path} is no file of LEAF's ({problem})") from None
    return [each for each in writers if len(each[2])]


def _images(path: Path, writer: Any, written: Any, number: Any) -> tuple[np.ndarray, np.ndarray]:
    """Turn one writer's images from shares of white into bytes."""
    where = f"data: {path}: writer {in_short(str(writer))}"
    if not isinstance(writer, str):
        raise SpecError(f"{where} is not accepted: a name")
    try:
        shares, labels = np.array(written["x"], np.float64), np.array(written["y"])
    except (TypeError, ValueError):  # rows of different lengths, texts
        raise SpecError(f"{where} has images that are no rows of numbers") from None
    if number != len(labels) or len(shares) != len(labels):
        raise SpecError(
            f"{where} has {len(shares)} images, {len(labels)} labels, and num_samples "
            f"{shown(number)}; accepted: as many of each"
        )
    if not len(labels):
        return np.empty((0, 1, _SIDE, _SIDE), np.uint8), np.empty(0, np.int64)
    if shares.shape[1:] != (_SIDE**2,) or not bool(((shares >= 0) & (shares <= 1)).all()):
        raise SpecError(f"{where} has other images than {_SIDE**2} numbers from 0 to 1 each")
    if (
        labels.dtype.kind != "i"
        or labels.ndim != 1
        or not 0 <= labels.min() <= labels.max() < _CLASSES
    ):
        raise SpecError(f"{where} has other labels than whole numbers from 0 to {_CLASSES - 1}")
    pixels = np.rint(shares * 255).astype(np.uint8)
    return pixels.reshape(-1, 1, _SIDE, _SIDE), labels


def _split(writers: Writers, names: Sequence[str], path: Path) -> Split:
    """Put writers together."""
    if not writers:
        raise SpecError(f"data: {path.parent}: no writer has an image")
    number = {name: place for place, name in enumerate(names)}
    groups = [np.full(len(labels), number[name]) for name, _, labels in writers]
    _, pixels, labels = zip(*writers, strict=True)
    return Split(
        torch.from_numpy(np.concatenate(pixels)),
        torch.from_numpy(np.concatenate(labels)),
        groups=torch.from_numpy(np.concatenate(groups)),
    )
