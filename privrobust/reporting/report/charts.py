"""The figures of the report, as Vega-Lite specifications that the page draws by itself."""

from collections.abc import Sequence
from typing import Any

from privrobust.reporting.contests import Data
from privrobust.reporting.report.chart import Chart
from privrobust.reporting.report.heatmap import heatmap
from privrobust.reporting.report.opening import opening
from privrobust.reporting.report.privacy import privacy_chart
from privrobust.reporting.report.rows import Rows
from privrobust.reporting.report.training import training_chart


def charts(rows: Rows, drawn: dict[str, Any], data: Sequence[Data]) -> list[Chart]:
    """Make all figures, the one of privacy first; they open at what the findings speak of.

    Args:
        rows: of the table; one at least.
        drawn: their training curves, as from `curves`.
        data: what competes, as from `privrobust.reporting.contests.contests`; empty where all
            runs failed.

    """
    first = opening(rows, data)
    return [
        privacy_chart(rows, data, first),
        heatmap(rows, first),
        training_chart(rows, drawn, first),
    ]
