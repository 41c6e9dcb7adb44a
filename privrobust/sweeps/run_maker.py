"""From the settings that a sweep writes to runs: one, a hundred thousand in seconds, each once."""

from collections.abc import Iterable
from typing import Any

from privrobust.errors import SpecError, shown
from privrobust.spec import RunSpec
from privrobust.spec.key import in_key, key_of
from privrobust.spec.run_fields import FIELDS, SETTINGS
from privrobust.sweeps.yaml_lines import at

Settings = dict[str, Any]
"""Fields of a run as a sweep writes them."""

_PLAIN = {bool, float, int, str, type(None)}
_GROUP = {name: field.checked_with or name for name, field in SETTINGS.items()}
_OF_GROUP = {
    group: [name for name in FIELDS if _GROUP[name] == group] for group in set(_GROUP.values())
}


def run_of(settings: Settings) -> RunSpec:
    """Return the run; an error starts with where its field is written."""
    try:
        return RunSpec(**settings)
    except SpecError as error:
        made = placed(error, settings)
        if any(isinstance(settings[name], list) for name in _blamed(error, settings)):
            made = SpecError(f"{made}; several values go in one list under grid")
        raise made from error.__cause__


def placed(error: SpecError, written: Iterable[str]) -> SpecError:
    """Return an error about a run with the place where its field is written, if it is one."""
    return SpecError("".join([*(at(name) for name in _blamed(error, written)[:1]), str(error)]))


def _blamed(error: SpecError, written: Iterable[str]) -> list[str]:
    """Return which of the fields an error is about."""
    named = [name.partition(".")[0] for name in str(error).partition(":")[0].split(", ")]
    return [name for name in written if name in named or name == error.field]


class RunMaker:
    """Makes runs of settings as `run_of`, a hundred thousand of one sweep in seconds.

    What is checked together is checked once: settings of which every group has been in a run before
    are put together of the groups of these runs.
    """

    def __init__(self) -> None:
        self._usual = RunSpec()
        self._usually_written = in_key(self._usual.__dict__)
        self._groups: dict[tuple[str, ...], list[list[str]]] = {}
        """By the fields that settings have, those of each group."""
        self._known: dict[tuple[Any, ...], tuple[Settings, dict[str, str]]] = {}
        """The fields of a run that each group makes, and how its key has them."""
        self._checked: list[Settings] = []
        """What `_known` is of: it knows some values by their place in memory."""

    def __call__(self, settings: Settings) -> RunSpec:
        """Make one, with the errors of `run_of`."""
        names = tuple(settings)
        if names not in self._groups:
            groups: dict[str, list[str]] = {}
            for name in names:
                groups.setdefault(_GROUP.get(name, name), []).append(name)
            self._groups[names] = list(groups.values())
        given = [
            (*of_group, *(_told(settings[name]) for name in of_group))
            for of_group in self._groups[names]
        ]
        try:
            made = [self._known[each] for each in given]
        except KeyError:
            return self._checked_run(settings, given)
        run = self._usual.__copy__()
        in_the_key = self._usually_written.copy()
        for fields, of_fields in made:
            run.__dict__.update(fields)
            in_the_key.update(of_fields)
        object.__setattr__(run, "_key", key_of(run.target_epsilon, in_the_key))
        return run

    def _checked_run(self, settings: Settings, given: list[tuple[Any, ...]]) -> RunSpec:
        """Make a run as `run_of`, and remember what each of its groups is."""
        run = run_of(settings)
        self._checked.append(settings)
        for group in given:
            made = {field: getattr(run, field) for field in _OF_GROUP[_GROUP[group[0]]]}
            self._known[group] = made, in_key(made)
        return run


def _told(value: Any) -> tuple[type, Any]:
    """Tell a value from every other: True from 1, and what has no hash by its place in memory."""
    kind = type(value)
    return kind, value if kind in _PLAIN else id(value)


def distinct(runs: Iterable[RunSpec]) -> list[RunSpec]:
    """Return the first run of each key.

    Raises:
        SpecError: equal runs name different folders of data.

    """
    found: dict[str, RunSpec] = {}
    for run in runs:
        first = found.setdefault(run.key, run)
        if first.data_dir != run.data_dir:
            raise SpecError(
                f"data_dir: {shown(first.data_dir, 80)} and {shown(run.data_dir, 80)} for one run; "
                "accepted: one folder, as results are kept by the dataset's name"
            )
    return list(found.values())
