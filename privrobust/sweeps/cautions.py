"""What a sweep may say and almost surely does not mean: a warning each, before anything trains."""

import math
import warnings
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

from privrobust.core.formatting import number
from privrobust.errors import PrivRobustWarning
from privrobust.spec import RunSpec
from privrobust.sweeps.grid import Sweep
from privrobust.sweeps.yaml_lines import at
from privrobust.training.privacy_plan import PrivacyPlan

_IDLE: dict[str, tuple[Callable[[RunSpec], bool], str]] = {
    "attack": (lambda run: run.byzantine > 0, "byzantine: 1 or more"),
    "colluding": (lambda run: run.pairwise_noise is not None, "a pairwise_noise"),
    "local_learning_rate": (lambda run: run.local_steps > 1, "local_steps: 2 or more"),
}
"""By field, which runs it does something in, and what these need."""


def warn_of_idle(sweep: Sweep, runs: Sequence[RunSpec], file: Path) -> None:
    """Warn of fields that a sweep's file sets and that do nothing in any of its runs.

    What it extends may set them for others.
    """
    for written in chain.from_iterable(sweep.everywhere):
        if written not in _IDLE or getattr(written, "file", None) not in (None, file):
            continue
        does_something, needed = _IDLE[written]
        if not any(map(does_something, runs)):
            _warn(f"{at(written)}{written}: does nothing in any run; accepted: with {needed}")


def warn_of_noise(plans: Sequence[PrivacyPlan]) -> None:
    """Warn where all steps together tell less of a gradient than of the noise on it.

    A step adds at most C to what honest workers' mean holds in any direction, and noise of
    deviation b / sqrt(h). In T steps these are at most T C and b sqrt(T / h), so that where b
    exceeds C sqrt(h T) the largest signal that there can be is below one deviation of the noise,
    whatever the model, the data and the rate.
    """
    drowned = [plan.spec for plan in plans if _strongest_signal(plan) < 1]
    if not drowned:
        return
    least = min(drowned, key=lambda spec: spec.target_epsilon or math.inf)
    target, b = least.target_epsilon, f"b = {number(least.noise_scale)}"
    settings = len({(spec.target_epsilon, spec.noise_scale) for spec in drowned})
    many = f", one of {settings} such settings" if settings > 1 else ""
    stated = f"target_epsilon: {target:g} takes {b}" if target else f"noise_scale: {b}"
    remedy = "a larger target_epsilon" if target else "less noise"
    _warn(
        f"{stated}{many}: in all {least.steps} steps gradients of norm "
        f"{least.clip_norm or least.grad_norm_bound:g} at {least.honest} honest workers add up to "
        f"less than this noise does, and nothing is learnt; accepted: {remedy}, larger batches, or "
        "more workers"
    )


def _strongest_signal(plan: PrivacyPlan) -> float:
    """Return the most that a run's steps can add up to, in deviations of its noise's sum."""
    spec = plan.spec
    bound, std = spec.clip_norm or spec.grad_norm_bound, spec.lasting_noise_std
    if not std or bound is None:
        return math.inf
    return bound * spec.noisy_vectors * math.sqrt(spec.honest * plan.steps) / std


def _warn(text: str) -> None:
    warnings.warn(text, PrivRobustWarning, stacklevel=3)
