"""Bias and variance of the noisy median, against exact integrals and theory."""

import math

import numpy as np
import pytest
from made_runs import words
from scipy import integrate, stats

from privrobust.errors import SpecError
from privrobust.reporting.figures.bias_variance import bias_variance_figure, monte_carlo


def exact_mean_and_variance(messages, b, law):
    """Of the median of an odd number, by integrating its distribution function."""
    need = len(messages) // 2 + 1

    def below(t):
        chances = [1.0]
        for p in law.cdf((t - messages) / b):
            chances = np.convolve(chances, [1 - p, p])
        return float(np.sum(chances[need:]))

    low, high = messages.min() - 12 * b, messages.max() + 12 * b
    t = np.linspace(low, high, 6001)
    cdf = np.array([below(each) for each in t])
    mean = high - integrate.simpson(cdf, x=t)
    square = high**2 - integrate.simpson(2 * t * cdf, x=t)
    return mean, square - mean**2


LAWS = {"gaussian": stats.norm, "laplace": stats.laplace, "logistic": stats.logistic}


@pytest.mark.parametrize("noise", LAWS)
@pytest.mark.parametrize("b", [0.1, 1.0, 4.0])
def test_measured_bias_and_variance_are_the_exact_ones(noise, b):
    messages = np.array([0.0, 0.1, 0.2, 0.5, 3.0])
    mean, variance = exact_mean_and_variance(messages, b, LAWS[noise])
    found = monte_carlo(messages[:, None], [b], noise, 1_000_000, 0).iloc[0]
    assert found["bias"] == pytest.approx(abs(mean - messages.mean()), abs=2 * found["error"])
    assert found["error"] < 0.01
    assert found["variance"] == pytest.approx(variance, rel=0.03)


@pytest.mark.parametrize(
    ("noise", "power", "factor"),
    [("gaussian", -2, math.pi / 2), ("laplace", -1, 1), ("logistic", -2, 4)],
)
def test_theory_has_the_exponents_of_a_large_population(noise, power, factor):
    law = LAWS[noise]
    messages = -np.log1p(-(np.arange(200) + 0.5) / 200)
    scales = [20.0, 40.0]
    figure = bias_variance_figure(messages, scales, noise, draws=2000)
    bias, variance = (axes.lines for axes in figure.axes)
    theory = next(line.get_ydata() for line in bias if line.get_linestyle() == "-")
    assert math.log2(theory[1] / theory[0]) == pytest.approx(power)
    for b, told in zip(scales, theory, strict=True):  # the population median, solved for
        low, high = -1.0, 3.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (
                (low, middle) if law.cdf((middle - messages) / b).mean() > 0.5 else (middle, high)
            )
        assert told == pytest.approx(abs(low - messages.mean()), rel=0.1)
    line = next(line.get_ydata() for line in variance if line.get_linestyle() == "-")
    np.testing.assert_allclose(line, [factor * b**2 / 200 for b in scales])


def test_the_same_seed_draws_the_same_points():
    def points(seed):
        return (
            bias_variance_figure(scales=[0.5, 1.0], draws=600, seed=seed)
            .axes[1]
            .lines[0]
            .get_ydata()
        )

    np.testing.assert_array_equal(points(1), points(1))
    assert (points(1) != points(2)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"messages": [1.0]}, r"^messages: shape \(1,\) is not accepted"),
        ({"messages": [1.0, math.nan]}, "^messages: .*finite"),
        ({"messages": [2.0, 2.0]}, "^messages: all workers send the same"),
        ({"scales": [0.0]}, r"^scales: \[0.0\] is not accepted"),
        ({"noise": "cauchy"}, "^noise: unknown name 'cauchy'"),
        ({"draws": 10}, "^draws: 10 is not accepted: 60 or more"),
    ],
)
def test_arguments_of_bias_variance(arguments, message):
    with pytest.raises(SpecError, match=message):
        bias_variance_figure(**arguments)


def test_symmetric_messages_have_a_figure_too():
    words(bias_variance_figure([-1.0, 1.0], draws=100))
    words(bias_variance_figure(np.arange(12.0).reshape(4, 3) ** 2, draws=100))
