"""What noisy signs leak, by Rényi divergences of whole orders: less than the vectors' they are of.

Signs of one step, of the sampled unit or without it, have for every order alpha the moment

    E[(1 - q + q L)^alpha] = sum over i of C(alpha, i) (1-q)^(alpha-i) q^i E[L^i] <= A_alpha,

with the moments of `sign_moments`. That is the direction of a unit that is taken away. **A unit
that is added costs no more.** For alpha >= 2 and L > 0, y = 1 - q + q L and z = 1 - q + q / L,

    y^(1-alpha) <= theta y^alpha + (1 - theta) L z^alpha + kappa (L - 1),
    theta = 3 (1-q) / (3 + 2 (alpha-2) q),
    kappa = -(alpha-1) q - theta alpha q - (1-theta) (1 - alpha q).

whose expectation without the unit is at most A_alpha, as y^alpha and L z^alpha have at most that
and L - 1 has 0; docs/signs.md proves it. So both directions have A_alpha at most. Divergences add
up over steps, also where these depend on all that was sent before; Canonne, Kamath, Steinke 2020
(arXiv:2004.00010, Proposition 12) convert.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from privrobust.accountants.mechanism import Composition, Mechanism
from privrobust.accountants.protocol import Accountant, another_law
from privrobust.accountants.release import Release
from privrobust.accountants.renyi import conversion
from privrobust.accountants.sequence import Releases, as_sequence
from privrobust.accountants.sign_moments import MOST_ORDER, log_moment
from privrobust.errors import SpecError

STAGES = (64, 128, MOST_ORDER)
"""The best order is mostly among the first; more are asked where it is not well inside."""


class Sign(Accountant):
    """Add up Rényi divergences of noisy signs, Poisson-sampled or not, and of vectors among them.

    The module's docstring and docs/signs.md have the proof.

    Formal guarantee:
        **Upper bound**, of releases as `Accountant` says whose noise is Gaussian: of signs of
        coordinates that are noised anew and independently, + where the noisy value is at least 0.
        Neighbours: zero-out and add-or-remove. Not for signs of momentum, of noise that
        coordinates, workers or steps share, or of averages in which a unit changes what others
        add. What the maximum over mu may be missed by between points is added (`sign_moments`),
        and a share of `MARGIN` for the maximum over smaller shifts, which is checked and not
        proven; both are far above rounding, which is not counted apart.

    References:
        docs/signs.md; Canonne, Kamath, Steinke 2020, Proposition 12
        (https://arxiv.org/abs/2004.00010) for the conversion.

    """

    name = "sign"
    knows_signs = True
    knows_selections = True

    def unsupported(self, release: Release) -> str | None:
        """Refuse other laws, and replacement: the moments are of a unit that is there or not."""
        if release.noise != "gaussian":
            return another_law(release)
        if release.adjacency == "replace-one":
            return "adjacency 'replace-one' (pld can do it, as for the vector)"
        return None

    def compose_epsilon(self, steps: Composition, delta: float) -> float:
        """Return the least over whole orders."""
        best = np.inf
        for most in STAGES:
            orders = np.arange(2, most + 1)
            divergence = sum(count * _divergences(step, most) for step, count in steps)
            spent = divergence[orders - 2] + conversion(orders, delta)
            best = min(best, float(spent.min()))
            if spent.argmin() < 3 * len(orders) // 4:
                break
        return best

    def divergences(self, steps: Composition) -> tuple[Any, Any]:
        """Return those of the whole orders of the first stage."""
        most = STAGES[0]
        orders = np.arange(2, most + 1)
        return orders, sum(count * _divergences(step, most) for step, count in steps)

    def _supported(self, releases: Releases) -> Composition | None:
        """Return as inherited, and refuse what has no signs at all."""
        several = as_sequence(releases)
        steps = super()._supported(several)
        if steps is not None and all(release.message == "vector" for release in several):
            raise SpecError(
                f"accountant: {self.name} does not support messages that are no signs of "
                "freshly noised vectors"
            )
        return steps


@lru_cache(maxsize=4096)
def _divergences(step: Mechanism, most: int) -> Any:
    """Return Rényi divergences of one step, `(most - 1,)`, of the orders from 2 on."""
    orders = np.arange(2, most + 1)
    return _log_moments(step, most) / (orders - 1)


def _log_moments(step: Mechanism, most: int) -> Any:
    """Return log A of the orders from 2 to `most`; precise where it is next to 0."""
    from scipy.special import gammaln, logsumexp

    q, shift = step.sampling_rate, 1 / step.noise_multiplier
    i = np.arange(2, most + 1)
    if step.message == "sign":
        of_order = np.array([log_moment(int(order), shift) for order in i])
    else:
        of_order = i * (i - 1) / 2 * shift**2
    if q == 1:
        return of_order
    alpha = i[:, None]
    rest = np.maximum(alpha - i, 0)
    # log(M_i - 1): the binomial weights of all i sum to 1, and M_0 = M_1 = 1
    excess = np.where(of_order > 30, of_order, np.log(np.expm1(np.minimum(of_order, 30))))
    terms = gammaln(alpha + 1) - gammaln(i + 1) - gammaln(rest + 1)
    terms = terms + rest * np.log1p(-q) + i * np.log(q) + excess
    return np.logaddexp(0, logsumexp(np.where(i <= alpha, terms, -np.inf), axis=1))
