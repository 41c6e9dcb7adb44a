"""Where an audit takes part in training: what it plants, sends and sees. Else nobody does."""

from collections.abc import Callable, Sequence

from torch import Tensor

from privrobust.gradients.clipping import GradientSum
from privrobust.gradients.layout import Layout
from privrobust.training.server import Messages

Attacks = Callable[[Tensor, Tensor], Sequence[Tensor]]
"""Honest messages and parameters to what the Byzantine workers of each rule's lanes send."""


class Watch:
    """Watches lanes as they train; this one leaves everything as it is."""

    def plant(self, gradients: GradientSum, layout: Layout) -> GradientSum:
        """Return what sums the clipped gradients of honest workers, canaries among them."""
        return gradients

    def help(self, attack: Attacks) -> Attacks:
        """Return what the Byzantine workers send."""
        return attack

    def see(self, step: int, messages: Messages, update: Tensor, parameters: Tensor) -> None:
        """Look at a step that was taken.

        Args:
            step: from 1.
            messages: of all workers.
            update: their aggregate, `(lanes, dim)`.
            parameters: after the step, `(lanes, dim)`.

        """


NOBODY = Watch()
