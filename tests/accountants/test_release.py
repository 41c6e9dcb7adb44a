import copy
import math
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict, replace
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


def test_workers_are_sampled_by_a_rate_of_their_own() -> None:
    settings = {**WORKER, "sampling": "poisson"}
    every = Release(**settings, batch_size=3, dataset_size=15)
    assert every.sampling_rate == 1.0  # those are examples, which amplify nothing here
    assert Release(**settings, batch_size=99, dataset_size=15).sampling_rate == 1.0
    assert epsilon(every) == epsilon(Release(**WORKER))
    assert epsilon(Release(**settings, worker_sampling_rate=0.2)) < epsilon(every)
    assert replace(Release(**DIGITS), unit="worker").sampling_rate == 1.0


def test_a_public_q_takes_the_place_of_n() -> None:
    rated = {**DIGITS, "sampling_rate": 32 / 95}
    r = Release(**{**rated, "dataset_size": None})
    assert r.adjacency == "add-or-remove"
    assert epsilon(r) == epsilon(Release(**DIGITS))
    assert Release(**{**rated, "dataset_size": 7}).sampling_rate == 32 / 95  # n is information
    assert Release(**{**rated, "batch_size": 500}).sensitivity == 1 / 500
    whole = Release(**{**rated, "sampling_rate": 1, "sampling": "full", "dataset_size": None})
    assert (whole.sampling_rate, whole.sensitivity) == (1.0, 1 / 32)
    assert whole.adjacency == "add-or-remove"


@pytest.mark.parametrize(
    ("settings", "adjacency"),
    [
        (DIGITS, "zero-out"),
        ({**DIGITS, "sampling_rate": 0.3}, "add-or-remove"),
        ({**DIGITS, "sampling": "full", "batch_size": None}, "zero-out"),
        ({**DIGITS, "sampling": "full", "batch_size": None, "sampling_rate": 1}, "zero-out"),
        (WORKER, "zero-out"),
    ],
)
def test_the_neighbours_that_hold_are_the_default(settings: dict[str, Any], adjacency: str) -> None:
    r = Release(**settings)
    assert r.adjacency == adjacency
    assert "adjacency" not in repr(r)
    chosen = Release(**settings, adjacency=r.adjacency, noise="laplace")
    assert chosen.adjacency == adjacency
    if settings is not WORKER:
        for other in ("zero-out", "replace-one"):
            assert Release(**settings, adjacency=other).adjacency == other  # type: ignore[arg-type]


def test_n_that_decides_q_cannot_change_between_neighbours() -> None:
    """Taking an example out of 95 makes q 32 / 94: the literal reading costs 10.47, not 9.31."""
    for change in ({}, {"sampling": "full", "batch_size": None}):
        settings: dict[str, Any] = {**DIGITS, **change}
        with pytest.raises(SpecError, match=r"^adjacency: 'add-or-remove' would change") as raised:
            Release(**settings, adjacency="add-or-remove")
        assert len(str(raised.value)) < 200
    assert Release(**WORKER, adjacency="add-or-remove").adjacency == "add-or-remove"


COPIES: dict[str, Callable[[Release], Release]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda r: pickle.loads(pickle.dumps(r)),
    "repr": lambda r: eval(repr(r)),
    "asdict": lambda r: Release(**asdict(r)),
    "replace": replace,
}


@pytest.mark.parametrize("copied", COPIES)
def test_what_follows_from_other_fields_follows_them(copied: str) -> None:
    r = COPIES[copied](Release(**DIGITS))
    assert (r, hash(r)) == (Release(**DIGITS), hash(Release(**DIGITS)))
    assert type(r.sampling_rate + 0) is float
    assert replace(r, dataset_size=50).sampling_rate == 32 / 50
    assert replace(r, batch_size=95).sampling_rate == 1.0
    assert replace(r, sampling="full", batch_size=None).sampling_rate == 1.0
    with pytest.raises(SpecError, match=r"^dataset_size: .* needs it, or a sampling_rate"):
        replace(r, dataset_size=None)
    rated = COPIES[copied](replace(r, sampling_rate=0.25))
    assert (rated.sampling_rate, rated.adjacency) == (0.25, "add-or-remove")
    assert replace(rated, dataset_size=50).sampling_rate == 0.25
    assert replace(rated, sampling_rate=None) == r
    chosen = COPIES[copied](replace(r, adjacency="zero-out"))
    assert "zero-out" in repr(chosen)
    assert replace(COPIES[copied](chosen), sampling_rate=0.25).adjacency == "zero-out"


@pytest.mark.parametrize("name", ["sampling_rate", "worker_sampling_rate"])
def test_rates_are_settings_like_others_of_a_sequence(name: str) -> None:
    settings = {**DIGITS, "unit": "worker"} if name[0] == "w" else DIGITS
    one, other = (Release(**settings, **{name: rate}) for rate in (0.2, 0.3))
    assert epsilon(one) < epsilon([one, replace(other, steps=1)]) < epsilon([one, other])
    if settings is DIGITS:
        with pytest.raises(SpecError, match="adjacency: releases that compose must agree"):
            epsilon([one, Release(**DIGITS)])


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
        ({"batch_size": True}, "batch_size: true is not a finite number above 0"),
        ({"batch_size": 96}, "batch_size: 96 exceeds dataset_size, 95"),
        ({"batch_size": None}, "batch_size: Poisson sampling needs it"),
        ({"dataset_size": None}, "dataset_size: Poisson sampling needs it"),
        ({"dataset_size": 9.5}, "dataset_size: 9.5 is not a whole number, 1 or more"),
        ({"steps": 1.5}, "steps: 1.5 is not a whole number, 1 or more"),
        ({"steps": 0}, "steps: 0 is not a whole number, 1 or more"),
        ({"grad_norm_bound": 1.0}, "grad_norm_bound: give either clip_norm or grad_norm_bound"),
        ({"noise": "cauchy"}, "noise: unknown name 'cauchy' (known: gaussian, laplace, logistic)"),
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
        ({"noise": ["laplace"]}, "noise: ['laplace'] is not accepted: text"),
        ({"sampling_rate": 0}, "sampling_rate: 0 is not in (0, 1]"),
        ({"sampling_rate": 1.01}, "sampling_rate: 1.01 is not in (0, 1]"),
        ({"sampling_rate": 0.5, "batch_size": None}, "batch_size: Poisson sampling needs it"),
        (
            {"sampling_rate": 0.5, "sampling": "full"},
            "sampling_rate: 0.5 with sampling='full'; accepted: 1, or sampling='poisson'",
        ),
        (
            {"sampling_rate": 0.5, "unit": "worker"},
            "sampling_rate: 0.5 is that of examples; for the unit 'worker' give worker_sampling",
        ),
        (
            {"worker_sampling_rate": 0.5},
            "worker_sampling_rate: 0.5 needs the unit 'worker'; that of examples is sampling_rate",
        ),
        ({"worker_sampling_rate": 1.5, "unit": "worker"}, "worker_sampling_rate: 1.5 is not in"),
        (
            {"worker_sampling_rate": 0.5, "unit": "worker", "sampling": "full"},
            "worker_sampling_rate: 0.5 with sampling='full'; accepted: 1, or",
        ),
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


def test_what_another_release_found_is_given_where_it_is_handed_on() -> None:
    r = Release(**DIGITS)
    larger = Release(**{**DIGITS, "dataset_size": 1000}, sampling_rate=r.sampling_rate)
    assert larger.sampling_rate == 32 / 95
    assert larger.adjacency == "add-or-remove"
    assert replace(larger, dataset_size=50).sampling_rate == 32 / 95
    rated = Release(**DIGITS, sampling_rate=0.25)
    with pytest.raises(SpecError, match=r"^adjacency: 'add-or-remove' would change q"):
        Release(**DIGITS, adjacency=rated.adjacency)
