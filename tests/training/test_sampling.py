import numpy as np
import pytest
import torch
from scipy import stats

from privrobust.core.random import stream
from privrobust.noise.streams import derived_keys, keystream
from privrobust.training import sampling
from privrobust.training.sampling import draw_batches


def batches(sizes, batch_size, steps, seeds=(0,)):
    return list(draw_batches([sizes] * len(seeds), batch_size, steps, seeds, "batches"))


def test_every_example_joins_with_probability_b_over_n():
    sizes, steps = [40, 80, 37], 4000
    joins = [np.zeros(size) for size in sizes]
    for slots, present in batches(sizes, 8, steps):
        for worker, count in enumerate(joins):
            drawn = slots[0, worker][present[0, worker]].numpy()
            assert len(set(drawn)) == len(drawn)
            count[drawn] += 1
    for size, count in zip(sizes, joins, strict=True):
        law = stats.binom(steps, 8 / size)
        # 157 examples, both tails: false alarm below 157 * 2e-9
        assert (law.cdf(count) > 1e-9).all()
        assert (law.sf(count) > 1e-9).all()
        spread = ((count - law.mean()) ** 2 / law.var()).sum()
        assert 1e-9 < stats.chi2(size).cdf(spread) < 1 - 1e-9


def test_every_example_joins_with_a_rate_that_is_given():
    sizes, steps = [40, 7], 4000
    drawn = draw_batches([sizes], 500, steps, [0], "batches", sampling_rate=0.3)
    counts = np.array([present[0].sum(-1).numpy() for _, present in drawn])
    for count, size in zip(counts.T, sizes, strict=True):
        law = stats.binom(size, 0.3)
        assert abs(count.mean() - law.mean()) < 6 * np.sqrt(law.var() / steps)
        assert abs(count.var() / law.var() - 1) < 6 * np.sqrt(2 / steps) * 1.1


def test_batch_sizes_vary_as_poisson_sampling_does():
    """Were batches of fixed size, or examples not independent, the variance would tell."""
    counts = np.array([present.sum() for _, present in batches([60], 12, 5000)])
    variance = 60 * 0.2 * 0.8
    assert abs(counts.mean() - 12) < 6 * np.sqrt(variance / 5000)
    assert abs(counts.var() / variance - 1) < 6 * np.sqrt(2 / 5000)


def test_workers_and_streams_draw_independently():
    drawn = torch.zeros(2, 2, 400, 50)
    for step, (slots, present) in enumerate(batches([50, 50], 25, 400, seeds=(0, 1))):
        for which in np.ndindex(2, 2):
            drawn[(*which, step, slots[which][present[which]])] = 1
    flat = 2 * drawn.flatten(2) - 1
    for first, second in [((0, 0), (0, 1)), ((0, 0), (1, 0)), ((0, 1), (1, 1))]:
        assert abs(float((flat[first] * flat[second]).mean())) < 6 / np.sqrt(400 * 50)


def assert_same(together, alone):
    for (slots, present), (slots_alone, present_alone) in zip(together, alone, strict=True):
        assert torch.equal(present[1].sum(-1), present_alone[0].sum(-1))
        assert torch.equal(slots[1][present[1]], slots_alone[0][present_alone[0]])


def test_a_stream_draws_the_same_alone_or_beside_others(monkeypatch):
    together = batches([30, 20], 5, 50, seeds=(3, 4, 5))
    monkeypatch.setattr(sampling, "_DRAWS", 200)  # chunks of few steps
    assert_same(together, batches([30, 20], 5, 50, seeds=(4,)))


def test_every_word_of_a_worker_is_for_one_example():
    """Results that are kept were drawn so: word j of (seed, purpose, step, worker), below q."""
    rates = [5 / 20, 5 / 10]
    for step, (slots, present) in enumerate(batches([20, 10], 5, 60, seeds=(7,)), start=1):
        for worker, key in enumerate(derived_keys(7, "batches", step, 2)):
            words = keystream(key.tobytes(), range(10)).reshape(-1)[: (20, 10)[worker]]
            joins = words / 2.0**64 < rates[worker]
            assert slots[0, worker][present[0, worker]].tolist() == np.flatnonzero(joins).tolist()


def test_empty_batches_are_all_padding():
    for slots, present in batches([10], 1e-6, 20):
        assert not present.any()
        assert (slots == 0).all()


def test_rate_one_takes_everyone():
    slots, present = batches([9], 9, 1)[0]
    assert slots[present].tolist() == list(range(9))


@pytest.mark.parametrize("other", [(1, "batches"), (0, "noise")])
def test_seeds_and_purposes_have_streams_of_their_own(other):
    ours = torch.randn(1000, generator=stream(0, "batches"))
    assert torch.equal(ours, torch.randn(1000, generator=stream(0, "batches")))
    assert abs(float((ours * torch.randn(1000, generator=stream(*other))).mean())) < 6 / 1000**0.5


# --- batches that are no Poisson samples ----------------------------------------------------------

SCHEMES = ("shuffled", "fixed", "balls_in_bins")


def drawn_by(sampling, sizes, batch_size, steps, seeds=(0,)):
    """Which examples join, `(seeds, workers, steps, examples)`."""
    joins = np.zeros((len(seeds), len(sizes), steps, max(sizes)), int)
    drawn = draw_batches([sizes] * len(seeds), batch_size, steps, seeds, "batches", sampling)
    for step, (slots, present) in enumerate(drawn):
        for run, worker in np.ndindex(len(seeds), len(sizes)):
            np.add.at(joins[run, worker, step], slots[run, worker][present[run, worker]].numpy(), 1)
    return joins


@pytest.mark.parametrize("sampling", ["shuffled", "balls_in_bins"])
def test_every_example_joins_once_an_epoch(sampling):
    """Workers of 95, 32 and 7 examples, batches of 32 and 7: epochs of their own lengths."""
    for batch_size in (32, 7):
        sizes = [95, 32, 7] if batch_size == 7 else [95, 32]
        for worker, size in enumerate(sizes):
            length = -(-size // batch_size)
            joins = drawn_by(sampling, sizes, batch_size, 5 * length + 1)[0, worker]
            assert (joins[:, size:] == 0).all()
            assert (joins[: 5 * length].reshape(5, length, -1).sum(1)[:, :size] == 1).all()


def test_shuffled_batches_are_full_but_for_the_last():
    sizes = drawn_by("shuffled", [95, 64], 32, 6)[0].sum(-1)
    assert sizes.tolist() == [[32, 32, 31] * 2, [32] * 6]


def test_shuffled_orders_are_all_as_likely():
    """24 orders of 4 examples; false alarm 2e-9."""
    joins = drawn_by("shuffled", [4], 1, 4 * 6000)[0, 0].reshape(6000, 4, 4)
    _, counts = np.unique(joins.argmax(-1), axis=0, return_counts=True)
    assert len(counts) == 24
    assert 1e-9 < stats.chi2(23).cdf(((counts - 250) ** 2 / 250).sum()) < 1 - 1e-9


def test_sets_of_fixed_size_are_all_as_likely_whatever_came_before():
    """10 sets of 2 of 5, and all pairs of them in steps that follow; false alarm 4e-9."""
    joins = drawn_by("fixed", [5], 2, 12_000)[0, 0]
    assert (joins.sum(-1) == 2).all()
    sets, places, counts = np.unique(joins, axis=0, return_inverse=True, return_counts=True)
    assert len(sets) == 10
    assert 1e-9 < stats.chi2(9).cdf(((counts - 1200) ** 2 / 1200).sum()) < 1 - 1e-9
    pairs = np.bincount(places.ravel()[::2] * 10 + places.ravel()[1::2], minlength=100)
    assert 1e-9 < stats.chi2(99).cdf(((pairs - 60) ** 2 / 60).sum()) < 1 - 1e-9


def test_balls_fall_into_any_bin_alike_and_apart():
    """Bins of an epoch of 3, over 4000 epochs of 6 examples; false alarm 2e-8."""
    bins = drawn_by("balls_in_bins", [6], 2, 3 * 4000)[0, 0].reshape(4000, 3, 6).argmax(1)
    for example in range(6):
        counts = np.bincount(bins[:, example], minlength=3)
        assert 1e-9 < stats.chi2(2).cdf(((counts - 4000 / 3) ** 2 / (4000 / 3)).sum()) < 1 - 1e-9
    pairs = np.bincount(3 * bins[:, 0] + bins[:, 1], minlength=9)
    assert 1e-9 < stats.chi2(8).cdf(((pairs - 4000 / 9) ** 2 / (4000 / 9)).sum()) < 1 - 1e-9
    following = np.bincount(3 * bins[:-1, 0] + bins[1:, 0], minlength=9)
    expected = 3999 / 9
    assert 1e-9 < stats.chi2(8).cdf(((following - expected) ** 2 / expected).sum()) < 1 - 1e-9


def test_bins_are_the_word_as_a_share_of_all_words():
    words = np.array([0, 1, 2**62, 2**63, 2**64 // 3, 2**64 // 3 + 1, 2**64 - 1], np.uint64)
    for length in (1, 2, 3, 1000, 2**31 + 1):
        exact = [int(word) * length >> 64 for word in words]
        assert sampling._thrown(words, length, 1).tolist() == exact


def test_a_tie_at_the_edge_of_a_fixed_batch_is_decided_by_later_words():
    key = derived_keys(0, "batches", 1, 1)[0]
    later = keystream(key.tobytes(), range(3)).reshape(-1)[3:6]
    tied = np.array([5, 7, 7], np.uint64)
    for words, count, decides in [(tied, 2, later), (tied, 1, tied), (tied, 3, tied)]:
        joins = sampling._least(words, key, count)
        assert sorted(np.flatnonzero(joins)) == sorted(np.argsort(decides)[:count])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_scheme_draws_the_same_alone_beside_others_and_for_longer(scheme, monkeypatch):
    together = drawn_by(scheme, [30, 20], 5, 50, seeds=(3, 4, 5))
    assert np.array_equal(together[1], drawn_by(scheme, [30, 20], 5, 50, seeds=(4,))[0])
    assert np.array_equal(together[1, :, :20], drawn_by(scheme, [30, 20], 5, 20, seeds=(4,))[0])
    assert not np.array_equal(together[0], together[1])
    assert not np.array_equal(together[1, 0, :, :20], together[1, 1, :, :20])
    monkeypatch.setattr(sampling, "_DRAWS", 200)  # chunks of few steps, which cut epochs
    assert np.array_equal(together, drawn_by(scheme, [30, 20], 5, 50, seeds=(3, 4, 5)))
