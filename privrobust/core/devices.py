"""Where a run is computed."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from privrobust.errors import SpecError


def resolve_device(name: str) -> torch.device:
    """Return the device of that name; `auto` is the GPU if there is one.

    Raises:
        SpecError: a GPU that this machine lacks.

    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        found = f"cuda:0 to cuda:{count - 1}" if count else "no GPU"
        raise SpecError(f"device: {name!r} is not here (torch finds {found}); accepted: auto, cpu")
    return device


@contextmanager
def in_full_precision() -> Iterator[None]:
    """Keep a GPU's convolutions from TF32's ten bits, and from algorithms that vary by run."""
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield
