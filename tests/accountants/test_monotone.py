"""More noise, less clipping norm, fewer steps, rarer sampling, larger delta: never more epsilon."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privrobust.accountants import Release, epsilon
from privrobust.accountants.pld import TOLERANCE

SETTINGS = settings(max_examples=12, derandomize=True, deadline=None, database=None)
ACCOUNTANTS = pytest.mark.parametrize("name", ["pld", "rdp", "moments", "basic"])

releases = st.builds(
    Release,
    noise_scale=st.floats(0.02, 1.0),
    clip_norm=st.floats(0.5, 2.0),
    batch_size=st.integers(8, 64),
    dataset_size=st.integers(70, 1000),
    steps=st.integers(1, 500),
)


def assert_no_more(cheap: Release, dear: Release, name: str, factor: float = 1.0) -> None:
    low = epsilon(cheap, 1e-5 * factor, name)
    assert low <= epsilon(dear, 1e-5, name) * (1 + 2 * TOLERANCE) + 1e-9


@ACCOUNTANTS
@pytest.mark.parametrize(
    ("field", "grow"),
    [
        ("noise_scale", lambda value, by: value / by),
        ("clip_norm", lambda value, by: value * by),
        ("steps", lambda value, by: int(value * by) + 1),
        ("dataset_size", lambda value, by: max(64, int(value / by))),
    ],
)
@SETTINGS
@given(r=releases, by=st.floats(1.01, 3.0))
def test_monotone(name: str, field: str, grow: Any, r: Release, by: float) -> None:
    dearer = replace(r, **{field: grow(getattr(r, field), by)})
    assert_no_more(r, dearer, name)


@ACCOUNTANTS
@SETTINGS
@given(r=releases, factor=st.floats(1.5, 1000))
def test_monotone_in_delta(name: str, r: Release, factor: float) -> None:
    assert_no_more(r, r, name, factor)
