"""A pilot: runs without canaries or data, whose messages, noise alone, are looked at in whole.

An attack sees of a message what goes along its canary. So before the runs that count a few are
looked at for where noise is least, and for which other numbers tell of it. No bound is computed
from them, and nothing is known of those that count: what is found here is not tested on what it
was found in.
"""

from __future__ import annotations

import torch
from torch import Tensor

from privrobust.audit.beside import Beside, Search
from privrobust.audit.counterexample import counterexample
from privrobust.audit.echoes import kept_steps, repeated, tolerance
from privrobust.audit.fresh import Fresh
from privrobust.audit.weakest import echo_left, variance_left
from privrobust.gradients.batch import Batch
from privrobust.gradients.clipping import ClippedSums, GradientSum
from privrobust.gradients.layout import Layout
from privrobust.noise import get_noise_law
from privrobust.spec import RunSpec
from privrobust.training.server import Messages
from privrobust.training.watch import Watch

NUMBERS = 1 << 23
"""Of messages, how many are kept."""
_HUGE = 1e30
_FARTHEST = 1e4
"""In usual deviations; what is farther off counts as this."""
_AS_GOOD = 0.05
"""Of the usual variance: what differs by less is as good a place."""


class Pilot(Watch):
    """Keeps the noise of runs, batch after batch of lanes."""

    counterexample: str | None = None
    """An example that moves more than it may, in words."""

    def __init__(self, contribution: float) -> None:
        """Look at runs in which a unit moves a message by so much, at most."""
        self._contribution = contribution
        self._fresh: Fresh | None = None
        self._is_first = True
        self._layers: list[int] = []
        self._samples, self._sums, self._squares = 0, torch.zeros(()), torch.zeros(())
        self._steps: list[Tensor] = []
        self._kept: list[Tensor] = []
        self._echoes, self._counted = torch.zeros(()), 0

    def begin(self, lanes: list[RunSpec]) -> None:
        """Look at these lanes next."""
        self._fresh, self._spec, self._steps = Fresh(lanes), lanes[0], []

    def plant(self, gradients: GradientSum, layout: Layout) -> GradientSum:
        """Return what sums nothing, and looks at the first batch for a counterexample."""
        self._layers = layout.layer_sizes

        def nothing(
            parameters: Tensor, batch: Batch, clip_norms: Tensor, divisor: float = 1.0
        ) -> ClippedSums:
            if self._is_first and self._spec.unit == "example":
                order = get_noise_law(self._spec.noise).order
                self.counterexample = counterexample(
                    gradients, parameters[:1], batch[:1], clip_norms[:1], order
                )
            self._is_first = False
            lanes, workers, pad = batch.labels.shape
            zeros = torch.zeros(lanes, workers, layout.dim, dtype=torch.float64)
            return ClippedSums(zeros, torch.zeros(lanes, workers, pad, dtype=torch.float64))

        return nothing

    def see(self, step: int, messages: Messages, update: Tensor, parameters: Tensor) -> None:
        """Keep the noise of a step."""
        assert self._fresh is not None
        noise = self._fresh(messages.honest).double().nan_to_num(0.0).clamp(-_HUGE, _HUGE)
        self._samples += len(noise)
        self._sums = self._sums + noise.sum(0)
        self._squares = self._squares + noise.square().sum(0)
        room = NUMBERS - sum(each.numel() for each in (*self._kept, *self._steps))
        if noise.numel() <= room or not (self._kept or self._steps):
            self._steps.append(noise.float())

    def end(self) -> None:
        """Take it that the lanes have trained."""
        assert self._fresh is not None
        if not self._steps:
            return
        noise = torch.stack(self._steps, 1)
        self._steps = []
        if not self._fresh.are_signs:
            some = noise[:, : kept_steps(*noise.shape[2:])]
            size = some.double().square().mean((1, 2, 3)).sqrt()
            within = tolerance(size, self._contribution, noise.shape[3], self._fresh.lost)
            found = repeated(some, within)
            self._echoes = self._echoes + found.sum((0, 1, 2))
            self._counted += found[..., 0].numel()
        self._kept.append(noise)

    def finding(self, generator: torch.Generator) -> Finding:
        """Return what was seen."""
        means = self._sums / self._samples
        variances = (self._squares / self._samples - means.square()).clamp(min=0.0)
        variances[variances < 1e-12 * self._squares / self._samples] = 0.0  # of equal numbers
        left = variance_left(variances, self._samples, self._layers)
        sizes = (self._squares / self._samples).sqrt()
        usual = float(sizes[sizes > 0].median()) if bool((sizes > 0).any()) else 1.0
        steps = max(each.shape[1] for each in self._kept)
        whole = torch.cat([each for each in self._kept if each.shape[1] == steps])
        # one unit for all: what sums to zero is still to
        scaled = (whole / usual).clamp(-_FARTHEST, _FARTHEST)
        search = Search(scaled, generator)
        echoes = echo_left(self._echoes, self._counted) if self._counted else torch.ones(())
        return Finding(left, torch.minimum(search.left, echoes), search)


class Finding:
    """Where a canary is hidden least, and what tells of the noise there."""

    def __init__(self, left: Tensor, told: Tensor, search: Search) -> None:
        """Say what is left of noise.

        Args:
            left: of the variance of each worker and coordinate, `(workers, dim)`.
            told: of each coordinate, when other numbers are known, `(dim,)`.
            search: for what tells of one.

        """
        self._left, self._search = left, search
        of_all = torch.minimum(left.amax(0), told)  # whichever worker has the canary
        of_some = torch.minimum(left.amin(0), told)
        least = float(of_some.min())
        if least >= 1:
            self.is_best = torch.ones_like(of_all, dtype=torch.bool)
        elif float(of_all.min()) <= least + _AS_GOOD:
            self.is_best = of_all <= least + _AS_GOOD
        else:
            self.is_best = of_some <= least + _AS_GOOD

    def quieter(self, quiet: Tensor) -> Tensor:
        """Return how much honest gradients move each coordinate, with all better places first."""
        if bool(self.is_best.all()):
            return quiet
        known = quiet.nan_to_num(nan=torch.inf)
        return torch.where(self.is_best, known, known + 1 + 2 * known.max())

    def workers(self) -> Tensor:
        """Return which workers have least noise in the best coordinates, `(workers,)`."""
        found = self._left[:, self.is_best].mean(1)
        return found <= found.min() + _AS_GOOD

    def beside(self, place: int) -> Beside:
        """Return what tells of the noise in one coordinate."""
        return self._search.beside(place)
