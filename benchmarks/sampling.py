"""What quoting Poisson's epsilon for a shuffled loader hides: the table of docs/sampling.md.

The lower bound is of batches that are cut from a shuffled epoch, by one bad case (Chua et al. 2024,
arXiv:2403.17673; of several epochs: arXiv:2411.04205). All other examples have the gradient -1, in
units of the clipping norm, the one that is looked for has 1, and zeroed out it counts as 0. In
units of C / B, and B added, an epoch of k steps is then noise around 2 in one place j, any alike,
or around 1, and around 0 in the others. Who looks at the largest of the k alone sees

    F(c) = Phi((c - 2) / sigma) Phi(c / sigma)^(k-1),    or with c - 1 in place of c - 2.

What a look at less tells is a lower bound, and so is all that is done with it: it is put into bins,
and composed over epochs as in literal_neighbours.py.
"""

from collections.abc import Sequence

import numpy as np
from literal_neighbours import DELTA, Array, epsilon_of_bins
from scipy.special import log_ndtr
from timing import table

from privrobust.accountants import Release, epsilon
from privrobust.accountants.sampling import Sampling
from privrobust.core.formatting import rounded_down, rounded_up

SETTINGS = (
    (10, 1.0, 1),
    (100, 0.6, 1),
    (100, 0.8, 10),
    (1000, 0.5, 1),
    (1000, 0.7, 10),
    (235, 1.0, 20),
    (20, 2.0, 50),
    (3, 3.2, 100),
)
"""k, the steps of an epoch; sigma; epochs."""
BATCH = 32
BINS = 20_000

HEADER = [
    "k = n / B", "sigma", "epochs", "Poisson", "shuffled: at least", "shuffled: proven",
    "balls in bins", "fixed size",
]  # fmt: skip


def claimed(sampling: Sampling, steps: int, sigma: float, epochs: int) -> float:
    """Return the epsilon that the suite proves of so many epochs of so many steps."""
    release = Release(
        noise_scale=sigma / BATCH,
        clip_norm=1,
        batch_size=BATCH,
        dataset_size=BATCH * steps,
        steps=steps * epochs,
        sampling=sampling,
    )
    return epsilon(release, DELTA)


def shuffled_at_least(steps: int, sigma: float, epochs: int, resolution: float = 1e-3) -> float:
    """Return an epsilon that shuffled batches exceed, of which rounding costs no more than stated.

    Args:
        steps: k, of an epoch.
        sigma: the noise over C / B.
        epochs: how many.
        resolution: by how much rounding the losses down may lessen epsilon at most.

    """
    with_it, without = _largest(steps, sigma, 2.0), _largest(steps, sigma, 1.0)
    return max(
        epsilon_of_bins(one, other, epochs, resolution / epochs)
        for one, other in ((with_it, without), (without, with_it))
    )


def _largest(steps: int, sigma: float, mean: float) -> Array:
    """Return the law of the largest of an epoch's messages, in bins."""
    edges = np.linspace(-4 * sigma, 2 + 9 * sigma, BINS - 1)
    below = np.exp(log_ndtr((edges - mean) / sigma) + (steps - 1) * log_ndtr(edges / sigma))
    return np.diff(below, prepend=0.0, append=1.0)


def row(steps: int, sigma: float, epochs: int, resolution: float = 1e-3) -> list[str]:
    """Return one line of the table."""
    schemes: tuple[Sampling, ...] = ("poisson", "shuffled", "balls_in_bins", "fixed")
    poisson, shuffled, bins, fixed = (
        rounded_up(claimed(sampling, steps, sigma, epochs), 4) for sampling in schemes
    )
    least = rounded_down(shuffled_at_least(steps, sigma, epochs, resolution), 4)
    return [f"{steps}", f"{sigma:g}", f"{epochs}", poisson, least, shuffled, bins, fixed]


def report(settings: Sequence[tuple[int, float, int]] = SETTINGS, resolution: float = 1e-3) -> str:
    """Tabulate these settings, at delta = 1e-5."""
    return table(HEADER, [row(*setting, resolution) for setting in settings])


if __name__ == "__main__":
    print(report())
