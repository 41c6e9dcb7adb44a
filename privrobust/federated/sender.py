"""What everybody does who sends messages of one kind: charge, add noise, count."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from privrobust.accountants import Release, Spent, spend
from privrobust.core.numbers import as_whole
from privrobust.errors import SpecError, unknown_name
from privrobust.federated.ledger import Ledger
from privrobust.noise import add_noise, derived_keys, fresh_key
from privrobust.noise.laws import NOISE_LAWS

Vector = npt.NDArray[np.float64]


class Sender:
    """Sends releases of one kind, each charged before it is made.

    Args:
        step: one message.
        delta: that of `spent`.
        accountant: that of `spent`.
        ledger: where each message is charged too, before it is made.
        seed: of everything that is drawn, for experiments alone: whoever knows it can subtract the
            noise. None: keys from the operating system.

    Raises:
        SpecError: noise of a user's own, or the accountant does not support the release.

    """

    def __init__(
        self,
        step: Release,
        delta: float,
        accountant: str,
        ledger: Ledger | None,
        seed: int | None,
    ) -> None:
        if step.noise not in NOISE_LAWS:
            raise unknown_name("noise", step.noise, NOISE_LAWS)
        if ledger is not None and not isinstance(ledger, Ledger):
            raise SpecError(f"ledger: a {type(ledger).__name__} is not accepted: a Ledger")
        if seed is not None:
            seed = as_whole("seed", seed, "a whole number, 0 or more", least=0)
        spend(step, delta, accountant)  # refuses what it has no value for, before anything is sent
        self._step, self._delta, self._accountant = step, delta, accountant
        self._ledger, self._seed = ledger, seed
        self._sent = 0

    @property
    def step(self) -> Release:
        """One message."""
        return self._step

    @property
    def release(self) -> Release:
        """What was sent until now.

        Raises:
            SpecError: nothing was.

        """
        if not self._sent:
            raise SpecError("release: nothing was sent yet; accepted: after the first message")
        return replace(self._step, steps=self._sent)

    @property
    def spent(self) -> Spent:
        """What that spends; a ledger knows what others have spent besides."""
        if not self._sent:
            return Spent(0.0, self._delta, self._accountant, is_upper_bound=True)
        return spend(self.release, self._delta, self._accountant)

    def _charge(self) -> None:
        """Count a message that is to be sent.

        Raises:
            BudgetExhausted: the ledger refuses it: it must not be.

        """
        if self._ledger is not None:
            self._ledger.charge(self._step)
        self._sent += 1

    def _key(self, purpose: str) -> bytes:
        """Return the key of the next message, before it is charged, for that purpose.

        That of a seed is the first worker's in a run of that seed.
        """
        if self._seed is None:
            return fresh_key()
        return derived_keys(self._seed, purpose, self._sent + 1, 1).tobytes()

    def _message(self, vector: Vector) -> "npt.NDArray[np.floating[Any]]":
        """Charge, and return the vector with noise, or its sign.

        Args:
            vector: float64, which a unit moves by `Release.contribution` at most.

        """
        key = self._key("noise")
        self._charge()
        step, noisy = self._step, vector
        if step.noise_scale:
            noisy = add_noise(
                vector, step.noise_scale, step.contribution, noise=step.noise, key=key
            )
        # the accounts know two values of a sign: a third would tell more than is charged
        return noisy if step.message == "vector" else np.where(noisy >= 0, 1.0, -1.0)
