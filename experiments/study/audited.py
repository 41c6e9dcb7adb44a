"""Audits in place of runs: what observers get out of each run of a sweep."""

import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.progress import track

from privrobust.audit import audits
from privrobust.audit.verdict import STATEMENTS
from privrobust.audit.watching import OBSERVERS
from privrobust.core.files import write_whole
from privrobust.reporting.audits import audit_frame
from privrobust.spec import RunSpec
from privrobust.store.rows import versions
from privrobust.sweeps.grid import Sweep

CONFIDENCE = 0.95
"""Of each bound by itself."""


@dataclass(frozen=True)
class Audits:
    """What an audit of one run trains: so many like it, with so many canaries in each."""

    runs: int
    canaries: int


def audited(sweep: Sweep, asked: Audits, kept: Path) -> pd.DataFrame:
    """Audit every run of a sweep for every observer.

    A run's seed is that of its audit, and its Byzantine workers are helpers. Who sees every message
    has no use for them, and looks where there are none.

    Args:
        sweep: one that does not tune.
        asked: what each audit trains.
        kept: a CSV file, written after each audit: those that it has are not made again.

    Returns:
        A row a run and observer, as `audit_frame` has them, with `honest`, `seed`, `key`,
        `versions`, and `seconds` of processor time.

    """
    specs, found = sweep.runs(), _kept(kept, asked)
    for spec in track(specs, "audits", console=Console(stderr=True)):
        if spec.key not in found:
            found[spec.key] = _audit(spec, asked)
            done = pd.concat([found[each.key] for each in specs if each.key in found])
            write_whole(done.to_csv(index=False, float_format="%.6g").encode(), kept)
    found = _kept(kept, asked)  # with the digits that they have the next time
    return pd.concat([found[spec.key] for spec in specs], ignore_index=True)


def _kept(path: Path, asked: Audits) -> dict[str, pd.DataFrame]:
    """Return rows by key."""
    if not path.exists():
        return {}
    rows = pd.read_csv(path, dtype={"key": str})
    rows = rows[(rows["runs"] == asked.runs) & (rows["per_run"] == asked.canaries)]
    return {str(key): of_run for key, of_run in rows.groupby("key")}


def _audit(spec: RunSpec, asked: Audits) -> pd.DataFrame:
    observers = [each for each in OBSERVERS if each != "messages" or not spec.byzantine]
    started = time.process_time()
    found = audits(
        [spec],
        observers,
        helpers=spec.byzantine,
        runs=asked.runs,
        per_run=asked.canaries,
        confidence=1 - (1 - CONFIDENCE) * STATEMENTS * len(observers),  # of all of them together
        seed=spec.seed,
    )
    seconds = (time.process_time() - started) / len(found)
    return audit_frame(found).assign(
        honest=spec.honest,
        seed=spec.seed,
        key=spec.key,
        versions=versions(),
        seconds=seconds,
    )
