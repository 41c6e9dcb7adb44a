"""What Xiang et al. (SIGMOD 2023) report of their rule, and what comes out here, side by side."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from privrobust.core.formatting import rounded_up
from privrobust.reporting.figures.canvas import WIDE, new_figure, styled
from privrobust.reporting.figures.margins import add_legend, add_notes, handles
from privrobust.reporting.figures.panels import draw_band, grid
from privrobust.reporting.figures.themes import looks
from privrobust.reporting.intervals import half_width
from study.experiment import Experiment
from study.outcomes import cell
from study.verdicts import Verdict, judge_two

_FOLDER = Path(__file__).parent.parent
_HONEST, _BATCH = 20, 16
_MARGIN = 1  # point
_REPORTED = "reported"
_CODE, _OURS = "theirs", "ours"

Cells = dict[tuple[int, float, str], pd.Series]
"""Accuracies in %, one a seed, by f, their epsilon, and who or what they are of."""


def reported() -> pd.DataFrame:
    """Return the logs of their repository: test accuracy in % after the last epoch, a row a run.

    Of Fashion-MNIST, iid, without attackers (the mean of the honest) and with label-flip (their
    rule); their sigma goes with their epsilon.
    """
    return pd.read_csv(_FOLDER / "published_xiang_theirs.csv")


def ingredients() -> pd.DataFrame:
    """Return what a rewriting of their code gives, as published_xiang_ingredients.py found it."""
    return pd.read_csv(_FOLDER / "published_xiang_ingredients.csv")


def measured(runs: pd.DataFrame) -> Cells:
    """Return what runs give, those of their sigma with their epsilon; NaN where a run failed."""
    accuracy = 100 * pd.to_numeric(runs["accuracy"], errors="coerce").astype(float)
    fields = ["byzantine", "noise_scale", "aggregator"]
    return {
        (f, their_epsilon(b), rule.partition("(")[0]): seeds
        for (f, b, rule), seeds in _by(fields, runs.assign(accuracy=accuracy))
    }


def their_epsilon(b: float) -> float:
    """Return the epsilon with which they report the noise multiplier of a b, b B at C = 1."""
    known = reported()
    nearest = (known["sigma"] - b * _BATCH).abs().to_numpy().argmin()
    return float(known["epsilon"].iloc[nearest])


def published() -> Cells:
    """Return what they report."""
    by_cell = _by(["byzantine", "epsilon"], reported())
    return {(f, epsilon, _REPORTED): seeds for (f, epsilon), seeds in by_cell}


def rewritten() -> Cells:
    """Return what the rewriting of their code gives."""
    return dict(_by(["byzantine", "epsilon", "ingredients"], ingredients()))


def _by(fields: list[str], rows: pd.DataFrame) -> Iterator[tuple[Any, pd.Series]]:
    """Yield the accuracies of rows that share these fields."""
    for place, some in rows.groupby(fields, sort=False):
        yield place, some["accuracy"]


def answers(f: int) -> str:
    """Return the rule of theirs that is reported for f: the mean where nobody attacks."""
    return "noise_aware" if f else "mean"


def claims(runs: pd.DataFrame) -> list[Verdict]:
    """Claim that all is within a point: ours of theirs, their code's of theirs, ours of both."""
    ours, theirs, code = measured(runs), published(), rewritten()
    found = []
    for f, epsilon, rule in ours:
        if rule == answers(f):
            found.append(
                _alike(
                    f"{_where(f, epsilon)}: {rule} here is within {_MARGIN} point of what they "
                    "report",
                    ours[f, epsilon, rule],
                    theirs[f, epsilon, _REPORTED],
                )
            )
    for f, epsilon, name in code:
        if name == _CODE:
            found.append(
                _alike(
                    f"{_where(f, epsilon)}: their code, rewritten, is within {_MARGIN} point of "
                    "what they report",
                    code[f, epsilon, name],
                    theirs[f, epsilon, _REPORTED],
                )
            )
        if name == _OURS and (f, epsilon, answers(f)) in ours:
            found.append(
                _alike(
                    f"{_where(f, epsilon)}: their code with our ingredients is within {_MARGIN} "
                    f"point of {answers(f)} here",
                    code[f, epsilon, name],
                    ours[f, epsilon, answers(f)],
                )
            )
    return found


def _alike(claim: str, one: pd.Series, other: pd.Series) -> Verdict:
    return judge_two(claim, one, other, (-_MARGIN, _MARGIN), level=0.9)


def _where(f: int, epsilon: float) -> str:
    return f"{_share(f)}, their epsilon {epsilon:g}"


def _share(f: int) -> str:
    return f"{round(100 * f / (f + _HONEST))} % label-flip" if f else "no attack"


def table(runs: pd.DataFrame) -> str:
    """Lay out theirs, ours and the difference; then their code with an ingredient of ours."""
    ours, theirs = measured(runs), published()
    reports_of = {place: theirs[place[0], place[1], _REPORTED] for place in ours}
    spent = dict(zip(map(their_epsilon, runs["noise_scale"]), runs["epsilon"], strict=True))
    rows = [
        "| attack | their epsilon | epsilon | rule here | theirs | ours | ours - theirs |",
        "| --- | ---: | ---: | --- | ---: | ---: | ---: |",
    ]
    for f, epsilon, rule in sorted(ours, key=lambda place: (place[0], place[2], -place[1])):
        seeds = ours[f, epsilon, rule]
        reports = reports_of[f, epsilon, rule]
        told = [
            _share(f), f"{epsilon:g}", rounded_up(float(spent[epsilon]), 4), rule,
            cell(reports), cell(seeds), _difference(seeds, reports),
        ]  # fmt: skip
        rows.append(f"| {' | '.join(told)} |")
    rows += [
        "",
        "Accuracy in % on test data after the last step, ± half of a 95 % interval. Theirs is of "
        f"the logs of their repository, over {_counts(reports_of)} seeds: of the mean without "
        f"attack, else of their rule; ours over {_counts(ours)} seeds. Their epsilon is by RDP; "
        "epsilon is our upper bound for the same noise (one example's contribution set to zero, n "
        "public), at delta = 0.0001497. Both are for batches that are drawn anew each step.",
        "",
        *_by_ingredient(),
    ]
    return "\n".join(rows)


def _by_ingredient() -> list[str]:
    code = rewritten()
    rows = [
        "Their code, rewritten, with ingredients of ours in place of theirs:",
        "",
        "| attack | their epsilon | ingredients | seeds | accuracy | change |",
        "| --- | ---: | --- | ---: | ---: | ---: |",
    ]
    for (f, epsilon, name), seeds in code.items():
        change = "" if name == _CODE else _difference(seeds, code[f, epsilon, _CODE])
        told = [_share(f), f"{epsilon:g}", name, str(seeds.size), cell(seeds), change]
        rows.append(f"| {' | '.join(told)} |")
    rows += [
        "",
        "`python experiments/published_xiang_ingredients.py` measures it.",
    ]
    return rows


def _counts(cells: Cells) -> str:
    return " or ".join(str(count) for count in sorted({seeds.size for seeds in cells.values()}))


def _difference(one: pd.Series, other: pd.Series) -> str:
    found = judge_two("", one, other, (0, 0))
    return f"{found.effect:+.1f} ± {(found.high - found.low) / 2:.1f}"


@styled
def figure(runs: pd.DataFrame) -> Figure:
    """Draw accuracy against their epsilon, theirs and ours: a panel a share of attackers."""
    ours, theirs = measured(runs), published()
    fs = sorted({f for f, _, rule in ours if rule == answers(f)})
    styles = looks([_REPORTED, "here"])
    drawn = new_figure(WIDE, 2.4)
    axes = drawn.subplots(1, len(fs), squeeze=False, sharey=True)[0]
    for panel, f in zip(axes, fs, strict=True):
        for (name, style), cells in zip(styles.items(), (theirs, ours), strict=True):
            rule = _REPORTED if name == _REPORTED else answers(f)
            line = {at: seeds for (of, at, who), seeds in cells.items() if (of, who) == (f, rule)}
            epsilons = sorted(line)
            means = np.array([line[at].mean() for at in epsilons])
            halves = [float(half_width(line[at].std(ddof=1), line[at].size)) for at in epsilons]
            panel.plot(epsilons, means, **style._asdict())
            draw_band(panel, epsilons, means, np.array(halves), style.color)
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(FixedLocator([0.125, 0.25, 0.5, 1, 2]))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.xaxis.set_major_formatter("{x:g}")
        panel.set_title(f"{_share(f)}, {answers(f)}")
        panel.set_xlabel("their epsilon")
        grid(panel)
    axes[0].set_ylabel("accuracy in %")
    add_legend(drawn, handles(styles))
    add_notes(drawn, ["Means over seeds; bands: 95 % Student intervals."])
    return drawn


EXPERIMENT = Experiment(claims, table, figure)
