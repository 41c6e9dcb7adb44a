"""Choosing settings on the validation split: what to train for it, and which candidate is best.

A sweep's `tune` names fields and the values to choose from. One is chosen for each setting: for
everything else that the sweep says (the method, b, heterogeneity, ...) but the seed, the attack and
the number of Byzantine workers, which nobody knows beforehand. Nothing here sees the test split.

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
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean

from privrobust.core.numbers import Inexact, plain, shown
from privrobust.errors import SpecError
from privrobust.spec import RunSpec
from privrobust.spec.run_fields import named
from privrobust.sweeps.grid import Sweep, Tune
from privrobust.sweeps.run_maker import RunMaker, Settings, distinct

_WITHIN = set(named(lambda field: field.is_tuned_over))


@dataclass
class _Setting:
    """What one candidate is chosen for."""

    candidates: list[Settings]
    """Of the tuned fields; those that no exclusion takes from any of its combinations."""
    combinations: dict[int, Settings] = field(default_factory=dict)
    """By their place in the sweep."""


def candidates(sweep: Sweep) -> list[RunSpec]:
    """Return every run to train, on the validation split, before `choose`.

    There are none if nothing is tuned.

    By `clean` they are all without Byzantine workers, whether or not the sweep has such runs.

    Raises:
        SpecError: a run is not valid, or exclusions leave a setting no candidate.

    """
    tune = sweep.tune
    if tune is None:
        return []
    make = RunMaker()
    return distinct(
        run
        for setting in _settings(sweep, tune, make)
        for candidate in setting.candidates
        for run in _runs(tune, setting, candidate, make)
    )


def choose(sweep: Sweep, accuracy: Mapping[str, float]) -> list[RunSpec]:
    """Return the runs of the sweep, each with the best candidate of its setting.

    By `clean`, that of the highest mean over seeds without Byzantine workers; by `worst`, that of
    the highest minimum, over f and the attack, of the mean over seeds. The first of equals.

    Args:
        sweep: what to run.
        accuracy: of `candidates`, by key, numbers of any type. A run that is missing or NaN
            failed, and a candidate that failed somewhere is worse than any that did not.

    Raises:
        SpecError: an accuracy is no number, or as `candidates`.

    """
    tune = sweep.tune
    if tune is None:
        return sweep.runs()
    make, chosen = RunMaker(), dict[int, RunSpec]()
    for setting in _settings(sweep, tune, make):
        scores = [_score(_runs(tune, setting, each, make), accuracy) for each in setting.candidates]
        best = setting.candidates[scores.index(max(scores))]
        for place, settings in setting.combinations.items():
            chosen[place] = make(settings | best)
    return distinct(chosen[place] for place in sorted(chosen))


def undecided(sweep: Sweep, accuracy: Mapping[str, float]) -> list[str]:
    """Say in words for which settings every candidate failed somewhere; see `choose`."""
    tune = sweep.tune
    if tune is None:
        return []
    make = RunMaker()
    return [
        ", ".join(
            f"{name}: {value}" for name, value in next(iter(of.combinations.values())).items()
        )
        for of in _settings(sweep, tune, make)
        if all(_score(_runs(tune, of, each, make), accuracy) == -math.inf for each in of.candidates)
    ]


def _settings(sweep: Sweep, tune: Tune, make: RunMaker) -> list[_Setting]:
    """Return the settings of a sweep for which something is chosen, in its order."""
    found: dict[str, _Setting] = {}
    for place, settings in enumerate(sweep.combinations()):
        allowed = [each for each in tune.candidates if not sweep.excludes(settings | each)]
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
    shared = spec.model_dump(mode="json", exclude=_WITHIN | set(tune.fields))
    if "workers" in settings:
        shared["honest"] = f"{spec.workers} less f"
    return json.dumps(shared, sort_keys=True)


def _runs(tune: Tune, setting: _Setting, candidate: Settings, make: RunMaker) -> list[RunSpec]:
    """Return the runs that show how good a candidate is."""
    without = {"byzantine": 0, "attack": None} if tune.by == "clean" else {}
    seeds: list[Settings] = [{"seed": seed} for seed in tune.seeds or ()] or [{}]
    return distinct(
        make(settings | candidate | without | seed | {"evaluate_on": "validation"})
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
