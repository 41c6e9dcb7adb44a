"""R4: what is the law of the best learning rate in b, T, n and d, and is it that of theory?

By the descent lemma a step along an estimate of the gradient g gains `lr |g|^2` and loses a
constant times `lr^2 d v`, v being the estimate's variance in each of d coordinates. No more than D
can be gained over T steps, so that the mean `|g|^2` is at most `D / (lr T) + lr d v` times
constants, least at `lr ~ 1 / sqrt(T d v)`. Where noise is most of it, v is `b^2 / n` for the mean
and pi / 2 times that for the median. The expected sign of a vote goes as `g sqrt(n) / b` and its
square is 1: of `(b / sqrt(n)) (D / (lr T) + lr d)` the least is at `lr ~ 1 / sqrt(T d)`, whatever b
and n.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from privrobust.reporting.figures.canvas import WIDE, new_figure, styled
from privrobust.reporting.figures.margins import add_legend, add_notes, handles
from privrobust.reporting.figures.panels import grid, label_x
from privrobust.reporting.figures.themes import Look, looks, theme
from privrobust.reporting.intervals import half_width
from study.experiment import Experiment
from study.power_law import CONSTANT, fitted, predicted
from study.rate_laws import (
    AXES,
    FROM,
    LEARNT,
    PRESCRIBED,
    THEORY,
    TUNED,
    Part,
    Setting,
    fitted_law,
    held_out,
    lost,
    parts_of,
    prescriptions,
    theory_law,
)
from study.rates import is_at_edge
from study.verdicts import Verdict, judge, untested

_THEORY = """In theory, where noise is most of what an aggregate varies by, the best rate of a mean
or a median goes as `b^-1 T^-1/2 n^1/2 d^-1/2`, that of a vote as `T^-1/2 d^-1/2`, whatever b and n.
In b, T and d the first is where the bound of Theorem 6 is least, `2 D / (lr T) + O(d / b^2) +
O(lr d b^2)`; n, and the law of the vote, are our derivation. With b to be chosen as well, that
bound is least at `b ~ (T d)^(1/6)`, `lr ~ (T d)^(-2/3)`. For the vote we take `b ~ (T d)^(1/4)`,
`lr ~ (T d)^(-1/2)` as what Theorem 5 prescribes: there `b sqrt(d / T) + d / b` is least, but we
could not hold it against the theorem's wording. D and smoothness are taken to be the same whatever
d, which no model promises.

"""
_NEAR = 0.25  # of an exponent
_LOSS = 2.0  # points that a predicted rate may cost
_LAWS = {
    "a law fitted to the smaller runs": fitted_law,
    "theory's law through one small run": theory_law,
}


def claims(runs: pd.DataFrame) -> list[Verdict]:
    """Claim every exponent, what predicted rates cost at most, and what prescriptions do."""
    parts = parts_of(runs)
    found = [verdict for part in parts for verdict in _exponents(part)]
    for part in parts:
        large = " or ".join(f"{axis} = {value:g}" for axis, value in held_out(part).items())
        for name, law in _LAWS.items():
            claim = f"{part.where}: {name} costs at most {_LOSS:g} points at {large}"
            losses = lost(part, law(part)) if large else pd.DataFrame()
            if losses.empty:
                found.append(untested(f"{part.where}: {name}", "no setting was held out"))
            else:
                points = losses.mean(skipna=False)
                found.append(judge(claim, points, (-math.inf, _LOSS)))
    for part in _prescribing(parts):
        for each in prescriptions(part):
            if each.steps == FROM:
                continue
            theorem = 6 if part.method == "median" else 5
            claim = (
                f"{part.where}, T = {each.steps}: what Theorem {theorem} prescribes, tuned at "
                f"T = {FROM}, costs at most {_LOSS:g} points"
            )
            found.append(judge(claim, each.best_accuracy - each.accuracy, (-math.inf, _LOSS)))
    return found


def _prescribing(parts: list[Part]) -> list[Part]:
    """Return the parts that prescriptions are for: of heterogeneous data and one d."""
    return [
        part
        for part in parts
        if part.method in PRESCRIBED and part.name == "logistic, heterogeneity 1"
    ]


def _exponents(part: Part) -> Iterator[Verdict]:
    law = fitted(part.rates, part.axes)
    for axis in part.axes:
        theory = THEORY[part.method][axis]
        yield judge(
            f"{part.where}: the best rate goes as {axis}^{theory:g} within {_NEAR:g}",
            law.loc[axis],
            (theory - _NEAR, theory + _NEAR),
            "exponent",
        )


def table(runs: pd.DataFrame) -> str:
    """Tell the laws, what their predictions cost, and what prescriptions do."""
    parts = [part for part in parts_of(runs) if len(part.rates)]
    return _THEORY + "\n\n".join(
        [_law_table(parts), _loss_table(parts), _prescription_table(parts)]
    )


def _law_table(parts: list[Part]) -> str:
    rows = [
        "The law that fits all settings: lr = r (b / 0.1)^β (T / 300)^τ (n / 15)^ν (d / d0)^δ. r "
        "is the rate at b = 0.1, T = 300, n = 15 and d0 parameters; exponents stand with half of "
        "their 95 % Student intervals over seeds. Off by: the factor by which a setting's mean "
        "best rate differs from the law, root mean square. At the edge: best rates that are the "
        "first or the last tried. Not learnt: settings left out, as even their best rate has "
        f"under {LEARNT:g} %.",
        "",
        "| model, data | method | d0 | r | β of b | τ of T | ν of n | δ of d | off by "
        "| at the edge | settings | not learnt |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    return "\n".join(rows + [_law_row(part) for part in parts])


def _law_row(part: Part) -> str:
    laws = fitted(part.rates, part.axes)
    law = laws.mean(axis=1, skipna=False)
    sizes = sorted(part.rates.index.unique("d"))
    middle = sizes[len(sizes) // 2]
    reference = pd.MultiIndex.from_tuples([(TUNED, FROM, 15, middle)], names=AXES)
    rate = 10 ** predicted(law, reference).iloc[0]
    exponents = [
        f"{law[axis]:+.2f} ± {half_width(laws.loc[axis].std(), laws.shape[1]):.2f}"
        if axis in part.axes
        else ""
        for axis in AXES
    ]
    edges = [
        is_at_edge(curve)
        for at in part.rates.index
        for _, curve in part.curves[Setting(*at)].items()
    ]
    cells = [
        part.name, part.method, f"{middle:,}", f"{rate:.2g}", *exponents,
        _factor(part, predicted(law, part.rates.index)), f"{np.mean(edges):.0%}", len(part.rates),
        len(part.curves) - len(part.rates),
    ]  # fmt: skip
    return _row(cells)


def _loss_table(parts: list[Part]) -> str:
    rows = [
        "What predicted rates cost in held-out settings, in points below the best rate tried "
        "there, which is chosen by the very runs that it is judged by: the mean, and the worst "
        "setting. Theory's law goes through one small setting that is tuned: b = 0.1, the fewest n "
        "and d, the middle T of those that are not held out.",
        "",
        "| model, data | method | held out | settings | fitted law: off by | mean | worst "
        "| theory's law: off by | mean | worst |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for part in parts:
        if not held_out(part):
            continue
        large = ", ".join(f"{axis} = {value:g}" for axis, value in held_out(part).items())
        cells = [part.name, part.method, large]
        laws = [law(part) for law in _LAWS.values()]
        cells.append(str(len(laws[0])))
        for log_rates in laws:
            points = lost(part, log_rates).mean(axis=1, skipna=False)
            cells += [_factor(part, log_rates), *_mean_and_worst(part, points)]
        rows.append(_row(cells))
    return "\n".join(rows)


def _mean_and_worst(part: Part, points: pd.Series) -> tuple[str, str]:
    if points.isna().any():  # of one rate nothing is known, so nothing of the mean
        return "unknown", "a rate beyond those tried"
    at = zip(AXES, points.index[int(points.to_numpy().argmax())], strict=True)
    where = ", ".join(f"{axis} = {value:g}" for axis, value in at if axis in part.axes)
    return f"{points.mean():.1f}", f"{points.max():.1f} ({where})"


def _factor(part: Part, log_rates: pd.Series) -> str:
    """Tell by which factor mean best rates differ from those of a law, root mean square."""
    off = part.rates.loc[log_rates.index].mean(axis=1) - log_rates
    return f"{10 ** math.sqrt((off**2).mean()):.2f}"


def _prescription_table(parts: list[Part]) -> str:
    rows = [
        f"What a theorem prescribes for T, with both constants from T = {FROM} (b = {TUNED:g} and "
        "its best rate), and the best of all b and rates tried.",
        "",
        "| method | T | b | rate | accuracy | best b | best rate | accuracy |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for part in _prescribing(parts):
        for each in prescriptions(part):
            cells: list[Any] = [
                part.method, each.steps, f"{each.noise_scale:g}", f"{10**each.log_rate:.2g}",
                _interval(each.accuracy), f"{each.best_noise_scale:g}", f"{each.best_rate:g}",
                _interval(each.best_accuracy),
            ]  # fmt: skip
            rows.append(_row(cells))
    return "\n".join(rows)


def _interval(values: npt.NDArray[np.float64]) -> str:
    return f"{values.mean():.1f} ± {half_width(values.std(ddof=1), values.size):.1f}"


def _row(cells: list[Any]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


@styled
def figure(runs: pd.DataFrame) -> Figure:
    """Best rates against those that a law gives: the fitted one above, theory's exponents below."""
    parts = parts_of(runs)
    named = looks(dict.fromkeys(part.name for part in parts))
    styles = {name: look._replace(linestyle="none") for name, look in named.items()}
    methods = list(dict.fromkeys(part.method for part in parts))
    drawn = new_figure(WIDE, 4.0)
    axes = drawn.subplots(2, len(methods), squeeze=False)
    for panel in axes.flat:
        panel.set(xscale="log", yscale="log")
    for part in parts:
        column = methods.index(part.method)
        laws = [fitted(part.rates, part.axes).mean(axis=1), _with_theory(part)]
        for panel, law in zip(axes[:, column], laws, strict=True):
            _points(panel, part, predicted(law, part.rates.index), styles[part.name])
    for column, method in enumerate(methods):
        axes[0][column].set_title(method)
    for row, name in zip(
        axes, ["the fitted law's rate", "a rate by theory's exponents"], strict=True
    ):
        for panel in row:
            _diagonal(panel)
        row[0].set_ylabel("best rate, measured")
        label_x(row, name)
    add_legend(drawn, handles(styles))
    notes = (
        f"A point is a setting of b, T, n and d: the mean over {runs['seed'].nunique()} seeds, and "
        "its 95 % Student interval. On the line the law is right, between the dotted ones within a "
        "factor of 2. Theory's constant is that of the least error."
    )
    add_notes(drawn, [notes])
    return drawn


def _with_theory(part: Part) -> pd.Series:
    """Return the law of theory's exponents with the constant of least squared error."""
    exponents = pd.Series(THEORY[part.method])
    raw = predicted(pd.concat([pd.Series({CONSTANT: 0.0}), exponents]), part.rates.index)
    constant = (part.rates.mean(axis=1) - raw).mean()
    return pd.concat([pd.Series({CONSTANT: constant}), exponents])


def _points(panel: Any, part: Part, log_rates: pd.Series, look: Look) -> None:
    mean = part.rates.mean(axis=1)
    half = half_width(part.rates.std(axis=1), part.rates.shape[1])
    bars = [10**mean - 10 ** (mean - half), 10 ** (mean + half) - 10**mean]
    panel.errorbar(
        10**log_rates, 10**mean, bars, markersize=2.5, elinewidth=0.6, capsize=0, **look._asdict()
    )


def _diagonal(panel: Any) -> None:
    """Make both axes alike, and draw where they are equal, and off by a factor of 2."""
    low = min(panel.get_xlim()[0], panel.get_ylim()[0])
    high = max(panel.get_xlim()[1], panel.get_ylim()[1])
    ends = np.array([low, high])
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_formatter("{x:g}")
    for factor, style in ((1, "-"), (2, ":"), (0.5, ":")):
        panel.plot(
            ends, factor * ends, color=theme().pale, linestyle=style, linewidth=0.6, zorder=1
        )
    panel.set(xlim=ends, ylim=ends)
    grid(panel)


EXPERIMENT = Experiment(claims, table, figure)
