"""One run with many canaries (Steinke, Nasr, Jagielski 2023, arXiv:2305.08846).

Each of m canaries is put into the data with probability 1/2, and the attack guesses for r of them
whether it was. If the run is (epsilon, 0)-differentially private, then given all that it put out,
every guess is right with probability at most q = e^epsilon / (1 + e^epsilon), whatever the others
are: right guesses are at most Binomial(r, q). Delta adds to the chance of v of them or more, which
is f(v) = P[Binomial(r, q) >= v], at most 2 m delta max_i (f(v - i) - f(v)) / i (Theorem 5.2).
"""

import math

import numpy as np
from scipy.special import betaincc, expit

from privrobust.audit.lower_bound import (
    LowerBound,
    check_confidence,
    check_delta,
    largest_rejected,
)
from privrobust.audit.observations import Guesses
from privrobust.core.numbers import as_float

PAPER = "Steinke, Nasr, Jagielski 2023 (arXiv:2305.08846)"


def one_run_p_value(guesses: Guesses, epsilon: float, delta: float) -> float:
    """Bound the chance of so many right guesses if the run is (epsilon, delta)-private.

    Raises:
        SpecError: epsilon is no finite number from 0 up, or delta not in [0, 1).

    """
    epsilon = as_float("epsilon", epsilon, "a finite number from 0 up", least=0)
    return _p_value(guesses, epsilon, check_delta(delta))


def one_run_bound(guesses: Guesses, delta: float, confidence: float = 0.95) -> LowerBound:
    """Return the largest epsilon that so many right guesses reject at that delta.

    Formal guarantee:
        **Lower bound**: of runs that are (epsilon, delta)-private for neighbours that differ in
        one canary, at most 1 - confidence get a bound above epsilon. It assumes that canaries
        joined independently with probability 1/2, and that `guesses.guesses` was fixed without
        knowing which did.

    References:
        Steinke, Nasr, Jagielski 2023 (https://arxiv.org/abs/2305.08846), Theorem 5.2 and
        Appendix D.

    Raises:
        SpecError: delta is not in [0, 1), or confidence not in (0, 1).

    >>> every = Guesses(canaries=20, guesses=20, correct=20)
    >>> round(one_run_bound(every, delta=0).epsilon_lower_bound, 4)
    1.8227
    """
    delta, confidence = check_delta(delta), check_confidence(confidence)
    # Any rejected epsilon is a valid bound, also where p-values are not monotone: at each
    # epsilon they fall with `correct`, so that "some epsilon above the truth is rejected" is
    # one event {correct >= v}, which the epsilon that needs the least v bounds.
    epsilon = largest_rejected(lambda each: _p_value(guesses, each, delta) <= 1 - confidence)
    return LowerBound(epsilon, delta, confidence, guesses, "one_run", PAPER)


def _p_value(guesses: Guesses, epsilon: float, delta: float) -> float:
    r, v = guesses.guesses, guesses.correct
    if v == 0:
        return 1.0
    wrong = float(expit(-epsilon))
    tail = float(betaincc(r - v + 1, v, wrong))  # P[Binomial(r, 1 - wrong) >= v]
    if delta == 0:
        return tail
    # Below the mean by 4.5 sqrt(r), f is 1 but for e^-40 (Hoeffding): larger i only divide by more.
    farthest = min(v, max(1, math.ceil(v - r * (1 - wrong) + 4.5 * math.sqrt(r))))
    i = np.arange(1, farthest + 1)
    least = np.where(i < v, v - i, 1)
    tails = np.where(i < v, betaincc(r - least + 1, least, wrong), 1.0)
    gain = float(np.max((tails - tail) / i))
    return min(1.0, tail + 2 * guesses.canaries * delta * max(0.0, gain))
