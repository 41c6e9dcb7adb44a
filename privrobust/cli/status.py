"""The command that tells how far a store is: what is done, who is at work, what failed and why."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privrobust.cli import tracebacks
from privrobust.cli.saying import say
from privrobust.cli.train import Changes
from privrobust.core.escaping import in_terminal
from privrobust.core.json_document import document
from privrobust.errors import unknown_name

if TYPE_CHECKING:
    from privrobust.store import Store

_FORMS = ("terminal", "json")
_MOST_REASONS = 20


def status(
    context: typer.Context,
    store: Annotated[str, typer.Argument(help="File or postgresql:// address of results.")],
    sweep: Annotated[
        Path | None, typer.Argument(help="Of this sweep's runs only; tells what is missing.")
    ] = None,
    change: Changes = None,
    form: Annotated[str, typer.Option("--format", help="terminal or json.")] = "terminal",
) -> None:
    """Show how many runs are done, who is at work on which, and what failed and why.

    With --traceback, where failed runs ended, too: in which line of your attack, rule or model.

    \b
    Example:
      $ privrobust status results.db experiments/quickstart.yaml
    """
    if form not in _FORMS:
        raise unknown_name("format", form, _FORMS)
    from privrobust.store import Store
    from privrobust.sweeps.loading import load_sweep
    from privrobust.sweeps.planning import planned

    described = None if sweep is None else load_sweep(sweep, change or [])
    with Store(store, create=False) as results:
        keys = {run.key for run in planned(described, results)} if described else None
        found = _status(results, keys, tracebacks.is_asked(context))
    if form == "json":
        typer.echo(document(found))
    else:
        say(_status_lines(found))


def _status(store: "Store", keys: set[str] | None, in_full: bool) -> dict[str, Any]:
    """Count runs: all of the store, or those of these keys; `in_full` with tracebacks."""
    from privrobust.store.leases import is_gone

    done, claims, failed = store.keys(), store.claims(), store.failed()
    if keys is not None:
        done, claims = done & keys, claims[claims["key"].isin(keys)]
        failed = failed[failed.index.isin(keys)]
    found = {"done": len(done), "running": len(claims), "failed": len(failed)}
    if keys is not None:
        missing = len(keys) - len(done) - len(claims) - len(failed)
        found |= {"missing": missing, "of_the_sweep": len(keys)}
    owners = [
        {
            "owner": owner,
            "runs": len(of_owner),
            "seconds_left": float(of_owner["seconds_left"].max()),
            "has_ended": is_gone(owner),
        }
        for owner, of_owner in claims.groupby(claims["owner"].map(str))
    ]
    reasons = [{"reason": reason, "runs": count} for reason, count in failed.value_counts().items()]
    if in_full:
        attempts = store.failures().dropna(subset="details")
        last = dict(zip(attempts["reason"], attempts["details"], strict=True))
        reasons = [each | {"traceback": last.get(each["reason"])} for each in reasons]
    return {**found, "owners": owners, "failures": reasons}


def _status_lines(found: dict[str, Any]) -> str:
    lines = ["{done} done, {running} running, {failed} failed".format_map(found)]
    if "missing" in found:
        lines.append("{missing} of {of_the_sweep} runs of the sweep are missing".format_map(found))
    for each in found["owners"]:
        left = each["seconds_left"]
        lease = f"lease for {left:.0f} s" if left > 0 else "its lease ran out: free to take"
        if each["has_ended"]:
            lease = "it has ended: free to take"
        lines.append(f"running: {each['runs']} by {each['owner']} ({lease})")
    reasons = found["failures"]
    for each in reasons[:_MOST_REASONS]:
        lines.append(f"failed: {each['runs']} runs: {each['reason']}")
        lines += [f"    {line}" for line in (each.get("traceback") or "").splitlines()]
    if len(reasons) > _MOST_REASONS:
        lines.append(f"failed: {len(reasons) - _MOST_REASONS} more reasons")
    return "\n".join(map(in_terminal, lines))
