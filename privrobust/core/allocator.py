"""Keeping freed memory for the next step."""

import ctypes
import platform
from functools import cache

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


@cache
def keep_freed_memory() -> None:
    """Ask the C library to reuse what a step frees rather than return it to the system.

    A training step allocates the same megabytes again and again, and pages that come fresh from the
    system cost more than the arithmetic on them. Once a process, for glibc; elsewhere a no-op.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, 1 << 25)  # the most that glibc accepts
        library.mallopt(_M_TRIM_THRESHOLD, 1 << 30)
