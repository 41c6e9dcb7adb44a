"""Sweeps that are killed, again and again, and lose nothing."""

import os
import random
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from privrobust.store import Store
from privrobust.sweeps.loading import load_sweep

SWEEP = """
honest: 5
steps: 20
clip_norm: 1.0
grid:
  model: [logistic, mlp]
  noise_scale: [0, 0.1]
  byzantine: [0, 1]
  attack: [sign_flip, alie]
  seed: {seeds}
"""
OF_A_PROCESS = ["seconds", "finished"]
# Smaller batches than people want, so that there is much to interrupt.
PROGRAM = """
from privrobust.sweeps import packing
packing.LANES = 2
from privrobust.cli.main import main; main()
"""


def privrobust(*arguments, cwd):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def completed(*arguments, cwd):
    process = privrobust(*arguments, cwd=cwd)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return out


@pytest.fixture
def sweep(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(SWEEP.format(seeds=[0, 1]))
    return path


def runs(path):
    with Store(path) as store:
        return store.runs().sort_index().drop(columns=OF_A_PROCESS)


def killed_and_resumed(tmp_path, sweep, kills, *options):
    """The table after so many SIGKILLs, each at a random moment after some run was finished."""
    chance = random.Random(0)
    store, total = tmp_path / "killed.db", len(load_sweep(sweep).runs())
    done = [0]
    with Store(store) as opened:
        for _ in range(kills):
            process = privrobust("run", sweep, "--store", store, "--quiet", *options, cwd=tmp_path)
            while len(opened.keys()) == done[-1] and process.poll() is None:
                time.sleep(0.02)
            time.sleep(chance.uniform(0.0, 0.3))
            process.send_signal(signal.SIGKILL)
            process.communicate()
            done.append(len(opened.keys()))
    assert done == sorted(set(done))  # nothing finished is lost, and each did something
    assert done[-1] < total  # the last kill, too, met a sweep that was under way
    return completed("run", sweep, "--store", store, "--quiet", *options, cwd=tmp_path)


@pytest.mark.parametrize(
    ("kills", "seeds", "options"),
    [
        (2, 4, []),
        pytest.param(50, 100, [], marks=pytest.mark.slow),
        pytest.param(10, 30, ["--jobs", "2"], marks=pytest.mark.slow),
    ],
)
def test_a_sweep_killed_at_random_equals_one_that_was_not(tmp_path, sweep, kills, seeds, options):
    sweep.write_text(SWEEP.format(seeds=list(range(seeds))))
    table = completed("run", sweep, "--store", "whole.db", "--quiet", cwd=tmp_path)
    assert killed_and_resumed(tmp_path, sweep, kills, *options) == table
    pd.testing.assert_frame_equal(
        runs(tmp_path / "killed.db"), runs(tmp_path / "whole.db"), check_exact=True
    )


@pytest.mark.slow  # tests/store/test_store.py has two that claim at once
def test_two_processes_share_a_store_and_no_work(tmp_path, sweep):
    table = completed("run", sweep, "--store", "whole.db", "--quiet", cwd=tmp_path)
    log = tmp_path / "both.log"
    both = [
        privrobust("run", sweep, "--store", "shared.db", "--quiet", "--log", log, cwd=tmp_path)
        for _ in range(2)
    ]
    tables = [process.communicate(timeout=600)[0] for process in both]
    assert tables == [table, table]
    pd.testing.assert_frame_equal(
        runs(tmp_path / "shared.db"), runs(tmp_path / "whole.db"), check_exact=True
    )
    trained = [int(line.split()[3]) for line in log.read_text().splitlines() if " runs in " in line]
    assert sum(trained) == len(load_sweep(sweep).runs())  # each run once


def test_what_was_killed_is_seen(tmp_path, sweep):
    sweep.write_text(SWEEP.format(seeds=list(range(20))))  # not done before it is killed
    store = tmp_path / "results.db"
    process = privrobust("run", sweep, "--store", store, "--quiet", cwd=tmp_path)
    with Store(store) as opened:
        while not opened.keys() and process.poll() is None:
            time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    shown = completed("status", store, sweep, cwd=tmp_path)
    total = len(load_sweep(sweep).runs())
    with Store(store) as opened:
        done, running = len(opened.keys()), len(opened.claims())
    assert f"{total - done - running} of {total} runs of the sweep are missing" in shown
    assert ("it has ended: free to take" in shown) == (running > 0)
