"""Whether clipping and noise remove backdoors, and whether noise opens rules to them.

That noise opens rules was seen in the results of seeds 0 to 4; seeds 5 to 9 judge it. The table,
the figure and all other claims are of the first five.
"""

import math

import pandas as pd
from matplotlib.figure import Figure

from privrobust.reporting.tables import FORMATS, lay_out
from study.experiment import Experiment, summary
from study.lines import lines_figure
from study.outcomes import NONE, outcomes, seeds_at
from study.verdicts import HOLDS, Verdict, all_of, any_of, judge, untested

_FIELDS = ["aggregator", "clip_norm", "noise_scale"]
_CONTROL = "backdoor(share=0.0)"
_TRIGGERS = ["backdoor", "backdoor(boost=5.0)"]
_TAIL = "edge_case(tail=0.25)"
_CLIP_NORM = 1.0
_REMOVED = 10  # points of success above the control that count as none
_AFFORDED = 5  # points of clean accuracy
_SUGGESTED = 5  # seeds from this one on judge the claim that those before it suggested
_FEW = (
    "The tail of `edge_case` holds few of the held-out digits, and its success rate moves in steps "
    "of one of them: it is shown, and not judged."
)


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
    first, fresh = _apart(runs)
    success, accuracy = successes(first), outcomes(first, _FIELDS)
    controls = success.xs(_CONTROL, level="attack")
    anew = successes(fresh)
    clean = accuracy.xs(0, level="byzantine")
    noises = sorted(b for b in clean.index.unique("noise_scale") if b)
    found = []
    for rule in clean.index.unique("aggregator"):
        for f in controls.index.unique("byzantine"):
            for attack in _TRIGGERS:
                excess = (success.xs(attack, level="attack") - controls).loc[rule]
                of_f = excess.xs(f, level="byzantine")
                setting = f"{rule}, f = {f}, {attack}"
                found += _judged(setting, of_f, clean.loc[rule], noises)
                of_fresh = {
                    b: seeds_at(anew, rule, _CLIP_NORM, b, f, attack)
                    - seeds_at(anew, rule, _CLIP_NORM, b, f, _CONTROL)
                    for b in (0.0, *noises)
                    if len(anew)
                }
                found.append(_opened(setting, of_fresh))
    return found


def _apart(runs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the runs of the first seeds, and those that only judge whether noise opens a rule."""
    is_first = runs["seed"] < _SUGGESTED
    return runs[is_first], runs[~is_first]


def _judged(
    setting: str, excess: pd.DataFrame, clean: pd.DataFrame, noises: list[float]
) -> list[Verdict]:
    """Judge one rule, f and attack, by success above the control and clean accuracy at (C, b)."""
    bare, clipped = seeds_at(excess, NONE, 0.0), seeds_at(excess, _CLIP_NORM, 0.0)
    works = judge(
        f"{setting}: without clipping and noise the backdoor works", bare, (_REMOVED, math.inf)
    )
    by_clipping = f"{setting}: clipping removes it"
    by_noise = f"{setting}: clipping and noise remove it for under {_AFFORDED} points of accuracy"
    if works.outcome == HOLDS:
        removed = [
            judge(by_clipping, clipped, (-math.inf, _REMOVED)),
            any_of(by_noise, [_removed_at(b, excess, clean, len(noises)) for b in noises]),
        ]
    else:
        removed = [untested(claim, "there is none to remove") for claim in (by_clipping, by_noise)]
    return [works, *removed]


def _opened(setting: str, excess: dict[float, pd.Series]) -> Verdict:
    """Judge by success above the control at C = 1, by b, of seeds that did not suggest it."""
    claim = f"{setting}: some noise opens it by over {_REMOVED} points, on fresh seeds"
    if not excess:
        return untested(claim, f"there are no seeds from {_SUGGESTED} on")
    without, *noises = sorted(excess)
    return any_of(
        claim,
        [
            judge(
                f"b = {b:g}",
                excess[b] - excess[without],
                (_REMOVED, math.inf),
                comparisons=len(noises),
            )
            for b in noises
        ],
    )


def _removed_at(b: float, excess: pd.DataFrame, clean: pd.DataFrame, comparisons: int) -> Verdict:
    """Judge whether little success and most of the accuracy are left at this b."""
    gained = seeds_at(clean, _CLIP_NORM, b) - seeds_at(clean, NONE, 0.0)
    success = seeds_at(excess, _CLIP_NORM, b)
    parts = {
        "success above the control": (success, (-math.inf, _REMOVED)),
        "accuracy gained": (gained, (-_AFFORDED, math.inf)),
    }
    return all_of(
        f"b = {b:g}",
        [
            judge(name, sample, accepted, comparisons=comparisons)
            for name, (sample, accepted) in parts.items()
        ],
    )


def table(runs: pd.DataFrame) -> str:
    """Tell success and clean accuracy by rule, C and b."""
    first, _ = _apart(runs)
    layout = lay_out(
        first, ("epsilon", "clean", "success"), rows=["aggregator", "clip_norm", "noise_scale"]
    )
    return f"{FORMATS['markdown'](layout)}\n{_FEW}"


def figure(runs: pd.DataFrame) -> Figure:
    """Success against b at C = 1: a panel a rule and f, a line an attack, and clean accuracy."""
    first, _ = _apart(runs)
    success = successes(first).xs(_CLIP_NORM, level="clip_norm")
    clean = outcomes(first, _FIELDS).xs((_CLIP_NORM, 0), level=("clip_norm", "byzantine"))
    lines = {
        _TRIGGERS[0]: "trigger",
        _TRIGGERS[1]: "trigger, boosted",
        _TAIL: "edge case",
        _CONTROL: "control",
    }
    kept = success[success.index.get_level_values("attack").isin(list(lines))]
    values = {
        (f"{rule}, f = {f}", lines[attack], b): seeds_at(kept, rule, b, f, attack)
        for rule, b, f, attack in kept.index
    }
    for rule, b in clean.index:
        for f in kept.index.unique("byzantine"):
            values[f"{rule}, f = {f}", "clean accuracy", b] = seeds_at(clean, rule, b)
    drawn = pd.DataFrame.from_dict(values, orient="index")
    drawn.index = pd.MultiIndex.from_tuples(drawn.index)
    return lines_figure(
        drawn,
        "noise scale b",
        "success, accuracy in %",
        ["Clipping norm C = 1. Control: the trigger, where nobody has trained on it."],
        grey="without noise",
        are_shares=True,
    )


def cells(runs: pd.DataFrame) -> pd.DataFrame:
    """Means over the first seeds, and over those that judge whether noise opens a rule."""
    kinds = zip(("first", "fresh"), _apart(runs), strict=True)
    return pd.concat([summary(part).assign(of=kind) for kind, part in kinds if len(part)])


EXPERIMENT = Experiment(claims, table, figure, cells)
