"""Byzantine workers who help an observer: they send what lets a rule's output tell most."""

from torch import Tensor


def mimic(honest: Tensor, workers: Tensor, byzantine: int) -> Tensor:
    """Repeat the message of the worker that holds the (first) canary.

    The f + 1 of them are as close to each other as can be, so that Krum takes them; a median or a
    vote is that worker's wherever the others are divided so evenly that f + 1 equal messages
    decide, and f messages cannot move a median by more than f ranks. Means count it f + 1 times.
    They have to see the message, or to be told.

    Args:
        honest: messages `(L, workers, dim)`.
        workers: which of them hold canaries, `(L, m)`.
        byzantine: f.

    Returns:
        `(L, f, dim)`.

    """
    first = workers[:, :1, None].expand(-1, -1, honest.shape[-1])
    return honest.gather(1, first).expand(-1, byzantine, -1)
