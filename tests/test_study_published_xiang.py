"""The page on Xiang et al.: its verdicts on made-up runs, and the rewriting of their code."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import published_xiang_ingredients as code
import pytest
import torch
from frames import frame
from scipy import stats
from study import published_xiang as study
from study.verdicts import FAILS, HOLDS, UNDECIDED, judge_two
from torch import nn
from torch.func import functional_call, grad, vmap

from privrobust import accountants
from privrobust.data import get_dataset
from privrobust.sweeps import load_sweep

SHEET = study.reported().drop_duplicates("epsilon")
SETTINGS = list(SHEET[["epsilon", "sigma"]].itertuples(index=False))


def test_two_means_are_compared_as_welch_does():
    one, other = [79.1, 80.4, 79.9], [78.0, 78.8, 77.1, 78.3, 79.6]
    terms = [np.var(values, ddof=1) / len(values) for values in (one, other)]
    freedom = sum(terms) ** 2 / (terms[0] ** 2 / 2 + terms[1] ** 2 / 4)
    half = stats.t.ppf(0.95, freedom) * math.sqrt(sum(terms))
    found = judge_two("", one, other, (-3, 3), level=0.9)
    effect = np.mean(one) - np.mean(other)
    assert (found.effect, found.low, found.high) == pytest.approx(
        (effect, effect - half, effect + half)
    )
    assert found.outcome == HOLDS
    assert judge_two("", one, other, (-1, 0)).outcome == FAILS
    assert judge_two("", one, [78.0], (-9, 9)).outcome == UNDECIDED
    assert judge_two("", one, [78.0, math.nan], (-9, 9)).outcome == UNDECIDED


def test_two_means_that_differ_by_just_the_margin_are_seldom_called_alike():
    """At the edge one in twenty is: 112 of 1,000 has a probability below 1e-6 (binomial tail)."""
    draws = np.random.default_rng(0)
    pairs = [(draws.normal(1, 1, 3), draws.normal(0, 2, 5)) for _ in range(1000)]
    alike = [judge_two("", *pair, (-1, 1), level=0.9).outcome == HOLDS for pair in pairs]
    assert sum(alike) < stats.binom.isf(1e-6, 1000, 0.05)


@pytest.mark.parametrize(("epsilon", "sigma"), SETTINGS)
def test_their_sigma_is_what_their_accountant_asks_for(epsilon, sigma):
    """RDP, of 8 epochs; their search stops within 0.01 of epsilon, and steps were 1499.75."""
    release = accountants.Release(
        noise_scale=sigma / 16, clip_norm=1.0, batch_size=16, sampling_rate=320 / 59990, steps=1500
    )
    spent = accountants.get_accountant("rdp").epsilon(release, (20 / 59990) ** 1.1)
    assert spent == pytest.approx(epsilon, abs=0.0105)


def test_the_sweep_and_the_rewriting_have_their_settings():
    runs = load_sweep(Path(__file__).parent.parent / "experiments" / "published_xiang.yaml").runs()
    rates = {run.noise_scale: run.learning_rate for run in runs}
    least = SHEET["sigma"].min()
    for epsilon, sigma in SETTINGS:
        b = min(rates, key=lambda b: abs(b - sigma / 16))
        assert b == pytest.approx(sigma / 16, rel=1e-5)
        assert rates[b] == pytest.approx(0.2 * least / sigma, rel=1e-5)
        assert code.SIGMAS[epsilon] == pytest.approx(sigma, rel=1e-5)
    assert math.ceil(0.4 * 50) == math.ceil(0.1 * 200) == 20


def made_up(shift=0.0, seeds=range(3)):
    """Make runs of what they report, on average, shifted by so many points."""
    rows = []
    for (f, _), some in study.reported().groupby(["byzantine", "epsilon"]):
        settings = {
            "honest": 20, "byzantine": f, "attack": "label_flip" if f else None, "clip_norm": 1.0,
            "aggregator": "noise_aware" if f else "mean", "batch_size": 16,
            "noise_scale": some["sigma"].iloc[0] / 16,
        }  # fmt: skip
        for seed in seeds:
            points = some["accuracy"].mean() + shift + 0.1 * seed
            rows.append(({**settings, "seed": seed}, points / 100))
    return frame(*rows)


def rewritten(names=("theirs", "ours"), shift=0.0):
    """Make what the rewriting gives, without attackers at the least epsilon."""
    mean = study.reported().query("byzantine == 0 and epsilon == 0.125")["accuracy"].mean()
    return pd.DataFrame(
        [(0, 0.125, name, seed, mean + shift + 0.1 * seed) for name in names for seed in range(5)],
        columns=["byzantine", "epsilon", "ingredients", "seed", "accuracy"],
    )


def outcomes(shift, monkeypatch, **of_code):
    monkeypatch.setattr(study, "ingredients", lambda: rewritten(**of_code))
    return study.claims(made_up(shift))


def test_what_is_as_reported_is_told_from_what_is_not(monkeypatch):
    close = outcomes(0.0, monkeypatch)
    assert len(close) == 4 * 5 + 2
    assert {verdict.outcome for verdict in close if "90 %" not in verdict.claim} <= {
        HOLDS,
        UNDECIDED,
    }
    assert sum(verdict.outcome == HOLDS for verdict in close) > 15
    far = outcomes(-4.0, monkeypatch)
    assert sum(verdict.outcome == FAILS for verdict in far) > 15
    held = [verdict for verdict in far if "their code, rewritten" in verdict.claim]
    assert [verdict.outcome for verdict in held] == [HOLDS]
    (against,) = [verdict for verdict in far if "our ingredients" in verdict.claim]
    assert against.outcome == FAILS
    assert against.effect == pytest.approx(4.1, abs=0.01)


def test_the_page_shows_theirs_beside_ours(monkeypatch):
    monkeypatch.setattr(study, "ingredients", lambda: rewritten(("theirs", "torch's start")))
    page = study.table(made_up(-4.0))
    row = "| 60 % label-flip | 0.125 | 6.721 | noise_aware | 70±2 | 66.3±0.2 | -3.9 ± 2.3 |"
    assert row in page
    assert "| no attack | 0.125 | torch's start | 5 |" in page
    assert len(study.figure(made_up()).axes) == 4


def test_failed_runs_decide_nothing(monkeypatch):
    monkeypatch.setattr(study, "ingredients", lambda: rewritten())
    failed = made_up().assign(accuracy=lambda runs: runs["accuracy"].mask(runs["seed"] == 1))
    ours = [verdict for verdict in study.claims(failed) if "here" in verdict.claim]
    assert {verdict.outcome for verdict in ours} == {UNDECIDED}


def test_their_elu_is_a_relu():
    """`False` is its alpha, 0."""
    inputs = torch.linspace(-3, 3, 13)
    assert torch.equal(nn.ELU(False)(inputs), nn.ReLU()(inputs))


def test_their_start_is_the_same_with_every_seed():
    """`dataset_setup.init_model_para`: weights of every layer in turn, after a seed of its own."""
    torch.manual_seed(1234)
    expected = [nn.init.xavier_normal_(torch.empty(*shape)) for shape in ((32, 784), (10, 32))]
    starts = [
        code.Layers(784, 10, "one", torch.Generator().manual_seed(seed)).matrices for seed in (0, 1)
    ]
    for start in starts:
        for found, weights in zip(start, expected, strict=True):
            torch.testing.assert_close(found[:, :-1], weights)
    assert not torch.equal(starts[0][0][:, -1], starts[1][0][:, -1])


@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_sums_are_those_of_normalised_gradients(beta):
    """Against torch's own gradients of every example, with m added."""
    generator = torch.Generator().manual_seed(0)
    layers = code.Layers(6, 4, start="xavier", generator=generator)
    layers.matrices = [matrix.double() for matrix in layers.matrices]
    inputs = torch.randn(3, 5, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(4, (3, 5), generator=generator)
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 4)).double()
    first, second = layers.matrices
    state = {
        "0.weight": first[:, :-1], "0.bias": first[:, -1],
        "2.weight": second[:, :-1], "2.bias": second[:, -1],
    }  # fmt: skip

    def loss(parameters, example, label):
        return nn.functional.cross_entropy(functional_call(model, parameters, (example,)), label)

    def matrices(found):
        return torch.cat(
            [
                torch.cat([found[f"{place}.weight"], found[f"{place}.bias"][..., None]], -1)
                .flatten(1)
                for place in (0, 2)
            ],
            -1,
        )  # fmt: skip

    every = vmap(grad(loss), (None, 0, 0))(state, inputs.flatten(0, 1), labels.flatten())
    gradients = matrices(every).unflatten(0, (3, 5))
    held = torch.randn(3, gradients.shape[-1], generator=generator, dtype=torch.float64)
    mixed = (1 - beta) * gradients + beta * held.unsqueeze(1)
    expected = (mixed / (mixed.norm(dim=-1, keepdim=True) + 0.01)).sum(1)
    before = code.split(held, layers.matrices) if beta else None
    used = code.Ingredients(worker_momentum=beta, added=0.01)
    found = code.normalised_sums(layers.factors(inputs, labels), before, used)
    torch.testing.assert_close(found, expected)


def test_workers_are_selected_as_their_code_does():
    """`BRP.FL_simulator.compute_local_score` and `make_aggregation`, step by step."""
    generator = torch.Generator().manual_seed(1)
    rule, accumulated = code.Selection(3), torch.zeros(8)
    for _ in range(5):
        messages = torch.randn(8, 20, generator=generator)
        direction = torch.randn(20, generator=generator)
        score = (messages * direction).sum(1) / messages.norm(dim=1) * 10
        best, _ = torch.topk(score, 3)
        score[score < best.mean()] = 0
        accumulated = accumulated + score
        submitted = torch.zeros(8)
        submitted[torch.topk(accumulated, 3).indices] = 1
        expected = messages[submitted > 0].sum(0) / submitted.sum()
        torch.testing.assert_close(rule(messages, direction), expected)


def test_batches_come_back_as_their_loader_has_them():
    labels = torch.arange(10).repeat(1000)
    made = list(code.batches(labels, 7, code.THEIRS, torch.Generator().manual_seed(0)))
    assert len(made) == 8 * 187
    honest = [tuple(batch.flatten().tolist()) for batch, _ in made]
    assert honest[:187] == honest[187:374] == honest[-187:]
    counts = Counter(honest)
    assert sorted(counts.values()) == [8] + [16] * 93
    assert honest[0] == honest[1] != honest[2]
    assert {others.shape for _, others in made} == {(7, 1)}
    held = [set(batch[worker].tolist()) for worker in (0, 1) for batch, _ in made]
    assert not set.union(*held[: len(made)]) & set.union(*held[len(made) :])
    new = list(code.batches(labels, 7, code.OURS, torch.Generator().manual_seed(0)))
    assert len({tuple(batch.flatten().tolist()) for batch, _ in new}) == len(made)
    assert {others.shape for _, others in new} == {(7, 16)}


@pytest.mark.parametrize("byzantine", [0, 30])
@pytest.mark.parametrize("name", ["theirs", "ours"])
def test_the_rewriting_learns_and_withstands(byzantine, name, monkeypatch):
    """With little noise and few steps; at random it would be right on a tenth."""
    monkeypatch.setattr(code, "EPOCHS", 1)
    monkeypatch.setattr(code, "SIGMAS", {2: 1e-2})
    used = code.VARIANTS[name]
    assert code.accuracy(get_dataset("digits"), 2, byzantine, used, seed=0) > 0.6
