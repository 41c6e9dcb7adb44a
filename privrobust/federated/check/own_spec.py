"""Read our own YAML: a run, or a sweep of them, each with the budget that it states."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from privrobust.accountants import spend
from privrobust.core.formatting import number
from privrobust.core.plugins import without_plugins
from privrobust.federated.check.claims import OwnRun, Reading
from privrobust.federated.check.files import content
from privrobust.spec import RunSpec
from privrobust.spec.field_meaning import Role
from privrobust.spec.run_fields import named, symbol
from privrobust.sweeps.loading import load_sweep
from privrobust.training.privacy_plan import PrivacyPlan

_TELLING = named(lambda field: field.role not in (Role.SEED, Role.PLACE))

NOTES = (
    "Budgets are of one run; more runs on the same data, those of a sweep, add to them.",
    "Against everyone who sees what workers send, so against the server, too; accuracy that is "
    "measured on test data is in no epsilon here.",
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
        runs = load_sweep(path, changes).runs()
        claims = tuple(_claims(path, runs))
    return Reading(kind="runs", path=str(path), claims=claims, notes=NOTES)


def _claims(path: Path, runs: Sequence[RunSpec]) -> Iterator[OwnRun]:
    """Yield a claim for all runs that differ in their seeds alone."""
    several = {run.model_copy(update={"seed": 0}).key: run for run in runs}.values()
    differing = [name for name in _TELLING if len({str(getattr(run, name)) for run in several}) > 1]
    for run in several:
        label = ", ".join(f"{symbol(name)} = {_text(run, name)}" for name in differing)
        yield _claim(path, run, label or "run")


def _text(run: RunSpec, name: str) -> str:
    value = getattr(run, name)
    return "none" if value is None else number(value)


def _claim(path: Path, run: RunSpec, label: str) -> OwnRun:
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
    holds, why = spent, f"{plan.steps} steps, by {spent.accountant}, an upper bound"
    if spent.reason is not None:
        why = spent.reason
    elif not spent.is_upper_bound:
        from dataclasses import replace

        holds = spend(replace(release, steps=plan.steps), run.delta)
        why = f"{spent.accountant} is an estimate; {holds.accountant} is an upper bound"
    return OwnRun(
        where=path.name,
        what=label,
        word=word,
        claimed=claimed,
        holds=holds,
        unit=release.unit,
        adjacency=str(release.adjacency),
        why=why,
    )
