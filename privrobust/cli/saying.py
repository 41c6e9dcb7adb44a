"""What commands say beside tables: prose, in lines that fit the window.

What is to be known before an answer, and hints, go to stderr and before it: the answer is the last
thing on the screen, and alone in a file.
"""

import sys

from privrobust.core.window import columns_of, wrapped


def say(text: str, mark: str = "", *, err: bool = False) -> None:
    """Print text, folded between words where a window shows it; elsewhere its lines stay whole.

    Args:
        text: what to say, in signs that show (`privrobust.core.escaping.in_terminal`).
        mark: what it starts with, such as `error: `; the lines below stand to the right of it.
        err: to stderr.

    """
    stream = sys.stderr if err else sys.stdout
    if stream is not None:  # else it is closed, and nobody listens
        print(wrapped(f"{mark}{text}", columns_of(stream), len(mark) or 2), file=stream, flush=True)
