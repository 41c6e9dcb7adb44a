"""An attack as runs name it: `AttackSpec`."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from privrobust.attacks import Attack, get_attack
from privrobust.core.parameters import parse, settings, written
from privrobust.spec.record import Record
from privrobust.spec.values import scalar


def _read_parameters(given: Any) -> Any:
    """Read an attack's parameters; numbers become Python's own."""
    if not isinstance(given, Mapping):
        return given
    return {name: scalar(f"attack.{name}", value) for name, value in given.items()}


class AttackSpec(Record):
    """An attack's name and the constructor parameters that a spec gives it.

    Raises:
        SpecError: one line that names the field, its value and what is accepted.

    """

    __slots__ = ("_in_json",)  # the runs of a sweep share it, and each key has it

    _place: ClassVar[tuple[str, ...]] = ("attack",)

    name: str
    parameters: Annotated[
        dict[str, bool | int | float | str | None], BeforeValidator(_read_parameters)
    ] = Field(default_factory=dict)

    def __init__(self, **settings: Any) -> None:  # of its own: type checkers would make another
        super().__init__(**settings)

    def build(self) -> Attack:
        """Build the attack itself."""
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
        """Return the same attack with the parameters that differ from its defaults, as it has them.

        Equal attacks are equal then, however they were given.
        """
        return AttackSpec(name=self.name, parameters=settings(self.build()))

    def __str__(self) -> str:
        return written(self.name, self.parameters)


def read_attack(value: Any) -> Any:
    """Read `alie`, `alie(z=1.5)`, `{name: alie, z: 1.5}` or an `AttackSpec`."""
    if isinstance(value, str):
        name, parameters = parse("attack", value)
        return {"name": name, "parameters": parameters}
    if isinstance(value, dict) and "parameters" not in value:
        parameters = {key: item for key, item in value.items() if key != "name"}
        return {"name": value.get("name"), "parameters": parameters}
    return value
