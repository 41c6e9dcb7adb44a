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
