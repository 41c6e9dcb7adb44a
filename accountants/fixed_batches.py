"""What tells of one unit in batches of fixed size: uniformly random B of n, anew at each step.

A batch that holds the unit is B - 1 others and the unit; one that does not may be drawn as the same
B - 1 others and one more. So a step is a mixture, over who these are and alike for both neighbours,
of pairs that are, in units of one contribution and with q = B / n,

    P = (1-q) N(a) + q N(g),    Q = (1-q) N(a) + q N(g'),    |a|, |g|, |g'| <= 1,

where g' = 0 if the unit is zeroed out, and a is what the one more adds. For every alpha >= 1 the
hockey-stick divergence H_alpha is largest (docs/sampling.md proves it) with

- zero-out, P over Q: g = 1 and a = -1, the others pull the other way;
- zero-out, Q over P: a = g, which is the pair of Poisson sampling, unit removed;
- replace-one, both ways: a = g' = -g, which is that pair again at twice the distance.

At alpha < 1, H_alpha(P || Q) = 1 - alpha + alpha H_(1/alpha)(Q || P). So what dominates a step for
all alpha, and with it adaptive compositions, has its losses above 0 from one of these pairs, those
below 0 from another, and an atom at 0 in between.

Sources: Balle, Barthe, Gaboardi 2018 (arXiv:1807.01647) for replace-one; Zhu, Dong, Wang 2022
(arXiv:2106.08567) for dominating pairs and their composition.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from privrobust.accountants.mechanism import Mechanism

SIDES = ("removed", "added")
"""Whether P has the unit that Q lacks, or the other way round; replacing is alike both ways."""
_FINE = 0.1
"""A cell's width, times the order of a moment and in sizes of a loss; with it 0.1 % is added."""
_MOST_CELLS = 200_000
"""On either side of 0; with wider cells the bound is looser."""
_ERROR = 2e-11
"""Of a log moment: what rounding may make it too small by, generously."""
_NEAR, _FAR = 9.0, 30.0
"""Standard deviations beyond the order that cells extend to, and at most: doubles end at 38."""


class Masses(NamedTuple):
    """A distribution of losses on a grid, which dominates that of a step."""

    losses: Any
    """Ascending multiples of the spacing, from -m to m."""
    weights: Any
    """Probabilities under P of each."""
    infinite: float
    """Probability under P of larger losses."""


def masses(step: Mechanism, side: str, spacing: float, cells: int) -> Masses:
    """Connect the dots: put the losses of each cell on its two ends, with the same P and Q.

    (Doroshenko et al. 2022, arXiv:2207.04380; profiles are convex, so that it errs upwards.)

    Args:
        step: one of batches of fixed size.
        side: one of `SIDES`.
        spacing: of the grid.
        cells: m, on either side of 0.

    """
    top, bottom = _pairs(step, side)
    ends = spacing * np.arange(cells + 1)
    weights = np.zeros(2 * cells + 1)
    above_p, above_q = top.tails(ends)
    weights[cells:] += _dots(-np.diff(above_p), -np.diff(above_q), ends, spacing)
    # seen from the other side: the losses of Q over P are those of P over Q, negated
    below_q, below_p = bottom.tails(ends)
    weights[: cells + 1] += _dots(
        -np.diff(below_p)[::-1], -np.diff(below_q)[::-1], -ends[::-1], spacing
    )
    weights[cells] += max(0.0, 1 - float(above_p[0]) - float(below_p[0]))
    weights[0] += float(below_p[-1])  # moved up
    return Masses(spacing * np.arange(-cells, cells + 1), weights, float(above_p[-1]))


def divergence(step: Mechanism, order: int) -> float:
    """Return the Rényi divergence of one step, the larger of both sides, from above.

    Beyond the cells losses are at most those without sampling, and a constant that falls from
    there on; of these the moment is known.
    """
    from scipy.special import log_ndtr

    sigma = step.noise_multiplier / (2 if step.replace else 1)
    unsampled = order / (2 * sigma**2)
    reach = (0.5 + min(order + _NEAR * sigma, _FAR * sigma)) / sigma**2
    fine = _FINE * min(1 / order, step.sampling_rate / sigma)
    cells = math.ceil(min(reach / fine, _MOST_CELLS))
    spacing = reach / cells
    largest = -math.inf
    for side in SIDES[: 1 if step.replace else 2]:
        found = masses(step, side, spacing, cells)
        with np.errstate(divide="ignore"):
            logs = np.log(found.weights) + (order - 1) * found.losses
        top, _ = _pairs(step, side)
        # int over x > t of N(m) e^((order - 1) (c + (x - 1/2) / sigma^2)), for both parts of P
        t, power = float(top.place(found.losses[-1:])[0]), order - 1
        constant = 0.0
        if top.rest == 0:
            constant = math.log(top.q + (1 - top.q) * math.exp((0.5 - t) / sigma**2))
        beyond = [
            math.log(share)
            + power * constant
            + power * (mean - 0.5 + power / 2) / sigma**2
            + float(log_ndtr((mean + power - t) / sigma))
            for share, mean in ((1 - top.q, top.rest), (top.q, 1))
        ]
        peak = max(float(logs.max()), *beyond)
        total = float(np.exp(logs - peak).sum()) + sum(math.exp(each - peak) for each in beyond)
        largest = max(largest, peak + math.log(total))
    return min(unsampled, (max(0.0, largest) + _ERROR) / (order - 1))


def _pairs(step: Mechanism, side: str) -> tuple["_Pair", "_Pair"]:
    """Return the pairs that have the losses above 0, and those below 0."""
    sigma, q = step.noise_multiplier, step.sampling_rate
    if step.replace:
        return (_Pair(sigma / 2, q, 0),) * 2
    opposed, alike = _Pair(sigma, q, -1), _Pair(sigma, q, 0)
    return (opposed, alike) if side == "removed" else (alike, opposed)


def _dots(p: Any, q: Any, ends: Any, spacing: float) -> Any:
    """Return what cells of masses p and q put on their ends."""
    at_ends = np.zeros(len(ends))
    upper = (p - q * np.exp(np.minimum(ends[:-1], 700.0))) / -math.expm1(-spacing)
    upper = np.where(ends[:-1] < 700, np.clip(upper, 0.0, p), p)
    at_ends[1:] += upper
    at_ends[:-1] += p - upper
    return at_ends


@dataclass(frozen=True)
class _Pair:
    """(1-q) N(rest) + q N(1) over (1-q) N(rest) + q N(0), on a line along which the loss rises."""

    sigma: float
    q: float
    rest: int
    """-1 or 0."""

    def place(self, losses: Any) -> Any:
        """Return where the loss is so much, from 0 up."""
        variance, q = self.sigma**2, self.q
        if self.rest == 0:
            with np.errstate(over="ignore"):
                small = np.log1p(np.expm1(losses) / q)
            ratio = np.where(losses < 600, small, losses - math.log(q))
        else:
            # q c y^2 - e^L q y - (e^L - 1) (1 - q) c = 0, y = e^(x / sigma^2), c = y at x = -1/2
            rest = 4 * q * (1 - q) * math.exp(-1 / variance)
            root = np.sqrt(q**2 + rest * -np.expm1(-losses) * np.exp(-losses))
            ratio = losses + np.log((q + root) / (2 * q))
        return 0.5 + variance * ratio

    def tails(self, losses: Any) -> tuple[Any, Any]:
        """Return the probabilities of larger losses, of the first and of the second."""
        from scipy.special import ndtr  # only where something is computed: it loads slowly

        x = self.place(losses)
        rest = (1 - self.q) * ndtr((self.rest - x) / self.sigma)
        return (
            rest + self.q * ndtr((1 - x) / self.sigma),
            rest + self.q * ndtr(-x / self.sigma),
        )
