"""Numbers as they are printed."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privrobust.core.formatting import (
    decimals,
    in_full,
    in_percent,
    number,
    percent,
    rounded_down,
    rounded_up,
)


@pytest.mark.parametrize(
    ("value", "down", "up"),
    [
        (9.30551, "9.305", "9.306"),
        (9.9999, "9.999", "10.00"),
        (1e-7 / 3, "3.333e-8", "3.334e-8"),
        (2.0, "2", "2"),
        (0.1, "0.1", "0.1"),  # whose double is above it
        (0.1 + 1e-12, "0.1000", "0.1001"),
        (1747.23, "1747", "1748"),
        (12345.6, "12340", "12350"),
        (1.234567e30, "1.234e+30", "1.235e+30"),
        (math.inf, "∞", "∞"),
    ],
)
def test_rounding_goes_one_way(value, down, up):
    assert rounded_down(value, 4) == down
    assert rounded_up(value, 4) == up


@pytest.mark.parametrize(
    ("value", "down", "up"),
    [(3.2, "3.2", "3.2"), (0.3 * 32, "9.6", "9.6"), (1 / 3, "0.3333", "0.3334"), (1.0, "1", "1")],
)
def test_a_double_is_the_decimal_that_it_stands_for(value, down, up):
    assert rounded_down(value, 4) == down
    assert rounded_up(value, 4) == up


@given(st.floats(1e-300, 1e300), st.integers(1, 9))
def test_what_is_printed_bounds_the_value(value, digits):
    """To 1 in 10^12."""
    assert float(rounded_up(value, digits)) >= value * (1 - 1e-12)
    assert float(rounded_down(value, digits)) <= value * (1 + 1e-12)
    assert float(rounded_up(value, digits)) <= value * (1 + 10 ** (1 - digits)) * (1 + 1e-12)


@pytest.mark.parametrize(
    ("half", "digits"),
    [(14.4, 0), (6.2, 0), (1.44, 1), (0.62, 1), (0.14, 2), (0.06, 2), (0.001, 2), (0.0, 1)],
)
def test_the_interval_says_how_many_decimals(half, digits):
    assert decimals(half) == digits


def test_shares_are_in_percent():
    assert in_percent(0.85432, 0.0144) == ("85.4", "1.4")
    assert in_percent(0.85432, math.nan) == ("85.4", "")
    assert percent(0.85432) == "85.4"
    assert percent(math.nan) == ""


def test_what_rounds_to_zero_has_no_sign():
    assert in_percent(-0.004, 0.03) == ("0", "3")
    assert in_percent(-0.0004, math.nan) == ("0.0", "")
    assert percent(-0.0004) == "0.0"
    assert in_percent(-0.014, 0.03) == ("-1", "3")


@pytest.mark.parametrize(
    ("value", "short", "full"),
    [(32.0, "32", "32"), (0.12345678, "0.123457", "0.12345678"), (1e-5, "1e-05", "1e-05")],
)
def test_settings_are_short_or_in_full(value, short, full):
    assert number(value) == short
    assert in_full(value) == full
    assert number("for 4") == "for 4"
