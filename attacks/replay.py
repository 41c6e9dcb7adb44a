"""Replay: send again what was once honest."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from privrobust.attacks.base import Attack, Craft, Generators, Setting
from privrobust.core.lazy_imports import torch
from privrobust.core.parameters import parameter

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Replay(Attack):
    """What an honest worker sent some steps ago: once right, now stale.

    Byzantine worker j repeats honest worker j (from the first again, where f > h). Before there is
    such a past, and outside a run, it repeats the oldest message that it has seen.

    Args:
        delay: how many steps ago.

    """

    paper: ClassVar[str] = "this project"

    delay: int = parameter(10, least=1)

    def craft(self, honest: Tensor, byzantine: int, generator: Generators) -> Tensor:
        """Return the present messages of f honest workers."""
        workers = torch.arange(byzantine, device=honest.device) % honest.shape[-2]
        return honest.index_select(-2, workers)

    def in_run(self, setting: Setting) -> Craft:
        """Remember the last messages of the run."""
        past: deque[Tensor] = deque(maxlen=self.delay + 1)

        def craft(honest: Tensor, byzantine: int, generator: Generators) -> Tensor:
            past.append(self.craft(honest, byzantine, generator))
            return past[0]

        return craft
