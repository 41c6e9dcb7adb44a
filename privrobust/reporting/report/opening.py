"""What the figures show first: the row that the findings speak of."""

import math
from collections.abc import Sequence

from privrobust.reporting.contests import Data
from privrobust.reporting.report.rows import Row, Rows


def opening(rows: Rows, data: Sequence[Data]) -> Row:
    """Choose a row of the rule that withstands most at the least epsilon at which any does.

    Of its epsilons that is the one in the middle of those that are finite, against as many
    attackers. Where no rule withstands any, it is the best at the least epsilon.

    Args:
        rows: of the table; one at least.
        data: what competes, as from `privrobust.reporting.contests.contests`; empty where all
            runs failed.

    Returns:
        The first row of all where no rule can be judged.

    """
    told = data[0].to_use if data else None
    if told is None:
        return rows.rows[0]
    same = [each for each in data[0].everywhere(told.first) if each.left(told.f)]
    private = [each for each in same if math.isfinite(each.epsilon)] or same
    middle = private[(len(private) - 1) // 2]
    return next(row for row in rows.rows if (row.at, row.byzantine) == (middle.at, told.f))
