"""Student's interval, against SciPy's."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from privrobust.reporting.intervals import half_width


@pytest.mark.parametrize("level", [0.5, 0.95, 1 - 0.05 / 7])
@pytest.mark.parametrize("count", [2, 3, 5, 40])
def test_half_of_an_interval_is_that_of_scipy(count, level):
    values = np.random.default_rng(count).normal(size=count)
    low, high = stats.t.interval(level, count - 1, values.mean(), stats.sem(values))
    found = half_width(values.std(ddof=1), count, level)
    assert float(found) == pytest.approx((high - low) / 2, rel=1e-12)


def test_less_than_two_values_have_none():
    deviation, count = pd.Series([1.0, math.nan, math.nan]), pd.Series([3, 1, 0])
    assert np.isnan(half_width(deviation, count)).tolist() == [False, True, True]
    assert math.isnan(half_width(1.0, 1))
