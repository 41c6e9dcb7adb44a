"""Whose work a run is: processes that share a store name themselves, and leases say for how long.

A process that dies leaves its claims behind. On the same machine others see that it is gone; from
elsewhere they wait until the lease has run out.
"""

import os
import platform
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

# Long enough for a machine that stalls or a server that restarts, short enough to wait for.
LEASE_SECONDS = 90.0
# Several beats may fail before a lease runs out.
_BEATS_A_LEASE = 4


def new_owner() -> str:
    """Make a name that no claim had before: `machine/boot/namespace/process/random`."""
    return f"{_here()}/{os.getpid()}/{uuid4().hex[:8]}"


def is_gone(owner: str) -> bool:
    """Tell whether the process of that name is known to have ended: only this machine's can be."""
    place, process, _ = owner.rsplit("/", 2) if owner.count("/") > 1 else (owner, "", "")
    if place != _here() or not process.isdigit():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _here() -> str:
    """Return where process numbers mean the same: machines repeat names, containers numbers."""
    boot = namespace = ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink(Path("/proc/self/ns/pid"))
    return f"{platform.node()}/{boot}/{namespace}"


@contextmanager
def heartbeat(renew: Callable[[], object]) -> Iterator[None]:
    """Renew leases from a thread meanwhile, well before they run out."""
    end = threading.Event()

    def beat() -> None:
        while not end.wait(LEASE_SECONDS / _BEATS_A_LEASE):
            renew()

    thread = threading.Thread(target=beat, name="privrobust lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
