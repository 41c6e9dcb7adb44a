"""Noise of a user's own: trained with, and never vouched for."""

import math
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch

from privrobust import RunSpec, train
from privrobust.accountants import (
    Release,
    available_accountants,
    budget_table,
    delta,
    max_clip_norm,
    max_steps,
    noise_scale,
    spend,
)
from privrobust.accountants.mechanism import Mechanism
from privrobust.errors import PrivRobustWarning, SpecError
from privrobust.noise import NoiseLaw, add_noise, parameter, register_noise_law
from privrobust.sweeps.runner import check
from privrobust.training.loop import train_lanes
from privrobust.training.noise import noise_std

SHORT = {"clip_norm": 1.0, "honest": 4, "steps": 4, "evaluate_every": 4}
DIGITS = Release(noise_scale=0.1, clip_norm=1.0, batch_size=32, dataset_size=95, steps=300)
REASON = "noise that no accountant knows (normal)"

pytestmark = pytest.mark.usefixtures("laws")


class Normal(NoiseLaw):
    """What accountants do not know to be Gaussian."""

    std = 1.0

    def draw(self, uniform):
        return torch.special.ndtri(uniform)


@dataclass(frozen=True)
class Triangular(NoiseLaw):
    """Of variance 1 without a tail, or wider."""

    order = 1
    width: float = parameter(math.sqrt(6), above=0)

    @property
    def std(self):
        return self.width / math.sqrt(6)

    def draw(self, uniform):
        folded = (2 * torch.minimum(uniform, 1 - uniform)).sqrt() - 1
        return self.width * torch.where(uniform < 0.5, folded, -folded)


@pytest.fixture
def laws():
    register_noise_law("normal", Normal)
    register_noise_law("triangular", Triangular)


@pytest.mark.parametrize("accountant", ["auto", *available_accountants()])
@pytest.mark.parametrize("message", ["vector", "sign"])
def test_no_accountant_ever_has_a_number(accountant, message):
    """Also where the law is one that it would know by its own name."""
    known = replace(DIGITS, message=message)
    unknown = replace(known, noise="normal")
    for releases in (unknown, [known, unknown]):
        spent = spend(releases, 1e-5, accountant)
        assert (spent.epsilon, spent.reason) == (math.inf, REASON)
        assert delta(releases, 3.0, accountant) == 1.0


def test_what_accountants_compute_with_has_no_such_noise():
    with pytest.raises(SpecError, match="noise: no accountant knows normal"):
        Mechanism.of(replace(DIGITS, noise="normal"))


def test_nothing_is_calibrated_to_a_target():
    release = replace(DIGITS, noise="normal")
    for find, what in ((noise_scale, "b"), (max_clip_norm, "C"), (max_steps, "T")):
        with pytest.raises(SpecError) as raised:
            find(release, 8.0)
        assert str(raised.value).endswith(f"no {what} meets a target with {REASON}")
    with pytest.raises(SpecError, match=r"target_epsilon: 8 cannot be met .*no accountant knows"):
        train(RunSpec(noise="normal", target_epsilon=8, **SHORT))
    with pytest.raises(SpecError, match="max_epsilon: 8: noise that no accountant knows"):
        train(RunSpec(noise="normal", noise_scale=0.1, max_epsilon=8, **SHORT))


def test_a_release_of_it_is_one_in_every_other_way():
    settings = {"noise_scale": 0.1, "clip_norm": 1.0, "batch_size": 32, "dataset_size": 95}
    release = Release(**settings, steps=300, noise="triangular( width = 3 )")
    assert release.noise == "triangular(width=3.0)"
    assert (release.norm, release.noise_multiplier) == ("l1", 3.2)
    assert type(release.dp_event()).__name__ == "NonPrivateDpEvent"
    assert eval(repr(release), {"Release": Release}) == release
    table = budget_table(**settings, steps=300, noise="normal", accountants=["pld", "basic"])
    assert table[["pld", "basic"]].to_numpy().tolist() == [[math.inf, math.inf]]


def test_a_run_has_the_noise_and_no_epsilon(messages_of):
    common = {"clip_norm": 1.0, "honest": 3, "steps": 5, "learning_rate": 1e-30, "batch_size": 16}
    silent, noisy = (
        messages_of(RunSpec(**common, noise="triangular", noise_scale=b)) for b in (0.0, 0.5)
    )
    noise = (noisy - silent) / 0.5
    assert noise.abs().max() < math.sqrt(6) + 1e-3
    assert float(noise.std()) == pytest.approx(1.0, rel=0.02)
    assert float(noise.mean()) == pytest.approx(0.0, abs=0.02)
    flat = noise.flatten(0, 2)  # every step and every worker draws its own
    assert (torch.corrcoef(flat) - torch.eye(len(flat))).abs().max() < 0.2
    result = train(RunSpec(**SHORT, noise="triangular", noise_scale=0.01))
    assert (result.epsilon, result.spent.reason) == (
        math.inf,
        "noise that no accountant knows (triangular)",
    )


def test_lanes_draw_what_runs_alone_draw():
    settings = [
        {"noise_scale": b, "seed": seed, "clip_norm": clip}
        for b, seed, clip in ((0.1, 0, 1.0), (0.0, 0, 1.0), (0.2, 1, None), (0.3, 0, 2.0))
    ]
    specs = [RunSpec(**{**SHORT, **each}, noise="normal") for each in settings]
    for spec, result in zip(specs, train_lanes(specs), strict=True):
        alone = train(spec)
        assert result.loss == pytest.approx(alone.loss, rel=1e-5)
        pd.testing.assert_frame_equal(result.history, alone.history, rtol=1e-3)
    check(specs)


def test_it_is_as_noisy_as_the_law_of_ours_that_it_is():
    """Other draws of one experiment."""
    common = {**SHORT, "steps": 100, "noise_scale": 0.05}
    ours = train(RunSpec(**common))
    own = train(RunSpec(**common, noise="normal"))
    assert own.accuracy == pytest.approx(ours.accuracy, abs=0.06)
    assert own.loss != ours.loss


def test_attacks_know_its_deviation_and_byzantine_workers_draw_it():
    spec = RunSpec(noise="triangular(width=3)", noise_scale=0.1, **SHORT)
    assert float(noise_std([spec], torch.device("cpu"))) == pytest.approx(0.1 * 3 / math.sqrt(6))
    attacked = {"byzantine": 1, "aggregator": "median", "noise": "normal", "noise_scale": 0.1}
    for attack in ("noise_aware_alie", "label_flip", "drift"):
        assert not train(RunSpec(attack=attack, **attacked, **SHORT)).diverged


def test_vectors_of_ones_own_loop_get_no_noise_that_promises_nothing():
    with pytest.raises(SpecError, match=r"noise: unknown name 'normal' \(known: gaussian, lap"):
        add_noise(torch.zeros(3), 1.0, 1.0, noise="normal")


class Short(Normal):
    def draw(self, uniform):
        return uniform[:1]


class Narrow(Normal):
    def draw(self, uniform):
        return uniform.float()


class Broken(Normal):
    def draw(self, uniform):
        return uniform.no_such_method()


class Nothing(Normal):
    std = 0.0


class Wordy(Normal):
    std = "wide"


class Unknown(Normal):
    std = math.nan


class Failing(Normal):
    @property
    def std(self):
        raise TypeError("of no\nnumber")


class Third(Normal):
    order = 3


class Both(Normal):
    order = "12"


@pytest.mark.parametrize(
    ("law", "message"),
    [
        (Short, "noise: Short draws a Tensor; accepted: a float64 tensor"),
        (Narrow, "noise: Narrow draws a Tensor; accepted: a float64 tensor"),
        (Broken, "Broken: it failed .*no_such_method"),
        (Nothing, r"order 2 and std 0.0; accepted: order 1 or 2, std above 0"),
        (Wordy, r"Wordy has order 2 and std 'wide'; accepted: order 1 or 2, std above 0"),
        (Unknown, r"order 2 and std nan; accepted: order 1 or 2, std above 0"),
        (Failing, r"Failing: it failed \(TypeError: of no, test_own_laws.py, line \d+\)"),
        (Third, r"order 3 and std 1.0; accepted: order 1 or 2, std above 0"),
        (Both, r"order '12' and std 1.0; accepted: order 1 or 2, std above 0"),
    ],
)
def test_what_is_no_law_is_refused_when_it_is_named(law, message):
    register_noise_law("wrong", law)
    for refused in (lambda: RunSpec(noise="wrong"), lambda: replace(DIGITS, noise="wrong")):
        with pytest.raises(SpecError, match=message) as raised:
            refused()
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "std", [Fraction(1, 2), Decimal("0.5"), np.float32(0.5), torch.tensor(0.5)]
)
def test_a_deviation_may_be_a_number_of_any_type(std):
    register_noise_law("normal", type("Of", (Normal,), {"std": std}))
    spec = RunSpec(noise="normal", noise_scale=0.1, **SHORT)
    assert float(noise_std([spec], torch.device("cpu"))) == pytest.approx(0.05)


def test_a_law_is_tried_out_once():
    tried = []

    class Counting(Normal):
        def draw(self, uniform):
            tried.append(len(uniform))
            return super().draw(uniform)

    register_noise_law("counting", Counting)
    for _ in range(3):
        RunSpec(noise="counting", noise_scale=0.1, **SHORT)
        replace(DIGITS, noise="counting")
    assert len(tried) == 1


def test_a_sweep_accepts_what_no_grid_has_to_hold():
    settings = {**SHORT, "noise_scale": 1e10, "clip_norm": 1e-10}
    own = RunSpec(**settings, noise="normal")
    with pytest.warns(PrivRobustWarning, match="nothing is learnt"):
        check([own])
    assert train(own).epsilon == math.inf
    with pytest.raises(SpecError, match=r"^noise_scale: 10000000000.0 is too large for a gr"):
        check([RunSpec(**settings)])
