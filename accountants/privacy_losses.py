"""The privacy loss of one step, on the nodes of a quadrature.

One step is a pair of distributions, P of what is sent with the example and Q without (or the other
way round), and its privacy loss is L = log(dP/dQ) under P. In units of one contribution, Q is the
noise around 0 and P mixes it, with probability q, with the same noise around 1. L is a monotone,
analytic function of the noisy value z between any two kinks of the noise's density, so that
Gauss-Legendre panels narrow enough for it give expectations such as E[exp(s L)] to 1e-15 of their
size: their error falls with rho^(-2 n) for an integrand that is analytic on the ellipse rho around
the panel (Trefethen, *Approximation Theory and Approximation Practice*, theorem 19.3).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

from privrobust.accountants.mechanism import Mechanism

Side = Literal["removed", "added", "replaced"]
"""What turns Q's data into P's: P has the example that Q lacks, Q has it, or both have one."""

PANEL_NODES = 48
"""Of a panel. On the ellipse rho = 2.7 they leave 2.7^-96 = 4e-42 of the largest integrand."""
_MOST_PANELS = 10_000
"""Half a million nodes."""


@dataclass(frozen=True)
class Losses:
    """Nodes of the loss, ascending.

    Attributes:
        places: where on the axis along which L rises; infinite where P has an atom.
        edges: of the panels on that axis. Those of a finer resolution are between them.
        values: L.
        log_weights: log of the probability, under P, that a node stands for.
        log_density: log of P's density with respect to L; -inf where P has an atom.
        rare: whether a node is beyond the cut, where losses are large and rare.

    """

    places: Any
    edges: Any
    values: Any
    log_weights: Any
    log_density: Any
    rare: Any


@dataclass(frozen=True)
class Resolution:
    """What panels have to resolve: E[exp((theta + i tau) L)] for |tau| up to a frequency."""

    theta: float
    frequency: float = 0.0

    def width(self, slope: Any, bend: Any) -> Any:
        """Return the widest panel where L has this slope, and exp(theta L) bends off the axis so.

        On its ellipse exp(s L) is then at most e^40 times what it is on the panel: with rho = 2.7
        the ellipse reaches 0.58 widths off the axis, which is 37 for the slope and 2 for the bend.
        """
        with np.errstate(divide="ignore"):
            by_slope = 64 / ((self.theta + self.frequency) * np.asarray(slope))
            return np.minimum(by_slope, np.sqrt(10 / (self.theta * np.asarray(bend))))


def losses(step: Mechanism, side: Side, resolution: Resolution, tail: float, cut: float) -> Losses:
    """Return the loss of a sampled step, without tails of P of probability `tail` on either side.

    Args:
        step: Gaussian noise with q < 1, or Laplace noise.
        side: which way the pair goes.
        resolution: what the nodes are for.
        tail: of P, on each side, that is left out.
        cut: of P, the probability of the losses that count as rare.

    Raises:
        OverflowError: no affordable number of panels resolves it.

    """
    if step.noise == "laplace":
        return _laplace(step, side, resolution)
    if step.noise == "gaussian":
        return _gaussian(step, side, resolution, tail, cut)
    raise AssertionError(f"no losses of {step.noise} noise")


@cache
def _legendre() -> tuple[Any, Any]:
    """Return Gauss-Legendre nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(PANEL_NODES)
    return (nodes + 1) / 2, weights / 2


def _panels(edges: Any) -> tuple[Any, Any]:
    """Return nodes and their weights between these edges."""
    nodes, weights = _legendre()
    starts, widths = edges[:-1], np.diff(edges)
    return (
        (starts[:, None] + widths[:, None] * nodes).ravel(),
        (widths[:, None] * weights).ravel(),
    )


def _edges(start: float, end: float, allowed: Callable[[Any, Any], Any]) -> Any:
    """Halve panels from start to end until none is wider than `allowed(left, right)`: edges."""
    edges = np.array([start, end])
    while True:
        left, right = edges[:-1], edges[1:]
        wide = right - left > allowed(left, right)
        if not wide.any():
            return edges
        if len(edges) + wide.sum() > _MOST_PANELS:
            raise OverflowError("more panels than are affordable")
        edges = np.sort(np.concatenate([edges, (left + right)[wide] / 2]))


def _gaussian(
    step: Mechanism, side: Side, resolution: Resolution, tail: float, cut: float
) -> Losses:
    sigma, q = step.noise_multiplier, step.sampling_rate
    reach = sigma * _quantile(tail)
    # z runs so that L rises with it; where the example is added, z is minus the noisy value
    mean = 0.0 if side == "added" else 1.0
    bounds = [-reach, _upper_quantile(step, side, cut), mean + reach]
    kink = 0.5 + sigma**2 * (math.log1p(-q) - math.log(q))  # L is singular at kink +- i pi sigma^2

    def allowed(left: Any, right: Any) -> Any:
        if side == "added":
            left, right = -right, -left
        singular = _distance(kink, left, right)
        slope = bend = _posterior(right, q, sigma) / sigma**2
        if side == "removed":
            bend = 0.0
        if side == "replaced":
            singular = np.minimum(singular, _distance(-kink, left, right))
            bend = _posterior(-left, q, sigma) / sigma**2
            slope = slope + bend
        singular = np.hypot(singular, math.pi * sigma**2)
        # on the ellipse, the density is then e^0.4 times larger at most, and no point is singular
        return np.minimum(
            np.minimum(1.5 * sigma, 0.9 * singular), resolution.width(slope, bend / sigma**2)
        )

    common = _edges(bounds[0], bounds[1], allowed)
    edges = np.concatenate([common, _edges(bounds[1], bounds[2], allowed)[1:]])
    z, weights = _panels(edges)
    rare = z > bounds[1]
    noise = -0.5 * np.square(z / sigma) - math.log(sigma * math.sqrt(2 * math.pi))
    values, slopes = _log_mixture(-z if side == "added" else z, q, sigma)
    if side == "added":
        values, log_p = -values, noise
    else:
        log_p = noise + values
    if side == "replaced":
        others, other_slopes = _log_mixture(-z, q, sigma)
        values, slopes = values - others, slopes + other_slopes
    with np.errstate(divide="ignore"):
        densities = log_p - np.log(slopes)
    return Losses(z, edges, values, log_p + np.log(weights), densities, rare)


def _distance(point: float, left: Any, right: Any) -> Any:
    return np.maximum(0.0, np.maximum(left - point, point - right))


def _posterior(z: Any, q: float, sigma: float) -> Any:
    """Return the probability that the example was in the batch, of a noisy value z."""
    from scipy.special import expit  # only where something is computed: it loads slowly

    return expit((z - 0.5) / sigma**2 + math.log(q) - math.log1p(-q))


def _log_mixture(z: Any, q: float, sigma: float) -> tuple[Any, Any]:
    """Return log(1 - q + q N(1, sigma^2) / N(0, sigma^2)) at z, and its derivative."""
    exponent = (z - 0.5) / sigma**2
    precise = np.log1p(q * np.expm1(np.minimum(exponent, 600.0)))
    large = np.logaddexp(math.log1p(-q), math.log(q) + exponent)
    values = np.where(exponent < 600.0, precise, large)
    return values, np.exp(math.log(q) + exponent - values) / sigma**2


def _quantile(tail: float) -> float:
    """Return where a standard normal leaves less than this: P(xi > x) <= exp(-x^2 / 2) / 2."""
    return math.sqrt(-2 * math.log(2 * tail))


def _upper_quantile(step: Mechanism, side: Side, probability: float) -> float:
    """Return where so much of P, or less, is left at the side of large losses."""
    sigma, q = step.noise_multiplier, step.sampling_rate
    if side == "added":
        return sigma * _quantile(probability)
    # (1 - q) N(0) + q N(1): either part may take half of it
    around_zero = sigma * _quantile(probability / 2)
    around_one = 1 + sigma * _quantile(min(0.5, probability / (2 * q)))
    return max(around_zero, around_one)


def _laplace(step: Mechanism, side: Side, resolution: Resolution) -> Losses:
    """Return the loss, which rises between 0 and 1; beyond it is constant, and P has atoms."""
    scale, q = step.noise_multiplier, step.sampling_rate
    kink = 0.5 - scale / 2 * math.log(q / (1 - q)) if q < 1 else -math.inf

    def allowed(left: Any, right: Any) -> Any:
        singular = np.hypot(_distance(kink, left, right), math.pi * scale / 2)
        slope = 2 / scale
        return np.minimum(min(scale, resolution.width(slope, slope / scale)), 0.9 * singular)

    edges = _edges(0.0, 1.0, allowed)
    z, weights = _panels(edges)
    values, slopes = _log_laplace_mixture(z, q, scale)
    ends, _ = _log_laplace_mixture(np.array([0.0, 1.0]), q, scale)
    log_p = -z / scale - math.log(2 * scale)
    atoms = np.array([-math.log(2), -1 / scale - math.log(2)])  # of the noise around 0
    if side == "added":
        values, ends = -values, -ends
    else:
        log_p, atoms = log_p + values, atoms + ends
    return Losses(
        np.concatenate([z, np.full(2, np.inf)]),
        edges,
        np.concatenate([values, ends]),
        np.concatenate([log_p + np.log(weights), atoms]),
        np.concatenate([log_p - np.log(slopes), np.full(2, -np.inf)]),
        np.zeros(len(z) + 2, dtype=bool),
    )


def _log_laplace_mixture(z: Any, q: float, scale: float) -> tuple[Any, Any]:
    """Return log(1 - q + q Laplace(1) / Laplace(0)) at z in [0, 1], and its derivative."""
    exponent = (2 * z - 1) / scale
    values = np.logaddexp(math.log1p(-q), math.log(q) + exponent) if q < 1 else exponent
    return values, 2 / scale * np.exp(math.log(q) + exponent - values)


def log_sum(logs: Any) -> float:
    """Return log of the sum of exp(logs), at least one of which is above -inf."""
    largest = float(logs.max())
    return largest + math.log(float(np.exp(logs - largest).sum()))
