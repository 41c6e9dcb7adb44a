"""The selection network and its fallback against NumPy, hostile values included."""

import numpy as np
import pytest
import torch

from privrobust.aggregators import order_statistics as selection
from privrobust.aggregators.order_statistics import mean_of_ranks

DIM = 200


def messages_of(workers, hostile):
    """Ties, NaN and infinities in a third of the values, where asked for."""
    generator = np.random.default_rng([workers, hostile])
    values = generator.standard_normal((workers, DIM)).astype(np.float32).round(1)
    if hostile:
        places = generator.random(values.shape) < 1 / 3
        values[places] = generator.choice([np.nan, np.inf, -np.inf], places.sum())
    return values


def by_sorting(values, low, high):
    ordered = np.sort(np.where(np.isnan(values), np.inf, values), axis=-2)
    with np.errstate(invalid="ignore"):  # minus infinity plus infinity
        return ordered[..., low:high, :].astype(np.float64).mean(-2)


@pytest.mark.parametrize("hostile", [False, True])
@pytest.mark.parametrize("workers", [*range(1, 35), 50, 64, 65, 101, 128, 129])
def test_means_of_ranks_are_those_of_a_sort(workers, hostile):
    values = messages_of(workers, hostile)
    middle = ((workers - 1) // 2, workers // 2 + 1)
    trimmed = (workers // 5, workers - workers // 5)
    for low, high in {middle, trimmed, (0, 1), (workers - 1, workers)}:
        ours = mean_of_ranks(torch.from_numpy(values), low, high).numpy()
        np.testing.assert_allclose(ours, by_sorting(values, low, high), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("workers", [2, 9, 64])
def test_the_fallback_agrees_with_the_network(workers, monkeypatch):
    values = torch.from_numpy(messages_of(workers, hostile=True))
    network = mean_of_ranks(values, workers // 4, workers // 2 + 1)
    monkeypatch.setattr(selection, "MOST_COMPARED", 1)
    fallback = mean_of_ranks(values, workers // 4, workers // 2 + 1)
    torch.testing.assert_close(fallback, network, equal_nan=True)


@pytest.mark.parametrize("workers", [5, 80, 130])
def test_lanes_and_blocks_of_coordinates_join_up(workers, monkeypatch):
    values = np.stack([messages_of(workers, hostile=True) for _ in range(3)])
    values[1] *= 2
    monkeypatch.setattr(selection, "_BLOCK", 7 * 3 * workers)
    ours = mean_of_ranks(torch.from_numpy(values), 1, workers - 1).numpy()
    np.testing.assert_allclose(ours, by_sorting(values, 1, workers - 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("workers", [15, 130])  # by network, by quickselect
def test_any_number_of_threads_selects_the_same(workers, threads):
    values = torch.randn(workers, 100_000, generator=torch.Generator().manual_seed(0))
    threads(4)
    shared = mean_of_ranks(values, workers // 2, workers // 2 + 1)
    threads(1)
    assert torch.equal(mean_of_ranks(values, workers // 2, workers // 2 + 1), shared)
    assert torch.equal(
        shared, values.median(0).values if workers % 2 else values.sort(0).values[workers // 2]
    )


def test_a_mean_of_large_values_does_not_overflow():
    values = torch.full((6, 2), 3e38)
    assert torch.equal(mean_of_ranks(values, 2, 4), values[0])
    assert mean_of_ranks(values, 1, 5).isfinite().all()
