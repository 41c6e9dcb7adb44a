import math
from dataclasses import FrozenInstanceError
from typing import Any

import dp_accounting as dp
import pytest

from privrobust.accountants import Release, epsilon
from privrobust.errors import SpecError

DIGITS: dict[str, Any] = {
    "noise_scale": 0.1,
    "clip_norm": 1.0,
    "batch_size": 32,
    "dataset_size": 95,
    "steps": 300,
}
WORKER: dict[str, Any] = {
    "noise_scale": 0.5,
    "clip_norm": 2.0,
    "steps": 10,
    "unit": "worker",
    "sampling": "full",
}


def test_example_level() -> None:
    r = Release(**DIGITS)
    assert r.sensitivity == pytest.approx(1 / 32)
    assert r.noise_multiplier == pytest.approx(3.2)
    assert r.sampling_rate == pytest.approx(32 / 95)
    assert r.norm == "l2"
    assert r.not_private_reason is None


def test_worker_level_without_and_with_sampled_workers() -> None:
    r = Release(**WORKER)
    assert (r.sensitivity, r.noise_multiplier, r.sampling_rate) == (2.0, 0.25, 1.0)
    sampled = Release(**{**WORKER, "sampling": "poisson"}, worker_sampling_rate=0.2)
    assert (sampled.sensitivity, sampled.noise_multiplier) == (2.0, 0.25)
    assert sampled.sampling_rate == pytest.approx(0.2)


def test_full_batches_need_no_batch_size() -> None:
    r = Release(noise_scale=0.1, clip_norm=1.0, dataset_size=50, steps=3, sampling="full")
    assert (r.sensitivity, r.sampling_rate) == (1 / 50, 1.0)


def test_replacing_doubles_the_sensitivity_and_leaves_sigma() -> None:
    one, other = Release(**DIGITS), Release(**DIGITS, adjacency="replace-one")
    assert other.sensitivity == 2 * one.sensitivity
    assert other.noise_multiplier == one.noise_multiplier


def test_a_proven_bound_stands_in_for_clipping() -> None:
    bounded = Release(**{**DIGITS, "clip_norm": None}, grad_norm_bound=1.0)
    assert epsilon(bounded) == epsilon(Release(**DIGITS))


def test_frozen_and_hashable() -> None:
    r = Release(**DIGITS)
    assert hash(r) == hash(Release(**DIGITS))
    with pytest.raises(FrozenInstanceError):
        r.steps = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noise_scale": -0.1}, "noise_scale: -0.1 is not a finite number, 0 or more"),
        ({"noise_scale": math.nan}, "noise_scale: nan is not a finite number, 0 or more"),
        ({"noise_scale": "0.1"}, "noise_scale: '0.1' is not a finite number, 0 or more"),
        ({"clip_norm": 0}, "clip_norm: 0 is not a finite number above 0"),
        ({"clip_norm": math.inf}, "clip_norm: inf is not a finite number above 0"),
        ({"batch_size": True}, "batch_size: True is not a finite number above 0"),
        ({"batch_size": 96}, "batch_size: 96 exceeds dataset_size, 95"),
        ({"batch_size": None}, "batch_size: Poisson sampling needs it"),
        ({"dataset_size": None}, "dataset_size: Poisson sampling needs it"),
        ({"dataset_size": 9.5}, "dataset_size: 9.5 is not a whole number, 1 or more"),
        ({"steps": 1.5}, "steps: 1.5 is not a whole number, 1 or more"),
        ({"steps": 0}, "steps: 0 is not a whole number, 1 or more"),
        ({"grad_norm_bound": 1.0}, "grad_norm_bound: give either clip_norm or grad_norm_bound"),
        ({"noise": "cauchy"}, "noise: 'cauchy' is not one of gaussian, laplace"),
        ({"noise": "laplace", "norm": "l2"}, "norm: Laplace noise needs a bound in the L1 norm"),
        ({"norm": "linf"}, "norm: 'linf' is not one of l2, l1"),
        ({"sampling": "shuffle"}, "sampling: 'shuffle' is not one of poisson, full"),
        ({"sampling": "full"}, "batch_size: 32 with sampling='full' is not dataset_size, 95"),
        (
            {"sampling": "full", "batch_size": None, "dataset_size": None},
            "dataset_size: full batches need it",
        ),
        ({"unit": "user"}, "unit: 'user' is not one of example, worker"),
        ({"adjacency": "bounded"}, "adjacency: 'bounded' is not one of add-or-remove"),
        ({"message": "bit"}, "message: 'bit' is not one of vector, sign"),
    ],
)
def test_invalid_releases_say_what_is_accepted(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        Release(**{**DIGITS, **change})
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"noise_scale": 0.0}, "no noise (b = 0)"),
        ({"clip_norm": None}, "no clipping and no gradient bound"),
    ],
)
def test_no_privacy_is_infinite_and_says_why(change: dict[str, Any], reason: str) -> None:
    r = Release(**{**DIGITS, **change})
    assert r.not_private_reason == reason
    assert epsilon(r) == math.inf
    assert r.dp_event() == dp.NonPrivateDpEvent()


def test_dp_events() -> None:
    step = dp.PoissonSampledDpEvent(32 / 95, dp.GaussianDpEvent(3.2))
    assert Release(**DIGITS).dp_event() == dp.SelfComposedDpEvent(step, 300)
    worker = Release(**WORKER, noise="laplace")
    assert worker.dp_event() == dp.SelfComposedDpEvent(dp.LaplaceDpEvent(0.25), 10)


@pytest.mark.parametrize("adjacency", ["add-or-remove", "replace-one", "zero-out"])
def test_dp_accounting_reads_the_event_as_we_do(adjacency: Any) -> None:
    relation = {
        "add-or-remove": dp.NeighboringRelation.ADD_OR_REMOVE_ONE,
        "replace-one": dp.NeighboringRelation.REPLACE_ONE,
        "zero-out": dp.NeighboringRelation.REPLACE_SPECIAL,
    }[adjacency]
    r = Release(**DIGITS, sampling_rate=32 / 95, adjacency=adjacency)
    theirs = dp.pld.PLDAccountant(relation, 1e-3).compose(r.dp_event()).get_epsilon(1e-5)
    assert epsilon(r, accountant="pld") == pytest.approx(theirs, rel=5e-4)
