"""Whether clipping and noise remove backdoors, and whether noise opens a rule that withstood them."""

import math
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from privrobust.reporting.tables import FORMATS, lay_out
from study.experiment import Experiment
from study.lines import lines_figure
from study.outcomes import NONE, outcomes
from study.verdicts import HOLDS, Verdict, all_of, any_of, judge, untested

_FIELDS = ["aggregator", "clip_norm", "noise_scale"]
_CONTROL = "backdoor(share=0.0)"
_TRIGGERS = ["backdoor", "backdoor(boost=5.0)"]
_TAIL = "edge_case(tail=0.25)"
_CLIP_NORM = 1.0
_REMOVED = 10  # points of success above the control that count as none
_AFFORDED = 5  # points of clean accuracy


def successes(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the attack success rate in % of every run under attack.

    Args:
        runs: a row a run, as from `Store.runs`.

    Returns:
        Indexed by rule, C ("none" without), b, f and attack, a column a seed; NaN where a run
        failed.

    """
    attacked = runs[runs["byzantine"] > 0]
    known = attacked.assign(
        success=100 * pd.to_numeric(attacked["attack_success_rate"], errors="coerce").astype(float),
        clip_norm=attacked["clip_norm"].astype(object).where(attacked["clip_norm"].notna(), NONE),
    )
    levels = [*_FIELDS, "byzantine", "attack"]
    return known.set_index([*levels, "seed"])["success"].unstack("seed")


def claims(runs: pd.DataFrame) -> list[Verdict]:
    """For each rule, f and boost: what clipping and noise do to the success of a trigger."""
    success, accuracy = successes(runs), outcomes(runs, _FIELDS)
    controls = success.xs(_CONTROL, level="attack")
    clean = accuracy.xs(0, level="byzantine")
    noises = sorted(b for b in clean.index.unique("noise_scale") if b)
    found = []
    for rule in clean.index.unique("aggregator"):
        for f in controls.index.unique("byzantine"):
            for attack in _TRIGGERS:
                excess = (success.xs(attack, level="attack") - controls).loc[rule]
                of_f = excess.xs(f, level="byzantine")
                found += _judged(f"{rule}, f = {f}, {attack}", of_f, clean.loc[rule], noises)
    return found


def _judged(
    setting: str, excess: pd.DataFrame, clean: pd.DataFrame, noises: list[float]
) -> list[Verdict]:
    """Judge one rule, f and attack, by success above the control and clean accuracy at (C, b)."""
    bare, clipped = (NONE, 0.0), (_CLIP_NORM, 0.0)

    def of(frame: pd.DataFrame, at: Any) -> pd.Series:
        seeds: pd.Series = frame.loc[at]
        return seeds

    works = judge(
        f"{setting}: without clipping and noise the backdoor works",
        of(excess, bare),
        (_REMOVED, math.inf),
    )
    removals = {
        f"{setting}: clipping removes it": lambda claim: judge(
            claim, of(excess, clipped), (-math.inf, _REMOVED)
        ),
        f"{setting}: clipping and some noise remove it for under {_AFFORDED} points of accuracy": (
            lambda claim: any_of(
                claim,
                [
                    all_of(
                        f"b = {b:g}",
                        [
                            judge(
                                "success above the control",
                                of(excess, (_CLIP_NORM, b)),
                                (-math.inf, _REMOVED),
                                comparisons=len(noises),
                            ),
                            judge(
                                "accuracy gained",
                                of(clean, (_CLIP_NORM, b)) - of(clean, bare),
                                (-_AFFORDED, math.inf),
                                comparisons=len(noises),
                            ),
                        ],
                    )
                    for b in noises
                ],
            )
        ),
    }
    told = [
        removal(claim) if works.outcome == HOLDS else untested(claim, "there is none to remove")
        for claim, removal in removals.items()
    ]
    opened = any_of(
        f"{setting}: some noise opens it by over {_REMOVED} points",
        [
            judge(
                f"b = {b:g}",
                of(excess, (_CLIP_NORM, b)) - of(excess, clipped),
                (_REMOVED, math.inf),
                comparisons=len(noises),
            )
            for b in noises
        ],
    )
    return [works, *told, opened]


def table(runs: pd.DataFrame) -> str:
    """Tell success and clean accuracy by rule, C and b."""
    layout = lay_out(
        runs, ("epsilon", "clean", "success"), rows=["aggregator", "clip_norm", "noise_scale"]
    )
    return f"{FORMATS['markdown'](layout)}\n{_FEW}"


_FEW = (
    "`edge_case` is measured on the few held-out digits of the tail, a step of its success rate being "
    "one of them: it is shown, and not judged."
)


def figure(runs: pd.DataFrame) -> Figure:
    """Success against b at C = 1: a panel a rule and f, a line an attack, and clean accuracy."""
    success = successes(runs).xs(_CLIP_NORM, level="clip_norm")
    clean = outcomes(runs, _FIELDS).xs((_CLIP_NORM, 0), level=("clip_norm", "byzantine"))
    lines = {
        _TRIGGERS[0]: "trigger",
        _TRIGGERS[1]: "trigger, boosted",
        _TAIL: "edge case",
        _CONTROL: "trigger, not trained on",
    }
    kept = success[success.index.get_level_values("attack").isin(list(lines))]
    values = {
        (f"{rule}, f = {f}", lines[attack], b): kept.loc[(rule, b, f, attack)]
        for rule, b, f, attack in kept.index
    }
    for rule, b in clean.index:
        for f in kept.index.unique("byzantine"):
            values[f"{rule}, f = {f}", "clean accuracy", b] = clean.loc[(rule, b)]
    drawn = pd.DataFrame.from_dict(values, orient="index")
    drawn.index = pd.MultiIndex.from_tuples(drawn.index)
    return lines_figure(drawn, "noise scale b", "attack success in %", ["Clipping norm C = 1."])


EXPERIMENT = Experiment(claims, table, figure)
