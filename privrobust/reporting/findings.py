"""What a sweep found, in a few sentences that are computed from its runs.

Rules are compared within one epsilon, on one data, under the worst attack of each, seed by seed, as
`privrobust.reporting.contests` says; `privrobust.reporting.verdicts` has the sentences. What seeds
do not decide is called undecided.
"""

import math
from collections.abc import Sequence

import pandas as pd

from privrobust.reporting.contests import Data, contests
from privrobust.reporting.intervals import TOLD
from privrobust.reporting.legend import FEW_SEEDS, deltas, secrets, unprotected
from privrobust.reporting.neighbours import all_in_short
from privrobust.reporting.phrases import capital, listed, named, reasons
from privrobust.reporting.scaling import about_scaling
from privrobust.reporting.tables.choice import tested
from privrobust.reporting.tuning import about_tuning
from privrobust.reporting.verdicts import best, breaks, cost, meaning

_MOST_ATTACKS = 8
_PROTECTED = {"example": "each example of an honest worker", "worker": "each honest worker"}


def findings(runs: pd.DataFrame) -> list[str]:
    """Say what a sweep found: which rule is best, what noise costs, what breaks, and how surely.

    Args:
        runs: a row a run, as from `Store.runs`; those on validation data are left out where there
            are others.

    Returns:
        A few sentences: what was run, and what failed; which rules may be the best at each epsilon,
        against the most Byzantine workers that some rule withstands there, on the data where rules
        keep least, and what attacks and noise take from them; what breaks; what these words mean,
        and how sure all of it is; what is promised to whom, and what that leaves out.

    """
    if runs.empty:
        return ["No run has finished."]
    every, runs = runs, tested(runs)
    failures = runs["failure"].dropna()
    if len(failures) == len(runs):
        return [f"All {len(runs):,} runs failed: {reasons(failures)}."]
    data = contests(runs)
    return [
        _ran(runs, data, len(every) - len(runs)),
        best(data),
        *cost(data),
        *breaks(data),
        _meaning(data),
        _promise(runs),
    ]


def _ran(runs: pd.DataFrame, data: Sequence[Data], tuning: int) -> str:
    """Say what was run, what failed, and what is lacking for an answer."""
    attacks = sorted(map(str, runs["attack"].dropna().unique()))
    failures, diverged = runs["failure"].dropna(), int(runs["diverged"].fillna(False).sum())
    told = [
        ", ".join(
            listed([named(each) for each in runs[of].unique()]) for of in ("dataset", "model")
        ),
        _workers(runs),
        f"under {listed(attacks, most=_MOST_ATTACKS)}" if attacks else "no attack",
        _seeds(data, "no seeds"),
    ]
    if len(failures):
        told.append(f"{len(failures):,} of {len(runs):,} runs failed ({reasons(failures)})")
    else:
        told.append(f"all of {len(runs):,} runs finished")
    if diverged:
        told.append(f"{diverged:,} of them diverged")
    if tuning:
        told.append(f"{tuning:,} more on validation data, to tune by")
    if (runs["byzantine"] > 0).all():
        told.append("no clean run, without which nothing tells what withstands")
    if fewer := sum(of.faced_fewer for of in data):
        told.append(f"{fewer:,} worst cases are of fewer attacks than others, and not compared")
    if (runs["evaluate_on"] == "validation").all():
        told.append("all on validation data")
    return f"Run: {'; '.join(told)}."


def _counts(data: Sequence[Data]) -> list[int]:
    """Return over how many seeds means are."""
    counts = {
        len(values)
        for of in data
        for each in of.settings
        for values in (
            each.clean.values,
            *(v for f in each.attacked for v in each.attacked[f].values()),
        )
    }
    return sorted(counts - {0})


def _seeds(data: Sequence[Data], none: str) -> str:
    """Say it."""
    counts = _counts(data)
    if not counts:
        return none
    if counts[-1] == 1:
        return "a single seed"
    return f"{' to '.join(map(str, dict.fromkeys((counts[0], counts[-1]))))} seeds"


def _workers(runs: pd.DataFrame) -> str:
    """Say how many workers there were, and of which kind."""
    f = listed([str(f) for f in sorted(runs["byzantine"].unique()) if f], "or", most=_MOST_ATTACKS)
    workers, honest = sorted((runs["honest"] + runs["byzantine"]).unique()), runs["honest"].unique()
    if not f:
        return f"{listed(list(map(str, workers)), 'or')} workers, all honest"
    if len(workers) == 1:
        return f"{workers[0]} workers, f = {f} of them Byzantine"
    beside = f"{honest[0]} honest ones" if len(honest) == 1 else "honest ones"
    return f"f = {f} Byzantine workers beside {beside}"


def _meaning(data: Sequence[Data]) -> str:
    """Say what the words mean, and how sure they are."""
    told, counts = [*meaning(data)], _counts(data)
    if counts[-1:] == [1]:
        told.append("a single seed decides nothing")
    elif counts:
        few = " (few)" if counts[0] < FEW_SEEDS else ""
        told.append(
            f"±: half of a {TOLD} interval over {_seeds(data, '')}{few}; undecided: differences "
            "seed by seed, corrected for their number, leave it open"
        )
    return f"{capital('; '.join(told))}." if told else "No mean is over all of its runs."


def _promise(runs: pd.DataFrame) -> str:
    """Say what epsilon promises to whom, and what that leaves out, or why there is none."""
    finite = runs[runs["epsilon"] < math.inf]
    if finite.empty:
        why = runs["not_private"].dropna().unique()
        return f"Nothing is private: {' or '.join(why) or 'no run has an epsilon'}."
    whom = listed([_PROTECTED.get(unit, unit) for unit in finite["unit"].unique()])
    delta = deltas(finite).replace(", ", " or ")
    estimates = "" if finite["is_upper_bound"].all() else "; after ~ an ESTIMATE alone"
    told = [
        f"Promised to {whom}, against whoever sees every message of one run, the server too: "
        f"(epsilon, {delta})-differential privacy{estimates}; neighbours: {all_in_short(finite)}.",
        *about_tuning(finite["repeats"]),
        *about_scaling(finite, "The"),
        *secrets(finite),
        *unprotected(finite),
    ]
    return " ".join(told)
