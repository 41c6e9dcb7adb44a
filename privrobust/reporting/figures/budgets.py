"""What noise spends: epsilon against b, as every accountant has it."""

from typing import TYPE_CHECKING

import pandas as pd

from privrobust.errors import SpecError
from privrobust.reporting.budgets import HEADINGS, Budgets, in_cell
from privrobust.reporting.figures.canvas import (
    NARROW,
    add_legend,
    add_notes,
    grid,
    handles,
    looks,
    new_figure,
    styled,
)
from privrobust.reporting.figures.scales import Scale

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
        panel.plot(ordered["noise_scale"], ordered[accountant], **look._asdict())
    Scale(ordered["noise_scale"], 0.0, "0").show(panel)
    panel.set(yscale="log", xlabel="noise scale b", ylabel="privacy budget ε")
    grid(panel)
    add_legend(figure, handles(styles))
    settings = ", ".join(
        f"{HEADINGS[name]} = {in_cell(name, table[name].iloc[0])}" for name in fixed
    )
    add_notes(figure, [f"{settings}.", f"Neighbours: {budgets.neighbours}."])
    return figure


def _refuse(table: pd.DataFrame, fixed: list[str]) -> None:
    """Refuse a picture of anything but epsilon against b, all else equal."""
    if "noise_scale" not in table.columns or table["noise_scale"].nunique() < 2:
        raise SpecError("plot: needs two or more values of --noise-scale")
    if not (table["noise_scale"] > 0).all():
        raise SpecError("plot: its axes are logarithmic; give values of --noise-scale above 0")
    for column in fixed:
        if table[column].nunique() > 1:
            raise SpecError(f"plot: give one value of {column}, not {table[column].nunique()}")
