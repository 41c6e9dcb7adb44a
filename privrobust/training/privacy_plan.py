"""The privacy of a run: what its honest workers send, through an accountant.

Honest workers hold disjoint data, so a run spends the largest epsilon of any of them (parallel
composition). What comes after the noise (aggregation, momentum, the attack) is free; signs are
charged for what they tell, which is less than the vectors do.

>>> plan = PrivacyPlan(RunSpec(clip_norm=1.0, noise_scale=0.1))
>>> plan.steps, round(plan.spent.epsilon, 2), plan.releases[0].dataset_size
(300, 6.71, 126)
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, ParamSpec, TypeVar

from privrobust.accountants import (
    Release,
    Spent,
    effective_noise_scale,
    max_steps,
    noise_scale,
    spend,
)
from privrobust.accountants.registry import ACCOUNTANTS
from privrobust.core.formatting import rounded_up
from privrobust.data import get_dataset
from privrobust.errors import PrivRobustWarning, SpecError
from privrobust.models.architectures import bound_of_bounded_logistic, bounded_logistic
from privrobust.models.registry import get_factory
from privrobust.noise.laws import get_noise_law
from privrobust.spec import RunSpec
from privrobust.spec.values import LARGEST, SMALLEST
from privrobust.training.shares import sizes

P = ParamSpec("P")
T = TypeVar("T")


def _remembered(function: Callable[P, T]) -> Callable[P, T]:
    """Remember what was found: runs of a sweep often release alike, and accountants take seconds.

    Accountants go by name, and one of a user's own may be replaced.
    """

    @lru_cache(maxsize=4096)
    def of(changes: int, *given: P.args, **named: P.kwargs) -> T:
        return function(*given, **named)

    return lambda *given, **named: of(ACCOUNTANTS.changes, *given, **named)


_spend = _remembered(spend)
_max_steps = _remembered(max_steps)
_noise_scale = _remembered(noise_scale)


@dataclass(frozen=True)
class PrivacyPlan:
    """What a run spends, known before its first step: all of it follows from public numbers.

    Each value is found when it is first read, and kept: packing 100,000 runs asks for their steps,
    which takes no accountant where there is no `max_epsilon`.

    Raises (any value, when it is read):
        SpecError: more examples are expected in a batch than a worker holds (q > 1), a worker
            would hold none, the accountant does not support the releases, or a target or budget
            cannot be met.

    """

    given: RunSpec
    """The run, as the user or the sweep states it."""

    @cached_property
    def spec(self) -> RunSpec:
        """The run with its noise: the least b whose epsilon is within `target_epsilon`, if stated.

        It is that of the worker who spends most, found to within 0.1 % of epsilon by the run's own
        accountant, for its delta. A run without a target is itself; one that has its b already
        gets it anew, from its other settings.
        """
        spec, target = self.given, self.given.target_epsilon
        if target is None:
            return spec
        release = replace(_most_sampled(_releases(spec)), noise_scale=0.0)
        try:
            hidden_by = _noise_scale(release, target, spec.delta, spec.accountant)
        except SpecError as error:
            raise SpecError(f"target_epsilon: {target:g} cannot be met ({error})") from None
        b = _least_scale(spec, hidden_by)
        if not SMALLEST <= b <= LARGEST:
            raise SpecError(
                f"target_epsilon: {target:g} takes noise of scale {b:g}; accepted: {SMALLEST:g} to "
                f"{LARGEST:g} (float32)"
            )
        return spec.with_noise(b)

    @cached_property
    def releases(self) -> list[Release]:
        """What each honest worker would send in all of `spec.steps` steps."""
        return _releases(self.spec)

    @property
    def noisy_steps(self) -> int:
        """How many noisy vectors a worker's messages are made of, in the steps that are taken."""
        return self.steps * self.given.noisy_vectors

    @cached_property
    def steps(self) -> int:
        """The steps that the run takes: all, or as many as `max_epsilon` allows."""
        spec = self.given
        if spec.max_epsilon is None:
            return spec.steps
        release = _most_sampled(self.releases)
        if release.not_private_reason:
            raise SpecError(f"max_epsilon: {spec.max_epsilon:g}: {release.not_private_reason}")
        if _spend(release, spec.delta, spec.accountant).epsilon <= spec.max_epsilon:
            return spec.steps
        try:
            allowed = _max_steps(
                replace(release, steps=1), spec.max_epsilon, spec.delta, spec.accountant
            )
        except SpecError as error:
            raise SpecError(f"max_epsilon: {spec.max_epsilon:g} cannot be kept ({error})") from None
        if allowed < (each := self.given.noisy_vectors):
            raise SpecError(
                f"max_epsilon: {spec.max_epsilon:g} cannot be kept (it allows {allowed} of the "
                f"{each} local steps before a first message)"
            )
        return min(spec.steps, allowed // each)

    @cached_property
    def spent(self) -> Spent:
        """(epsilon, delta) and who vouches for it: the most that any honest worker spends."""
        return self._spent_by(_most_sampled(self.releases))

    @cached_property
    def spent_by_worker(self) -> list[Spent]:
        """What each honest worker spends in the steps that the run takes."""
        return [self._spent_by(release) for release in self.releases]

    def _spent_by(self, release: Release) -> Spent:
        taken = replace(release, steps=self.noisy_steps)
        return _spend(taken, self.given.delta, self.given.accountant)

    def warn_of_large_delta(self) -> None:
        """Warn where delta is no promise: at 1/n, one unit in n could be published."""
        spec = self.given
        held = [release.dataset_size or 1 for release in self.releases]
        units = spec.honest if spec.unit == "worker" else max(held)
        if spec.delta >= 1 / units:
            warnings.warn(
                f"delta: {spec.delta:g} is not below 1 / {units}: giving one {spec.unit} of "
                f"{units} away would satisfy it",
                PrivRobustWarning,
                stacklevel=3,
            )


def _releases(spec: RunSpec) -> list[Release]:
    """Describe what each honest worker sends, with the spec's b as it stands.

    Raises:
        SpecError: a worker's share is too small (q > 1), or a claimed bound is no bound.

    """
    held = sizes(spec)
    least = min(held)
    if spec.sampling_rate is None and spec.batch_size > least:
        raise SpecError(
            f"batch_size: {spec.batch_size:g} is more than the {least} examples of honest worker "
            f"{held.index(least)} (sampling rate above 1); accepted: at most {least}, or a "
            "partition that deals it more (dirichlet's `least`, a smaller exponent), or a "
            "sampling_rate with sampling: poisson"
        )
    _refuse_unproven(spec)
    rates: dict[str, Any] = {"sampling_rate": spec.sampling_rate, "sampling": spec.sampling}
    if spec.unit == "worker":
        rates = {"worker_sampling_rate": spec.worker_sampling_rate}
    of_size = {
        size: Release(
            noise=spec.noise,
            noise_scale=_effective(spec, spec.noise_scale),
            clip_norm=spec.clip_norm,
            grad_norm_bound=spec.grad_norm_bound,
            batch_size=spec.batch_size,
            dataset_size=size,
            **rates,
            unit=spec.unit,
            steps=spec.steps * spec.noisy_vectors,
            message=spec.message,
            repeats=spec.repeats,
        )
        for size in set(held)  # workers of equal shares send alike, and most are
    }
    return [of_size[size] for size in held]


def _effective(spec: RunSpec, b: float) -> float:
    """Return the scale of noise on one message alone that hides what that b does."""
    return effective_noise_scale(b, spec.pairwise_noise or 0.0, spec.hidden)


def _least_scale(spec: RunSpec, effective: float) -> float:
    """Return the least b that hides what noise of this effective scale on one message does."""
    b = effective / _effective(spec, 1.0)
    while _effective(spec, b) < effective:  # in its last bits
        b = math.nextafter(b, math.inf)
    return b


def _refuse_unproven(spec: RunSpec) -> None:
    """Refuse a bound that is of no message, or below the proof of the model that has one."""
    if spec.grad_norm_bound is None:
        return
    if spec.unit == "worker" and spec.local_steps > 1:
        raise SpecError(
            f"grad_norm_bound: {spec.grad_norm_bound:g}, of one gradient, with unit: worker and "
            f"local_steps: {spec.local_steps}, of which a worker sends the sum; accepted: clip_norm"
        )
    if get_factory(spec.model) is not bounded_logistic:
        return
    if spec.loss != "cross_entropy" or spec.unit != "example":
        raise SpecError(
            f"grad_norm_bound: {spec.grad_norm_bound:g}: that of bounded_logistic is proven for "
            f"loss: cross_entropy and unit: example, not {spec.loss} and {spec.unit}; accepted: "
            "clip_norm"
        )
    shape = get_dataset(spec.dataset, spec.data_dir).shape
    proven = bound_of_bounded_logistic(shape, order=get_noise_law(spec.noise).order)
    if spec.grad_norm_bound < proven:
        raise SpecError(
            f"grad_norm_bound: {spec.grad_norm_bound:g} is below what is proven of "
            f"bounded_logistic with {spec.noise} noise; accepted: at least {rounded_up(proven, 6)}"
        )


def _most_sampled(releases: list[Release]) -> Release:
    """Pick the worker whose units take part most often, who spends the most.

    Without a `sampling_rate` that is who has the least data.

    A higher sampling rate never spends less: sampling at q' < q is sampling at q and thinning, so
    the output is a mixture of what q gives and of what nothing gives, and hockey-stick divergences
    are convex. Composition keeps that order (Zhu, Dong, Wang 2022). It holds of batches of fixed
    size alike; in epochs, fewer steps hide less, and there are more epochs (docs/sampling.md).
    """
    return max(releases, key=lambda release: release.sampling_rate)
