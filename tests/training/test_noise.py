"""The noise of lanes of runs: whose it is, and that it is of the grid that a run has."""

import math

import pytest
import torch

from privrobust import RunSpec
from privrobust.errors import SpecError
from privrobust.noise import NOISE_LAWS, derived_keys
from privrobust.training.noise import Perturbation, device_words, grid_of
from privrobust.training.privacy_plan import PrivacyPlan

CPU = torch.device("cpu")
RUN = RunSpec(honest=3, clip_norm=1.0, noise_scale=0.1)
LAWS = ["gaussian", "laplace", "logistic"]


def perturbation(runs, dim=4001, owner=""):
    return Perturbation([PrivacyPlan(run) for run in runs], (3, dim), CPU, owner)


def run(**settings):
    return RunSpec(**dict(RUN) | settings)


def averages(lanes, dim=4001, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(lanes, 3, dim, generator=generator, dtype=torch.float64) * 1e-3


def of_lane(runs, lane, **settings):
    """What a lane sends in two steps beside others, and alone."""
    steps = [averages(len(runs), seed=step) for step in (0, 1)]
    together, alone = perturbation(runs, **settings), perturbation([runs[lane]], **settings)
    return [
        (together(step.clone())[lane], alone(step[lane : lane + 1].clone())[0]) for step in steps
    ]


@pytest.mark.parametrize("noise", LAWS)
def test_a_run_draws_the_same_alone_and_beside_any_others(noise):
    others = [
        {"seed": 1}, {"noise_scale": 0.0}, {"clip_norm": None}, {"noise_scale": 3.0}, {"seed": 2},
    ]  # fmt: skip
    runs = [run(noise=noise, **settings) for settings in others]
    for lane in range(len(runs)):
        for together, alone in of_lane(runs, lane):
            assert torch.equal(together, alone)


def test_owners_workers_steps_and_seeds_draw_apart():
    zero = torch.zeros(2, 3, 4001, dtype=torch.float64)
    drawn = []
    for owner in ("", "byzantine "):
        perturb = perturbation([run(seed=0), run(seed=1)], owner=owner)
        drawn += [perturb(zero.clone()), perturb(zero.clone())]
    vectors = torch.cat([each.flatten(0, 1) for each in drawn]).double()
    correlation = torch.corrcoef(vectors) - torch.eye(len(vectors))
    assert len(vectors) == 24
    assert float(correlation.abs().max()) < 6.5 / math.sqrt(4001)  # 276 pairs: once in 10^7


def test_lanes_of_one_seed_share_xi():
    """Common random numbers: what differs is b alone, to half a step of either grid."""
    runs = [run(noise_scale=0.1), run(noise_scale=0.4)]
    sent = perturbation(runs)(torch.zeros(2, 3, 4001, dtype=torch.float64)).double()
    steps = [grid_of(PrivacyPlan(each), 4001).step for each in runs]
    assert float((4 * sent[0] - sent[1]).abs().max()) <= 2 * steps[0] + steps[1] / 2 + 1e-6
    assert float(sent[0].std() / 0.1) == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize(
    "settings",
    [{}, {"unit": "worker"}, {"clip_norm": None, "grad_norm_bound": 0.01}, {"noise": "laplace"}],
)
def test_what_is_sent_is_whole_steps_of_a_grid_that_public_numbers_decide(settings):
    spec = run(**settings)
    grid = grid_of(PrivacyPlan(spec), 4001)
    sent = perturbation([spec])(averages(1)).double() / grid.step
    assert torch.equal(sent, sent.round())
    contribution = spec.clip_norm or spec.grad_norm_bound
    contribution /= 1 if spec.unit == "worker" else spec.batch_size
    size = 4001 if spec.noise == "laplace" else math.sqrt(4001)
    assert contribution / 2**13 < grid.step * size <= contribution / 2**12


def test_training_sends_what_is_on_the_grid(messages_of):
    spec = RunSpec(honest=4, clip_norm=1.0, noise_scale=0.1, steps=3)
    sent = messages_of(spec).double() / grid_of(PrivacyPlan(spec), 650).step
    assert torch.equal(sent, sent.round())
    assert not torch.equal(sent, (sent / 2).round() * 2)  # of no coarser one


def test_without_noise_averages_are_sent_as_they_are():
    vectors = averages(1)
    assert torch.equal(perturbation([run(noise_scale=0.0)])(vectors.clone()), vectors.float())


def test_what_is_not_bounded_keeps_its_size_and_its_nan():
    vectors = averages(1)
    vectors[0, 0, :4] = torch.tensor([math.nan, math.inf, -1e300, 1e30])
    sent = perturbation([run(clip_norm=None)])(vectors.clone())
    assert sent[0, 0, 0].isnan()
    assert sent[0, 0, 1:4].tolist() == [math.inf, -math.inf, pytest.approx(1e30)]
    assert float((sent - vectors.float())[0, 1:].std()) == pytest.approx(0.1, rel=0.05)


def test_noise_that_no_grid_holds_is_refused():
    with pytest.raises(SpecError, match=r"^noise_scale: 1e\+20 is too large for a grid"):
        perturbation([run(noise_scale=1e20)])


@pytest.mark.parametrize("noise", LAWS)
def test_the_way_of_a_gpu_draws_noise_of_scale_b(noise, monkeypatch):
    """On a CPU, whose generator makes the words."""
    perturb = perturbation([run(noise=noise), run(noise=noise, seed=1)], dim=100_001)
    perturb._device = torch.device("meta")  # any that is no CPU
    words = device_words
    monkeypatch.setattr(
        "privrobust.training.noise.device_words", lambda keys, dim, device: words(keys, dim, CPU)
    )
    vectors = torch.ones(2, 3, 100_001, dtype=torch.float64)
    first, second = perturb(vectors.clone()), perturb(vectors.clone())
    drawn = torch.cat([first.flatten(0, 1), second.flatten(0, 1)]).double() - 1
    std = 0.1 * NOISE_LAWS[noise].std
    assert float(drawn.std() / std) == pytest.approx(1, abs=0.01)
    correlation = torch.corrcoef(drawn) - torch.eye(12)
    assert float(correlation.abs().max()) < 6.5 / math.sqrt(100_001)


def test_words_of_a_device_have_all_64_bits():
    words = device_words(derived_keys(0, "noise", 1, 3), 99_999, CPU)
    assert words.shape == (3, 100_000)
    for place in range(64):
        share = float(((words >> place) & 1).double().mean())
        assert abs(share - 0.5) < 6.5 / math.sqrt(4 * words.numel())  # 64 tests: once in 10^8
