"""How a summary becomes rows and columns of text, whatever it is then written as."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import pandas as pd

from privrobust.core.formatting import number, rounded_up
from privrobust.errors import SpecError, unknown_name
from privrobust.reporting.legend import (
    BREAKDOWN_NOTE,
    DIVERGED,
    FEW,
    FEW_SEEDS,
    FEWER_ATTACKS,
    FEWER_NOTE,
    GAP_NOTE,
    NEAR_CHANCE,
    SUCCESS_NOTE,
    about_chance,
    breakdown_text,
    epsilon_marks,
    gap_text,
    legend,
    most_tried,
)
from privrobust.reporting.metrics import ACCURACY, METRICS, checked, interval_of
from privrobust.reporting.robustness import breakdown, robustness
from privrobust.reporting.scaling import SCALED, is_scaled
from privrobust.reporting.summary import WORST, Row, setting_levels, summarise
from privrobust.reporting.tables.table import Attacks, Column, Entry, Layout
from privrobust.spec.run_fields import heading, named

SHOWN = ("epsilon", "clean", "attacks", "worst", "success", "gap", "breakdown")
"""What a table can show of a setting; the first five by default, success where there is any."""

# Rows that agree in all else are compared.
_COMPARED = {"epsilon", *named(lambda field: field.is_compared)}


@dataclass(frozen=True)
class _Measure:
    """A column of `SHOWN`, perhaps at one f and under one attack, and of one of several metrics."""

    shown: str
    byzantine: int = 0
    attack: str = ""
    metric: str = ""

    def header(self) -> tuple[str, ...]:
        """Return what stands above the column."""
        of = (self.metric,) if self.metric else ()
        if self.shown in ("epsilon", "clean"):
            return (self.shown, *of)
        if self.shown == "breakdown":
            return ("breakdown",)
        name = self.attack if self.shown in ("attacks", "success") else self.shown
        of = ("success",) if self.shown == "success" else of
        return (f"f={self.byzantine}", name, *of)

    def place(self) -> tuple[int, int, int]:
        """Return a key: epsilon, clean, then f by f what attacks leave, the worst, success, gap."""
        order = SHOWN.index(self.shown)
        last = len(SHOWN) if self.shown == "breakdown" else 0
        return (last, self.byzantine, order)


Measured = dict[_Measure, Entry]
_NOTES = {"gap": GAP_NOTE, "breakdown": BREAKDOWN_NOTE}


def lay_out(
    runs: pd.DataFrame,
    shows: Iterable[str] | None = None,
    rows: Sequence[str] = (),
    across: Sequence[str] = (),
    metrics: Sequence[str] = ACCURACY,
) -> Layout:
    """Make a table of accuracies, or of other metrics.

    Nothing but seeds is averaged over: fields that vary and are named nowhere become rows.

    Args:
        runs: a row a run, as from `Store.runs`, at least one.
        shows: of `SHOWN`; without, what there is of the first five. A note says why one of these is
            not there.
        rows: the fields that come first, in this order.
        across: fields that are spread over columns; `epsilon` is one, too.
        metrics: of `privrobust.reporting.metrics.METRICS`. The first decides which attack is the
            worst, and the others are shown under the same.

    Raises:
        SpecError: nothing of that name can be shown, or is a field that varies, or a metric; or
            the gap or breakdown point is asked for of several metrics; or nothing is there of what
            is to be shown.

    """
    is_asked, shows, metrics = shows is not None, list(shows or SHOWN[:5]), checked(metrics)
    for name in shows:
        if name not in SHOWN:
            raise unknown_name("show", name, SHOWN)
        if name in ("gap", "breakdown") and len(metrics) > 1:
            raise SpecError(f"show: {name} with {len(metrics)} metrics; accepted: with one metric")
    if runs.empty:
        raise SpecError("runs: there are none to make a table of")
    summary = summarise(runs, metrics)
    lacking = {name: why for name in shows if (why := _why_not(name, summary))}
    if len(lacking) == len(shows):
        reasons = "; ".join(f"{name}: {why}" for name, why in lacking.items())
        raise SpecError(f"show: there is nothing to show ({reasons})")
    shows = [name for name in shows if name not in lacking]
    epsilons = _epsilons(runs, summary)
    measured = _measured(runs, summary, set(shows), epsilons, metrics)
    values = pd.DataFrame(list(measured), columns=setting_levels(summary), dtype=object)
    values["epsilon"] = list(epsilons.values())
    for name in (*rows, *across):
        if name not in values:
            raise unknown_name("rows, columns", name, map(str, values))
    told = _row_fields(values, rows, across)
    notes = list(legend(runs, summary, metrics))
    notes += [told for name, told in _NOTES.items() if name in shows]
    if any(NEAR_CHANCE in entry.text for each in measured.values() for entry in each.values()):
        notes.append(about_chance(summary))
    if "success" in shows:
        notes.append(SUCCESS_NOTE)
    if is_asked:
        notes += [f"{name}: {why}." for name, why in lacking.items()]
    return _arranged(values, list(measured.values()), told, across, notes)


def _why_not(name: str, summary: pd.DataFrame) -> str:
    """Say why there is nothing of this to show; nothing where there is."""
    attacks = set(summary.index.get_level_values("attack"))
    if name == "success" and summary["attack_success_rate"].isna().all():
        return "no run has an attack with a goal of its own, such as a backdoor"
    if name in ("clean", "gap", "breakdown") and "" not in attacks:
        return "no run is without attackers"
    if name in ("attacks", "worst", "gap", "breakdown") and attacks == {""}:
        return "no run has attackers"
    return ""


def _row_fields(values: pd.DataFrame, rows: Sequence[str], across: Sequence[str]) -> list[str]:
    """Return those that are asked for, then those still needed to tell settings apart."""
    told = list(rows)
    usual = [str(name) for name in values if name not in {*told, *across, "epsilon"}]
    if not rows and not across:
        return usual
    for name in usual:
        told_apart = (
            values.groupby([*told, *across], dropna=False)[name] if [*told, *across] else None
        )
        if told_apart is None or told_apart.nunique(dropna=False).max() > 1:
            told.append(name)
    return told or usual[:1]


def _epsilons(runs: pd.DataFrame, summary: pd.DataFrame) -> dict[Row, str]:
    """Write the epsilon of every setting."""
    marks = epsilon_marks(runs)
    settings = summary.groupby(level=setting_levels(summary), sort=False)
    spent = settings["epsilon"].max()
    told = zip(
        spent,
        settings["not_private"].first(),
        settings["is_upper_bound"].min(),
        settings["scaled_by_data"].max(),
        strict=True,
    )
    return {at: _epsilon_text(*each, marks) for at, each in zip(spent.index, told, strict=True)}


def _measured(
    runs: pd.DataFrame,
    summary: pd.DataFrame,
    shows: set[str],
    epsilons: dict[Row, str],
    metrics: Sequence[str],
) -> dict[Row, Measured]:
    """Return every setting, and what there is to show of it."""
    found: dict[Row, Measured] = {setting: {} for setting in epsilons}
    faced = _faced(summary)
    named = {name: METRICS[name].heading if len(metrics) > 1 else "" for name in metrics}
    at: Any  # pandas knows nothing of what an index holds
    for at, row in zip(summary.index, summary.to_dict("records"), strict=True):
        *setting, byzantine, attack = at
        kind = "clean" if not attack else "worst" if attack == WORST else "attacks"
        for metric, heading_of in named.items() if kind in shows else ():
            under = attack if kind == "attacks" else ""
            measure = _Measure(kind, int(byzantine), under, heading_of)
            entry = metric_entry(row, metric)
            if kind == "worst":
                entry = replace(entry, attacks=faced[*setting, byzantine])
            found[tuple(setting)][measure] = entry
        if "success" in shows and kind == "attacks" and not math.isnan(row["attack_success_rate"]):
            measure = _Measure("success", int(byzantine), attack)
            found[tuple(setting)][measure] = _success_entry(row)
    if "epsilon" in shows:
        for setting, text in epsilons.items():
            found[setting][_Measure("epsilon")] = Entry(text)
    if "gap" in shows:
        measured = robustness(runs, metrics[0])
        for at, row in zip(measured.index, measured.to_dict("records"), strict=True):
            text = "failed" if row["failed"] else gap_text(row, metrics[0])
            found[at[:-1]][_Measure("gap", int(at[-1]))] = Entry(text, attacks=faced[at])
    if "breakdown" in shows:
        tried = most_tried(summary)
        points = breakdown(runs, metric=metrics[0])
        for at, row in zip(points.index, points.to_dict("records"), strict=True):
            entry = Entry(breakdown_text(row, tried[at]), attacks=faced.get(at, Attacks()))
            found[at][_Measure("breakdown")] = entry
    return found


def _faced(summary: pd.DataFrame) -> dict[Row, Attacks]:
    """Return the attacks that every setting was run under: at each f, and at all of them."""
    faced: dict[Row, set[tuple[int, str]]] = defaultdict(set)
    for *setting, byzantine, attack in summary.index:
        if attack not in ("", WORST):
            for at in ((*setting, byzantine), tuple(setting)):
                faced[at].add((byzantine, attack))
    return {at: frozenset(attacks) for at, attacks in faced.items()}


def _arranged(
    values: pd.DataFrame,
    measured: list[Measured],
    told: list[str],
    across: Sequence[str],
    notes: list[str],
) -> Layout:
    over = list(dict.fromkeys(zip(*(values[name] for name in across), strict=True))) or [()]
    measures = sorted(dict.fromkeys(m for each in measured for m in each), key=_Measure.place)
    columns = [(spread, measure) for spread in over for measure in measures]
    lines: dict[Row, dict[Any, Entry]] = {}
    for place, entries in enumerate(measured):
        row = values.iloc[place]
        spread = tuple(row[name] for name in across)
        line = lines.setdefault(tuple(row[name] for name in told), {})
        line |= {(spread, measure): entry for measure, entry in entries.items()}
    columns = [column for column in columns if any(column in line for line in lines.values())]
    ordered = _in_order(list(lines))
    marked = _marked(ordered, lines, columns, told)
    blocks = [
        [[*(Entry(number(value)) for value in at), *marked[at]] for at in block]
        for _, block in groupby(ordered, key=lambda at: at[: min(2, len(at) - 1)])
    ]
    has_worst = any(measure.shown == "worst" for _, measure in columns)
    heads = [Column((heading(name),), is_text=True) for name in told]
    heads += [
        Column(
            (
                *(f"{name} {_shortest(value)}" for name, value in zip(across, at, strict=True)),
                *measure.header(),
            ),
            detail="single attacks" if measure.shown == "attacks" and has_worst else "",
        )
        for at, measure in columns
    ]
    if any(FEWER_ATTACKS in entry.text for line in marked.values() for entry in line):
        notes = [*notes, FEWER_NOTE]
    return Layout(heads, blocks, notes)


def _shortest(value: object) -> str:
    """Shorten epsilons, which come rounded up to so many digits: of 1.00 a title needs 1."""
    text = number(value)
    return text.rstrip("0").rstrip(".") if text.replace(".", "").isdigit() and "." in text else text


def _marked(
    ordered: list[Row], lines: dict[Row, dict[Any, Entry]], columns: list[Any], told: list[str]
) -> dict[Row, list[Entry]]:
    """Compare entries of each column with those of rows on the same data, row by row."""
    groups: dict[Row, list[Row]] = defaultdict(list)
    for at in ordered:
        groups[peers_of(told, at)].append(at)
    marked: dict[Row, list[Entry]] = {at: [] for at in ordered}
    for column in columns:
        for peers in groups.values():
            entries = compared([lines[at].get(column, Entry()) for at in peers])
            for at, entry in zip(peers, entries, strict=True):
                marked[at].append(entry)
    return marked


def peers_of(told: Iterable[str], at: Iterable[Any]) -> Row:
    """Return what a row shares with those that it is compared with: its data and workers.

    Args:
        told: the fields that tell rows apart.
        at: the row's values of them.

    """
    return tuple(value for name, value in zip(told, at, strict=True) if name not in _COMPARED)


def compared(entries: Sequence[Entry]) -> list[Entry]:
    """Mark the best, if they differ, and what lacks attacks of others, which never is.

    Nor is what is not clearly above chance: where that has the best score, nothing is marked.
    """
    every = Attacks().union(*(entry.attacks for entry in entries))
    entries = [
        _lacking(entry) if entry.attacks and entry.attacks != every else entry for entry in entries
    ]
    scores = {entry.score for entry in entries if not math.isnan(entry.score)}
    best = max(scores) if len(scores) > 1 else None
    return [replace(each, is_best=each.is_learnt and each.score == best) for each in entries]


def _lacking(entry: Entry) -> Entry:
    mean, sign, half = entry.text.partition("±")
    return replace(entry, text=f"{mean}{FEWER_ATTACKS}{sign}{half}", score=math.nan)


def _in_order(rows: list[Row]) -> list[Row]:
    """Sort field by field, the values of a field in the order of their first appearance."""
    ranks = [
        {value: rank for rank, value in enumerate(dict.fromkeys(field))}
        for field in zip(*rows, strict=True)
    ]
    return sorted(
        rows, key=lambda row: [rank[value] for rank, value in zip(ranks, row, strict=True)]
    )


def metric_entry(row: Mapping[Any, Any], metric: str = "accuracy") -> Entry:
    """Write mean and half-width, rounded by that, and mark what is wrong with it."""
    if row["failed"]:
        return Entry("failed")
    mark = DIVERGED if row["diverged"] else ""
    mean, how = row[metric], METRICS[metric]
    if math.isnan(mean):
        return Entry(mark)
    mark += FEW if row["seeds"] < FEW_SEEDS else ""
    text, half = how.text(mean, row[interval_of(metric)])
    score = how.score(mean) if how.is_compared else math.nan
    return Entry(f"{text}{mark}±{half}" if half else f"{text}{mark}", score, bool(row["learnt"]))


def _success_entry(row: Mapping[Any, Any]) -> Entry:
    """Write how often an attack got its way, as accuracies are; no row is the best at that.

    A model that has learnt nothing obeys no attacker either.
    """
    rate = {"accuracy": row["attack_success_rate"], "interval": row["attack_success_interval"]}
    return Entry(metric_entry({**row, **rate}, "accuracy").text)


def epsilon_text(of_setting: pd.DataFrame, marks: dict[str, str]) -> str:
    """Write the largest epsilon to three digits, rounded up: it still is an upper bound."""
    reasons = of_setting["not_private"].dropna()
    reason = reasons.iloc[0] if len(reasons) else None
    scaled = of_setting.get("scaled_by_data")
    if scaled is None:  # of runs, not of their summary
        scaled = is_scaled(of_setting["dataset"])
    return _epsilon_text(
        of_setting["epsilon"].max(),
        reason,
        bool(of_setting["is_upper_bound"].all()),
        bool(scaled.any()),
        marks,
    )


def _epsilon_text(
    epsilon: float, reason: object, is_bound: bool, scaled: bool, marks: dict[str, str]
) -> str:
    if isinstance(reason, str):
        return f"∞{marks[reason]}"
    if math.isnan(epsilon):
        return ""
    estimate = "" if is_bound or math.isinf(epsilon) else "~"
    mark = SCALED if scaled and not math.isinf(epsilon) else ""
    return f"{estimate}{rounded_up(epsilon, 3)}{mark}"
