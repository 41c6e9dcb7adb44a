"""What was measured of single steps, beside what theory bounds it by."""

import math
from typing import Any

import pandas as pd

from privrobust.core.formatting import number, percent
from privrobust.errors import SpecError
from privrobust.reporting.summary import row_fields, without_gaps
from privrobust.reporting.tables.table import Column, Entry, Layout
from privrobust.spec.run_fields import heading

_NOTES = (
    "kappa: |aggregate - mean|² over the mean |gᵢ - mean|² of honest messages as they are sent, "
    "its largest over measured steps, attacks and seeds; its bound: whatever Byzantine workers "
    "send.",
    "error: |aggregate - mean|² of honest gradients before noise, mean over measured steps and "
    "seeds, under the attack where it is largest; noise alone: that of the mean of honest "
    "messages; its bound: of the expectation, by settings alone.",
    "share: of the bound, in %. Empty: nothing is proven of the rule, workers send signs, keep a "
    "momentum or take noisy local steps, or gradients have no bound.",
)
_ROUNDING = 1e-9  # of messages of about 1: what is less is 0


def theory(runs: pd.DataFrame) -> Layout:
    """Compare kappa and the error of a step with what theory bounds them by."""
    runs = without_gaps(
        runs[runs["failure"].isna()].assign(attack=lambda of: of["attack"].fillna(""))
    )
    if runs.empty or runs["error"].isna().all():
        raise SpecError(
            "preset: theory: no run of this store has an error of steps; those of results version "
            "10 and before have none, and signs neither"
        )
    told = row_fields(runs)
    rows = []
    at: Any  # pandas knows nothing of what an index holds
    for at, alike in runs.groupby([*told, "byzantine"], sort=False):
        by_attack = alike.groupby("attack", dropna=False)["error"].mean()
        kappa, kappa_bound = alike["kappa"].max(), alike["kappa_bound"].max()
        error, error_bound = by_attack.max(), alike["error_bound"].max()
        rows.append(
            [
                *(Entry(number(value)) for value in at),
                *map(_digits, (kappa, kappa_bound)),
                _share(kappa, kappa_bound),
                *map(_digits, (error, alike["error_of_mean"].max(), error_bound)),
                _share(error, error_bound),
            ]
        )
    heads = [Column((heading(name),), is_text=True) for name in (*told, "byzantine")]
    heads += [Column(head) for head in (("kappa",), ("kappa", "bound"), ("kappa", "share"))]
    heads += [Column(("error",)), Column(("noise", "alone"))]
    heads += [Column(head) for head in (("error", "bound"), ("error", "share"))]
    return Layout(heads, [rows], list(_NOTES))


def _digits(value: float) -> Entry:
    if math.isnan(value):
        return Entry()
    return Entry("∞" if math.isinf(value) else f"{value:.3g}" if value > _ROUNDING else "0")


def _share(value: float, bound: float) -> Entry:
    return Entry(percent(value / bound) if 0 < bound < math.inf else "")
