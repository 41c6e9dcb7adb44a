"""What a run is: `RunSpec`, one immutable record of every setting that decides its result.

>>> RunSpec(byzantine=2, attack="sign_flip", noise_scale=0.1, clip_norm=1.0).workers
12
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from privrobust.accountants import get_accountant
from privrobust.accountants.release import MOST_STEPS
from privrobust.aggregators import canonical, get_aggregator
from privrobust.attacks import Attack, get_attack
from privrobust.core.naming import refuse_unwanted
from privrobust.core.numbers import as_float, as_whole, own, plain, shown
from privrobust.core.parameters import parse, settings, written
from privrobust.data import canonical_dataset
from privrobust.data.partitions import Partition, Similarity, canonical_partition, get_partition
from privrobust.errors import SpecError, unknown_name
from privrobust.gradients.losses import canonical_loss
from privrobust.models import canonical_model
from privrobust.noise.laws import canonical_noise_law
from privrobust.schedules import canonical_schedule, get_schedule, rate

# Training computes in float32 and accounting in float64: what is accounted must exist in both.
SMALLEST, LARGEST = 1e-30, 1e30
_MOST_WORKERS = 10_000

_TEXT = "text, in quotes where it reads as a number or a truth value"

# Fields that name things, by a name of ours or by a module's.
_NAMING = {
    "accountant",
    "aggregator",
    "attack",
    "dataset",
    "loss",
    "model",
    "noise",
    "partition",
    "schedule",
}

# Part of every key: raise it when a change makes the same spec give other numbers.
_RESULTS_VERSION = 8


def _read_number(value: Any, info: ValidationInfo) -> Any:
    """Read a number of any type; text is pydantic's to read."""
    if value is None or isinstance(value, str):
        return value
    as_float(str(info.field_name), value, "accepted: a finite number")
    return plain(value)  # whole numbers stay whole in pydantic's errors


def _read_whole(value: Any, info: ValidationInfo) -> Any:
    if value is None or isinstance(value, str):
        return value
    return as_whole(str(info.field_name), value, "accepted: a whole number")


def _read_parameters(given: Any) -> Any:
    """Read an attack's parameters; numbers become Python's own."""
    if not isinstance(given, Mapping):
        return given
    parameters = {name: own(f"attack.{name}", value) for name, value in given.items()}
    for name, value in parameters.items():
        if not isinstance(value, bool | int | float | str | None):
            raise SpecError(
                f"attack.{name}: {shown(value)} is not accepted: a number, text, or a truth value"
            )
    return parameters


def _plain_zero(value: float | None) -> float | None:
    """Text may say minus zero, which has another key than 0."""
    return value or (None if value is None else 0.0)


_NUMBER = BeforeValidator(_read_number)
_ZERO = AfterValidator(_plain_zero)
Number = Annotated[float, _NUMBER, _ZERO]
PerhapsNumber = Annotated[float | None, _NUMBER, _ZERO]
Whole = Annotated[int, BeforeValidator(_read_whole)]
_WHOLE: TypeAdapter[int] = TypeAdapter(Whole)


def _own(field: str, value: Any) -> Any:
    """Return a number or text as Python's own; bytes, which pydantic would decode, are no text."""
    if isinstance(value, bytes | bytearray):
        raise SpecError(f"{field}: {shown(value)} is not accepted: a text or a number")
    return own(field, value)


class _Spec(BaseModel):
    """A frozen record of settings, checked whenever one is made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**{name: _own(name, value) for name, value in settings.items()})
        except ValidationError as error:
            raise _refused(error, type(self)) from None

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with some fields changed, checked as a new one is.

        Raises:
            SpecError: as the constructor.

        """
        if not update:
            return super().model_copy(deep=deep)
        return type(self)(**self._changed(update))

    def _changed(self, update: Mapping[str, Any]) -> dict[str, Any]:
        return dict(self) | dict(update)


class AttackSpec(_Spec):
    """An attack's name and the constructor parameters that a spec gives it.

    Raises:
        SpecError: one line that names the field, its value and what is accepted.

    """

    __slots__ = ("_in_json",)  # the runs of a sweep share it, and each key has it

    name: str
    parameters: Annotated[
        dict[str, bool | int | float | str | None], BeforeValidator(_read_parameters)
    ] = {}

    def __init__(self, **settings: Any) -> None:  # of its own: type checkers would make another
        super().__init__(**settings)

    def build(self) -> Attack:
        """The attack itself."""
        return get_attack(self.name, **self.parameters)

    @property
    def in_json(self) -> str:
        """The attack in one way of writing."""
        known: str | None = getattr(self, "_in_json", None)
        if known is None:
            known = json.dumps(self.model_dump(mode="json"), sort_keys=True)
            object.__setattr__(self, "_in_json", known)
        return known

    def canonical(self) -> "AttackSpec":
        """The same attack with the parameters that differ from its defaults, as it takes them."""
        return AttackSpec(name=self.name, parameters=settings(self.build()))

    def __str__(self) -> str:
        return written(self.name, self.parameters)


def _read_attack(value: Any) -> Any:
    """`alie`, `alie(z=1.5)`, `{name: alie, z: 1.5}` and an `AttackSpec` all name an attack."""
    if isinstance(value, str):
        name, parameters = parse("attack", value)
        return {"name": name, "parameters": parameters}
    if isinstance(value, dict) and "parameters" not in value:
        parameters = {key: item for key, item in value.items() if key != "name"}
        return {"name": value.get("name"), "parameters": parameters}
    return value


def _literal(field: str, value: Any) -> Any:
    """Return a parameter as text can say it."""
    if isinstance(value, list | tuple):
        return type(value)(_literal(field, each) for each in value)
    if isinstance(value, dict):
        return {key: _literal(field, each) for key, each in value.items()}
    value = own(field, value)
    if not isinstance(value, bool | int | float | str | None):
        raise SpecError(
            f"{field}: {shown(value)} is not accepted: a number, text, or a truth value"
        )
    return value


def _read_named(value: Any) -> Any:
    """`krum(f=2)` and `{name: krum, f: 2}` both name a rule."""
    if isinstance(value, dict) and isinstance(name := own("name", value.get("name")), str):
        given = {key: _literal(f"{name}.{key}", value[key]) for key in value if key != "name"}
        return written(name, given)
    return value


class RunSpec(_Spec):
    """Settings of one training run. Field names are the field's own (b, C, B, ... in brackets).

    Raises:
        SpecError: one line that names the field, its value and what is accepted.

    """

    # Sweeps ask for keys again and again. No field holds it, so that no changed copy has it.
    __slots__ = ("_key",)

    model_config = ConfigDict(allow_inf_nan=False)

    dataset: Annotated[str, BeforeValidator(_read_named)] = "digits"
    data_dir: str | None = None
    """The folder of files; else that of PRIVROBUST_DATA. Not part of what the run is: `key`."""
    model: Annotated[str, BeforeValidator(_read_named)] = "logistic"
    """`mlp`, `mlp(hidden=[64, 32])`, `cnn_opacus`, ..., or `package.module:factory`."""
    loss: Annotated[str, BeforeValidator(_read_named)] = "cross_entropy"
    partition: Annotated[str, BeforeValidator(_read_named)] = "similarity"
    """How the training data is dealt: `dirichlet(alpha=0.1)`, `labels(k=2)`, `groups`, ..."""
    heterogeneity: Number = Field(0.0, ge=0, le=1)
    """Of partition `similarity`, the share sorted by label before it is dealt: 0 is iid."""
    honest: Whole = Field(10, ge=1, le=_MOST_WORKERS)
    """h; the training data is dealt to them. A spec may give `workers` = h + f instead."""
    byzantine: Whole = Field(0, ge=0, le=_MOST_WORKERS)
    """f"""
    attack: Annotated[AttackSpec | None, BeforeValidator(_read_attack)] = None
    aggregator: Annotated[str, BeforeValidator(_read_named)] = "median"
    """A rule, after pre-aggregators if any: `median`, `krum(f=2)`, `arc + nnm + trimmed_mean`."""
    noise: Annotated[str, BeforeValidator(_read_named)] = "gaussian"
    noise_scale: Number = Field(0.0, ge=0)
    """b, per worker, step and coordinate: standard deviation, or Laplace's scale parameter."""
    target_epsilon: PerhapsNumber = Field(None, gt=0)
    """In place of b: training takes the least b that spends no more (`privacy.calibrated`)."""
    clip_norm: PerhapsNumber = Field(None, gt=0)
    """C, the norm that each unit's gradient is clipped to (L2; L1 under Laplace noise)."""
    clipping: Literal["flat", "per_layer", "automatic"] = "flat"
    """How: the whole gradient, each layer to a share of C, or every gradient scaled to C."""
    grad_norm_bound: PerhapsNumber = Field(None, gt=0)
    """G, proven for that norm, instead of clipping; checked at every step."""
    unit: Literal["example", "worker"] = "example"
    """What privacy protects and clipping bounds: each example, or each worker's whole vector."""
    worker_sampling_rate: Number = Field(1.0, gt=0, le=1)
    """With unit `worker`: the probability that a worker takes part in a step."""
    batch_size: Number = Field(32.0, gt=0)
    """B, the divisor of a worker's sum; without a `sampling_rate` its expected batch size too."""
    sampling_rate: PerhapsNumber = Field(None, gt=0, le=1)
    """q, public and fixed in advance: how likely each example joins a batch. Else B / n_i."""
    steps: Whole = Field(300, ge=1, le=MOST_STEPS)
    """T"""
    learning_rate: Number = Field(0.5, gt=0)
    schedule: Annotated[str, BeforeValidator(_read_named)] = "constant"
    """What the learning rate is multiplied with: `cosine`, `linear(final=0.1)`, `drops`, ..."""
    warmup_steps: Whole = Field(0, ge=0)
    """Steps in which the learning rate rises in a straight line, before the schedule."""
    momentum: Number = Field(0.0, ge=0, lt=1)
    """Heavy-ball momentum at the server, on the aggregate."""
    worker_momentum: Number = Field(0.0, ge=0, lt=1)
    """beta of `m <- beta m + (1 - beta) g`: what workers send of their noisy gradients g."""
    weight_decay: Number = Field(0.0, ge=0)
    """Times the parameters, added to the aggregate."""
    seed: Whole = Field(0, ge=0, lt=2**63)
    delta: Number = Field(1e-5, gt=0, lt=1)
    accountant: str = "auto"
    """Which accountant turns b into epsilon; `auto` takes the tightest upper bound."""
    max_epsilon: PerhapsNumber = Field(None, gt=0)
    """Training ends before the step that would spend more."""
    evaluate_on: Literal["test", "validation"] = "test"
    evaluate_every: Whole = Field(10, ge=1, lt=2**63)
    """Steps between evaluations; the last step is always one."""
    final_evaluations: Whole = Field(3, ge=1, lt=2**63)
    """The reported accuracy and loss average this many last evaluations."""
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    """Where it runs; `auto` takes the GPU if there is one. Not part of what the run is: `key`."""

    def __init__(self, **settings: Any) -> None:  # of its own: type checkers would make another
        for field in _NAMING & settings.keys():
            refuse_unwanted(field, settings[field])
        super().__init__(**settings)

    @classmethod
    def restored(cls, settings: Mapping[str, Any]) -> "RunSpec":
        """The spec of a `model_dump`, with the b that was found for a `target_epsilon`."""
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
    def key(self) -> str:
        """A name for this run's result: equal specs have equal keys, on whatever device.

        A target says which b, so that a spec has one key before and after it is calibrated.
        """
        known: str | None = getattr(self, "_key", None)
        if known is None:
            known = key_of(self, in_key(self.__dict__))
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
    def dealt_by(self) -> Partition:
        """The partition of the training data."""
        if self.partition == "similarity":
            return Similarity(self.heterogeneity)
        return get_partition(self.partition)

    @field_validator("dataset")
    @classmethod
    def _known_dataset(cls, name: str) -> str:
        return canonical_dataset(name)

    @field_validator("model")
    @classmethod
    def _known_model(cls, name: str) -> str:
        return canonical_model(name)

    @field_validator("loss")
    @classmethod
    def _known_loss(cls, name: str) -> str:
        return canonical_loss(name)

    @field_validator("noise")
    @classmethod
    def _known_noise(cls, name: str) -> str:
        return canonical_noise_law(name)

    @field_validator("partition")
    @classmethod
    def _known_partition(cls, name: str) -> str:
        return canonical_partition(name)

    @field_validator("schedule")
    @classmethod
    def _known_schedule(cls, name: str) -> str:
        return canonical_schedule(name)

    @field_validator("aggregator")
    @classmethod
    def _known_aggregator(cls, name: str) -> str:
        get_aggregator(name)
        return canonical(name)

    @field_validator("accountant")
    @classmethod
    def _known_accountant(cls, name: str) -> str:
        if name != "auto":
            get_accountant(name)
        return name

    @model_validator(mode="after")
    def _consistent(self) -> "RunSpec":
        for field in ("noise_scale", "clip_norm", "grad_norm_bound"):
            value = getattr(self, field)
            if value and not SMALLEST <= value <= LARGEST:
                raise SpecError(
                    f"{field}: {value:g} is not accepted: {SMALLEST:g} to {LARGEST:g} (float32)"
                )
        if self.clip_norm is not None and self.grad_norm_bound is not None:
            raise SpecError(
                "clip_norm, grad_norm_bound: give one of them; a bound replaces clipping"
            )
        self._check_target()
        if self.clipping != "flat" and self.clip_norm is None:
            raise SpecError(f"clipping: {self.clipping} needs a clip_norm")
        if self.unit == "example" and self.worker_sampling_rate < 1:
            raise SpecError(
                f"worker_sampling_rate: {self.worker_sampling_rate:g} needs unit: worker; "
                "with unit: example every worker takes part in every step"
            )
        self._read_heterogeneity()
        if self.warmup_steps >= self.steps:
            raise SpecError(
                f"warmup_steps: {shown(self.warmup_steps)} of {self.steps} steps; accepted: fewer"
            )
        for step in (1, self.steps):
            rate(get_schedule(self.schedule), self.warmup_steps, step, self.steps)
        if self.byzantine and self.attack is None:
            raise SpecError(f"attack: needed when byzantine is {self.byzantine}")
        try:
            named = self.attack.canonical() if self.attack else None
        except SpecError as error:
            error.field = "attack"
            raise
        # equal runs get equal keys, so one without attackers has no attack
        object.__setattr__(self, "attack", named if self.byzantine else None)
        attack = str(self.attack) if self.attack else None
        _meet(self.aggregator, attack, self.honest, self.byzantine)
        return self

    def _check_target(self) -> None:
        """A target leaves b open, and nothing else."""
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
        """`similarity(heterogeneity=0.5)` is kept as the number, for equal keys."""
        if self.partition == "similarity":
            return
        named = get_partition(self.partition)
        if self.heterogeneity:
            raise SpecError(
                f"heterogeneity: {self.heterogeneity:g} with partition {self.partition}; "
                "accepted: one of them (heterogeneity is that of partition: similarity)"
            )
        if type(named) is Similarity:
            object.__setattr__(self, "heterogeneity", named.heterogeneity)
            object.__setattr__(self, "partition", "similarity")


# Fields that `RunSpec` checks against each other. A run is valid where each of these sets is, and
# every field that is in none of them.
TOGETHER = (
    ("noise_scale", "target_epsilon", "max_epsilon", "clip_norm", "grad_norm_bound", "clipping"),
    ("unit", "worker_sampling_rate"),
    ("partition", "heterogeneity"),
    ("steps", "warmup_steps", "schedule"),
    ("honest", "workers", "byzantine", "attack", "aggregator"),
)

_JSON: dict[type, Callable[[Any], str]] = {
    AttackSpec: lambda attack: attack.in_json,
    float: float.__repr__,
    int: int.__repr__,
    str: json.encoder.encode_basestring_ascii,
    type(None): lambda none: "null",
}
"""How a field's value is written in JSON."""


def in_key(fields: Mapping[str, Any]) -> dict[str, str]:
    """Write fields as a key has them: what json.dumps writes, for sweeps of 100,000 keys."""
    return {name: f'"{name}": {_JSON[type(value)](value)}' for name, value in fields.items()}


def key_of(run: RunSpec, written: Mapping[str, str]) -> str:
    """Return the key of a run whose fields are written so."""
    names = _IN_KEY if run.target_epsilon is None else _IN_KEY_OF_TARGET
    canonical = f"[{_RESULTS_VERSION}, {{{', '.join(map(written.__getitem__, names))}}}]"
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


_IN_KEY = sorted(RunSpec.model_fields.keys() - {"device", "data_dir"})
_IN_KEY_OF_TARGET = [name for name in _IN_KEY if name != "noise_scale"]


@lru_cache(maxsize=1024)
def _meet(aggregator: str, attack: str | None, honest: int, byzantine: int) -> None:
    """Refuse a rule or an attack that is not defined for so many workers."""
    rule = get_aggregator(aggregator, byzantine)
    rule.fits(honest + byzantine, byzantine)
    if attack is not None:
        name, parameters = parse("attack", attack)
        get_attack(name, **parameters).fits(rule, honest, byzantine)


def _refused(error: ValidationError, of: type[_Spec]) -> SpecError:
    """Make the error of the first problem that pydantic found."""
    problem = error.errors(include_url=False)[0]
    cause = problem.get("ctx", {}).get("error")
    made = SpecError(_one_line(error, of))
    made.field = getattr(cause, "field", None) or next(map(str, problem["loc"]), None)
    return made


def _one_line(error: ValidationError, of: type[_Spec]) -> str:
    """The first problem pydantic found, in one line: field, value, what is accepted."""
    problem = error.errors(include_url=False)[0]
    cause = problem.get("ctx", {}).get("error")
    if isinstance(cause, SpecError):
        return str(cause)
    path = ["attack"] * issubclass(of, AttackSpec) + [str(part) for part in problem["loc"]]
    field = shown(".".join(path)).strip("'")
    if problem["type"] == "extra_forbidden" and len(path) == 1:
        return str(unknown_name("field", field, [*RunSpec.model_fields, "workers"]))
    accepted = _TEXT if problem["type"] == "string_type" else problem["msg"]
    return f"{field}: {shown(problem['input'])} is not accepted: {accepted}"
