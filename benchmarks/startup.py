"""What a person waits for before a command says anything, and what it holds."""

import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from stores import described, fill
from timing import median, table

from privrobust.sweeps import Sweep

RELEASE = "-C 1 -B 32 -n 95 -T 300"
COMMANDS = {
    "--help": "0.2 s",
    "list aggregators": "0.4 s",
    "list attacks": "0.4 s",
    "list datasets": "0.4 s",
    "list models": "0.4 s",
    "list partitions": "0.4 s",
    f"budget -b 0.1 {RELEASE}": "1 s",
    f"budget --target-epsilon 8,2 {RELEASE}": "1 s",
    "table results.db": "1.5 s, 300 MB",
    "status results.db": "1.5 s, 300 MB",
    "run sweep.yaml": "1.5 s, 300 MB",
}
"""With what they may take, beside a store in which nothing is left to do."""
LARGE = {
    "status results.db": "2 s",
    "table results.db": "6 s, 500 MB",
    "table results.db --format csv": "6 s, 500 MB",
    "report results.db": "",
    "run sweep.yaml --dry-run --store none.db": "10 s",
    "run sweep.yaml": "",
}
"""The same beside a large store."""
# Memory is read inside: seen from outside, a new process has held what its parent holds.
CALL = """
import atexit, sys
def say_held():
    lines = open("/proc/self/status").read().splitlines()
    print(next(line.split()[1] for line in lines if line.startswith("VmHWM")), file=sys.stderr)
atexit.register(say_held)
from privrobust.cli.main import main
main()
"""


def taken(command: str, folder: Path) -> tuple[float, float]:
    """Seconds and megabytes of one call."""
    call = [sys.executable, "-c", CALL, *shlex.split(command)]
    start = time.perf_counter()
    done = subprocess.run(call, cwd=folder, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    return seconds, int(done.stderr.splitlines()[-1]) * 1024 / 1e6


def rows(seeds: int, rounds: int, commands: dict[str, str]) -> list[list[str]]:
    """Time what commands take beside a finished sweep of 500 runs a seed."""
    with tempfile.TemporaryDirectory() as place:
        folder, sweep = Path(place), described(seeds)
        (folder / "sweep.yaml").write_text(yaml.safe_dump(sweep))
        specs = Sweep.from_settings(sweep).runs()
        fill(folder / "results.db", specs)
        calls = {each: [taken(each, folder) for _ in range(rounds)] for each in commands}
    return [
        [
            f"{len(specs):,} runs: `privrobust {command}`",
            f"{median([seconds for seconds, _ in of_command]):.2f} s",
            f"{max(megabytes for _, megabytes in of_command):.0f} MB",
            commands[command],
        ]
        for command, of_command in calls.items()
    ]


def report(
    seeds: int = 5,
    rounds: int = 5,
    commands: dict[str, str] = COMMANDS,
    large_seeds: int = 200,
    large: dict[str, str] = LARGE,
) -> str:
    measured = [*rows(seeds, rounds, commands), *rows(large_seeds, 1, large)]
    return table(["command", "time", "memory", "aim"], measured)
