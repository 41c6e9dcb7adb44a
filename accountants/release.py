"""What leaves a worker: the public description that every accountant consumes.

A worker sends a noisy average once a step. How much that reveals depends only on public numbers:
the noise scale b, the bound on what one unit (an example, or a whole worker) can add to the
message, the sampling rate and the number of steps. A `Release` states them; accountants compute.

>>> r = Release(noise_scale=0.1, clip_norm=1.0, batch_size=32, dataset_size=95, steps=300)
>>> r.sensitivity, round(r.noise_multiplier, 6), round(r.sampling_rate, 4), r.adjacency
(0.03125, 3.2, 0.3368, 'zero-out')

Where q is fixed in advance and public, whatever the worker holds, n need not be:

>>> r = Release(noise_scale=0.1, clip_norm=1.0, batch_size=32, sampling_rate=0.3368, steps=300)
>>> r.adjacency
'add-or-remove'
"""

import math
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from privrobust.accountants.repeats import Selection, canonical_repeats, get_repeats
from privrobust.accountants.sampling import (
    IN_EPOCHS,
    Sampling,
    check_full,
    check_neighbours,
    rate_by_size,
)
from privrobust.core.displayed import Displayed
from privrobust.core.numbers import as_float, as_whole, own, shown
from privrobust.errors import SpecError
from privrobust.noise.laws import canonical_noise_law, get_noise_law

if TYPE_CHECKING:
    from dp_accounting import DpEvent

Norm = Literal["l2", "l1"]
Unit = Literal["example", "worker"]
Adjacency = Literal["add-or-remove", "replace-one", "zero-out"]
Message = Literal["vector", "sign"]
AccountedLaw = Literal["gaussian", "laplace", "logistic"]

ACCOUNTED_LAWS: tuple[AccountedLaw, ...] = get_args(AccountedLaw)
"""Noise laws that accountants know; of any other nothing is private, built in or not."""

MOST_STEPS = 10**9
"""T beyond which the rounding errors of single steps would add up to something."""
LEAST = 1e-150
"""Contributions and noise multipliers, and their inverses, are above it: squares stay finite."""

_CHOICES = {
    "sampling": get_args(Sampling),
    "unit": get_args(Unit),
    "adjacency": get_args(Adjacency),
    "message": get_args(Message),
}


class _Quotient(float):
    """A q that follows from other fields: `dataclasses.replace` finds it anew, from its own."""


class _Default(str):
    """An adjacency that nobody chose: `dataclasses.replace` chooses it anew, as fields change."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Release(Displayed):
    """One worker's messages over `steps` steps with constant settings.

    A sequence of releases describes settings that change during training; it composes. Numbers may
    be of any type and are kept as Python's own, of exactly the value that was given.

    Attributes:
        noise_scale: b, in units of the message; standard deviation of Gaussian noise, scale
            parameter of Laplace or logistic noise. 0 means no noise, and no privacy.
        steps: T, the number of messages.
        clip_norm: C, the norm to which each example's gradient (or, for the unit "worker", the
            worker's vector) is clipped.
        grad_norm_bound: G, a proven bound on that norm, in place of clipping. With neither, the
            release is not private.
        batch_size: B, the expected batch and the public divisor of the average. Irrelevant to the
            unit "worker".
        dataset_size: n_i, the examples that the worker holds: a public number, the same for both
            neighbours. Irrelevant to the unit "worker", and with a `sampling_rate` mere
            information.
        sampling_rate: q of the unit, in (0, 1], the share of steps that it takes part in. Give it
            for examples that join with a probability that is public and fixed in advance; else it
            follows from B and n_i, or is that of the workers, or 1. Read, it is always a number;
            one that was not given is found anew when `dataclasses.replace` changes what it
            follows from, so `float()` of it is what another release can be given.
        worker_sampling_rate: the probability that a worker takes part in a step, for the unit
            "worker"; None: every worker does. Sampled workers are hidden only if a worker that
            sits out still sends pure noise.
        noise: the law of the noise: "gaussian", "laplace" or "logistic", or one of a user's own,
            which no accountant knows, so that nothing is private.
        norm: the norm of the bound; by default the one that the noise needs (L1 for Laplace, L2 for
            the others).
        sampling: "poisson" (each unit joins a step independently, with probability q), "full" (q
            is 1; an average without a batch_size is over the n_i examples), or of examples
            "shuffled", "fixed" or "balls_in_bins", which go by B and n_i (`accountants.sampling`).
        unit: what the guarantee protects.
        adjacency: which two datasets are neighbours, and so what epsilon promises. "zero-out": one
            unit's contribution is set to zero and n_i stays, the default where q or the divisor
            follows from n_i, and for workers. "add-or-remove": one unit is there or not while q and
            B stay, the default with a `sampling_rate`; refused where n_i decides them, because
            taking an example out would then change q and cost more. "replace-one": one unit is
            exchanged for another.
        message: the noisy vector, or its sign: "+" where the noisy value is at least 0, of vectors
            that are noised anew at each step. The accountant "sign" knows what it hides; the others
            charge for the vector.
        repeats: the law of how many such releases, each with noise of its own, the published one is
            chosen from by what they hold (`privrobust.accountants.repeats`): "constant(count=5)",
            all of which may be seen, or "poisson(mean=10)" and "negative_binomial(mean=10)", where
            epsilon is against outsiders, who see nothing of the others. None: it is the only one.

    Raises:
        SpecError: a field is out of range, or contradicts another.

    """

    noise_scale: float
    steps: int
    clip_norm: float | None = None
    grad_norm_bound: float | None = None
    batch_size: float | None = None
    dataset_size: int | None = None
    # Typed as it is read; None, the default, is settled at once.
    sampling_rate: float = None  # type: ignore[assignment]
    worker_sampling_rate: float | None = None
    noise: str = "gaussian"
    norm: Norm | None = None
    sampling: Sampling = "poisson"
    unit: Unit = "example"
    adjacency: Adjacency | None = None
    message: Message = "vector"
    repeats: str | None = None
    _settled: bool = field(default=False, repr=False, compare=False)
    """Whether the values are those of a release, as `dataclasses.replace` hands them on."""

    def __post_init__(self) -> None:
        if not self._settled:  # what another release found is, handed on by itself, what is given
            if isinstance(self.sampling_rate, _Quotient):
                self._set("sampling_rate", float(self.sampling_rate))
            if isinstance(self.adjacency, _Default):
                self._set("adjacency", str(self.adjacency))
        for name, accepted in _CHOICES.items():
            value = getattr(self, name)
            settled_later = isinstance(value, _Default) or (name == "adjacency" and value is None)
            if not settled_later:
                self._set(name, _one_of(name, value, accepted))
        self._set("noise", canonical_noise_law(self.noise))
        self._set("repeats", canonical_repeats(self.repeats))
        self._normalise()
        if self.clip_norm is not None and self.grad_norm_bound is not None:
            raise SpecError("grad_norm_bound: give either clip_norm or grad_norm_bound, not both")
        self._settle_norm()
        derived = isinstance(self.sampling_rate, _Quotient)
        given = None if derived else _rate("sampling_rate", self.sampling_rate)
        if self.unit == "worker":
            self._settle_workers(given)
        else:
            self._settle_examples(given)
        self._set("_settled", True)
        self._check_range()

    def _set(self, field: str, value: object) -> None:
        object.__setattr__(self, field, value)

    def _normalise(self) -> None:
        """Make every number Python's own."""
        scale = as_float("noise_scale", self.noise_scale, "a finite number, 0 or more", least=0.0)
        self._set("noise_scale", scale)
        self._set("steps", _count("steps", self.steps, MOST_STEPS))
        if self.steps * self.runs > MOST_STEPS:
            raise SpecError(
                f"steps: {self.steps} of {self.runs} runs; accepted: {MOST_STEPS:.3g} in all"
            )
        for name in ("clip_norm", "grad_norm_bound", "batch_size"):
            if (value := getattr(self, name)) is not None:
                self._set(name, as_float(name, value, "a finite number above 0", above=0.0))
        if self.dataset_size is not None:
            self._set("dataset_size", _count("dataset_size", self.dataset_size, 2**63))
        self._set("worker_sampling_rate", _rate("worker_sampling_rate", self.worker_sampling_rate))

    def _settle_norm(self) -> None:
        needed: Norm = "l1" if get_noise_law(self.noise).order == 1 else "l2"
        norm = needed if self.norm is None else _one_of("norm", self.norm, get_args(Norm))
        self._set("norm", norm)
        if (needed, norm) == ("l1", "l2") and self.noise in ACCOUNTED_LAWS:
            law = self.noise.capitalize()
            raise SpecError(
                f"norm: {law} noise needs a bound in the L1 norm, not 'l2' (an L2 bound does not "
                f"limit the L1 distance that {law} noise has to hide)"
            )

    def _settle_workers(self, of_examples: float | None) -> None:
        """Find q and the adjacency where whole workers are protected."""
        if of_examples is not None:
            raise SpecError(
                f"sampling_rate: {of_examples:g} is that of examples; for the unit 'worker' "
                "give worker_sampling_rate"
            )
        rate = self.worker_sampling_rate
        if self.sampling not in ("poisson", "full"):
            raise SpecError(
                f"sampling: {self.sampling!r} is of examples; for the unit 'worker' accepted: "
                "poisson, full"
            )
        if self.sampling == "full" and rate is not None and rate < 1:
            raise SpecError(
                f"worker_sampling_rate: {rate:g} with sampling='full'; accepted: 1, or "
                "sampling='poisson'"
            )
        self._set("sampling_rate", _Quotient(1.0 if rate is None else rate))
        self._settle_adjacency("zero-out")

    def _settle_examples(self, rate: float | None) -> None:
        """Find q and the adjacency where examples are protected, of the q that was given if any."""
        size, total = self.batch_size, self.dataset_size
        if self.worker_sampling_rate is not None:
            raise SpecError(
                f"worker_sampling_rate: {self.worker_sampling_rate:g} needs the unit 'worker'; "
                "that of examples is sampling_rate"
            )
        if self.sampling == "full":
            check_full(size, total, rate)
            self._set("sampling_rate", _Quotient(1.0) if rate is None else rate)
            fixed = rate is not None and size is not None
            self._settle_adjacency("add-or-remove" if fixed else "zero-out")
            if size is None:
                self._refuse_removal("the average's divisor")
            return
        if self.sampling != "poisson":
            self._set("sampling_rate", _Quotient(rate_by_size(self.sampling, size, total, rate)))
            self._settle_adjacency("zero-out")
            check_neighbours(self.sampling, str(self.adjacency))
            return
        if size is None:
            raise SpecError("batch_size: Poisson sampling needs it (or sampling='full')")
        if rate is not None:
            self._set("sampling_rate", rate)
            self._settle_adjacency("add-or-remove")
            return
        if total is None:
            raise SpecError(
                "dataset_size: Poisson sampling needs it, or a sampling_rate (or sampling='full')"
            )
        if size > total:
            raise SpecError(
                f"batch_size: {size:.12g} exceeds dataset_size, {total} (the sampling rate "
                "batch_size / dataset_size is at most 1)"
            )
        self._set("sampling_rate", _Quotient(size / total))
        self._settle_adjacency("zero-out")
        self._refuse_removal("q = batch_size / dataset_size")

    def _settle_adjacency(self, default: Adjacency) -> None:
        if self.adjacency is None or isinstance(self.adjacency, _Default):
            self._set("adjacency", _Default(default))

    def _refuse_removal(self, follows: str) -> None:
        """Refuse neighbours of different n where that changes what is released."""
        if self.adjacency == "add-or-remove":
            raise SpecError(
                f"adjacency: 'add-or-remove' would change {follows}; accepted: 'zero-out', or "
                "batch_size and a sampling_rate that is public and fixed in advance"
            )

    @property
    def given(self) -> dict[str, Any]:
        """The fields that were given, or chosen for good: they make an equal release again."""
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.repr}
        settled = (_Quotient, _Default)
        return {name: value for name, value in values.items() if not isinstance(value, settled)}

    def __repr__(self) -> str:
        """Write what is `given`, but for defaults."""
        usual = {each.name: each.default for each in fields(self)}
        told = [f"{name}={it!r}" for name, it in self.given.items() if it != usual[name]]
        return f"{type(self).__name__}({', '.join(told)})"

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
    def runs(self) -> int:
        """How many such releases are seen: one, or those of a constant number of `repeats`."""
        return 1 if self.repeats is None else get_repeats(self.repeats).runs

    @property
    def selection(self) -> Selection | None:
        """The law of how many releases there are of which the best alone is seen, if that is so."""
        law = None if self.repeats is None else get_repeats(self.repeats)
        return law if isinstance(law, Selection) else None

    @property
    def rounds(self) -> int:
        """How many rounds compose: T or, where a unit takes part once an epoch, epochs begun."""
        return -(-self.steps // self._steps_per_round)

    @property
    def _steps_per_round(self) -> int:
        return round(1 / self.sampling_rate) if self.sampling in IN_EPOCHS else 1

    def repeated(self, times: int) -> "Release":
        """Return so many releases like this as one: each began its epochs anew."""
        return replace(self, steps=times * self.rounds * self._steps_per_round)

    @property
    def not_private_reason(self) -> str | None:
        """Why epsilon is infinite whatever the accountant, or None."""
        if self.noise_scale == 0:
            return "no noise (b = 0)"
        if self.noise not in ACCOUNTED_LAWS:
            return f"noise that no accountant knows ({self.noise})"
        if math.isinf(self.contribution):
            return "no clipping and no gradient bound"
        return None

    def dp_event(self) -> "DpEvent":
        """Return the release in the words of dp-accounting, to compose with the rest of a pipeline.

        The neighbouring relation is the accountant's to choose: `ADD_OR_REMOVE_ONE`,
        `REPLACE_ONE`, or `REPLACE_SPECIAL` for "zero-out". The event holds q as a constant, so the
        first is right only where `adjacency` is "add-or-remove": q and the divisor are then fixed
        in advance. A shuffled epoch is one step without sampling. Batches of fixed size, whose
        event is of replacement alone, balls in bins and logistic noise are unsupported.
        """
        import dp_accounting as dp

        if self.not_private_reason:
            return dp.NonPrivateDpEvent()
        laws = {
            "gaussian": dp.GaussianDpEvent,
            "laplace": dp.LaplaceDpEvent,
            "logistic": lambda sigma: dp.UnsupportedDpEvent(),
        }
        step = laws[self.noise](self.noise_multiplier)
        if self.sampling in ("fixed", "balls_in_bins"):
            return dp.UnsupportedDpEvent()
        if self.sampling != "shuffled" and self.sampling_rate < 1:
            step = dp.PoissonSampledDpEvent(float(self.sampling_rate), step)
        run = dp.SelfComposedDpEvent(step, self.rounds)
        return run if self.repeats is None else get_repeats(self.repeats).dp_event(run)


def _one_of(field: str, value: object, accepted: tuple[str, ...]) -> str:
    text = own(field, value)
    if not isinstance(text, str) or text not in accepted:
        raise SpecError(f"{field}: {shown(value)} is not one of {', '.join(accepted)}")
    return text


def _count(field: str, value: object, most: int) -> int:
    accepted = f"a whole number, 1 or more and at most {most:.3g}"
    return as_whole(field, value, accepted, least=1, most=most)


def _rate(field: str, value: object) -> float | None:
    """Read a probability that a unit takes part, if there is one."""
    return None if value is None else as_float(field, value, "in (0, 1]", above=0.0, most=1.0)
