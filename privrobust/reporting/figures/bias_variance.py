"""Why noise helps a median: its bias against the mean dies with b, and its variance grows.

With Gaussian noise and b large against the spread of the messages u_i, the bias is
`-mean((u_i - u)^3) / (6 b^2)`, with logistic noise half of that; with Laplace noise it is
`-mean((u_i - u) |u_i - u|) / (2 b)`. These follow from the noise's distribution function, expanded
at 0, for many workers. The variance is that of the median of the noise: `pi b^2 / (2 n)`,
`4 b^2 / n` and `b^2 / n`, against `b^2 / n`, `pi^2 b^2 / (3 n)` and `2 b^2 / n` of the mean.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy.special import ndtri

from privrobust.aggregators import Median
from privrobust.core.numbers import as_float, as_whole, shown
from privrobust.errors import SpecError, unknown_name
from privrobust.reporting.figures.canvas import WIDE, new_figure, styled
from privrobust.reporting.figures.margins import add_legend, add_notes
from privrobust.reporting.figures.panels import grid
from privrobust.reporting.figures.scales import Scale, log_y
from privrobust.reporting.figures.themes import theme
from privrobust.reporting.intervals import CONFIDENCE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]

_AT_ONCE = 1 << 17  # numbers handled together


@styled
def bias_variance_figure(
    messages: npt.ArrayLike | None = None,
    scales: Sequence[float] | None = None,
    noise: str = "gaussian",
    draws: int = 200_000,
    seed: int = 0,
) -> "Figure":
    """Draw bias and variance of the noisy median against b, measured and by theory.

    Args:
        messages: honest ones before noise, `(workers,)` or `(workers, dim)`. By default those of
            15 workers at the quantiles of an exponential law, which is skewed.
        scales: values of b, above 0; by default from 1/30 to 10 times the spread of the messages.
        noise: gaussian, laplace or logistic.
        draws: medians at every b, of the same noise, scaled.
        seed: of the noise.

    Raises:
        SpecError: an argument that is not accepted; matplotlib is missing.

    """
    values = _read_messages(messages)
    spread = float(values.std(0).max())
    if scales is None:
        scales = [float(b) for b in spread * np.geomspace(1 / 30, 10, 14)]
    measured = monte_carlo(values, scales, noise, draws, seed)
    lines = theory(values, scales, noise)

    figure = new_figure(WIDE, 2.5)
    left, right = figure.subplots(1, 2)
    b = measured.index.to_numpy()
    bias, error = measured["bias"], measured["error"]
    least = max(bias.min(), error.min(), 1e-12 * spread)
    below = np.minimum(error, 0.99 * bias)  # a logarithmic axis has no room for more
    painted = _painted()
    left.errorbar(b, bias, yerr=np.array([below, error]), **painted["measured"])
    left.plot(b, lines["bias"], **painted["theory"])
    left.axhline(lines["gap"].iloc[0], **painted["gap"])
    left.set_ylabel("|E median − mean of messages|")
    right.plot(b, measured["variance"], **painted["measured"])
    right.plot(b, lines["variance"], **painted["theory"])
    right.plot(b, lines["variance_of_mean"], **painted["mean"])
    right.set_ylabel("variance")
    log_y(left, [0.5 * least, 2 * max(lines["gap"].max(), bias.max())])
    log_y(right, [*measured["variance"], *lines["variance"], *lines["variance_of_mean"]])
    scale = Scale(b, 0.0, "0")
    for panel in (left, right):
        scale.show(panel)
        panel.set_xlabel("noise scale b")
        grid(panel)
    add_legend(figure, _handles(noise))
    add_notes(figure, [_note(values, noise, draws)])
    return figure


def _read_messages(messages: npt.ArrayLike | None) -> Array:
    if messages is None:
        return -np.log1p(-(np.arange(15) + 0.5) / 15)[:, None]
    values = np.asarray(messages, dtype=np.float64)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or len(values) < 2 or not np.isfinite(values).all():
        raise SpecError(
            f"messages: shape {np.shape(messages)} is not accepted: (workers,) or (workers, dim) "
            "of finite numbers, two workers or more"
        )
    if not values.std(0).max() > 0:
        raise SpecError("messages: all workers send the same; accepted: messages that differ")
    return values


def _positive(scales: Sequence[float]) -> list[float]:
    try:
        numbers = [as_float("scales", b, "accepted", above=0) for b in scales]
    except SpecError:
        numbers = []
    if not numbers:
        given = shown(list(scales))
        raise SpecError(f"scales: {given} is not accepted: finite numbers above 0")
    return numbers


def monte_carlo(
    messages: Array, scales: Sequence[float], noise: str, draws: int, seed: int
) -> pd.DataFrame:
    """Measure the median of messages with noise.

    Two things take nearly all of the noise out of the bias, and leave its expectation. Every draw
    counts with both signs, which cancel where b is large. And it is dealt to the workers in all its
    rotations, so that each of them gets the middle one equally often.

    Args:
        messages: `(workers, dim)`.
        scales: values of b.
        noise: gaussian, laplace or logistic.
        draws: medians at every b.
        seed: of the noise.

    Returns:
        By b: `bias`, the norm of `E median - mean`; `error`, half of its 95 % interval;
        `variance`, the sum over coordinates.

    """
    if noise not in _LAWS:
        raise unknown_name("noise", noise, _LAWS)
    scales, draws = _positive(scales), as_whole("draws", draws, "a whole number")
    seed = as_whole("seed", seed, "a whole number, 0 or more", least=0)
    workers, dim = messages.shape
    different = draws // (2 * workers)
    if different < 2:
        raise SpecError(f"draws: {draws} is not accepted: {4 * workers} or more")
    sums = np.zeros((3, len(scales), dim))
    generator = np.random.default_rng(seed)
    part = max(1, _AT_ONCE // messages.size)
    for start in range(0, different, part):
        xi = _draw(generator, noise, (workers, dim, min(part, different - start)))
        for place, b in enumerate(scales):
            sums[:, place] += _sums(messages, xi, b)
    bias, square, bias_square = sums / different
    direction = bias / np.maximum(np.linalg.norm(bias, axis=1, keepdims=True), 1e-300)
    spread = (direction**2 * (bias_square - bias**2)).sum(1)
    return pd.DataFrame(
        {
            "bias": np.linalg.norm(bias, axis=1),
            "error": ndtri((1 + CONFIDENCE) / 2) * np.sqrt(spread / different),
            "variance": (square - bias**2).sum(1),
        },
        index=pd.Index(scales, name="noise_scale"),
    )


def _draw(generator: np.random.Generator, noise: str, shape: tuple[int, ...]) -> Array:
    if noise == "gaussian":
        return generator.standard_normal(shape)
    return generator.laplace(size=shape) if noise == "laplace" else generator.logistic(size=shape)


def _sums(messages: Array, xi: Array, b: float) -> Array:
    """Sum over draws `(workers, dim, draws)` the error, its square, and its mean's square."""
    away = (messages - messages.mean(0))[:, :, None]
    dealt = [np.roll(sign * b * xi, by, axis=0) for sign in (1, -1) for by in range(len(xi))]
    error, square = np.zeros(xi.shape[1:]), np.zeros(xi.shape[1:])
    for noise in dealt:
        median = _median(away + noise)
        error += median / len(dealt)
        square += median**2 / len(dealt)
    return np.stack([part.sum(-1) for part in (error, square, error**2)])


def _median(values: Array) -> Array:
    """Return the median along workers, by the rule that runs use."""
    flat = torch.from_numpy(values.reshape(len(values), -1))
    return Median()(flat).numpy().reshape(values.shape[1:])


def theory(messages: Array, scales: Sequence[float], noise: str) -> pd.DataFrame:
    """Compute what b large against the spread, and many workers, lead to.

    Args:
        messages: `(workers, dim)`.
        scales: values of b.
        noise: gaussian, laplace or logistic.

    Returns:
        By b: `bias`, a norm over coordinates; `variance` and `variance_of_mean`, sums over them;
        `gap`, the bias without noise.

    Raises:
        SpecError: another noise.

    """
    if noise not in _LAWS:
        raise unknown_name("noise", noise, _LAWS)
    scales = _positive(scales)
    b = np.array(scales)
    workers, dim = messages.shape
    away = messages - messages.mean(0)
    if noise == "gaussian":
        bias = np.linalg.norm((away**3).mean(0)) / (6 * b**2)
        factors = math.pi / 2, 1.0
    elif noise == "logistic":
        bias = np.linalg.norm((away**3).mean(0)) / (12 * b**2)
        factors = 4.0, math.pi**2 / 3
    else:
        bias = np.linalg.norm((away * abs(away)).mean(0)) / (2 * b)
        factors = 1.0, 2.0
    of_median, of_mean = (factor * dim * b**2 / workers for factor in factors)
    gap = float(np.linalg.norm(np.median(messages, axis=0) - messages.mean(0)))
    return pd.DataFrame(
        {"bias": bias, "variance": of_median, "variance_of_mean": of_mean, "gap": gap},
        index=pd.Index(scales, name="noise_scale"),
    )


def _painted() -> dict[str, dict[str, Any]]:
    """Return how each line is drawn."""
    blue, orange, green, ink, *_ = theme().lines
    return {
        "measured": {"color": blue, "marker": "o", "ls": "none", "lw": 0.8},
        "theory": {"color": orange, "ls": "-"},
        "gap": {"color": green, "ls": ":", "lw": 1.4},
        "mean": {"color": ink, "ls": "--"},
    }


def _handles(noise: str) -> list[Any]:
    from matplotlib.lines import Line2D

    bias, variance, of_mean = _LAWS[noise]
    labels = {
        "measured": "measured, noisy median",
        "theory": f"theory, large b: bias {bias}, variance {variance}",
        "gap": "|median − mean| without noise",
        "mean": f"variance of the mean, {of_mean}",
    }
    return [Line2D([], [], label=labels[name], **look) for name, look in _painted().items()]


_LAWS = {
    "gaussian": ("∝ 1/b²", "πb²/2n", "b²/n"),
    "laplace": ("∝ 1/b", "b²/n", "2b²/n"),
    "logistic": ("∝ 1/b²", "4b²/n", "π²b²/3n"),
}


def _note(messages: Array, noise: str, draws: int) -> str:
    workers, dim = messages.shape
    over = f", norm and sum over {dim} coordinates" if dim > 1 else ""
    return (
        f"{workers} workers, {noise} noise{over}; {draws} draws, alike at every b; bars: 95 % "
        "intervals, of a variance narrower than its mark. Theory is of many workers: expect its "
        "exponents, not its constants."
    )
