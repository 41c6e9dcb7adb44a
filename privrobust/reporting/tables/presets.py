"""Tables that people ask for, by name."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from privrobust.core.formatting import number
from privrobust.errors import SpecError, unknown_name
from privrobust.reporting.legend import epsilon_marks, guarantee
from privrobust.reporting.summary import row_fields
from privrobust.reporting.tables.layout import epsilon_text, lay_out
from privrobust.reporting.tables.table import Column, Entry, Layout
from privrobust.reporting.tables.theory import theory
from privrobust.reporting.tables.tuned import tuned
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


def fairness(runs: pd.DataFrame) -> Layout:
    """Show who pays: accuracy of all, of the worst class, of what the worst worker has."""
    metrics = ("accuracy", "worst_class_accuracy", "worst_worker_accuracy")
    return lay_out(runs, _EACH, rows=["aggregator"], metrics=metrics)


def generalisation(runs: pd.DataFrame) -> Layout:
    """Show what was learnt by heart: the gap beside the accuracies and the train loss."""
    metrics = ("accuracy", "train_accuracy", "generalisation_gap", "train_loss")
    return lay_out(runs, _EACH, rows=["aggregator"], metrics=metrics)


_EACH = ("epsilon", "clean", "worst")


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
    """Find the best learning rate of each method and b (on validation data if there is any)."""
    _need(runs, "tuning", "learning_rate")
    return tuned(runs)


PRESETS: dict[str, Preset] = {
    "attacks": attacks,
    "budget": budget,
    "clipping": clipping,
    "fairness": fairness,
    "generalisation": generalisation,
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
