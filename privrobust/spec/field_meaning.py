"""What the suite knows about a field of a run, beside its type and bounds."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal


class Role(Enum):
    """What a field decides about a run, and so how runs that differ in it are treated."""

    DATA = auto()
    """Which examples the workers hold."""
    PLACE = auto()
    """Where files lie and where the run trains: nothing of what it is."""
    TASK = auto()
    """What is learnt, how often the data is looked at, and who is protected."""
    ADVERSARY = auto()
    """What Byzantine workers do, which nobody knows beforehand."""
    METHOD = auto()
    """Which messages are sent, and how the server combines them."""
    DESCENT = auto()
    """How far steps go, and what the server does with the aggregate: nothing that is accounted."""
    BUDGET = auto()
    """How much privacy is spent: noise, sensitivity, and how that is accounted for."""
    SPLIT = auto()
    """Which examples results are of: those to tune by, or those to test on."""
    EVALUATION = auto()
    """When results are taken."""
    SEED = auto()
    """Which repetition it is."""


_COMPARED = {Role.METHOD, Role.DESCENT, Role.BUDGET}
_AFTER_NOISE = {Role.ADVERSARY, Role.DESCENT, Role.SPLIT, Role.EVALUATION}
_UNDECIDED = {Role.PLACE, Role.ADVERSARY, Role.SPLIT, Role.SEED}


@dataclass(frozen=True)
class Meaning:
    """What a field means to those who check, train, tune, account for and print runs.

    It stands in the annotation of every field of `privrobust.spec.run_fields.RunFields`. What is
    left out is the safe choice: runs that differ in a new field are never lanes of one batch.
    """

    role: Role
    symbol: str = ""
    """The letter or word that figures and reports write for it, which their texts explain."""
    rows: Literal["always", "told", "varied", "never"] = "varied"
    """Whether it tells rows of tables apart: always, where it varies, or never.

    Of what is "told" wherever it varies no row's epsilon can be understood without it; the others
    have no column where those before them decide them. What never does is averaged over, spread
    over columns, or told by another field.
    """
    checked_with: str = ""
    """The group of fields that `RunSpec` checks against each other; else it is valid by itself.

    Sweeps of many runs check each combination of a group once: a check across groups is missed.
    """
    per_lane: bool = False
    """Whether runs of several values train side by side, each lane with its own."""
    names_own: bool = False
    """Whether it may name a user's own: what is registered, or `package.module:name`.

    The one has to reach other processes, the other is an import, which strangers may not cause.
    """
    is_float32: bool = False
    """Whether training computes with it in float32, beside the accountant in float64."""
    is_released: bool = False
    """Whether an accountant, which sees no data, is told its value or what follows from it."""

    @property
    def is_in_key(self) -> bool:
        """Whether runs that differ in it are different runs."""
        return self.role is not Role.PLACE

    @property
    def is_compared(self) -> bool:
        """Whether tables hold its values against each other, the best one marked."""
        return self.role in _COMPARED

    @property
    def is_after_noise(self) -> bool:
        """Whether it leaves the budget as it is: it is about what is done with noisy vectors."""
        return self.role in _AFTER_NOISE

    @property
    def is_tuned_over(self) -> bool:
        """Whether one choice of tuned fields holds for all its values."""
        return self.role in _UNDECIDED

    @property
    def may_be_tuned(self) -> bool:
        """Whether an accuracy may choose it; the others say what is compared and how."""
        return self.role is not Role.DATA and self.role not in _UNDECIDED
