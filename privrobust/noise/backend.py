"""Whether the compiled loop is to be had; it is looked for when it is first needed."""

import warnings
from functools import cache
from types import ModuleType

from privrobust.errors import PrivRobustWarning


@cache
def compiled_loop() -> ModuleType | None:
    """Return `privrobust.noise.compiled`, or None, with a warning, where it cannot be compiled.

    Without it the same numbers are drawn, some twenty times slower.
    """
    try:
        from privrobust.noise import compiled

        compiled.try_out()
    except Exception as error:  # of numba, LLVM, the file system: whatever it is, there is a way
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        warnings.warn(
            f"noise is drawn without numba, some twenty times slower ({reason})",
            PrivRobustWarning,
            stacklevel=2,
        )
        return None
    return compiled
