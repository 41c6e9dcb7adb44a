"""A lower bound on what sampled Gaussian noise spends, independent of the project: exact integers.

Whoever sees less cannot tell more, so a coarser view of every message gives a lower bound on delta.
The noisy value z is seen only through the cell that it falls into. Cells are cut so that the loss
log(P(cell) / Q(cell)) lies on a grid, just above a multiple of h, and that multiple stands for it.
Then T-fold composition is the T-th power of a polynomial with coefficients P(cell), rounded down to
multiples of 2^-128 and multiplied exactly, as long integers. What leaves a window below is dropped,
what leaves it above is moved down to its end. Every error has one sign: `delta_below` never exceeds
the true delta.
"""

import math
from dataclasses import dataclass

import gmpy2
import mpmath
import numpy as np
from scipy.optimize import brentq
from scipy.special import log_ndtr

BITS = 128
_ONE = 1 << BITS
_SLOT = (2 * BITS + 32) // 8  # bytes of a coefficient of a product of up to 2^32 terms
_REACH = 14.0  # standard deviations


@dataclass(frozen=True)
class Step:
    """One Poisson-sampled Gaussian step, seen from one side.

    w is the noisy value, or minus it, so that the loss rises with w.
    """

    sigma: float
    q: float
    removed: bool = True
    """Whether the mixture is P (the example is removed from it) or Q (it is added)."""

    @property
    def spread(self) -> float:
        """About the standard deviation of the loss."""
        moment = math.sqrt(math.expm1(min(1 / self.sigma**2, 600.0)))
        return min(self.q * moment, 1 / self.sigma + 0.5 / self.sigma**2)

    def loss(self, w: float) -> float:
        sign = 1 if self.removed else -1
        return sign * self._mixed((sign * w - 0.5) / self.sigma**2)

    def place(self, loss: float) -> float:
        """Where the loss is so much; infinite beyond its range."""
        sign = 1 if self.removed else -1
        if sign * loss > 700:
            return sign * (0.5 + self.sigma**2 * (sign * loss - math.log(self.q)))
        excess = math.expm1(sign * loss) + self.q
        if excess <= 0:
            return -sign * math.inf
        return sign * (0.5 + self.sigma**2 * (math.log(excess) - math.log(self.q)))

    def cell_loss(self, low: float, high: float) -> float:
        """log(P(cell) / Q(cell)), in double precision: to look for cells, not to account."""
        if not self.removed:
            low, high = -high, -low
        ratio = _log_mass(low - 1, high - 1, self.sigma) - _log_mass(low, high, self.sigma)
        return self._mixed(ratio) if self.removed else -self._mixed(ratio)

    def _mixed(self, log_ratio: float) -> float:
        if self.q == 1:
            return log_ratio
        if log_ratio < 600:
            return math.log1p(self.q * math.expm1(log_ratio))
        return math.log(self.q) + log_ratio

    def exact(self, low: float, high: float) -> tuple[mpmath.mpf, mpmath.mpf]:
        """P and Q of the cell, to 40 digits."""
        if not self.removed:
            low, high = -high, -low
        with mpmath.workdps(60):
            at_zero = _mass(low, high, self.sigma)
            at_one = _mass(mpmath.mpf(low) - 1, mpmath.mpf(high) - 1, self.sigma)
            mixture = (1 - mpmath.mpf(self.q)) * at_zero + mpmath.mpf(self.q) * at_one
            return (mixture, at_zero) if self.removed else (at_zero, mixture)


def _log_mass(low: float, high: float, sigma: float) -> float:
    low, high = low / sigma, high / sigma
    if low > 0:
        low, high = -high, -low
    less, more = float(log_ndtr(low)), float(log_ndtr(high))
    return more + math.log(-math.expm1(min(less - more, -1e-300)))


def _mass(low: mpmath.mpf, high: mpmath.mpf, sigma: float) -> mpmath.mpf:
    low, high = mpmath.mpf(low) / sigma, mpmath.mpf(high) / sigma
    if low > 0:
        low, high = -high, -low
    return mpmath.ncdf(high) - mpmath.ncdf(low)


def cells(step: Step, h: float, most: float) -> tuple[dict[int, int], float]:
    """Coefficients (in units of 2^-128) of one step, by multiple of h.

    Losses above `most` are one cell, and losses below -`most` are dropped. Also by how much all
    losses are less than these multiples: where nearly all losses are within h / 2 of 0 (rare
    sampling), by as much as the loss of that cell is below 0.
    """
    low, high = -_REACH * step.sigma, (1 if step.removed else 0) + _REACH * step.sigma
    low = max(low, step.place(-most))
    near_zero = [min(high, max(low, step.place(loss))) for loss in (-0.5 * h, 0.5 * h)]
    fine = min(high, max(low, step.place(most)))
    with mpmath.workdps(60):
        p, q = step.exact(*near_zero)
        less = float(-mpmath.log(p / q)) if p > 0.5 and p < q else 0.0
        found: dict[int, int] = {}
        cut = _cut(step, h, less, low, fine)
        for start, end in [*cut, *([(fine, high)] if fine < high else [])]:
            p, q = step.exact(start, end)
            if p > 0 and q > 0:
                multiple = int(mpmath.floor((mpmath.log(p / q) + less + 1e-9 * h) / h))
                weight = int(mpmath.floor(p * _ONE * (1 - mpmath.mpf(10) ** -35)))
                found[multiple] = found.get(multiple, 0) + weight
    return found, less + 1e-9 * h


def _cut(step: Step, h: float, less: float, low: float, high: float) -> list[tuple[float, float]]:
    """Cells from low to high whose losses are just above k h - less, where that can be."""
    found, w, multiple = [], low, math.floor(step.loss(low) / h)
    while w < high:
        multiple += 1
        nominal = min(high, step.place((multiple + 0.5) * h))
        if nominal <= w:
            continue
        least = w + 0.02 * (nominal - max(low, step.place((multiple - 0.5) * h)))
        most = min(high, step.place((multiple + 1.5) * h))
        aim = (multiple + 1e-6) * h - less
        if least < most and step.cell_loss(w, least) < aim < step.cell_loss(w, most):
            end = brentq(lambda at: step.cell_loss(w, at) - aim, least, most, rtol=1e-12)  # noqa: B023
        else:
            end = nominal
        found.append((w, end))
        w = end
    return found


@dataclass(frozen=True)
class Polynomial:
    """Coefficients of ascending multiples of h, from `first` on."""

    first: int
    weights: list[int]

    def __mul__(self, other: "Polynomial") -> "Polynomial":
        product = _packed(self.weights) * _packed(other.weights)
        count = len(self.weights) + len(other.weights) - 1
        raw = gmpy2.to_binary(product)[2:].ljust(count * _SLOT, b"\0")
        weights = [
            int.from_bytes(raw[place : place + _SLOT], "little") >> BITS
            for place in range(0, count * _SLOT, _SLOT)
        ]
        return Polynomial(self.first + other.first, weights)

    def within(self, low: int, high: int) -> "Polynomial":
        """Without what is lower, and with what is higher moved down to `high`."""
        start, end = max(0, low - self.first), max(1, high - self.first + 1)
        kept = self.weights[start:end]
        kept[-1] += sum(self.weights[end:])
        return Polynomial(self.first + start, kept)


def _packed(weights: list[int]) -> gmpy2.mpz:
    return gmpy2.from_binary(
        b"\x01\x01" + b"".join(weight.to_bytes(_SLOT, "little") for weight in weights)
    )


def _lost(found: dict[int, int], less: float, h: float) -> float:
    """What rounding losses down to the grid costs a step: Q then has so much more than 1."""
    return math.fsum(w / _ONE * math.exp(min(700.0, less - k * h)) for k, w in found.items()) - 1


def composed(
    step: Step, steps: int, most: float, coarsest: float
) -> tuple[Polynomial, float, float]:
    """The T-th power, of losses between -`most` and `most`.

    Also the grid, the one of a few on which a step loses least, and by how much losses are less
    than its multiples.
    """
    ratios = (1.0, 0.83, 0.7, 0.58) if coarsest > step.spread / 4 else (1.0,)
    grids = [coarsest * ratio for ratio in ratios]
    cut = [(*cells(step, h, most), h) for h in grids]
    found, less, h = min(cut, key=lambda each: _lost(*each))
    keys = np.minimum(list(found), math.ceil(most / h) + 2)
    masses = np.array([weight / _ONE for weight in found.values()])
    mean = float(masses @ keys)
    deviation = math.sqrt(max(float(masses @ np.square(keys - mean)), 1e-12))
    low, high = min(found), max(found)
    high = min(high, math.ceil(most / h) + 2)
    once = Polynomial(low, [found.get(key, 0) for key in range(low, high)])
    once.weights.append(sum(weight for key, weight in found.items() if key >= high))

    def kept(power: Polynomial, count: int) -> Polynomial:
        around = 10 * deviation * math.sqrt(count) + 2
        top = max(count * mean + around, most / h + 2)
        return power.within(math.floor(count * mean - around), math.ceil(top))

    once = kept(once, 1)
    result, count = None, 0
    for bit in bin(steps)[2:]:
        if result is not None:
            count *= 2
            result = kept(result * result, count)
        if bit == "1":
            count += 1
            result = once if result is None else kept(result * once, count)
    assert result is not None
    return result, h, steps * less


def delta_below(sigma: float, q: float, steps: int, epsilon: float, size: int = 3000) -> float:
    """At most the true delta at that epsilon, with windows of about so many multiples."""
    return max(
        _delta_of_side(Step(sigma, q, removed), steps, epsilon, size) for removed in (True, False)
    )


def _delta_of_side(step: Step, steps: int, epsilon: float, size: int) -> float:
    window = 12 * step.spread * math.sqrt(steps) + 0.5 * epsilon
    power, h, less = composed(step, steps, window + epsilon, max(window / size, step.spread / 50))
    excess = (power.first + np.arange(len(power.weights))) * h - less - epsilon
    total = math.fsum(
        weight / _ONE * -math.expm1(-more)
        for weight, more in zip(power.weights, excess.tolist(), strict=True)
        if more > 0
    )
    return total * (1 - 1e-12)
