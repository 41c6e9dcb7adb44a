"""Image datasets that torchvision can download: MNIST and its successors, CIFAR.

Files that are already there are read without a network from where torchvision would have put them,
those of MNIST and its successors also from the folder of data itself, gzipped or not.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from privrobust.core.lazy_imports import torch
from privrobust.data.cifar import read_batch
from privrobust.data.dataset import Dataset, Scaling, Split
from privrobust.data.idx import read_idx
from privrobust.data.source import HoldsOut
from privrobust.errors import SpecError

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10 as CIFAR

# Fashion-MNIST took the file names of MNIST: what is in them tells whose they are. The first labels
# of training and of test.
_FIRST_LABELS = {
    "mnist": ([5, 0, 4, 1, 9, 2, 1, 3, 1, 4], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]),
    "fashion_mnist": ([9, 0, 0, 3, 0, 2, 7, 2, 5, 5], [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]),
}

# Debian's package dataset-fashion-mnist puts its files there.
_DEBIAN = Path("/usr/share/datasets/fashion-mnist")


@contextmanager
def _by_torchvision(place: Path) -> Iterator[None]:
    """Hide its progress, and leave no empty folders where a download into that place failed."""
    missing = [folder for folder in (place, *place.parents) if not folder.exists()]
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        for folder in missing:
            with suppress(OSError):  # not empty
                folder.rmdir()


def _downloaded(of_class: Any, folder: Path, **settings: str) -> None:
    """Let one of torchvision's classes download; its constructor would also unpickle files."""
    bare = of_class.__new__(of_class)
    vars(bare).update(root=str(folder), train=True, **settings)
    bare.download()


@dataclass(frozen=True)
class _IDXImages(HoldsOut):
    """Four IDX files: images and labels, of training and test."""

    scaling: ClassVar[Scaling]
    torchvision: ClassVar[str]
    """The name of torchvision's class."""
    page: ClassVar[str]
    """Where people find the files."""
    also: ClassVar[Sequence[Path]] = ()
    """Other folders where they may be."""

    def load(self, name: str, folder: Path) -> Dataset:
        """Load it from files, downloaded by torchvision if there are none."""
        paths = self._find(folder) or self._download(name, folder)
        training, test = (self._split(*paths[start : start + 2]) for start in (0, 2))
        for owner, known in _FIRST_LABELS.items():
            first = [split.labels[:10].tolist() for split in (training, test)]
            if owner != name.partition("(")[0] and any(map(list.__eq__, first, known)):
                raise SpecError(
                    f"dataset: {name}: the files in {paths[0].parent} are those of {owner}; put "
                    f"those of {name} into {self._raw(folder)}, which is looked into first, or "
                    f"say dataset: {owner}"
                )
        return Dataset.from_official(
            name, training, test, self._classes(), validation=self.validation
        )

    def files(self, folder: Path) -> list[Path]:
        """List all four, or none."""
        return self._find(folder)

    def _files(self) -> list[str]:
        """List training images, training labels, test images, test labels."""
        return [
            f"{part}-{kind}-ubyte"
            for part in ("train", "t10k")
            for kind in ("images-idx3", "labels-idx1")
        ]

    def _classes(self) -> int:
        return 10

    def _find(self, folder: Path) -> list[Path]:
        """Find the four files in one folder; empty where none has all of them."""
        for place in (self._raw(folder), folder, *self.also):
            found = [
                path
                for file in self._files()
                for path in [next(filter(Path.is_file, (place / file, place / f"{file}.gz")), None)]
                if path is not None
            ]
            if len(found) == len(self._files()):
                return found
            if found:  # some are missing: no other copy takes the place of what was begun here
                return []
        return []

    def _raw(self, folder: Path) -> Path:
        """Return where torchvision keeps files."""
        return folder / self.torchvision / "raw"

    def _download(self, name: str, folder: Path) -> list[Path]:
        import torchvision

        of_class = getattr(torchvision.datasets, self.torchvision)
        try:
            with _by_torchvision(self._raw(folder)):
                _downloaded(of_class, folder, **self._of_torchvision())
        except Exception as error:  # whatever a network or a mirror does
            problem = " ".join(str(error).split())
        else:
            problem = "it brought other files"
            if paths := self._find(folder):
                return paths
        raise SpecError(
            f"dataset: {name}: no folder has all of {', '.join(self._files())} (or .gz), and "
            f"torchvision could not download them ({problem}); put them into {folder} or "
            f"{self._raw(folder)}, from {self.page}, or name their folder as data_dir"
        )

    def _of_torchvision(self) -> dict[str, str]:
        """Return what torchvision's class takes beside the folder."""
        return {}

    def _split(self, images: Path, labels: Path) -> Split:
        pixels, codes = read_idx(images), read_idx(labels)
        if pixels.ndim != 3 or codes.shape != pixels.shape[:1]:
            raise SpecError(
                f"data: {images} has shape {pixels.shape} and {labels} {codes.shape}; accepted: "
                "(examples, height, width) and (examples,)"
            )
        return Split(
            torch.from_numpy(self._upright(pixels)[:, np.newaxis].copy()),
            torch.from_numpy(self._from_zero(codes.astype(np.int64))),
            self.scaling,
        )

    def _upright(self, pixels: np.ndarray) -> np.ndarray:
        return pixels

    def _from_zero(self, codes: np.ndarray) -> np.ndarray:
        return codes


@dataclass(frozen=True)
class MNIST(_IDXImages):
    """60,000 + 10,000 handwritten digits, 28 x 28 grey."""

    paper: ClassVar[str] = "LeCun et al. 1998"
    scaling: ClassVar[Scaling] = Scaling((0.1307,), (0.3081,))
    torchvision: ClassVar[str] = "MNIST"
    page: ClassVar[str] = "http://yann.lecun.com/exdb/mnist"


@dataclass(frozen=True)
class FashionMNIST(_IDXImages):
    """60,000 + 10,000 pieces of clothing in 10 classes, 28 x 28 grey."""

    paper: ClassVar[str] = "Xiao, Rasul, Vollgraf 2017"
    scaling: ClassVar[Scaling] = Scaling((0.2860,), (0.3530,))
    torchvision: ClassVar[str] = "FashionMNIST"
    page: ClassVar[str] = (
        "https://github.com/zalandoresearch/fashion-mnist or Debian's package "
        "dataset-fashion-mnist, which is found once it is installed"
    )
    also: ClassVar[Sequence[Path]] = (_DEBIAN,)


@dataclass(frozen=True)
class EMNIST(_IDXImages):
    """Handwritten letters and digits, 28 x 28 grey, scaled by MNIST's constants.

    Args:
        split: of torchvision's six; `balanced` has 47 classes, `letters` 26.

    """

    paper: ClassVar[str] = "Cohen, Afshar, Tapson, van Schaik 2017"
    scaling: ClassVar[Scaling] = MNIST.scaling
    torchvision: ClassVar[str] = "EMNIST"
    page: ClassVar[str] = "https://www.nist.gov/itl/products-and-services/emnist-dataset"

    split: Literal["byclass", "bymerge", "balanced", "letters", "digits", "mnist"] = "balanced"

    def _files(self) -> list[str]:
        return [
            f"emnist-{self.split}-{part}-{kind}-ubyte"
            for part in ("train", "test")
            for kind in ("images-idx3", "labels-idx1")
        ]

    def _classes(self) -> int:
        return {"byclass": 62, "bymerge": 47, "balanced": 47, "letters": 26}.get(self.split, 10)

    def _of_torchvision(self) -> dict[str, str]:
        return {"split": self.split}

    def _upright(self, pixels: np.ndarray) -> np.ndarray:
        """Turn images: the files hold columns where MNIST's hold rows."""
        return pixels.transpose(0, 2, 1)

    def _from_zero(self, codes: np.ndarray) -> np.ndarray:
        """Count labels from 0: those of letters start at 1."""
        return codes - 1 if self.split == "letters" else codes


@dataclass(frozen=True)
class _CIFAR(HoldsOut):
    """Files that torchvision knows the checksums of."""

    scaling: ClassVar[Scaling]
    classes: ClassVar[int]

    def load(self, name: str, folder: Path) -> Dataset:
        """Load it from torchvision's folder, downloaded by it if that is missing."""
        of_class = self._torchvision()
        place = folder / of_class.base_folder
        if problem := self._broken(folder) if place.is_dir() else self._download(folder):
            raise SpecError(
                f"dataset: {name}: {problem}; unpack {of_class.filename}, from "
                f"https://www.cs.toronto.edu/~kriz/cifar.html, in {folder}, which makes {place}, "
                f"or name the folder that has {of_class.base_folder} as data_dir"
            )
        training, test = (
            self._split([place / file for file, _ in files])
            for files in (of_class.train_list, of_class.test_list)
        )
        return Dataset.from_official(name, training, test, self.classes, validation=self.validation)

    def files(self, folder: Path) -> list[Path]:
        """List batches, and the names of classes."""
        return [path for path, _ in self._expected(folder)]

    def _expected(self, folder: Path) -> list[tuple[Path, str]]:
        """List files, and the checksums that torchvision knows."""
        of_class = self._torchvision()
        meta = (of_class.meta["filename"], of_class.meta["md5"])
        listed = [*of_class.train_list, *of_class.test_list, meta]
        return [(folder / of_class.base_folder / file, checksum) for file, checksum in listed]

    def _split(self, paths: Sequence[Path]) -> Split:
        pixels, labels = map(np.concatenate, zip(*map(read_batch, paths), strict=True))
        return Split(torch.from_numpy(pixels), torch.from_numpy(labels), self.scaling)

    def _download(self, folder: Path) -> str | None:
        """Say why it could not be downloaded, or is not as it should be."""
        of_class = self._torchvision()
        try:
            with _by_torchvision(folder / of_class.base_folder):
                _downloaded(of_class, folder)
        except Exception as error:  # whatever a network does
            return f"it could not be downloaded ({' '.join(str(error).split())})"
        return self._broken(folder)

    def _broken(self, folder: Path) -> str | None:
        """Say what is wrong with the first file that is not as torchvision knows it."""
        from torchvision.datasets.utils import check_integrity

        for path, checksum in self._expected(folder):
            if not path.is_file():
                return f"{path} is missing"
            if not check_integrity(path, checksum):
                return f"{path} is corrupt (its checksum is not that of {path.name})"
        return None

    @abstractmethod
    def _torchvision(self) -> type[CIFAR]:
        """Return torchvision's class of it."""


@dataclass(frozen=True)
class CIFAR10(_CIFAR):
    """50,000 + 10,000 photographs in 10 classes, 32 x 32 colour."""

    paper: ClassVar[str] = "Krizhevsky 2009"
    scaling: ClassVar[Scaling] = Scaling((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
    classes: ClassVar[int] = 10

    def _torchvision(self) -> type[CIFAR]:
        import torchvision

        of_class: type[CIFAR] = torchvision.datasets.CIFAR10
        return of_class


@dataclass(frozen=True)
class CIFAR100(_CIFAR):
    """50,000 + 10,000 photographs in 100 classes, 32 x 32 colour."""

    paper: ClassVar[str] = "Krizhevsky 2009"
    scaling: ClassVar[Scaling] = Scaling((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
    classes: ClassVar[int] = 100

    def _torchvision(self) -> type[CIFAR]:
        import torchvision

        of_class: type[CIFAR] = torchvision.datasets.CIFAR100
        return of_class
