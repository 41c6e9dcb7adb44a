"""Whole updates made private: what a client of a federation sends, the unit being the client."""

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from privrobust.accountants import Release, spend
from privrobust.accountants.protocol import check_delta
from privrobust.accountants.release import Message
from privrobust.core.numbers import as_float
from privrobust.errors import SpecError
from privrobust.federated.ledger import Ledger
from privrobust.federated.sender import Sender
from privrobust.gradients.clipping import Flat, clip_vectors
from privrobust.noise import get_noise_law
from privrobust.noise.streams import as_keys, first_words, happen
from privrobust.noise.vectors import in_float64, like

V = TypeVar("V", Tensor, "np.ndarray[Any, Any]")

_MOST_NUMBERS = 1 << 30  # of an update whose norm is proven (`privrobust.gradients.summation`)


@dataclass(frozen=True)
class UpdatePrivacy:
    """How clients make their updates private: public settings, the same for clients and server.

    Args:
        clip_norm: C, the norm to which a whole update is clipped: L2, or L1 for Laplace noise.
        noise_scale: b, in units of the update; 0 adds no noise, and nothing is private.
        noise: "gaussian", "laplace" or "logistic".
        message: the noisy "vector", or its "sign" for a server that counts votes.
        participation: the probability that a client takes part in a round, by a coin of its own
            that nobody sees. One that sits out still sends, of a zero update: pure noise.
        delta: that of epsilon.
        accountant: who computes it.

    Raises:
        SpecError: one line that names the field, its value and what is accepted.

    >>> privacy = UpdatePrivacy(clip_norm=1.0, noise_scale=2.0)
    >>> round(spend(privacy.release(rounds=10)).epsilon, 2)
    7.51
    """

    clip_norm: float
    noise_scale: float
    noise: str = "gaussian"
    message: Message = "vector"
    participation: float = 1.0
    delta: float = 1e-5
    accountant: str = "auto"

    def __post_init__(self) -> None:
        """Refuse what is no release, or has no epsilon."""
        as_float("clip_norm", self.clip_norm, "a finite number above 0", above=0.0)
        rate = as_float("participation", self.participation, "in (0, 1]", above=0.0, most=1.0)
        object.__setattr__(self, "participation", rate)
        object.__setattr__(self, "delta", check_delta(self.delta))
        one = self.release(1)
        for name in ("clip_norm", "noise_scale", "noise", "message"):
            object.__setattr__(self, name, getattr(one, name))
        spend(one, self.delta, self.accountant)

    def release(self, rounds: int) -> Release:
        """Describe what a client sends in so many rounds."""
        return Release(
            noise_scale=self.noise_scale,
            steps=rounds,
            clip_norm=self.clip_norm,
            worker_sampling_rate=self.participation,
            noise=self.noise,
            unit="worker",
            message=self.message,
        )


class PrivateUpdates(Sender):
    """One client's private updates: each is clipped as a whole, and noise is added.

    Example usage:
        >>> updates = PrivateUpdates(UpdatePrivacy(clip_norm=1.0, noise_scale=2.0))
        >>> sent = updates.message(torch.zeros(650))
        >>> sent.shape, sent.dtype, updates.release.steps
        (torch.Size([650]), torch.float32, 1)

    Formal guarantee:
        What an update is clipped to has at most the norm C, whatever it was: zero, subnormal, vast
        or not finite, which counts as 0. `add_noise` keeps of the bits what theory promises, with
        keys from the operating system. So the epsilon of `spent` holds of all that was sent, for a
        client whose updates would all have been zero instead. Not covered: how long it takes, what
        else leaves the client, and that an error is raised.

    Args:
        privacy: the settings.
        ledger: where every message is charged before it leaves.
        seed: for experiments that repeat; whoever knows it can subtract the noise.

    Raises:
        SpecError: noise of a user's own, or no `Ledger`.

    """

    def __init__(
        self, privacy: UpdatePrivacy, ledger: Ledger | None = None, seed: int | None = None
    ) -> None:
        if not isinstance(privacy, UpdatePrivacy):
            raise SpecError(
                f"privacy: a {type(privacy).__name__} is not accepted: an UpdatePrivacy"
            )
        super().__init__(privacy.release(1), privacy.delta, privacy.accountant, ledger, seed)
        self.privacy = privacy

    def message(self, update: V) -> V:
        """Return what is to be sent of an update.

        Args:
            update: a dense tensor or numpy array `(dim,)` of float16 to float64, with any numbers.

        Returns:
            A new one of its shape, type and device.

        Raises:
            BudgetExhausted: the ledger refuses it; nothing may be sent.
            SpecError: it is no such update, or no grid holds noise so large.

        """
        vector = torch.from_numpy(in_float64("update", update)).view(1, 1, -1)
        if update.ndim != 1 or not 0 < vector.numel() <= _MOST_NUMBERS:
            raise SpecError(
                f"update: shape {tuple(update.shape)} is not accepted: (dim,), 1 to "
                f"{_MOST_NUMBERS} numbers"
            )
        if not self._takes_part():
            vector.zero_()
        rule = Flat(get_noise_law(self.privacy.noise).order)
        limit = torch.tensor([self.privacy.clip_norm], dtype=torch.float64)
        clipped = clip_vectors(vector, [vector.numel()], rule, limit).sums
        return like(update, self._message(clipped.view(-1).numpy()))

    def _takes_part(self) -> bool:
        words = first_words(as_keys(self._key("participation")), 1)
        return bool(happen(words, self.privacy.participation).item())
