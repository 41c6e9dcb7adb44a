"""Damaged stores: every command shows what is whole, or says in one line what is wrong."""

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from privrobust.cli.main import app
from privrobust.errors import PrivRobustError
from privrobust.store import Store
from privrobust.sweeps.grid import Sweep
from privrobust.training.loop import train_lanes

SWEEP = """
steps: 2
evaluate_every: 1
clip_norm: 1
noise_scale: 0.1
grid: {aggregator: [mean, median], byzantine: [0, 1], attack: [alie, zero], seed: [0, 1, 2]}
"""
RUNS = 18
COMMANDS = [
    "status {store}",
    "status {store} {sweep}",
    "table {store}",
    "table {store} --format csv",
    "table {store} --format json",
    "table {store} --preset trilemma",
    "table {store} --preset budget",
    "table {store} --show gap,breakdown",
    "figure epsilon {store} -o {folder}/epsilon.svg",
    "figure curves {store} -o {folder}/curves.svg",
    "figure heatmap {store} -o {folder}/heatmap.svg",
    "report {store} -o {folder}/report.html",
    "export {store} --tensorboard {folder}/runs",
    "run {sweep} --store {store} --quiet",
]
VALUES = [
    "abc", "", None, -1, -0.5, 1e300, 1e999, -1e999, 2**62, 0, 1, 0.5, b"\xff\xfe", "é\u0000", "[1"
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A store of a finished sweep, beside its file."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "sweep.yaml").write_text(SWEEP)
    import yaml

    specs = Sweep.from_settings(yaml.safe_load(SWEEP)).runs()
    assert len(specs) == RUNS
    result = train_lanes(specs[:1])[0]
    with Store(folder / "results.db") as store:
        store.add([replace(result, spec=spec) for spec in specs])
    return folder


@pytest.fixture
def damaged(whole, tmp_path):
    """Copies the store and runs SQL on the copy."""

    def damage(*statements, values=()):
        path = shutil.copy(whole / "results.db", tmp_path / "results.db")
        with sqlite3.connect(path) as connection:
            for statement in statements:
                connection.execute(statement, values)
        connection.close()
        return path

    return damage


def said(command, store, whole, folder):
    """What a command prints, once it was seen to end well or in one line."""
    parts = command.format(store=store, sweep=whole / "sweep.yaml", folder=folder).split()
    result = CliRunner().invoke(app, parts)
    error = result.exception
    if error is not None and not isinstance(error, SystemExit):
        if not isinstance(error, PrivRobustError):
            raise AssertionError(f"{command}: {error!r}") from error
        assert "\n" not in str(error)
        return str(error)
    return result.output


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("accuracy", "abc"), ("accuracy", -1), ("accuracy", 1e999), ("accuracy", b"x"),
        ("epsilon", None), ("epsilon", -1), ("honest", None), ("honest", "ten"),
        ("aggregator", b"\xff"), ("noise_scale", "much"), ("diverged", "perhaps"),
        ("attack", None), ("unit", "nobody"), ("status", "dome"), ("kappa", "x"),
    ],
)  # fmt: skip
def test_a_damaged_cell_costs_its_run_alone(column, value, damaged, whole, tmp_path, caplog):
    where = "where rowid = (select max(rowid) from runs where byzantine = 1)"
    path = damaged(f"update runs set {column} = ? {where}", values=(value,))
    assert "majority" not in said("table {store}", path, whole, tmp_path)
    assert f"1 of {RUNS} runs are left out: damaged cells ({column} in 1)" in caplog.text
    with Store(path) as store:
        assert len(store.runs()) == RUNS - 1


def test_text_that_is_no_text(damaged, whole, tmp_path, caplog):
    path = damaged("update runs set versions = cast(x'ff41' as text) where rowid = 3")
    assert "median" in said("table {store}", path, whole, tmp_path)
    assert f"1 of {RUNS} runs are left out: damaged cells (versions in 1)" in caplog.text


def test_a_store_without_a_whole_run_is_an_error(damaged, whole, tmp_path):
    path = damaged("update runs set accuracy = 'abc'")
    told = said("table {store}", path, whole, tmp_path)
    assert f"{RUNS} of {RUNS} runs have damaged cells (accuracy in {RUNS}); restore it" in told


@pytest.mark.parametrize(
    ("statement", "missing"),
    [
        ("alter table runs drop column kappa", "kappa"),
        ("drop table evaluations", "evaluations"),
    ],
)
def test_what_is_missing_stays_so(statement, missing, damaged, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "privrobust.store.transactions.time.sleep", lambda seconds: pytest.fail("waits")
    )
    told = said("table {store}", damaged(statement), whole, tmp_path)
    assert missing in told
    assert "restore it from a copy" in told
    assert "the same command goes on" not in told


def test_a_damaged_claim_is_free(damaged, whole, tmp_path):
    path = damaged("update runs set status = 'running', owner = x'ff', lease_until = 'soon'")
    assert "18 running" in said("status {store}", path, whole, tmp_path)
    told = said("run {sweep} --store {store} --quiet", path, whole, tmp_path)
    assert "median" in told
    with Store(path) as store:
        assert len(store.keys()) == RUNS


def mangled(path, chance):
    """Damage a file in one of the ways that disks, programs and people have."""
    way = chance.choice(["bytes", "truncate", "cells", "cells", "cells", "columns", "tables"])
    if way in ("bytes", "truncate"):
        content = bytearray(path.read_bytes())
        for _ in range(chance.choice([1, 10, 100])):
            content[chance.randrange(len(content))] = chance.randrange(256)
        if way == "truncate":
            del content[chance.randrange(len(content)) :]
        path.write_bytes(content)
        return
    with sqlite3.connect(path) as connection:
        tables = [name for (name,) in connection.execute("select name from sqlite_master "
                                                         "where type = 'table'")]  # fmt: skip
        for _ in range(chance.choice([1, 3])):
            table = chance.choice(tables)
            names = [row[1] for row in connection.execute(f"pragma table_info({table})")] or ["x"]
            column, value = chance.choice(names), chance.choice(VALUES)
            statement, values = f"drop table if exists {table}", ()
            if way == "cells":
                few = chance.choice(["", "where abs(random()) % 5 = 0", "where rowid = 2"])
                statement, values = f'update or ignore {table} set "{column}" = ? {few}', (value,)
            elif way == "columns":
                statement = f'alter table {table} drop column "{column}"'
            try:
                connection.execute(statement, values)
            except sqlite3.Error:  # a key cannot be dropped, nor a column twice
                continue
    connection.close()


@pytest.mark.parametrize(
    "trials", [12, pytest.param(600, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_no_damage_ends_in_a_traceback(trials, whole, tmp_path, monkeypatch):
    monkeypatch.setattr("privrobust.store.transactions.time.sleep", lambda seconds: None)
    for trial in range(trials):
        chance = random.Random(trial)
        path = tmp_path / f"{trial}.db"
        shutil.copy(whole / "results.db", path)
        mangled(path, chance)
        for command in chance.sample(COMMANDS, 5):
            try:
                said(command, path, whole, tmp_path)
            except AssertionError as error:
                raise AssertionError(f"trial {trial}: {error}") from error
        path.unlink()


# root writes to whatever is read-only, unless it gives that up
AS_ANYONE = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"]


@pytest.mark.parametrize("command", ["run sweep.yaml", "table results.db", "status results.db"])
def test_a_finished_sweep_in_a_read_only_folder_needs_no_writing(whole, tmp_path, command):
    folder = tmp_path / "folder"
    shutil.copytree(whole, folder)
    (folder / "results.db").chmod(0o444)
    folder.chmod(0o555)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    program = f"from privrobust.cli.main import app\napp({command.split()!r})"
    as_anyone = AS_ANYONE if os.geteuid() == 0 else []
    done = subprocess.run(
        [*as_anyone, sys.executable, "-c", program], cwd=folder, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    folder.chmod(0o755)
