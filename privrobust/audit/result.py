"""What an audit returns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from privrobust.audit.lower_bound import LowerBound
from privrobust.core.displayed import Displayed, told
from privrobust.core.formatting import rounded_down, rounded_up
from privrobust.spec import RunSpec


@dataclass(frozen=True, kw_only=True, repr=False)
class AuditResult(Displayed):
    """Say what attackers got out of runs, against what an accountant claims.

    Attributes:
        epsilon_lower_bound: epsilon at `delta` is no less, whatever the mechanism; 0 where nothing
            was found.
        epsilon_if_gaussian: the same if the mechanism's trade-off is that of Gaussian noise, as it
            is about for many steps: larger, as it takes two error rates for a whole curve.
        claimed: the epsilon that is claimed at `delta`; infinite where nothing is.
        delta: of both.
        p_value: the chance of an attack that good if the claim holds, corrected for all tests of
            this audit. For runs of ours it holds the claim at every delta against the attack.
        confidence: with which both bounds hold, and all others of the same table with them.
        attack: what found the bound.
        observer: who looked: "messages", "aggregates" or "model".
        canaries: of which kind.
        helpers: Byzantine workers who helped.
        rule: the server's, or the name of what was audited instead of a run.
        accountant: whose claim it is, or "stated".
        adjacency: which neighbours were told apart.
        runs: how many trained.
        per_run: how many canaries each had.
        assumed: on what the bounds rest, in sentences.
        bound: the counts behind `epsilon_lower_bound`.
        spec: the run that was audited, if it was one.
        rows: of how many results of one audit this is one; the confidence is of them together.
        is_estimate: whether the accountant claims no upper bound, so that no theorem is refuted
            where its number is.
        counterexample: an example that broke what the claim of an accountant rests on, in words.
            It does not hold with some confidence: it is there to be looked at.

    """

    epsilon_lower_bound: float
    epsilon_if_gaussian: float
    claimed: float
    delta: float
    p_value: float
    confidence: float
    attack: str
    observer: str
    canaries: str
    helpers: int
    rule: str
    accountant: str
    adjacency: str
    runs: int
    per_run: int
    assumed: tuple[str, ...]
    bound: LowerBound
    spec: RunSpec | None = None
    rows: int = 1
    is_estimate: bool = False
    counterexample: str | None = None

    def __repr__(self) -> str:
        """Say in a line what was found of what is claimed."""
        facts = [
            f"epsilon at least {rounded_down(self.epsilon_lower_bound, 3)}",
            f"{rounded_up(self.claimed, 3)} claimed",
            f"seen by {self.observer}",
            *(["refuted"] if self.is_refuted else []),
        ]
        return told(type(self).__name__, self.rule, facts)

    @property
    def ratio(self) -> float:
        """Return how much of the claim was found: infinite if something, and 0 is claimed."""
        if not self.claimed:
            return math.inf if self.epsilon_lower_bound else 0.0
        return self.epsilon_lower_bound / self.claimed

    @property
    def is_refuted(self) -> bool:
        """Tell whether the claim is false: an attack told too much, or there is a counterexample.

        Of an epsilon that somebody states it is not known what it rests on.
        """
        is_accounted = self.accountant != "stated" and math.isfinite(self.claimed)
        return self.is_exceeded or (is_accounted and self.counterexample is not None)

    @property
    def is_exceeded(self) -> bool:
        """Tell whether an attack told more than the claim allows, at `confidence`."""
        return self.epsilon_lower_bound > self.claimed or self.p_value < 1 - self.confidence

    def as_record(self) -> dict[str, Any]:
        """Return it as JSON has it: what is infinite is null."""
        names = [name for name in self.__dataclass_fields__ if name not in ("bound", "spec")]
        record: dict[str, Any] = {name: getattr(self, name) for name in names}
        seen = self.bound
        record["estimator"], record["counts"] = seen.estimator, vars(seen.observed)
        record["spec"] = None if self.spec is None else self.spec.model_dump()
        record["claimed"] = None if math.isinf(self.claimed) else self.claimed
        record["assumed"] = list(self.assumed)
        ratio = None if math.isinf(self.ratio) else self.ratio
        return record | {"ratio": ratio, "is_refuted": self.is_refuted}
