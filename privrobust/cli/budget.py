"""`privrobust budget`: from noise to epsilon and back, accountants side by side."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privrobust.cli.saying import say
from privrobust.cli.table import print_table
from privrobust.core.json_document import document, records
from privrobust.errors import SpecError, shown, unknown_name
from privrobust.reporting.figures import DARK, LIGHT, check_ending, painted, save_figure

if TYPE_CHECKING:
    from privrobust.reporting.budgets import Budgets

Values = list[str]

_FORMS = ("table", "markdown", "latex", "html", "csv", "json")
_UNASKED = "Left out: {}, which take seconds to load; --accountant all has them.\n"


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
    noise: Annotated[str, typer.Option(help="gaussian, laplace or logistic.")] = "gaussian",
    sampling: Annotated[
        str,
        typer.Option(help="poisson, full, shuffled, fixed or balls_in_bins: how batches come."),
    ] = "poisson",
    unit: Annotated[str, typer.Option(help="example or worker: what is protected.")] = "example",
    message: Annotated[
        str, typer.Option(help="vector or sign: what is sent of the noisy average.")
    ] = "vector",
    repeats: Annotated[
        Values | None,
        typer.Option(
            help="The law of how many runs the best is published of, as in tuning: "
            "poisson(mean=10), negative_binomial(mean=10), constant(count=5), or none."
        ),
    ] = None,
    adjacency: Annotated[
        str | None,
        typer.Option(
            help="zero-out (the default), add-or-remove (that with -q) or replace-one: "
            "which neighbours epsilon speaks for."
        ),
    ] = None,
    format: Annotated[
        str, typer.Option("--format", help="table, markdown, latex, html, csv or json.")
    ] = "table",
    plot: Annotated[
        Path | None, typer.Option(help="Also draw epsilon against b into this file.")
    ] = None,
    dark: Annotated[bool, typer.Option("--dark", help="Of --plot: for dark pages.")] = False,
) -> None:
    """Compare privacy budgets: epsilon from the noise scale b, or b from a target epsilon.

    One line a setting, accountants side by side. Options of numbers,
    --accountant and --repeats take one value or several, with commas or
    repeated; every combination gets a line. Several n (or q) are the sites
    of a federation: a last line has its epsilon, the largest of theirs.

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
    if format not in _FORMS:
        raise unknown_name("format", format, _FORMS)
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
        "repeats": _laws(repeats),
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
    from privrobust.accountants.release import ACCOUNTED_LAWS
    from privrobust.reporting.budgets import compute

    if noise not in ACCOUNTED_LAWS:  # a module of one's own would be imported for no epsilon
        raise unknown_name("noise", noise, ACCOUNTED_LAWS)
    found = compute(settings, goals)
    if not accountant and (unasked := _slow()):
        say(_UNASKED.format(", ".join(unasked)), err=True)
    if plot is not None:
        from privrobust.reporting.figures.budgets import budgets_figure

        with painted(DARK if dark else LIGHT):
            save_figure(budgets_figure(found), plot)
    _show(found, format)


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


def _laws(values: Sequence[str] | None) -> list[str | None] | None:
    """Read the laws of repeats, whose parameters have commas in their brackets."""
    if not values:
        return None
    laws = [law.strip() for value in values for law in re.split(r",(?![^(]*\))", value)]
    return [None if law == "none" else law for law in laws]


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


def _show(budgets: "Budgets", form: str) -> None:
    from privrobust.reporting.budgets import ROUNDING, laid_out
    from privrobust.reporting.tables import FORMATS

    if form == "table":
        print_table(laid_out(budgets))
    elif form == "csv":
        typer.echo(budgets.table.to_csv(index=False).rstrip())
    elif form == "json":
        federation = [] if budgets.federation is None else records(budgets.federation)
        notes = [remark for remark in budgets.remarks if remark != ROUNDING]
        told = {"rows": records(budgets.table), "federation": federation, "notes": notes}
        typer.echo(document(told))
    else:
        typer.echo(FORMATS[form](laid_out(budgets)).rstrip())
