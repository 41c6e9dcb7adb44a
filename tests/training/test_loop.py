import inspect
import itertools
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from privrobust import RunSpec, train
from privrobust.accountants import Release, epsilon
from privrobust.aggregators import Median
from privrobust.data import Split, get_dataset
from privrobust.data.partitions import Similarity
from privrobust.errors import PrivRobustError, PrivRobustWarning, SpecError
from privrobust.gradients.layout import Layout
from privrobust.gradients.losses import get_loss
from privrobust.models import build_model
from privrobust.training import loop as training
from privrobust.training.evaluation import Evaluator
from privrobust.training.loop import train_lanes
from privrobust.training.privacy_plan import PrivacyPlan
from privrobust.training.shares import shares

SHORT = {"clip_norm": 1.0, "steps": 30, "honest": 5, "evaluate_every": 5}


def test_the_page_of_the_algorithm_shows_lines_of_the_loop():
    root = Path(__file__).parents[2]
    page = (root / "docs" / "training_step.md").read_text()
    loop = inspect.getsource(train_lanes.__wrapped__)
    rows = re.findall(r"(?m)^\| \d \| .* \| `(.*)` \| (.*) \|$", page)
    places = [loop.index(line) for line, _ in rows]
    assert places == sorted(places)
    assert len(rows) == len(re.findall(r"(?m)^ *# \d\. ", loop))
    for name in re.findall(r"`(.+?)`", " ".join(files for _, files in rows)):
        assert (root / name if "/" in name else root / "privrobust" / "training" / name).exists()


def test_noise_has_scale_b_and_is_independent(messages_of):
    """Noisy minus noiseless messages: 30 steps, 2 seeds, 5 workers, 650 coordinates."""
    b = 0.3
    noisy = [RunSpec(**SHORT, noise_scale=b, seed=seed) for seed in (0, 1)]
    quiet = [RunSpec(**SHORT, noise_scale=0, seed=seed) for seed in (0, 1)]
    noise = ((messages_of(*noisy) - messages_of(*quiet)) / b).double()
    dim = noise.shape[-1]
    vectors = noise.flatten(0, 2)
    squares = vectors.square().sum(-1).numpy()
    assert stats.chi2(dim).cdf(squares).min() > 1e-9  # 300 vectors: false alarm below 1e-6
    assert stats.chi2(dim).sf(squares).min() > 1e-9
    assert 1e-9 < stats.chi2(noise.numel()).cdf(float(squares.sum())) < 1 - 1e-9
    assert stats.kstest(vectors.flatten().numpy(), "norm").pvalue > 1e-7
    products = (vectors @ vectors.T)[~torch.eye(len(vectors), dtype=torch.bool)] / dim**0.5
    assert float(products.abs().max()) < 7.5  # 44,850 normal values: false alarm below 1e-8


def test_the_divisor_is_the_public_batch_size(messages_of):
    """With B = 1/2 most batches hold no or one example: messages of norm 0 and C / B, not C."""
    clip_norm = 0.01  # below every gradient's norm
    seen = messages_of(RunSpec(**{**SHORT, "clip_norm": clip_norm, "batch_size": 0.5}))
    norms = (seen.norm(dim=-1) / clip_norm).flatten()
    alone = (norms - 2).abs() < 1e-4
    assert (norms == 0).float().mean() > 0.4  # 150 draws of probability 0.61
    assert alone.float().mean() > 0.1  # of probability 0.30: false alarms below 1e-6 each
    assert not ((norms - 1).abs() < 1e-4).any()


VARIED = [
    {"aggregator": "median", "noise_scale": 0.1, "seed": 1},
    {"aggregator": "median", "byzantine": 2, "attack": "alie", "heterogeneity": 1.0},
    {"aggregator": "majority_vote", "learning_rate": 0.01, "noise_scale": 0.03, "seed": 2},
    {"aggregator": "mean", "byzantine": 1, "attack": "large_value", "clip_norm": 0.2},
    {"aggregator": "median", "byzantine": 2, "attack": "sign_flip", "momentum": 0.9, "seed": 1},
    {"aggregator": "mean", "clip_norm": None, "grad_norm_bound": 1e3, "noise_scale": 0.01},
]


@pytest.mark.parametrize(
    "shared",
    [{}, {"model": "mlp"}, {"noise": "laplace"}, {"clipping": "per_layer", "model": "mlp"}],
    ids=str,
)
def test_a_lane_in_a_batch_is_the_same_run_alone(shared):
    """To the last bit here; to rounding, where a processor's kernels depend on the batch."""
    bounded = shared.get("clipping", "flat") == "flat"
    varied = [settings for settings in VARIED if bounded or "grad_norm_bound" not in settings]
    specs = [RunSpec(**SHORT | shared | settings) for settings in varied]
    for spec, result in zip(specs, train_lanes(specs), strict=True):
        assert result.spec == spec
        alone = train(spec)
        assert alone.epsilon == result.epsilon
        pd.testing.assert_frame_equal(result.history, alone.history, rtol=1e-5, atol=1e-6)


def test_a_run_is_the_same_on_one_thread_to_rounding(threads):
    """Sums are split over threads, so their last bits differ; 30 steps carry them to 1e-4."""
    spec = RunSpec(**{**SHORT, "model": "mlp", "batch_size": 128}, noise_scale=0.1)
    threads(4)
    several = train(spec)
    threads(1)
    one = train(spec)
    np.testing.assert_allclose(one.history["loss"], several.history["loss"], rtol=1e-4)


@pytest.mark.parametrize("noise", ["gaussian", "laplace", "logistic"])
@pytest.mark.parametrize("clipping", ["flat", "per_layer", "automatic"])
def test_no_example_moves_a_message_beyond_the_sensitivity_however_it_is_clipped(
    clipping, noise, messages_of, monkeypatch
):
    """Neighbouring datasets under the same draws, in the norm that the noise law needs."""
    order = {"gaussian": 2, "laplace": 1, "logistic": 2}[noise]
    settings = SHORT | {"clip_norm": 0.5, "batch_size": 200, "model": "mlp"}
    spec = RunSpec(**settings, clipping=clipping, noise=noise)
    before = messages_of(spec)
    digits = get_dataset("digits")
    inputs = digits.train.inputs.clone()
    inputs[7] = -1e4
    neighbour = replace(digits, train=Split(inputs, digits.train.labels))
    monkeypatch.setattr(training, "get_dataset", lambda *name: neighbour)
    moved = (messages_of(spec) - before).norm(order, dim=-1)
    assert 0 < float(moved.max()) <= 2 * 0.5 / 200 * (1 + 1e-4)  # replaced: out and in
    assert ((moved > 0).sum(-1) <= 1).all()  # it belongs to one worker


def test_the_same_seed_twice_is_identical_and_another_is_not():
    spec = RunSpec(**SHORT, noise_scale=0.1)
    once, twice = train(spec), train(spec)
    assert once.history.equals(twice.history)
    assert not once.history.equals(train(RunSpec(**SHORT, noise_scale=0.1, seed=1)).history)


def test_mean_without_noise_clipping_or_sampling_is_gradient_descent():
    """Against torch's own optimiser on the whole training set, momentum included."""
    spec = RunSpec(
        aggregator="mean", honest=3, batch_size=419, steps=20, learning_rate=0.3, momentum=0.5,
        evaluate_every=20,
    )  # fmt: skip
    digits = get_dataset("digits")
    model = build_model("logistic", digits, spec.seed)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.5)
    for _ in range(20):
        optimiser.zero_grad()
        logits = model(digits.train.inputs)
        torch.nn.functional.cross_entropy(logits, digits.train.labels).backward()
        optimiser.step()
    loss = torch.nn.functional.cross_entropy(model(digits.test.inputs), digits.test.labels)
    assert train(spec).loss == pytest.approx(loss.item(), rel=1e-4)


def test_byzantine_messages_stand_beside_the_honest_ones(messages_of):
    spec = RunSpec(**SHORT, byzantine=2, attack={"name": "sign_flip", "scale": 3.0})
    seen = messages_of(spec)
    assert seen.shape[2] == 7
    torch.testing.assert_close(seen[:, :, 5], -3 * seen[:, :, :5].mean(2))
    torch.testing.assert_close(seen[:, :, 5], seen[:, :, 6])


def test_history_and_the_average_of_the_last_evaluations():
    result = train(RunSpec(**{**SHORT, "steps": 23}, final_evaluations=2))
    assert result.history["step"].tolist() == [5, 10, 15, 20, 23]
    assert result.accuracy == result.history["accuracy"].iloc[-2:].mean()
    assert result.loss == result.history["loss"].iloc[-2:].mean()
    assert 0 <= result.accuracy <= 1


def test_validation_and_test_splits_differ():
    runs = [train(RunSpec(**SHORT, evaluate_on=split)) for split in ("test", "validation")]
    assert not runs[0].history["loss"].equals(runs[1].history["loss"])


def test_a_run_that_blows_up_is_diverged_and_leaves_its_neighbours_alone():
    attack = {"name": "large_value", "scale": 1e38}
    lost = RunSpec(**SHORT, aggregator="mean", byzantine=2, attack=attack, learning_rate=100)
    sound = RunSpec(**SHORT)
    results = train_lanes([lost, sound])
    assert results[0].diverged
    assert results[0].accuracy < 0.5
    assert not results[1].diverged
    assert results[1].history.equals(train(sound).history)


def test_sign_rules_get_signs(messages_of):
    vectors = messages_of(RunSpec(**SHORT, noise_scale=0.1))
    signs = messages_of(RunSpec(**SHORT, noise_scale=0.1), message="sign")
    assert torch.equal(signs, torch.where(vectors < 0, -1.0, 1.0))


def test_noisy_signs_have_two_values_and_signs_without_noise_three(messages_of, monkeypatch):
    """Whatever is added; as in a lane of its own, so beside others."""
    monkeypatch.setattr(training.Perturbation, "__call__", lambda self, means, into: means.float())
    quiet, noisy = RunSpec(**SHORT), RunSpec(**SHORT, noise_scale=0.1)
    vectors = messages_of(quiet)  # with pixels that are always 0
    signs = messages_of(quiet, noisy, message="sign")
    assert (vectors == 0).any()
    assert torch.equal(signs[:, :1], vectors.sign())
    assert torch.equal(signs[:, 1:], torch.where(vectors < 0, -1.0, 1.0))


def test_attacks_are_told_apart_to_the_last_digit():
    specs = [
        RunSpec(**SHORT, byzantine=1, attack={"name": "alie", "z": z}, aggregator="mean")
        for z in (3.0, 3.0000001)
    ]
    for spec, result in zip(specs, train_lanes(specs), strict=True):
        assert result.history.equals(train(spec).history)


def test_the_bound_is_checked_at_every_step():
    settings = {"honest": 5, "steps": 30, "learning_rate": 20.0, "evaluate_every": 1}
    specs = [RunSpec(**settings, grad_norm_bound=bound) for bound in (1, 5, 6, 7, 8, 9, 1e6)]
    results = train_lanes(specs)
    steps = [len(result.history) + 1 for result in results]
    assert steps == sorted(steps)
    assert steps[0] == 1
    assert any(1 < step < 30 for step in steps)
    for result, step in zip(results[:-1], steps, strict=False):
        assert result.failure is None or f"at step {step}," in result.failure
    assert results[-1].failure is None


def test_a_broken_bound_ends_the_run_and_no_other():
    broken, kept = (RunSpec(steps=5, honest=5, grad_norm_bound=bound) for bound in (3.0, 1e3))
    with pytest.raises(
        PrivRobustError,
        match=r"at step 1, honest worker [0-4] has a gradient of norm \d+\.\d+, above the bound 3",
    ):
        train(broken)
    results = train_lanes([broken, kept])
    assert "above the bound 3" in results[0].failure
    assert results[0].epsilon == math.inf
    assert "bound was broken" in results[0].spent.reason
    assert math.isnan(results[0].accuracy)
    assert results[0].history.empty
    assert results[1].failure is None
    assert results[1].accuracy == train(kept).accuracy


def test_a_kept_bound_is_clipping_that_never_clips():
    bound = {"steps": 20, "honest": 5, "noise_scale": 0.1}
    bounded, clipped = (
        train(RunSpec(**bound, **{field: 50.0})) for field in ("grad_norm_bound", "clip_norm")
    )
    assert bounded.history.equals(clipped.history)
    assert bounded.epsilon == clipped.epsilon


def test_epsilon_of_a_run():
    """science.md: digits, C = 1, B = 32, n_i = 95 would be 9.306; here n_i = 83 and 84."""
    spec = RunSpec(honest=15, noise_scale=0.1, clip_norm=1.0, steps=300)
    each = [
        epsilon(Release(noise_scale=0.1, clip_norm=1, batch_size=32, dataset_size=n, steps=300))
        for n in (83, 84)
    ]
    assert each[0] > each[1] > 9.306
    assert PrivacyPlan(spec).spent.epsilon == each[0]


@pytest.mark.parametrize("settings", [{"delta": 1e-3}, {"accountant": "rdp"}])
def test_epsilon_follows_delta_and_the_accountant(settings):
    spec = RunSpec(**SHORT, noise_scale=0.1, **settings)
    expected = epsilon(
        Release(noise_scale=0.1, clip_norm=1.0, batch_size=32, dataset_size=251, steps=30),
        delta=spec.delta,
        accountant=spec.accountant,
    )
    assert train(spec).epsilon == expected != train(RunSpec(**SHORT, noise_scale=0.1)).epsilon


def test_a_delta_that_promises_nothing_is_warned_of():
    with pytest.warns(PrivRobustWarning, match=r"delta: 0\.01 is not below 1 / 252: giving one ex"):
        train(RunSpec(**SHORT, delta=0.01))


@pytest.mark.parametrize("hostile", [math.nan, math.inf, -math.inf])
def test_outputs_that_are_not_finite_are_wrong_answers(hostile):
    model = torch.nn.Linear(1, 2, bias=False)
    split = Split(torch.ones(4, 1), torch.tensor([0, 0, 0, 1]))
    parameters = torch.tensor([[1.0, 0.0], [hostile, 0.0]])
    evaluate = Evaluator(model, Layout(model), split.examples(slice(1)), get_loss("cross_entropy"))
    assert evaluate(parameters, split).means.accuracy.tolist() == [0.75, 0.0]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"noise_scale": 0.0, "clip_norm": 1.0}, "no noise"),
        ({"noise_scale": 0.5}, "no clipping and no gradient bound"),
    ],
)
def test_runs_without_privacy_say_why(settings, reason):
    result = train(RunSpec(steps=2, honest=5, **settings))
    assert result.epsilon == math.inf
    assert reason in result.spent.reason


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 252}, "batch_size: 252 is more than the 251 examples of honest worker 2"),
        ({"honest": 1258}, "honest: 1258 workers cannot share 1257 training examples"),
        ({"model": "mpl"}, r"model: unknown name 'mpl'; did you mean 'mlp'\?"),
    ],
)
def test_settings_that_the_data_contradict(settings, message):
    with pytest.raises(SpecError, match=message):
        train(RunSpec(**{**SHORT, **settings}))


def test_heterogeneity_pulls_the_median_from_the_mean(messages_of):
    """Why the paper adds noise: on sorted data the median of gradients is not their mean."""
    gaps = []
    for heterogeneity in (0.0, 1.0):
        seen = messages_of(RunSpec(**SHORT, heterogeneity=heterogeneity))
        gaps.append(float((Median()(seen) - seen.mean(2)).norm(dim=-1).mean()))
    assert gaps[1] > 2 * gaps[0]


def test_partitions_deal_every_example_once():
    labels = get_dataset("digits").train.labels
    for heterogeneity, workers in itertools.product((0.0, 0.37, 1.0), (1, 7, 10)):
        dealt = Similarity(heterogeneity).deal(labels, workers, seed=3)
        assert sorted(np.concatenate(dealt)) == list(range(len(labels)))


def test_accuracy_by_class_and_worker_over_the_last_evaluations():
    spec = RunSpec(
        **{**SHORT, "steps": 23}, heterogeneity=1.0, final_evaluations=2, noise_scale=0.05
    )
    result = train(spec)
    digits = get_dataset("digits")
    last, before = (
        train(spec.model_copy(update={"steps": steps, "final_evaluations": 1}))
        for steps in (23, 20)
    )
    np.testing.assert_allclose(result.correct, (last.correct + before.correct) / 2)
    assert result.accuracy == pytest.approx(result.correct.mean())
    by_class = result.accuracy_by_class
    for label in range(10):
        mine = (digits.test.labels == label).numpy()
        assert by_class[label] == pytest.approx(result.correct[mine].mean())
    by_worker = result.accuracy_by_worker
    for worker, share in enumerate(shares(spec)):
        labels = digits.train.labels[share].numpy()
        assert by_worker[worker] == pytest.approx(by_class.to_numpy()[labels].mean())
    assert by_worker.max() - by_worker.min() > 0.05


def test_a_run_without_a_result_has_no_accuracies():
    (result,) = train_lanes([RunSpec(steps=5, honest=5, grad_norm_bound=1.0)])
    assert result.failure
    assert result.accuracy_by_class.isna().all()
    assert result.accuracy_by_worker.isna().all()
