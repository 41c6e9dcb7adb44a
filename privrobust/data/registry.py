"""Datasets by name."""

from collections.abc import Mapping
from os.path import isfile  # which no name is too long for
from pathlib import Path
from typing import Any

from privrobust.core.numbers import own
from privrobust.core.parameters import parse, written
from privrobust.core.plugins import Own, check_text
from privrobust.core.registry import Entry, Registry
from privrobust.data.dataset import Dataset
from privrobust.data.flamby import HeartDisease
from privrobust.data.images import CIFAR10, CIFAR100, EMNIST, MNIST, FashionMNIST
from privrobust.data.leaf import FEMNIST
from privrobust.data.libsvm import LIBSVM
from privrobust.data.r_packages import Chem97, Flights, InstEval
from privrobust.data.small import MNIST1D, Digits, MNIST5k
from privrobust.data.source import Source, data_folder
from privrobust.data.subset import Subset
from privrobust.data.table import Table
from privrobust.errors import PrivRobustError, SpecError, in_a_line, unknown_name

_BUILT_IN: dict[str, type[Source] | Dataset] = {
    "chem97": Chem97,
    "cifar10": CIFAR10,
    "cifar100": CIFAR100,
    "digits": Digits,
    "emnist": EMNIST,
    "fashion_mnist": FashionMNIST,
    "femnist": FEMNIST,
    "flights": Flights,
    "heart_disease": HeartDisease,
    "insteval": InstEval,
    "libsvm": LIBSVM,
    "mnist": MNIST,
    "mnist1d": MNIST1D,
    "mnist5k": MNIST5k,
    "subset": Subset,
    "table": Table,
}
DATASETS = Registry(
    "dataset",
    _BUILT_IN,
    Own((Dataset, Source), "a function that takes nothing and returns a Dataset", made=Dataset),
)
_handed_over: dict[tuple[str, str | None], Dataset] = {}

Versions = tuple[tuple[Path, int, int], ...]
"""Files, when they were changed, and their sizes."""

_loaded: dict[tuple[str, Path | None], tuple[Versions, Dataset]] = {}
"""By name, and the folder of data where it matters."""


def register_dataset(dataset: Dataset) -> None:
    """Let specs name a dataset; an earlier one of your own of that name is replaced.

    Results are kept by name: give changed data a new one.

    Raises:
        SpecError: the name is one of ours, or it is no dataset.

    """
    DATASETS.register(getattr(dataset, "name", "?"), dataset)


def hand_over(datasets: Mapping[tuple[str, str | None], Dataset]) -> None:
    """Let `get_dataset` return these, by name and `data_dir`, that another process has loaded."""
    _handed_over.update(datasets)


def available_datasets() -> list[str]:
    """Return the names that a spec may use."""
    return DATASETS.available()


def list_datasets() -> list[Entry]:
    """Describe every dataset, as `privrobust list datasets` shows them."""
    return [_entry(name) for name in available_datasets()]


def _entry(name: str) -> Entry:
    data = DATASETS[name]
    if not isinstance(data, Dataset):
        return DATASETS.entry(name)
    shape = tuple(data.shape)
    return Entry(name, f"{len(data.train)} examples {shape} to train on, {data.classes} classes")


def canonical_dataset(text: str) -> str:
    """Write the same dataset in one way, without loading it or importing anything.

    Raises:
        SpecError: it is neither registered nor of the form `package.module:factory`, or a
            parameter is not accepted.

    """
    text = check_text("dataset", text)
    if text in DATASETS.registered or any(text == name for name, _ in _handed_over):
        return text
    name, given = parse("dataset", text)
    if name in DATASETS:
        return DATASETS.canonical(text)
    if ":" not in name:
        raise unknown_name("dataset", name, DATASETS)
    return written(name, given)


def built_in_source(text: str) -> Source | None:
    """Return where a built-in dataset is from, without loading it; None where it is none.

    Raises:
        SpecError: a parameter is not accepted.

    """
    name, given = parse("dataset", text)
    source: Source | None = DATASETS.make(name, given) if name in DATASETS.built_in else None
    return source


def named_file(text: str) -> str | None:
    """Return the file that a dataset's parameters name, if they name any.

    Raises:
        SpecError: a parameter is not accepted.

    """
    source = built_in_source(text)
    return source.named_file if source is not None else None


def get_dataset(text: str, data_dir: str | None = None) -> Dataset:
    """Return the dataset that a spec names, loaded once, and again if its files have changed.

    Args:
        text: a registered name, perhaps with parameters, `emnist(split='letters')`, or
            `package.module:factory`, a callable that returns a `Dataset`.
        data_dir: the folder of data, instead of that of the environment variable.

    Raises:
        SpecError: no dataset has that name, its files are missing or corrupt, or a user's factory
            fails.

    """
    text, data_dir = check_text("dataset", text), own("data_dir", data_dir)
    if (text, data_dir) in _handed_over:
        return _handed_over[text, data_dir]
    if isinstance(known := DATASETS.registered.get(text), Dataset):
        return known
    if (text, None) not in _loaded:
        text = canonical_dataset(text)
    if (text, None) in _loaded:
        return _loaded[text, None][1]
    made = _made(text)
    if isinstance(made, Dataset):
        return _loaded.setdefault((text, None), ((), made))[1]
    folder = data_folder(data_dir).absolute() if made.needs_folder else Path()
    key = (text, folder if made.needs_folder else None)
    found = _versions(made, folder)
    if key not in _loaded or _loaded[key][0] != found:
        dataset = _load(text, made, folder)
        _loaded[key] = (found or _versions(made, folder), dataset)  # perhaps it downloaded them
    return _loaded[key][1]


def _versions(source: Source, folder: Path) -> Versions:
    """Note of the files that are there which state they are in."""
    there = [path.resolve() for path in source.files(folder) if isfile(path)]
    return tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in there)


def _made(text: str) -> Source | Dataset:
    """Make what a name stands for: a source of data, or what a user's factory returns."""
    name, given = parse("dataset", text)
    try:
        made: Any = DATASETS.make(name, given)
    except Exception as error:  # whatever a user's factory raises
        raise _failure(text, error) from error
    if isinstance(made, Source):
        return made
    return _checked(text, made)


def _load(text: str, source: Source, folder: Path) -> Dataset:
    try:
        loaded = source.load(text, folder)
    except Exception as error:  # whatever a file, or a user's source, raises
        raise _failure(text, error) from error
    return _checked(text, loaded)


def _checked(text: str, made: object) -> Dataset:
    if not isinstance(made, Dataset):
        raise SpecError(f"dataset: {text!r} made a {type(made).__name__}, not a Dataset")
    return made


def _failure(text: str, error: Exception) -> PrivRobustError:
    if isinstance(error, PrivRobustError):
        return error
    return SpecError(f"dataset: {text!r} failed ({in_a_line(error)})")
