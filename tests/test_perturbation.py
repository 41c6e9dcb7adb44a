"""Noise streams and the sign shortcut against the distributions they stand for."""

import math

import pytest
import torch
from scipy import stats

from privrobust.perturbation import NOISE_LAWS, Draws, chances, noisy_signs
from privrobust.sampling import stream

CPU = torch.device("cpu")


def draws(seeds, law="gaussian", shape=(3, 50_000)):
    return Draws(seeds, "noise", NOISE_LAWS[law].fill, shape, torch.float32, CPU)


@pytest.mark.parametrize(("law", "known"), [("gaussian", stats.norm), ("laplace", stats.laplace)])
def test_draws_follow_their_law(law, known):
    drawn = draws([0], law)().flatten().double().numpy()
    assert stats.kstest(drawn, known.cdf).pvalue > 1e-7  # false alarm once in 10^7
    assert abs(drawn.var() / known.var() - 1) < 0.05  # 10 standard errors


def test_workers_steps_and_seeds_draw_apart_and_equal_seeds_alike():
    both = draws([3, 4, 3])
    first, second = both().clone(), both()
    assert torch.equal(first[0], first[2])
    vectors = torch.cat([first[:2].flatten(0, 1), second[:2].flatten(0, 1)]).double()
    correlation = torch.corrcoef(vectors) - torch.eye(len(vectors))
    assert float(correlation.abs().max()) < 6 / math.sqrt(50_000)  # 66 pairs: once in 10^7


def test_a_run_draws_the_same_alone_beside_others_and_on_any_number_of_threads(threads):
    large = (4, 100_000)  # several streams
    threads(4)
    alone = draws([1], shape=large)().clone()
    assert torch.equal(draws([0, 1, 2], shape=large)()[1], alone[0])
    threads(1)
    assert torch.equal(draws([1], shape=large)(), alone)


@pytest.mark.parametrize("b", [0.01, 0.3, 2.0])
def test_a_sign_drawn_alone_has_the_distribution_of_the_sign_of_a_noisy_value(b):
    """200,000 draws a value against Laplace's distribution function: 21 tests, once in 10^7."""
    values = torch.tensor([-0.5, -0.1, -0.003, 0.0, 0.003, 0.1, 0.5])
    count = 200_000
    chance = torch.empty(count, 1, dtype=torch.int32)
    chances(chance, stream(0, "signs"))
    tail = NOISE_LAWS["laplace"].tail
    signs = noisy_signs(values.expand(count, -1), torch.tensor(b), tail, chance)
    assert set(signs.unique().tolist()) <= {-1.0, 1.0}
    for value, ups in zip(values.tolist(), (signs == 1).sum(0).tolist(), strict=True):
        expected = stats.laplace.sf(-value / b)
        assert stats.binomtest(ups, count, min(1.0, expected)).pvalue > 5e-9


def test_the_shortcut_and_added_noise_agree():
    """The same value, 300,000 times each way: a two-sample test that errs once in 10^7."""
    count, value, b = 300_000, 0.2, 0.3
    added = draws([5], "laplace", (1, count))().flatten() * b + value
    chance = torch.empty(count, dtype=torch.int32)
    chances(chance, stream(5, "signs"))
    tail = NOISE_LAWS["laplace"].tail
    drawn = noisy_signs(torch.full((count,), value), torch.tensor(b), tail, chance)
    ups = [int((added > 0).sum()), int((drawn > 0).sum())]
    assert stats.fisher_exact([[up, count - up] for up in ups]).pvalue > 1e-7


def test_without_noise_a_sign_is_the_plain_one():
    values, chance = torch.tensor([-2.0, 0.0, 3.0]), torch.zeros(3, dtype=torch.int32)
    tail = NOISE_LAWS["laplace"].tail
    assert noisy_signs(values, torch.tensor(0.0), tail, chance).tolist() == [-1.0, 0.0, 1.0]
