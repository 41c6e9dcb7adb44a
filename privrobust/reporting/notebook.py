"""What notebooks show of the suite's objects: a small table each, and the curve of a run.

`privrobust.core.displayed.Displayed` asks here. A table says what the object is, what its epsilon
promises, and nothing that takes more than a moment to find out.
"""

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from privrobust.core.formatting import NBSP, counted, number, percent, rounded_down, rounded_up
from privrobust.errors import SpecError, in_short
from privrobust.reporting.card import Card, Fact, framed, spark_line
from privrobust.reporting.neighbours import neighbours

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from privrobust.accountants import Release, Spent
    from privrobust.audit import AuditResult
    from privrobust.data import Dataset
    from privrobust.federated import Ledger
    from privrobust.federated.sender import Sender
    from privrobust.reporting.budgets import Budgets
    from privrobust.reporting.tables import Layout
    from privrobust.spec import RunSpec
    from privrobust.store import Store
    from privrobust.training.result import RunResult

_SCROLLED = ";max-width:100%;overflow-x:auto"
_IN_TABLES = {
    "caption": "caption-side:bottom;text-align:left",
    'th scope="row"': "text-align:left;font-weight:normal",
    "td": "text-align:right;white-space:nowrap",
}


def html(shown: object) -> str:
    """Write an object as HTML that needs nothing else: no script, no style of a page, no network.

    Raises:
        TypeError: it is of no kind that is shown.

    """
    for each in type(shown).__mro__:
        if (name := f"{each.__module__}.{each.__name__}") in _SHOWN:
            made = _SHOWN[name](shown)
            return made if isinstance(made, str) else made.html()
    raise TypeError(f"{type(shown).__name__}: nothing says how it is shown")


def curve(result: "RunResult", measure: str = "accuracy") -> "Figure":
    """Draw a column of a run's history against the step; raises as `curves_figure`."""
    import pandas as pd

    from privrobust.reporting.figures.curves import curves_figure
    from privrobust.store.rows import row_of

    row = row_of(result)
    runs = pd.DataFrame([row]).set_index("key")
    return curves_figure(runs, result.history.assign(run=row["key"]), measure)


def _of_result(result: "RunResult") -> Card:
    spec = result.spec
    if result.failure:
        facts = [Fact("failed", result.failure)]
    else:
        last = min(spec.final_evaluations, len(result.history))
        over = f", the mean of the last {last} evaluations" if last > 1 else ""
        held_out = f"{percent(result.accuracy)}{NBSP}% on {spec.evaluate_on} data{over}"
        line = spark_line([*result.history["step"]], [*result.history["accuracy"]])
        facts = [Fact("accuracy", held_out, line)]
    facts.append(Fact("epsilon", _epsilon(result.spent)))
    facts += [Fact("", line.removeprefix("epsilon: ")) for line in _promise(result)]
    taken = f"{result.steps} of {spec.steps}" if result.steps < spec.steps else f"{result.steps}"
    facts.append(Fact("steps", taken))
    if result.diverged:
        facts.append(Fact("diverged", "the model's outputs stopped being finite"))
    changed = [f"{name} {_text(value)}" for name, value in spec.changed.items()]
    facts.append(Fact("settings", ", ".join(changed) or "the defaults"))
    return Card("RunResult", f"{spec.aggregator} on {spec.dataset}", facts)


def _promise(result: "RunResult") -> Iterator[str]:
    """Say of a run's epsilon what tables say below them."""
    import pandas as pd

    from privrobust.reporting.legend import promise
    from privrobust.store.schema import cells

    spent = {
        "epsilon": result.epsilon,
        "accountant_used": result.spent.accountant,
        "is_upper_bound": result.spent.is_upper_bound,
    }
    return promise(pd.DataFrame([cells(result.spec) | spent]))


def _epsilon(spent: "Spent") -> str:
    if math.isinf(spent.epsilon):
        return f"∞, not private: {spent.reason or 'nothing bounds what is told'}"
    return f"{'' if spent.is_upper_bound else '~'}{rounded_up(spent.epsilon, 3)}"


def _of_spent(spent: "Spent", release: "Release") -> Iterator[Fact]:
    """Say of what one worker sends how much it spends, and what that promises."""
    yield Fact("epsilon", _epsilon(spent))
    if math.isfinite(spent.epsilon):
        kind = "upper bound" if spent.is_upper_bound else "ESTIMATE, may be too small"
        at = f"at delta = {number(spent.delta)}, by {spent.accountant} ({kind})"
        yield Fact("", f"{at}; {neighbours(release)}; against whoever sees every message")


def _text(value: object) -> str:
    return in_short(number(value))


def _of_spec(spec: "RunSpec") -> Card:
    facts = [Fact(name, _text(value)) for name, value in spec.changed.items()]
    if spec.target_epsilon is not None and spec.noise_scale:
        facts.append(Fact("noise_scale", f"{number(spec.noise_scale)}, found for the target"))
    name = f"{spec.aggregator} on {spec.dataset}"
    others = "all other fields" if facts else "all fields"
    return Card("RunSpec", name, [*facts, Fact("", f"{others} have their defaults")])


def _of_store(store: "Store") -> Card:
    counts = store.counts_now()
    if counts is None:
        return Card("Store", store.location, [Fact("", "its database does not answer")])
    return Card(
        "Store",
        store.location,
        [Fact(status, counted(count, "run")) for status, count in counts.items()],
    )


def _of_release(release: "Release") -> Card:
    from privrobust.accountants import spend

    moves = f"{number(release.contribution)} at most, in the {str(release.norm).upper()} norm"
    facts = [
        Fact("noise", f"{release.noise}, b = {number(release.noise_scale)}"),
        Fact(f"one {release.unit}", f"moves a message by {moves}"),
        Fact("sampling", f"{release.sampling}, q = {rounded_up(release.sampling_rate, 4)}"),
        Fact("steps", str(release.steps)),
    ]
    try:
        facts += _of_spent(spend(release), release)
    except SpecError as error:
        facts.append(Fact("epsilon", str(error)))
    return Card("Release", f"of a {release.message}", facts)


def _of_audit(result: "AuditResult") -> Card:
    from privrobust.reporting.audits import MEANING, share, verdict

    found = rounded_down(result.epsilon_lower_bound, 3)
    several = f", of {result.rows} results together" if result.rows > 1 else ""
    facts = [
        Fact("verdict", verdict(result)),
        Fact("found", f"epsilon is at least {found} at delta = {number(result.delta)}"),
        Fact("claimed", f"{rounded_up(result.claimed, 3)}, by {result.accountant}"),
        Fact("share", share(result).replace(" %", f"{NBSP}%")),
        Fact("p", rounded_up(result.p_value, 2)),
        Fact("confidence", f"{number(100 * result.confidence)}{NBSP}%{several}"),
        Fact("seen", f"{result.observer}, with {result.helpers} helpers, in {result.runs} runs"),
        Fact("attack", f"{result.attack}, on canaries of kind {result.canaries}"),
        *(Fact("assumed", each) for each in result.assumed),
    ]
    if result.counterexample:
        facts.insert(1, Fact("counterexample", result.counterexample))
    return Card("AuditResult", result.rule, [*facts, Fact("", MEANING)])


def _of_dataset(data: "Dataset") -> Card:
    splits = {name: getattr(data, name) for name in ("train", "validation", "test")}
    facts = [Fact(name, f"{len(split):,} examples") for name, split in splits.items()]
    facts.append(Fact("example", f"{data.train.inputs.dtype} {tuple(data.shape)}"))
    facts.append(Fact("classes", str(data.classes)))
    if data.group_names:
        facts.append(Fact("groups", in_short(", ".join(data.group_names))))
    return Card("Dataset", data.name, facts)


def _of_budgets(budgets: "Budgets") -> str:
    from privrobust.reporting.budgets import laid_out

    return _of_layout(laid_out(budgets))


def _of_layout(layout: "Layout") -> str:
    from privrobust.reporting.tables.formats import html as table

    written = table(layout)
    for tag, style in _IN_TABLES.items():
        written = written.replace(f"<{tag}>", f'<{tag} style="{style}">')
    return framed(written, _SCROLLED)


def _of_sender(sender: "Sender") -> Card:
    step = sender.step
    facts = [
        Fact("noise", f"{step.noise}, b = {number(step.noise_scale)}"),
        Fact(f"one {step.unit}", f"is clipped to C = {number(step.clip_norm)}"),
        Fact("sampling", f"q = {rounded_up(step.sampling_rate, 4)}"),
        Fact("sent", counted(sender.sent, "message")),
        *_of_spent(sender.spent, step),
    ]
    return Card(type(sender).__name__, f"sends a {step.message}", facts)


def _of_ledger(ledger: "Ledger") -> Card:
    spent, most = ledger.spent, ledger.max_epsilon
    limit = "without a limit" if most is None else f"of at most {number(most)}"
    facts = [
        Fact("data", ledger.data),
        Fact("spent", f"epsilon {_epsilon(spent)} {limit}, at delta = {number(spent.delta)}"),
    ]
    return Card("Ledger", ledger.location, facts)


_SHOWN: dict[str, Callable[[Any], Card | str]] = {
    "privrobust.audit.result.AuditResult": _of_audit,
    "privrobust.reporting.budgets.Budgets": _of_budgets,
    "privrobust.data.dataset.Dataset": _of_dataset,
    "privrobust.reporting.tables.table.Layout": _of_layout,
    "privrobust.federated.ledger.Ledger": _of_ledger,
    "privrobust.accountants.release.Release": _of_release,
    "privrobust.training.result.RunResult": _of_result,
    "privrobust.spec.run_spec.RunSpec": _of_spec,
    "privrobust.federated.sender.Sender": _of_sender,
    "privrobust.store.store.Store": _of_store,
}
"""By the path of a class: to import them all would load torch for any of them."""
