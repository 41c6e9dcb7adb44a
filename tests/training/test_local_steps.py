"""Rounds of local steps: against torch's own, what is accounted for, lanes, hostile runs."""

import math

import pandas as pd
import pytest
import torch
from scipy import stats
from told import told

from privrobust import RunSpec, train
from privrobust.accountants import Release, epsilon
from privrobust.audit.audited_runs import Asked, AuditedRuns
from privrobust.audit.canaries import CANARIES
from privrobust.data import get_dataset
from privrobust.errors import SpecError
from privrobust.gradients.layout import Layout
from privrobust.models.validation import initial_parameters
from privrobust.sweeps.grid import Sweep
from privrobust.training import loop as training
from privrobust.training.loop import train_lanes
from privrobust.training.noise import noise_std
from privrobust.training.privacy_plan import PrivacyPlan
from privrobust.training.shares import shares

CPU = torch.device("cpu")
# 1,257 examples over 3 workers of 419 each, all of them in every batch
WHOLE = {"honest": 3, "batch_size": 419.0, "heterogeneity": 0.5, "evaluate_every": 1}
SHORT = {"clip_norm": 1.0, "honest": 5, "steps": 10, "noise_scale": 0.2, "evaluate_every": 5}
STANDS_STILL = 1e-30
"""A local learning rate by which no parameter moves."""


def gradients(flat, inputs, labels, layout, model):
    """Per-sample gradients of cross-entropy, by torch, float64."""

    def loss(flat, example, label):
        named = layout.unflatten(flat)
        scores = torch.func.functional_call(model, named, (example.unsqueeze(0),))
        return torch.nn.functional.cross_entropy(scores, label.unsqueeze(0))

    return torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(flat, inputs, labels)


def sums_of_a_round(spec, local_rate, inputs, labels):
    """What a worker of these examples sends without noise, from the run's first parameters."""
    model, (start,) = initial_parameters(spec.model, get_dataset(spec.dataset), [spec.seed])
    layout, model = Layout(model), model.double()
    here, total = start.double(), 0.0
    for _ in range(spec.local_steps):
        each = gradients(here, inputs.double(), labels, layout, model)
        if spec.unit == "example" and spec.clip_norm:
            each = each * (spec.clip_norm / each.norm(dim=1, keepdim=True)).clamp(max=1.0)
        total = total + each.mean(0)
        here = start.double() - local_rate * total
    if spec.unit == "worker" and spec.clip_norm:
        total = total * min(1.0, spec.clip_norm / float(total.norm()))
    return total


@pytest.mark.parametrize("model", ["logistic", "mlp"])
@pytest.mark.parametrize("unit", ["example", "worker"])
@pytest.mark.parametrize("clip_norm", [0.5, None])
def test_a_message_is_what_torch_makes_of_the_steps(unit, clip_norm, model, messages_of, way):
    """Full batches without noise: C binds in both units, and the schedule slows later rounds."""
    spec = RunSpec(
        **WHOLE, unit=unit, clip_norm=clip_norm, model=model, local_steps=4, steps=3,
        local_learning_rate=0.6, schedule="linear",
    )  # fmt: skip
    seen, digits = messages_of(spec), get_dataset("digits")
    for step, factor in enumerate((1, 2 / 3, 1 / 3)):
        for worker, share in enumerate(shares(spec)):
            mine = digits.train.examples(share), digits.train.labels[share]
            expected = sums_of_a_round(spec, 0.6 * factor, *mine).float()
            torch.testing.assert_close(seen[step, 0, worker], expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(seen[0], seen[2], rtol=1e-2)


def test_with_the_mean_it_is_federated_averaging():
    """McMahan et al. 2017, with torch's own optimiser at every worker and models averaged."""
    spec = RunSpec(
        **WHOLE, aggregator="mean", local_steps=3, steps=5, learning_rate=0.4, clip_norm=None
    )
    digits = get_dataset("digits")
    server, (start,) = initial_parameters("logistic", digits, [spec.seed])
    torch.nn.utils.vector_to_parameters(start, server.parameters())
    losses = []
    for _ in range(spec.steps):
        ends = []
        for share in shares(spec):
            worker, _ = initial_parameters("logistic", digits, [spec.seed])
            worker.load_state_dict(server.state_dict())
            worker.requires_grad_(True)
            optimiser = torch.optim.SGD(worker.parameters(), lr=0.4)
            for _ in range(spec.local_steps):
                optimiser.zero_grad()
                scores = worker(digits.train.examples(share))
                torch.nn.functional.cross_entropy(scores, digits.train.labels[share]).backward()
                optimiser.step()
            ends.append(torch.nn.utils.parameters_to_vector(worker.parameters()).detach())
        torch.nn.utils.vector_to_parameters(torch.stack(ends).mean(0), server.parameters())
        with torch.no_grad():
            scores = server(digits.test.examples(slice(None)))
            losses.append(float(torch.nn.functional.cross_entropy(scores, digits.test.labels)))
    assert train(spec).history["loss"].tolist() == pytest.approx(losses, rel=1e-4)


@pytest.mark.parametrize("noise", ["gaussian", "laplace"])
def test_a_round_sums_the_vectors_that_single_steps_send(noise, messages_of):
    """Nobody moves, so that k steps see the batches and the noise of k messages, to the bit."""
    once = messages_of(RunSpec(**SHORT, noise=noise))
    rounds = RunSpec(
        **SHORT | {"steps": 2}, noise=noise, local_steps=5, local_learning_rate=STANDS_STILL
    )
    summed = messages_of(rounds)
    for round_, steps in zip(summed, (once[:5], once[5:]), strict=True):
        total = steps[0].clone()
        for step in steps[1:]:
            total += step
        assert torch.equal(round_, total)


@pytest.mark.parametrize(("unit", "of_sum"), [("example", 6.0), ("worker", 1.0)])
def test_noise_of_messages_is_what_attackers_are_told(unit, of_sum, messages_of):
    """32,500 draws over 50 messages."""
    settings = SHORT | {"unit": unit, "local_steps": 6, "local_learning_rate": STANDS_STILL}
    spec = RunSpec(**settings)
    quiet = RunSpec(**settings | {"noise_scale": 0.0})
    noise = (messages_of(spec) - messages_of(quiet)).double().flatten()
    std = 0.2 * math.sqrt(of_sum)
    assert float(noise_std([spec], CPU)) == pytest.approx(std)
    assert stats.kstest(noise, stats.norm(scale=std).cdf).pvalue > 1e-7
    total = float(noise.square().sum()) / std**2
    assert 1e-7 < stats.chi2(noise.numel()).cdf(total) < 1 - 1e-7


def test_a_worker_moves_its_sum_by_its_clipping_norm_whatever_it_holds(messages_of, monkeypatch):
    """Its data is exchanged under the same draws: taken out and put in, twice C."""
    settings = SHORT | {"noise_scale": 0.0, "unit": "worker", "clip_norm": 0.3}
    spec = RunSpec(**settings, local_steps=5, local_learning_rate=2.0)
    before = messages_of(spec)
    digits = get_dataset("digits")
    inputs = digits.train.inputs.clone()
    inputs[shares(spec)[0]] = -1e4
    changed = type(digits.train)(inputs, digits.train.labels)
    neighbour = type(digits)("digits", changed, digits.validation, digits.test, 10)
    monkeypatch.setattr(training, "get_dataset", lambda *name: neighbour)
    moved = (messages_of(spec) - before).norm(dim=-1)
    assert 0.3 < float(moved[..., 0].max()) <= 2 * 0.3 + 1e-6
    assert float(moved[..., 1:].max()) == 0


@pytest.mark.parametrize("steps", [1, 4])
def test_no_steps_of_a_worker_that_sits_out_are_sent(steps, messages_of):
    spec = RunSpec(
        **SHORT | {"noise_scale": 0.0, "steps": 40}, unit="worker", worker_sampling_rate=0.3,
        local_steps=steps,
    )  # fmt: skip
    silent = (messages_of(spec) == 0).all(-1).double().mean()
    assert abs(float(silent) - 0.7) < 6 * math.sqrt(0.21 / 200)


def test_an_examples_epsilon_is_that_of_all_local_steps():
    """And a worker's that of its messages."""
    local = RunSpec(**SHORT, local_steps=7)
    release = Release(noise_scale=0.2, steps=70, clip_norm=1.0, batch_size=32, dataset_size=251)
    assert train(local).epsilon == epsilon(release, local.delta)
    assert train(local).epsilon == PrivacyPlan(RunSpec(**SHORT | {"steps": 70})).spent.epsilon
    whole = RunSpec(**SHORT, unit="worker")
    further = RunSpec(**SHORT, unit="worker", local_steps=7)
    assert train(further).epsilon == train(whole).epsilon
    assert train(further).epsilon_by_worker.tolist() == [train(whole).epsilon] * 5


def test_a_target_pays_for_all_local_steps():
    settings = SHORT | {"noise_scale": 0.0, "target_epsilon": 3.0}
    b = PrivacyPlan(RunSpec(**settings, local_steps=4)).spec.noise_scale
    assert b == PrivacyPlan(RunSpec(**settings | {"steps": 40})).spec.noise_scale
    assert b > 1.1 * PrivacyPlan(RunSpec(**settings)).spec.noise_scale


def test_a_budget_ends_training_before_a_round_that_it_cannot_pay_for():
    """It lasts for 17 noisy steps: five rounds of three, and of none of 18."""
    once = RunSpec(**SHORT | {"steps": 17})
    budget = SHORT | {"steps": 100, "max_epsilon": PrivacyPlan(once).spent.epsilon}
    assert PrivacyPlan(RunSpec(**budget)).steps == 17
    result = train(RunSpec(**budget, local_steps=3))
    assert (result.steps, result.history["step"].tolist()) == (5, [5])
    assert result.epsilon == PrivacyPlan(RunSpec(**SHORT | {"steps": 15})).spent.epsilon
    assert PrivacyPlan(RunSpec(**budget, local_steps=17)).steps == 1
    refused = "max_epsilon: .* cannot be kept .it allows 17 of the 18 local steps before a first"
    with pytest.raises(SpecError, match=refused):
        _ = PrivacyPlan(RunSpec(**budget, local_steps=18)).steps


def test_signs_of_sums_are_charged_as_the_vectors_and_those_of_workers_as_signs():
    def spent(unit, steps, **settings):
        spec = RunSpec(**SHORT | settings, unit=unit, local_steps=steps, aggregator="majority_vote")
        return PrivacyPlan(spec).spent

    def of_vectors(unit, steps):
        return PrivacyPlan(RunSpec(**SHORT, unit=unit, local_steps=steps)).spent.epsilon

    assert spent("example", 1).epsilon < 0.95 * of_vectors("example", 1)
    assert spent("example", 3).epsilon == of_vectors("example", 3)
    assert spent("worker", 3) == spent("worker", 1)
    assert spent("worker", 3, noise_scale=9.0, accountant="sign").accountant == "sign"
    with pytest.raises(SpecError, match="sign"):
        spent("example", 3, accountant="sign")


@pytest.mark.parametrize(("unit", "of_sum"), [("example", 4), ("worker", 1)])
def test_the_error_of_a_mean_is_that_of_the_noise_of_all_local_steps(unit, of_sum):
    """Of 10 steps in 650 coordinates, noise of 5 workers averaged."""
    settings = SHORT | {"evaluate_every": 1, "aggregator": "mean", "unit": unit}
    result = train(RunSpec(**settings, local_steps=4))
    assert result.error_of_mean == pytest.approx(650 * of_sum * 0.2**2 / 5)
    assert 1e-7 < stats.chi2(6500).cdf(6500 * result.error / result.error_of_mean) < 1 - 1e-7
    assert math.isnan(result.error_bound) == (unit == "example")


VARIED = [
    {"noise_scale": 0.1, "seed": 1},
    {"local_learning_rate": 0.1, "schedule": "cosine"},
    {"byzantine": 2, "attack": "alie", "heterogeneity": 1.0},
    {"byzantine": 1, "attack": "label_flip", "seed": 1, "worker_momentum": 0.5},
    {"byzantine": 2, "attack": "own_sign_flip", "aggregator": "mean", "local_learning_rate": 0.2},
    {"aggregator": "majority_vote", "learning_rate": 0.01, "clip_norm": 0.2},
    {"aggregator": "fltrust", "momentum": 0.9, "seed": 1},
    {"aggregator": "mean", "clip_norm": None, "grad_norm_bound": 1e3, "noise_scale": 0.01},
]


@pytest.mark.parametrize("model", ["logistic", "mlp"])
@pytest.mark.parametrize("unit", ["example", "worker"])
def test_a_lane_in_a_batch_is_the_same_run_alone(unit, model):
    """To the bit, as these models are chains."""
    varied = [each for each in VARIED if unit == "example" or "grad_norm_bound" not in each]
    specs = [
        RunSpec(**SHORT | {"steps": 6, "unit": unit, "model": model, "local_steps": 3} | each)
        for each in varied
    ]
    for spec, result in zip(specs, train_lanes(specs), strict=True):
        alone = train(spec)
        assert (result.spec, result.epsilon) == (spec, alone.epsilon)
        pd.testing.assert_frame_equal(result.history, alone.history, check_exact=True)


@pytest.mark.parametrize("unit", ["example", "worker"])
def test_byzantine_workers_who_follow_the_protocol_take_local_steps(unit, messages_of):
    """They hold copies of honest shares, so that on full batches their messages are the same."""
    settings = WHOLE | {"unit": unit, "clip_norm": 0.5, "steps": 2, "local_steps": 3}
    (sent,) = messages_of(RunSpec(**settings, byzantine=2, attack="own_sign_flip"))[1]
    torch.testing.assert_close(sent[3:], -sent[:2], rtol=1e-5, atol=1e-7)
    (flipped,) = messages_of(RunSpec(**settings, byzantine=2, attack="label_flip"))[1]
    cosines = torch.cosine_similarity(flipped[3:], flipped[:2], dim=-1)
    assert float(cosines.max()) < 0.9


@pytest.mark.parametrize("unit", ["example", "worker"])
def test_the_servers_own_direction_is_of_as_many_steps(unit):
    rule = "told:Told"
    spec = RunSpec(
        **SHORT | {"clip_norm": 0.4, "steps": 1}, unit=unit, aggregator=rule, local_steps=4,
        local_learning_rate=0.7,
    )  # fmt: skip
    train(spec)
    held = get_dataset("digits").validation
    expected = sums_of_a_round(spec, 0.7, held.examples(slice(None)), held.labels)
    torch.testing.assert_close(told[-1][0], expected.float(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("unit", ["example", "worker"])
@pytest.mark.parametrize("rate", [1e25, 1e38])
def test_steps_that_leave_every_number_behind_send_finite_messages(unit, rate, messages_of):
    settings = SHORT | {"unit": unit, "local_steps": 4, "local_learning_rate": rate}
    for model in ("logistic", "mlp"):
        sent = messages_of(RunSpec(**settings, model=model))
        assert bool(sent.isfinite().all())
        if unit == "example":  # four gradients of at most C, four times noise of scale b
            most = 4 + 0.2 * 2 * stats.chi(sent.shape[-1]).isf(1e-9)
            assert float(sent.norm(dim=-1).max()) < most


def test_a_bound_is_held_against_gradients_of_every_local_step():
    """Of a confident and wrong model they are longer than those of the first."""
    settings = {"honest": 3, "steps": 1, "grad_norm_bound": 5.5, "learning_rate": 5.0}
    assert train_lanes([RunSpec(**settings)])[0].failure is None
    (result,) = train_lanes([RunSpec(**settings, local_steps=6)])
    assert "at step 1, honest worker" in result.failure
    assert result.epsilon == math.inf


def test_a_rate_that_moves_nobody_is_no_part_of_a_run():
    plain = RunSpec(**SHORT)
    stated = RunSpec(**SHORT, local_learning_rate=0.3)
    assert (stated, stated.key) == (plain, plain.key)
    sweep = SHORT | {"grid": {"local_steps": [1, 2], "local_learning_rate": [0.1, 0.3]}}
    runs = Sweep.from_settings(sweep).runs()
    assert [(run.local_steps, run.local_learning_rate) for run in runs] == [
        (1, None), (2, 0.1), (2, 0.3)
    ]  # fmt: skip
    assert len({run.key for run in runs}) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"local_steps": 0}, "local_steps: 0 is not accepted: at least 1"),
        ({"local_steps": 2.5}, "local_steps: 2.5 is not accepted"),
        ({"local_steps": 10**8, "steps": 100}, "local_steps: 1e?.* in each of 100 steps; accepted"),
        ({"local_learning_rate": 0, "local_steps": 2}, "local_learning_rate: 0 is not accepted"),
        (
            {"local_steps": 2, "unit": "worker", "clip_norm": None, "grad_norm_bound": 2.0},
            "grad_norm_bound: 2, of one gradient, .* local_steps: 2, .*; accepted: clip_norm$",
        ),
    ],
)
def test_what_is_refused(settings, message):
    with pytest.raises(SpecError, match=message):
        train(RunSpec(**SHORT | settings))


@pytest.mark.parametrize("name", sorted(CANARIES))
def test_an_audit_of_such_runs_is_refused(name):
    asked = Asked(helpers=0, runs=4, per_run=1, opposed=False, seed=0, on_step=lambda share: None)
    with pytest.raises(SpecError, match="local_steps: 2 in an audit; accepted: 1, as canaries are"):
        AuditedRuns(RunSpec(**SHORT, local_steps=2), CANARIES[name], asked)
