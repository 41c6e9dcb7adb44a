"""What holds of a claim, against whom, and why."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeVar

from privrobust.federated.check.settings import SETTINGS

Verdict = Literal["holds", "does not hold", "cannot be told", "no claim"]
EVERYONE = "server, clients, outsiders"
OF_MODELS = "clients, outsiders"
OUTSIDERS = "outsiders"
SERVER = "server"

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A row: a claim, and what holds of it.

    Attributes:
        where: the file and line.
        what: the mechanism.
        claim: what is claimed, in words.
        claimed: the epsilon that is, or that follows from what is; None without one.
        holds: the epsilon that holds at `delta`, infinite where none does; None where it cannot be
            told.
        delta: of both.
        unit: what is protected.
        adjacency: which neighbours epsilon speaks for.
        against: who learns no more.
        verdict: what comes of it.
        why: in a sentence.
        accountant: who computed `holds`.
        missing: settings that would have to be known.

    """

    where: str
    what: str
    claim: str
    claimed: float | None = None
    holds: float | None = None
    delta: float | None = None
    unit: str
    adjacency: str
    against: str
    verdict: Verdict
    why: str
    accountant: str | None = None
    missing: tuple[str, ...] = ()

    def as_record(self) -> dict[str, Any]:
        """Return it for JSON, with its questions in words."""
        record = asdict(self)
        record["questions"] = [question(name) for name in record.pop("missing")]
        return record


def question(name: str) -> str:
    """Ask the user for a setting."""
    return f"--set {name}=... ({SETTINGS[name].meaning})"


def questions(found: Iterable[Finding]) -> list[str]:
    """Return what would have to be known, once each."""
    return [
        question(name) for name in dict.fromkeys(name for each in found for name in each.missing)
    ]


def stated(value: T | None) -> T:
    """Return a number that is there, as was found out before."""
    assert value is not None
    return value


def unless_unused(found: Finding, is_used: bool | None) -> Finding:
    """Return a finding of a mod, or that it does nothing, or that this cannot be told."""
    if is_used is False:
        nobody = "no client has it among its mods, so nothing is noised"
        return replace(found, holds=math.inf, verdict="does not hold", why=nobody, missing=())
    if is_used is None:
        open_ = (*found.missing, "clips")
        if found.verdict == "holds":
            unsure = "whether clients have it among their mods cannot be told"
            return replace(found, verdict="cannot be told", why=unsure, missing=open_)
        return replace(found, missing=open_)
    return found


def judged(claimed: float, holds: float) -> Verdict:
    """Compare what is claimed with what holds."""
    return "holds" if holds <= claimed * (1 + 1e-9) else "does not hold"
