import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch.optim import SGD, lr_scheduler

from privrobust import RunSpec, train
from privrobust.data import get_dataset
from privrobust.errors import SpecError
from privrobust.models import build_model
from privrobust.schedules import Schedule, available_schedules, get_schedule, rate
from privrobust.training.loop import train_lanes
from privrobust.training.noise import noise_std
from privrobust.training.privacy_plan import PrivacyPlan

STEPS = 20
LIKE_TORCH = {
    "constant": lambda optimizer: lr_scheduler.ConstantLR(optimizer, factor=1.0),
    "cosine": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, STEPS),
    "cosine(final=0.25)": lambda optimizer: lr_scheduler.CosineAnnealingLR(
        optimizer, STEPS, eta_min=0.25 * 0.3
    ),
    "linear(final=0.5)": lambda optimizer: lr_scheduler.LinearLR(optimizer, 1.0, 0.5, STEPS),
    "drops(parts=4, by=0.5)": lambda optimizer: lr_scheduler.StepLR(optimizer, STEPS // 4, 0.5),
}


@pytest.mark.parametrize("schedule", LIKE_TORCH)
@pytest.mark.parametrize(("momentum", "weight_decay"), [(0.0, 0.0), (0.5, 0.1), (0.0, 0.01)])
def test_the_mean_of_whole_batches_is_torchs_own_descent(schedule, momentum, weight_decay):
    spec = RunSpec(
        aggregator="mean", honest=3, batch_size=419, steps=STEPS, learning_rate=0.3,
        momentum=momentum, weight_decay=weight_decay, schedule=schedule, evaluate_every=STEPS,
    )  # fmt: skip
    digits = get_dataset("digits")
    model = build_model("logistic", digits, spec.seed)
    optimizer = SGD(model.parameters(), lr=0.3, momentum=momentum, weight_decay=weight_decay)
    scheduler = LIKE_TORCH[schedule](optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        logits = model(digits.train.inputs)
        torch.nn.functional.cross_entropy(logits, digits.train.labels).backward()
        optimizer.step()
        scheduler.step()
    loss = torch.nn.functional.cross_entropy(model(digits.test.inputs), digits.test.labels)
    assert train(spec).loss == pytest.approx(loss.item(), rel=1e-4)


def test_a_warm_up_rises_in_a_straight_line_and_then_the_schedule_runs():
    cosine = get_schedule("cosine")
    rates = [rate(cosine, 4, step, 12) for step in range(1, 13)]
    assert rates[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert rates[4:] == pytest.approx([(1 + math.cos(math.pi * t / 8)) / 2 for t in range(8)])


def test_a_budget_that_ends_a_run_does_not_bend_its_schedule():
    settings = {"clip_norm": 1.0, "noise_scale": 0.1, "schedule": "cosine", "evaluate_every": 5}
    long = train(RunSpec(**settings, steps=40))
    ended = train(RunSpec(**settings, steps=40, max_epsilon=1.5))
    assert ended.steps < 40
    whole = ended.steps // 5
    np.testing.assert_allclose(ended.history["loss"][:whole], long.history["loss"][:whole], 1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "cosin"}, "schedule: unknown name 'cosin'; did you mean 'cosine'"),
        ({"schedule": "linear(end=1)"}, "linear has no parameter 'end'"),
        ({"schedule": "drops(parts=0)"}, "Drops.parts: 0 is not a whole number at least 1"),
        ({"schedule": "os:getcwd"}, "schedule: 'os:getcwd' is of Python's own library"),
        ({"steps": 10, "warmup_steps": 10}, "warmup_steps: 10 of 10 steps; accepted: fewer"),
        ({"weight_decay": -1}, "weight_decay: -1 is not accepted"),
        ({"worker_momentum": 1}, "worker_momentum: 1 is not accepted"),
    ],
)
def test_settings_that_are_no_descent(settings, message):
    with pytest.raises(SpecError, match=message):
        RunSpec(**settings)


class Backwards(Schedule):
    def factor(self, done):
        return 0.5 - done


class Unfinished(Schedule):
    def factor(self, done):
        return [][int(done)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Backwards", r"Backwards\(\) gives -0.4 at step 10 of 10; accepted: a finite factor"),
        ("Unfinished", r"Unfinished: it failed \(IndexError"),
    ],
)
def test_a_users_schedule_that_is_none(name, message):
    with pytest.raises(SpecError, match=message):
        RunSpec(schedule=f"{__name__}:{name}", steps=10)


@pytest.mark.parametrize("steps", [3, 30, 99, 300, 1000])
@pytest.mark.parametrize("parts", range(1, 12))
def test_drops_come_where_integers_say(parts, steps):
    drops = get_schedule(f"drops(parts={parts}, by=0.5)")
    for step in range(1, steps + 1):
        begun = min(parts - 1, parts * (step - 1) // steps)
        assert rate(drops, 0, step, steps) == 0.5**begun


def test_one_schedule_has_one_key():
    assert RunSpec(schedule="cosine(final=0)").key == RunSpec(schedule={"name": "cosine"}).key
    assert all(RunSpec(schedule=name).schedule == name for name in available_schedules())


SHORT = {"clip_norm": 1.0, "steps": 40, "honest": 5, "noise_scale": 0.1}


def test_worker_momentum_averages_what_would_be_sent_without(messages_of):
    """The model stands still here, so that both runs see the same gradients and noise."""
    beta = 0.6
    plain = messages_of(RunSpec(**SHORT))
    kept = torch.zeros_like(plain[0])
    for step, sent in enumerate(messages_of(RunSpec(**SHORT, worker_momentum=beta))):
        kept = beta * kept + (1 - beta) * plain[step]
        torch.testing.assert_close(sent, kept, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("noise", ["gaussian", "laplace"])
def test_signs_are_taken_of_the_momentum(noise, messages_of):
    settings = {**SHORT, "worker_momentum": 0.6, "noise": noise}
    signs = messages_of(RunSpec(**settings, aggregator="majority_vote"), message="sign")
    vectors = messages_of(RunSpec(**settings))
    assert torch.equal(signs, vectors.sign())


def test_the_noise_that_attackers_know_is_that_of_messages(messages_of):
    """Of 65,000 numbers, correlated over steps; 3 % is five standard errors: alarm below 1e-6."""
    spec = RunSpec(**{**SHORT, "steps": 60}, worker_momentum=0.8)
    noisy, quiet = messages_of(spec), messages_of(spec.model_copy(update={"noise_scale": 0.0}))
    found = (noisy - quiet)[-20:].std()
    (stated,) = noise_std([spec], torch.device("cpu")).flatten().tolist()
    assert float(found) == pytest.approx(stated, rel=0.03)


AFTER_THE_NOISE = [
    {},
    {"worker_momentum": 0.9},
    {"momentum": 0.9},
    {"weight_decay": 0.1},
    {"learning_rate": 0.1},
    {"schedule": "cosine", "warmup_steps": 3},
    {"aggregator": "mean"},
    {"aggregator": "nnm + trimmed_mean", "byzantine": 1, "attack": "sign_flip"},
    {"byzantine": 2, "attack": "alie"},
    {"byzantine": 2, "attack": "label_flip", "worker_momentum": 0.5},
]
# Where epsilon goes; the last hides every difference under twice the noise and doubles it.
EPSILON_MOVES = [
    ({"noise_scale": 0.2}, "below"),
    ({"clip_norm": 2.0}, "above"),
    ({"honest": 10}, "above"),  # with half the data each
    ({"steps": 41}, "above"),
    ({"delta": 1e-6}, "above"),
    ({"noise_scale": 0.2, "clip_norm": 2.0}, "equal"),
]


def test_epsilon_does_not_depend_on_what_comes_after_the_noise():
    """What signs spend is less, and does not depend on it either."""
    rules = ["median", "majority_vote"]
    settings = [{"aggregator": rule, **each} for rule in rules for each in AFTER_THE_NOISE]
    results = train_lanes([RunSpec(**SHORT, **each) for each in settings])
    assert len({result.loss for result in results}) > len(AFTER_THE_NOISE)  # all had an effect
    for message in ("vector", "sign"):
        alike = [
            result for result in results if PrivacyPlan(result.spec).releases[0].message == message
        ]
        assert len(alike) > 5
        assert {result.epsilon for result in alike} == {alike[0].epsilon}
        assert all(each.epsilon_by_worker.equals(alike[0].epsilon_by_worker) for each in alike)
    for result in results:
        alone = train(result.spec).history
        pd.testing.assert_frame_equal(result.history, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("free", AFTER_THE_NOISE)
def test_epsilon_depends_on_what_comes_before(free):
    """Beside whatever comes after."""
    base = PrivacyPlan(RunSpec(**SHORT, **free)).spent.epsilon
    for settings, where in EPSILON_MOVES:
        changed = PrivacyPlan(RunSpec(**{**SHORT, **free, **settings})).spent.epsilon
        if where == "equal":
            assert changed == pytest.approx(base, rel=1e-9)
        else:
            assert (changed > 1.001 * base) == (where == "above"), settings
            assert (changed < base / 1.001) == (where == "below"), settings
