"""docs/federated.md and the example's page show what is so."""

import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import torch
from federated import PICTURE, svg
from federation import run as example
from flwr.app import Context, RecordDict
from in_process import InProcessGrid

from privrobust.accountants import Release, spend
from privrobust.core.formatting import rounded_up
from privrobust.federated import Ledger, UpdatePrivacy

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "federated.md").read_text(encoding="utf-8")
EXAMPLE = Path(example.__file__).parent
CLIENT, SERVER, LOOK, ATTACKER, FEDAVG = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_picture_is_what_its_script_draws():
    assert PICTURE.read_text(encoding="utf-8") == svg()


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder for ledgers, and the reader's own module."""
    monkeypatch.chdir(tmp_path)
    task = ModuleType("my_task")
    task.Net = lambda: torch.nn.Linear(4, 3)
    task.train_as_always = lambda model: torch.nn.init.ones_(model.weight)
    monkeypatch.setitem(sys.modules, "my_task", task)


def run_here(block):
    names = {}
    exec(block, names)
    return names


@pytest.mark.usefixtures("elsewhere")
def test_the_apps_train_until_the_budget_ends(capsys):
    clients = [run_here(CLIENT)["app"]] + [
        run_here(CLIENT.replace("mine.db", f"{place}.db"))["app"] for place in range(4)
    ]
    server = run_here(SERVER)["app"]
    server(InProcessGrid(clients), Context(1, 1, {}, RecordDict(), {}))
    said = re.search(r"# (before round .*) \.\.\.\n", SERVER).group(1)
    assert capsys.readouterr().out.startswith(said)
    found = run_here(LOOK)["ledger"]
    assert len(found.entries) == 11
    assert found.spent == Ledger("mine.db", "ward 7").spent


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("block", [ATTACKER, FEDAVG])
def test_the_other_blocks_run(block):
    run_here(block)


def test_the_units_cost_what_the_page_says():
    (row,) = re.findall(r"(?m)^\| in 10 rounds.*$", PAGE)
    whole = UpdatePrivacy(clip_norm=1.0, noise_scale=2.0).release(10)
    steps = Release(noise_scale=0.1, steps=10, clip_norm=1.0, batch_size=32, sampling_rate=0.2)
    expected = [rounded_up(spend(each).epsilon, 3) for each in (whole, steps)]
    assert re.findall(r"epsilon ([\d.]+)", row) == expected


def test_the_examples_page_names_options_that_there_are():
    page = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    keys = tomllib.loads((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))
    keys = keys["tool"]["flwr"]["app"]["config"]
    commands = re.findall(r"(?m)^python run.py(.*)$", page)
    assert len(commands) == 4
    for command in commands:
        assert example.options(command.split()).keys() == {*keys, "simulation"}
    assert set(re.findall(r"\[(\w+\.\w+)\]\(\1\)", page)) == {
        each.name for each in EXAMPLE.iterdir() if each.suffix in {".py", ".toml"}
    }
