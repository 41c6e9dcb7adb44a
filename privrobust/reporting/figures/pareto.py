"""The trilemma: which settings nobody beats in utility, privacy and robustness together."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd

from privrobust.core.formatting import number
from privrobust.errors import SpecError
from privrobust.reporting.figures.canvas import NARROW, WIDE, new_figure, panel_width, styled
from privrobust.reporting.figures.cells import (
    at_worst,
    chance_of,
    drawable,
    faced_by,
    in_panel,
    label_of,
    marks_of,
    measured,
    ordered,
    place_of,
    records,
    runs_of,
    titles_of,
)
from privrobust.reporting.figures.epsilon import failed_handles
from privrobust.reporting.figures.fitting import about_left_out, fitting, within
from privrobust.reporting.figures.margins import add_legend, add_notes
from privrobust.reporting.figures.notes import (
    about_attacks,
    about_names,
    about_noise,
    about_seeds,
    about_titles,
    guarantee,
)
from privrobust.reporting.figures.panels import (
    NESTED,
    SIDE_BY_SIDE,
    Place,
    chance_handles,
    draw_bars,
    draw_chance,
    draw_line,
    from_0_to_100,
    grid,
    label_x,
    mark,
    mark_failed,
    nest_marks,
    set_title,
    tell_empty,
)
from privrobust.reporting.figures.scales import Scale, epsilon_at
from privrobust.reporting.figures.themes import MOST_LINES, Look, faded, looks, theme
from privrobust.reporting.figures.what_was_run import about_missing, about_runs
from privrobust.reporting.learning import clearly_above
from privrobust.reporting.legend import FEWER_ATTACKS
from privrobust.reporting.summary import without_gaps
from privrobust.spec.field_meaning import Role
from privrobust.spec.run_fields import SETTINGS, symbol

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST = {"heterogeneity": 5, "byzantine": 4, "method": MOST_LINES}
_APART = {Role.DATA, Role.TASK}
"""What those that compete have in common, beside delta."""


@styled
def pareto_figure(runs: pd.DataFrame) -> "Figure":
    """Draw clean and worst-case accuracy of every setting at its epsilon: a column an f.

    A setting has two marks at its epsilon: worst-case accuracy (full) and clean accuracy (open),
    each with the bar of its 95 % Student interval. They are faded unless the setting is on the
    front: no other of the panel is at least as good in all three and better in one. Compared are
    settings of the same data, task and delta, whose accuracies are both there and clearly above
    chance, and that faced every attack that any of them did. Where all of a panel may be compared,
    two steps join the front: the best worst-case and the best clean accuracy within a budget.

    Args:
        runs: a row a run, as from `Store.runs`: with and without attackers.

    Raises:
        SpecError: nothing to draw; matplotlib is missing.

    """
    shown = drawable(runs, "pareto")
    every = measured(shown, ["noise_scale", "target_epsilon"])
    all_points = _points(at_worst(every))
    kept = fitting(all_points, _MOST)
    points = within(all_points, kept)
    apart = _apart(runs_of(points, shown))
    points = _compared(points, every, _rivals(points, shown, apart))
    left_out = about_left_out(all_points, points, _MOST, shown)
    if "byzantine" in kept:
        kept["byzantine"].append(0)  # every point has a clean cell
    every = within(every, kept)
    cells = at_worst(every)
    clean = cells[cells["byzantine"] == 0]
    drawn = runs_of(cells, shown)
    rows, fs = ordered(points["heterogeneity"]), ordered(points["byzantine"])
    styles = looks(points["method"].unique())
    chance = chance_of(drawn, "accuracy")
    inches = panel_width(len(fs))
    scale = Scale(points["epsilon"], math.inf, "not\nprivate", inches, epsilon_at, len(styles))

    figure = new_figure(NARROW if len(fs) == 1 else WIDE, 0.4 + 1.7 * len(rows))
    axes = figure.subplots(len(rows), len(fs), squeeze=False, sharex=True, sharey=True)
    has_steps = False
    for row, heterogeneity in enumerate(rows):
        for panel, f in zip(axes[row], fs, strict=True):
            here = points[in_panel(points, heterogeneity, f)]
            scale.show(panel)
            grid(panel)
            draw_chance(panel, chance)
            if here.empty:
                tell_empty(panel, bool(in_panel(cells, heterogeneity, f).any()))
            else:
                _settings(panel, here, styles, scale)
                if here["rivals"].nunique() == 1 and here["is_best"].any():
                    _front(panel, here[here["is_best"]], scale)
                    has_steps = True
            _failed(panel, cells[in_panel(cells, heterogeneity, f)], clean, styles, scale)
            from_0_to_100(panel)
            set_title(panel, inches, *titles_of(rows, heterogeneity, f"f = {f}"))
        axes[row, 0].set_ylabel(label_of("accuracy"))
    label_x(axes[-1], "privacy budget ε")
    is_nested = nest_marks(axes.flat, inches)
    steps = _step_handles() if has_steps else []
    signs = chance_handles(chance) + failed_handles(cells)
    add_legend(figure, _handles(styles) + steps + signs)
    add_notes(
        figure,
        [
            *about_runs(drawn, rows, "worst case of"),
            *about_missing(drawn, cells),
            *left_out,
            *_about_front(points, apart),
            *about_seeds(drawn, cells, "bars"),
            *about_attacks(every),
            *about_names(cells),
            *about_titles(rows, inches),
            NESTED if is_nested else "",
            SIDE_BY_SIDE.format("not private") if scale.has_apart and len(styles) > 1 else "",
            *about_noise(points),
            *guarantee(drawn, runs),
        ],
    )
    return figure


def _points(cells: pd.DataFrame) -> pd.DataFrame:
    """Return attacked cells with `clean`, the accuracy of their setting without, and its half.

    Those are NaN where it was not run without, or failed.
    """
    setting = ["heterogeneity", "method", "noise_scale"]
    clean = cells[cells["byzantine"] == 0].set_index(setting)[["mean", "interval"]]
    clean.columns = pd.Index(["clean", "half_of_clean"])
    points = cells[cells["byzantine"] > 0].join(clean, on=setting)
    points = points.dropna(subset="mean")
    if points["clean"].isna().all():
        raise SpecError(
            "pareto: nothing to draw: no setting has results both without attackers and with; "
            "it needs runs of byzantine: 0 and of more"
        )
    return points


def _compared(points: pd.DataFrame, every: pd.DataFrame, rivals: pd.Series) -> pd.DataFrame:
    """Tell who competes with whom, and who wins.

    Args:
        points: that are drawn.
        every: as from `measured`, with every attack.
        rivals: numbers, the same of points that may be compared.

    Returns:
        The points with `rivals`; `faces_all`, whether a
        point faced every attack that any of its rivals in the panel did; `is_clear`, whether both
        accuracies are above chance; `is_best`, whether it is whole and no rival beats it.

    """
    faced = faced_by(every)
    attacks: list[object] = [frozenset(faced.get(place_of(point), ())) for point in records(points)]
    points = points.assign(
        rivals=rivals,
        faced=pd.Series(attacks, index=points.index, dtype=object),
        is_clear=_is_above_chance(points, "mean", "interval")
        & _is_above_chance(points, "clean", "half_of_clean"),
    )
    parts = [part for _, part in points.groupby(["heterogeneity", "byzantine", "rivals"])]
    whole = [part["faced"] == frozenset().union(*part["faced"]) for part in parts]
    points = points.assign(faces_all=pd.concat(whole))
    may = points["faces_all"] & points["is_clear"]
    best = [front(part[may[part.index]]) for part in parts]
    return points.assign(is_best=pd.concat(best).reindex(points.index, fill_value=False))


def _rivals(points: pd.DataFrame, runs: pd.DataFrame, apart: list[str]) -> pd.Series:
    """Give a number to each point, the same to those that differ in none of these fields."""
    told = without_gaps(runs)
    told = told.assign(heterogeneity=told["heterogeneity"].map(number))
    number_of = told.groupby(apart, sort=False).ngroup() if apart else 0
    fields = [name for name in SETTINGS if name in points and name != "attack"]
    of_setting = told.assign(rivals=number_of).groupby(fields, sort=False)["rivals"].min()
    return points.join(of_setting, on=fields)["rivals"]


def _apart(runs: pd.DataFrame) -> list[str]:
    """Name the fields in which settings of a panel differ whose numbers mean different things."""
    told = without_gaps(runs[runs["byzantine"] > 0])
    panels = told.groupby(["heterogeneity", "byzantine"], sort=False)
    fields = [name for name, of in SETTINGS.items() if of.role in _APART or name == "delta"]
    return [name for name in fields if name in told and panels[name].nunique().max() > 1]


def _is_above_chance(points: pd.DataFrame, mean: str, half: str) -> pd.Series:
    """Tell whether a mean is there and clearly above chance."""
    found = clearly_above(
        points[mean], points[half], points["seeds"], points["chance_at_most"].astype(float)
    )
    return points[mean].notna() & pd.Series(found, index=points.index)


def _about_front(points: pd.DataFrame, apart: list[str]) -> Iterator[str]:
    """Say what is faded, and what else is not on the front."""
    yield (
        "Full colour: the front. No other setting of the panel is as good in ε, clean and "
        "worst-case accuracy, and better in one of them."
    )
    is_half = points["clean"].isna()
    reasons = {
        "clean or under attack not clearly above chance": ~points["is_clear"] & ~is_half,
        "no clean accuracy": is_half,
        f"fewer attacks than others ({FEWER_ATTACKS})": ~points["faces_all"],
    }
    found = [f"{why} ({there.sum()})" for why, there in reasons.items() if there.any()]
    if found:
        yield f"Not compared, and faded, of {len(points)} points: {'; '.join(found)}."
    if names := ", ".join(map(symbol, apart)):
        yield f"Settings that differ in {names} are not compared, and no steps join them."


def front(points: pd.DataFrame) -> pd.Series:
    """Tell which points no other equals in `epsilon`, `clean`, `mean` and beats in one."""
    values = points[["epsilon", "clean", "mean"]].to_numpy(float) * [-1, 1, 1]
    as_good = (values[:, None] >= values).all(-1)
    better = (values[:, None] > values).any(-1)
    return pd.Series(~(as_good & better).any(0), index=points.index)


def _settings(panel: "Axes", points: pd.DataFrame, styles: dict[str, Look], scale: Scale) -> None:
    for index, (method, look) in enumerate(styles.items()):
        place = Place(index, len(styles))
        of_method = points[points["method"] == method]
        for is_best, alike in of_method.groupby("is_best", sort=False):
            color = look.color if is_best else faded(look.color)
            zorder = 3 if is_best else 2
            x = [scale.beside(epsilon, place) for epsilon in alike["epsilon"]]
            for mean, half in (("clean", "half_of_clean"), ("mean", "interval")):
                draw_bars(panel, x, alike[mean], alike[half], color, place, zorder - 0.5)
            paint: dict[str, Any] = {"color": color, "marker": look.marker, "zorder": zorder}
            for at, point in zip(x, records(alike), strict=True):  # apart, to be nested
                if not math.isnan(point.clean):
                    draw_line(
                        panel, at, point.clean, **paint, ls="none", markerfacecolor=theme().paper
                    )
                draw_line(panel, at, point.mean, **paint, ls="none")
                mark(panel, (at, point.mean), marks_of(point), place)


def _failed(
    panel: "Axes",
    cells: pd.DataFrame,
    clean: pd.DataFrame,
    styles: dict[str, Look],
    scale: Scale,
) -> None:
    """Mark the settings of which attacked or clean runs failed."""
    setting = ["heterogeneity", "method", "epsilon"]
    here = clean.merge(cells[setting].drop_duplicates(), on=setting)
    both = pd.concat([cells, here])
    for index, (method, look) in enumerate(styles.items()):
        place = Place(index, len(styles))
        failed = both[(both["method"] == method) & (both["failed"] > 0)]
        for epsilon in failed["epsilon"].dropna().unique():
            mark_failed(panel, scale.beside(epsilon, place), look)


_STEPS = {"mean": ("-", "best worst case within ε"), "clean": (":", "best clean within ε")}


def _front(panel: "Axes", best: pd.DataFrame, scale: Scale) -> None:
    """Draw what a budget buys at best: steps that rise with epsilon."""
    best = best.groupby("epsilon")[list(_STEPS)].max().cummax()
    x = [*map(scale, best.index), panel.get_xlim()[1]]
    for column, (linestyle, _) in _STEPS.items():
        highest = [*best[column], *best[column].tail(1)]
        panel.step(x, highest, where="post", color=theme().pale, ls=linestyle, lw=0.9, zorder=1)


def _handles(styles: dict[str, Look]) -> list[Any]:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=look.color, marker=look.marker, ls="none", label=name)
        for name, look in styles.items()
    ]
    pale = theme().pale
    plain: dict[str, Any] = {"color": pale, "marker": "o", "ls": "none"}
    handles.append(Line2D([], [], label="worst case", **plain))
    handles.append(Line2D([], [], label="clean", **plain, markerfacecolor=theme().paper))
    return handles


def _step_handles() -> list[Any]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=theme().pale, ls=linestyle, label=text)
        for linestyle, text in _STEPS.values()
    ]
