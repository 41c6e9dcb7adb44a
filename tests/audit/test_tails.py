"""Noise with cut tails is found, noise with all of them is let be."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from privrobust import RunSpec
from privrobust.audit import Gaussian, audit_noise, audit_tails
from privrobust.errors import SpecError
from privrobust.training import noise as training_noise

DELTA = 1e-5


def normals(seed=0):
    return np.random.default_rng(seed).standard_normal


@pytest.mark.parametrize("sigma", [0.8, 1.0])
@pytest.mark.parametrize(
    "cut",
    [
        lambda x: x.clip(-4, 4),
        lambda x: x[np.abs(x) < 4],  # drawn again
        lambda x: 4 * np.tanh(x / 4),
        np.abs,
        lambda x: x.clip(max=4),
    ],
)
def test_cut_tails_are_found(cut, sigma):
    draw = normals()

    def noise(count):
        return cut(draw(count + count // 100 + 100))[:count].astype(np.float32)

    result = audit_noise(noise, 1 / sigma, Gaussian(1 / sigma).epsilon(DELTA), DELTA, draws=10**7)
    assert result.is_refuted
    assert result.p_value < 1e-6


def test_bounds_are_below_the_truth_and_near_it():
    """Of uniform noise the event has an exact epsilon: a / 2 lies where noise cannot, p0 is 0."""
    rng = np.random.default_rng(1)
    result = audit_noise(lambda n: rng.uniform(-1, 1, n), 0.2, 1.0, DELTA, draws=10**6)
    p0 = -math.log(0.9 * 0.05) / (0.8 * 10**6)  # the limit of none
    assert 0.9 * math.log(0.1 / p0) < result.epsilon_lower_bound < math.log(0.2 / p0)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("steps", "rate"), [(1, 1.0), (500, 0.05)])
def test_whole_tails_are_let_be(seed, steps, rate):
    """By the exact rates of Gaussian noise the best event shows at most the claim."""
    cuts = np.linspace(0, 8, 400)
    p0 = -np.expm1(steps * np.log1p(-norm.sf(cuts)))
    p1 = -np.expm1(steps * np.log1p(-(1 - rate) * norm.sf(cuts) - rate * norm.sf(cuts - 1)))
    most = np.log(np.maximum(p1 - DELTA, 1e-300) / p0).max()
    result = audit_noise(
        normals(seed), 1.0, most, DELTA, steps=steps, sampling_rate=rate, draws=3 * 10**6
    )
    assert not result.is_refuted
    assert result.epsilon_lower_bound < most


def test_missing_tails_add_up_over_steps():
    draw = normals()

    def noise(count):
        return draw(count).clip(-4, 4)

    bounds = [
        audit_noise(noise, 1.0, 5.0, DELTA, steps=steps, sampling_rate=0.01, draws=10**6)
        for steps in (1, 100)
    ]
    assert bounds[0].epsilon_lower_bound < bounds[1].epsilon_lower_bound


def test_runs_of_this_package_are_let_be_and_others_found(monkeypatch):
    spec = RunSpec(honest=4, clip_norm=1.0, noise_scale=0.02, steps=1, batch_size=32)
    result = audit_tails(spec, draws=4 * 10**6)
    assert not result.is_refuted
    assert result.accountant != "stated"

    class Cut(training_noise.Perturbation):
        def __call__(self, averages, into=None):
            return super().__call__(averages, into).clamp(-0.08, 0.08)

    monkeypatch.setattr(training_noise, "Perturbation", Cut)
    assert audit_tails(spec, draws=4 * 10**6).epsilon_lower_bound > result.epsilon_lower_bound + 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sigma", "delta", "epsilon"), [(1.0, 1e-7, 5.349), (0.5, 1e-5, 9.997), (0.8, 1e-8, 7.418)]
)
def test_float32_noise_of_torch_is_found(sigma, delta, epsilon):
    """At the claims of an accountant, to 1 in 10^6: its normals end at 5.768."""
    generator = torch.Generator().manual_seed(5)

    def noise(count):
        return torch.randn(count, generator=generator)

    result = audit_noise(noise, 1 / sigma, epsilon, delta, draws=4 * 10**9)
    assert result.is_refuted


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"draw": lambda n: "text"}, "draw: 'text' is not accepted: .* floating-point numbers"),
        ({"draw": lambda n: np.zeros(n + 1)}, "draw: .* floating-point numbers"),
        ({"draw": lambda n: np.full(n, np.nan)}, "draw: .* not NaN"),
        ({"contribution": 0}, "contribution: 0 is not a finite number above 0"),
        ({"epsilon": -1}, "epsilon: -1 is not"),
        ({"delta": 1}, "delta: 1 is not"),
        ({"sampling_rate": 0}, "sampling_rate: 0 is not a number above 0, up to 1"),
        ({"steps": 0}, "steps: 0 is not"),
        ({"draws": 10}, "draws: 10 is not a whole number from 1000 up"),
        ({"confidence": 0}, "confidence: 0 is not"),
    ],
)
def test_what_is_refused(settings, message):
    known = {"draw": normals(), "contribution": 1.0, "epsilon": 1.0, "delta": DELTA, "draws": 1000}
    with pytest.raises(SpecError, match=message) as raised:
        audit_noise(**(known | settings))
    assert "\n" not in str(raised.value)


def test_noise_that_workers_share_is_refused():
    spec = RunSpec(clip_norm=1.0, noise_scale=0.1, pairwise_noise=0.5)
    with pytest.raises(SpecError, match=r"^pairwise_noise: 0.5 with canaries: tails"):
        audit_tails(spec)


def test_runs_without_noise_are_refused():
    with pytest.raises(SpecError, match="noise_scale: 0"):
        audit_tails(RunSpec(noise_scale=0.0))


def test_runs_whose_steps_draw_no_examples_apart_are_refused():
    spec = RunSpec(noise_scale=0.1, clip_norm=1.0, steps=3, sampling="shuffled")
    with pytest.raises(SpecError, match="sampling: shuffled with canaries: tails"):
        audit_tails(spec)
