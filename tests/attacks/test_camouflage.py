"""Camouflage: it passes for noise, and nothing that passes is worse."""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.optimize import minimize

from privrobust.aggregators import KnownNoise, Median, NoiseAware
from privrobust.aggregators.known_noise import longest_square, passes, quantile_band
from privrobust.attacks import Camouflage, Setting
from privrobust.attacks.camouflage import noise_along


def draw(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def directions(dim):
    """Smooth ones, a sparse one, one with two values, and one that is none."""
    drawn = draw(dim, seed=dim)
    sparse = drawn * (torch.arange(dim) % 5 == 0)
    return [drawn, drawn**3, sparse, drawn.sign(), torch.zeros(dim)]


@pytest.mark.parametrize("dim", [1, 2, 5, 40, 650, 25450])
def test_it_passes_whatever_it_points_to(dim):
    for direction in directions(dim):
        for std in (1.0, 0.07, 1e-20):
            sent = (noise_along(direction) * std).unsqueeze(0)
            assert passes(sent, torch.full((1, 1), std), torch.zeros(1, 1)).all()
        if dim > 100:
            assert stats.kstest(noise_along(direction).double().numpy(), "norm").pvalue > 0.0499


def test_it_is_the_best_that_an_optimiser_finds():
    """SciPy's SLSQP on what passes, from noise that does."""
    dim = 12
    for seed in range(4):
        towards = draw(dim, seed=seed, dtype=torch.float64)
        ours = noise_along(towards)
        order = towards.argsort()
        low, high = (end.numpy() for end in quantile_band(towards))
        ascending = towards[order].numpy()
        best = minimize(
            lambda values, of=ascending: -of @ values,
            np.clip(np.zeros(dim), low, high),
            jac=lambda values, of=ascending: -of,
            bounds=list(zip(low, high, strict=True)),
            constraints={
                "type": "ineq",
                "fun": lambda values: longest_square(dim) - values @ values,
                "jac": lambda values: -2 * values,
            },
            method="SLSQP",
        )
        assert best.success
        assert float(towards @ ours) == pytest.approx(-best.fun, rel=2e-4)
        for swap in range(100):  # no order of its values is better
            other = ours[torch.randperm(dim, generator=torch.Generator().manual_seed(swap))]
            assert towards @ other <= towards @ ours


def test_it_points_where_it_is_told_to():
    """Of a normal direction nearly all of it does; of honest noise, 1 / sqrt(d)."""
    towards = draw(650)
    assert torch.cosine_similarity(noise_along(towards), towards, dim=0) > 0.99


def test_one_step_of_four_goes_with_the_honest_mean():
    honest = [draw(10, 300, seed=step) + draw(300, seed=99) for step in range(9)]
    craft = Camouflage(memory=0.0).in_run(Setting(Median(), torch.full((1, 1), 0.5)))
    for step, seen in enumerate(honest):
        sent = craft(seen, 3, None)
        assert sent.shape == (3, 300)
        torch.testing.assert_close(sent.norm(dim=-1), torch.full((3,), sent[0].norm().item()))
        assert passes(sent, torch.full((1, 1), 0.5), torch.zeros(1, 1)).all()
        cosine = torch.cosine_similarity(sent[0], seen.mean(0), dim=0)
        assert cosine > 0.99 if step % 4 == 0 else cosine < -0.99


def test_what_it_pushes_against_is_remembered():
    """The momentum of the mean, against NumPy's."""
    craft = Camouflage(memory=0.7, every=2, noise_std=1.0).in_run(Setting(Median(), torch.zeros(1)))
    kept = torch.zeros(60)
    for step in range(5):
        seen = draw(4, 60, seed=step)
        kept = 0.7 * kept + 0.3 * seen.mean(0)
        expected = noise_along(kept if step % 2 == 0 else -kept)
        torch.testing.assert_close(craft(seen, 1, None)[0], expected, rtol=1e-4, atol=1e-4)


def test_scores_of_the_rule_are_earned_and_kept():
    """Three against ten: from the first step on they are among those averaged."""
    rule = NoiseAware(selected=10 / 13).in_run(
        KnownNoise(torch.full((1, 1), 0.1), torch.zeros(1, 1), torch.zeros(1, 1))
    )
    craft = Camouflage().in_run(Setting(rule, torch.full((1, 1), 0.1)))
    gradient = draw(650, seed=7) * 0.01
    along = []
    for step in range(60):
        honest = gradient + 0.1 * draw(10, 650, seed=step)
        messages = torch.cat([honest, craft(honest, 3, None)])
        update = rule(messages, public=gradient)
        along.append(float(update @ gradient / gradient.square().sum()))
    assert along[0] > 1
    assert np.mean(along[20:]) < 0  # where a mean of honest messages has 1


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.99])
def test_it_passes_at_every_step_of_workers_with_a_momentum(beta):
    """From the first, where their noise is far less than in the limit."""
    std, momentum = torch.tensor([[[0.3]]]), torch.tensor([[[beta]]])
    known = KnownNoise(std, momentum, torch.zeros(1, 1, 1))
    limit = std * ((1 - beta) / (1 + beta)) ** 0.5
    craft = Camouflage().in_run(Setting(Median(), limit, known))
    for step in range(1, 40):
        sent = craft(draw(1, 3, 650, seed=step), 2, None)
        assert passes(sent, known.std_at(step), known.reach).all(), step
