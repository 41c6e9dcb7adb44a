"""Tables that people ask for, by name."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from privrobust.core.formatting import number
from privrobust.errors import SpecError, unknown_name
from privrobust.reporting.legend import epsilon_marks, guarantee, legend
from privrobust.reporting.summary import row_fields, setting_levels, summarise
from privrobust.reporting.tables.layout import accuracy_entry, epsilon_text, lay_out
from privrobust.reporting.tables.table import Column, Entry, Layout
from privrobust.reporting.tables.theory import theory
from privrobust.spec.run_fields import named

Preset = Callable[[pd.DataFrame], Layout]


def attacks(runs: pd.DataFrame) -> Layout:
    """Compare methods by attacks: what each attack leaves at each f."""
    return lay_out(runs)


def trilemma(runs: pd.DataFrame) -> Layout:
    """Compare methods by epsilon by f: clean accuracy, and the worst at each f.

    Where rules spend differently at one b, as signs tell less than vectors, no column would be of
    two of them: they are put side by side at equal b, each with its epsilon.
    """
    if _spend_differently(runs):
        shows = ("epsilon", "clean", "worst")
        return lay_out(runs, shows, rows=["aggregator"], across=["noise_scale"])
    return lay_out(runs, ("clean", "worst"), rows=["aggregator"], across=["epsilon"])


def _spend_differently(runs: pd.DataFrame) -> bool:
    """Tell whether rules differ in epsilon where nothing else does; a target makes them equal."""
    free = runs[pd.to_numeric(runs["target_epsilon"], errors="coerce").isna()]
    others = [field for field in row_fields(runs) if field not in ("aggregator", "learning_rate")]
    if free.empty or "noise_scale" not in others:
        return False
    spent = free.groupby([*others, "aggregator"], dropna=False)["epsilon"].max()
    return bool((spent.groupby(level=others, dropna=False).nunique() > 1).any())


def noise(runs: pd.DataFrame) -> Layout:
    """Show what b does: epsilon, clean and worst accuracy, the gap, the breakdown point."""
    _need(runs, "noise", "noise_scale")
    return lay_out(runs, _CHANGES, rows=["aggregator", "noise_scale"])


def clipping(runs: pd.DataFrame) -> Layout:
    """Show what C does: the same."""
    _need(runs, "clipping", "clip_norm")
    return lay_out(runs, _CHANGES, rows=["aggregator", "clip_norm"])


_CHANGES = ("epsilon", "clean", "worst", "gap", "breakdown")


def budget(runs: pd.DataFrame) -> Layout:
    """Show what each release spends, whatever is done with it: no accuracies."""
    released = named(lambda field: field.is_released)
    private = ["steps_taken" if name == "steps" else name for name in released]
    varied = [name for name in private if runs[name].nunique(dropna=False) > 1]
    told = [name for name in private if name in {*varied, "noise_scale", "clip_norm", "delta"}]
    marks = epsilon_marks(runs)
    rows = []
    at: Any  # pandas knows nothing of what an index holds
    for at, alike in runs.groupby([*told, "accountant_used"], dropna=False):
        values = [Entry("none" if pd.isna(value) else number(value)) for value in at]
        rows.append([*values, Entry(epsilon_text(alike, marks))])
    heads = [Column((name,), is_text=True) for name in told]
    heads += [Column(("accountant",), is_text=True), Column(("epsilon",))]
    return Layout(heads, [rows], list(guarantee(runs)))


def tuning(runs: pd.DataFrame) -> Layout:
    """Find the best learning rate of each method and b, by clean accuracy (validation if any)."""
    _need(runs, "tuning", "learning_rate")
    summary = summarise(runs)
    if "learning_rate" not in summary.index.names:
        raise SpecError(
            "preset: tuning has nothing to compare: no method and b has runs of several learning "
            "rates; a sweep's tune makes them"
        )
    clean = summary[summary.index.get_level_values("attack") == ""]
    clean = clean[clean["failed"] == 0].droplevel(["byzantine", "attack"])
    if clean.empty:
        raise SpecError("preset: tuning compares clean runs (byzantine: 0); there are none")
    told = [name for name in setting_levels(summary) if name != "learning_rate"]
    marks = epsilon_marks(runs)
    rows = []
    at: Any
    for at, tried in clean.groupby(level=told, sort=False):
        rates = list(tried.index.get_level_values("learning_rate"))
        best = int(tried["accuracy"].to_numpy().argmax())
        edge = "*" if len(tried) > 1 and rates[best] in (min(rates), max(rates)) else ""
        rows.append(
            [
                *(Entry(number(value)) for value in at),
                Entry(epsilon_text(tried, marks)),
                Entry(f"{number(rates[best])}{edge}"),
                accuracy_entry(tried.iloc[best].to_dict()),
                Entry(f"{number(min(rates))} to {number(max(rates))} ({len(rates)})"),
            ]
        )
    heads = [Column((name,), is_text=True) for name in told]
    heads += [
        Column(("epsilon",)),
        Column(("best", "rate")),
        Column(("clean",)),
        Column(("tried",)),
    ]
    notes = [
        "best rate: the learning rate of the highest mean clean accuracy; * at the edge of those "
        "tried, so that a better one may lie beyond.",
        "Tuning looks at data, which epsilon does not count.",
        *legend(runs, summary),
    ]
    return Layout(heads, [rows], notes)


PRESETS: dict[str, Preset] = {
    "attacks": attacks,
    "budget": budget,
    "clipping": clipping,
    "noise": noise,
    "theory": theory,
    "trilemma": trilemma,
    "tuning": tuning,
}


def preset(name: str) -> Preset:
    """Return the preset of a name.

    Raises:
        SpecError: there is none.

    """
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    return PRESETS[name]


def _need(runs: pd.DataFrame, name: str, field: str) -> None:
    if runs[field].nunique(dropna=False) < 2:
        raise SpecError(
            f"preset: {name} compares values of {field}; all runs have "
            f"{number(runs[field].iloc[0]) if len(runs) else 'none'}"
        )
