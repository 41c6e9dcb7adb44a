"""The table of `privrobust check`: claims of a configuration, and what of them holds."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from privrobust.core.formatting import number, rounded_up
from privrobust.federated.check.findings import Finding, questions
from privrobust.federated.check.reading import Checked
from privrobust.reporting.tables.table import Column, Entry, Layout

if TYPE_CHECKING:
    import pandas as pd

_HEADS = ("mechanism", "claimed", "against", "neighbours", "holds", "delta", "verdict", "why")
_PREFIX = "DifferentialPrivacy"
ROUNDING = (
    "holds: epsilon over all rounds, rounded up; ∞ where nothing is private, ? where it cannot be "
    "told."
)
WHAT_IT_IS = "What is not stated is not guessed; what holds rests on code that does what it says."
NOTHING = "Nothing that claims privacy was found."


def record(checked: Checked) -> dict[str, Any]:
    """Return all of it for JSON, with every digit."""
    return {
        "kind": checked.reading.kind,
        "path": checked.reading.path,
        "rows": [found.as_record() for found in checked.findings],
        "questions": questions(checked.findings),
        "notes": list(checked.reading.notes),
    }


def check_frame(checked: Checked) -> "pd.DataFrame":
    """Make a row a finding, with all digits."""
    import pandas as pd

    rows = [asdict(found) | {"missing": " ".join(found.missing)} for found in checked.findings]
    return pd.DataFrame(rows, columns=[field.name for field in fields(Finding)])


def laid_out(checked: Checked) -> Layout:
    """Make the table that people read: a row a claim and whom it is against; reasons below it."""
    found = checked.findings
    marks = {
        why: str(place) for place, why in enumerate(dict.fromkeys(each.why for each in found), 1)
    }
    heads = [Column((name,), is_text=name not in ("holds", "delta")) for name in _HEADS]
    rows = [[Entry(text) for text in _row(each, marks)] for each in found]
    return Layout(heads, [rows], list(_notes(checked, marks)))


def _row(found: Finding, marks: dict[str, str]) -> list[str]:
    return [
        found.what.removeprefix(_PREFIX),
        found.claim,
        found.against,
        f"{found.unit}, {found.adjacency}",
        "?" if found.holds is None else rounded_up(found.holds, 4),
        "" if found.delta is None else number(found.delta),
        found.verdict,
        marks[found.why],
    ]


def _notes(checked: Checked, marks: dict[str, str]) -> Sequence[str]:
    places: dict[str, list[str]] = {}
    for found in checked.findings:
        places.setdefault(found.why, []).append(found.where)
    notes = [
        f"{mark}: {why} ({', '.join(dict.fromkeys(places[why]))})." for why, mark in marks.items()
    ]
    asked = questions(checked.findings)
    notes += [f"Not stated, to be answered: {each}" for each in asked]
    return [*notes, ROUNDING, WHAT_IT_IS, *checked.reading.notes]
