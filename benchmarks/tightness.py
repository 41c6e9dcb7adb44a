"""How far `auto` is above what is spent, region by region: `python benchmarks/tightness.py`.

Against the lower bound of the tests, which is exact in its arithmetic and coarse in its view: what
is printed bounds the excess of `auto` from above, and is mostly the slack of the lower bound.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from timing import table

from privrobust.accountants import Release, epsilon
from privrobust.core.formatting import rounded_up

sys.path.append(str(Path(__file__).parent.parent / "tests" / "accountants"))

from lower_bound import delta_below  # type: ignore[import-not-found]

Setting = tuple[float, float, int, float]
"""sigma, q, T, delta."""

REGIONS: dict[str, list[Setting]] = {
    "one step": [(1.0, 0.01, 1, 1e-5), (2.0, 1.0, 1, 1e-10)],
    "no sampling": [(20.0, 1.0, 1000, 1e-5), (3.0, 1.0, 100, 1e-15)],
    "training": [(1.0, 0.05, 500, 1e-5), (3.2, 32 / 95, 300, 1e-5), (4.0, 0.01, 2000, 1e-5)],
    "little noise": [(0.5, 0.1, 100, 1e-5), (0.4, 0.01, 300, 1e-13)],
    "small delta": [(1.0, 0.05, 500, 1e-12), (0.7, 9e-4, 300, 1e-13), (0.8, 0.07, 14, 1e-15)],
    "rare sampling": [(1.0, 1e-4, 30, 1e-8), (0.6, 2.6e-4, 16, 1e-12), (2.0, 1e-6, 40, 1e-10)],
}
SHARES = [1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5]


def excess(sigma: float, q: float, steps: int, delta: float, size: int) -> tuple[float, str]:
    """Epsilon by `auto`, and by what share of it the truth may be less, at most."""
    release = Release(
        noise_scale=sigma, clip_norm=1.0, batch_size=1.0, sampling_rate=q, steps=steps
    )
    spent = epsilon(release, delta)
    for share in SHARES:
        if delta_below(sigma, q, steps, spent * (1 - share), size) > delta:
            return spent, f"{share:.2%}"
    return spent, "not bounded"


def report(regions: Mapping[str, Sequence[Setting]] = REGIONS, size: int = 2000) -> str:
    """Of every setting; the lower bound has windows of about `size` multiples."""
    found = []
    for region, settings in regions.items():
        for sigma, q, steps, delta in settings:
            spent, share = excess(sigma, q, steps, delta, size)
            setting = [f"{sigma:g}", f"{q:.3g}", f"{steps}", f"{delta:g}"]
            found.append([region, *setting, rounded_up(spent, 6), share])
    heading = ["region", "sigma", "q", "T", "delta", "auto", "above the truth by at most"]
    return table(heading, found)


if __name__ == "__main__":
    print(report())
