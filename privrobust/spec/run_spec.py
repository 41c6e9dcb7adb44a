"""`RunSpec`: the fields of a run, checked against each other."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, TypeAdapter, model_validator

from privrobust.accountants.release import MOST_STEPS, Message
from privrobust.accountants.sampling import check_whole
from privrobust.aggregators import get_aggregator
from privrobust.aggregators.registry import AGGREGATORS
from privrobust.attacks import get_attack
from privrobust.attacks.registry import ATTACKS
from privrobust.core.displayed import Displayed, called
from privrobust.core.numbers import as_whole, shown
from privrobust.core.parameters import parse
from privrobust.core.plugins import refuse_unwanted
from privrobust.data.partitions import Partition, Similarity, get_partition
from privrobust.errors import SpecError, failure_of_own, is_of_a_user
from privrobust.noise.laws import get_noise_law
from privrobust.schedules import get_schedule, rate
from privrobust.spec.key import in_key, key_of
from privrobust.spec.run_fields import RunFields, named
from privrobust.spec.values import LARGEST, SMALLEST, Whole

_WHOLE: TypeAdapter[int] = TypeAdapter(Whole)
_MODULES = frozenset(named(lambda field: field.names_own))
_FLOAT32 = named(lambda field: field.is_float32)


class RunSpec(Displayed, RunFields):
    """Settings of one training run: those of `RunFields`, or `workers` in place of `honest`.

    Raises:
        SpecError: one line that names the field, its value and what is accepted.

    """

    # Sweeps ask for keys again and again. No field holds it, so that no changed copy has it.
    __slots__ = ("_key",)

    def __init__(self, **settings: Any) -> None:  # of its own: type checkers would make another
        for field in _MODULES & settings.keys():
            refuse_unwanted(field, settings[field])
        super().__init__(**settings)

    @property
    def changed(self) -> dict[str, Any]:
        """The fields that differ from their defaults, attacks as they are written.

        The b that was found for a `target_epsilon` is none: it follows.
        """
        found = {
            name: str(value) if name == "attack" else value
            for name, field in type(self).model_fields.items()
            if (value := getattr(self, name)) != field.default
        }
        if self.target_epsilon is not None:
            found.pop("noise_scale", None)
        return found

    def __repr__(self) -> str:
        """Write what is `changed`."""
        return called(type(self).__name__, self.changed)

    __str__ = __repr__

    @classmethod
    def restored(cls, settings: Mapping[str, Any]) -> "RunSpec":
        """Return the spec of a `model_dump`, with the b that was found for a `target_epsilon`."""
        if settings.get("target_epsilon") is None:
            return cls(**settings)
        scale = cls(noise_scale=settings.get("noise_scale", 0.0)).noise_scale
        target = cls(**{name: settings[name] for name in settings if name != "noise_scale"})
        return target.with_noise(scale)

    def with_noise(self, noise_scale: float) -> "RunSpec":
        """Return the spec with the b that was found for its `target_epsilon`."""
        return BaseModel.model_copy(self, update={"noise_scale": noise_scale})

    def _changed(self, update: Mapping[str, Any]) -> dict[str, Any]:
        settings = super()._changed(update)
        if "workers" in update and "honest" not in update:
            del settings["honest"]
        if settings["target_epsilon"] is not None and self.target_epsilon is not None:
            # the b that was found is that of other settings, and no setting itself
            settings["noise_scale"] = update.get("noise_scale", 0.0)
        return settings

    @property
    def workers(self) -> int:
        """n = h + f."""
        return self.honest + self.byzantine

    @property
    def stream_seed(self) -> int:
        """The seed of all that is drawn but the shares; of repetition 0 the `seed` itself."""
        if not self.repetition:
            return self.seed
        named = repr(("repetition", self.seed, self.repetition)).encode()
        return int.from_bytes(hashlib.shake_256(named).digest(8)) >> 1

    @property
    def hidden(self) -> int:
        """Those who tell the observer nothing of their pairs' noise."""
        return self.workers - (self.byzantine if self.colluding is None else self.colluding)

    @property
    def noise_std(self) -> float:
        """The standard deviation of the noise on a coordinate of a message.

        That of pairs is in it, and that of all local steps of which the message is a sum.
        """
        return self._noise_std(pairs=self.workers - 1)

    @property
    def lasting_noise_std(self) -> float:
        """The same of what does not cancel in the mean of honest messages: of pairs, theirs do."""
        return self._noise_std(pairs=self.byzantine)

    def _noise_std(self, pairs: int) -> float:
        of_all = self.noisy_vectors * (1 + pairs * (self.pairwise_noise or 0.0) ** 2)
        return self.noise_scale * float(get_noise_law(self.noise).std) * math.sqrt(of_all)

    @property
    def key(self) -> str:
        """A name for this run's result: equal specs have equal keys, on whatever device."""
        known: str | None = getattr(self, "_key", None)
        if known is None:
            known = key_of(self.target_epsilon, in_key(self.__dict__))
            object.__setattr__(self, "_key", known)
        return known

    @model_validator(mode="before")
    @classmethod
    def _honest_from_workers(cls, settings: dict[str, Any]) -> dict[str, Any]:
        if "workers" not in settings:
            return settings
        if "honest" in settings:
            raise SpecError("workers, honest: give one of them (workers = honest + byzantine)")
        rest = {name: value for name, value in settings.items() if name != "workers"}
        workers, byzantine = settings["workers"], settings.get("byzantine", 0)
        try:
            workers, byzantine = map(_WHOLE.validate_python, (workers, byzantine))
            if workers < 1:
                raise SpecError
        except ValueError:  # pydantic's, or ours
            raise SpecError(
                f"workers: {shown(workers)} with byzantine {shown(byzantine)} is not accepted: "
                "give whole numbers, at least one worker"
            ) from None
        if byzantine >= workers:
            raise SpecError(
                f"byzantine: {byzantine} of {workers} workers; accepted: 0 to {workers - 1}, "
                "at least one worker is honest"
            )
        return {**rest, "honest": workers - byzantine}

    @property
    def noisy_vectors(self) -> int:
        """Of how many noisy vectors a message is made: each is a release.

        Of a worker's whole vector there is one, noised once. Of examples there is one a local step,
        as each moves where the next one's gradients are taken.
        """
        return 1 if self.unit == "worker" else self.local_steps

    @property
    def message(self) -> Message:
        """What a step adds to what was sent before: a sign, unless it is one of older noise too.

        The signs of a momentum tell of noise that earlier signs told of, those of a sum of noisy
        vectors of noise by which later ones of them were moved, and those of pairs' noise of noise
        that other workers' signs tell of: they are charged as vectors.
        """
        if self.worker_momentum or self.noisy_vectors > 1 or self.pairwise_noise:
            return "vector"
        return get_aggregator(self.aggregator, self.byzantine).message

    @property
    def dealt_by(self) -> Partition:
        """The partition of the training data."""
        if self.partition == "similarity":
            return Similarity(self.heterogeneity)
        return get_partition(self.partition)

    @model_validator(mode="after")
    def _consistent(self) -> "RunSpec":
        for field in _FLOAT32:
            value = getattr(self, field)
            if value and not SMALLEST <= value <= LARGEST:
                raise SpecError(
                    f"{field}: {value:g} is not accepted: {SMALLEST:g} to {LARGEST:g} (float32)"
                )
        if self.clip_norm is not None and self.grad_norm_bound is not None:
            raise SpecError(
                "clip_norm, grad_norm_bound: give one of them; a bound replaces clipping"
            )
        if self.pairwise_noise is not None and self.noise != "gaussian":
            raise SpecError(
                f"pairwise_noise: {self.pairwise_noise:g} with noise {self.noise}; accepted: "
                "gaussian, whose sums are of the same law"
            )
        self._check_target()
        if self.clipping != "flat" and self.clip_norm is None:
            raise SpecError(f"clipping: {self.clipping} needs a clip_norm")
        if self.unit == "example" and self.worker_sampling_rate < 1:
            raise SpecError(
                f"worker_sampling_rate: {self.worker_sampling_rate:g} needs unit: worker; "
                "with unit: example every worker takes part in every step"
            )
        if self.sampling != "poisson" and self.sampling_rate is not None:
            raise SpecError(
                f"sampling_rate: {self.sampling_rate:g} with sampling: {self.sampling}, which goes "
                "by what a worker holds; accepted: sampling: poisson"
            )
        check_whole(self.sampling, self.batch_size)
        if self.colluding is not None and not self.byzantine <= self.colluding < self.workers:
            raise SpecError(
                f"colluding: {self.colluding} of {self.workers} workers; accepted: from byzantine, "
                f"{self.byzantine}, to all but the one that is protected, {self.workers - 1}"
            )
        self._read_heterogeneity()
        if self.warmup_steps >= self.steps:
            raise SpecError(
                f"warmup_steps: {shown(self.warmup_steps)} of {self.steps} steps; accepted: fewer"
            )
        with _about("schedule"):
            for step in (1, self.steps):
                rate(get_schedule(self.schedule), self.warmup_steps, step, self.steps)
        if self.local_steps * self.steps > MOST_STEPS:
            raise SpecError(
                f"local_steps: {self.local_steps} in each of {self.steps} steps; accepted: up to "
                f"{MOST_STEPS:.3g} in all"
            )
        if self.local_steps == 1:  # the server alone moves, and equal runs get equal keys
            object.__setattr__(self, "local_learning_rate", None)
        if self.byzantine and self.attack is None:
            raise SpecError(f"attack: needed when byzantine is {self.byzantine}")
        with _about("attack"):
            attack = self.attack.canonical() if self.attack else None
        # equal runs get equal keys, so one without attackers has no attack
        object.__setattr__(self, "attack", attack if self.byzantine else None)
        written = str(self.attack) if self.attack else None
        changes = AGGREGATORS.changes, ATTACKS.changes  # one of a user's own may be replaced
        _meet(changes, self.aggregator, written, self.honest, self.byzantine)
        is_noisy = bool(self.noise_scale) or self.target_epsilon is not None
        is_bounded = self.clip_norm is not None or self.grad_norm_bound is not None
        _tell_noise(changes[0], self.aggregator, self.noise if is_noisy else None, is_bounded)
        return self

    def _check_target(self) -> None:
        """Refuse a target that leaves more open than b, or less."""
        if self.target_epsilon is None:
            return
        for field in ("noise_scale", "max_epsilon"):
            if getattr(self, field):
                raise SpecError(
                    f"target_epsilon, {field}: {self.target_epsilon:g} and "
                    f"{getattr(self, field):g}; give one of them"
                )
        if self.clip_norm is None and self.grad_norm_bound is None:
            raise SpecError(
                f"target_epsilon: {self.target_epsilon:g} needs a clip_norm or a grad_norm_bound"
            )

    def _read_heterogeneity(self) -> None:
        """Keep `similarity(heterogeneity=0.5)` as the number, for equal keys."""
        if self.partition == "similarity":
            return
        partition = get_partition(self.partition)
        if self.heterogeneity:
            raise SpecError(
                f"heterogeneity: {self.heterogeneity:g} with partition {self.partition}; "
                "accepted: one of them (heterogeneity is that of partition: similarity)"
            )
        if type(partition) is Similarity:
            object.__setattr__(self, "heterogeneity", partition.heterogeneity)
            object.__setattr__(self, "partition", "similarity")


@contextmanager
def _about(field: str) -> Iterator[None]:
    """Tell of errors which field they are about, where their text starts with another name."""
    try:
        yield
    except SpecError as error:
        error.field = error.field or field
        raise
    except Exception as error:  # of a property of a user's class
        if not is_of_a_user(error):
            raise
        made = failure_of_own(error)
        made.field = field
        raise made from error


@lru_cache(maxsize=1024)
def _meet(
    changes: tuple[int, int],
    aggregator: str,
    attack: str | None,
    honest: int,
    byzantine: int,
) -> None:
    """Refuse a rule or an attack that is not defined for so many workers.

    Or a rule that wants no number of public examples.
    """
    with _about("aggregator"):
        rule = get_aggregator(aggregator, byzantine)
        rule.fits(honest + byzantine, byzantine)
        wanted = f"{type(rule).__name__}.public_examples"
        as_whole(wanted, rule.public_examples, "a whole number, 0 or more", least=0)
    if attack is not None:
        name, parameters = parse("attack", attack)
        with _about("attack"):
            get_attack(name, **parameters).fits(rule, honest, byzantine)


@lru_cache(maxsize=1024)
def _tell_noise(changes: int, aggregator: str, noise: str | None, is_bounded: bool) -> None:
    """Refuse a rule that knows the noise where there is none, or where more may be hidden by it."""
    with _about("aggregator"):
        rule = get_aggregator(aggregator)
    if rule.knows_noise and noise is None:
        raise SpecError(
            f"noise_scale: 0 with aggregator {shown(aggregator)}, which tells messages by their "
            "noise; accepted: above 0"
        )
    if rule.knows_noise and noise != "gaussian":
        raise SpecError(
            f"noise: {shown(noise)} with aggregator {shown(aggregator)}, whose tests are of the "
            "Gaussian; accepted: gaussian"
        )
    if rule.knows_reach and not is_bounded:
        raise SpecError(
            f"clip_norm: none with aggregator {shown(aggregator)}, which is told how long honest "
            "messages can be; accepted: a clip_norm or a grad_norm_bound"
        )
