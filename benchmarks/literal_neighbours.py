"""What epsilon would be if n changed with the example: a lower bound, for docs/privacy.md.

A worker divides by the public B and samples each of its n examples with probability B / n. Suppose
one more example joined, and the worker sampled its n + 1 with probability B / (n + 1). Every other
example would take part less often, and with C / B each, all in one direction, they make that
visible; the newcomer points the other way and doubles the shift. In units of C / B, along that
direction and with S ~ Binomial, a message of the two neighbours is

    S(n, B / n) + sigma N(0, 1)    and    S(n, B / (n + 1)) - S(1, B / (n + 1)) + sigma N(0, 1).

Any two neighbours bound the worst case from below. So does every approximation here: messages are
put into bins (post-processing), bins that hold next to nothing are left out, losses are rounded
down to a grid, and delta is taken a thousandth larger than asked, for the rounding of the
transform that composes the T steps.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import binom
from timing import table

from privrobust.accountants import Release, epsilon
from privrobust.core.formatting import rounded_down, rounded_up

DELTA = 1e-5
SETTINGS = (
    (95, 32, 3.2, 300),
    (1000, 32, 10.0, 1000),
    (32, 32, 20.0, 100),
    (400, 64, 8.0, 300),
    (5000, 50, 10.0, 2000),
)
"""n, B, sigma, T."""
BINS = 4000
LEAST = 1e-13  # a bin's mass; where it is smaller, double precision does not tell its loss

Array = NDArray[np.float64]


def claimed_epsilon(n: int, batch: float, sigma: float, steps: int) -> float:
    """Return what the suite prints: n, and so q = B / n, is the same for both neighbours."""
    release = Release(
        noise_scale=sigma / batch, clip_norm=1, batch_size=batch, dataset_size=n, steps=steps
    )
    return epsilon(release, DELTA, "pld")


def literal_epsilon(
    n: int, batch: float, sigma: float, steps: int, resolution: float = 1e-3
) -> float:
    """Return an epsilon that the release exceeds where n, and so q, differs between neighbours.

    Args:
        n: examples of the smaller neighbour.
        batch: B, the expected batch and the divisor.
        sigma: the noise over C / B.
        steps: T.
        resolution: by how much rounding the losses down may lessen epsilon at most.

    """
    with_it, without = _messages(n, batch, sigma)
    return max(
        epsilon_of_bins(one, other, steps, resolution / steps)
        for one, other in ((with_it, without), (without, with_it))
    )


def _messages(n: int, batch: float, sigma: float) -> tuple[Array, Array]:
    """Return the binned laws of one message with the newcomer, and without."""
    present = np.arange(n + 1)
    fewer = min(1.0, batch / (n + 1))
    others = binom.pmf(present, n, fewer)
    sums = np.arange(-1, n + 1)
    with_it = np.append(0, others * (1 - fewer)) + np.append(others * fewer, 0)
    without = np.append(0, binom.pmf(present, n, min(1.0, batch / n)))
    likely = np.maximum(with_it, without) > 1e-18
    sums, with_it, without = sums[likely], with_it[likely], without[likely]
    edges = np.linspace(sums[0] - 9 * sigma, sums[-1] + 9 * sigma, BINS + 1)
    in_bins = np.diff(ndtr((edges[:, None] - sums) / sigma), axis=0)
    return in_bins @ with_it, in_bins @ without


def epsilon_of_bins(one: Array, other: Array, steps: int, grid: float) -> float:
    """Return the epsilon of `steps` messages under `one` against `other`, from below."""
    told = (one > LEAST) & (other > LEAST)
    losses = np.floor(np.log(one[told] / other[told]) / grid).astype(np.int64)
    least = int(losses.min())
    masses = np.bincount(losses - least, weights=one[told])
    mean = float(np.average(losses, weights=one[told]))
    spread = math.sqrt(float(np.average((losses - mean) ** 2, weights=one[told])))
    # The transform is periodic: what lies beyond its period, and would come back at the other
    # end, has to be far less than the thousandth of delta that is kept for such errors.
    reach = 12 * spread * math.sqrt(steps) + len(masses)
    size = 2 ** math.ceil(math.log2(2 * reach))
    composed = np.fft.irfft(np.fft.rfft(masses, size) ** steps, size)
    first = round(mean * steps) - size // 2
    total = (first + np.arange(size)) * grid
    composed = np.roll(composed, -((first - least * steps) % size))

    def delta(epsilon: float) -> float:
        above = total > epsilon
        return float(composed[above] @ -np.expm1(epsilon - total[above]))

    low, high = 0.0, float(total[-1])
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if delta(middle) > DELTA * 1.001 else (low, middle)
    return low


def row(n: int, batch: float, sigma: float, steps: int, resolution: float = 1e-3) -> list[str]:
    """Return one line of the table."""
    claimed = rounded_up(claimed_epsilon(n, batch, sigma, steps), 4)
    literal = rounded_down(literal_epsilon(n, batch, sigma, steps, resolution), 4)
    return [f"{n}", f"{batch:g}", f"{sigma:g}", f"{steps}", claimed, literal]


HEADER = ["n", "B", "sigma", "T", "epsilon, n stays", "epsilon, n changes: at least"]


def report(
    settings: Sequence[tuple[int, float, float, int]] = SETTINGS, resolution: float = 1e-3
) -> str:
    return table(HEADER, [row(*setting, resolution) for setting in settings])


if __name__ == "__main__":
    print(report())
