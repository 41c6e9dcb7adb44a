"""Repeat and select: which runs the one is chosen from that a setting with `repeats` publishes.

They are what `privrobust.accountants.repeats` charges for: as many as the law of `repeats` gives,
each of a candidate drawn by itself, with batches, noise and starts of its own. All of it follows
from the seed, so that a sweep repeats; settings of equal seed and law draw equal candidates.

>>> rates = [{"learning_rate": 0.1}, {"learning_rate": 0.5}]
>>> repetitions("constant(count=3)", 0, rates)[1:]
[{'learning_rate': 0.5, 'repetition': 1}, {'learning_rate': 0.1, 'repetition': 2}]
>>> len(repetitions("poisson(mean=10)", 0, rates))
7
"""

import hashlib
from collections.abc import Sequence
from itertools import cycle, islice

from privrobust.accountants.repeats import Constant, get_repeats
from privrobust.errors import SpecError, shown
from privrobust.spec import RunSpec
from privrobust.spec.run_fields import named
from privrobust.sweeps.candidates import Tune
from privrobust.sweeps.run_maker import Settings

_BITS = 64
_CHARGED = {
    *named(lambda field: field.is_released),
    *("target_epsilon", "max_epsilon", "delta", "accountant"),
}
_OF_SIGMA = {"noise_scale", "clip_norm", "grad_norm_bound"}
"""What a target decides together: sigma is the same for all, whatever C is."""


def repetitions(repeats: str, seed: int, candidates: Sequence[Settings]) -> list[Settings]:
    """Return what each run has that one is chosen from: its candidate and its `repetition`.

    Of a constant number, whose cost does not depend on how candidates are picked, they are taken in
    turn.

    Args:
        repeats: the law of how many.
        seed: of the runs.
        candidates: what tuned fields may be.

    """
    law = get_repeats(repeats)
    count = law.at((_word(seed, "count") >> 11) * 2.0**-53)
    if isinstance(law, Constant):
        if count < len(candidates):
            raise SpecError(
                f"repeats: {repeats} of {len(candidates)} candidates leaves some out; accepted: a "
                f"count of {len(candidates)} or more"
            )
        drawn = list(islice(cycle(candidates), count))
    else:
        drawn = [
            candidates[_word(seed, "candidate", place) * len(candidates) >> _BITS]
            for place in range(count)
        ]
    return [candidate | {"repetition": place} for place, candidate in enumerate(drawn)]


def _word(*named: object) -> int:
    """Draw a whole number below 2^64 for a purpose."""
    return int.from_bytes(hashlib.shake_256(repr(named).encode()).digest(_BITS // 8))


def refuse_unlike(tune: Tune, settings: Settings, runs: Sequence[RunSpec]) -> None:
    """Refuse a choice that epsilon would not be that of.

    Args:
        tune: what is chosen, and how.
        settings: of the run that is published.
        runs: one of each candidate.

    Raises:
        SpecError: the choice is by other runs too, repetitions are given, or candidates cost
            differently.

    """
    repeats = runs[0].repeats
    for name, value in (("by", tune.by), ("seeds", tune.seeds)):
        if value is not None:
            raise SpecError(
                f"tune.{name}: {shown(value)} with repeats: {repeats}, by which each run is "
                f"the best of its own repetitions; accepted: tune without {name}"
            )
    if "repetition" in settings:
        raise SpecError(
            f"repetition: {shown(settings['repetition'])} with tune and repeats: {repeats}, "
            "which number repetitions; accepted: without"
        )
    for field, cost in _charged(runs[0]).items():
        for run in runs:
            if _charged(run)[field] != cost:
                raise SpecError(
                    f"tune: candidates of {field} {cost} and {_charged(run)[field]} with repeats: "
                    f"{repeats}; accepted: candidates that all cost the same, such as learning "
                    "rates, or with a target_epsilon clipping norms"
                )


def _charged(run: RunSpec) -> dict[str, object]:
    """Return what decides the cost of a run."""
    names = _CHARGED if run.target_epsilon is None else _CHARGED - _OF_SIGMA
    return {name: getattr(run, name) for name in sorted(names)} | {"message": run.message}
