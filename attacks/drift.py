"""Drift: a constant push that stays under the noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from privrobust.attacks.base import Attack, Craft, Generators, Sees, Setting
from privrobust.core.parameters import parameter
from privrobust.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Drift(Attack):
    """An honest message plus a constant: `own + share * noise_std` in every coordinate.

    Blind: each Byzantine worker follows the protocol, noise included, and adds a fraction of the
    noise's standard deviation. One message gives nothing away; over the steps, noise averages out
    and the drift adds up. Without noise (b = 0) there is nothing to hide under, and no drift.

    Args:
        share: of the standard deviation of the noise.
        noise_std: of the honest noise; needed outside a run, which tells its own.

    """

    paper: ClassVar[str] = "this project"
    sees: ClassVar[Sees] = "own"

    share: float = parameter(0.5)
    noise_std: float | None = parameter(None, least=0)

    def in_run(self, setting: Setting) -> Craft:
        """Take the run's noise, unless another was given."""
        if self.noise_std is not None:
            return self.craft
        return partial(self._drift, noise_std=setting.noise_std)

    def craft(self, own: Tensor, byzantine: int, generator: Generators) -> Tensor:
        """Return `own + share * noise_std`, each its own."""
        if self.noise_std is None:
            raise SpecError("Drift.noise_std: needed outside a run")
        return own + self.share * self.noise_std

    def _drift(
        self, own: Tensor, byzantine: int, generator: Generators, noise_std: Tensor
    ) -> Tensor:
        return own + self.share * noise_std
