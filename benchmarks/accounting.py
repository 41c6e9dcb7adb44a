"""Seconds for budget tables and calibration, against calling the libraries directly.

One run measures everything, so the ratios compare like with like. "every row its own" has 1,000
different pairs of sigma and q, the worst case for caches; "grid" is 10 b, 5 n, 5 T and 4 delta.
The libraries are timed on 100 (opacus) and 20 (dp-accounting, its default grid) of those rows,
evenly spread, and scaled to all.
"""

import math
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import dp_accounting as dp
import numpy as np
from opacus.accountants import RDPAccountant
from timing import table

from privrobust.accountants import Release, budget_table, noise_scale

DELTA = 1e-5
DIGITS = Release(noise_scale=0.1, clip_norm=1.0, batch_size=32, dataset_size=95, steps=300)
Settings = dict[str, Any]
COMMON: Settings = {"clip_norm": 1.0, "batch_size": 32}

GRID: Settings = {
    "noise_scale": np.geomspace(0.02, 1, 10).tolist(),
    "dataset_size": [95, 300, 1000, 5000, 60_000],
    "steps": [100, 300, 1000, 3000, 10_000],
    "delta": [1e-5, 1e-6, 1e-7, 1e-8],
}
OWN: Settings = {
    "noise_scale": np.geomspace(0.02, 1, 200).tolist(),
    "dataset_size": [95, 300, 1000, 5000, 60_000],
    "steps": 300,
}


def forget() -> None:
    """Empty every cache of the accountants."""
    for name, module in sys.modules.items():
        if name.startswith("privrobust.accountants"):
            for each in vars(module).values():
                if hasattr(each, "cache_clear"):
                    each.cache_clear()


def seconds(call: Callable[[], object]) -> float:
    forget()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def sample(own: Settings, count: int) -> Iterable[Release]:
    """Every so many rows of "every row its own"."""
    rows = [(b, n) for b in own["noise_scale"] for n in own["dataset_size"]]
    for b, n in rows[:: len(rows) // count]:
        yield Release(noise_scale=b, dataset_size=n, steps=own["steps"], **COMMON)


def size(settings: Settings) -> int:
    """Rows of their table."""
    return math.prod(len(each) for each in settings.values() if isinstance(each, list))


def opacus_rdp(release: Release) -> float:
    accountant = RDPAccountant()
    accountant.history = [(release.noise_multiplier, release.sampling_rate, release.steps)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(accountant.get_epsilon(DELTA))


def library_pld(release: Release) -> float:
    accountant = dp.pld.PLDAccountant().compose(release.dp_event())
    return float(accountant.get_epsilon(DELTA))


def directly(call: Callable[[Release], float], own: Settings, count: int) -> float:
    """Seconds of the library called on every row, from so many of them."""
    taken = seconds(lambda: [call(release) for release in sample(own, count)])
    return taken * size(own) / count


def report(
    own: Settings = OWN, grid: Settings = GRID, opacus_rows: int = 100, pld_rows: int = 20
) -> str:
    budget_table(**COMMON, noise_scale=0.1, dataset_size=95, steps=3)  # imports
    libraries = {
        "rdp": directly(opacus_rdp, own, opacus_rows),
        "pld": directly(library_pld, own, pld_rows),
    }
    rows = []
    for name, library in libraries.items():
        for title, settings in (("every row its own", own), ("grid", grid)):
            taken = seconds(partial(budget_table, **COMMON, **settings, accountants=[name]))
            compared = (
                [f"{library:.0f} s", f"{library / taken:.0f}"] if settings is own else ["", ""]
            )
            what = f"{size(settings):,} settings, {name}, {title}"
            rows.append([what, f"{taken:.2f} s", *compared])
    for name in ("pld", "rdp"):
        taken = seconds(partial(noise_scale, DIGITS, 8.0, DELTA, name))
        rows.append([f"b for epsilon = 8, {name}", f"{taken:.2f} s", "", ""])
    return table(["work", "ours", "the library", "ratio"], rows)


if __name__ == "__main__":
    print(report())
