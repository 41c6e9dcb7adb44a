"""Machine code that numba keeps is that of the sources, of whichever file of the room."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from privrobust.noise import intrinsics

PROGRAM = """
from room.law import drawn
print(drawn(), sum(drawn.stats.cache_hits.values()))
"""
LAW = """
from room.intrinsics import compiled
from room.numbers import NUMBER

@compiled
def drawn():
    return NUMBER
"""


def answers(folder, **environment):
    """What a process of its own computes, and how much of the code for it was kept."""
    done = subprocess.run(
        [sys.executable, "-B", "-c", PROGRAM],
        cwd=folder,
        env={**os.environ, "NUMBA_CACHE_DIR": "", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    number, hits = map(int, done.stdout.split())
    return number, hits


@pytest.mark.parametrize("kept_in", ["package", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME"])
def test_an_update_of_another_file_is_noticed(tmp_path, kept_in):
    room = tmp_path / "room"
    room.mkdir()
    (room / "__init__.py").touch()
    (room / "intrinsics.py").write_text(Path(intrinsics.__file__).read_text())
    (room / "law.py").write_text(LAW)
    environment = {} if kept_in == "package" else {kept_in: str(tmp_path / "elsewhere")}
    if kept_in == "XDG_CACHE_HOME":  # the user's own, where the package cannot be written to
        (room / "__pycache__").touch()
    for number, hits in [(1, 0), (2, 0), (1, 1)]:
        (room / "numbers.py").write_text(f"NUMBER = {number}\n")
        assert answers(tmp_path, **environment) == (number, hits)
    kept = room / "__pycache__" if kept_in == "package" else tmp_path / "elsewhere"
    assert len(list(kept.rglob("law.drawn-*.nbi"))) == 2
