"""Names of modules: in a store nothing is imported, in a spec nothing is called unseen."""

import sys

import pytest
import yaml

from privrobust import RunSpec
from privrobust.aggregators import get_aggregator
from privrobust.attacks import get_attack
from privrobust.cli.main import main
from privrobust.core.plugins import without_plugins
from privrobust.data import get_dataset
from privrobust.data.partitions import get_partition
from privrobust.errors import SpecError
from privrobust.gradients import get_loss
from privrobust.models import get_factory
from privrobust.noise import get_noise_law
from privrobust.schedules import get_schedule
from privrobust.store import Store
from privrobust.training.loop import train

READERS = {
    "aggregator": get_aggregator,
    "attack": get_attack,
    "dataset": get_dataset,
    "loss": get_loss,
    "model": get_factory,
    "noise": get_noise_law,
    "partition": get_partition,
    "schedule": get_schedule,
}

MINE = """
import functools, os, pathlib
from os import system
from privrobust.data import Dataset, get_dataset
from privrobust.data.partitions import Similarity

pathlib.Path("IMPORTED").touch()

def data():
    return get_dataset("digits")

def annotated() -> Dataset:
    return get_dataset("digits")

def touches() -> None:
    pathlib.Path("PWNED").touch()

def attack(**given):
    pathlib.Path("PWNED").touch()

class Class:
    def __init__(self, *given, **more):
        pathlib.Path("PWNED").touch()

class Alike(Similarity):
    pass

hidden = functools.partial(system, "touch PWNED")
method = pathlib.Path("PWNED").touch
bound = os.environ.copy
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module of that name in the folder that the test runs in."""
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    yield tmp_path
    sys.modules.pop("mine", None)
    assert not (tmp_path / "PWNED").exists()


@pytest.fixture
def command(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["privrobust", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize(
    "named",
    ["os:system", "subprocess:Popen", "builtins:exec", "antigravity:geohash", "posix:system",
     "mine:system", "mine:hidden", "mine:method", "mine:bound", "mine:touches", "mine:Class",
     "mine:__class__", "mine:__builtins__"],
)  # fmt: skip
def test_what_a_spec_names_is_looked_at_before_it_is_called(kind, named, mine):
    with pytest.raises(SpecError, match=f"^{kind}: .*accepted: ") as raised:
        READERS[kind](named)
    assert "\n" not in str(raised.value)
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("kind", sorted(set(READERS) - {"dataset", "model"}))
def test_no_function_makes_what_is_a_class(kind, mine):
    with pytest.raises(SpecError, match=f"{kind}: 'mine:attack' is a function, no class"):
        READERS[kind]("mine:attack")


def test_functions_that_make_data_take_nothing(mine):
    for name in ("mine:data", "mine:annotated"):
        assert get_dataset(name) is get_dataset("digits")
    with pytest.raises(SpecError, match=r"mine:data has no parameter 'path' \(it takes none\)"):
        get_dataset("mine:data(path='x')")


@pytest.mark.parametrize(
    "settings",
    [
        {"aggregator": "mine:Class"},
        {"aggregator": "nnm + mine:Class(f=1)"},
        {"aggregator": {"name": "mine:Class", "f": 1}},
        {"attack": "mine:Class"},
        {"attack": {"name": " mine:Class"}},
        {"attack": "line_search(against='mine:Class')", "byzantine": 1},
        {"attack": "line_search(against='nnm + mine:Class')"},
        {"attack": {"name": "line_search", "against": "mine:Class"}},
        {"attack": {"name": "line_search", "parameters": {"against": ["mine:Class"]}}},
        {"dataset": "mine:data"},
        {"model": "mine:Class(a=[1, 2])"},
        {"attack": r"line_search(against='mine\x3aClass')", "byzantine": 0},
        {"model": "a-module:Class"},
        {"model": "1a:Class"},
        {"dataset": ".mine:data"},
        {"partition": "mine:Alike"},
        {"schedule": "mine:Class"},
        {"loss": "mine:Class"},
        {"noise": {"name": "mine:Class", "df": 3}},
    ],
)
def test_without_plugins_no_name_of_a_module_is_taken(settings, mine, command):
    (field,) = settings.keys() - {"byzantine"}
    with without_plugins(), pytest.raises(SpecError, match=f"^{field}: .*--no-plugins refuses"):
        RunSpec(**settings)
    sweep = mine / "sweep.yaml"
    byzantine = settings.get("byzantine", 1)
    grid = {"seed": [0, 1], field: [settings[field]]}
    sweep.write_text(yaml.safe_dump({"grid": grid, "byzantine": byzantine, "steps": 1}))
    code, _, err = command("run", sweep, "--no-plugins")
    assert code == 2
    assert err.startswith(f"error: {sweep}, line ")
    assert "--no-plugins refuses" in err
    assert not (mine / "IMPORTED").exists()


def test_without_plugins_what_is_built_in_trains(tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep.yaml").write_text(
        "{steps: 1, honest: 6, byzantine: 1, aggregator: nnm + median, device: cpu, "
        "attack: \"line_search(against='nnm + krum')\", model: 'mlp(hidden=[4, 4])'}"
    )
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    code, _, err = command("run", "sweep.yaml", "--no-plugins", "--quiet")
    assert (code, err) == (0, "")
    assert "" not in sys.path


@pytest.fixture
def store(mine, command):
    """Makes one whose cells say what a stranger wrote."""
    with Store(mine / "results.db") as results:
        results.add([train(RunSpec(steps=1, honest=3, seed=seed)) for seed in (0, 1)])

    def changed(**cells):
        with Store(mine / "results.db") as results, results._writing.begin() as connection:
            for name, text in cells.items():
                connection.exec_driver_sql(f"update runs set {name} = ?", (text,))

    return changed


HOSTILE = ["os:system(command='touch PWNED')", "mine:touches", "mine:Class(command='touch PWNED')"]


@pytest.mark.parametrize("text", HOSTILE)
def test_commands_that_read_import_nothing(text, store, mine, command):
    names = (*READERS, "accountant", "device", "data_dir")
    store(**dict.fromkeys(set(names) - {"device"}, text))
    for words in (
        "table results.db", "table results.db --format csv", "status results.db",
        "report results.db", "export results.db --tensorboard events",
        *(f"figure {kind} results.db -o {kind}.png" for kind in
          ("epsilon", "heatmap", "pareto", "curves", "learning_rate", "partitions")),
    ):  # fmt: skip
        _, _, err = command(*words.split())
        assert "Traceback" not in err
        assert not (mine / "IMPORTED").exists(), words


@pytest.mark.parametrize(
    ("cells", "field"),
    [
        *(({"dataset": text}, "dataset") for text in HOSTILE),
        *(({"partition": text}, "partition") for text in HOSTILE),
        ({"dataset": "table(path='/etc/passwd.csv', label='root')"}, "dataset"),
        ({"dataset": "mnist", "data_dir": "/etc"}, "data_dir"),
    ],
)
def test_a_figure_opens_and_imports_what_a_person_names(cells, field, store, mine, command):
    store(**cells)
    code, _, err = command("figure", "partitions", "results.db", "-o", "p.png")
    assert code == 2
    assert err.startswith(f"error: partitions: {field} is ")
    assert f"--{field.replace('_', '-')}" in err
    assert not (mine / "IMPORTED").exists()


def test_a_figure_draws_the_modules_that_a_person_names(store, command, mine):
    store(dataset="mine:data", partition="mine:Alike(heterogeneity=0.5)")
    named = ["--dataset", "mine:data", "--partition", "mine:Alike(heterogeneity=0.5)"]
    code, _, err = command("figure", "partitions", "results.db", "-o", "p.png", *named)
    assert (code, err) == (0, "")
    code, _, err = command("figure", "partitions", "results.db", "--dataset", "digits", *named[2:])
    assert code == 2
    assert "partitions: dataset is 'mine:data' in the store" in err


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("dataset", "numpy:load(file='data.npy', allow_pickle=True)"),
        ("dataset", "pandas:read_pickle(filepath_or_buffer='data.pkl')"),
        ("model", "numpy:load(file='data.npy', allow_pickle=True)"),
    ],
)
def test_a_function_of_anybodys_is_given_nothing(kind, text, tmp_path, monkeypatch):
    """What it would do with arguments of a spec, nobody has promised."""
    monkeypatch.chdir(tmp_path)
    get = {"dataset": get_dataset, "model": get_factory}[kind]
    with pytest.raises(SpecError, match=f"^{kind}: .* has no parameter .*it takes none"):
        get(text)
