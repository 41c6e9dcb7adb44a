"""What is kept of the evaluations of many lanes, until there are results to make of it."""

from collections import deque
from collections.abc import Sequence

import numpy as np
import pandas as pd
from torch import Tensor

from privrobust.spec import RunSpec
from privrobust.training.evaluation import Evaluated
from privrobust.training.measures import Evaluation, Measures


class Records:
    """Evaluations and measures by step, and who was right in the last evaluations."""

    def __init__(self, lanes: Sequence[RunSpec], examples: int) -> None:
        """Keep those of so many held-out examples."""
        self._evaluations = [spec.final_evaluations for spec in lanes]
        self._examples = examples
        self._steps: dict[int, tuple[Evaluation, Measures]] = {}
        self._correct: deque[Tensor] = deque(maxlen=max(self._evaluations))

    def add(self, step: int, evaluated: Evaluated, measures: Measures) -> None:
        """Keep what was found at a step."""
        self._steps[step] = evaluated.means, measures
        self._correct.append(evaluated.correct)

    def history(self, lane: int) -> pd.DataFrame:
        """Make a lane's table, a row a step."""
        columns = ["step", *Evaluation._fields, *Measures._fields]
        rows = [
            (step, *(float(column[lane]) for part in parts for column in part))
            for step, parts in self._steps.items()
        ]
        # types also where there are no rows to tell them by
        kinds = {name: float if name != "step" else int for name in columns}
        return pd.DataFrame(rows, columns=columns).astype(kinds)

    def correct(self, lane: int) -> np.ndarray:
        """Average a lane's last evaluations: the share that got each example right, `(examples,)`.

        NaN where the run ended before the first.
        """
        if not self._correct:
            return np.full(self._examples, np.nan)
        last = list(self._correct)[-self._evaluations[lane] :]
        shares: np.ndarray = np.mean([correct[lane].numpy() for correct in last], axis=0)
        return shares
