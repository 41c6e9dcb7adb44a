"""Many runs with one canary: error rates of an attack, and what they say about epsilon.

An (epsilon, delta)-private run with the canary is detected with at most e^epsilon times the false
positive rate, plus delta, and the same holds of "out" (Kairouz, Oh, Viswanath 2015). Rates are
known from counts only, so their upper limits (Clopper, Pearson 1934) take their place.
"""

import math

from scipy.special import betainccinv, ndtri

from privrobust.audit.lower_bound import (
    LowerBound,
    check_confidence,
    check_delta,
    check_positive_delta,
    gaussian_epsilon,
)
from privrobust.audit.observations import Detections
from privrobust.audit.trade_offs import TradeOff

PAPER_OF_COUNTS = "Nasr, Song, Thakurta, Papernot, Carlini 2021 (arXiv:2101.04535)"
PAPER_OF_GAUSSIAN = (
    "Nasr, Hayes, Steinke, Balle, Tramer, Jagielski, Carlini, Terzis 2023 (arXiv:2302.07956)"
)


def clopper_pearson_bound(
    detections: Detections, delta: float, confidence: float = 0.95
) -> LowerBound:
    """Return the least epsilon at that delta that error rates so small can have.

    Formal guarantee:
        **Lower bound** of any mechanism: at most 1 - confidence of such bounds are above the
        truth. It assumes independent runs, and a threshold that was not chosen by looking at
        them, or one of `detect_at_ranks`.

    References:
        Clopper, Pearson 1934 (Biometrika 26); Jagielski, Ullman, Oprea 2020
        (https://arxiv.org/abs/2006.07709); Nasr et al. 2021 (https://arxiv.org/abs/2101.04535).

    Raises:
        SpecError: delta is not in [0, 1), or confidence not in (0, 1).

    >>> seen = Detections(1000, 950, 1000, 10)
    >>> round(clopper_pearson_bound(seen, delta=1e-5).epsilon_lower_bound, 3)
    3.932
    """
    delta, confidence = check_delta(delta), check_confidence(confidence)
    false_positive, false_negative = _error_rates(detections, 1 - confidence)
    # Both ratios follow from the same two limits: trying both costs no confidence.
    epsilon = max(
        _log_ratio(1 - false_negative - delta, false_positive),
        _log_ratio(1 - false_positive - delta, false_negative),
    )
    return LowerBound(epsilon, delta, confidence, detections, "clopper_pearson", PAPER_OF_COUNTS)


def gaussian_bound(detections: Detections, delta: float, confidence: float = 0.95) -> LowerBound:
    """Return epsilon at that delta of the least mu that error rates so small can have.

    Formal guarantee:
        **Lower bound** on mu of mu-Gaussian differential privacy, and on epsilon **if the run's
        trade-off is Gaussian**, as of Gaussian noise without sampling, and about so of many
        sampled steps. It assumes what `clopper_pearson_bound` does.

    References:
        Nasr et al. 2023 (https://arxiv.org/abs/2302.07956), Section 4.

    Raises:
        SpecError: delta or confidence is not between 0 and 1.

    """
    delta, confidence = check_positive_delta(delta), check_confidence(confidence)
    false_positive, false_negative = _error_rates(detections, 1 - confidence)
    mu = max(0.0, -float(ndtri(false_positive)) - float(ndtri(false_negative)))
    return LowerBound(
        gaussian_epsilon(mu, delta),
        delta,
        confidence,
        detections,
        "gaussian_repeated_runs",
        PAPER_OF_GAUSSIAN,
        mu=mu,
    )


def detected_p_value(detections: Detections, claimed: TradeOff) -> float:
    """Bound the chance of error rates so small if the run has the trade-off that is claimed.

    It is 1 - confidence at which the limits of both rates are just below what the claim allows
    together. It assumes what `clopper_pearson_bound` does.
    """

    def stands(p_value: float) -> bool:
        false_positive, false_negative = _error_rates(detections, p_value)
        return claimed.least_false_positives(1 - false_negative) <= false_positive

    low, high = math.log(1e-300), 0.0  # a claim that stands at p stands at any that is smaller
    if stands(1.0):
        return 1.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if stands(math.exp(middle)) else (low, middle)
    return math.exp(high)


def _error_rates(detections: Detections, risk: float) -> tuple[float, float]:
    """Return upper limits of the false positive and negative rates: one fails at this risk."""
    missed = detections.runs_with - detections.true_positives
    return (
        _upper_limit(detections.false_positives, detections.runs_without, risk / 2),
        _upper_limit(missed, detections.runs_with, risk / 2),
    )


def _upper_limit(count: int, of: int, alpha: float) -> float:
    """Return the rate at which so few, or fewer, have probability alpha."""
    return 1.0 if count == of else float(betainccinv(count + 1, of - count, alpha))


def _log_ratio(more: float, less: float) -> float:
    return max(0.0, math.log(more / less)) if more > 0 else 0.0
