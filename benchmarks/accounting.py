"""Seconds for budget tables and calibration, against calling the libraries directly.

One run measures everything, so the ratios compare like with like. "every row its own" has 1,000
different pairs of sigma and q, the worst case for caches; "grid" is 10 b, 5 n, 5 T and 4 delta.
The libraries are timed on 100 (opacus) and 20 (dp-accounting, its default grid) of those rows,
evenly spread, and scaled to 1,000.
"""

import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import dp_accounting as dp
import numpy as np
from opacus.accountants import RDPAccountant
from timing import table

from privrobust.accountants import Release, budget_table, noise_scale
from privrobust.accountants.pld import _composed, _refined_epsilon
from privrobust.accountants.rdp import _divergence

DELTA = 1e-5
DIGITS = Release(noise_scale=0.1, clip_norm=1.0, batch_size=32, dataset_size=95, steps=300)
COMMON: dict[str, Any] = {"clip_norm": 1.0, "batch_size": 32}
GRID: dict[str, Any] = {
    "noise_scale": np.geomspace(0.02, 1, 10).tolist(),
    "dataset_size": [95, 300, 1000, 5000, 60_000],
    "steps": [100, 300, 1000, 3000, 10_000],
    "delta": [1e-5, 1e-6, 1e-7, 1e-8],
}
OWN: dict[str, Any] = {
    "noise_scale": np.geomspace(0.02, 1, 200).tolist(),
    "dataset_size": [95, 300, 1000, 5000, 60_000],
    "steps": 300,
}


def seconds(call: Callable[[], object]) -> float:
    for cache in (_composed, _refined_epsilon, _divergence):
        cache.cache_clear()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def sample(count: int) -> Iterable[Release]:
    """Every so many rows of "every row its own"."""
    rows = [(b, n) for b in OWN["noise_scale"] for n in OWN["dataset_size"]]
    for b, n in rows[:: len(rows) // count]:
        yield Release(noise_scale=b, dataset_size=n, steps=OWN["steps"], **COMMON)


def opacus_rdp(release: Release) -> float:
    accountant = RDPAccountant()
    accountant.history = [(release.noise_multiplier, release.sampling_rate, release.steps)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(accountant.get_epsilon(DELTA))


def library_pld(release: Release) -> float:
    accountant = dp.pld.PLDAccountant().compose(release.dp_event())
    return float(accountant.get_epsilon(DELTA))


def report() -> str:
    budget_table(**COMMON, noise_scale=0.1, dataset_size=95, steps=3)  # imports
    directly = {
        "rdp": 10 * seconds(lambda: [opacus_rdp(r) for r in sample(100)]),
        "pld": 50 * seconds(lambda: [library_pld(r) for r in sample(20)]),
    }
    rows = []
    for name, library in directly.items():
        for title, settings in (("every row its own", OWN), ("grid", GRID)):

            def ours(name: str = name, settings: dict[str, Any] = settings) -> object:
                return budget_table(**COMMON, **settings, accountants=[name])

            taken = seconds(ours)
            compared = (
                [f"{library:.0f} s", f"{library / taken:.0f}"] if settings is OWN else ["", ""]
            )
            rows.append([f"1,000 settings, {name}, {title}", f"{taken:.2f} s", *compared])
    for name in ("pld", "rdp"):
        taken = seconds(lambda name=name: noise_scale(DIGITS, 8.0, DELTA, name))
        rows.append([f"b for epsilon = 8, {name}", f"{taken:.2f} s", "", ""])
    return table(["work", "ours", "the library", "ratio"], rows)


if __name__ == "__main__":
    print(report())
