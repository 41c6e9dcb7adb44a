"""R2: with a proven bound G on every gradient, what does b cost, and what does clipping below G?"""

import math

import pandas as pd
from matplotlib.figure import Figure

from privrobust.reporting.tables import FORMATS, PRESETS
from study.experiment import Experiment
from study.lines import lines_figure
from study.outcomes import ALL_BROKEN, NONE, broken, outcomes, parts, situation
from study.verdicts import Verdict, any_of, judge, untested

_FIELDS = ["aggregator", "target_epsilon", "clip_norm"]


def claims(runs: pd.DataFrame) -> list[Verdict]:
    """At equal epsilon, clipping below the proven bound is better by over a point."""
    found = []
    accuracy = outcomes(runs, _FIELDS)
    lost = broken(accuracy)
    levels = ["aggregator", "target_epsilon", "byzantine"]
    for at, by_c in parts(accuracy, levels):
        method, epsilon, f = at
        limits = [c for c in by_c.index if c != NONE]
        claim = (
            f"{method}, epsilon {epsilon:g}, {situation(f)}: clipping below the bound is better "
            "than the bound by over 1 point"
        )
        if lost.xs(at, level=(0, 1, 3)).all():
            found.append(untested(claim, ALL_BROKEN))
            continue
        found.append(
            any_of(
                claim,
                [
                    judge(f"C = {c:g}", by_c.loc[c] - by_c.loc[NONE], (1, math.inf),
                          comparisons=len(limits))
                    for c in limits
                ],
            )
        )  # fmt: skip
    return found


def table(runs: pd.DataFrame) -> str:
    """Tell the b that each budget allows, then what it leads to."""
    clean = runs[(runs["byzantine"] == 0) & (runs["evaluate_on"] == "test")]
    limit = clean["clip_norm"].where(clean["clip_norm"].notna(), clean["grad_norm_bound"])
    is_bound = clean["grad_norm_bound"].notna()
    names = [
        f"{'bound G' if bound else 'C'} = {c:g}" for c, bound in zip(limit, is_bound, strict=True)
    ]
    b = clean.assign(limit=names).pivot_table("noise_scale", "target_epsilon", "limit", sort=False)
    header = " | ".join(map(str, b.columns))
    rows = [
        "The b that spends each epsilon, for messages of the same batches: it is in proportion to "
        "what bounds a gradient. Conversely, at one b a bound of 2 counts as C = 2 does, whether "
        "or not any gradient comes near it.",
        "",
        f"| epsilon | {header} |",
        "| --- |" + " --- |" * len(b.columns),
        *(
            f"| {epsilon:g} | " + " | ".join(f"{value:.3g}" for value in row) + " |"
            for epsilon, row in zip(b.index, b.to_numpy(), strict=True)
        ),
        "",
    ]
    return "\n".join([*rows, FORMATS["markdown"](PRESETS["trilemma"](runs))])


def figure(runs: pd.DataFrame) -> Figure:
    """Accuracy against epsilon: a panel a method and f, a line the bound or a clipping norm."""
    accuracy = outcomes(runs, _FIELDS).sort_index(level="byzantine", sort_remaining=False)
    accuracy.index = pd.MultiIndex.from_tuples(
        (
            f"{method}, {f'worst, f = {f}' if f else 'clean'}",
            "the bound G" if c == NONE else f"C = {c:g}",
            epsilon,
        )
        for method, epsilon, c, f in accuracy.index
    )
    return lines_figure(accuracy, "privacy budget ε", "accuracy in %", are_shares=True)


EXPERIMENT = Experiment(claims, table, figure)
