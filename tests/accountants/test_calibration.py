import math
from dataclasses import replace

import pytest

from privrobust.accountants import (
    Accountant,
    Release,
    Spent,
    available_accountants,
    calibration,
    epsilon,
    max_clip_norm,
    max_steps,
    noise_scale,
    registry,
    spend,
)
from privrobust.accountants.calibration import CLOSENESS
from privrobust.accountants.mechanism import Composition
from privrobust.errors import SpecError

DIGITS = Release(noise_scale=0.1, clip_norm=1.0, batch_size=32, dataset_size=95, steps=300)
NAMES = [name for name in available_accountants() if name != "prv"]


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
    monkeypatch.setitem(registry._ACCOUNTANTS, "limited", Limited())
    once = replace(DIGITS, steps=1)
    b = noise_scale(once, 2.5, accountant="limited")  # sigma 0.4: 1, 0.5 and 0.25 are tried
    assert CLOSENESS * 2.5 <= epsilon(replace(once, noise_scale=b), accountant="limited") <= 2.5
    assert max_steps(once, 2.5, accountant="limited") == 8  # sigma 3.2: 1, 2, 8 and 32 are tried


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
