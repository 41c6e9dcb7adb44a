"""How functions of noise are compiled, and what LLVM knows about words that numba cannot say."""

import hashlib
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

_ROOM = sorted(
    (each.name, each.read_bytes())
    for each in files(__package__).iterdir()
    if each.name.endswith(".py")
)
_SOURCES = hashlib.sha256(repr(_ROOM).encode()).hexdigest()[:16]


def compiled(function: Callable[..., Any]) -> Any:
    """Compile when first called, without the GIL; machine code is kept where a folder allows it.

    Of what is kept, numba looks at the function's own file alone, though code of others is in it.
    It is filed by the function's qualified name, which therefore tells all of the sources.
    """
    function.__qualname__ += f"-{_SOURCES}"
    options: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",  # Python's checks every division, which stops vectorisation
        "fastmath": {"contract"},  # fused products are more precise; nothing else is reordered
    }
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # no folder to write to
        return njit(**options)(function)


inlined = njit(inline="always")


def _bitcast(target: types.Type, source: types.Type) -> Any:
    @intrinsic
    def cast(_: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, __: Any, arguments: Any) -> Any:
            return builder.bitcast(arguments[0], context.get_value_type(target))

        return target(source), generate

    return cast


as_float = _bitcast(types.float64, types.int64)
as_bits = _bitcast(types.int64, types.float64)


@intrinsic
def unsigned(_: Any, word: Any) -> Any:
    """Convert a word that is taken as unsigned: without AVX-512 there are no vectors of signed."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.uitofp(arguments[0], ir.DoubleType())

    return types.float64(types.int64), generate


@intrinsic
def exponent_bits(_: Any, bits: Any) -> Any:
    """Return the upper 12 bits of a word."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.lshr(arguments[0], ir.IntType(64)(52))

    return types.int64(types.int64), generate


@intrinsic
def widest_vectors(_: Any) -> Any:
    """Let a function use 512-bit vectors: LLVM prefers 256 bits, which take half as long again."""

    def generate(context: Any, builder: Any, *__: Any) -> Any:
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), generate
