"""The example as it is: SuperLink, SuperNodes, clients that attack, die or hang, a dead server.

Every process that a test starts carries the test's marker, and none is left at its end.
"""

import json
import math
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from federation import run as example
from federation.run import Federation, marked, node_settings

from privrobust import RunSpec
from privrobust.federated import Ledger
from privrobust.training.loop import train_lanes

RUN = Path(example.__file__)
MARKER = "PRIVROBUST_TEST"
MINUTES = 60.0


def eventually(happened, seconds=5 * MINUTES):
    """Wait until it is true of what a function returns, and return that."""
    end = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)
    return found


@pytest.fixture(autouse=True)
def marker(tmp_path, monkeypatch):
    """Mark all that a test starts, and see that nothing of it is left."""
    marker = tmp_path.name + str(time.monotonic_ns())
    monkeypatch.setenv(MARKER, marker)
    yield marker
    left = list(marked(marker, MARKER))
    names = [Path(f"/proc/{process}/cmdline").read_bytes() for process in left]
    for process in left:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    assert not names


def command(folder, **options):
    """What one types, with files in a folder."""
    options = {"ledger": folder / "server.db", "report": folder / "report.json", **options}
    found = [sys.executable, str(RUN)]
    for name, value in options.items():
        found += [f"--{name.replace('_', '-')}", str(value)]
    return found


def charged(folder, name="server", data="digits"):
    return len(Ledger(folder / f"{name}.db", data).entries)


def spent(folder, name, data):
    return Ledger(folder / f"{name}.db", data).spent.epsilon


SMALL = {"clients": 3, "byzantine": 1, "rounds": 1, "local_steps": 2, "rule": "median"}


def test_one_command_runs_a_federation(tmp_path):
    done = subprocess.run(
        command(tmp_path, **SMALL, attack="large_value"),
        capture_output=True, text=True, timeout=10 * MINUTES, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    heading, row = done.stdout.splitlines()
    assert heading.split() == ["round", "accuracy", "accepted", "rejected", "epsilon"]
    number, accuracy, accepted, rejected, epsilon = row.split()
    assert (number, accepted, rejected) == ("1", "3", "0")
    assert 0 < float(accuracy) <= 1  # the median of three is not moved by the large one
    (entry,) = Ledger(tmp_path / "server.db", "digits").entries
    assert (entry.release.steps, entry.note) == (2, "round 1")
    at_server = spent(tmp_path, "server", "digits")
    assert at_server <= float(epsilon) <= at_server + 0.001
    for client in ("client-0", "client-1"):  # the same two messages, charged one by one
        assert spent(tmp_path, client, "my examples") == pytest.approx(at_server)
    assert not (tmp_path / "client-2.db").exists()  # who attacks counts nothing


# --- before anything is started ------------------------------------------------------------------


def said(monkeypatch, capsys, folder, **options):
    monkeypatch.syspath_prepend(RUN.parent)
    monkeypatch.setattr(sys, "argv", command(folder, **options)[1:])
    assert example.main() == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err


def test_what_cannot_run_is_one_line_and_starts_nothing(tmp_path, monkeypatch, capsys):
    assert said(monkeypatch, capsys, tmp_path, rule="medain").startswith(
        "run.py: aggregator: unknown name 'medain'; did you mean 'median'? (known: "
    )
    for name in ("attack", "model", "dataset", "partition"):
        reason = said(monkeypatch, capsys, tmp_path, **{name: "nonsense"})
        assert reason.startswith(f"run.py: {name}: unknown name 'nonsense'")
    assert said(monkeypatch, capsys, tmp_path, byzantine=10) == (
        "run.py: honest: 0 is not a whole number, 1 or more\n"
    )
    monkeypatch.setattr(example, "find_spec", lambda name: None)
    assert said(monkeypatch, capsys, tmp_path) == (
        "run.py: needs Flower: pip install 'privrobust[flower]'\n"
    )


# --- nothing is left -----------------------------------------------------------------------------

# Starts a process that starts one in a session of its own; neither heeds SIGTERM.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if sys.argv[1:]:
    subprocess.Popen([sys.executable, "-c", sys.argv[1]], start_new_session=True)
time.sleep(600)
"""

PARENT = f"""
import sys, time
from pathlib import Path
from federation.run import Federation
STUBBORN = {STUBBORN!r}
with Federation(Path(sys.argv[1])) as federation:
    federation.start([sys.executable, "-c", STUBBORN, STUBBORN])
    time.sleep(600)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_what_was_started_ends_with_its_parent(tmp_path, marker, how):
    path = os.pathsep.join([str(RUN.parents[1]), os.environ.get("PYTHONPATH", "")])
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    # itself, the guard, the process and its own
    eventually(lambda: len(list(marked(marker, MARKER))) == 4)
    parent.send_signal(how)
    assert parent.wait() != 0
    eventually(lambda: not list(marked(marker, MARKER)))


# --- for minutes ---------------------------------------------------------------------------------


def report_of(folder):
    return json.loads((folder / "report.json").read_text())


def trained(**settings):
    """Accuracies of `train` at the settings of a federation whose clients make one step a round."""
    spec = RunSpec(
        **settings, sampling_rate=0.2, batch_size=32, clip_norm=1.0, noise_scale=0.1,
        learning_rate=0.5, evaluate_every=settings["steps"], final_evaluations=1,
    )  # fmt: skip
    runs = train_lanes([spec.model_copy(update={"seed": seed}) for seed in range(40)])
    return np.array([each.accuracy for each in runs])


def agrees(accuracy, runs):
    """Tell whether one accuracy is of that distribution: wrong by chance once in 10^5, or less.

    5.5 standard errors of 40 runs; Student's t of 39 degrees is beyond that in 3 of 10^6.
    """
    return abs(accuracy - runs.mean()) < 5.5 * runs.std(ddof=1) * math.sqrt(1 + 1 / len(runs))


@pytest.mark.slow
@pytest.mark.parametrize(("dataset", "rounds"), [("digits", 3), ("fashion_mnist", 2)])
def test_ten_clients_of_which_two_attack(tmp_path, dataset, rounds):
    """In processes of their own; the accuracy is that of `train` with the same attack."""
    settings = {"dataset": dataset, "rule": "nnm + trimmed_mean", "attack": "own_sign_flip"}
    subprocess.run(
        command(tmp_path, **settings, rounds=rounds, local_steps=1, timeout=20 * MINUTES),
        check=True, timeout=60 * MINUTES,
    )  # fmt: skip
    found = report_of(tmp_path)["rounds"]
    assert [(row["accepted"], row["rejected"]) for row in found] == [(10, 0)] * rounds
    settings["aggregator"] = settings.pop("rule")
    runs = trained(**settings, honest=8, byzantine=2, steps=rounds)
    assert agrees(found[-1]["accuracy"], runs), (found[-1], runs.mean(), runs.std())
    assert charged(tmp_path, data=dataset) == rounds
    assert [charged(tmp_path, f"client-{i}", "my examples") for i in range(8)] == [rounds] * 8
    assert found[-1]["epsilon"] == pytest.approx(spent(tmp_path, "client-3", "my examples"))


@pytest.mark.slow
def test_the_simulation_engine_agrees_with_train(tmp_path):
    options = {"rule": "median", "attack": "own_sign_flip", "rounds": 40, "local_steps": 1}
    subprocess.run(
        [*command(tmp_path, **options, max_epsilon=50.0), "--simulation"],
        check=True, timeout=30 * MINUTES,
    )  # fmt: skip
    found = report_of(tmp_path)["rounds"]
    assert [row["accepted"] for row in found] == [10] * 40
    runs = trained(
        dataset="digits", aggregator="median", attack="own_sign_flip", honest=8, byzantine=2,
        steps=40,
    )  # fmt: skip
    assert runs.mean() > 0.5
    assert agrees(found[-1]["accuracy"], runs), (found[-1], runs.mean(), runs.std())
    assert charged(tmp_path) == 40


@pytest.mark.slow
def test_a_second_run_continues_to_count_and_ends_with_the_budget(tmp_path):
    """A round of two steps costs .42, two .56, three .67: the third is refused, whoever asks."""
    options = {**SMALL, "max_epsilon": 0.6}
    for rounds in (1, 3):
        subprocess.run(
            command(tmp_path, **{**options, "rounds": rounds}), check=True, timeout=30 * MINUTES
        )
    found = report_of(tmp_path)
    assert [row["round"] for row in found["rounds"]] == [1]
    assert found["ended"].startswith("before round 2: ledger: ")
    assert charged(tmp_path) == 2
    assert charged(tmp_path, "client-0", "my examples") == 4  # it charges steps


class Deployed:
    """A federation that a test disturbs."""

    def __init__(self, federation, folder, **options):
        self.federation, self.folder = federation, folder
        settings = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        self.config = example.options(settings)
        del self.config["simulation"]
        self.config |= {"ledger": str(folder / "server.db"), "report": str(folder / "report.json")}
        self.nodes = [
            federation.start_node(**node_settings(self.config, place))
            for place in range(self.config["clients"])
        ]

    def submit(self, **changed):
        return self.federation.submit({**self.config, **changed})

    def training(self, place):
        """The process that trains for a node, once it has charged a step: it will send it soon."""
        ledger = self.folder / f"client-{place}.db"
        if not ledger.exists() or not charged(self.folder, f"client-{place}", "my examples"):
            return None
        of_node = below(self.nodes[place].pid)
        return next((each for each in of_node if b"flwr-clientapp" in name(each)), None)


def name(process):
    return Path(f"/proc/{process}/cmdline").read_bytes()


def below(process):
    """The processes that it has started, and those that these have."""
    for child in Path(f"/proc/{process}/task/{process}/children").read_text().split():
        yield int(child)
        yield from below(int(child))


HANGING = """
import time
from privrobust.attacks import Attack

class Hanging(Attack):
    sees = "nothing"

    def craft(self, seen, byzantine, generator):
        time.sleep(3600)
"""


@pytest.mark.slow
def test_clients_that_die_or_hang_are_rejected_and_the_others_go_on(tmp_path, monkeypatch):
    """One is killed while it trains, one stopped, and one hangs but tells that it is alive."""
    (tmp_path / "hanging.py").write_text(HANGING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with Federation(tmp_path) as federation:
        federation.start_link()
        deployed = Deployed(
            federation, tmp_path, clients=6, byzantine=1, rule="median", rounds=2, local_steps=50,
            attack="hanging:Hanging", timeout=3 * MINUTES,
        )  # fmt: skip
        run = deployed.submit()
        kinds = {0: signal.SIGKILL, 1: signal.SIGSTOP}
        while kinds:
            for place in list(kinds):
                if process := deployed.training(place):
                    os.kill(process, kinds.pop(place))
            time.sleep(0.05)
        assert run.wait() == 0
    found = report_of(tmp_path)
    first, second = found["rounds"]
    assert (first["accepted"], first["rejected"]) == (3, 3)
    reasons = found["rejected"]["1"]
    assert sum("stopped responding" in why for why in reasons) == 2, reasons
    # of who hangs, the link says that its time is over, if the server asks it late enough
    assert sum(why == "no reply" or "expired" in why for why in reasons) == 1, reasons
    assert second["accepted"] >= 4  # a node whose client was stopped may need longer
    assert charged(tmp_path) == 2
    for client in range(5):
        at_client = charged(tmp_path, f"client-{client}", "my examples")
        assert at_client == 100 if client > 1 else 1 <= at_client < 100


def of_server(federation):
    """The link's processes, and those that it has started: no node's."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            found = name(process.name)
            if str(federation.port).encode() in found and b"flower-supernode" not in found:
                yield int(process.name)


@pytest.mark.slow
def test_a_server_that_is_killed_and_started_again_forgets_nothing(tmp_path):
    state = ["--database", str(tmp_path / "state.db")]
    with Federation(tmp_path) as federation:
        federation.start_link(*state)
        deployed = Deployed(federation, tmp_path, **{**SMALL, "rounds": 100})
        run = deployed.submit()
        eventually(lambda: (tmp_path / "server.db").exists() and charged(tmp_path) == 2)
        eventually(lambda: deployed.training(0))
        for process in list(of_server(federation)):
            os.kill(process, signal.SIGKILL)
        assert run.wait() != 0
        assert charged(tmp_path) == 2
        assert not (tmp_path / "report.json").exists()
        federation.start_link(*state)
        assert deployed.submit(rounds=1).wait() == 0
    (row,) = report_of(tmp_path)["rounds"]
    assert row["accepted"] == 3
    assert charged(tmp_path) == 3
    at_server = spent(tmp_path, "server", "digits")
    assert row["epsilon"] == at_server
    for client in ("client-0", "client-1"):  # each with what it sent in vain
        assert spent(tmp_path, client, "my examples") <= at_server
