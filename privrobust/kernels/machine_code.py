"""Compile LLVM's language for this processor, and keep the machine code on disk.

Functions are called through ctypes, which releases the GIL while they run: so threads may run them
side by side. Only `privrobust.kernels.backend` says whether any of this is to be had.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import llvmlite
from llvmlite import binding

from privrobust.core.files import put_whole

POINTER = ctypes.c_void_p
INTEGER = ctypes.c_int64
_DIGEST = 32  # bytes that stand before what is kept, and tell whether it is whole


def function(source: str, name: str, *arguments: Any) -> Callable[..., None]:
    """Return the function of that name, of which nothing is returned.

    Args:
        source: a module in LLVM's language; functions with the attribute
            `"prefer-vector-width"="512"` may use vectors of 512 bits, of which LLVM thinks little.
        name: of a function in it.
        arguments: its types, `POINTER` or `INTEGER`.

    """
    target = _target_machine()
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), target)
    engine.add_object_file(binding.ObjectFileRef.from_data(_machine_code(source)))
    engine.finalize_object()
    made: Any = ctypes.CFUNCTYPE(None, *arguments)(engine.get_function_address(name))
    made.engine = engine  # which has the memory that the code is in
    return made  # type: ignore[no-any-return]


def assembly(source: str) -> str:
    """Return what it is compiled to, for people and tests to read."""
    target = _target_machine()
    return str(target.emit_assembly(_optimised(source, target)))


def has(feature: str) -> bool:
    """Tell whether the processor has a feature, by LLVM's name of it."""
    return bool(binding.get_host_cpu_features().get(feature, False))


@cache
def vector_bytes() -> int:
    """Return how long the vectors are that one instruction works on."""
    return 64 if has("avx512f") else 32 if has("avx2") else 16


@cache
def _initialize() -> None:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()


def _target_machine() -> Any:
    """Return one of its own to every caller: an engine takes it over."""
    _initialize()
    return binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(),
        features=binding.get_host_cpu_features().flatten(),
        opt=3,
        codemodel="jitdefault",
        jit=True,
    )


def _optimised(source: str, target: Any) -> Any:
    module = binding.parse_assembly(source)
    module.triple = target.triple
    module.data_layout = str(target.target_data)
    module.verify()
    options = binding.create_pipeline_tuning_options(speed_level=3)
    builder = binding.create_pass_builder(target, options)
    builder.getModulePassManager().run(module, builder)
    return module


def _machine_code(source: str) -> bytes:
    """Return an object file: one that was kept, or a new one, which is kept where it can be."""
    triple = binding.get_process_triple()
    of = (llvmlite.__version__, triple, binding.get_host_cpu_name(), source)
    features = binding.get_host_cpu_features().flatten()
    name = f"{sha256(repr((*of, features)).encode()).hexdigest()[:32]}.o"
    for folder in _folders():
        with suppress(OSError):
            kept = (folder / name).read_bytes() if _is_ours(folder / name) else b""
            if kept and kept[:_DIGEST] == sha256(kept[_DIGEST:]).digest():
                return kept[_DIGEST:]
    target = _target_machine()
    made: bytes = target.emit_object(_optimised(source, target))
    for folder in _folders():
        with suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            put_whole(sha256(made).digest() + made, folder / name)
            break
    return made


def _folders() -> list[Path]:
    """Return where machine code may be kept: beside this package, or among the user's caches."""
    found = [Path(__file__).parent / "__pycache__"]
    with suppress(RuntimeError):  # no home
        caches = Path(os.environ.get("XDG_CACHE_HOME", ""))
        found.append((caches if caches.is_absolute() else Path.home() / ".cache") / "privrobust")
    return found


def _is_ours(file: Path) -> bool:
    """Tell whether nobody but this user, or the system's, can have written a file that is run."""
    if os.name != "posix":
        return True
    return all(
        known.st_uid in (0, os.getuid()) and not known.st_mode & 0o022
        for known in (file.stat(), file.parent.stat())
    )
