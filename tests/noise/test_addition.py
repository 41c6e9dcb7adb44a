"""Sums on the grid: every way gives the same ones, and they tell what the grid lets them."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from privrobust.errors import SpecError
from privrobust.noise import NOISE_LAWS, addition, derived_keys, streams
from privrobust.noise.addition import add_on_device, add_to_rows
from privrobust.noise.backend import compiled_loop
from privrobust.noise.grid import SHARE, Grid, Grids, grid
from privrobust.noise.streams import as_keys, first_words, keystream

LAWS = list(NOISE_LAWS)
KEY = as_keys(bytes(range(16)))


def same(one, other):
    """To the last bit: plus and minus zero differ."""
    return one.dtype == other.dtype and one.tobytes() == other.tobytes()


def sums(values, noise, keys, grids, dtype=np.float64):
    out = np.empty(values.shape, dtype)
    add_to_rows(values, keys, grids, noise, out)
    return out


def rows(count, dim, scale, seed=0):
    """Values, keys and grids of rows that all differ."""
    random = np.random.default_rng(seed)
    grids = Grids.of(Grid(2.0 ** (row - 20), scale * (1 + row / 7)) for row in range(count))
    return random.normal(size=(count, dim)) * 1e-3, derived_keys(seed, "noise", 1, count), grids


@pytest.fixture
def without_the_loop(monkeypatch):
    monkeypatch.setattr(addition, "compiled_loop", lambda: None)
    monkeypatch.setattr(streams, "compiled_loop", lambda: None)


SHAPES = [(3, 1), (2, 1023), (1, 1024), (2, 1025), (4, 5001)]
SCALES = [0.01, 5.0, 1e3, 2.0**30, 2.0**44]


@pytest.mark.parametrize("noise", LAWS)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_loop_and_tensors_give_the_same(noise, scale, shape, request):
    values, keys, grids = rows(*shape, scale)
    compiled = sums(values, noise, keys, grids)
    request.getfixturevalue("without_the_loop")
    assert same(sums(values, noise, keys, grids), compiled)
    assert np.isfinite(compiled).all()


@pytest.mark.parametrize("noise", LAWS)
@pytest.mark.parametrize("scale", SCALES)
def test_the_loop_gives_what_whole_numbers_give(noise, scale):
    values, keys, grids = rows(1, 801, scale, seed=1)
    found = sums(values, noise, keys, grids)[0]
    of = Grid(grids.steps[0], grids.scales[0])
    for place, value in enumerate(values[0]):

        def more(level, block=place // 2):
            return tuple(keystream(keys[0].tobytes(), [block], level)[0].tolist())

        drawn = NOISE_LAWS[noise].exactly(place % 2, of.scale, more)
        assert found[place] == (round(Fraction(value) / Fraction(of.step)) + drawn) * of.step


@pytest.mark.parametrize("noise", LAWS)
def test_a_device_s_words_give_the_same_as_the_keystream(noise):
    """The path of a GPU, here on a CPU: from equal words it makes equal numbers."""
    values, keys, grids = rows(3, 4001, 2.0**36, seed=2)
    words = torch.from_numpy(first_words(keys, 4002).view(np.int64).copy())
    sent = add_on_device(torch.from_numpy(values), words, keys, grids, noise)
    assert same(sent.numpy(), sums(values, noise, keys, grids, np.float32))


@pytest.mark.parametrize("noise", LAWS)
def test_float32_is_the_rounding_of_the_sum(noise):
    values, keys, grids = rows(2, 3000, 1e7, seed=3)
    whole = sums(values, noise, keys, grids)
    assert same(sums(values, noise, keys, grids, np.float32), whole.astype(np.float32))


@pytest.mark.parametrize("noise", LAWS)
def test_rows_and_threads_do_not_matter(noise, threads):
    values, keys, grids = rows(5, 70_001, 1e6, seed=4)
    threads(1)
    alone = [
        sums(
            values[row : row + 1],
            noise,
            keys[row : row + 1],
            Grids(*(of[row : row + 1] for of in grids)),
        )
        for row in range(5)
    ]
    for count in (1, 2, 5):
        threads(count)
        together = sums(
            values[::-1].copy(), noise, keys[::-1].copy(), Grids(*(of[::-1].copy() for of in grids))
        )
        assert same(together[::-1], np.concatenate(alone))


@pytest.mark.parametrize("loop", [True, False])
@pytest.mark.parametrize("noise", LAWS)
@pytest.mark.parametrize("dim", [1, 7, 2050])
def test_rows_may_lie_in_larger_buffers(dim, noise, loop, request):
    """As the first workers of every lane do; what lies between them stays as it was."""
    if not loop:
        request.getfixturevalue("without_the_loop")
    values, keys, grids = rows(6, dim, 2.0**40, seed=5)  # some of them doubtful
    expected = sums(values, noise, keys, grids, np.float32).reshape(2, 3, dim)
    lanes = np.full((2, 5, dim + 2), 7.0)
    lanes[:, :3, :dim] = values.reshape(2, 3, dim)
    sent = np.full((2, 4, dim + 1), 7.0, np.float32)
    add_to_rows(lanes[:, :3, :dim], keys, grids, noise, sent[:, :3, :dim])
    assert same(sent[:, :3, :dim], expected)
    assert (sent[:, 3] == 7).all()
    assert (sent[..., dim] == 7).all()


@pytest.mark.parametrize("noise", LAWS)
def test_what_no_grid_holds_is_settled_in_whole_numbers(noise):
    """Values up to 2^51 steps, beyond, and far beyond, on either side."""
    near = 2.0**51 + np.array([-1.5, -0.5, 0, 0.5, 1.5, 2.5])
    values = np.concatenate([near, -near, [1e30, -1e30, 1e300, -1e300]])[None]
    drawn = sums(np.zeros_like(values), noise, KEY, Grids.of([Grid(1.0, 1e4)]))[0]
    sent = sums(values, noise, KEY, Grids.of([Grid(1.0, 1e4)]))[0]
    for value, whole, found in zip(values[0], drawn, sent, strict=True):
        assert found == float(round(Fraction(value)) + Fraction(whole))


@pytest.mark.parametrize("loop", [True, False])
@pytest.mark.parametrize("noise", LAWS)
def test_a_zero_has_no_sign_that_tells_the_value_s(noise, loop, request):
    """Of sums that are 0 none is -0.0, whatever was rounded to 0."""
    if not loop:
        request.getfixturevalue("without_the_loop")
    for value in (0.0, -0.0, -1e-30, 1e-30):
        sent = sums(np.full((1, 20_001), value), noise, KEY, Grids.of([Grid(1.0, 3.0)]))
        assert (sent == 0).sum() > 1000
        assert not np.signbit(sent[sent == 0]).any()


@pytest.mark.parametrize("way", ["loop", "tensors"])
@pytest.mark.parametrize("noise", LAWS)
def test_what_is_not_doubtful_is_right_whatever_digits_follow(noise, way):
    """Where words are short or far out, on so fine a grid that being off by 2^-48 would show."""
    random = np.random.default_rng(9)
    words = random.integers(2**64, size=(4000, 2), dtype=np.uint64)
    words[:, 0] = 2.0 ** random.uniform(38, 64, size=4000)
    near_1, at_a_root = words[::2, 0], words[::5, 0]
    np.invert(near_1, out=near_1)
    at_a_root[:] = 2.0 ** (random.integers(40, 65, size=800) - 0.5 + random.normal(size=800) * 1e-9)
    if noise == "laplace":  # both are sizes, one digit shorter
        words[:, 1] = (words[:, 0] >> np.uint64(1)) | (words[:, 1] & np.uint64(1 << 63))
    if noise == "logistic":  # each is a draw
        words[:, 1] = words[::-1, 0]
    settled = 0
    for pair in words:
        scale = 2.0 ** random.uniform(40, 48)
        if way == "loop":
            drawn = np.empty(2)
            scratch = np.empty(1), np.empty(1, np.int64), np.empty(2, np.int64)
            law, add = compiled_loop().CODES[noise], compiled_loop()._add
            add(law, pair.view(np.int64), scratch, np.zeros(2), scale, 1.0, drawn)
        else:
            whole, doubt = NOISE_LAWS[noise].in_tensors(
                torch.from_numpy(pair.view(np.int64))[None],
                torch.tensor([scale], dtype=torch.float64),
            )
            drawn = torch.where(doubt, torch.nan, whole)[0].numpy()
        for coordinate in np.flatnonzero(~np.isnan(drawn)).tolist():
            for digits in ([0] * 4, [2**64 - 1] * 4):
                levels = [tuple(pair.tolist()), *zip(digits, digits, strict=True)]
                exactly = NOISE_LAWS[noise].exactly(coordinate, scale, levels.__getitem__)
                assert drawn[coordinate] == exactly
            settled += 1
    assert settled > 1000


@given(
    values=st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=9),
    others=st.lists(st.floats(-1e300, 1e300), min_size=9, max_size=9),
    step=st.integers(-60, 60),
    noise=st.sampled_from(LAWS),
)
def test_neighbours_are_sent_on_one_grid(values, others, step, noise):
    """Of any size: whole numbers of steps, as far apart as what they are the rounding of."""
    of = Grids.of([Grid(2.0**step, 1e4)])
    one, other = (np.array([each[: len(values)]]) for each in (values, others))
    sent, sent_other = (sums(each, noise, KEY, of)[0] for each in (one, other))
    unit = Fraction(2) ** step
    for a, b, x, y in zip(one[0], other[0], sent, sent_other, strict=True):
        assert (Fraction(x) / unit).denominator == (Fraction(y) / unit).denominator == 1
        if max(abs(a), abs(b)) < 2.0**step * 2**51:  # all of the sum's digits fit into a float
            apart = round(Fraction(a) / unit) - round(Fraction(b) / unit)
            assert Fraction(x) - Fraction(y) == apart * unit


@given(
    b=st.floats(1e-12, 1e6),
    contribution=st.floats(1e-9, 1e9),
    dim=st.integers(1, 10**11),
    order=st.sampled_from([1, 2]),
)
def test_a_grid_costs_nothing_that_is_not_counted(b, contribution, dim, order):
    """Noise over distance, with all that rounding adds to it, is at least what accountants use."""
    if b / contribution > 1e4:
        b = contribution * 1e4
    try:
        of = grid(b, contribution, dim, order)
    except SpecError:
        assert b / contribution * dim ** (1 / order) > 2.0**34
        return
    spread = Fraction(of.step) * (
        dim if order == 1 else Fraction(math.isqrt(dim * 2**80) + 1, 2**40)
    )
    assert spread <= Fraction(SHARE) * Fraction(contribution)
    assert SHARE < 0.001
    moved = Fraction(contribution) + spread
    noise = Fraction(of.scale) * Fraction(of.step)
    assert noise / moved >= Fraction(b) / Fraction(contribution)
    assert noise <= Fraction(b) * Fraction(1.0003)
    assert math.frexp(of.step)[0] == 0.5


def test_noise_that_no_grid_holds_is_refused():
    with pytest.raises(SpecError, match=r"^noise_scale: 1e\+20 is too large .* accepted: at most"):
        grid(1e20, 1 / 32, 10_000, 2)


def test_where_nothing_is_bounded_the_grid_is_fine_against_the_noise():
    of = grid(0.3, math.inf, 100, 2)
    assert of.step <= 0.3 * 2**-24
    assert of.scale * of.step == pytest.approx(0.3, rel=1e-3)
