"""Noise against the laws that it is to follow: bulk, tails, single cells of the grid."""

import math

import mpmath as mp
import numpy as np
import pytest
import torch
from scipy import stats

from privrobust.accountants import Release, epsilon
from privrobust.noise import NOISE_LAWS, derived_keys, tensors
from privrobust.noise.addition import add_to_rows
from privrobust.noise.backend import compiled_loop
from privrobust.noise.grid import Grids

LAWS = {"gaussian": stats.norm, "laplace": stats.laplace, "logistic": stats.logistic}
FINE = 2.0**30  # steps of the grid in one scale: outputs are as good as real numbers
ROWS, DIM = 10, 1_000_000


def draws(noise, batches, scale=FINE, seed=0):
    """Noise over its scale, `(ROWS, DIM)` at a time."""
    grids = Grids(np.ones(ROWS), np.full(ROWS, scale))
    values, out = np.zeros((ROWS, DIM)), np.empty((ROWS, DIM))
    for step in range(batches):
        add_to_rows(values, derived_keys(seed, "noise", step, ROWS), grids, noise, out)
        yield out / scale


def surprise(count, total, probability):
    """The chance of a count that is at least as far off."""
    return stats.binomtest(int(count), total, probability).pvalue


def tails(noise, batches):
    """Counts beyond 4, 5, 5.5 and 6 scales on either side: 8 tests, each errs once in 10^9."""
    beyond = (4.0, 5.0, 5.5, 6.0)
    found = np.zeros((2, 4), int)
    for drawn in draws(noise, batches):
        far = drawn[np.abs(drawn) > beyond[0]]
        found += [[(side * far > least).sum() for least in beyond] for side in (1, -1)]
    for side in found:
        for count, least in zip(side, beyond, strict=True):
            assert surprise(count, batches * ROWS * DIM, LAWS[noise].sf(least)) > 1e-9


@pytest.mark.parametrize("noise", LAWS)
def test_tails(noise):
    tails(noise, 3)


@pytest.mark.slow
@pytest.mark.parametrize("noise", LAWS)
def test_tails_in_10_to_the_10(noise):
    tails(noise, 1000)


def moment(noise, order):
    if order % 2:
        return 0
    if noise == "logistic":  # (2 pi)^k (1 - 2^(1-k)) |B_k|, B_k Bernoulli's number
        return float((2 * mp.pi) ** order * (1 - 2.0 ** (1 - order)) * abs(mp.bernoulli(order)))
    return math.factorial(order) if noise == "laplace" else math.prod(range(1, order, 2))


@pytest.mark.parametrize("noise", LAWS)
def test_moments(noise):
    """Of 2 10^7 draws, to order 8: each errs once in 10^9 (6.1 standard errors).

    To order 6 for noise of exponential tails, as means of its higher powers are not yet normal.
    """
    orders = 8 if noise == "gaussian" else 6
    sums, total = np.zeros(orders), 0
    for drawn in draws(noise, 2, seed=1):
        power = np.ones_like(drawn)
        for order in range(orders):
            power *= drawn
            sums[order] += power.sum()
        total += drawn.size
    for order, mean in enumerate(sums / total, start=1):
        variance = moment(noise, 2 * order) - moment(noise, order) ** 2
        assert abs(mean - moment(noise, order)) < 6.1 * math.sqrt(variance / total)


@pytest.mark.parametrize("noise", LAWS)
def test_the_bulk_in_equal_bins(noise):
    """10^7 draws in 4,096 bins of equal probability: chi-square, errs once in 10^9."""
    ends = LAWS[noise].ppf(np.linspace(0, 1, 4097)[1:-1])
    (drawn,) = draws(noise, 1, seed=2)
    counts = np.bincount(np.searchsorted(ends, drawn.ravel()), minlength=4096)
    assert stats.chisquare(counts).pvalue > 1e-9


@pytest.mark.parametrize("scale", [0.3, 1.7, 12.5])
@pytest.mark.parametrize("noise", LAWS)
def test_cells_of_a_coarse_grid(noise, scale):
    """Whole numbers k have the law's mass on [k - 1/2, k + 1/2]: errs once in 10^9."""
    law = LAWS[noise]
    most = int(law.isf(1e-5) * scale)
    counts = np.zeros(2 * most + 1, int)
    for drawn in draws(noise, 1, scale=scale, seed=3):
        whole = np.rint(drawn * scale).astype(int).clip(-most, most)
        counts += np.bincount(whole.ravel() + most, minlength=2 * most + 1)
    cells = np.arange(-most, most + 2) - 0.5
    chances = np.diff(law.cdf(np.array([-np.inf, *cells[1:-1], np.inf]) / scale))
    assert stats.chisquare(counts, chances * counts.sum()).pvalue > 1e-9


@pytest.mark.parametrize("noise", LAWS)
def test_neighbours_workers_steps_and_seeds_are_uncorrelated(noise):
    """Values, their squares up to 9, and their signs: 60 tests, each errs once in 10^9."""
    first, second = (next(draws(noise, 1, seed=seed)).copy() for seed in (4, 5))
    later = [drawn.copy() for drawn in draws(noise, 2, seed=4)][1]
    pairs = [(first[0], first[1]), (first[0], later[0]), (first[0], second[0])]
    pairs += [(first[0][:-lag], first[0][lag:]) for lag in (1, 2, 3, 64, 512, 1024, 8192)]
    for one, other in pairs:
        for of in (lambda x: x, lambda x: np.minimum(x**2, 9), np.sign):
            a, b = of(one), of(other)
            assert abs(np.corrcoef(a, b)[0, 1]) < 6.2 / math.sqrt(len(a))


def test_the_two_coordinates_of_a_block_have_any_direction():
    """Angles in 360 equal parts, for near and for far draws: 2 tests, errs once in 10^9."""
    x, y = next(draws("gaussian", 1, seed=6)).reshape(-1, 2).T
    parts = np.floor((np.arctan2(x, y) / (2 * np.pi) + 0.5) * 360).astype(int).clip(0, 359)
    far = x**2 + y**2 > 2 * math.log(2)
    for chosen in (far, ~far):
        assert stats.chisquare(np.bincount(parts[chosen], minlength=360)).pvalue > 5e-10


def by_mpmath(noise, coordinate, scale, u, t):
    """What a block's draw rounds to, in 80 digits, of all its words joined."""
    with mp.workdps(80):
        digits = 256
        if noise == "laplace":
            negative, v = divmod((u, t)[coordinate], 1 << (digits - 1))
            size = -scale * mp.log(mp.mpf(v) / 2 ** (digits - 1))
        elif noise == "logistic":
            below = mp.mpf((u, t)[coordinate])
            negative, size = False, scale * mp.log(below / (mp.mpf(2) ** digits - below))
        else:
            negative, v = divmod(t, 1 << (digits - 1))
            angle = mp.pi * (mp.mpf(v) / 2 ** (digits - 1) - mp.mpf(1) / 2)
            turned = (mp.sin, mp.cos)[coordinate](angle)
            size = scale * mp.sqrt(-2 * mp.log(mp.mpf(u) / mp.mpf(2) ** digits)) * turned
        return int(mp.nint(-size if negative else size))


def words(random, near):
    """Four levels of words for u and t, the first near 0, near 2^64, at a quarter, or anywhere."""
    u, t = ([int(random.integers(2**64, dtype=np.uint64)) for _ in range(4)] for _ in range(2))
    small = int(random.integers(2 ** int(random.integers(1, 64)), dtype=np.uint64))
    for of in (u, t):
        of[0] = {"": of[0], "0": small, "1": 2**64 - 1 - small, "1/4": 2**62 + small // 4}[near]
    return u, t


@pytest.mark.parametrize("near", ["", "0", "1", "1/4"])
@pytest.mark.parametrize("noise", LAWS)
def test_whole_numbers_are_those_of_mpmath(noise, near):
    random = np.random.default_rng(7)
    for _ in range(200):
        u, t = words(random, near)
        scale = 2.0 ** random.uniform(-6, 48)
        joined = [sum(word << (64 * (3 - k)) for k, word in enumerate(of)) for of in (u, t)]
        for coordinate in (0, 1):
            levels = list(zip(u, t, strict=True))
            drawn = NOISE_LAWS[noise].exactly(coordinate, scale, levels.__getitem__)
            assert drawn == by_mpmath(noise, coordinate, scale, *joined)


@pytest.mark.parametrize("noise", LAWS)
def test_tails_end_nowhere(noise):
    """The least word that is not 0 lies 9.4 deviations out, and further words go on from 0."""
    far, further = {
        "gaussian": (9.42, 13.3),
        "laplace": (43.7, 88.0),
        "logistic": (-44.4, -88.7),
    }[noise]
    half_turned = 2**62 if noise == "gaussian" else 0
    levels = [(0, half_turned), (1, 1), (5, 5)]
    law = NOISE_LAWS[noise].exactly
    assert law(1, 1e6, levels.__getitem__) == pytest.approx(1e6 * further, rel=0.02)
    near = [(1, half_turned + (noise != "gaussian")), *levels[1:]]
    assert law(1, 1e6, near.__getitem__) == pytest.approx(1e6 * far, rel=0.02)


def test_uniform_words_at_the_ends_are_sent_where_digits_are_known():
    edge = torch.tensor([[0, 0], [-1, -1], [1, 1 << 62], [-(2**63), 2**63 - 1]])
    for law in (tensors.gaussian, tensors.laplace, tensors.logistic):
        whole, doubtful = law(edge, torch.tensor(1e3, dtype=torch.float64))
        assert doubtful[:3, 0].all()
        assert whole[~doubtful].isfinite().all()


def test_the_loop_s_fits_are_chebyshev_s():
    """Coefficients as mpmath finds them in 50 digits, and how far off they are."""
    loop = compiled_loop()
    with mp.workdps(50):
        quarter, widest = mp.pi / 4, (3 - 2 * mp.sqrt(2)) ** 2
        fits = {
            loop._SINE: (lambda z: mp.sin(quarter * mp.sqrt(z)) / mp.sqrt(z), 1, 2.0**-54),
            loop._COSINE: (lambda z: 2 * mp.cos(quarter * mp.sqrt(z)), 1, 2.0**-52),
            loop._LOG: (
                lambda z: -4 * (mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, widest, 2.0**-50
            ),
        }  # fmt: skip
        for coefficients, (function, end, off) in fits.items():
            # z = 0 is a removable singularity, and no node of the fit
            found = mp.chebyfit(function, [0, end], len(coefficients))
            assert [float(c) for c in reversed(found)] == list(coefficients)
            for place in range(1, 400):
                z = end * mp.mpf(place) / 399
                assert (
                    abs(mp.polyval([*map(mp.mpf, reversed(coefficients))], z) - function(z)) < off
                )


def certified(at_least, at_most, trials, delta):
    """Epsilon from below, of counts of one event in two worlds (95 %, Clopper and Pearson)."""
    low = stats.beta.ppf(0.025, at_least, trials - at_least + 1) if at_least else 0.0
    high = stats.beta.ppf(0.975, at_most + 1, trials - at_most)
    return math.log(max(low - delta, 1e-300) / high)


@pytest.mark.slow
def test_the_audit_that_found_the_cut_certifies_no_more_than_is_claimed():
    """Event: a coordinate beyond 5.7682 b, which torch's float32 noise never reaches.

    One step, q = 1, sigma = 0.5, delta = 1e-5: against noise with that cut the same counts certify
    10.78 of a claimed 9.997.
    """
    sigma, delta, batches = 0.5, 1e-5, 200
    trials, shift, cut = batches * ROWS * DIM, 1 / sigma, 5.7682
    moved = unmoved = 0
    for drawn in draws("gaussian", batches, seed=8):
        moved += int((drawn > cut - shift).sum())
        unmoved += int((drawn > cut).sum())
    release = Release(noise_scale=sigma, clip_norm=1.0, batch_size=1, dataset_size=1, steps=1)
    claimed = epsilon(release, delta)
    assert claimed == pytest.approx(9.997, abs=1e-3)
    assert certified(moved, unmoved, trials, delta) < claimed
    assert certified(moved, 0, trials, delta) > claimed  # had it been cut
