"""Values printed in papers, or computed independently of this project, at delta = 1e-5."""

import pytest
from made_releases import release

from privrobust.accountants import Release, epsilon, spend

ABADI = (0.01, 4.0, 10_000)


@pytest.mark.parametrize(
    ("accountant", "setting", "expected", "digits"),
    [
        ("moments", ABADI, 1.2586, 1e-4),
        ("strong", ABADI, 9.34, 5e-3),
        ("rdp", ABADI, 1.0355, 2e-4),
        ("pld", ABADI, 0.947, 5e-4),
        ("rdp", (0.05, 1.0, 500), 8.297, 2e-3),
        ("pld", (0.05, 1.0, 500), 7.524, 2e-3),
        ("prv", (0.05, 1.0, 500), 7.534, 1e-3),
        ("rdp", (1.0, 20.0, 1000), 8.079, 1e-3),
        ("pld", (1.0, 20.0, 1000), 7.511, 2e-3),
        ("pld", (0.256, 0.32, 300), 420.8, 0.1),
        ("pld", (0.256, 0.96, 300), 39.86, 1e-2),
        ("pld", (0.256, 3.2, 300), 6.727, 2e-3),
        ("pld", (0.256, 9.6, 300), 1.844, 1e-3),
    ],
)
def test_gaussian(
    accountant: str, setting: tuple[float, float, int], expected: float, digits: float
) -> None:
    assert epsilon(release(*setting), 1e-5, accountant) == pytest.approx(expected, abs=digits)


def test_laplace() -> None:
    assert epsilon(release(0.1, 2.0, 100, noise="laplace")) == pytest.approx(1.892, abs=1e-3)


def test_digits() -> None:
    r = Release(noise_scale=0.1, clip_norm=1.0, batch_size=32, dataset_size=95, steps=300)
    spent = spend(r)
    assert spent.epsilon == pytest.approx(9.306, abs=2e-3)
    assert (spent.accountant, spent.is_upper_bound, spent.reason) == ("pld", True, None)


@pytest.mark.parametrize("sigma", [0.01, 0.2, 1.0, 20.0])
def test_one_unsampled_gaussian_is_known_exactly(sigma: float) -> None:
    from dp_accounting import get_epsilon_gaussian

    exact = get_epsilon_gaussian(sigma, 1e-5)
    for accountant in ("pld", "rdp", "moments", "basic"):
        assert epsilon(release(1.0, sigma, 1), 1e-5, accountant) >= exact * (1 - 1e-9)
    assert epsilon(release(1.0, sigma, 1), 1e-5, "pld") == pytest.approx(exact, rel=1e-3)


def test_unsampled_laplace_is_pure() -> None:
    r = release(1.0, 2.0, 1, noise="laplace")
    assert epsilon(r, 1e-9, "basic") == pytest.approx(0.5)
    assert 0.499 <= epsilon(r, 1e-9, "pld") <= 0.501


@pytest.mark.parametrize("sampled", [False, True])
def test_workers_are_accounted_as_units_of_contribution_c(sampled: bool) -> None:
    worker = Release(
        noise_scale=10.0,
        clip_norm=2.0,
        steps=20,
        unit="worker",
        sampling="poisson" if sampled else "full",
        worker_sampling_rate=0.2 if sampled else None,
    )
    assert epsilon(worker) == pytest.approx(epsilon(release(0.2 if sampled else 1.0, 5.0, 20)))


def test_gaussian_and_laplace_releases_compose() -> None:
    one, other = release(0.1, 2.0, 50), release(0.1, 2.0, 50, noise="laplace")
    assert max(epsilon(one), epsilon(other)) < epsilon([one, other])
    assert epsilon([one, other]) < epsilon(one, 5e-6) + epsilon(other, 5e-6)
