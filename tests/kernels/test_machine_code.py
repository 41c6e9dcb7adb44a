"""Machine code: that it is kept, found again, and never run when the file is damaged."""

import ctypes
import subprocess
import sys
import warnings

import pytest
import torch

from privrobust.aggregators.moments import mean
from privrobust.errors import PrivRobustWarning
from privrobust.kernels import backend, machine_code

SOURCE = """
define void @triple(ptr %out, i64 %value) {
  %tripled = mul i64 %value, 3
  store i64 %tripled, ptr %out
  ret void
}
"""


def tripled(value):
    triple = machine_code.function(SOURCE, "triple", machine_code.POINTER, machine_code.INTEGER)
    out = ctypes.c_int64()
    triple(ctypes.addressof(out), value)
    return out.value


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(machine_code, "_folders", lambda: [tmp_path / "of its own"])
    return tmp_path / "of its own"


@pytest.fixture
def compilations(monkeypatch):
    """The sources that are compiled, as against found."""
    seen = []
    compiled = machine_code._optimised

    def noting(source, target):
        seen.append(source)
        return compiled(source, target)

    monkeypatch.setattr(machine_code, "_optimised", noting)
    return seen


def test_what_is_compiled_runs(folder):
    assert tripled(14) == 42
    assert tripled(-(2**40)) == -3 * 2**40


def test_code_is_compiled_once_and_found_again(folder, compilations):
    assert [tripled(1), tripled(2)] == [3, 6]
    assert len(compilations) == len(list(folder.iterdir())) == 1


def test_another_process_finds_it(tmp_path):
    program = f"""
from pathlib import Path
from privrobust.kernels import machine_code
machine_code._folders = lambda: [Path({str(tmp_path)!r})]
def refuse(*_): raise AssertionError("compiled again")
optimised, machine_code._optimised = machine_code._optimised, refuse
make = lambda: machine_code.function({SOURCE!r}, "triple", machine_code.POINTER)
try: make()
except AssertionError: machine_code._optimised = optimised; make(); print("compiled")
else: print("found")
"""
    said = [subprocess.check_output([sys.executable, "-c", program], text=True) for _ in range(2)]
    assert said == ["compiled\n", "found\n"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[:-1],
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:200] + bytes([whole[200] ^ 1]) + whole[201:],
        lambda whole: bytes(len(whole)),
    ],
)
def test_a_damaged_file_is_compiled_anew_and_put_right(damage, folder, compilations):
    tripled(1)
    (kept,) = folder.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(damage(whole))
    assert tripled(5) == 15
    assert len(compilations) == 2
    assert tripled(6) == 18
    assert len(compilations) == 2
    assert list(folder.iterdir()) == [kept]


def test_it_works_where_nothing_can_be_kept(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    nowhere = [tmp_path / "file", tmp_path / "file" / "below"]
    for folders in (nowhere, []):
        monkeypatch.setattr(machine_code, "_folders", lambda folders=folders: folders)
        assert tripled(14) == 42


def test_other_processors_and_other_sources_have_files_of_their_own(folder, monkeypatch):
    tripled(1)
    machine_code.function(SOURCE.replace("3", "5"), "triple")
    assert len(list(folder.iterdir())) == 2
    monkeypatch.setattr(machine_code.binding, "get_host_cpu_name", lambda: "another")
    machine_code.function(SOURCE, "triple")
    assert len(list(folder.iterdir())) == 3


def test_where_nothing_compiles_one_warning_says_so(monkeypatch):
    def refuse(*_):
        raise OSError("no LLVM\nhere")

    monkeypatch.setattr(machine_code, "function", refuse)
    backend.are_compiled.cache_clear()
    try:
        with pytest.warns(PrivRobustWarning, match=r"several times slower \(OSError: no LLVM\)$"):
            assert not backend.takes(torch.zeros(1))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert not backend.takes(torch.zeros(1))
    finally:
        backend.are_compiled.cache_clear()


def test_kernels_take_what_a_processor_has_in_either_precision():
    assert backend.takes(torch.zeros(1))
    assert backend.takes(torch.zeros(1, dtype=torch.float64))
    assert not backend.takes(torch.zeros(1, dtype=torch.int64))
    assert not backend.takes(torch.zeros(1, device="meta"))


def test_rules_can_be_differentiated():
    messages = torch.tensor([[1.0], [2.0], [4.0]], requires_grad=True)
    mean(messages).backward()
    torch.testing.assert_close(messages.grad, torch.full((3, 1), 1 / 3))
