"""Attacks by name."""

from typing import Any

from privrobust.attacks.alie import ALIE, NoiseAwareALIE
from privrobust.attacks.backdoor import Backdoor, EdgeCase
from privrobust.attacks.base import Attack
from privrobust.attacks.camouflage import Camouflage
from privrobust.attacks.drift import Drift
from privrobust.attacks.extremes import MedianExtreme, VoteExtreme
from privrobust.attacks.faults import Gaussian, Infinity, NotANumber, Zero
from privrobust.attacks.inner_product import InnerProduct
from privrobust.attacks.label_poisoning import LabelFlip, LabelShift
from privrobust.attacks.large_value import LargeValue
from privrobust.attacks.line_search import LineSearch
from privrobust.attacks.mimic import Mimic
from privrobust.attacks.min_max import MinMax, MinSum
from privrobust.attacks.replay import Replay
from privrobust.attacks.sign_flip import OwnSignFlip, SignFlip
from privrobust.core.plugins import Own
from privrobust.core.registry import Entry, Registry
from privrobust.errors import SpecError

_BUILT_IN: dict[str, type[Attack]] = {
    "alie": ALIE,
    "backdoor": Backdoor,
    "camouflage": Camouflage,
    "drift": Drift,
    "edge_case": EdgeCase,
    "gaussian": Gaussian,
    "infinity": Infinity,
    "inner_product": InnerProduct,
    "label_flip": LabelFlip,
    "label_shift": LabelShift,
    "large_value": LargeValue,
    "line_search": LineSearch,
    "median_extreme": MedianExtreme,
    "mimic": Mimic,
    "min_max": MinMax,
    "min_sum": MinSum,
    "nan": NotANumber,
    "noise_aware_alie": NoiseAwareALIE,
    "own_sign_flip": OwnSignFlip,
    "replay": Replay,
    "sign_flip": SignFlip,
    "vote_extreme": VoteExtreme,
    "zero": Zero,
}
ATTACKS = Registry(
    "attack", _BUILT_IN, Own((Attack,), "a class that derives from privrobust.attacks.Attack")
)


def available_attacks() -> list[str]:
    """Return the names that a spec may use."""
    return ATTACKS.available()


def register_attack(name: str, attack: type[Attack]) -> None:
    """Let specs name an attack; an earlier one of your own of that name is replaced.

    Results are kept by name: give changed code a new one.

    Raises:
        SpecError: the name is one of ours, or none that a spec can write; or it is no attack's
            class.

    """
    ATTACKS.register(name, attack)


def get_attack(name: str, **parameters: Any) -> Attack:
    """Make the attack of that name, with the given constructor parameters.

    Args:
        name: a registered name, or `package.module:Class`, a class that derives from `Attack`.
        **parameters: of its constructor.

    Raises:
        SpecError: no attack has that name, or it has no such parameter, or refuses its value.

    """
    made: Attack = ATTACKS.make(name, parameters)
    if made.sees not in ("honest", "own", "nothing"):
        raise SpecError(f"attack: {name} sees {made.sees!r}; accepted: 'honest', 'own', 'nothing'")
    return made


def list_attacks() -> list[Entry]:
    """Describe every attack, as `privrobust list attacks` shows them."""
    knowledge = {
        "honest": "sees every honest message",
        "own": "sees its own data",
        "nothing": "sees nothing",
    }
    return [ATTACKS.entry(name, knowledge[ATTACKS[name].sees]) for name in available_attacks()]
