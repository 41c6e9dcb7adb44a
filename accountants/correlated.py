"""What noise hides that every pair of workers shares with opposite signs, beside each one's own.

In a step worker i sends, with r the ratio `pairwise_noise`,

    g_i + b xi_i + r b sum over j != i of xi_ij,    xi_ji = -xi_ij,

the xi standard normal in every coordinate, drawn anew in every step; xi_ij follows from a secret of
workers i and j alone. In the mean of all messages the pairs cancel.

**Observer.** It sees all messages, and some workers tell it all that they know, with the secrets of
all their pairs. So it can subtract these pairs' noise, and is left with the messages of the m
others, whose noise has in each coordinate the covariance

    S = b^2 (I + r^2 (m I - 1 1^T)),

with the eigenvalue b^2 along the vector of ones and b^2 (1 + m r^2) across it.

**Theorem.** An example, or a whole worker, moves one of the m messages, e_i v, with |v| at most its
contribution. What the observer sees of it is worth exactly what one message is worth with Gaussian
noise of the scale

    b_eff = b sqrt((1 + m r^2) / (1 + r^2)).

**Proof.** Whiten the m messages of each coordinate by S^(-1/2). The unit then moves them along the
one direction S^(-1/2) e_i, by v times its length; across it there is noise that is independent of
all of this and the same for both neighbours. Along it there is v with Gaussian noise of scale
b_eff, in d coordinates, for 1 / b_eff^2 = e_i^T S^-1 e_i = (1/m + (1 - 1/m) / (1 + m r^2)) / b^2:
the vector e_i has 1/m of its square along the ones. That is the formula above. The map is a
bijection, so sampling, any neighbours and composition over steps are those of one message with that
noise: every accountant of vectors holds. Not that of signs: the sign of a message is no sign after
whitening.

The messages of the others count too, as noise of theirs tells of this one's: b_eff is of all of
them together. Without pairs (m = 1, nobody to trust) it is b; for large r it comes near to sqrt(m)
b, and the noise of the mean to that of a trusted server's.

**Assumed.** Every pair shares a secret of its own. Who sits out a step, or fails, still sends
noise, that of its pairs too. Whoever may work with the observer is counted: at least all who are
Byzantine.

Sources: Allouah, Koloskova, El Firdoussi, Jaggi, Guerraoui 2024 (arXiv:2405.01031): DECOR, noise of
pairs, secrets that some share, and Rényi divergences by the inverse of S for any graph; Allouah,
Guerraoui, Stephan 2025 (arXiv:2505.01874): CafCor, the same with Byzantine workers and robust
rules.
"""

import math

from privrobust.core.numbers import as_float, as_whole

_ROUNDING = 1 - 2.0**-50
"""Below 1 by more than the last bits of the formula, so that none of them is to its advantage."""


def effective_noise_scale(noise_scale: float, pairwise_noise: float, hidden: int) -> float:
    """Return b_eff: the scale of Gaussian noise on one message that hides as much.

    Args:
        noise_scale: b, of each worker's own noise, in units of the message.
        pairwise_noise: r, the standard deviation of a pair's noise over b; 0 or more.
        hidden: m, the workers that tell nobody their pairs' secrets, the protected one included.

    Raises:
        SpecError: a value is out of range.

    >>> effective_noise_scale(0.1, 0.0, hidden=10)
    0.1
    >>> round(effective_noise_scale(0.1, 1.0, hidden=10), 4)
    0.2345

    """
    b = as_float("noise_scale", noise_scale, "a finite number, 0 or more", least=0.0)
    r = as_float("pairwise_noise", pairwise_noise, "from 0 to 1e100", least=0.0, most=1e100)
    m = as_whole("hidden", hidden, "a whole number, 1 or more", least=1)
    return b * max(1.0, math.sqrt((1 + m * r**2) / (1 + r**2)) * _ROUNDING)
