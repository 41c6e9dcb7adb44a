"""What noise spends: epsilon against b, as every accountant has it."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pandas as pd

from privrobust.core.formatting import number
from privrobust.errors import SpecError
from privrobust.reporting.budgets import HEADINGS, ROUNDING, SPENT, Budgets, in_cell
from privrobust.reporting.figures.canvas import NARROW, new_figure, styled
from privrobust.reporting.figures.margins import add_legend, add_notes, handles
from privrobust.reporting.figures.panels import draw_line, grid
from privrobust.reporting.figures.scales import Scale, log_y
from privrobust.reporting.figures.themes import looks

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def budgets_figure(budgets: Budgets) -> "Figure":
    """Draw epsilon against b, both logarithmic, a line an accountant.

    Args:
        budgets: of several b above 0, and one value of every other setting.

    Raises:
        SpecError: other budgets; matplotlib is missing.

    """
    table = budgets.table
    fixed = [name for name in budgets.settings if name not in ("noise_scale", "noise_multiplier")]
    _refuse(table, fixed)
    figure = new_figure(NARROW, 2.3)
    panel = figure.add_subplot()
    ordered = table.sort_values("noise_scale")
    styles = looks(budgets.results)
    for accountant, look in styles.items():
        spent = ordered[accountant].where(ordered[accountant] < math.inf)
        draw_line(panel, ordered["noise_scale"], spent, **look._asdict())
    Scale(ordered["noise_scale"], 0.0, "0").show(panel)
    log_y(panel, ordered[budgets.results].to_numpy(float).ravel())
    panel.set(xlabel="noise scale b", ylabel="privacy budget ε")
    grid(panel)
    add_legend(figure, handles(styles))
    add_notes(figure, _notes(budgets, ordered, fixed))
    return figure


def _notes(budgets: Budgets, table: pd.DataFrame, fixed: list[str]) -> Iterator[str]:
    yield "ε: what one worker's release spends, against who sees every message."
    settings = ", ".join(
        f"{HEADINGS[name]} = {in_cell(name, table[name].iloc[0])}" for name in fixed
    )
    release = ", ".join(
        f"{name} {table[name].iloc[0]}" for name in ("noise", "message", "sampling", "unit")
    )
    yield f"{settings}; {release}."
    for accountant in budgets.results:
        missing = table["noise_scale"][~(table[accountant] < math.inf)]
        if len(missing):
            at = ", ".join(map(number, missing))
            yield f"Not drawn: {accountant} at b = {at}, where it has no finite ε."
    yield from (each for each in budgets.remarks if each not in (SPENT, ROUNDING))


def _refuse(table: pd.DataFrame, fixed: list[str]) -> None:
    """Refuse a picture of anything but epsilon against b, all else equal."""
    if "noise_scale" not in table.columns or table["noise_scale"].nunique() < 2:
        raise SpecError("plot: needs two or more values of --noise-scale")
    if not (table["noise_scale"] > 0).all():
        raise SpecError("plot: its axes are logarithmic; give values of --noise-scale above 0")
    for column in fixed:
        if table[column].nunique() > 1:
            raise SpecError(f"plot: give one value of {column}, not {table[column].nunique()}")
