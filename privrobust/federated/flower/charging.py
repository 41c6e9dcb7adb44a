"""What a server charges for a round, and where it is kept."""

import math
from dataclasses import replace

from privrobust.accountants import Release, Spent, spend
from privrobust.core.numbers import as_float, shown
from privrobust.errors import SpecError
from privrobust.federated.ledger import Ledger
from privrobust.federated.updates import UpdatePrivacy


class Charging:
    """Counts the rounds of a strategy, in a ledger if there is one."""

    def __init__(
        self,
        privacy: UpdatePrivacy | Release | None,
        ledger: Ledger | None,
        delta: float,
        sends_signs: bool,
    ) -> None:
        """Check the arguments of `RobustStrategy`.

        Raises:
            SpecError: they contradict each other.

        """
        check_ledger(ledger)
        delta = as_float("delta", delta, "between 0 and 1, both excluded", above=0.0, below=1.0)
        self._privacy, self._ledger, self._rounds = privacy, ledger, 0
        self._delta, self._accountant = delta, "auto"
        if isinstance(privacy, UpdatePrivacy):
            self._delta, self._accountant = privacy.delta, privacy.accountant
        elif privacy is None:
            if ledger is not None:
                raise SpecError("ledger: needs privacy=, what clients do, to charge for it")
        elif not isinstance(privacy, Release):
            raise SpecError(f"privacy: {shown(privacy)} is no UpdatePrivacy, nor a Release")
        if privacy is not None and privacy.message == "sign" and not sends_signs:
            raise SpecError(
                "privacy: clients send signs; accepted: message='vector', or a rule that counts "
                "votes (majority_vote)"
            )
        self.spent = self._at_first()
        """All that was charged so far."""

    def _at_first(self) -> Spent:
        if self._privacy is None:
            return Spent(math.inf, self._delta, "none", True, "clients state no privacy")
        if self._ledger is not None:
            return self._ledger.spent
        return Spent(0.0, self._delta, self._accountant, True)

    def charge(self, server_round: int) -> None:
        """Charge one round, before anything of it is sent.

        Raises:
            BudgetExhausted: the ledger refuses it.

        """
        if self._privacy is None:
            return
        if self._ledger is not None:
            self.spent = self._ledger.charge(self._release(1), note=f"round {server_round}")
            return
        self._rounds += 1
        self.spent = spend(self._release(self._rounds), self._delta, self._accountant)

    def _release(self, rounds: int) -> Release:
        if isinstance(self._privacy, UpdatePrivacy):
            return self._privacy.release(rounds)
        assert self._privacy is not None
        return replace(self._privacy, steps=self._privacy.steps * rounds)

    def __str__(self) -> str:
        """Describe it for a log."""
        if self._privacy is None:
            return "none, epsilon is infinite"
        kept = "" if self._ledger is None else ", charged to a ledger"
        estimate = "" if self.spent.is_upper_bound else " (an estimate)"
        return f"{self._privacy}{kept}; epsilon {self.spent.epsilon:.4g}{estimate} so far"


def check_ledger(ledger: object) -> None:
    """Take a `Ledger` or None.

    Raises:
        SpecError: it is neither, a path perhaps.

    """
    if ledger is not None and not isinstance(ledger, Ledger):
        raise SpecError(
            f"ledger: {shown(ledger)} is not accepted: a Ledger, as Ledger('ledger.db', 'digits')"
        )
