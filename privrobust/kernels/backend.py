"""Whether kernels are to be had; it is looked for when one is first needed."""

from __future__ import annotations

import warnings
from functools import cache
from typing import TYPE_CHECKING

from privrobust.core.lazy_imports import torch
from privrobust.errors import PrivRobustWarning

if TYPE_CHECKING:
    from torch import Tensor

_TRIAL = """
define void @trial(ptr %out, i64 %value) {
  store i64 %value, ptr %out
  ret void
}
"""


def takes(tensor: Tensor) -> bool:
    """Tell whether kernels work on it: on a processor's float32 and float64, if they compile.

    Not on what is differentiated: torch would not know what they do.
    """
    return (
        tensor.device.type == "cpu"
        and tensor.dtype in (torch.float32, torch.float64)
        and not tensor.requires_grad
        and are_compiled()
    )


@cache
def are_compiled() -> bool:
    """Tell whether kernels compile and run, with a warning where they do not.

    Without them torch does the same, in several times as long.
    """
    try:
        from privrobust.kernels import machine_code

        trial = machine_code.function(_TRIAL, "trial", machine_code.POINTER, machine_code.INTEGER)
        out = torch.zeros(1, dtype=torch.int64)
        trial(out.data_ptr(), 1)
        if not out.item():
            raise RuntimeError("machine code that was compiled does nothing")
    except Exception as error:  # of LLVM, ctypes, the file system: whatever it is, there is a way
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        warnings.warn(
            f"rules are computed without compiled kernels, several times slower ({reason})",
            PrivRobustWarning,
            stacklevel=2,
        )
        return False
    return True
