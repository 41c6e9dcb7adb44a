r"""What logistic noise hides: in Rényi divergence, what Gaussian noise of sqrt(3) b hides.

Logistic noise of scale b has the density e^-x / (b (1 + e^-x)^2), x = z / b. In units of b, let L
be how much likelier a value is where the noise is around v than where it is around 0. With u the
value of the distribution function, which is uniform where the noise is around 0,

    L = e^-v / (1 - u (1 - e^-v))^2,
    E[L^a] = sinh((2a - 1) v / 2) / ((2a - 1) sinh(v / 2)).

**No more than Gaussian noise.** As sinh(t) / t is the product of 1 + t^2 / (pi k)^2 over k = 1, 2,
..., the logarithm of that moment, as a function of s = v^2, is

    F_a(s) = sum over k of log((pi k)^2 + (2a - 1)^2 s / 4) - log((pi k)^2 + s / 4).

For a > 1 every term is concave in s, with slope a (a - 1) / (pi k)^2 at s = 0, and is 0 there. The
sum of 1 / (pi k)^2 is 1/6, so F_a(s) <= a (a - 1) s / 6. Coordinates are independent: a shift of an
L2 norm of at most w = 1 / sigma has log E[L^a] <= sum_j F_a(v_j^2) <= a (a - 1) w^2 / 6. That is
the moment of Gaussian noise with sqrt(3) sigma in place of sigma. It is the best constant: a shift
that is spread over many coordinates comes as near to it as one likes (1/3 is the Fisher
information).

**Sampled**, a unit that is taken away has for whole orders the moment sum over i of C(a, i)
(1-q)^(a-i) q^i E[L^i], at most that of the same Gaussian step term by term. A unit that is added
costs no more: the proof in docs/signs.md holds for every noise whose moments are bounded alike both
ways, as E[L^a] is, which does not change with the sign of v. Of orders between whole ones nothing
is proven here.

Source: our own; Balakrishnan 1992, *Handbook of the Logistic Distribution*, for the law.
"""

import math

from privrobust.accountants.mechanism import Mechanism

_ROOT_3 = math.nextafter(math.sqrt(3), 0.0)


def renyi_multiplier(step: Mechanism) -> float:
    """Return the sigma of the Gaussian step whose Rényi moments bound those of this one.

    Of a sampled step of logistic noise it is so for whole orders alone; `of_whole_orders` tells.
    """
    if step.noise == "gaussian":
        return step.noise_multiplier
    if step.noise == "logistic":
        return _ROOT_3 * step.noise_multiplier
    raise AssertionError(f"no Rényi moments of {step.noise} noise")


def of_whole_orders(step: Mechanism) -> bool:
    """Return whether the moments of orders that are not whole are unknown."""
    return step.noise == "logistic" and step.sampling_rate < 1
