"""The fields of a run: type, default, bounds and meaning of each, written here and nowhere else."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from privrobust.accountants import get_accountant
from privrobust.accountants.release import MOST_STEPS
from privrobust.accountants.repeats import canonical_repeats
from privrobust.aggregators import canonical, get_aggregator
from privrobust.data import canonical_dataset
from privrobust.data.partitions import canonical_partition
from privrobust.errors import SpecError, shown
from privrobust.gradients.losses import canonical_loss
from privrobust.models import canonical_model
from privrobust.noise.laws import canonical_noise_law
from privrobust.schedules import canonical_schedule
from privrobust.spec.attack import AttackSpec, read_attack
from privrobust.spec.field_meaning import Meaning, Role
from privrobust.spec.record import Record
from privrobust.spec.values import (
    Named,
    Number,
    PerhapsNamed,
    PerhapsNumber,
    PerhapsWhole,
    Whole,
)

_MOST_WORKERS = 10_000


def _known_aggregator(name: str) -> str:
    get_aggregator(name)
    return canonical(name)


def _known_accountant(name: str) -> str:
    if name != "auto":
        get_accountant(name)
    return name


def _known_device(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name, re.ASCII):
        raise SpecError(f"device: {shown(name)} is not accepted: auto, cpu, cuda or cuda:1")
    return name


class RunFields(Record):
    """The fields of a run, each by itself; `RunSpec` checks them against each other.

    Names are the field's own (b, C, B, ... in brackets). Units: norms and b in those of a message,
    rates and shares from 0 to 1; counts are whole.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    _stand_ins: ClassVar[tuple[str, ...]] = ("workers",)

    dataset: Annotated[
        Named,
        AfterValidator(canonical_dataset),
        Meaning(Role.DATA, names_own=True, is_released=True),
    ] = "digits"
    """`mnist`, `table(path='scans.csv', label='finding')`, ..., or `package.module:name`."""
    data_dir: Annotated[str | None, Meaning(Role.PLACE)] = None
    """The folder of files; else that of PRIVROBUST_DATA. Not part of what the run is: `key`."""
    model: Annotated[Named, AfterValidator(canonical_model), Meaning(Role.TASK, names_own=True)] = (
        "logistic"
    )
    """`mlp`, `mlp(hidden=[64, 32])`, `cnn_opacus`, ..., or `package.module:factory`."""
    loss: Annotated[Named, AfterValidator(canonical_loss), Meaning(Role.TASK, names_own=True)] = (
        "cross_entropy"
    )
    """What a score for each class costs."""
    partition: Annotated[
        Named,
        AfterValidator(canonical_partition),
        Meaning(Role.DATA, rows="never", checked_with="partition", per_lane=True, names_own=True),
    ] = "similarity"
    """How the training data is dealt: `dirichlet(alpha=0.1)`, `labels(k=2)`, `groups`, ..."""
    heterogeneity: Annotated[
        Number,
        Meaning(
            Role.DATA,
            rows="always",
            checked_with="partition",
            per_lane=True,
        ),
    ] = Field(0.0, ge=0, le=1)
    """Of partition `similarity`, the share sorted by label before it is dealt: 0 is iid."""
    honest: Annotated[Whole, Meaning(Role.DATA, checked_with="workers", is_released=True)] = Field(
        10, ge=1, le=_MOST_WORKERS
    )
    """h; the training data is dealt to them. A spec may give `workers` = h + f instead."""
    byzantine: Annotated[
        Whole,
        Meaning(Role.ADVERSARY, symbol="f", rows="never", checked_with="workers", per_lane=True),
    ] = Field(0, ge=0, le=_MOST_WORKERS)
    """f, beside the honest ones."""
    attack: Annotated[
        AttackSpec | None,
        BeforeValidator(read_attack),
        Meaning(
            Role.ADVERSARY, rows="never", checked_with="workers", per_lane=True, names_own=True
        ),
    ] = None
    """What Byzantine workers send: `alie`, `{name: alie, z: 1.5}`, ...; none without any."""
    aggregator: Annotated[
        Named,
        AfterValidator(_known_aggregator),
        Meaning(
            Role.METHOD,
            symbol="method",
            rows="always",
            checked_with="workers",
            per_lane=True,
            names_own=True,
        ),
    ] = "median"
    """A rule, after pre-aggregators if any: `median`, `krum(f=2)`, `arc + nnm + trimmed_mean`."""
    noise: Annotated[
        Named,
        AfterValidator(canonical_noise_law),
        Meaning(Role.BUDGET, rows="told", checked_with="budget", names_own=True, is_released=True),
    ] = "gaussian"
    """The law of the noise that honest workers add: `gaussian`, `laplace`, `logistic`, your own."""
    noise_scale: Annotated[
        Number,
        Meaning(
            Role.BUDGET,
            symbol="b",
            rows="always",
            checked_with="budget",
            per_lane=True,
            is_float32=True,
            is_released=True,
        ),
    ] = Field(0.0, ge=0)
    """b, per worker, step and coordinate: standard deviation; of other laws, their parameter."""
    pairwise_noise: Annotated[
        PerhapsNumber,
        Meaning(Role.BUDGET, rows="told", checked_with="budget", per_lane=True, is_released=True),
    ] = Field(None, gt=0, le=1e6)
    """r: every pair of workers shares Gaussian noise of std r b, which cancels in their sum."""
    colluding: Annotated[
        PerhapsWhole,
        Meaning(Role.TASK, rows="told", checked_with="workers", per_lane=True, is_released=True),
    ] = Field(None, ge=0, le=_MOST_WORKERS)
    """Workers that tell the observer their pairs' noise, Byzantine ones included; by default f."""
    target_epsilon: Annotated[
        PerhapsNumber, Meaning(Role.BUDGET, checked_with="budget", per_lane=True)
    ] = Field(None, gt=0)
    """In place of b: training takes the least b that spends no more (`PrivacyPlan.spec`)."""
    clip_norm: Annotated[
        PerhapsNumber,
        Meaning(
            Role.BUDGET,
            symbol="C",
            checked_with="budget",
            per_lane=True,
            is_float32=True,
            is_released=True,
        ),
    ] = Field(None, gt=0)
    """C, the norm that each unit's gradient is clipped to (L2; L1 under Laplace noise)."""
    clipping: Annotated[
        Literal["flat", "per_layer", "automatic"], Meaning(Role.BUDGET, checked_with="budget")
    ] = "flat"
    """How: the whole gradient, each layer to a share of C, or every gradient scaled to C."""
    grad_norm_bound: Annotated[
        PerhapsNumber,
        Meaning(
            Role.BUDGET, checked_with="budget", per_lane=True, is_float32=True, is_released=True
        ),
    ] = Field(None, gt=0)
    """G, proven for that norm, instead of clipping; checked at every step."""
    unit: Annotated[
        Literal["example", "worker"],
        Meaning(Role.TASK, rows="told", checked_with="participation", is_released=True),
    ] = "example"
    """What privacy protects and clipping bounds: each example, or each worker's whole vector."""
    worker_sampling_rate: Annotated[
        Number, Meaning(Role.TASK, checked_with="participation", is_released=True)
    ] = Field(1.0, gt=0, le=1)
    """With unit `worker`: the probability that a worker takes part in a step."""
    sampling: Annotated[
        Literal["poisson", "shuffled", "fixed", "balls_in_bins"],
        Meaning(Role.TASK, rows="told", checked_with="batches", is_released=True),
    ] = "poisson"
    """How batches are drawn: by coins, an epoch's order, B of n, or a step an epoch for each."""
    batch_size: Annotated[
        Number, Meaning(Role.TASK, symbol="B", checked_with="batches", is_released=True)
    ] = Field(32.0, gt=0)
    """B, the divisor of a worker's sum; without a `sampling_rate` its expected batch size too."""
    sampling_rate: Annotated[
        PerhapsNumber, Meaning(Role.TASK, symbol="q", checked_with="batches", is_released=True)
    ] = Field(None, gt=0, le=1)
    """q, public and fixed in advance: how likely each example joins a batch. Else B / n_i."""
    steps: Annotated[
        Whole, Meaning(Role.TASK, symbol="T", checked_with="steps", is_released=True)
    ] = Field(300, ge=1, le=MOST_STEPS)
    """T, the messages that each worker sends."""
    local_steps: Annotated[
        Whole, Meaning(Role.METHOD, rows="told", checked_with="steps", is_released=True)
    ] = Field(1, ge=1, le=MOST_STEPS)
    """Steps that a worker takes by itself before it sends the sum of their gradients."""
    local_learning_rate: Annotated[
        PerhapsNumber, Meaning(Role.DESCENT, checked_with="steps", per_lane=True)
    ] = Field(None, gt=0)
    """How far each of them goes, before `schedule`; else as far as `learning_rate`."""
    learning_rate: Annotated[Number, Meaning(Role.DESCENT, per_lane=True)] = Field(0.5, gt=0)
    """How far a step goes along the aggregate, before `schedule`."""
    schedule: Annotated[
        Named,
        AfterValidator(canonical_schedule),
        Meaning(Role.DESCENT, checked_with="steps", per_lane=True, names_own=True),
    ] = "constant"
    """What the learning rate is multiplied with: `cosine`, `linear(final=0.1)`, `drops`, ..."""
    warmup_steps: Annotated[Whole, Meaning(Role.DESCENT, checked_with="steps", per_lane=True)] = (
        Field(0, ge=0)
    )
    """Steps in which the learning rate rises in a straight line, before the schedule."""
    momentum: Annotated[Number, Meaning(Role.DESCENT, per_lane=True)] = Field(0.0, ge=0, lt=1)
    """Heavy-ball momentum at the server, on the aggregate."""
    worker_momentum: Annotated[Number, Meaning(Role.METHOD, per_lane=True)] = Field(0.0, ge=0, lt=1)
    """beta of `m <- beta m + (1 - beta) g`: what workers send of their noisy gradients g."""
    weight_decay: Annotated[Number, Meaning(Role.DESCENT, per_lane=True)] = Field(0.0, ge=0)
    """Times the parameters, added to the aggregate."""
    seed: Annotated[Whole, Meaning(Role.SEED, rows="never", per_lane=True)] = Field(
        0, ge=0, lt=2**63
    )
    """Of all that is drawn: starts, shares, batches, noise, attacks."""
    repetition: Annotated[Whole, Meaning(Role.SEED, rows="never", per_lane=True)] = Field(
        0, ge=0, lt=2**63
    )
    """Which run of this seed: the shares are the same, all else that is drawn is drawn anew."""
    repeats: Annotated[
        PerhapsNamed,
        AfterValidator(canonical_repeats),
        Meaning(Role.BUDGET, rows="told", per_lane=True, is_released=True),
    ] = None
    """The law of how many runs this one is the best of, which epsilon then counts:
    `poisson(mean=10)`, `negative_binomial(mean=10)`, `constant(count=5)`. None: tuning, if any,
    is not counted. A sweep's `tune` draws them, and chooses."""
    delta: Annotated[Number, Meaning(Role.BUDGET, per_lane=True, is_released=True)] = Field(
        1e-5, gt=0, lt=1
    )
    """Of the guarantee, (epsilon, delta)-differential privacy."""
    accountant: Annotated[
        str,
        AfterValidator(_known_accountant),
        Meaning(Role.BUDGET, per_lane=True, names_own=True),
    ] = "auto"
    """Which accountant turns b into epsilon; `auto` takes the tightest upper bound."""
    max_epsilon: Annotated[
        PerhapsNumber, Meaning(Role.BUDGET, checked_with="budget", per_lane=True)
    ] = Field(None, gt=0)
    """Training ends before the step that would spend more."""
    evaluate_on: Annotated[Literal["test", "validation"], Meaning(Role.SPLIT)] = "test"
    """The split that results are of; `validation` is for choices, which `test` must not see."""
    evaluate_every: Annotated[Whole, Meaning(Role.EVALUATION)] = Field(10, ge=1, lt=2**63)
    """Steps between evaluations; the last step is always one."""
    final_evaluations: Annotated[Whole, Meaning(Role.EVALUATION, per_lane=True)] = Field(
        3, ge=1, lt=2**63
    )
    """The reported accuracy and loss average this many last evaluations."""
    device: Annotated[str, AfterValidator(_known_device), Meaning(Role.PLACE)] = "auto"
    """Where it runs; `auto` takes the GPU if there is one. Not part of what the run is: `key`."""

    def __init__(self, **settings: Any) -> None:  # of its own: type checkers would make another
        super().__init__(**settings)


def meanings(of: type[BaseModel]) -> dict[str, Meaning]:
    """Return the meaning of every field.

    Raises:
        TypeError: a field has none.

    """
    found = {}
    for name, field in of.model_fields.items():
        stated = [each for each in field.metadata if isinstance(each, Meaning)]
        if len(stated) != 1:
            raise TypeError(
                f"{of.__name__}.{name}: Annotated[..., Meaning(Role...)] says what it is"
            )
        found[name] = stated[0]
    return found


FIELDS = meanings(RunFields)
"""The meaning of every field of a run, in their order."""

SETTINGS = FIELDS | {"workers": replace(FIELDS["honest"], symbol="n")}
"""That of everything that a spec may be given: `workers` stands in for `honest`."""


def named(is_one: Callable[[Meaning], bool]) -> list[str]:
    """Return the names of the fields of which that holds, in their order."""
    return [name for name, meaning in FIELDS.items() if is_one(meaning)]


def heading(name: str) -> str:
    """Return the heading of a field's column in a table.

    Columns that every table has go by their symbol, the others by the name that a spec gives them.
    """
    is_usual = name in SETTINGS and SETTINGS[name].rows == "always"
    return symbol(name) if is_usual else name


def symbol(name: str) -> str:
    """Return what figures and reports write for a field: the symbol that their texts explain."""
    return (name in SETTINGS and SETTINGS[name].symbol) or name
