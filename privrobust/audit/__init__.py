"""Audits: what observers got out of a run, as a lower bound on epsilon.

Of 1000 canaries, each in the data with probability 1/2, an attack was right about 800:

>>> seen = Guesses(canaries=1000, guesses=1000, correct=800)
>>> round(one_run_bound(seen, delta=1e-5).epsilon_lower_bound, 2)
1.25
>>> round(f_dp_bound(seen, delta=1e-5).epsilon_lower_bound, 2)
2.33

`audit` attacks the runs of a spec, and returns what its observers got out of them.
"""

from typing import TYPE_CHECKING

from privrobust.audit.corrections import best_of, each_confidence
from privrobust.audit.f_dp import f_dp_bound, f_dp_p_value
from privrobust.audit.lower_bound import LowerBound
from privrobust.audit.observations import (
    Detections,
    Guesses,
    detect_above,
    detect_at_ranks,
    guess_by_score,
)
from privrobust.audit.one_run import one_run_bound, one_run_p_value
from privrobust.audit.repeated_runs import clopper_pearson_bound, gaussian_bound
from privrobust.audit.trade_offs import Claim, Gaussian, TradeOff, claim
from privrobust.core.lazy_imports import attributes

if TYPE_CHECKING:
    from privrobust.audit.mechanism import audit_mechanism
    from privrobust.audit.pipeline import audit, audits
    from privrobust.audit.result import AuditResult
    from privrobust.audit.tails import audit_noise, audit_tails

__all__ = [
    "AuditResult",
    "Claim",
    "Detections",
    "Gaussian",
    "Guesses",
    "LowerBound",
    "TradeOff",
    "audit",
    "audit_mechanism",
    "audit_noise",
    "audit_tails",
    "audits",
    "best_of",
    "claim",
    "clopper_pearson_bound",
    "detect_above",
    "detect_at_ranks",
    "each_confidence",
    "f_dp_bound",
    "f_dp_p_value",
    "gaussian_bound",
    "guess_by_score",
    "one_run_bound",
    "one_run_p_value",
]

__getattr__ = attributes(
    __name__,
    {
        "AuditResult": "result",
        "audit": "pipeline",
        "audit_mechanism": "mechanism",
        "audit_noise": "tails",
        "audit_tails": "tails",
        "audits": "pipeline",
    },
)
