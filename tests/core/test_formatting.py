"""Numbers as they are printed."""

import math

import pytest

from privrobust.core.formatting import (
    decimals,
    in_full,
    in_percent,
    number,
    percent,
    quotient,
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
        (0.1, "0.1000", "0.1001"),  # the double above 0.1
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
def test_quotients_never_look_better_than_they_are(value, down, up):
    assert quotient(value, 4, rounded_down) == down
    assert quotient(value, 4, rounded_up) == up


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
