"""Datasets by name."""

from pathlib import Path
from typing import Any

from privrobust.configured import build, described, parse, settings, written
from privrobust.data.dataset import Dataset
from privrobust.data.images import CIFAR10, CIFAR100, EMNIST, MNIST, FashionMNIST
from privrobust.data.small import MNIST1D, Digits, MNIST5k
from privrobust.data.source import Source, data_folder
from privrobust.data.table import Table
from privrobust.errors import PrivRobustError, SpecError, unknown_name

_SOURCES: dict[str, type[Source]] = {
    "cifar10": CIFAR10,
    "cifar100": CIFAR100,
    "digits": Digits,
    "emnist": EMNIST,
    "fashion_mnist": FashionMNIST,
    "mnist": MNIST,
    "mnist1d": MNIST1D,
    "mnist5k": MNIST5k,
    "table": Table,
}
_REGISTERED: dict[str, Dataset] = {}
_loaded: dict[tuple[str, Path], Dataset] = {}


def register_dataset(dataset: Dataset) -> None:
    """Let specs name a dataset; an earlier one of that name is replaced.

    Results are kept by name: give changed data a new one.
    """
    _REGISTERED[dataset.name] = dataset


def available_datasets() -> list[str]:
    """Names that a spec may use."""
    return sorted([*_SOURCES, *_REGISTERED])


def list_datasets() -> list[str]:
    """What `privrobust list datasets` shows, an entry a dataset."""
    return [described(name, source) for name, source in sorted(_SOURCES.items())]


def canonical_dataset(text: str) -> str:
    """The same dataset in one way of writing, without loading it or importing anything.

    Raises:
        SpecError: it is neither registered nor of the form `package.module:factory`, or a
            parameter is not accepted.

    """
    if text in _REGISTERED:
        return text
    name, given = parse("dataset", text)
    if name in _SOURCES:
        return written(name, settings(build("dataset", _SOURCES, name, given)))
    if ":" not in name:
        raise unknown_name("dataset", name, available_datasets())
    return written(name, given)


def get_dataset(text: str, data_dir: str | None = None) -> Dataset:
    """The dataset that a spec names, loaded once a process.

    Args:
        text: a registered name, perhaps with parameters, `emnist(split='letters')`, or
            `package.module:factory`, a callable that returns a `Dataset`.
        data_dir: the folder of data, instead of that of the environment variable.

    Raises:
        SpecError: no dataset has that name, its files are missing or corrupt, or a user's factory
            fails.

    """
    if text in _REGISTERED:
        return _REGISTERED[text]
    folder = data_folder(data_dir)
    key = (canonical_dataset(text), folder.absolute())
    if key not in _loaded:
        _loaded[key] = _load(key[0], folder)
    return _loaded[key]


def _load(text: str, folder: Path) -> Dataset:
    name, given = parse("dataset", text)
    try:
        made: Any = build("dataset", _SOURCES, name, given)
        dataset: Any = made.load(text, folder) if isinstance(made, Source) else made
    except PrivRobustError:
        raise
    except Exception as error:  # whatever a user's factory raises
        raise SpecError(f"dataset: {text!r} failed ({error})") from error
    if not isinstance(dataset, Dataset):
        raise SpecError(f"dataset: {text!r} made a {type(dataset).__name__}, not a Dataset")
    return dataset
