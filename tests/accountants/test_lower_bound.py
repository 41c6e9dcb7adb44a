"""Every accountant labelled an upper bound, against an independent lower bound on what is spent."""

import contextlib
import math

import mpmath
import numpy as np
import pytest
from lower_bound import delta_below

from privrobust.accountants import Release, epsilon, get_accountant
from privrobust.accountants.protocol import NoValue
from privrobust.accountants.registry import accountants_of

UPPER_BOUNDS = [name for name in accountants_of("vector") if get_accountant(name).is_upper_bound]

# Values that opacus's PRV gave, and with it this project, where the rounding of its FFT is not
# small against delta.
ONCE_SAID = [
    (0.7, 1e-5, 10_000, 1e-13, 0.2678, 250),
    (0.7, 9e-4, 300, 1e-13, 3.8962, 300),
    (0.4, 0.01, 300, 1e-13, 38.90, 500),
]


def exact_delta(sigma: float, q: float, epsilon: float) -> float:
    """Of one step, in closed form, to 40 digits (Balle, Barthe, Gaboardi 2018, Theorem 8)."""
    with mpmath.workdps(60):
        sigma, q = mpmath.mpf(sigma), mpmath.mpf(q)
        inner = mpmath.log1p((mpmath.exp(epsilon) - 1) / q)
        first = mpmath.ncdf(1 / (2 * sigma) - inner * sigma)
        return float(
            q * (first - mpmath.exp(inner) * mpmath.ncdf(-1 / (2 * sigma) - inner * sigma))
        )


def release(sigma: float, q: float, steps: int) -> Release:
    return Release(noise_scale=sigma, clip_norm=1.0, batch_size=1.0, sampling_rate=q, steps=steps)


@pytest.mark.parametrize("sigma", [0.5, 2.0, 30.0])
@pytest.mark.parametrize("q", [1e-5, 0.03, 1.0])
@pytest.mark.parametrize("delta", [1e-4, 1e-9, 1e-15])
def test_the_reference_is_just_below_one_step(sigma: float, q: float, delta: float) -> None:
    spent = epsilon(release(sigma, q, 1), delta, "pld")
    exact = exact_delta(sigma, q, spent)
    assert exact <= delta
    assert exact >= (1 - 1e-6) * delta or spent == 0
    assert 0.5 * exact <= delta_below(sigma, q, 1, spent, size=250) <= exact


@pytest.mark.parametrize(("sigma", "steps"), [(20.0, 1000), (3.0, 7)])
@pytest.mark.parametrize("delta", [1e-4, 1e-15])
def test_the_reference_is_just_below_unsampled_steps(
    sigma: float, steps: int, delta: float
) -> None:
    spent = epsilon(release(sigma, 1.0, steps), delta, "pld")
    exact = exact_delta(sigma / math.sqrt(steps), 1.0, spent)
    assert (1 - 1e-6) * delta <= exact <= delta
    assert 0.8 * exact <= delta_below(sigma, 1.0, steps, spent, size=1500) <= exact


@pytest.mark.parametrize(
    ("sigma", "q", "steps", "delta"), [(3.2, 32 / 95, 300, 1e-5), (1.0, 0.05, 500, 1e-5)]
)
def test_the_reference_sees_a_shortfall_of_half_a_percent(
    sigma: float, q: float, steps: int, delta: float
) -> None:
    spent = epsilon(release(sigma, q, steps), delta, "pld")
    assert delta_below(sigma, q, steps, spent) <= delta
    assert delta_below(sigma, q, steps, 0.995 * spent) > delta


@pytest.mark.parametrize(("sigma", "q", "steps", "delta", "said", "size"), ONCE_SAID)
def test_what_was_once_said_is_too_small(
    sigma: float, q: float, steps: int, delta: float, said: float, size: int
) -> None:
    assert delta_below(sigma, q, steps, said, size) > delta
    assert_upper_bounds(sigma, q, steps, delta, size)


@pytest.mark.parametrize(
    ("sigma", "q", "steps", "delta", "expected"),
    [
        (0.7, 1e-5, 10_000, 1e-13, 0.36993),
        (0.7, 1e-4, 1_000_000, 1e-11, 2.3244),
        (0.7, 9e-4, 300, 1e-13, 3.9211),
        (0.4, 0.01, 300, 1e-13, 39.0627),
    ],
)
def test_small_deltas_at_rare_sampling(
    sigma: float, q: float, steps: int, delta: float, expected: float
) -> None:
    spent = epsilon(release(sigma, q, steps), delta)
    assert spent == pytest.approx(expected, rel=2e-5)


def assert_upper_bounds(sigma: float, q: float, steps: int, delta: float, size: int) -> None:
    """The least value of all upper bounds is at or above what is spent, and auto has one."""
    r = release(sigma, q, steps)
    values = {"auto": epsilon(r, delta)}
    for name in UPPER_BOUNDS:
        with contextlib.suppress(NoValue):
            values[name] = epsilon(r, delta, name)
    name = min(values, key=lambda each: values[each])
    below = delta_below(sigma, q, steps, values[name], size)
    assert below <= delta, f"{name} says {values[name]}, which leaves out at least {below:.4g}"


def settings(count: int, seed: int) -> list[tuple[float, float, int, float]]:
    rng = np.random.default_rng(seed)
    logs = rng.uniform(
        [math.log(0.3), math.log(1e-6), 0.0, math.log(1e-15)],
        [math.log(50), 0.0, math.log(1e6), math.log(1e-3)],
        (count, 4),
    )
    return [(s, q, int(t), d) for s, q, t, d in np.exp(logs).tolist()]


def ids(setting: tuple[float, float, int, float]) -> str:
    return "-".join(f"{value:.3g}" for value in setting)


@pytest.mark.parametrize("setting", settings(50, seed=0), ids=ids)
def test_no_upper_bound_is_below_the_reference(setting: tuple[float, float, int, float]) -> None:
    assert_upper_bounds(*setting, size=120)


@pytest.mark.slow
@pytest.mark.parametrize("setting", settings(1000, seed=1), ids=ids)
def test_no_upper_bound_is_below_the_reference_anywhere(
    setting: tuple[float, float, int, float],
) -> None:
    steps = setting[2]
    assert_upper_bounds(*setting, size=min(6000, 600 + int(30 * math.sqrt(steps))))
