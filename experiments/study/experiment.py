"""What an experiment is: the runs of one YAML file, and what is made of them."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from study.verdicts import Verdict


@dataclass(frozen=True)
class Experiment:
    """Three functions of a sweep's runs, a row a run, as from `Store.runs`."""

    claims: Callable[[pd.DataFrame], list[Verdict]]
    table: Callable[[pd.DataFrame], str]
    """In Markdown."""
    figure: Callable[[pd.DataFrame], Figure]
