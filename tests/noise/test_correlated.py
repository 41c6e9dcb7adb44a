"""Noise that pairs of workers share: its covariance, and that its whole numbers are exact."""

import math
from fractions import Fraction
from itertools import combinations

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from privrobust.errors import SpecError
from privrobust.noise import derived_keys
from privrobust.noise.correlated import Mixture, add_correlated, exactly, mixture
from privrobust.noise.grid import Grid
from privrobust.noise.streams import first_words, keystream

WORKERS = 4


def drawn(dim, mixed, seed=0, rows=None, values=None, step=1.0):
    """What these rows of all workers send, in steps of the grid."""
    keys = derived_keys(seed, "noise", 1, mixed.workers)
    words = torch.from_numpy(first_words(keys, dim + dim % 2).view(np.int64))
    rows = rows or range(mixed.workers)
    if values is None:
        values = torch.zeros(len(rows), dim, dtype=torch.float64)
    return add_correlated(values, rows[0], words, keys, Grid(step, 0.0), mixed)


@given(
    scale=st.floats(1.0, 2.0**30),
    ratio=st.floats(1e-6, 1e3),
    workers=st.integers(1, 10_000),
)
def test_it_is_at_least_what_is_accounted_for_and_hardly_more(scale, ratio, workers):
    """In exact fractions, both eigenvalues of the covariance."""
    try:
        mixed = mixture(scale, ratio, workers)
    except SpecError:
        assert scale * math.sqrt(1 + workers * ratio**2) > 2.0**47
        return
    across = Fraction(mixed.own) ** 2
    along = Fraction(mixed.own) + workers * Fraction(mixed.common)
    least = Fraction(scale) ** 2 * (1 + workers * Fraction(ratio) ** 2)
    assert least <= across <= least * (1 + Fraction(1, 10**14))
    assert Fraction(scale) <= along <= Fraction(scale) * (1 + Fraction(1, 10**9))


def test_its_covariance_is_that_of_noise_drawn_pair_by_pair():
    """10 moments of 10^6 coordinates, of ours and of the definition: each errs once in 10^9."""
    ratio, dim, scale = 0.7, 10**6, 2.0**20
    ours = drawn(dim, mixture(scale, ratio, WORKERS)).double().numpy() / scale
    generator = np.random.default_rng(0)
    theirs = generator.standard_normal((WORKERS, dim))
    for one, other in combinations(range(WORKERS), 2):
        shared = ratio * generator.standard_normal(dim)
        theirs[one] += shared
        theirs[other] -= shared
    identity, ones = np.eye(WORKERS), np.ones((WORKERS, WORKERS))
    expected = identity + ratio**2 * (WORKERS * identity - ones)
    spread = np.sqrt((expected**2 + np.outer(np.diag(expected), np.diag(expected))) / dim)
    for noise in (ours, theirs):
        assert (abs(np.cov(noise) - expected) < 6.2 * spread).all()
    assert stats.kstest(ours[0] / math.sqrt(expected[0, 0]), "norm").pvalue > 1e-9
    # in the sum, pairs cancel
    assert stats.kstest(ours.sum(0) / math.sqrt(WORKERS), "norm").pvalue > 1e-9


def test_a_median_cancels_what_the_closed_form_says():
    """A median of five standard normal numbers has the variance .28683 (Teichroew 1956)."""
    ratio, dim, workers = 0.5, 10**6, 5
    noise = drawn(dim, mixture(2.0**20, ratio, workers)).double().numpy() / 2.0**20
    expected = (1 + (workers * 0.28683 - 1) * (1 + workers * ratio**2)) / workers
    found = np.median(noise, axis=0).var()
    assert found == pytest.approx(expected, rel=6.2 * math.sqrt(2 / dim))  # once in 10^9


def test_coordinates_workers_and_steps_are_apart():
    """Products of neighbours in a row, and with another seed's: 2 tests, each errs once in 10^9."""
    mixed = mixture(2.0**20, 1.0, WORKERS)
    one, other = (drawn(10**5, mixed, seed).double() for seed in (0, 1))
    for a, b in ((one[0, :-1], one[0, 1:]), (one[0], other[0])):
        correlation = torch.corrcoef(torch.stack([a, b]))[0, 1]
        assert abs(float(correlation)) < 6.2 / math.sqrt(len(a))


@pytest.mark.parametrize("ratio", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize("scale", [0.3, 1e4, 2.0**33])
def test_whole_numbers_are_those_of_mpmath(scale, ratio):
    """Of every coordinate, by Box and Muller's formula in 60 digits of four levels of words."""
    mixed, dim = mixture(scale, ratio, WORKERS), 301
    keys = derived_keys(0, "noise", 1, WORKERS)
    found = drawn(dim, mixed).double()
    with mp.workdps(60):
        for place in range(dim):
            draws = []
            for key in keys:
                words = [keystream(key.tobytes(), [place // 2], level)[0] for level in range(3)]
                u, t = (
                    sum(
                        mp.mpf(int(word)) / mp.mpf(2) ** (64 * (k + 1)) for k, word in enumerate(of)
                    )
                    for of in zip(*words, strict=True)
                )
                half = mp.mpf(1) / 2
                angle = mp.pi * ((2 * t - (t >= half)) - half)
                turned = (mp.sin, mp.cos)[place % 2](angle)
                draws.append((-1 if t >= half else 1) * mp.sqrt(-2 * mp.log(u)) * turned)
            for worker in range(WORKERS):
                noise = mp.mpf(mixed.own) * draws[worker] + mp.mpf(mixed.common) * mp.fsum(draws)
                assert found[worker, place] == np.float32(int(mp.nint(noise)))


def test_what_is_not_doubtful_is_right_whatever_digits_follow(monkeypatch):
    """Words that are short or far out, on a grid so fine that many sums are settled."""
    random = np.random.default_rng(1)
    dim = 400
    words = random.integers(2**64, size=(WORKERS, dim), dtype=np.uint64)
    words[:, ::2] = 2.0 ** random.uniform(38, 64, size=(WORKERS, dim // 2))
    words[:, ::4] = ~words[:, ::4]
    mixed = mixture(2.0**40, 0.8, WORKERS)
    settled = []
    monkeypatch.setattr(
        "privrobust.noise.correlated.exactly",
        lambda worker, coordinate, mixed, more: settled.append(worker) or 0,
    )
    values = torch.zeros(WORKERS, dim, dtype=torch.float64)
    keys = derived_keys(0, "noise", 1, WORKERS)
    given_words = torch.from_numpy(words.view(np.int64))
    sent = add_correlated(values, 0, given_words, keys, Grid(1.0, 0.0), mixed)
    assert 100 < len(settled) < WORKERS * dim - 100
    checked = 0
    for place in range(dim):
        for worker in range(WORKERS):
            if sent[worker, place] == 0:  # settled
                continue
            block = words[:, place - place % 2 : place - place % 2 + 2].tolist()
            for digits in (0, 2**64 - 1):
                more = [
                    lambda level, own=own, digits=digits: own if level == 0 else (digits, digits)
                    for own in map(tuple, block)
                ]
                whole = exactly(worker, place % 2, mixed, more)
                assert sent[worker, place] == np.float32(whole)
            checked += 1
    assert checked > 100


def test_settled_numbers_are_those_of_the_fast_way(monkeypatch):
    """Every number sent to whole numbers: the same ones."""
    mixed = mixture(1e5, 1.0, WORKERS)
    fast = drawn(51, mixed)
    monkeypatch.setattr(
        "privrobust.noise.tensors.rounded",
        lambda noise, size, scale, short: (noise.round(), noise == noise),
    )
    assert torch.equal(drawn(51, mixed), fast)


def test_some_workers_alone_have_what_they_have_among_all():
    mixed = mixture(1e6, 1.0, WORKERS)
    together = drawn(1001, mixed)
    assert torch.equal(together[:3], drawn(1001, mixed, rows=range(3)))
    assert torch.equal(together[3:], drawn(1001, mixed, rows=range(3, 4)))


def test_sums_are_on_the_grid_and_values_are_rounded_to_it():
    mixed = mixture(50.0, 1.0, WORKERS)
    values = torch.linspace(-3, 3, 4 * 99, dtype=torch.float64).reshape(4, 99)
    sent = drawn(99, mixed, values=values, step=0.25)
    assert torch.equal(sent, drawn(99, mixed) * 0.25 + (values / 0.25).round().float() * 0.25)


def test_noise_that_no_grid_holds_is_refused():
    with pytest.raises(
        SpecError, match=r"^pairwise_noise: 1000000.0 among 10 workers is too large"
    ):
        mixture(2.0**30, 1e6, 10)


def test_a_worker_alone_has_its_own_noise():
    """No pairs: own and common add up to the scale."""
    alone = mixture(1e4, 3.0, 1)
    assert isinstance(alone, Mixture)
    assert alone.own + alone.common == pytest.approx(1e4, rel=1e-12)
