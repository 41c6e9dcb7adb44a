"""What a noisy sign leaks, from both sides: a bound and an attack; for docs/signs.md.

python benchmarks/signs.py [--figure FILE]

The attack sees one coordinate, in which other examples put the mean of every step at mu (in units
of the noise) and the canary adds all that clipping leaves it, w = 1 / sigma. It counts plus signs:
their number is binomial of T and of Phi(mu), or of Phi(mu) + q (Phi(mu + w) - Phi(mu)) if the
canary takes part, and by Neyman and Pearson a likelihood ratio of counts tells these apart best. At
which epsilon that tells more than delta is computed, not sampled; the worst mu is looked for, and
any mu gives a lower bound.
"""

import argparse
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr
from scipy.stats import binom
from timing import table

from privrobust.accountants import Release, epsilon
from privrobust.core.formatting import rounded_down, rounded_up

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DELTA = 1e-5
SETTINGS = ((4.0, 0.01, 10_000), (1.0, 0.05, 500), (0.8, 0.1, 100), (3.2, 32 / 95, 300))
"""sigma, q, T."""
HEADER = ("sigma", "q", "T", "attack: at least", "`sign`: at most", "vector, by `pld`")
MULTIPLIERS = (0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0)

Array = NDArray[np.float64]


def claimed(sigma: float, q: float, steps: int, message: str) -> float:
    """Return what the suite reports, by `auto`."""
    release = Release(
        noise_scale=sigma, clip_norm=1.0, batch_size=1.0, sampling_rate=q, steps=steps,
        message=message,  # type: ignore[arg-type]  # of the two literals
    )  # fmt: skip
    return epsilon(release, DELTA)


def attacked(sigma: float, q: float, steps: int) -> float:
    """Return an epsilon that noisy signs exceed."""

    def told(mu: float) -> float:
        return max(_told(mu, sigma, q, steps, added) for added in (False, True))

    # by grids, as counts are whole and what they tell jumps
    tried = np.linspace(-4, 4, 161) - 1 / (2 * sigma)
    best = max(tried, key=told)
    return max(told(mu) for mu in best + np.linspace(-0.05, 0.05, 41))


def _told(mu: float, sigma: float, q: float, steps: int, added: bool) -> float:
    """Return the epsilon at which counts tell DELTA, of a canary that is added or is removed."""
    without = float(ndtr(mu))
    # 1 - p of both, without cancellation where p is next to 1
    rests = np.exp(log_ndtr([-mu, -mu - 1 / sigma]))
    taking_part = without + q * (ndtr(mu + 1 / sigma) - without)
    counts = np.arange(steps + 1.0)
    with_canary = _log_masses(counts, steps, taking_part, rests[0] + q * (rests[1] - rests[0]))
    pair = with_canary, _log_masses(counts, steps, without, rests[0])
    top, bottom = pair[::-1] if added else pair

    def excess(spent: float) -> float:
        gaps = spent + bottom - top
        tells = gaps < 0
        return float((np.exp(top[tells]) * -np.expm1(gaps[tells])).sum()) - DELTA

    return 0.0 if excess(0.0) <= 0 else float(brentq(excess, 0.0, 1e4, xtol=1e-6)) - 1e-6


def _log_masses(counts: Array, steps: int, p: float, rest: float) -> Array:
    """Return a binomial law's logarithms; nothing where a probability is 0."""
    if min(p, rest) < 1e-300:
        return np.full(len(counts), -math.inf)
    masses: Array = binom.logpmf(counts, steps, 0.5) + steps * math.log(2)
    return masses + counts * math.log(p) + (steps - counts) * math.log(rest)


def report(settings: Sequence[tuple[float, float, int]] = SETTINGS) -> str:
    rows = [
        [
            f"{sigma:g}", f"{q:.3g}", f"{steps}",
            rounded_down(attacked(sigma, q, steps), 4),
            rounded_up(claimed(sigma, q, steps, "sign"), 4),
            rounded_up(claimed(sigma, q, steps, "vector"), 4),
        ]
        for sigma, q, steps in settings
    ]  # fmt: skip
    return table(list(HEADER), rows)


def draw(file: str, multipliers: Sequence[float] = MULTIPLIERS) -> None:
    """Write a figure of epsilon against sigma: the vector's, its sign's, what the attack shows."""
    from privrobust.reporting.figures.canvas import WIDE, new_figure, save_figure, styled

    @styled
    def figure() -> "Figure":
        made = new_figure(WIDE, 2.6)
        panels = made.subplots(1, len(DRAWN), squeeze=False).flat
        for panel, (q, steps) in zip(panels, DRAWN, strict=True):
            for name, style, of in LINES:
                panel.plot(
                    multipliers, [of(sigma, q, steps) for sigma in multipliers], style, label=name
                )
            panel.set(xscale="log", yscale="log", xlabel="noise multiplier sigma", ylabel="epsilon")
            panel.set_xticks(multipliers, [f"{sigma:g}" for sigma in multipliers])
            panel.minorticks_off()
            panel.set_title(f"q = {q:.3g}, T = {steps}, delta = {DELTA:g}")
            panel.legend()
        return made

    save_figure(figure(), Path(file))


DRAWN = ((0.05, 500), (32 / 95, 300))
"""q and T of each panel."""
LINES = (
    ("vector, pld", "-", partial(claimed, message="vector")),
    ("sign, at most", "--", partial(claimed, message="sign")),
    ("sign, at least", ":", attacked),
)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figure", help="file to draw into, such as signs.svg")
    arguments = parser.parse_args()
    print(report())
    if arguments.figure:
        draw(arguments.figure)
