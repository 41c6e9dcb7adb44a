"""What rules promise of kappa, held against messages that are chosen to break it."""

import math

import pytest
import torch

from privrobust.aggregators import get_aggregator
from privrobust.errors import SpecError
from privrobust.theory import least_kappa

PROVEN = [
    "mean",
    "median",
    "trimmed_mean",
    "trimmed_mean(f=3)",
    "geometric_median",
    "krum",
    "krum(neighbours=5)",
    "multi_krum",
    "multi_krum(best_of=2)",
    "smea",
    "nnm + trimmed_mean",
    "nnm + median",
    "nnm + geometric_median",
    "nnm + nnm + krum",
]
WORKERS = [(7, 0), (7, 1), (8, 1), (10, 2), (11, 3), (12, 2)]


def kappa(rule, honest, byzantine):
    """Of lanes of messages, by its definition."""
    mean = honest.mean(-2)
    spread = (honest - mean.unsqueeze(-2)).square().sum(-1).mean(-1)
    return (rule(torch.cat([honest, byzantine], -2)) - mean).square().sum(-1) / spread


def of_top_eigenvalue(rule, honest, byzantine):
    """Of lanes of messages: the square of the error over the top eigenvalue of the covariance."""
    mean = honest.mean(-2)
    top = torch.linalg.matrix_norm(honest - mean.unsqueeze(-2), 2).square() / honest.shape[-2]
    return (rule(torch.cat([honest, byzantine], -2)) - mean).square().sum(-1) / top


def found(rule, n, f, dim, kappa=kappa, lanes=40, steps=40):
    """Climb from random messages, half of them in two clusters, to the largest kappa."""
    draw = torch.Generator().manual_seed(1000 * n + 10 * f + dim)
    honest = torch.randn(lanes, n - f, dim, generator=draw, dtype=torch.float64)
    far = 3 * torch.randn(lanes, f, dim, generator=draw, dtype=torch.float64)
    half = lanes // 2
    clusters = (
        torch.rand(half, n - f, 1, generator=draw) < torch.rand(half, 1, 1, generator=draw)
    ).double()
    honest[:half] = clusters + 1e-6 * honest[:half]
    far[: half // 2] = 1.0
    best = kappa(rule, honest, far).nan_to_num(0.0)
    for _ in range(steps):
        size = 10 ** (-3 * torch.rand(lanes, 1, 1, generator=draw, dtype=torch.float64))
        moved = [
            each + size * torch.randn(each.shape, generator=draw, dtype=torch.float64)
            for each in (honest, far)
        ]
        now = kappa(rule, *moved).nan_to_num(0.0)
        better = (now > best)[:, None, None]
        honest, far = (
            torch.where(better, *pair) for pair in zip(moved, (honest, far), strict=True)
        )
        best = torch.maximum(now, best)
    return float(best.max())


@pytest.mark.parametrize("name", PROVEN)
@pytest.mark.parametrize(("n", "f"), WORKERS)
def test_no_messages_exceed_the_bound(name, n, f):
    rule = get_aggregator(name, f)
    try:
        rule.fits(n, f)
    except SpecError:
        return  # no run would have it
    bound = rule.kappa_bound(n, f)
    assert bound is not None
    assert bound >= least_kappa(n, f) * (1 - 1e-12)
    for dim in (1, 2):
        assert found(rule, n, f, dim) <= bound * (1 + 1e-6) + 1e-9


@pytest.mark.parametrize(("n", "f"), [(7, 1), (10, 2)])
def test_smea_keeps_its_bound_against_the_top_eigenvalue(n, f):
    smea = get_aggregator("smea", f)
    for dim in (2, 5):
        assert found(smea, n, f, dim, of_top_eigenvalue) <= smea.kappa_bound(n, f) * (1 + 1e-6)


def test_a_rule_of_coordinates_does_not():
    """It is off in all directions of noise, each of which has a small part of the variance."""
    n, f = 20, 4
    smea, trimmed = (get_aggregator(name, f) for name in ("smea", "trimmed_mean"))
    draw = torch.Generator().manual_seed(0)
    honest = torch.randn(n - f, 4000, generator=draw, dtype=torch.float64)
    ends = honest.amax(-2).expand(f, -1)
    assert of_top_eigenvalue(smea, honest, ends) <= smea.kappa_bound(n, f)
    assert of_top_eigenvalue(trimmed, honest, ends) > smea.kappa_bound(n, f)
    assert kappa(trimmed, honest, ends) <= trimmed.kappa_bound(n, f)


@pytest.mark.parametrize(("n", "f"), WORKERS)
@pytest.mark.parametrize("name", ["median", "trimmed_mean", "trimmed_mean(f=3)"])
def test_two_values_reach_the_bound_of_what_trims(name, n, f):
    rule = get_aggregator(name, f)
    trimmed = {"median": (n - 1) // 2, "trimmed_mean": f}.get(name, 3)
    honest = torch.ones(n - f, 1, dtype=torch.float64)
    honest[:trimmed] = 0.0
    if honest.std() == 0:  # f = 0: the mean
        return
    reached = float(kappa(rule, honest, torch.full((f, 1), 9.0, dtype=torch.float64)))
    assert reached == pytest.approx(rule.kappa_bound(n, f), rel=1e-12)


@pytest.mark.parametrize("kappa_of_least", [0.5, 0.9, 0.99])
def test_no_result_is_within_less_than_the_least_of_both_sets_of_honest_workers(kappa_of_least):
    """The messages of the proof: whichever number is the result, it is too far from one mean."""
    for n, f in WORKERS[1:]:
        kappa = kappa_of_least * least_kappa(n, f)
        values = torch.linspace(-1, 2, 3001, dtype=torch.float64)
        within = torch.ones(len(values), dtype=torch.bool)
        for ones in (0, f):  # of n - f honest workers
            honest = torch.tensor([1.0] * ones + [0.0] * (n - f - ones), dtype=torch.float64)
            spread = honest.var(correction=0)
            within &= (values - honest.mean()).square() <= kappa * spread + 1e-12
        assert not within.any()


def test_bounds_that_are_none():
    assert get_aggregator("mean").kappa_bound(10, 1) == math.inf
    assert get_aggregator("trimmed_mean(f=1)").kappa_bound(10, 2) == math.inf
    for name in ("majority_vote", "cge", "nnm(f=1) + median", "bucketing + median", "nnm + cge"):
        assert get_aggregator(name, 2).kappa_bound(12, 2) is None
    with pytest.raises(SpecError, match="byzantine: 5 of 10; accepted: fewer than half"):
        least_kappa(10, 5)
