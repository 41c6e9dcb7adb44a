"""Read our own YAML: a run, or a sweep of them, each with the budget that it states."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from privrobust.accountants import spend
from privrobust.core.formatting import number
from privrobust.core.plugins import without_plugins
from privrobust.federated.check.claims import OwnRun, Reading
from privrobust.federated.check.files import content
from privrobust.federated.check.findings import EVERYONE, OUTSIDERS
from privrobust.spec import RunSpec
from privrobust.spec.field_meaning import Role
from privrobust.spec.run_fields import named, symbol
from privrobust.sweeps.loading import load_sweep
from privrobust.sweeps.tuning import candidates
from privrobust.training.privacy_plan import PrivacyPlan

_TELLING = named(lambda field: field.role not in (Role.SEED, Role.PLACE))

NOTES = (
    "Budgets are of one run; more runs on the same data, those of a sweep or of tuning, add up.",
    "Against everyone who sees what workers send, so against the server, too, but for runs of a "
    "random number of repeats; accuracy that is measured on test data is in no epsilon here.",
)


def read_own_spec(path: Path, changes: Sequence[str] = ()) -> Reading:
    """Read a run or a sweep. Names of modules are refused, as importing them would run them.

    Args:
        path: the file.
        changes: `field=value`, in place of the file's.

    Raises:
        SpecError: it is none, or a run cannot be.

    """
    content(path)  # refuses what is no file, or has no end
    with without_plugins():
        sweep = load_sweep(path, changes)
        runs = sweep.runs() if sweep.tune is None else candidates(sweep)
        claims = tuple(_claims(path, runs))
    return Reading(kind="runs", path=str(path), claims=claims, notes=NOTES)


def _claims(path: Path, runs: Sequence[RunSpec]) -> Iterator[OwnRun]:
    """Yield a claim for all runs that have it, named by what sets them apart from others."""
    groups: dict[OwnRun, list[RunSpec]] = {}
    for run in runs:
        groups.setdefault(_claim(path, run), []).append(run)
    telling = [
        name
        for name in _TELLING
        if len(_texts(runs, name)) > 1
        and all(len(_texts(group, name)) == 1 for group in groups.values())
    ]
    for claim, group in groups.items():
        label = [f"{symbol(name)} = {_texts(group, name).pop()}" for name in telling]
        count = f"{len(group)} run{'s' * (len(group) > 1)}"
        yield replace(claim, what=", ".join([*label, count]))


def _texts(runs: Sequence[RunSpec], name: str) -> set[str]:
    """Return the values of a field, as they are printed."""
    values = (getattr(run, name) for run in runs)
    return {"none" if value is None else number(value) for value in values}


def _claim(path: Path, run: RunSpec) -> OwnRun:
    plan = PrivacyPlan(run)
    spent, release = plan.spent, max(plan.releases, key=lambda each: each.sampling_rate)
    word = "epsilon"
    claimed: float | None = spent.epsilon
    if run.target_epsilon is not None:
        word, claimed = "target_epsilon", run.target_epsilon
    elif run.max_epsilon is not None:
        word, claimed = "max_epsilon", run.max_epsilon
    elif spent.reason is not None:
        claimed = None
    holds, why = spent, f"{plan.noisy_steps} steps, by {spent.accountant}, an upper bound"
    if spent.reason is not None:
        why = spent.reason
    elif not spent.is_upper_bound:
        holds = spend(replace(release, steps=plan.noisy_steps), run.delta)
        why = f"{spent.accountant} is an estimate; {holds.accountant} is an upper bound"
    return OwnRun(
        where=path.name,
        what="run",
        word=word,
        claimed=claimed,
        holds=holds,
        unit=release.unit,
        adjacency=str(release.adjacency),
        against=OUTSIDERS if release.selection else EVERYONE,
        why=why,
    )
