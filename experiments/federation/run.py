"""Run the federation of this folder on this machine: python run.py [--rounds 10] [--rule median]

It starts a SuperLink and a SuperNode for each client, as processes of their own on loopback, runs
the app, prints a table of its rounds, and stops all that it started.
"""

import argparse
import json
import math
import os
import random
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self, TypeAlias
from uuid import uuid4

HERE = Path(__file__).resolve().parent
MARKER = "PRIVROBUST_FEDERATION"
_HOST = "127.0.0.1"
_PORTS = range(20_000, 30_000)  # below those that systems give out by themselves
_LINK_SECONDS, _GRACE_SECONDS = 120.0, 3.0

Process: TypeAlias = "subprocess.Popen[bytes]"


class Federation:
    """Processes on loopback: none outlives the `with` block, nor this process if it is killed.

    Flower's processes start others in sessions of their own, and clients may outlive their nodes.
    So all carry a marker in their environment, and a guard ends whatever carries it as soon as its
    standard input closes: when we say so, or when this process is no more.

    Args:
        folder: where logs and Flower's own files go.

    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        """The SuperLink's."""
        home = folder / "flwr"
        home.mkdir(parents=True, exist_ok=True)
        (home / "config.toml").write_text(
            '[superlink]\ndefault = "local"\n\n'
            f'[superlink.local]\naddress = "{_HOST}:{self.port}"\ninsecure = true\n',
            encoding="utf-8",
        )
        marker = uuid4().hex
        path = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
        self._environment = {
            **os.environ,
            "FLWR_HOME": str(home),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "OMP_NUM_THREADS": "1",
            "PATH": os.pathsep.join(path),  # Flower's commands beside this Python
            MARKER: marker,
        }
        self._guard = subprocess.Popen(
            [sys.executable, __file__, "--guard", marker],
            stdin=subprocess.PIPE,
            start_new_session=True,  # where no Ctrl-C reaches it
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._guard.communicate()

    def start_link(self, *options: str) -> Process:
        """Start the SuperLink, and return as soon as it answers."""
        command = ["flower-superlink", "--insecure", "--host", _HOST, "--port", str(self.port)]
        link = self.start([*command, "--disable-runtime-dependency-installation", *options])
        end = time.monotonic() + _LINK_SECONDS
        while not _answers(self.port):
            if link.poll() is not None or time.monotonic() > end:
                log = (self.folder / "processes.log").read_text(encoding="utf-8")
                raise SystemExit(f"run.py: the SuperLink does not answer:\n{log}")
            time.sleep(0.1)
        return link

    def start_node(self, **settings: Any) -> Process:
        """Start a SuperNode with these settings of its owner's."""
        command = ["flower-supernode", "--insecure", "--superlink", f"{_HOST}:{self.port}"]
        command += ["--host", _HOST, "--port", str(_free_port())]
        return self.start([*command, "--node-config", _in_toml(settings)])

    def submit(self, config: Mapping[str, Any], *options: str) -> Process:
        """Hand the app to the SuperLink; the process shows the run's log until it ends."""
        command = ["flwr", "run", str(HERE), "local", "--stream", *options]
        return self.start([*command, "--run-config", _in_toml(config)], is_shown=True)

    def start(self, command: list[str], *, is_shown: bool = False) -> Process:
        """Start a command; what it prints is shown, or goes to a log."""
        print(f"$ {shlex.join(command)}", file=sys.stderr)
        with open(self.folder / "processes.log", "ab") as log:
            started = subprocess.Popen(
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr if is_shown else log,
                stderr=sys.stderr if is_shown else log,
                start_new_session=True,
            )
        assert self._guard.stdin is not None
        self._guard.stdin.write(f"{started.pid}\n".encode())
        self._guard.stdin.flush()
        return started


def guard(marker: str) -> None:
    """Wait until standard input closes, and end what carries the marker, whatever it does."""
    groups = [int(line) for line in sys.stdin]
    end = time.monotonic() + _GRACE_SECONDS
    while processes := list(marked(marker)):
        for process in processes:
            _kill(process, signal.SIGTERM if time.monotonic() < end else signal.SIGKILL)
        time.sleep(0.2)
    if not Path("/proc/self/environ").exists():  # no Linux: what is left are process groups
        for group in groups:
            _kill(-group, signal.SIGKILL)


def marked(marker: str, name: str = MARKER) -> Iterator[int]:
    """Yield the processes that carry a marker, in a variable of that name."""
    wanted = f"{name}={marker}".encode()
    for each in Path("/proc").glob("[0-9]*"):
        try:
            found = (each / "environ").read_bytes().split(b"\0")
        except OSError:  # gone by now, or somebody else's
            continue
        if wanted in found:
            yield int(each.name)


def _kill(process: int, kind: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, kind)


def _answers(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex((_HOST, port)) == 0


def _free_port() -> int:
    while _answers(port := random.choice(_PORTS)):
        pass
    return port


def _in_toml(settings: Mapping[str, Any]) -> str:
    """Write settings as Flower's options take them."""
    return " ".join(f"{name.replace('_', '-')}={json.dumps(settings[name])}" for name in settings)


def options(arguments: Sequence[str]) -> dict[str, Any]:
    """Read a command line: an option for every key of the app's settings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Help)
    parser.add_argument("--simulation", action="store_true", help="clients in Ray, not in nodes")
    settings = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))
    for name, default in settings["tool"]["flwr"]["app"]["config"].items():
        parser.add_argument(f"--{name}", type=type(default), default=default, help=" ")
    return {
        name.replace("_", "-"): value for name, value in vars(parser.parse_args(arguments)).items()
    }


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults, and the description as it stands."""


def _check(config: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the settings, before anything is started."""
    if find_spec("flwr") is None:
        return "needs Flower: pip install 'privrobust[flower]'"
    from server_app import strategy_of
    from task import attacker_of

    from privrobust.errors import PrivRobustError

    try:
        strategy_of(config)
        attacker_of(config, config["clients"] - 1)
    except PrivRobustError as error:
        return str(error)
    return None


def main() -> int:
    """Run the federation, and show its rounds."""
    if sys.argv[1:2] == ["--guard"]:
        guard(sys.argv[2])
        return 0
    config = options(sys.argv[1:])
    simulation = config.pop("simulation")
    ledger = Path(config["ledger"]).resolve()
    ledger.parent.mkdir(parents=True, exist_ok=True)
    config["ledger"], report = str(ledger), Path(config["report"]).resolve()
    config["report"] = str(report)
    report.unlink(missing_ok=True)
    if reason := _check(config):
        print(f"run.py: {reason}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder, Federation(Path(folder)) as federation:
        if simulation:
            federation.start_link("--simulation")
            nodes = f"num-supernodes={config['clients']} client-resources-num-cpus=1"
            run = federation.submit(config, "--federation-config", nodes)
        else:
            federation.start_link()
            for place in range(config["clients"]):
                federation.start_node(**node_settings(config, place))
            run = federation.submit(config)
        run.wait()
    if not report.exists():
        print("run.py: the run failed; its log above says why", file=sys.stderr)
        return 1
    show(json.loads(report.read_text(encoding="utf-8")))
    return 0


def node_settings(config: Mapping[str, Any], place: int) -> dict[str, Any]:
    """Return what the owner of a node says: which data, and the ledger if it is honest."""
    settings: dict[str, Any] = {"partition_id": place}
    if place < config["clients"] - config["byzantine"]:
        settings["ledger"] = str(Path(config["ledger"]).with_name(f"client-{place}.db"))
        settings["max_epsilon"] = config["max-epsilon"]
    return settings


def show(report: Mapping[str, Any]) -> None:
    """Print the rounds of a run, and why clients were rejected."""
    print("round  accuracy  accepted  rejected  epsilon")
    for row in report["rounds"]:
        epsilon = math.ceil(1000 * row["epsilon"]) / 1000  # an upper bound is rounded up
        accuracy, accepted, rejected = row["accuracy"], row["accepted"], row["rejected"]
        print(f"{row['round']:5}  {accuracy:8.3f}  {accepted:8}  {rejected:8}  {epsilon:7.3f}")
    for number, reasons in report["rejected"].items():
        for reason in dict.fromkeys(reasons):
            print(f"round {number}, {reasons.count(reason)} rejected: {reason}")
    if report["ended"]:
        print(f"ended {report['ended']}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
