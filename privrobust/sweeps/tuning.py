"""Choosing settings on the validation split: what to train for it, and which candidate is best.

A sweep's `tune` names fields and the values to choose from, for every run or in place of a value
that some have. One is chosen for each setting: for everything else that the sweep says (the method,
b, heterogeneity, ...) but the seed, the attack and the number of Byzantine workers, which nobody
knows beforehand. Nothing here sees the test split.

Runs with `repeats` are chosen one by one: each is the best, on the validation split, of a random
number of runs that are drawn for it (`privrobust.sweeps.repetitions`), and is tested as it is.

>>> from privrobust.sweeps.grid import Sweep
>>> tune = {"learning_rate": [0.1, 0.5], "seeds": [10]}
>>> sweep = Sweep.from_settings({"grid": {"aggregator": ["mean", "median"]}, "tune": tune})
>>> tried = candidates(sweep)
>>> [(run.aggregator, run.learning_rate, run.seed, run.evaluate_on) for run in tried][:2]
[('mean', 0.1, 10, 'validation'), ('mean', 0.5, 10, 'validation')]
>>> accuracy = {run.key: 1 - run.learning_rate for run in tried}
>>> [(run.aggregator, run.learning_rate, run.evaluate_on) for run in choose(sweep, accuracy)]
[('mean', 0.1, 'test'), ('median', 0.1, 'test')]
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import NamedTuple

from privrobust.core.numbers import Inexact, plain, shown
from privrobust.errors import SpecError
from privrobust.spec import RunSpec
from privrobust.spec.run_fields import named
from privrobust.sweeps.candidates import Tune
from privrobust.sweeps.grid import MOST_COMBINATIONS, Sweep
from privrobust.sweeps.repetitions import refuse_unlike, repetitions
from privrobust.sweeps.run_maker import RunMaker, Settings, distinct

_VALIDATED = {"evaluate_on": "validation"}
_WITHIN = set(named(lambda field: field.is_tuned_over))


@dataclass
class _Setting:
    """What one candidate is chosen for."""

    candidates: list[Settings]
    """Of the tuned fields; those that no exclusion takes from any of its combinations."""
    combinations: dict[int, Settings] = field(default_factory=dict)
    """By their place in the sweep."""


class _Choice(NamedTuple):
    """What is chosen once."""

    options: list[tuple[Settings, list[RunSpec]]]
    """What a run may get, and the runs that show how good that is."""
    combinations: dict[int, Settings]
    """Those that get it, by their place in the sweep."""

    def scores(self, accuracy: Mapping[str, float]) -> list[float]:
        """Score the options; -inf where a run failed."""
        return [_score(runs, accuracy) for _, runs in self.options]


def candidates(sweep: Sweep) -> list[RunSpec]:
    """Return every run to train, on the validation split, before `choose`.

    There are none if nothing is tuned.

    By `clean` they are all without Byzantine workers, whether or not the sweep has such runs.

    Raises:
        SpecError: a run is not valid, exclusions leave a setting no candidate, repeats make more
            runs than a grid may, or as `refuse_unlike`.

    """
    tune = sweep.tune
    if tune is None:
        return []
    choices = _choices(sweep, tune, RunMaker())
    return distinct(run for choice in choices for _, runs in choice.options for run in runs)


def choose(sweep: Sweep, accuracy: Mapping[str, float]) -> list[RunSpec]:
    """Return the runs of the sweep, each with the best candidate of its setting.

    By `clean`, that of the highest mean over seeds without Byzantine workers; by `worst`, that of
    the highest minimum, over f and the attack, of the mean over seeds; with `repeats`, that of the
    most accurate repetition, and that repetition itself. The first of equals. A run for which no
    repetition was drawn, as Poisson's law has it, is not published: it is left out.

    Args:
        sweep: what to run.
        accuracy: of `candidates`, by key, numbers of any type. A run that is missing or NaN
            failed, and a candidate that failed somewhere is worse than any that did not.

    Raises:
        SpecError: an accuracy is no number, no run is left, or as `candidates`.

    """
    tune = sweep.tune
    if tune is None:
        return sweep.runs()
    make, chosen = RunMaker(), dict[int, RunSpec]()
    for choice in _choices(sweep, tune, make):
        if not choice.options:
            continue
        scores = choice.scores(accuracy)
        best, _ = choice.options[scores.index(max(scores))]
        for place, settings in choice.combinations.items():
            chosen[place] = make(settings | best)
    if not chosen:
        raise SpecError("repeats: no repetition of any run was drawn; accepted: a larger mean")
    return distinct(chosen[place] for place in sorted(chosen))


def undecided(sweep: Sweep, accuracy: Mapping[str, float]) -> list[str]:
    """Say in words for which settings every candidate failed somewhere; see `choose`."""
    tune = sweep.tune
    if tune is None:
        return []
    return [
        ", ".join(
            f"{name}: {value}" for name, value in next(iter(of.combinations.values())).items()
        )
        for of in _choices(sweep, tune, RunMaker())
        if of.options and max(of.scores(accuracy)) == -math.inf
    ]


def _choices(sweep: Sweep, tune: Tune, make: RunMaker) -> Iterator[_Choice]:
    """Yield what there is to choose: for each setting, or with `repeats` for each run."""
    count = 0
    for setting in _settings(sweep, tune, make):
        candidates, combinations = setting.candidates, setting.combinations
        one = [make(next(iter(combinations.values())) | candidate) for candidate in candidates]
        if all(run.repeats is None for run in one):
            options = [(each, _runs(tune, setting, each, make)) for each in candidates]
            yield _Choice(options, combinations)
            continue
        for place, settings in combinations.items():
            runs = [make(settings | candidate) for candidate in candidates]
            refuse_unlike(tune, settings, runs)
            drawn = repetitions(str(runs[0].repeats), runs[0].seed, candidates)
            count += len(drawn)
            if count > MOST_COMBINATIONS:
                raise SpecError(f"repeats: more than {MOST_COMBINATIONS:,} runs; accepted: fewer")
            options = [(each, [make(settings | each | _VALIDATED)]) for each in drawn]
            yield _Choice(options, {place: settings})


def _settings(sweep: Sweep, tune: Tune, make: RunMaker) -> list[_Setting]:
    """Return the settings of a sweep for which something is chosen, in its order."""
    found: dict[str, _Setting] = {}
    for place, settings in enumerate(sweep.combinations()):
        allowed = sweep.candidates(settings)
        if not allowed:
            raise SpecError(f"exclude: leaves no candidate of tune for {settings}")
        setting = found.setdefault(
            _name(tune, settings, make(settings | allowed[0])), _Setting(allowed)
        )
        setting.combinations[place] = settings
        setting.candidates = [each for each in setting.candidates if each in allowed]
        if not setting.candidates:
            raise SpecError(f"exclude: leaves no candidate of tune for all runs like {settings}")
    return list(found.values())


def _name(tune: Tune, settings: Settings, spec: RunSpec) -> str:
    """Write what combinations of one setting share. Where the sweep fixes n, h follows from f."""
    tuned = tune.named(settings)
    shared = spec.model_dump(mode="json", exclude=_WITHIN | set(tuned))
    shared |= {f"{name}, as written": str(settings[name]) for name in tuned if name in settings}
    if "workers" in settings:
        shared["honest"] = f"{spec.workers} less f"
    return json.dumps(shared, sort_keys=True)


def _runs(tune: Tune, setting: _Setting, candidate: Settings, make: RunMaker) -> list[RunSpec]:
    """Return the runs that show how good a candidate is."""
    without = {"byzantine": 0, "attack": None} if tune.by != "worst" else {}
    seeds: list[Settings] = [{"seed": seed} for seed in tune.seeds or ()] or [{}]
    return distinct(
        make(settings | candidate | without | seed | _VALIDATED)
        for settings in setting.combinations.values()
        for seed in seeds
    )


def _score(runs: list[RunSpec], accuracy: Mapping[str, float]) -> float:
    """Return the least mean over seeds; -inf where a run failed."""
    accuracies: dict[tuple[int, str], list[float]] = {}
    for run in runs:
        value = _accuracy(accuracy.get(run.key, math.nan))
        accuracies.setdefault((run.byzantine, str(run.attack)), []).append(value)
    means = [fmean(values) for values in accuracies.values()]
    return -math.inf if any(map(math.isnan, means)) else min(means)


def _accuracy(value: object) -> float:
    try:
        return float(plain(value))
    except (TypeError, ArithmeticError, Inexact):
        raise SpecError(f"accuracy: {shown(value)} is not a number, or NaN") from None
