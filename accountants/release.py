"""What leaves a worker: the public description that every accountant consumes.

A worker sends a noisy average once a step. How much that reveals depends only on public numbers:
the noise scale b, the bound on what one unit (an example, or a whole worker) can add to the
message, the sampling rate and the number of steps. A `Release` states them; accountants compute.

>>> r = Release(noise_scale=0.1, clip_norm=1.0, batch_size=32, dataset_size=95, steps=300)
>>> r.sensitivity, round(r.noise_multiplier, 6), round(r.sampling_rate, 4)
(0.03125, 3.2, 0.3368)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal, get_args

from privrobust.errors import SpecError

if TYPE_CHECKING:
    from dp_accounting import DpEvent

Noise = Literal["gaussian", "laplace"]
Norm = Literal["l2", "l1"]
Sampling = Literal["poisson", "full"]
Unit = Literal["example", "worker"]
Adjacency = Literal["add-or-remove", "replace-one", "zero-out"]
Message = Literal["vector", "sign"]

MOST_STEPS = 10**9
"""T beyond which the rounding errors of single steps would add up to something."""
LEAST = 1e-150
"""Contributions and noise multipliers, and their inverses, are above it: squares stay finite."""

_CHOICES = {
    "noise": get_args(Noise),
    "sampling": get_args(Sampling),
    "unit": get_args(Unit),
    "adjacency": get_args(Adjacency),
    "message": get_args(Message),
}


@dataclass(frozen=True, kw_only=True)
class Release:
    """One worker's messages over `steps` steps with constant settings.

    A sequence of releases describes settings that change during training; it composes.

    Attributes:
        noise_scale: b, in units of the message; standard deviation of Gaussian noise, scale
            parameter of Laplace noise. 0 means no noise, and no privacy.
        steps: T, the number of messages.
        clip_norm: C, the norm to which each example's gradient (or, for the unit "worker", the
            worker's vector) is clipped.
        grad_norm_bound: G, a proven bound on that norm, in place of clipping. With neither, the
            release is not private.
        batch_size: B, the expected batch and the public divisor of the average. For the unit
            "worker": the expected number of participating workers, which divides nothing.
        dataset_size: n_i, the examples that the worker holds. For the unit "worker": the number
            of workers from which participants are drawn.
        noise: the law of the noise.
        norm: the norm of the bound; by default the one that the noise needs (L2 for Gaussian,
            L1 for Laplace).
        sampling: "poisson" (each example, or each worker, joins a step independently with
            probability B / n) or "full". Sampled workers are hidden only if a worker that sits
            out still sends pure noise, as an empty batch does.
        unit: what the guarantee protects.
        adjacency: how neighbouring datasets differ: one unit is added or removed, replaced by
            another, or has its contribution set to zero.
        message: the noisy vector or its sign; the sign is post-processing and costs nothing.

    Raises:
        SpecError: a field is out of range, or contradicts another.

    """

    noise_scale: float
    steps: int
    clip_norm: float | None = None
    grad_norm_bound: float | None = None
    batch_size: float | None = None
    dataset_size: int | None = None
    noise: Noise = "gaussian"
    norm: Norm | None = None
    sampling: Sampling = "poisson"
    unit: Unit = "example"
    adjacency: Adjacency = "add-or-remove"
    message: Message = "vector"

    def __post_init__(self) -> None:
        for field, accepted in _CHOICES.items():
            _one_of(field, getattr(self, field), accepted)
        _finite("noise_scale", self.noise_scale, "a finite number, 0 or more", least=0.0)
        _positive_integer("steps", self.steps, MOST_STEPS)
        for field in ("clip_norm", "grad_norm_bound", "batch_size"):
            if getattr(self, field) is not None:
                _finite(field, getattr(self, field), "a finite number above 0")
        if self.dataset_size is not None:
            _positive_integer("dataset_size", self.dataset_size)
        if self.clip_norm is not None and self.grad_norm_bound is not None:
            raise SpecError("grad_norm_bound: give either clip_norm or grad_norm_bound, not both")
        self._settle_norm()
        self._check_sampling()
        self._check_range()

    def _settle_norm(self) -> None:
        needed: Norm = "l1" if self.noise == "laplace" else "l2"
        object.__setattr__(self, "norm", self.norm or needed)
        _one_of("norm", self.norm, get_args(Norm))
        if (self.noise, self.norm) == ("laplace", "l2"):
            raise SpecError(
                "norm: Laplace noise needs a bound in the L1 norm, not 'l2' (an L2 bound does not "
                "limit the L1 distance that Laplace noise has to hide)"
            )

    def _check_sampling(self) -> None:
        size, total = self.batch_size, self.dataset_size
        if self.sampling == "poisson":
            for field, value in (("batch_size", size), ("dataset_size", total)):
                if value is None:
                    raise SpecError(f"{field}: Poisson sampling needs it (or sampling='full')")
        elif self.unit == "example" and total is None:
            raise SpecError("dataset_size: full batches need it (the batch is the dataset)")
        elif size is not None and size != total:
            raise SpecError(
                f"batch_size: {size!r} with sampling='full' is not dataset_size, {total!r}"
            )
        if size is not None and total is not None and size > total:
            raise SpecError(
                f"batch_size: {size!r} exceeds dataset_size, {total!r} (the sampling rate "
                "batch_size / dataset_size is at most 1)"
            )

    def _check_range(self) -> None:
        if self.clip_norm is None and self.grad_norm_bound is None:
            return
        if not LEAST < self.contribution < 1 / LEAST or (
            self.noise_scale and not LEAST < self.noise_multiplier < 1 / LEAST
        ):
            raise SpecError(
                f"noise_scale: {self.noise_scale:g} against a contribution of "
                f"{self.contribution:g} is beyond double precision"
            )

    @property
    def contribution(self) -> float:
        """The most that one unit adds to a message, in the norm of the bound.

        C / B for an example (or G / B), C for a worker; infinite without a bound.
        """
        bound = self.clip_norm if self.clip_norm is not None else self.grad_norm_bound
        if bound is None:
            return math.inf
        if self.unit == "worker":
            return bound
        divisor = self.batch_size if self.batch_size is not None else self.dataset_size
        assert divisor is not None
        return bound / divisor

    @property
    def sensitivity(self) -> float:
        """The most that a message moves between neighbours: replacing one unit moves it twice."""
        return self.contribution * (2 if self.adjacency == "replace-one" else 1)

    @property
    def noise_multiplier(self) -> float:
        """Sigma: b over the contribution of one unit (b B / C for an example).

        It does not depend on the adjacency, as in dp-accounting's events: under "replace-one"
        the noise is only sigma / 2 sensitivities, and accountants are told so.
        """
        return self.noise_scale / self.contribution

    @property
    def sampling_rate(self) -> float:
        """q: the probability that a unit takes part in a step."""
        if self.sampling == "full":
            return 1.0
        assert self.batch_size is not None
        assert self.dataset_size is not None
        return self.batch_size / self.dataset_size

    @property
    def not_private_reason(self) -> str | None:
        """Why epsilon is infinite whatever the accountant, or None."""
        if self.noise_scale == 0:
            return "no noise (b = 0)"
        if math.isinf(self.contribution):
            return "no clipping and no gradient bound"
        return None

    def dp_event(self) -> "DpEvent":
        """The release in the words of dp-accounting, to compose with the rest of a pipeline.

        The neighbouring relation is the accountant's to choose: `ADD_OR_REMOVE_ONE`,
        `REPLACE_ONE`, or `REPLACE_SPECIAL` for "zero-out".
        """
        import dp_accounting as dp

        if self.not_private_reason:
            return dp.NonPrivateDpEvent()
        law = dp.LaplaceDpEvent if self.noise == "laplace" else dp.GaussianDpEvent
        step = law(self.noise_multiplier)
        if self.sampling_rate < 1:
            step = dp.PoissonSampledDpEvent(self.sampling_rate, step)
        return dp.SelfComposedDpEvent(step, self.steps)


Releases = Release | Sequence[Release]


def as_sequence(releases: Releases) -> tuple[Release, ...]:
    """One release or several, as a tuple that can be composed.

    Raises:
        SpecError: there is none, or they do not protect the same thing.

    """
    several = (releases,) if isinstance(releases, Release) else tuple(releases)
    for release in several:
        if not isinstance(release, Release):
            raise SpecError(f"releases: {release!r} is not a Release")
    if not several:
        raise SpecError("releases: an empty sequence; give at least one Release")
    for field in ("unit", "adjacency"):
        values = sorted({getattr(release, field) for release in several})
        if len(values) > 1:
            raise SpecError(
                f"{field}: releases that compose must agree, not {' and '.join(values)}"
            )
    return several


def _one_of(field: str, value: object, accepted: tuple[str, ...]) -> None:
    if value not in accepted:
        raise SpecError(f"{field}: {value!r} is not one of {', '.join(accepted)}")


def _finite(field: str, value: Any, accepted: str, least: float = math.ulp(0.0)) -> None:
    real = isinstance(value, Real) and not isinstance(value, bool)
    if not real or not math.isfinite(value) or value < least:
        raise SpecError(f"{field}: {value!r} is not {accepted}")


def _positive_integer(field: str, value: object, most: int = 2**63) -> None:
    whole = isinstance(value, (int, Integral)) and not isinstance(value, bool)
    if not whole or not 1 <= value <= most:  # type: ignore[operator]
        raise SpecError(
            f"{field}: {value!r:.40} is not a whole number, 1 or more and at most {most:.3g}"
        )
