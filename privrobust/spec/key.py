"""Keys: names of runs' results, by which stores find them."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from privrobust.spec.attack import AttackSpec
from privrobust.spec.run_fields import named

# Part of every key: raise it when a change makes the same spec give other numbers.
_RESULTS_VERSION = 11

_IN_KEY = sorted(named(lambda field: field.is_in_key))
# A target says which b, so that a spec has one key before and after it is calibrated.
_IN_KEY_OF_TARGET = [name for name in _IN_KEY if name != "noise_scale"]

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


def key_of(target_epsilon: float | None, written: Mapping[str, str]) -> str:
    """Return the key of a run with that target, whose fields are `written` by `in_key`."""
    names = _IN_KEY if target_epsilon is None else _IN_KEY_OF_TARGET
    canonical = f"[{_RESULTS_VERSION}, {{{', '.join(map(written.__getitem__, names))}}}]"
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]
