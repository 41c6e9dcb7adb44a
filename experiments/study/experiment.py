"""What an experiment is: the runs of one YAML file, and what is made of them."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from privrobust.reporting.summary import summarise
from study.audited import Audits
from study.verdicts import Verdict


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, with intervals."""
    return summarise(runs).reset_index()


@dataclass(frozen=True)
class Experiment:
    """Functions of a sweep's runs, a row a run, as from `Store.runs`."""

    claims: Callable[[pd.DataFrame], list[Verdict]]
    table: Callable[[pd.DataFrame], str]
    """In Markdown."""
    figure: Callable[[pd.DataFrame], Figure]
    cells: Callable[[pd.DataFrame], pd.DataFrame] = summary
    """All that was measured, for the CSV file."""
    audits: Audits | None = None
    """If runs are audited, not trained: functions then take rows of `audited`, and `cells` keeps
    them all."""
