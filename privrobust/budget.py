"""`privrobust budget`: from noise to epsilon and back, every accountant side by side."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privrobust.accountants import budget_table, noise_table
from privrobust.accountants.table import NOTE
from privrobust.errors import SpecError, unknown_name
from privrobust.figures import new_figure, save_figure
from privrobust.rounding import rounded_up

if TYPE_CHECKING:
    import pandas as pd

Values = list[str]

HEADINGS = {
    "noise_scale": "b",
    "clip_norm": "C",
    "grad_norm_bound": "G",
    "batch_size": "B",
    "dataset_size": "n",
    "steps": "T",
    "noise_multiplier": "sigma",
    "sampling_rate": "q",
    "target_epsilon": "target",
}
SPENT = "Cells: the epsilon that one worker's release spends, against who sees every message."
MEETS = "Cells: the noise scale b that meets the target epsilon."
TUNING = "Not counted: settings that were tuned on private data."
ESTIMATE = "(estimate): may report less than is spent; the others are upper bounds."


def budget(
    steps: Annotated[Values, typer.Option("--steps", "-T", help="T, messages sent.")],
    noise_scale: Annotated[
        Values | None, typer.Option("--noise-scale", "-b", help="b, the scale of the noise.")
    ] = None,
    clip_norm: Annotated[
        Values | None, typer.Option("--clip-norm", "-C", help="C, the clipping norm.")
    ] = None,
    grad_norm_bound: Annotated[
        Values | None,
        typer.Option("--grad-norm-bound", "-G", help="G, a proven bound in place of clipping."),
    ] = None,
    batch_size: Annotated[
        Values | None, typer.Option("--batch-size", "-B", help="B, the expected batch size.")
    ] = None,
    dataset_size: Annotated[
        Values | None, typer.Option("--dataset-size", "-n", help="n, examples that a worker holds.")
    ] = None,
    delta: Annotated[
        Values | None, typer.Option("--delta", help="What the guarantee leaves out; 1e-5.")
    ] = None,
    target_epsilon: Annotated[
        Values | None,
        typer.Option("--target-epsilon", help="Find the b that meets it; then give no b."),
    ] = None,
    accountant: Annotated[
        Values | None, typer.Option("--accountant", help="Names; all by default.")
    ] = None,
    noise: Annotated[str, typer.Option(help="gaussian or laplace.")] = "gaussian",
    sampling: Annotated[str, typer.Option(help="poisson or full.")] = "poisson",
    unit: Annotated[str, typer.Option(help="example or worker: what is protected.")] = "example",
    adjacency: Annotated[
        str, typer.Option(help="add-or-remove, replace-one or zero-out.")
    ] = "add-or-remove",
    format: Annotated[
        str, typer.Option("--format", help="table, markdown, latex or csv.")
    ] = "table",
    plot: Annotated[
        Path | None, typer.Option(help="Also draw epsilon against b into this file.")
    ] = None,
) -> None:
    """Privacy budgets: epsilon from the noise scale b, or b from a target epsilon.

    One line a setting, all accountants side by side. An option takes one value or several, with
    commas or repeated; every combination gets a line.

    \b
    What does b = 0.1 spend, with clipping to 1 and batches of 32 out of 95?
      $ privrobust budget -b 0.1 -C 1 -B 32 -n 95 -T 300

    \b
    How does it fall with b, as a table for a paper?
      $ privrobust budget -b 0.03,0.1 -C 1 -B 32 -n 95 -T 300 --format latex

    \b
    Which b spends epsilon = 8 or 2?
      $ privrobust budget --target-epsilon 8,2 -C 1 -B 32 -n 95 -T 300
    """
    if format not in RENDERERS:
        raise unknown_name("format", format, RENDERERS)
    settings: dict[str, Any] = {
        "noise_scale": _numbers("noise_scale", noise_scale, float),
        "clip_norm": _numbers("clip_norm", clip_norm, float),
        "grad_norm_bound": _numbers("grad_norm_bound", grad_norm_bound, float),
        "batch_size": _numbers("batch_size", batch_size, float),
        "dataset_size": _numbers("dataset_size", dataset_size, int),
        "steps": _numbers("steps", steps, int),
    }
    settings = {field: values for field, values in settings.items() if values is not None}
    kind: dict[str, Any] = {
        "noise": noise,
        "sampling": sampling,
        "unit": unit,
        "adjacency": adjacency,
    }
    common: dict[str, Any] = {
        "delta": _numbers("delta", delta, float) or [1e-5],
        "accountants": _parts(accountant),
    }
    targets = _numbers("target_epsilon", target_epsilon, float)
    if (targets is None) == ("noise_scale" not in settings):
        raise SpecError("noise_scale: give either --noise-scale or --target-epsilon")
    if targets is None:
        table = budget_table(**settings, **kind, **common)
    else:
        table = noise_table(target_epsilon=targets, **settings, **kind, **common)
    table = table.drop(columns=list(kind))
    if plot is not None:
        _plot(table, plot)
    typer.echo(RENDERERS[format](table))


def _parts(values: Sequence[str] | None) -> list[str] | None:
    if not values:
        return None
    return [part.strip() for value in values for part in value.split(",")]


def _numbers(
    field: str, values: Sequence[str] | None, number: Callable[[str], float]
) -> list[float] | None:
    parts = _parts(values)
    kind = "a whole number" if number is int else "a number"
    try:
        return None if parts is None else [number(part) for part in parts]
    except ValueError:
        raise SpecError(f"{field}: {','.join(parts or [])!r} is not {kind}, or several") from None


def _cells(table: "pd.DataFrame", infinity: str, missing: str) -> list[list[str]]:
    """The heading and the rows as text, without the notes."""
    shown = table.drop(columns=NOTE)
    first_result = _first_result(table)

    def text(index: int, value: Any) -> str:
        if not isinstance(value, float):
            return str(value)
        if not math.isfinite(value):
            return infinity if math.isinf(value) else missing
        return rounded_up(value, 4) if index >= first_result else f"{value:.4g}"

    rows = [[text(*cell) for cell in enumerate(row)] for row in shown.itertuples(index=False)]
    return [[HEADINGS.get(column, column) for column in shown.columns], *rows]


def _first_result(table: "pd.DataFrame") -> int:
    """The index of the first accountant's column."""
    return list(table.columns).index("sampling_rate") + 1


def _remarks(table: "pd.DataFrame") -> list[str]:
    """What has to be read with the numbers."""
    remarks = [MEETS if "target_epsilon" in table.columns else SPENT, TUNING]
    if any("(estimate)" in column for column in table.columns):
        remarks.append(ESTIMATE)
    notes = dict.fromkeys(note for cell in table[NOTE] for note in cell.split("; ") if note)
    return remarks + [f"Note: {note}" for note in notes]


def _text(table: "pd.DataFrame") -> str:
    cells = _cells(table, "∞", "-")
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in cells
    ]
    return "\n".join([*lines, "", *_remarks(table)])


def _markdown(table: "pd.DataFrame") -> str:
    heading, *rows = _cells(table, "∞", "-")
    lines = ["| " + " | ".join(row) + " |" for row in [heading, ["---:"] * len(heading), *rows]]
    return "\n".join([*lines, "", *(f"{remark}  " for remark in _remarks(table))]).rstrip()


def _latex(table: "pd.DataFrame") -> str:
    heading, *rows = (" & ".join(row) + r" \\" for row in _cells(table, r"$\infty$", "--"))
    lines = [
        rf"\begin{{tabular}}{{{'r' * heading.count('&')}r}}",
        r"\hline",
        heading,
        r"\hline",
        *rows,
        r"\hline",
        r"\end{tabular}",
    ]
    return "\n".join([*(f"% {remark}" for remark in _remarks(table)), *lines])


def _csv(table: "pd.DataFrame") -> str:
    return table.to_csv(index=False).rstrip()


RENDERERS: dict[str, Callable[["pd.DataFrame"], str]] = {
    "table": _text,
    "markdown": _markdown,
    "latex": _latex,
    "csv": _csv,
}


def _plot(table: "pd.DataFrame", path: Path) -> None:
    """Epsilon against b, one line an accountant."""
    first_result = _first_result(table)
    fixed = table.columns[: first_result - 2].drop("noise_scale", errors="ignore")
    _refuse_plot(table, fixed)
    figure = new_figure(6, 4)
    axes = figure.add_subplot()
    ordered = table.sort_values("noise_scale")
    for label in table.columns[first_result:-1]:
        axes.plot(ordered["noise_scale"], ordered[label], marker=".", label=label)
    axes.set(xscale="log", yscale="log", xlabel="noise scale b", ylabel="epsilon")
    settings = (f"{HEADINGS.get(field, field)} = {table[field].iloc[0]:g}" for field in fixed)
    axes.set_title(", ".join(settings), fontsize="medium")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    save_figure(figure, path)


def _refuse_plot(table: "pd.DataFrame", fixed: "pd.Index[str]") -> None:
    """Refuse a picture of anything but epsilon against b, all else equal."""
    if "noise_scale" not in table.columns or table["noise_scale"].nunique() < 2:
        raise SpecError("plot: needs two or more values of --noise-scale")
    if not (table["noise_scale"] > 0).all():
        raise SpecError("plot: its axes are logarithmic; give values of --noise-scale above 0")
    for column in fixed:
        if table[column].nunique() > 1:
            raise SpecError(f"plot: give one value of {column}, not {table[column].nunique()}")
