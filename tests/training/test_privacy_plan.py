"""What a run sends is what its release says, and its steps are those its budget allows."""

import math

import pytest
import torch
from scipy import stats

from privrobust import RunSpec, train
from privrobust.accountants import epsilon
from privrobust.data import get_dataset
from privrobust.errors import PrivRobustError, PrivRobustWarning, SpecError
from privrobust.sweeps.grid import Sweep
from privrobust.sweeps.packing import lane_shape
from privrobust.training import batches as drawing
from privrobust.training import loop as training
from privrobust.training.privacy_plan import PrivacyPlan
from privrobust.training.shares import shares

SHORT = {"clip_norm": 0.5, "noise_scale": 0.2, "steps": 30, "honest": 5, "evaluate_every": 10}
plan = PrivacyPlan
LAWS = {"gaussian": stats.norm, "laplace": stats.laplace, "logistic": stats.logistic}
MODES = [
    {"noise": noise, "unit": unit} for noise in LAWS
    for unit in ("example", "worker")
]  # fmt: skip


def noise_of(messages_of, spec):
    quiet = RunSpec(**{**spec.model_dump(), "noise_scale": 0.0})
    return (messages_of(spec) - messages_of(quiet)).double()


@pytest.mark.parametrize("mode", MODES)
def test_noise_is_what_was_accounted(messages_of, mode):
    """97,500 draws over 150 messages; the scale is the release's sigma times its contribution."""
    spec = RunSpec(**SHORT, **mode)
    (release,) = {(r.noise_multiplier, r.contribution) for r in plan(spec).releases}
    noise = noise_of(messages_of, spec) / math.prod(release)
    law = LAWS[spec.noise]
    assert stats.kstest(noise.flatten(), law.cdf).pvalue > 1e-7
    kurtosis = law.stats(moments="k") + 2
    spread = 6 * math.sqrt(float(kurtosis) / noise.numel())
    assert float(noise.square().mean()) / law.var() == pytest.approx(1, abs=spread)
    vectors = noise.flatten(0, 2)
    products = (vectors @ vectors.T)[~torch.eye(len(vectors), dtype=torch.bool)]
    limit = 7.5 * law.var() * vectors.shape[-1] ** 0.5  # 11,175 pairs: false alarm below 1e-6
    assert float(products.abs().max()) < limit


@pytest.mark.parametrize("mode", MODES)
def test_one_unit_moves_a_message_by_at_most_its_contribution(messages_of, monkeypatch, mode):
    """One unit's data is exchanged under the same draws: taken out and put in, twice C."""
    spec = RunSpec(**SHORT, **mode)
    (contribution,) = {release.contribution for release in plan(spec).releases}
    before = messages_of(spec)
    digits = get_dataset("digits")
    (mine, *_) = shares(spec)
    inputs = digits.train.inputs.clone()
    inputs[mine if spec.unit == "worker" else mine[:1]] = -1e4
    changed = type(digits.train)(inputs, digits.train.labels)
    neighbour = type(digits)("digits", changed, digits.validation, digits.test, 10)
    monkeypatch.setattr(training, "get_dataset", lambda *name: neighbour)
    order = 1 if spec.noise == "laplace" else 2
    moved = (messages_of(spec) - before).norm(order, dim=-1)
    # half of a float32 ulp a coordinate, at the size of the noise: 650 of them in the L1 norm
    rounding = 650 * 2e-7 if order == 1 else 2e-6
    assert 0 < float(moved[..., 0].max()) <= 2 * contribution + rounding
    assert float(moved[..., 1:].max()) == 0


def test_messages_of_the_worker_unit_are_clipped_averages(messages_of):
    spec = {**SHORT, "noise_scale": 0.0}
    whole = messages_of(RunSpec(**{**spec, "unit": "worker", "clip_norm": 1e9}))
    unclipped = messages_of(RunSpec(**{**spec, "clip_norm": None}))
    assert torch.equal(whole, unclipped)
    clipped = messages_of(RunSpec(**{**spec, "unit": "worker"}))
    torch.testing.assert_close(clipped.norm(dim=-1), whole.norm(dim=-1).clamp(max=0.5))


def test_a_worker_that_sits_out_sends_pure_noise(messages_of):
    settings = {**SHORT, "unit": "worker", "steps": 200}
    sampled = RunSpec(**settings, worker_sampling_rate=0.3)
    noise = noise_of(messages_of, RunSpec(**settings))
    sent = messages_of(sampled).double()
    sits_out = ((sent - noise).norm(dim=-1) < 1e-4).flatten()
    assert abs(float(sits_out.float().mean()) - 0.7) < 6 * math.sqrt(0.21 / 1000)
    assert {(release.sampling_rate, release.unit) for release in plan(sampled).releases} == {
        (0.3, "worker")
    }
    assert plan(sampled).spent.epsilon < plan(RunSpec(**settings)).spent.epsilon


def test_a_public_rate_is_what_is_drawn_and_accounted(messages_of):
    """Shares of 1,257 / 5 differ by one: at a public rate that does not tell."""
    settings = {**SHORT, "sampling_rate": 0.1}
    spec = RunSpec(**settings)
    (release,) = {(r.sampling_rate, r.adjacency, r.contribution) for r in plan(spec).releases}
    assert release == (0.1, "add-or-remove", 0.5 / 32)
    assert len({worker.epsilon for worker in plan(spec).spent_by_worker}) == 1
    assert train(spec).epsilon == plan(spec).spent.epsilon < plan(RunSpec(**SHORT)).spent.epsilon
    assert not torch.equal(messages_of(spec), messages_of(RunSpec(**SHORT)))
    divided = messages_of(RunSpec(**{**settings, "noise_scale": 0.0, "batch_size": 64}))
    whole = messages_of(RunSpec(**{**settings, "noise_scale": 0.0}))
    torch.testing.assert_close(2 * divided[0], whole[0])


def test_a_public_rate_takes_any_divisor_and_any_share():
    many = RunSpec(**SHORT, partition="power_law(exponent=3)", sampling_rate=0.2)
    sizes = [release.dataset_size for release in plan(many).releases]
    assert min(sizes) < 32
    assert {release.sampling_rate for release in plan(many).releases} == {0.2}
    with pytest.raises(SpecError, match=r"batch_size: 32 is more than .* or a sampling_rate"):
        _ = plan(RunSpec(**SHORT, partition="power_law(exponent=3)")).releases
    assert train(many).epsilon == plan(many).spent.epsilon


@pytest.mark.parametrize("byzantine", [0, 2])
def test_rates_train_apart_and_are_the_byzantine_workers_too(byzantine, monkeypatch):
    attacked = {"byzantine": byzantine, "attack": "label_flip"} if byzantine else {}
    runs = [RunSpec(**SHORT, sampling_rate=rate, **attacked) for rate in (0.1, 1.0)]
    assert len({lane_shape(run) for run in runs}) == 2
    asked, drawn = [], drawing.draw_batches

    def noted(*arguments):
        asked.append(arguments[-1])
        return drawn(*arguments)

    monkeypatch.setattr(drawing, "draw_batches", noted)
    for run in runs:
        train(run)
    assert asked == [0.1] * (1 + (byzantine > 0)) + [1.0] * (1 + (byzantine > 0))


def test_a_rate_of_examples_grants_whole_workers_nothing():
    settings = {**SHORT, "unit": "worker"}
    rated, plain = RunSpec(**settings, sampling_rate=0.01), RunSpec(**settings)
    assert plan(rated).spent == plan(plain).spent
    assert {release.sampling_rate for release in plan(rated).releases} == {1.0}


def test_delta_is_held_against_the_units_that_are_protected():
    with pytest.warns(PrivRobustWarning, match="delta: 0.3 is not below 1 / 5: giving one worker"):
        plan(RunSpec(**SHORT, unit="worker", delta=0.3)).warn_of_large_delta()
    with pytest.warns(PrivRobustWarning, match="not below 1 / 252: giving one example"):
        plan(RunSpec(**SHORT, delta=0.3)).warn_of_large_delta()


@pytest.mark.parametrize("settings", [{}, {"sampling_rate": 0.1}, {"unit": "worker"}])
@pytest.mark.parametrize("accountant", ["auto", "rdp", "basic"])
def test_a_target_is_never_exceeded(settings, accountant):
    spec = RunSpec(clip_norm=0.7, steps=7, honest=3, target_epsilon=1.3, accountant=accountant)
    found = plan(spec.model_copy(update=settings)).spec
    assert 0.999 * 1.3 <= plan(found).spent.epsilon <= 1.3
    assert plan(found.model_copy(update={"seed": 1})).spent.epsilon <= 1.3


def test_a_bound_on_worker_vectors_is_checked_on_them():
    settings = {**SHORT, "clip_norm": None, "unit": "worker"}
    train(RunSpec(**settings, grad_norm_bound=3.0))  # examples exceed 3, their averages do not
    with pytest.raises(PrivRobustError, match=r"above the bound 0\.01"):
        train(RunSpec(**settings, grad_norm_bound=0.01))


def test_a_run_spends_what_its_most_exposed_worker_spends():
    spec = RunSpec(**SHORT)
    each = [worker.epsilon for worker in plan(spec).spent_by_worker]
    sizes = [release.dataset_size for release in plan(spec).releases]
    assert sizes == [252, 252, 251, 251, 251]
    assert each == [epsilon(release) for release in plan(spec).releases]
    assert each[4] > each[0]
    result = train(spec)
    assert result.epsilon == max(each)
    assert result.epsilon_by_worker.tolist() == each


@pytest.mark.parametrize("accountant", ["auto", "rdp"])
def test_max_epsilon_ends_training_before_the_step_that_would_exceed_it(accountant):
    settings = {**SHORT, "steps": 60, "accountant": accountant}
    whole = train(RunSpec(**settings))
    limit = 0.7 * whole.epsilon
    result = train(RunSpec(**settings, max_epsilon=limit))
    assert result.epsilon <= limit
    assert result.steps == plan(result.spec).steps < 60
    assert result.history["step"].iloc[-1] == result.steps
    assert plan(RunSpec(**{**settings, "steps": result.steps + 1})).spent.epsilon > limit
    shared = result.history["step"] % 10 == 0
    assert result.history[shared].equals(whole.history.iloc[: int(shared.sum())])


def test_an_ample_budget_ends_nothing():
    result = train(RunSpec(**SHORT, max_epsilon=1e6))
    assert result.steps == 30


def test_runs_that_end_at_different_steps_train_apart(tmp_path):
    runs = Sweep.from_settings({**SHORT, "grid": {"max_epsilon": [0.05, 0.1, 1e6]}}).runs()
    assert len({lane_shape(run) for run in runs}) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_epsilon": 1e-4}, "one step alone spends .* above epsilon = 0.0001"),
        ({"max_epsilon": 1.0, "noise_scale": 0.0}, r"max_epsilon: 1: no noise \(b = 0\)"),
        ({"max_epsilon": 1.0, "clip_norm": None}, "max_epsilon: 1: no clipping and no gradient"),
        ({"max_epsilon": 0.0}, "max_epsilon: 0.0 is not accepted"),
        ({"worker_sampling_rate": 0.5}, "worker_sampling_rate: 0.5 needs unit: worker"),
        ({"unit": "worker", "worker_sampling_rate": 0}, "worker_sampling_rate: 0 is not accepted"),
        ({"noise": "laplace", "accountant": "rdp"}, "rdp does not support laplace noise"),
    ],
)
def test_budgets_that_cannot_be_kept(settings, message):
    with pytest.raises(SpecError, match=message):
        train(RunSpec(**{**SHORT, **settings}))


TARGET = {"clip_norm": 1.0, "steps": 20, "batch_size": 8, "honest": 5, "target_epsilon": 2.0}
TARGETS = [
    {"accountant": "pld"},
    {"noise": "laplace"},
    {"partition": "power_law(exponent=1.0)"},
    {"unit": "worker", "worker_sampling_rate": 0.5},
    {"accountant": "gdp", "delta": 1e-6},
]


@pytest.mark.parametrize("settings", TARGETS)
def test_a_calibrated_run_spends_its_target(settings):
    spec = RunSpec(**TARGET, **settings)
    found = plan(spec).spec
    most = max(worker.epsilon for worker in plan(found).spent_by_worker)
    assert 0.98 * 2 < most <= 2
    assert plan(found).spent == plan(spec).spent
    assert plan(spec).spent.epsilon == most
    assert plan(spec).spent.is_upper_bound == (spec.accountant != "gdp")
    assert plan(found).releases == plan(spec).releases
    given = {**found.model_dump(), "target_epsilon": None}
    assert plan(RunSpec(**given)).spent == plan(found).spent


def test_a_calibrated_spec_is_the_same_run():
    spec = RunSpec(**TARGET)
    found = plan(spec).spec
    assert found.noise_scale > 0 == spec.noise_scale
    assert found.target_epsilon == spec.target_epsilon
    assert found.key == spec.key
    assert plan(found).spec == found
    assert RunSpec.restored(found.model_dump(mode="json")) == found
    assert RunSpec.restored(spec.model_dump(mode="json")) == spec
    assert RunSpec(**{**TARGET, "target_epsilon": 2.1}).key != spec.key


def test_a_stale_noise_scale_is_not_trained_with():
    found = plan(RunSpec(**TARGET)).spec
    stricter = found.model_copy(update={"target_epsilon": 0.5})
    assert plan(stricter).spec == plan(RunSpec(**{**TARGET, "target_epsilon": 0.5})).spec
    assert train(stricter).epsilon <= 0.5


def test_a_spec_without_a_target_is_left_as_it_is():
    spec = RunSpec(**SHORT)
    assert plan(spec).spec is spec


def test_training_adds_the_noise_of_its_target():
    spec = RunSpec(**TARGET)
    result = train(spec)
    noisy = RunSpec(**{**TARGET, "target_epsilon": None}, noise_scale=plan(spec).spec.noise_scale)
    alone = train(noisy)
    assert result.history.equals(alone.history)
    assert result.spent == alone.spent
    assert result.spec == plan(spec).spec


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target_epsilon": 0.01, "accountant": "moments"}, "0.01 cannot be met .*out of reach"),
        ({"noise": "laplace", "accountant": "rdp"}, "rdp does not support laplace noise"),
        ({"clip_norm": 1e30, "batch_size": 0.01}, "takes noise of scale .*; accepted: 1e-30"),
        ({"batch_size": 1000}, "batch_size: 1000 is more than"),
    ],
)
def test_targets_that_cannot_be_met(settings, message):
    with pytest.raises(SpecError, match=message) as raised:
        _ = plan(RunSpec(**{**TARGET, **settings})).spec
    assert "\n" not in str(raised.value)


def test_votes_are_charged_for_signs_and_other_rules_for_vectors():
    settings = {"clip_norm": 1.0, "noise_scale": 0.1, "steps": 300}
    median, vote = RunSpec(**settings), RunSpec(**settings, aggregator="majority_vote")
    assert (plan(median).spent.accountant, plan(vote).spent.accountant) == ("pld", "sign")
    assert plan(vote).spent.epsilon < 0.85 * plan(median).spent.epsilon
    assert {release.message for release in plan(vote).releases} == {"sign"}


@pytest.mark.parametrize("settings", [{"worker_momentum": 0.5}, {"noise": "laplace"}])
def test_votes_whose_signs_tell_more_are_charged_as_vectors(settings):
    settings |= {"clip_norm": 1.0, "noise_scale": 0.1, "steps": 30}
    vote = plan(RunSpec(**settings, aggregator="majority_vote")).spent
    assert vote == plan(RunSpec(**settings)).spent
    assert vote.accountant != "sign"


def test_a_vote_meets_a_target_with_less_noise():
    settings = {"clip_norm": 1.0, "target_epsilon": 4.0, "steps": 100}
    vote = plan(RunSpec(**settings, aggregator="majority_vote")).spec
    assert vote.noise_scale < plan(RunSpec(**settings)).spec.noise_scale
    assert 3.99 < plan(vote).spent.epsilon <= 4.0


def test_a_rule_after_mixing_asks_for_signs_if_its_last_part_does():
    vote = RunSpec(aggregator="bucketing(s=1) + majority_vote", clip_norm=1.0, noise_scale=0.1)
    assert {release.message for release in plan(vote).releases} == {"sign"}


SCHEMES = ("shuffled", "fixed", "balls_in_bins")


@pytest.mark.parametrize("sampling", SCHEMES)
def test_a_scheme_is_charged_for_as_its_releases_say(sampling):
    """Of unequal shares: who has the least spends the most, and the run spends that."""
    spec = RunSpec(**SHORT, partition="power_law(exponent=1)", sampling=sampling)
    found = plan(spec)
    assert {release.sampling for release in found.releases} == {sampling}
    assert len({release.dataset_size for release in found.releases}) > 1
    spent = [epsilon(release) for release in found.releases]
    assert found.spent.epsilon == max(spent)
    poisson = plan(RunSpec(**SHORT, partition="power_law(exponent=1)"))
    assert found.spent.epsilon != poisson.spent.epsilon


@pytest.mark.parametrize("sampling", SCHEMES)
@pytest.mark.parametrize("byzantine", [0, 2])
def test_runs_of_a_scheme_train_alike_alone_and_in_lanes(sampling, byzantine):
    attacked = {"byzantine": byzantine, "attack": "label_flip"} if byzantine else {}
    runs = [
        RunSpec(**SHORT | {"noise_scale": b}, sampling=sampling, seed=seed, **attacked)
        for seed in (0, 1)
        for b in (0.2, 0.4)
    ]
    assert len({lane_shape(run) for run in runs}) == 1
    assert lane_shape(runs[0]) != lane_shape(RunSpec(**SHORT, **attacked))
    together = training.train_lanes(runs)
    for run, result in zip(runs, together, strict=True):
        alone = train(run)
        assert result.accuracy == alone.accuracy
        assert result.history["loss"].tolist() == alone.history["loss"].tolist()
        assert result.epsilon == alone.epsilon == plan(run).spent.epsilon


@pytest.mark.parametrize("sampling", ["shuffled", "balls_in_bins"])
def test_a_budget_allows_whole_epochs(sampling):
    """252 examples a worker, 8 steps an epoch."""
    spec = RunSpec(**SHORT | {"noise_scale": 0.05}, sampling=sampling)
    most = plan(RunSpec(**SHORT | {"noise_scale": 0.05, "steps": 16}, sampling=sampling)).spent
    budget = plan(spec.model_copy(update={"max_epsilon": most.epsilon * 1.001}))
    assert budget.steps == 16
    assert budget.spent.epsilon == pytest.approx(most.epsilon)


@pytest.mark.parametrize("sampling", SCHEMES)
def test_a_target_of_a_scheme_is_met(sampling):
    spec = RunSpec(**SHORT | {"noise_scale": 0.0}, sampling=sampling, target_epsilon=3.0)
    assert 3.0 * 0.998 < plan(spec).spent.epsilon <= 3.0


def test_whole_workers_are_protected_however_batches_are_drawn():
    settings = {**SHORT, "unit": "worker"}
    found = plan(RunSpec(**settings, sampling="shuffled"))
    assert found.spent == plan(RunSpec(**settings)).spent


def test_signs_of_shuffled_batches_are_charged_as_signs():
    votes = RunSpec(**SHORT, sampling="shuffled", aggregator="majority_vote")
    assert plan(votes).spent.accountant == "sign"
    fixed = votes.model_copy(update={"sampling": "fixed"})
    assert plan(fixed).spent.accountant == "pld"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sampling_rate": 0.1}, "sampling_rate: 0.1 with sampling: shuffled, which goes by what"),
        ({"batch_size": 1.5}, "batch_size: 1.5 with sampling 'shuffled'; accepted: a whole number"),
        ({"batch_size": 300}, "batch_size: 300 is more than the 251 examples of honest worker 2"),
    ],
)
def test_schemes_refuse_what_they_have_no_batches_for(settings, message):
    with pytest.raises(SpecError) as error:
        _ = plan(RunSpec(**SHORT, sampling="shuffled", **settings)).releases
    assert str(error.value).startswith(message)
