"""What workers who follow the protocol do in a round: `local_steps` steps of their own.

A worker starts from the server's x and takes k steps `x_i <- x_i - eta v`, each with the gradients
v of a new batch. It sends the sum of these v: how far it went, in units of eta. Where the rule is
the mean and eta the server's rate, the new x is the mean of the workers' x_i. This is local SGD
(Stich 2019), and FedAvg (McMahan et al. 2017, Algorithm 1). What is protected decides where noise
comes in:

- An example: each step clips every example's gradient and adds noise (Noble, Bellet, Dieuleveut
  2022). A round is k releases of noisy vectors, of which the sum is made.
- A worker: steps are plain, then the sum is clipped and noise added to it, once (McMahan et al.
  2018, Algorithm 1, with the noise at the worker). A round is one release, whatever k.

With one step, what is sent is a noisy gradient, and eta decides nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import NamedTuple

import torch
from torch import Tensor

from privrobust.gradients.batch import Batch
from privrobust.spec import RunSpec
from privrobust.training.optimizer import learning_rates
from privrobust.training.workers import Clipping

Perturb = Callable[[Tensor, Tensor | None], Tensor]
"""Vectors `(lanes, workers, dim)`, float64, to the same with noise; and where it is to go."""


class Round(NamedTuple):
    """What workers have made of a round."""

    vectors: Tensor
    """The noisy sum of each one's gradients, `(lanes, workers, dim)`"""
    norms: Tensor
    """Those of all units of the round before clipping, `(lanes, workers, units)`"""
    wanted: Tensor | None
    """The mean over workers of these sums without their noise, `(lanes, dim)`, if asked for"""

    def followed_by(self, step: "Round") -> "Round":
        """Add one step more, in place."""
        norms = torch.cat([self.norms, step.norms], dim=-1)
        wanted = self.wanted
        if wanted is not None and step.wanted is not None:
            wanted.add_(step.wanted)
        return Round(self.vectors.add_(step.vectors), norms, wanted)


class LocalSteps:
    """Rounds of all lanes' workers, one after the other."""

    def __init__(
        self,
        lanes: Sequence[RunSpec],
        rounds: int,
        batches: Iterator[Batch],
        clip: Clipping,
        perturb: Perturb,
        device: torch.device,
    ) -> None:
        """Prepare for so many rounds.

        Args:
            lanes: the runs, of equal `local_steps` and unit.
            rounds: how many.
            batches: of these workers, one a step: `local_steps` a round.
            clip: bounds what a unit adds.
            perturb: adds the noise.
            device: where parameters are.

        """
        self._steps = lanes[0].local_steps
        self._of_workers = lanes[0].unit == "worker"
        self._batches, self._clip, self._perturb = batches, clip, perturb
        self._rounds = count()
        if self._steps > 1:
            self._rates = learning_rates(lanes, rounds, device, _local_rate)

    def __call__(
        self, parameters: Tensor, into: Tensor | None = None, is_measured: bool = False
    ) -> Round:
        """Work through a round.

        Args:
            parameters: the server's, `(lanes, dim)`.
            into: where noisy vectors go, `(lanes, workers, dim)`; to a tensor of their own if it
                is not given.
            is_measured: whether the noisy sums are to be held against those without noise.

        """
        current = next(self._rounds)
        made = self._step(parameters, into, is_measured)
        for _ in range(1, self._steps):  # from x_i = x - eta (the sum of the v that there are)
            way = self._rates[current].unsqueeze(-1) * made.vectors.to(parameters.dtype)
            made = made.followed_by(self._step(parameters.unsqueeze(1) - way, None, is_measured))
        if not self._of_workers:
            return made
        vectors, norms = self._clip.whole(made.vectors)
        return self._noisy(vectors, norms, into, is_measured)

    def _step(self, parameters: Tensor, into: Tensor | None, is_measured: bool) -> Round:
        """Compute the gradients of a step, with noise where examples are protected."""
        vectors, norms = self._clip(parameters, next(self._batches))
        if self._of_workers:
            return Round(vectors, norms, None)
        return self._noisy(vectors, norms, into, is_measured)

    def _noisy(
        self, vectors: Tensor, norms: Tensor, into: Tensor | None, is_measured: bool
    ) -> Round:
        wanted = vectors.mean(1) if is_measured else None
        return Round(self._perturb(vectors, into), norms, wanted)


def _local_rate(spec: RunSpec) -> float:
    return spec.local_learning_rate or spec.learning_rate
