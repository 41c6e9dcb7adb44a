"""Our mod in a Flower app, in source that is only read: `private_updates(UpdatePrivacy(...))`."""

import ast
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from privrobust.accountants.release import Message
from privrobust.federated.check.claims import OurUpdates
from privrobust.federated.check.mods import is_among_mods
from privrobust.federated.check.settings import Known
from privrobust.federated.check.source import Call, Source

_PRIVACY = ("clip_norm", "noise_scale", "noise", "message", "participation", "delta")
_DEFAULTS: dict[str, object] = {
    "noise": "gaussian",
    "message": "vector",
    "participation": 1.0,
    "delta": 1e-5,
}


def our_updates(
    calls: Sequence[Call], source: Source, known: Known, rounds: int | None
) -> Iterator[OurUpdates]:
    """Yield what clients send by our mod."""
    for call in calls:
        if not (call.name.startswith("privrobust.") and call.name.endswith(".private_updates")):
            continue
        given: dict[str, Any] = {}
        privacy = (call.arguments(("privacy",)) or {}).get("privacy")
        if privacy is not None:
            made, home = source.resolved(privacy, call.module)
            full = (isinstance(made, ast.Call) and home.dotted(made.func)) or ""
            if isinstance(made, ast.Call) and full.endswith(".UpdatePrivacy"):
                given = _DEFAULTS | source.given(Call(full, made, home), _PRIVACY)
        yield OurUpdates(
            where=call.where,
            what="private_updates",
            clip_norm=known.number("clipping_norm", given.get("clip_norm"), by_name=False),
            noise_scale=known.number("noise_scale", given.get("noise_scale"), by_name=False),
            noise=_text(given.get("noise")),
            message=_message(given.get("message")),
            participation=known.number("participation", given.get("participation"), by_name=False),
            delta=known.number("delta", given.get("delta"), by_name=False),
            rounds=rounds,
            is_used=known.truth("clips", is_among_mods(calls, source, "private_updates")),
        )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _message(value: object) -> Message | None:
    return next((each for each in get_args(Message) if each == value), None)
