"""The figures of the report, as Vega-Lite specifications that the page draws by itself."""

from typing import Any

from privrobust.reporting.report.chart import Chart
from privrobust.reporting.report.heatmap import heatmap
from privrobust.reporting.report.privacy import privacy_chart
from privrobust.reporting.report.rows import Rows
from privrobust.reporting.report.training import training_chart


def charts(rows: Rows, drawn: dict[str, Any]) -> list[Chart]:
    """Make all figures, the one of privacy first.

    Args:
        rows: of the table; one at least.
        drawn: their training curves, as from `curves`.

    """
    return [privacy_chart(rows), heatmap(rows), training_chart(rows, drawn)]
