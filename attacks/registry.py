"""Attacks by name."""

import inspect
from typing import Any

from privrobust.attacks.alie import ALIE
from privrobust.attacks.large_value import LargeValue
from privrobust.attacks.protocol import Attack
from privrobust.attacks.sign_flip import SignFlip
from privrobust.errors import SpecError, unknown_name

_ATTACKS: dict[str, type[Attack]] = {
    "alie": ALIE,
    "large_value": LargeValue,
    "sign_flip": SignFlip,
}


def available_attacks() -> list[str]:
    """Names that a spec may use."""
    return sorted(_ATTACKS)


def get_attack(name: str, **parameters: Any) -> Attack:
    """The attack of that name, with the given constructor parameters.

    Raises:
        SpecError: no attack has that name, or it has no such parameter.

    """
    if name not in _ATTACKS:
        raise unknown_name("attack", name, _ATTACKS)
    known = list(inspect.signature(_ATTACKS[name]).parameters)
    for parameter in parameters:
        if parameter not in known:
            raise SpecError(
                f"attack: {name} has no parameter {parameter!r} (it takes: {', '.join(known)})"
            )
    return _ATTACKS[name](**parameters)
