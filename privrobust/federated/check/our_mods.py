"""Our own noise in a Flower app, in source that is only read.

`private_updates(UpdatePrivacy(...))` among a client's mods, `PrivateWorker(...)` in its training.
"""

import ast
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from privrobust.accountants.release import Message
from privrobust.federated.check.claims import Claim, OurExamples, OurUpdates, Unread
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


def our_noise(
    calls: Sequence[Call], source: Source, known: Known, rounds: int | None
) -> Iterator[Claim]:
    """Yield what clients send by our mod, or by our worker."""
    ours = [call for call in calls if call.name.startswith("privrobust.")]
    yield from _updates(
        [each for each in ours if _is(each, "private_updates")], calls, source, known, rounds
    )
    steps = [each for each in ours if _is(each, "private_gradient")]
    for call in ours:
        if _is(call, "PrivateWorker"):
            yield _examples(call, steps, source, known, rounds)


def _is(call: Call, name: str) -> bool:
    return call.name.rpartition(".")[2] == name


def _examples(
    call: Call, steps: Sequence[Call], source: Source, known: Known, rounds: int | None
) -> Claim:
    if call.arguments() is None:
        return Unread(
            where=call.where,
            what="PrivateWorker",
            claim="what its ledger says",
            question="its settings come by **, which is not read: its ledger says what it spent",
        )
    given: dict[str, Any] = _DEFAULTS | {"sampling_rate": None} | source.given(call)
    each = source.given(steps[0]).get("local_steps", 1) if len(steps) == 1 else None

    def number(name: str, argument: str) -> float | None:
        return known.number(name, given.get(argument), by_name=False)

    return OurExamples(
        where=call.where,
        what="PrivateWorker",
        clip_norm=number("clipping_norm", "clip_norm"),
        noise_scale=number("noise_scale", "noise_scale"),
        batch_size=number("batch_size", "batch_size"),
        sampling_rate=number("sampling_rate", "sampling_rate"),
        is_sampled_by_size=given["sampling_rate"] is None,
        dataset_size=known.whole("dataset_size"),
        noise=_text(given["noise"]),
        message=_message(given["message"]),
        delta=number("delta", "delta"),
        local_steps=known.whole("local_steps", each, by_name=False),
        rounds=rounds,
    )


def _updates(
    mods: Sequence[Call],
    calls: Sequence[Call],
    source: Source,
    known: Known,
    rounds: int | None,
) -> Iterator[OurUpdates]:
    for call in mods:
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
