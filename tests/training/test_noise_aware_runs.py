"""Runs whose server knows the noise: what it is told, whom it withstands, what is refused."""

import pytest
import torch
from scipy import stats

from privrobust import RunSpec, train
from privrobust.aggregators.known_noise import passes
from privrobust.errors import SpecError
from privrobust.training.loop import train_lanes
from privrobust.training.noise import known_noise
from privrobust.training.shares import sizes

RARE = 1e-6  # how often a right test of chance may fail
RUN = {"clip_norm": 1.0, "noise_scale": 0.1, "steps": 60, "learning_rate": 1.0}


@pytest.mark.parametrize("momentum", [0.0, 0.1, 0.9])
def test_honest_messages_pass_as_often_as_the_tests_promise(momentum, messages_of):
    """At every step, of workers whose gradients are far below the noise."""
    steps, dim = 12, 650
    spec = RunSpec(
        **{**RUN, "steps": steps, "noise_scale": 0.3, "clip_norm": 1e-3},
        honest=30,
        batch_size=16,
        worker_momentum=momentum,
    )
    lanes = [spec, spec.model_copy(update={"seed": 1, "noise_scale": 3.0})]
    sent, known = messages_of(*lanes), known_noise(lanes, torch.device("cpu"))
    norm, width = stats.chi2(dim), 3 * (2 * dim) ** 0.5
    most = 0.05 + 1 - (norm.cdf(dim + width) - norm.cdf(dim - width))
    for step, messages in enumerate(sent, start=1):
        rejected = int((~passes(messages, known.std_at(step), known.reach)).sum())
        assert rejected <= stats.binom.isf(RARE / steps, 60, most)
    if momentum == 0.9:  # whose noise grows from a tenth of b to 0.23 of it
        assert not passes(sent[0], known.std_at(100), known.reach).any()
        assert not passes(sent[0], known.std, known.reach).any()


def test_what_is_known_of_lanes():
    """C / B for each of at most B + 3 sqrt(B) examples; C where the worker is the unit."""
    of_examples = RunSpec(**RUN, batch_size=9, worker_momentum=0.5)
    lanes = [of_examples, of_examples.model_copy(update={"clip_norm": 0.5, "noise_scale": 0.2})]
    known = known_noise(lanes, torch.device("cpu"))
    assert known.std.flatten().tolist() == pytest.approx([0.1, 0.2])
    assert known.momentum.flatten().tolist() == [0.5, 0.5]
    assert known.reach.flatten().tolist() == pytest.approx([18 / 9, 0.5 * 18 / 9])
    # with a rate that is public, B is the divisor alone
    public = RunSpec(**RUN, honest=1, batch_size=4, sampling_rate=0.2)
    expected = 0.2 * sizes(public)[0]
    reach = known_noise([public], torch.device("cpu")).reach.item()
    assert reach == pytest.approx((expected + 3 * expected**0.5) / 4)
    summed = known_noise([of_examples.model_copy(update={"local_steps": 4})], torch.device("cpu"))
    assert summed.reach.item() == pytest.approx(4 * 18 / 9)
    assert summed.std.item() == pytest.approx(0.2)
    of_workers = known_noise([RunSpec(**RUN, unit="worker")], torch.device("cpu"))
    assert of_workers.reach.shape == (1, 1, 1)
    assert of_workers.reach.item() == 1.0


def test_sixty_percent_with_flipped_labels_are_withstood():
    """Where a mean follows them, and a median is refused."""
    settings = {**RUN, "steps": 150, "honest": 10, "byzantine": 15, "attack": "label_flip"}
    assert train(RunSpec(**settings, aggregator="noise_aware(selected=0.4)")).accuracy > 0.75
    assert train(RunSpec(**settings, aggregator="mean")).accuracy < 0.3
    with pytest.raises(SpecError, match="Median: 25 messages, 15 of them Byzantine"):
        RunSpec(**settings, aggregator="median")


@pytest.mark.parametrize("attack", ["label_flip", "label_shift", "own_sign_flip", "drift"])
@pytest.mark.parametrize("rule", ["mean", "fltrust(examples=20)", "noise_aware(selected=0.1)"])
def test_nine_of_ten_may_attack_by_data_of_their_own(attack, rule):
    """They hold copies of shares of the few honest workers; the rule decides what comes of it."""
    settings = {**RUN, "steps": 3, "honest": 2, "byzantine": 18, "attack": attack}
    result = train(RunSpec(**settings, aggregator=rule))
    assert result.history["loss"].notna().all()


def test_ninety_percent_with_flipped_labels_are_withstood():
    settings = {**RUN, "honest": 10, "byzantine": 90, "attack": "label_flip"}
    assert train(RunSpec(**settings, aggregator="noise_aware(selected=0.1)")).accuracy > 0.5
    assert train(RunSpec(**settings, aggregator="mean")).accuracy < 0.1


def test_those_who_know_the_rule_are_not_withstood():
    """Three of thirteen, whose labels would not have mattered."""
    settings = {**RUN, "steps": 150, "honest": 10, "byzantine": 3}
    rule = {"aggregator": "noise_aware(selected=0.7)"}
    assert train(RunSpec(**settings, **rule, attack="label_flip")).accuracy > 0.75
    assert train(RunSpec(**settings, **rule, attack="camouflage")).accuracy < 0.3


def test_lanes_are_the_runs_alone():
    """Of other noise, momentum and seed, beside another rule; each attack remembers its own."""
    settings = {**RUN, "steps": 20, "honest": 6, "byzantine": 4, "attack": "camouflage"}
    rule = {"aggregator": "noise_aware(selected=0.6)"}
    specs = [
        RunSpec(**settings, **rule),
        RunSpec(**{**settings, "noise_scale": 0.2}, **rule, seed=1),
        RunSpec(**settings, aggregator="median"),
        RunSpec(**settings, **rule, worker_momentum=0.1),
        RunSpec(**settings, aggregator="noise_aware(selected=0.3, memory=0)"),
    ]
    for spec, beside in zip(specs, train_lanes(specs), strict=True):
        assert train(spec).history.equals(beside.history)
    assert not train(specs[0]).history.equals(train(specs[4]).history)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise_scale": 0.0}, "noise_scale: 0 with aggregator 'noise_aware', .*: above 0$"),
        ({"noise": "laplace"}, "noise: 'laplace' with aggregator 'noise_aware', .*: gaussian$"),
        ({"clip_norm": None}, "clip_norm: none with aggregator 'noise_aware', .*grad_norm_bound$"),
        ({"aggregator": "nnm + noise_aware"}, "NoiseAware: behind NNM, .*: nothing before it$"),
        ({"aggregator": "noise_aware(selected=0)"}, "NoiseAware.selected: 0"),
        ({"aggregator": "noise_aware(memory=1)"}, "NoiseAware.memory: 1"),
    ],
)
def test_runs_that_are_refused(settings, message):
    with pytest.raises(SpecError, match=message):
        RunSpec(**{**RUN, "aggregator": "noise_aware", **settings})


def test_a_target_is_noise():
    """B is found later, and is above 0."""
    settings = {**RUN, "noise_scale": 0.0, "target_epsilon": 4.0, "steps": 3}
    result = train(RunSpec(**settings, aggregator="noise_aware"))
    assert result.epsilon <= 4.0
