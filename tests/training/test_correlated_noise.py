"""Runs whose workers share noise pair by pair: what they send, what it costs, who knows it."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from privrobust import RunSpec, train
from privrobust.accountants import Release, effective_noise_scale, spend
from privrobust.errors import SpecError
from privrobust.noise import NOISE_LAWS
from privrobust.training.loop import train_lanes
from privrobust.training.noise import Perturbation, device_words, grid_of, noise_std
from privrobust.training.privacy_plan import PrivacyPlan

CPU = torch.device("cpu")
RUN = {"honest": 3, "clip_norm": 1.0, "noise_scale": 0.1, "pairwise_noise": 0.8}
ATTACKED = {"byzantine": 2, "attack": "label_flip"}
SHORT = {"clip_norm": 1.0, "noise_scale": 0.05, "honest": 5, "steps": 4, "evaluate_every": 2}


def perturbation(runs, workers=3, dim=4001, owner=""):
    return Perturbation([PrivacyPlan(run) for run in runs], (workers, dim), CPU, owner)


def run(**settings):
    return RunSpec(**RUN | settings)


def averages(lanes, dim=4001, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(lanes, 3, dim, generator=generator, dtype=torch.float64) * 1e-3


def test_a_run_draws_the_same_alone_and_beside_any_others():
    others = [
        {}, {"pairwise_noise": None}, {"pairwise_noise": 3.0, "seed": 1}, {"noise_scale": 0.0},
        {"clip_norm": None}, {"clip_norm": None, "pairwise_noise": None}, ATTACKED,
        {"noise_scale": 2.0}, {"seed": 2},
    ]  # fmt: skip
    runs = [run(**settings) for settings in others]
    together = perturbation(runs)
    alone = [perturbation([each]) for each in runs]
    for step in (0, 1):
        vectors = averages(len(runs), seed=step)
        sent = together(vectors.clone())
        for lane, perturb in enumerate(alone):
            assert torch.equal(sent[lane], perturb(vectors[lane : lane + 1].clone())[0])


def test_whole_runs_are_the_same_in_lanes():
    """Median and mean, with and without pairs' noise, attacked by who follows the protocol."""
    specs = [
        RunSpec(**SHORT, pairwise_noise=r, aggregator=rule, **ATTACKED)
        for r in (None, 0.5, 2.0)
        for rule in ("median", "mean")
    ]
    for spec, beside in zip(specs, train_lanes(specs), strict=True):
        alone = train(spec)
        assert alone.spent == beside.spent
        np.testing.assert_array_equal(alone.correct, beside.correct)
        np.testing.assert_allclose(alone.history["loss"], beside.history["loss"], rtol=1e-6)


def test_byzantine_workers_that_follow_the_protocol_share_noise_with_the_honest():
    """Of all five messages only each one's own noise is left in the sum: 2 tests, once in 10^9."""
    spec, dim = run(**ATTACKED), 100_001
    grid = grid_of(PrivacyPlan(spec), dim)
    honest = perturbation([spec], 3, dim)(torch.zeros(1, 3, dim, dtype=torch.float64))
    theirs = perturbation([spec], 2, dim, "byzantine ")(torch.zeros(1, 2, dim, dtype=torch.float64))
    noise = torch.cat([honest, theirs], 1)[0].double() / (grid.scale * grid.step)
    assert stats.kstest(noise.sum(0) / math.sqrt(5), "norm").pvalue > 1e-9
    expected = np.eye(5) + 0.64 * (5 * np.eye(5) - 1)
    spread = np.sqrt((expected**2 + np.outer(np.diag(expected), np.diag(expected))) / dim)
    assert (abs(np.cov(noise.numpy()) - expected) < 6.5 * spread).all()
    seen = noise_std([spec], CPU)
    assert float(seen) == pytest.approx(0.1 * math.sqrt(1 + 4 * 0.64))
    assert float(noise.std()) == pytest.approx(float(seen) / 0.1, rel=0.02)


def test_messages_are_on_the_grid_of_the_run(messages_of):
    spec = RunSpec(**SHORT, pairwise_noise=1.0)
    sent = messages_of(spec).double() / grid_of(PrivacyPlan(spec), 650).step
    assert torch.equal(sent, sent.round())
    alike = grid_of(PrivacyPlan(RunSpec(**SHORT)), 650)
    assert grid_of(PrivacyPlan(spec), 650) == alike  # of b and C: pairs do not make it coarser


def test_the_way_of_a_gpu_draws_noise_of_the_same_covariance(monkeypatch):
    """On a CPU, whose generator makes the words; Byzantine workers find the same ones."""
    spec, dim = run(**ATTACKED), 100_001
    words = device_words
    monkeypatch.setattr(
        "privrobust.training.noise.device_words", lambda keys, dim, device: words(keys, dim, CPU)
    )
    drawn = []
    for workers, owner in ((3, ""), (2, "byzantine ")):
        perturb = perturbation([spec], workers, dim, owner)
        perturb._device = torch.device("meta")  # any that is no CPU
        drawn.append(perturb(torch.zeros(1, workers, dim, dtype=torch.float64))[0])
    noise = torch.cat(drawn).double() / 0.1
    expected = np.eye(5) + 0.64 * (5 * np.eye(5) - 1)
    assert np.cov(noise.numpy()) == pytest.approx(expected, abs=0.1)
    assert float(noise.sum(0).std()) == pytest.approx(math.sqrt(5), rel=0.02)


@pytest.mark.parametrize(
    ("settings", "hidden"),
    [
        ({}, 3), (ATTACKED, 3), (ATTACKED | {"colluding": 2}, 3), (ATTACKED | {"colluding": 3}, 2),
        ({"colluding": 1}, 2), ({"colluding": 2}, 1), ({"unit": "worker"}, 3),
        ({"unit": "worker", "worker_sampling_rate": 0.5, "colluding": 1}, 2),
    ],
)  # fmt: skip
def test_it_is_charged_as_what_is_left_of_it(settings, hidden):
    spec = run(**settings)
    (release, *_) = PrivacyPlan(spec).releases
    assert spec.hidden == hidden
    assert release.noise_scale == effective_noise_scale(0.1, 0.8, hidden)
    alone = PrivacyPlan(run(**settings, pairwise_noise=None)).spent.epsilon
    spent = PrivacyPlan(spec).spent
    assert spent.is_upper_bound
    assert spent.epsilon == alone if hidden == 1 else spent.epsilon < alone


def test_signs_are_charged_as_vectors():
    signs, median = (PrivacyPlan(run(aggregator=rule)) for rule in ("majority_vote", "median"))
    assert {release.message for release in signs.releases} == {"vector"}
    assert signs.spent == median.spent
    alone = PrivacyPlan(run(aggregator="majority_vote", pairwise_noise=None))
    assert {release.message for release in alone.releases} == {"sign"}


@pytest.mark.parametrize("r", [0.01, 0.8, 100.0])
def test_a_target_is_met_by_the_least_b_for_that_ratio(r):
    spec = run(noise_scale=0.0, target_epsilon=2.0, pairwise_noise=r)
    plan = PrivacyPlan(spec)
    assert 0.998 * 2 <= plan.spent.epsilon <= 2
    alone = PrivacyPlan(spec.model_copy(update={"pairwise_noise": None}))
    ratio = plan.spec.noise_scale / alone.spec.noise_scale
    assert ratio == pytest.approx(effective_noise_scale(1.0, r, 3) ** -1, rel=1e-9)
    assert RunSpec.restored(plan.spec.model_dump()) == plan.spec


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"pairwise_noise": 0.0}, "pairwise_noise: 0"),
        ({"pairwise_noise": math.nan}, "pairwise_noise: nan"),
        ({"pairwise_noise": 1e7}, "pairwise_noise: 10000000"),
        ({"pairwise_noise": -1}, "pairwise_noise: -1"),
        *(
            ({"noise": law}, f"pairwise_noise: 0.8 with noise {law}")
            for law in NOISE_LAWS
            if law != "gaussian"
        ),
        ({"colluding": 3}, "colluding: 3 of 3 workers; accepted: from byzantine, 0"),
        (ATTACKED | {"colluding": 1}, "colluding: 1 of 5 workers; accepted: from byzantine, 2"),
        ({"colluding": -1}, "colluding: -1"),
        ({"colluding": 0.5}, "colluding: 0.5"),
    ],
)
def test_what_is_not_accepted_is_refused(settings, problem):
    with pytest.raises(SpecError, match=f"^{problem}"):
        run(**settings)


def test_noise_that_no_grid_holds_is_refused():
    with pytest.raises(SpecError, match="too large for a grid"):
        perturbation([run(noise_scale=1e4, pairwise_noise=1e6)], dim=10**6)


def test_what_is_not_bounded_keeps_its_size_and_has_no_epsilon():
    spec = run(clip_norm=None)
    assert PrivacyPlan(spec).spent.epsilon == math.inf
    vectors = averages(1)
    vectors[0, 0, :3] = torch.tensor([math.nan, math.inf, -1e300])
    sent = perturbation([spec])(vectors.clone())
    assert sent[0, 0, 0].isnan()
    assert sent[0, 0, 1:3].tolist() == [math.inf, -math.inf]
    spread = 0.1 * math.sqrt(1 + 2 * 0.64)
    assert float((sent - vectors.float())[0, 1:].std()) == pytest.approx(spread, rel=0.05)


def test_messages_give_away_what_is_claimed_and_nearly_that():
    """200,000 coordinates as trials: an observer of all messages, who knows how noise is shared.

    With the covariance it certifies three quarters of what is claimed, and more than somebody would
    claim who counted all noise on a message as its own. It errs once in 10^6.
    """
    dim, r, delta = 200_000, 2.0, 1e-3
    spec = RunSpec(
        honest=4, clip_norm=1.0, noise_scale=1.0, pairwise_noise=r, unit="worker", steps=1
    )
    claimed = PrivacyPlan(spec.model_copy(update={"delta": delta})).spent.epsilon
    own = 1.0 * math.sqrt(1 + 3 * r**2)
    mistaken = spend(Release(noise_scale=own, clip_norm=1.0, unit="worker", steps=1), delta).epsilon
    precision = np.linalg.inv(np.eye(4) + r**2 * (4 * np.eye(4) - 1))[0]
    found = []
    for world in (0.0, 1.0):
        vectors = torch.zeros(1, 4, dim, dtype=torch.float64)
        vectors[0, 0] = world  # each coordinate is a trial of its own
        perturb = Perturbation(
            [PrivacyPlan(spec.model_copy(update={"seed": int(world)}))], (4, dim), CPU
        )
        found.append(precision @ perturb(vectors)[0].double().numpy() - precision[0] / 2)
    best = 0.0
    for cut in np.linspace(0.5, 1.2, 8) * claimed:
        unseen, seen = (int((each > cut).sum()) for each in found)
        low = stats.beta.ppf(5e-8, seen, dim - seen + 1) if seen else 0.0
        high = stats.beta.ppf(1 - 5e-8, unseen + 1, dim - unseen)
        best = max(best, math.log(max(low - delta, 1e-300) / high))
    assert mistaken < 0.75 * claimed < best <= claimed


def test_the_error_of_a_mean_is_what_does_not_cancel():
    """Of 4 evaluations of 650 coordinates: 2,600 squares, which err once in 10^6."""
    spec = RunSpec(
        honest=5, clip_norm=1e-6, noise_scale=0.1, pairwise_noise=2.0, aggregator="mean", steps=4,
        evaluate_every=1, learning_rate=1e-9,
    )  # fmt: skip
    result = train(spec)
    assert result.error_of_mean == pytest.approx(650 * 0.01 / 5)
    assert result.error == pytest.approx(result.error_of_mean, rel=5 * math.sqrt(2 / 2600))
    assert result.error <= result.error_bound
    attacked = train(spec.model_copy(update=ATTACKED | {"steps": 1}))
    assert attacked.error_of_mean == pytest.approx(650 * 0.01 * (1 + 2 * 4) / 5)
