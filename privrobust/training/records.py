"""What is kept of the evaluations of many lanes, until there are results to make of it."""

from collections import deque
from collections.abc import Sequence

import numpy as np
import pandas as pd
from torch import Tensor

from privrobust.spec import RunSpec
from privrobust.training.evaluation import Evaluated
from privrobust.training.measures import Evaluation, Measures, Success


class Records:
    """Evaluations and measures by step, and who was right in the last evaluations."""

    def __init__(self, lanes: Sequence[RunSpec], examples: int) -> None:
        """Keep those of so many held-out examples."""
        self._evaluations = [spec.final_evaluations for spec in lanes]
        self._examples = examples
        self._steps: list[int] = []
        self._found: list[np.ndarray] = []  # of every step, (columns, lanes)
        self._correct: deque[Tensor] = deque(maxlen=max(self._evaluations))

    def add(self, step: int, evaluated: Evaluated, success: Success, measures: Measures) -> None:
        """Keep what was found at a step."""
        columns = [column.double() for column in (*evaluated.means, *success, *measures)]
        self._steps.append(step)
        self._found.append(np.stack([column.cpu().numpy() for column in columns]))
        self._correct.append(evaluated.correct)

    def history(self, lane: int) -> pd.DataFrame:
        """Make a lane's table, a row a step."""
        names = (*Evaluation._fields, *Success._fields, *Measures._fields)
        of_lane = np.array([found[:, lane] for found in self._found]).reshape(-1, len(names))
        steps = np.array(self._steps, dtype=int)
        return pd.DataFrame({"step": steps, **dict(zip(names, of_lane.T, strict=True))})

    def correct(self, lane: int) -> np.ndarray:
        """Average a lane's last evaluations: the share that got each example right, `(examples,)`.

        NaN where the run ended before the first.
        """
        if not self._correct:
            return np.full(self._examples, np.nan)
        last = list(self._correct)[-self._evaluations[lane] :]
        shares: np.ndarray = np.mean([correct[lane].numpy() for correct in last], axis=0)
        return shares
