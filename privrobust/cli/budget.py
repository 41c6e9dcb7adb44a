"""`privrobust budget`: from noise to epsilon and back, accountants side by side."""

import math
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privrobust.core.escaping import in_markdown, in_tex
from privrobust.core.formatting import rounded_down, rounded_up
from privrobust.core.json_document import document, records
from privrobust.errors import SpecError, shown, unknown_name
from privrobust.reporting.figures.canvas import check_ending, new_figure, save_figure
from privrobust.reporting.neighbours import neighbours

if TYPE_CHECKING:
    import pandas as pd

    from privrobust.accountants import Release

Values = list[str]

HEADINGS = {
    "noise_scale": "b",
    "clip_norm": "C",
    "grad_norm_bound": "G",
    "batch_size": "B",
    "dataset_size": "n",
    "epochs": "epochs",
    "steps": "T",
    "delta": "delta",
    "target_epsilon": "target",
    "noise_multiplier": "sigma",
    "sampling_rate": "q",
}
"""Columns that are shown before those of the accountants."""
NOTE = "note"  # as `privrobust.accountants.table` has it
UNSHOWN = ("worker_sampling_rate", "noise", "sampling", "unit", "message", "adjacency")
"""Columns that remarks, and q, tell in words; csv has them."""
SPENT = "Cells: the epsilon that one worker's release spends, against who sees every message."
MEETS = "Cells: the noise scale b that meets the target epsilon."
FEDERATION = {
    "noise_scale": "all: the federation of these sites, whose epsilon is the largest of theirs.",
    "target_epsilon": "all: the federation of these sites; the b with which every site meets it.",
}
SIGNS = (
    "Messages are signs of freshly noised averages, not of momentum: sign charges for what they "
    "tell, the others for the averages."
)
LAPLACE = "Laplace noise: b is its scale parameter, and gradients are bounded in the L1 norm."
EVERY_WORKER = "Every worker takes part in every step (q = 1), whatever its B and n."
ROUNDING = "Rounded so that nothing looks better than it is: sigma down, the rest up."
TUNING = "Not counted: settings that were tuned on private data."
UNASKED = "Left out: {}, which take seconds to load; --accountant all has them."
ESTIMATE = "(estimate): may report less than is spent; the others are upper bounds."
READABLE = 110  # characters of a line of prose


@dataclass(frozen=True)
class Budgets:
    """What the command found.

    Attributes:
        table: a row a setting.
        federation: a row for all sites together, where there are several; with gaps (None) in
            columns in which they differ.
        neighbours: which they are, in words.
        remarks: these and all else that has to be read with the numbers, line by line.

    """

    table: "pd.DataFrame"
    federation: "pd.DataFrame | None"
    neighbours: str
    remarks: list[str]


def budget(
    context: typer.Context,
    noise_scale: Annotated[
        Values | None, typer.Option("--noise-scale", "-b", help="b, the scale of the noise.")
    ] = None,
    clip_norm: Annotated[
        Values | None,
        typer.Option("--clip-norm", "-C", help="C, the clipping norm: L2, of Laplace noise L1."),
    ] = None,
    grad_norm_bound: Annotated[
        Values | None,
        typer.Option("--grad-norm-bound", "-G", help="G, a proven bound in place of clipping."),
    ] = None,
    batch_size: Annotated[
        Values | None,
        typer.Option(
            "--batch-size", "-B", help="B, the expected batch, by which sums are divided."
        ),
    ] = None,
    dataset_size: Annotated[
        Values | None,
        typer.Option(
            "--dataset-size", "-n", help="n, examples that a worker holds; several: one a site."
        ),
    ] = None,
    sampling_rate: Annotated[
        Values | None,
        typer.Option(
            "--sampling-rate",
            "-q",
            help="q of an example, where it is public and fixed in advance; else q = B / n.",
        ),
    ] = None,
    worker_sampling_rate: Annotated[
        Values | None,
        typer.Option(
            help="With --unit worker: the chance that a worker takes part in a step; else 1."
        ),
    ] = None,
    steps: Annotated[Values | None, typer.Option("--steps", "-T", help="T, messages sent.")] = None,
    epochs: Annotated[
        Values | None,
        typer.Option(
            "--epochs", "-E", help="In place of T: epochs n / B (epochs / q), rounded up."
        ),
    ] = None,
    delta: Annotated[
        Values | None, typer.Option("--delta", help="What the guarantee leaves out; 1e-5.")
    ] = None,
    target_epsilon: Annotated[
        Values | None,
        typer.Option("--target-epsilon", help="Find the b that meets it; then give no b."),
    ] = None,
    accountant: Annotated[
        Values | None,
        typer.Option("--accountant", help="Names, or all; by default those that load at once."),
    ] = None,
    noise: Annotated[str, typer.Option(help="gaussian or laplace.")] = "gaussian",
    sampling: Annotated[str, typer.Option(help="poisson or full.")] = "poisson",
    unit: Annotated[str, typer.Option(help="example or worker: what is protected.")] = "example",
    message: Annotated[
        str, typer.Option(help="vector or sign: what is sent of the noisy average.")
    ] = "vector",
    adjacency: Annotated[
        str | None,
        typer.Option(
            help="zero-out (the default), add-or-remove (that with -q) or replace-one: "
            "which neighbours epsilon speaks for."
        ),
    ] = None,
    format: Annotated[
        str, typer.Option("--format", help="table, markdown, latex, csv or json.")
    ] = "table",
    plot: Annotated[
        Path | None, typer.Option(help="Also draw epsilon against b into this file.")
    ] = None,
) -> None:
    """Privacy budgets: epsilon from the noise scale b, or b from a target epsilon.

    One line a setting, accountants side by side. An option takes one value
    or several, with commas or repeated; every combination gets a line. Several
    n (or q) are the sites of a federation: a last line has its epsilon, the
    largest of theirs.

    \b
    What does b = 0.1 spend, with clipping to 1 and batches of 32 out of 95?
      $ privrobust budget -b 0.1 -C 1 -B 32 -n 95 -T 300

    \b
    What do 9 epochs at two sites, as a table for a paper?
      $ privrobust budget -b 0.1 -C 1 -B 32 -n 1000,95 -E 9 --format latex

    \b
    Which b spends epsilon = 8 or 2?
      $ privrobust budget --target-epsilon 8,2 -C 1 -B 32 -n 95 -T 300
    """
    if context.args:
        raise SpecError(
            f"budget: {shown(context.args[0])} stands alone; accepted: several values of an option "
            "with commas, as in -b 0.1,0.2"
        )
    if format not in RENDERERS:
        raise unknown_name("format", format, RENDERERS)
    given: dict[str, Any] = {
        "noise_scale": _numbers("noise_scale", noise_scale, float),
        "clip_norm": _numbers("clip_norm", clip_norm, float),
        "grad_norm_bound": _numbers("grad_norm_bound", grad_norm_bound, float),
        "batch_size": _numbers("batch_size", batch_size, float),
        "dataset_size": _numbers("dataset_size", dataset_size, _whole),
        "sampling_rate": _numbers("sampling_rate", sampling_rate, float),
        "worker_sampling_rate": _numbers("worker_sampling_rate", worker_sampling_rate, float),
        "steps": _numbers("steps", steps, _whole),
        "epochs": _numbers("epochs", epochs, float),
        "noise": [noise],
        "sampling": [sampling],
        "unit": [unit],
        "message": [message],
        "adjacency": None if adjacency is None else [adjacency],
    }
    settings = {field: values for field, values in given.items() if values is not None}
    goals: dict[str, Any] = {
        "delta": _numbers("delta", delta, float) or [1e-5],
        "accountants": _asked(accountant, message),
    }
    targets = _numbers("target_epsilon", target_epsilon, float)
    _refuse_all_but_one({"noise_scale": noise_scale, "target_epsilon": target_epsilon})
    _refuse_all_but_one({"steps": steps, "epochs": epochs})
    if targets is not None:
        goals["target_epsilon"] = targets
    if plot is not None:
        check_ending(plot)
    budgets = _budgets(settings, goals, [] if accountant else _slow())
    if plot is not None:
        _plot(budgets, plot)
    typer.echo(RENDERERS[format](budgets))


def _refuse_all_but_one(given: Mapping[str, Values | None]) -> None:
    """Refuse options that stand for each other, both or neither."""
    first, second = (f"--{field.replace('_', '-')}" for field in given)
    count = sum(bool(values) for values in given.values())
    if count != 1:
        have = "both are given" if count else "neither is given"
        raise SpecError(f"{next(iter(given))}: give either {first} or {second}; {have}")


def _parts(values: Sequence[str] | None) -> list[str] | None:
    if not values:
        return None
    return [part.strip() for value in values for part in value.split(",")]


def _asked(names: Sequence[str] | None, message: str) -> list[str]:
    """Return the names of the accountants to ask."""
    from privrobust.accountants.registry import accountants_of

    parts = _parts(names)
    if parts is None:
        return [name for name in accountants_of(message) if name not in _slow()]
    return accountants_of(message) if parts == ["all"] else parts


def _slow() -> list[str]:
    """Return the names of those that nobody should have to wait for."""
    from privrobust.accountants import available_accountants, get_accountant

    return [name for name in available_accountants() if not get_accountant(name).is_quick]


def _numbers(
    field: str, values: Sequence[str] | None, number: Callable[[str], float]
) -> list[float] | None:
    parts = _parts(values)
    try:
        return None if parts is None else [number(part) for part in parts]
    except ValueError:
        kind = "a whole number" if number is _whole else "a number"
        text = shown(",".join(parts or []))
        raise SpecError(f"{field}: {text} is not {kind}, or several with commas: 1,2") from None


def _whole(text: str) -> int:
    """Read a whole number, 1e3 for one."""
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if not number.is_integer():
            raise
        return int(number)


# --- computing -------------------------------------------------------------------------------


def _budgets(
    settings: Mapping[str, list[Any]], goals: Mapping[str, Any], left_out: Sequence[str]
) -> Budgets:
    """Ask the accountants about every combination of settings."""
    import pandas as pd

    from privrobust.accountants import budget_table, noise_table

    combinations = [
        dict(zip(settings, values, strict=True)) for values in product(*settings.values())
    ]
    # All are looked at before the first is computed, which may take a while.
    releases = [_release(setting) for setting in combinations]
    compute = noise_table if "target_epsilon" in goals else budget_table
    if "epochs" in settings:  # T follows from the rest of its row
        table = pd.concat(
            [
                compute(**_fields(setting), steps=release.steps, **goals).assign(
                    epochs=setting["epochs"]
                )
                for setting, release in zip(combinations, releases, strict=True)
            ],
            ignore_index=True,
        )
    else:
        table = compute(**settings, **goals)
    table["adjacency"] = releases[0].adjacency
    first = [column for column in HEADINGS if column in table]
    last = [column for column in UNSHOWN if column in table]
    table = table[[*first, *last, *_results(table), NOTE]]
    sites = next(
        (field for field in ("sampling_rate", "dataset_size") if len(settings.get(field, [])) > 1),
        None,
    )
    federation = None if sites is None else _federation(table, sites, settings)
    remarks = list(_remarks(table, releases[0], is_federation=sites is not None))
    if left_out:
        remarks.append(UNASKED.format(", ".join(left_out)))
    return Budgets(table, federation, neighbours(releases[0]), remarks)


def _fields(setting: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a setting that a `Release` has."""
    return {field: value for field, value in setting.items() if field != "epochs"}


def _release(setting: Mapping[str, Any]) -> "Release":
    """Build the release of one setting, with the T that its epochs take."""
    from privrobust.accountants import Release

    # Stand-ins for what is yet to be found: b by calibration, T from the rest once it is checked.
    fields = {"noise_scale": 1.0, "steps": 1} | _fields(setting)
    release = Release(**fields)
    if "epochs" not in setting:
        return release
    return replace(release, steps=_steps(setting["epochs"], setting))


def _steps(epochs: float, setting: Mapping[str, Any]) -> int:
    """Return T of so many epochs: rounded up, so that no step is left out of the account."""
    if not (math.isfinite(epochs) and epochs > 0):
        raise SpecError(f"epochs: {epochs:g} is not a finite number above 0")
    from privrobust.accountants.release import MOST_STEPS

    steps = math.ceil(Fraction(repr(epochs)) / _share_of_an_epoch(setting))
    if steps > MOST_STEPS:
        raise SpecError(
            f"epochs: {epochs:g} make T too large; accepted: up to {MOST_STEPS:.3g} steps"
        )
    return steps


def _share_of_an_epoch(setting: Mapping[str, Any]) -> Fraction:
    """Return B / n, or what stands for it, exactly as the decimals were typed."""
    if setting["sampling"] == "full":
        return Fraction(1)
    if "sampling_rate" in setting:
        return Fraction(repr(setting["sampling_rate"]))
    for field in ("batch_size", "dataset_size"):
        if field not in setting:
            raise SpecError(f"{field}: --epochs needs it, as T = epochs n / B")
    share = Fraction(repr(setting["batch_size"])) / int(setting["dataset_size"])
    if share > 1:
        raise SpecError(
            f"batch_size: {setting['batch_size']:g} exceeds dataset_size, {setting['dataset_size']}"
        )
    return share


def _results(table: "pd.DataFrame") -> list[str]:
    """Return the columns of the accountants."""
    return [column for column in table.columns if column not in (*HEADINGS, *UNSHOWN, NOTE)]


def _federation(
    table: "pd.DataFrame", sites: str, settings: Mapping[str, list[Any]]
) -> "pd.DataFrame":
    """Return a row for all sites together, for every combination of the other settings.

    Honest sites hold disjoint data, so what their federation spends is the most that any of them
    spends. A site whose value is missing leaves that unknown, unless another's is infinite.
    """
    import pandas as pd

    results = _results(table)
    goals = [column for column in ("delta", "target_epsilon") if column in table]
    same = [field for field in settings if field not in (sites, "adjacency")] + goals
    rows = []
    for _, of_sites in table.groupby(same, sort=False):
        row = {
            column: of_sites[column].iloc[0] if of_sites[column].nunique() == 1 else None
            for column in table.columns
        }
        worst = {column: _largest(of_sites[column]) for column in results}
        rows.append(row | worst | {sites: "all"})
    return pd.DataFrame(rows, columns=table.columns, dtype=object)


def _largest(values: "pd.Series") -> float:
    return math.inf if (values == math.inf).any() else float(values.max(skipna=False))


def _remarks(table: "pd.DataFrame", release: "Release", *, is_federation: bool) -> Iterator[str]:
    """Say what has to be read with the numbers."""
    goal = "target_epsilon" if "target_epsilon" in table else "noise_scale"
    yield MEETS if goal == "target_epsilon" else SPENT
    if is_federation:
        yield FEDERATION[goal]
    yield f"Neighbours: {neighbours(release)}."
    if release.unit == "worker" and release.sampling_rate == 1:
        yield EVERY_WORKER
    if release.noise == "laplace":
        yield LAPLACE
    if release.message == "sign":
        yield SIGNS
    yield ROUNDING
    yield TUNING
    if any("(estimate)" in column for column in _results(table)):
        yield ESTIMATE
    for note in dict.fromkeys(note for cell in table[NOTE] for note in cell.split("; ") if note):
        yield f"Note: {note}"


# --- writing ---------------------------------------------------------------------------------


def _shown(
    budgets: Budgets, infinity: str, missing: str
) -> tuple[list[list[str]], list[list[str]]]:
    """Return the heading and the rows, and then those of the federation, as text."""
    table = budgets.table
    columns = [column for column in HEADINGS if column in table] + _results(table)

    def rows(of: "pd.DataFrame") -> list[list[str]]:
        return [
            [
                _text_of(column, value, infinity, missing)
                for column, value in zip(columns, row, strict=True)
            ]
            for row in of[columns].itertuples(index=False)
        ]

    heading = [HEADINGS.get(column, column) for column in columns]
    of_all = [] if budgets.federation is None else rows(budgets.federation)
    return [heading, *rows(table)], of_all


def _text_of(column: str, value: Any, infinity: str, missing: str) -> str:
    """Write one cell: what was given as it is, what was computed with four digits."""
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    if not math.isfinite(value):
        return infinity if math.isinf(value) else missing
    if column == "noise_multiplier":
        return _short(value, rounded_down)
    if column == "sampling_rate":
        return _short(value, rounded_up)
    return rounded_up(value, 4) if column not in HEADINGS else repr(float(value)).removesuffix(".0")


def _short(value: float, rounded: Callable[[float, int], str]) -> str:
    """Write four digits of a quotient, whose own rounding error makes no 3.199 of 3.2."""
    text = f"{value:.4g}"
    return text if math.isclose(float(text), value, rel_tol=1e-12) else rounded(value, 4)


def _text(budgets: Budgets) -> str:
    rows, of_all = _shown(budgets, "∞", "-")
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    remarks = budgets.remarks
    if width is None:
        return "\n".join([*_aligned(rows, of_all), "", *remarks])
    remarks = [fill(remark, min(width, READABLE), subsequent_indent="  ") for remark in remarks]
    lines = _aligned(rows, of_all)
    if len(lines[0]) > width:
        lines = _folded(rows, of_all, width)
    return "\n".join([*lines, "", *remarks])


def _aligned(rows: list[list[str]], of_all: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, *of_all, strict=True)]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows + of_all
    ]
    return [*lines[: len(rows)], "", *lines[len(rows) :]] if of_all else lines


def _folded(rows: list[list[str]], of_all: list[list[str]], width: int) -> list[str]:
    """Fit a table into a terminal: what all rows have in common above, then accountants in parts.

    Every part repeats the columns that tell rows apart; one that is too wide as well stays so.
    """
    settings = [i for i, name in enumerate(rows[0]) if name in HEADINGS.values()]
    results = range(len(settings), len(rows[0]))
    differ = [i for i in settings if len({row[i] for row in [*rows[1:], *of_all]}) > 1]
    common = [f"{rows[0][i]} = {rows[1][i]}" for i in settings if i not in differ]

    def part(columns: Sequence[int]) -> list[str]:
        return _aligned(*([[row[i] for i in columns] for row in of] for of in (rows, of_all)))

    parts: list[list[int]] = []
    for column in results:
        if parts and len(part([*differ, *parts[-1], column])[0]) <= width:
            parts[-1].append(column)
        else:
            parts.append([column])
    blocks = [part([*differ, *columns]) for columns in parts]
    return [", ".join(common)] + [line for block in blocks for line in ("", *block)]


def _markdown(budgets: Budgets) -> str:
    (heading, *rows), of_all = _shown(budgets, "∞", "-")
    table = [[in_markdown(name) for name in heading], ["---:"] * len(heading), *rows, *of_all]
    lines = ["| " + " | ".join(row) + " |" for row in table]
    return "\n".join([*lines, "", *(f"{remark}  " for remark in budgets.remarks)]).rstrip()


def _latex(budgets: Budgets) -> str:
    rows, of_all = _shown(budgets, r"$\infty$", "--")
    rows[0] = [in_tex(name) for name in rows[0]]
    heading, *lines = (" & ".join(row) + r" \\" for row in rows + of_all)
    if of_all:
        lines.insert(len(rows) - 1, r"\hline")
    table = [
        rf"\begin{{tabular}}{{{'r' * len(rows[0])}}}",
        r"\hline",
        heading,
        r"\hline",
        *lines,
        r"\hline",
        r"\end{tabular}",
    ]
    return "\n".join([*(f"% {remark}" for remark in budgets.remarks), *table])


def _csv(budgets: Budgets) -> str:
    return budgets.table.to_csv(index=False).rstrip()


def _json(budgets: Budgets) -> str:
    federation = [] if budgets.federation is None else records(budgets.federation)
    notes = [remark for remark in budgets.remarks if remark != ROUNDING]
    return document({"rows": records(budgets.table), "federation": federation, "notes": notes})


RENDERERS: dict[str, Callable[[Budgets], str]] = {
    "table": _text,
    "markdown": _markdown,
    "latex": _latex,
    "csv": _csv,
    "json": _json,
}


def _plot(budgets: Budgets, path: Path) -> None:
    """Draw epsilon against b, one line an accountant."""
    table = budgets.table
    fixed = [
        column
        for column in HEADINGS
        if column in table and column not in ("noise_scale", "noise_multiplier")
    ]
    _refuse_plot(table, fixed)
    figure = new_figure(6, 4)
    axes = figure.add_subplot()
    ordered = table.sort_values("noise_scale")
    for label in _results(table):
        axes.plot(ordered["noise_scale"], ordered[label], marker=".", label=label)
    axes.set(xscale="log", yscale="log", xlabel="noise scale b", ylabel="epsilon")
    settings = ", ".join(
        f"{HEADINGS[field]} = {_text_of(field, table[field].iloc[0], '∞', '-')}" for field in fixed
    )
    axes.set_title(fill(f"{settings}. Neighbours: {budgets.neighbours}", 80), fontsize="small")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    save_figure(figure, path)


def _refuse_plot(table: "pd.DataFrame", fixed: Sequence[str]) -> None:
    """Refuse a picture of anything but epsilon against b, all else equal."""
    if "noise_scale" not in table.columns or table["noise_scale"].nunique() < 2:
        raise SpecError("plot: needs two or more values of --noise-scale")
    if not (table["noise_scale"] > 0).all():
        raise SpecError("plot: its axes are logarithmic; give values of --noise-scale above 0")
    for column in fixed:
        if table[column].nunique() > 1:
            raise SpecError(f"plot: give one value of {column}, not {table[column].nunique()}")
