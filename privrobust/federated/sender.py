"""What everybody does who sends messages of one kind: add noise, charge, count."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from privrobust.accountants import Release, Spent, spend
from privrobust.core.displayed import Displayed, told
from privrobust.core.numbers import as_whole
from privrobust.errors import SpecError, unknown_name
from privrobust.federated.ledger import Ledger
from privrobust.noise import add_noise, derived_keys, fresh_key
from privrobust.noise.laws import NOISE_LAWS

Vector = npt.NDArray[np.float64]


class Sender(Displayed):
    """Sends releases of one kind, each charged before it leaves.

    Args:
        step: one message.
        delta: that of `spent`.
        accountant: that of `spent`.
        ledger: where each message is charged, too.
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

    def __repr__(self) -> str:
        """Say in a line what it sends, and how often it did."""
        step = self._step
        facts = [f"b = {step.noise_scale:g}", f"C = {step.clip_norm:g}", f"{self._sent} sent"]
        return told(type(self).__name__, f"{step.noise} {step.message}", facts)

    @property
    def step(self) -> Release:
        """One message."""
        return self._step

    @property
    def sent(self) -> int:
        """How many messages were sent until now."""
        return self._sent

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

    def _key(self, purpose: str) -> bytes:
        """Return the key of the next message for that purpose.

        That of a seed is the first worker's in a run of that seed.
        """
        if self._seed is None:
            return fresh_key()
        return derived_keys(self._seed, purpose, self._sent + 1, 1).tobytes()

    def _message(self, vector: Vector) -> "npt.NDArray[np.floating[Any]]":
        """Return the vector with noise, or its sign, once that is charged and counted.

        Args:
            vector: float64, which a unit moves by `Release.contribution` at most.

        Raises:
            BudgetExhausted: the ledger refuses it.
            SpecError: no grid holds the noise.

        """
        step, sent = self._step, vector
        if step.noise_scale:
            b, moved = step.noise_scale, step.contribution
            sent = add_noise(vector, b, moved, noise=step.noise, key=self._key("noise"))
        if step.message == "sign":
            # the accounts know two values of a sign: a third would tell more than is charged
            sent = np.where(sent >= 0, 1.0, -1.0)
        if self._ledger is not None:
            self._ledger.charge(step)
        self._sent += 1
        return sent
