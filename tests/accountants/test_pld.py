"""The inversion against closed forms: what one step spends bounds what several do from below."""

import math

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution as dp

from privrobust.accountants import Release, epsilon, gaussian, max_steps
from privrobust.accountants.protocol import NoValue


def release(sigma: float, q: float, steps: int, noise: str = "gaussian") -> Release:
    return Release(
        noise_scale=sigma, clip_norm=1.0, batch_size=1.0, sampling_rate=q, steps=steps, noise=noise,  # type: ignore[arg-type]
    )  # fmt: skip


def draws(count: int, seed: int, least_delta: float) -> list[tuple[float, float, int, float]]:
    rng = np.random.default_rng(seed)
    logs = rng.uniform(
        [math.log(0.003), math.log(1e-6), math.log(2), math.log(least_delta)],
        [math.log(50), math.log(0.9), math.log(1000), math.log(1e-2)],
        (count, 4),
    )
    return [(s, q, int(t), d) for s, q, t, d in np.exp(logs).tolist()]


@pytest.mark.parametrize(("sigma", "q", "steps", "delta"), draws(30, seed=3, least_delta=1e-100))
def test_steps_spend_no_less_than_one_of_them(
    sigma: float, q: float, steps: int, delta: float
) -> None:
    """Also where noise is so low, or delta so small, that densities leave double precision."""
    one = gaussian.sampled_epsilon(sigma, q, delta)
    assert epsilon(release(sigma, q, steps), delta) >= one
    try:
        assert epsilon(release(sigma, q, steps), delta, "pld") >= one
    except NoValue as error:
        assert "pld has no value" in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("first", "second", "delta"),
    [
        ((3.27322, 0.429745), (47.8503, 0.0235705), 6.642e-56),
        ((1.32372, 0.452278), (18.4902, 0.0248569), 1e-44),
        ((0.4, 0.01), (3.0, 0.01), 1e-47),
    ],
)
def test_a_step_beside_another_spends_no_less(
    first: tuple[float, float], second: tuple[float, float], delta: float
) -> None:
    both = epsilon([release(*first, 1), release(*second, 1)], delta)
    assert both >= max(gaussian.sampled_epsilon(*each, delta) for each in (first, second))


@pytest.mark.parametrize(
    ("sigma", "q", "steps", "delta", "exact"),
    [  # two steps: the closed form of one, integrated over the loss of the other
        (0.025, 0.5, 2, 1e-3, 1747.66),
        (0.03, 0.001, 2, 1e-3, 547.647),
    ],
)
def test_little_noise(sigma: float, q: float, steps: int, delta: float, exact: float) -> None:
    assert exact <= epsilon(release(sigma, q, steps), delta) <= exact * (1 + 1e-4)


def test_more_steps_never_spend_less_where_sampling_is_rare() -> None:
    spent = [epsilon(release(0.5770575, 1e-5, steps), 1e-8) for steps in (5, 10, 20, 50, 1000)]
    assert spent == sorted(spent)
    assert max_steps(release(0.5770575, 1e-5, 1), 0.05, 1e-8) > 50


def laplace_draws(count: int) -> list[tuple[float, float, int]]:
    rng = np.random.default_rng(4)
    logs = rng.uniform([math.log(0.3), math.log(0.01), 0.0], [math.log(20), 0.0, 5.0], (count, 3))
    return [(b, q, int(t)) for b, q, t in np.exp(logs).tolist()]


@pytest.mark.parametrize(("scale", "q", "steps"), laplace_draws(15))
def test_laplace_is_between_grids_of_both_roundings(scale: float, q: float, steps: int) -> None:
    below, above = (
        dp.from_laplace_mechanism(
            scale,
            sampling_prob=q,
            value_discretization_interval=2e-3 / (scale * steps**0.5),
            pessimistic_estimate=pessimistic,
            use_connect_dots=False,
        )
        .self_compose(steps)
        .get_epsilon_for_delta(1e-6)
        for pessimistic in (False, True)
    )
    spent = epsilon(release(scale, q, steps, "laplace"), 1e-6, "pld")
    assert below <= spent <= above * (1 + 1e-3) + 1e-9
