"""The page itself: what a store holds, put into the template, written whole or not at all."""

import base64
import hashlib
import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from privrobust.aggregators import list_aggregators
from privrobust.attacks import list_attacks
from privrobust.core.escaping import in_lines
from privrobust.core.files import write_whole
from privrobust.core.formatting import NBSP, counted, number, rounded_up
from privrobust.errors import PrivRobustError
from privrobust.reporting.contests import contests
from privrobust.reporting.findings import findings
from privrobust.reporting.metrics import METRICS
from privrobust.reporting.report import words
from privrobust.reporting.report.best import best
from privrobust.reporting.report.curves import MOST_RUNS, curves
from privrobust.reporting.report.recipes import recipe
from privrobust.reporting.report.rows import Rows, rows_of
from privrobust.reporting.scaling import about_scaling
from privrobust.reporting.tables.choice import tested
from privrobust.spec.run_fields import symbol
from privrobust.store import Store
from privrobust.store.reading import LEFT_OUT

_MOST_THRESHOLDS = 15
_MOST_REASONS = 8  # of failures, that are told before others fold away
_MOST_MEASURED = 500  # rows: those of more would weigh megabytes
_SPACE_IN_NUMBER = re.compile(r"(?<=[\d†‡°§]) (?=[%±])|(?<=±) (?=\d)")
_NOTHING = Rows([], [], [], [], "")


def write_report(
    store: Store, path: Path, runs: pd.DataFrame | None = None, name: str = ""
) -> None:
    """Write the page of a store, whole or not at all.

    Args:
        store: what it shows; a store without runs makes a page that says so.
        path: the file, replaced if it is there.
        runs: some of the store's, as from `Store.runs`; all by default.
        name: the page's title, that of the store's file or database by default.

    Raises:
        PrivRobustError: a package is missing, or the file cannot be written.

    """
    write_whole(page(store, runs, name).encode(), path)


def page(store: Store, runs: pd.DataFrame | None = None, name: str = "") -> str:
    """Return the page of a store, as HTML; for its arguments see `write_report`.

    Raises:
        PrivRobustError: altair or vl-convert-python is missing.

    """
    library = _library()
    runs = store.runs() if runs is None else runs
    main = tested(runs)
    tuning = runs[~runs.index.isin(main.index)]
    uncounted = int(tuning["repeats"].isna().sum())
    rows = rows_of(main, tuning) if len(main) else _NOTHING
    drawn = curves(store, rows)
    from privrobust.reporting.report.charts import charts

    competing = contests(main) if main["failure"].isna().any() else []
    figures = charts(rows, drawn, competing) if rows.rows else []
    marked = best(rows)
    script = _asset("table.js") + _asset("charts.js")
    return _environment().get_template("page.html.j2").render(
        name=name or _name(store),
        made=datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC").lstrip("0"),
        made_by=f"privrobust {version('privrobust')}",
        policy=_policy([library, script]),
        library=Markup(library),
        script=Markup(script),
        style=Markup(_asset("page.css") + _asset("charts.css")),
        runs=main,
        left_out=runs.attrs.get(LEFT_OUT, ""),
        split=" and ".join(main["evaluate_on"].unique()),
        task=words.task(main) if len(main) else "",
        in_short=words.in_short(main) if len(main) else "",
        findings=findings(main) if len(main) else [],
        counts=_counts(runs, len(store.claims())),
        overview=list(words.overview(main)) if len(main) else [],
        shared=words.shared(main) if len(main) else [],
        glossary=[
            *words.glossary(main["aggregator"].dropna().unique(), list_aggregators()),
            *words.glossary(main["attack"].dropna().unique(), list_attacks()),
        ],
        guarantees=list(words.guarantees(main)),
        odds=list(words.odds(main)),
        protected=words.protected(main),
        unprotected=list(words.unprotected(main)),
        tuning=counted(len(tuning), "run") if len(tuning) else "",
        uncounted=counted(uncounted, "run") if uncounted else "",
        table=rows,
        best=marked,
        metrics=METRICS,
        measured_by=rows.metrics if len(rows.rows) <= _MOST_MEASURED else [],
        most_measured=_MOST_MEASURED,
        choices=_choices(rows),
        notes=list(words.notes(rows, has_best=bool(marked))),
        reasons=_reasons(rows),
        attacks_lacking=words.attacks_lacking(rows),
        troubles=list(words.troubles(rows)),
        failed_tuning=int(tuning["failure"].notna().sum()),
        # those of more runs would take minutes to write
        recipes={
            row.number: Markup(escape(in_lines(recipe(row.runs))))
            for row in rows.rows
            if len(main) <= MOST_RUNS
        },
        versions=sorted(runs["versions"].dropna().unique()),
        figures=figures,
        payload=_seen(
            {
                "charts": {each.name: each.payload for each in figures if not each.lacks},
                "curves": drawn,
            }
        ),
        most_runs=MOST_RUNS,
        most_reasons=_MOST_REASONS,
        thresholds=_thresholds(rows),
        scaling_note=" ".join(about_scaling(main)),
    )  # fmt: skip


def _name(store: Store) -> str:
    """Return the name of a store's file without its ending, or that of a database."""
    return Path(store.location.partition("?")[0]).stem


def _counts(runs: pd.DataFrame, under_way: int) -> dict[str, int]:
    return {
        "runs": len(runs),
        "failed": int(runs["failure"].notna().sum()),
        "diverged": int(runs["diverged"].fillna(False).astype(bool).sum()),
        "under_way": under_way,
    }


def _reasons(rows: Rows) -> list[str]:
    """List why rows are not private, as the table's notes count them."""
    infinite = (row for row in rows.rows if math.isinf(row.epsilon))
    return list(dict.fromkeys(row.why_not_private for row in infinite))


def _choices(rows: Rows) -> list[tuple[str, list[tuple[str, str]]]]:
    """List what to filter by: fields that vary, and of each the values and how they are shown."""
    varied = {field: rows.values(field) for field in rows.named_by}
    varied["byzantine"] = sorted({row.byzantine for row in rows.rows})
    return [
        (field, [(_sortable(value), number(value)) for value in values])
        for field, values in varied.items()
        if len(values) > 1
    ]


def _thresholds(rows: Rows) -> list[tuple[str, str]]:
    """List epsilons to filter by: the value and how it is shown."""
    finite = sorted({row.epsilon for row in rows.rows if math.isfinite(row.epsilon)})
    apart = list({rounded_up(epsilon, 3): epsilon for epsilon in finite}.items())
    every = -(-len(apart) // _MOST_THRESHOLDS) or 1
    kept = apart[::-1][::every][::-1]
    return [(repr(epsilon), text) for text, epsilon in kept]


# --- the template ----------------------------------------------------------------------------


def _environment() -> Environment:
    """Escape everything that a store says: `autoescape` holds for every template."""
    environment = Environment(
        loader=PackageLoader("privrobust.reporting.report", "."),
        autoescape=True,
        finalize=_seen,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "breakable": _breakable,
        "header": symbol,
        "number": number,
    }
    environment.globals |= {"counted": counted, "sortable": _sortable}
    return environment


def _seen(value: Any) -> Any:
    """Let all signs of a text be seen, those in lists and mappings too, and no number break."""
    if isinstance(value, str) and not isinstance(value, Markup):
        parts = _SPACE_IN_NUMBER.sub(NBSP, value).split(NBSP)
        return NBSP.join(map(in_lines, parts))
    if isinstance(value, list | tuple):
        return [_seen(each) for each in value]
    return {key: _seen(each) for key, each in value.items()} if isinstance(value, dict) else value


def _breakable(text: str) -> Markup:
    """Let a name break after an underscore, beside its spaces, but in no parameter."""
    parts = re.split(r"(\([^()]*\))", _seen(text))
    return Markup().join(
        Markup("<wbr>") + part if place % 2 else escape(part).replace("_", Markup("_<wbr>"))
        for place, part in enumerate(parts)
    )


def _sortable(value: Any) -> str:
    """Write a number as JavaScript reads it, or the text; nothing for what is not known."""
    if isinstance(value, float) and not math.isfinite(value):
        return "" if math.isnan(value) else "Infinity"
    return repr(value) if isinstance(value, float) else str(value)


def _asset(name: str) -> str:
    return (resources.files("privrobust.reporting.report") / name).read_text(encoding="utf-8")


@cache
def _library() -> str:
    """Return Vega, Vega-Lite and Vega-Embed, from the package that carries them."""
    try:
        import altair
        import vl_convert
    except ImportError:
        raise PrivRobustError(
            "report: needs altair and vl-convert-python: pip install 'privrobust[report]'"
        ) from None
    schema = ".".join(altair.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=schema)
    return re.sub(r"</(?=script)", r"<\\/", bundle, flags=re.IGNORECASE)


def _policy(scripts: Iterable[str]) -> str:
    """Forbid to load anything from anywhere, and to run any script but these."""
    hashes = (hashlib.sha256(script.encode()).digest() for script in scripts)
    allowed = " ".join(f"'sha256-{base64.b64encode(each).decode()}'" for each in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
