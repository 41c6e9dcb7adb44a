"""What a sweep found, in a few sentences that are computed from its runs."""

from typing import Any

import pandas as pd

from privrobust.core.formatting import in_percent
from privrobust.reporting.legend import promise
from privrobust.reporting.summary import WORST, summarise
from privrobust.reporting.tables.choice import tested


def findings(runs: pd.DataFrame) -> list[str]:
    """Say in three to five sentences what runs found.

    Args:
        runs: a row a run, as from `Store.runs`.

    """
    if runs.empty:
        return ["No run has finished."]
    runs = tested(runs)
    failed = int(runs["failure"].notna().sum())
    if failed == len(runs):
        return [f"All {failed} runs failed: {runs['failure'].iloc[0]}."]
    summary = summarise(runs)
    whole = summary[summary["failed"] == 0].dropna(subset=["accuracy"])
    attack = whole.index.get_level_values("attack")
    said = []
    for kind, name in (("", "without attackers"), (WORST, "under the worst attack")):
        found = whole[attack == kind]
        if len(found):
            at: Any = found["accuracy"].idxmax()
            best = found.loc[at]
            mean, half = in_percent(best["accuracy"], best["interval"])
            rule = at[summary.index.names.index("aggregator")]
            text = f"{mean} ± {half} %" if half else f"{mean} %"
            said.append(
                f"The most accurate {name} is {rule}: {text}.".replace(
                    " ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}"
                ).replace(" %", "\N{NO-BREAK SPACE}%")
            )
    if failed:
        said.append(f"{failed} of {len(runs)} runs failed.")
    return [*said, *list(promise(runs))[:1]]
