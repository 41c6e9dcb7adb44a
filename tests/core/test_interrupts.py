"""Commands that are interrupted at any moment: one line, the code of the first signal, and gone."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from privrobust import RunSpec, train
from privrobust.cli.main import main
from privrobust.core.interrupts import SIGNALS
from privrobust.store import Store
from privrobust.store.leases import is_gone

WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}
SWEEP = """
honest: 5
steps: 50
clip_norm: 1.0
grid:
  model: [logistic, mlp]
  byzantine: [0, 1]
  attack: [sign_flip, alie]
  seed: {seeds}
"""
# A second on a quiet machine; tests share theirs.
GONE_SECONDS = 5.0

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


class Command:
    """A command in a session of its own, with all the processes that it starts."""

    def __init__(self, *arguments, cwd, before="", **streams):
        program = f"{before}\nfrom privrobust.cli.main import main\nmain()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams,
            cwd=cwd,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )

    def listens(self, to=signal.SIGHUP):
        """Whether it got to its first line: before, Python itself answers."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        caught = re.search(r"SigCgt:\s*(\w+)", status)
        return caught is not None and bool(int(caught[1], 16) >> (to - 1) & 1)

    def until(self, moment):
        """Wait, as long as it lives."""
        while not moment() and self.process.poll() is None:
            time.sleep(0.001)

    def alive(self):
        """The processes of its session."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
            except OSError:  # it has just ended
                continue
            if int(session) == self.process.pid and state != "Z":
                found.append(int(stat.parent.name))
        return found

    def send(self, numbers, to_all=False, pause=0.01):
        """Signals, one after the other; to all of its processes, as a terminal does."""
        for number in numbers:
            if self.process.poll() is None:
                (os.killpg if to_all else os.kill)(self.process.pid, number)
                time.sleep(pause)

    def ended(self):
        """Return its code, output and error output; it and its processes are gone in time."""
        deadline = time.monotonic() + GONE_SECONDS
        while self.process.poll() is None or self.alive():
            assert time.monotonic() < deadline, f"alive: {self.alive()}"
            time.sleep(0.005)
        out, err = self.process.communicate(timeout=10)
        return self.process.returncode, out, (err or b"").decode()


def is_quiet(err, first, kept=None):
    """Whether nothing but one line is said, with the number of runs that are in the store."""
    (line,) = err.splitlines() or [""]
    told = re.search(r"(\d+) of \d+ runs are kept", line)
    return line.startswith(WORDS[first]) and (told is None or int(told[1]) == kept)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A sweep that takes long, and a store with a run of something else."""
    folder = tmp_path_factory.mktemp("interrupts")
    (folder / "sweep.yaml").write_text(SWEEP.format(seeds=list(range(200))))
    with Store(folder / "other.db") as store:
        store.add([train(RunSpec(steps=2))])
    return folder


def done(path):
    with Store(path) as store:
        return len(store.keys())


def trained(folder, *options):
    """A command that has just finished some runs."""
    path = folder / "results.db"
    before = done(path)
    command = Command("run", "sweep.yaml", "--quiet", *options, cwd=folder)
    command.until(lambda: done(path) > before)
    return command, path


@pytest.mark.parametrize(
    ("signals", "jobs"),
    [
        pytest.param([signal.SIGINT, signal.SIGINT], 1, marks=pytest.mark.slow),
        ([signal.SIGTERM, signal.SIGINT], 1),
        pytest.param([signal.SIGINT], 2, marks=pytest.mark.slow),
        ([signal.SIGHUP, *[signal.SIGINT, signal.SIGTERM] * 30], 2),
    ],
)
def test_the_first_signal_decides_and_what_is_kept_is_said(folder, signals, jobs):
    command, path = trained(folder, "--jobs", jobs)
    command.send(signals, to_all=True)
    code, out, err = command.ended()
    assert (code, out) == (128 + signals[0], b"")
    with Store(path) as store:
        assert all(map(is_gone, store.claims()["owner"]))  # no other waits for a lease
    assert is_quiet(err, signals[0], done(path))
    assert f"{done(path)} of 1,200 runs are kept in results.db; the same command" in err


def test_a_long_call_into_compiled_code_is_not_waited_for(folder):
    (folder / "slow.py").write_text(
        "import ctypes, pathlib\n"
        "from privrobust.sweeps.executors import base\n"
        "def train_lanes(specs, on_step):\n"
        "    pathlib.Path('calling').touch()\n"
        "    ctypes.CDLL(None).sleep(60)\n"
        "base.train_lanes = train_lanes\n"
    )
    slow = "import sys; sys.path.insert(0, ''); import slow"
    command = Command("run", "sweep.yaml", "--quiet", "--store", "c.db", cwd=folder, before=slow)
    command.until((folder / "calling").exists)
    command.send([signal.SIGINT])
    code, _, err = command.ended()
    assert code == 130
    assert (
        err == "interrupted: 0 of 1,200 runs are kept in c.db; the same command computes the rest\n"
    )


@pytest.mark.slow
def test_a_locked_store_is_not_waited_for(folder):
    command, path = trained(folder)
    with Store(path) as store, store._writing.begin():
        time.sleep(0.5)  # so that it waits for the lock, mostly
        command.send([signal.SIGINT, signal.SIGINT])
        code, _, err = command.ended()
    assert code == 130
    assert is_quiet(err, signal.SIGINT, done(path))


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_closed_pipe_changes_no_code(folder, closed):
    read, write = os.pipe()
    os.close(read)
    command = Command("run", "sweep.yaml", cwd=folder, **{closed: write})
    os.close(write)
    command.until(command.listens)
    time.sleep(1)
    command.send([signal.SIGINT] * 2)
    assert command.ended()[0] == 130


def test_nohup_is_heeded(folder):
    ignored = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    command = Command("list", "attacks", cwd=folder, before=ignored)
    command.until(lambda: command.listens(to=signal.SIGTERM))
    command.send([signal.SIGHUP])
    assert command.ended()[0] == 0


def test_processes_end_with_a_parent_that_is_killed(folder):
    command = Command("run", "sweep.yaml", "--jobs", "2", "--store", "k.db", cwd=folder)
    command.until(lambda: len(command.alive()) > 2)
    time.sleep(0.3)  # they import torch now
    command.send([signal.SIGKILL])
    code, _, err = command.ended()
    assert (code, "Traceback" in err) == (-signal.SIGKILL, False)


def test_python_users_keep_their_handlers(tmp_path, monkeypatch, capsys):
    before = [signal.getsignal(number) for number in SIGNALS]
    train(RunSpec(steps=2))
    monkeypatch.setattr(sys, "argv", ["privrobust", "list"])
    with pytest.raises(SystemExit):
        main()
    assert [signal.getsignal(number) for number in SIGNALS] == before
    assert signal.set_wakeup_fd(-1) == -1
    assert "attacks" in capsys.readouterr().out


COMMANDS = [
    ["run", "sweep.yaml", "--quiet"],
    ["run", "sweep.yaml", "--quiet", "--jobs", "2"],
    ["run", "sweep.yaml", "--dry-run"],
    ["table", "other.db"],
    ["status", "other.db", "sweep.yaml"],
    ["figure", "epsilon", "other.db", "-o", "figure.svg"],
    ["report", "other.db", "-o", "page.html"],
    ["list", "attacks"],
    ["budget", "-b", "0.1", "-C", "1", "-B", "32", "-n", "95", "-T", "300"],
]


@pytest.mark.parametrize("count", [8, pytest.param(500, marks=pytest.mark.slow)])
def test_at_random_moments_it_is_quiet_and_gone(folder, count):
    chance = random.Random(count)
    for _ in range(count):
        arguments = chance.choice(COMMANDS)
        command = Command(*arguments, cwd=folder)
        command.until(command.listens)
        time.sleep(chance.uniform(0, chance.choice([0.2, 2, 12])))
        signals = [chance.choice(SIGNALS) for _ in range(chance.choice([1, 1, 2, 2, 40]))]
        is_early = command.process.poll() is None
        command.send(signals, to_all=chance.random() < 0.5, pause=chance.choice([0.01, 0.05]))
        code, _, err = command.ended()
        said = f"{arguments} {signals[:2]}: {code} {err!r}"
        if not is_early or code == 0:
            assert code == 0, said
            continue
        # two that arrive before the process is scheduled have no order: the kernel keeps none
        assert code - 128 in signals[:2], said
        assert is_quiet(err, signal.Signals(code - 128), done(folder / "results.db")), said
    assert not list(folder.glob(".*.part"))
