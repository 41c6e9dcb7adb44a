import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privrobust.accountants import (
    Accountant,
    Release,
    Spent,
    calibration,
    epsilon,
    max_clip_norm,
    max_steps,
    noise_scale,
    spend,
)
from privrobust.accountants.calibration import CLOSENESS
from privrobust.accountants.mechanism import Composition
from privrobust.accountants.registry import ACCOUNTANTS, accountants_of
from privrobust.errors import SpecError

DIGITS = Release(noise_scale=0.1, clip_norm=1.0, batch_size=32, dataset_size=95, steps=300)
NAMES = [name for name in accountants_of("vector") if name != "prv"]


@pytest.mark.parametrize("name", ["auto", *NAMES])
@pytest.mark.parametrize("target", [0.5, 8.0, 60.0])
def test_noise_for_a_target(name: str, target: float) -> None:
    b = noise_scale(DIGITS, target, accountant=name)
    spent = epsilon(replace(DIGITS, noise_scale=b), accountant=name)
    assert CLOSENESS * target <= spent <= target


@pytest.mark.parametrize("name", ["auto", "rdp"])
def test_clipping_norm_for_a_target(name: str) -> None:
    c = max_clip_norm(DIGITS, 8.0, accountant=name)
    assert CLOSENESS * 8 <= epsilon(replace(DIGITS, clip_norm=c), accountant=name) <= 8
    b = noise_scale(replace(DIGITS, clip_norm=c), 8.0, accountant=name)
    assert b == pytest.approx(0.1, rel=3e-3)


@pytest.mark.parametrize("name", ["auto", "moments"])
def test_steps_for_a_target(name: str) -> None:
    t = max_steps(DIGITS, 8.0, accountant=name)
    assert epsilon(replace(DIGITS, steps=t), accountant=name) <= 8
    assert epsilon(replace(DIGITS, steps=t + 1), accountant=name) > 8


def test_many_steps_are_found_in_few_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def counted(*arguments: object) -> Spent:
        asked.append(arguments)
        return spend(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(calibration, "spend", counted)
    r = replace(DIGITS, noise_scale=1.0)
    t = max_steps(r, 8.0, accountant="rdp")
    assert t > 10_000
    assert epsilon(replace(r, steps=t), accountant="rdp") <= 8
    assert epsilon(replace(r, steps=t + 1), accountant="rdp") > 8
    assert len(asked) < 20


class Limited(Accountant):
    """Has no value for little noise."""

    name = "limited"

    def compose_epsilon(self, steps: Composition, delta: float) -> float:
        (step, count), *_ = steps
        return count / step.noise_multiplier if step.noise_multiplier > 0.3 * count else math.nan


def test_a_search_goes_past_settings_without_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ACCOUNTANTS.registered, "limited", Limited())
    once = replace(DIGITS, steps=1)
    b = noise_scale(once, 2.5, accountant="limited")  # sigma 0.4: 1, 0.5 and 0.25 are tried
    assert CLOSENESS * 2.5 <= epsilon(replace(once, noise_scale=b), accountant="limited") <= 2.5
    assert max_steps(once, 2.5, accountant="limited") == 8  # sigma 3.2: 1, 2, 8 and 32 are tried


settled = st.builds(
    Release,
    noise_scale=st.just(0.0),
    clip_norm=st.floats(1e-3, 1e3),
    batch_size=st.floats(1, 64),
    dataset_size=st.integers(64, 1000),
    steps=st.integers(1, 50),
)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=6, derandomize=True, deadline=None, database=None)
@given(each=st.lists(settled, min_size=1, max_size=2), target=st.floats(0.3, 30))
def test_there_and_back_never_exceeds_the_target(
    name: str, each: list[Release], target: float
) -> None:
    """To the last bit, of one release and of several."""
    several = each if len(each) > 1 else each[0]
    try:
        b = noise_scale(several, target, accountant=name)
    except SpecError as error:
        assert "out of reach" in str(error) or "no value" in str(error)  # noqa: PT017
        return
    noisy = [replace(release, noise_scale=b) for release in each]
    assert epsilon(noisy if len(each) > 1 else noisy[0], accountant=name) <= target
    c = max_clip_norm(noisy, target, accountant=name)
    clipped = [replace(release, clip_norm=c) for release in noisy]
    assert CLOSENESS * target <= epsilon(clipped, accountant=name) <= target


def test_several_releases_calibrate_as_one_does() -> None:
    halves = [replace(DIGITS, steps=100), replace(DIGITS, steps=200)]
    for several in (halves, tuple(halves), iter(halves), np.array(halves, dtype=object)):
        assert noise_scale(several, 8.0) == noise_scale(DIGITS, 8.0)
    assert max_clip_norm(halves, 8.0) == max_clip_norm(DIGITS, 8.0)
    assert noise_scale([DIGITS], 8.0) == noise_scale(DIGITS, 8.0)
    assert max_steps([DIGITS], 8.0) == max_steps(DIGITS, 8.0)


def test_steps_after_earlier_ones() -> None:
    earlier = replace(DIGITS, steps=100)
    assert max_steps([earlier, DIGITS], 8.0) == max_steps(DIGITS, 8.0) - 100
    louder = replace(DIGITS, noise_scale=0.3)
    t = max_steps([earlier, louder], 8.0)
    assert epsilon([earlier, replace(louder, steps=t)]) <= 8
    assert epsilon([earlier, replace(louder, steps=t + 1)]) > 8
    with pytest.raises(SpecError, match=r"^steps: one step after the earlier ones spends 9\.3"):
        max_steps([DIGITS, DIGITS], 9.0)


@pytest.mark.parametrize("call", [noise_scale, max_clip_norm, max_steps])
def test_releases_that_are_none_are_refused(call: Callable[..., float]) -> None:
    for given_, message in [([], "an empty sequence"), (5, "5 is not a Release, nor several")]:
        with pytest.raises(SpecError, match=f"^releases: {message}"):
            call(given_, 1.0)
    worker = replace(DIGITS, unit="worker")
    with pytest.raises(SpecError, match=r"^unit: releases that compose must agree"):
        call([DIGITS, worker], 1.0)


def test_laplace_and_worker_level_calibrate_too() -> None:
    r = Release(
        noise_scale=0, clip_norm=1, steps=20, unit="worker", sampling="full", noise="laplace"
    )
    b = noise_scale(r, 4.0)
    assert CLOSENESS * 4 <= epsilon(replace(r, noise_scale=b)) <= 4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: noise_scale(DIGITS, 0.0), "epsilon: the target 0.0 is not a finite number"),
        (lambda: noise_scale(DIGITS, "8"), "epsilon: the target '8' is not a finite number"),
        (
            lambda: max_steps(replace(DIGITS, noise_scale=0.0), 1.0),
            "steps: no T meets a target with no noise",
        ),
        (lambda: noise_scale(DIGITS, 1.0, 2.0), "delta: 2.0 is not between 0 and 1"),
        (lambda: noise_scale(DIGITS, 1.0, accountant="plt"), "accountant: unknown name 'plt'; did"),
        (
            lambda: noise_scale(replace(DIGITS, clip_norm=None), 1.0),
            "noise_scale: no b meets a target with no clipping and no gradient bound",
        ),
        (
            lambda: noise_scale(DIGITS, 1e-2, accountant="moments"),
            "noise_scale: epsilon = 0.01 is out of reach of moments, which reports 0.3598 or more",
        ),
        (
            lambda: max_clip_norm(replace(DIGITS, noise_scale=0), 1.0),
            "clip_norm: no C meets a target with no noise (b = 0)",
        ),
        (lambda: max_steps(DIGITS, 0.1), "steps: one step alone spends "),
    ],
)
def test_what_cannot_be_met_is_said(call: object, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        call()  # type: ignore[operator]
    assert str(caught.value).startswith(message)
