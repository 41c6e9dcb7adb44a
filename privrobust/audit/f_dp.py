"""One run with many canaries against a whole trade-off (Mahloujifar, Melis, Chaudhuri 2024).

Steinke, Nasr and Jagielski ask how many guesses can be right under one (epsilon, delta); one that
satisfies a whole trade-off function f allows fewer. Let p_j be the chance that j of r guesses about
m canaries are right, and for every i

    true(i) = sum_{j >= i} j p_j / m,    false(i) = sum_{j >= i} (r - j) p_j / m.

f bounds one by the other: false(i) is at least f(1 - true(i + 1)), the least false positive rate
at that true positive rate. To have v right guesses or more with probability tau, both start at
their least, at v, and go down to 0 as slowly as f lets them: p_i = (false(i) - false(i + 1)) m /
(r - i). They end at true(0) + false(0) = r/m, as probabilities sum to 1; if they must end higher,
f or tau is wrong. The tau that just fits is the p-value.

Sources: arXiv:2410.22235, whose algorithm this is, with abstention; the auditing module
of jax_privacy and Meta's PrivacyGuard have it as well.
"""

from collections.abc import Callable

from privrobust.audit.lower_bound import (
    LowerBound,
    check_confidence,
    check_positive_delta,
    largest_rejected,
)
from privrobust.audit.observations import Guesses
from privrobust.audit.trade_offs import Gaussian, TradeOff

PAPER = "Mahloujifar, Melis, Chaudhuri 2024 (arXiv:2410.22235)"


def f_dp_p_value(guesses: Guesses, claimed: TradeOff) -> float:
    """Bound the chance of so many right guesses if the run has the trade-off that is claimed."""
    if not _is_rejected(guesses, claimed, 1.0):
        return 1.0
    low, high = 0.0, 1.0
    while high - low > 1e-9 * high and high > 1e-300:
        middle = (low + high) / 2
        low, high = (low, middle) if _is_rejected(guesses, claimed, middle) else (middle, high)
    return high


def f_dp_bound(
    guesses: Guesses,
    delta: float,
    confidence: float = 0.95,
    family: Callable[[float], TradeOff] = Gaussian,
) -> LowerBound:
    """Return epsilon at that delta of the largest trade-off of a family that is rejected.

    Args:
        guesses: what the attack found.
        delta: where epsilon is read from the trade-off.
        confidence: with which the bound holds.
        family: makes a trade-off of a number above 0, more telling ones of larger numbers. The
            Gaussian one is exact for Gaussian noise without sampling. For a run's own,
            `lambda x: claim(replace(release, noise_scale=release.noise_scale / x), delta)`.

    Formal guarantee:
        **Lower bound** on the number that indexes the family, and on epsilon **if the run's
        trade-off is in the family**: of such runs at most 1 - confidence get a bound above the
        truth. Of other runs it proves that they do not have the rejected trade-offs, so that
        whoever claims one of them is wrong; `f_dp_p_value` tests one claim without a family. It
        assumes what `one_run_bound` does.

    References:
        Mahloujifar, Melis, Chaudhuri 2024 (https://arxiv.org/abs/2410.22235).

    Raises:
        SpecError: delta or confidence is not between 0 and 1.

    """
    delta, confidence = check_positive_delta(delta), check_confidence(confidence)
    index = largest_rejected(
        lambda each: _is_rejected(guesses, family(each), 1 - confidence),
        tolerance=1e-9 if family is Gaussian else 1e-3,  # of a claim, each trial takes a second
    )
    epsilon = family(index).epsilon(delta) if index else 0.0
    mu = index if family is Gaussian else None
    return LowerBound(epsilon, delta, confidence, guesses, "f_dp_one_run", PAPER, mu=mu)


def _is_rejected(guesses: Guesses, claimed: TradeOff, tau: float) -> bool:
    """Whether that trade-off has no law with `correct` right guesses at probability tau."""
    m, r, v = guesses.canaries, guesses.guesses, guesses.correct
    true, false = tau * v / m, tau * (r - v) / m
    most = r / m * (1 + 1e-10)  # more than rounding adds up to, on the claim's side
    for i in range(v - 1, -1, -1):
        if true + false > most:
            return True
        least = claimed.least_false_positives(true)
        if least <= false:
            return False  # the law may stop here: nothing moves any more
        true += i / (r - i) * (least - false)
        false = least
    return true + false > most
