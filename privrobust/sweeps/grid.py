"""A sweep: many runs in one file. This is the whole language.

```yaml
extends: base.yaml         # another sweep, beside this file, which this one changes
dataset: digits            # any field of RunSpec, fixed
cases:                     # settings that change together, named one by one
  - {aggregator: mean, steps: 300}
  - {aggregator: majority_vote, steps: 600}
zip:                       # lists of one length: the first values together, the second, ...
  honest: [10, 20]
  batch_size: [32, 16]
grid:                      # every combination of these
  noise_scale: [0, 0.1]
  byzantine: [0, 2, 4]
  attack: [sign_flip, alie]
  seed: [0, 1, 2]
exclude:                   # combinations that are left out; a list means any of these
  - {aggregator: majority_vote, noise_scale: 0}
  - {honest: 10, byzantine: [4]}
tune:                      # chosen on the validation split, for each method, b, ...
  learning_rate: [0.01, 0.1, 0.5]
  by: worst                # least mean accuracy over attacks; or clean, without any (the default)
  seeds: [10, 11]          # else those of the sweep
```

The runs are every case with every zipped pair with every point of the grid, cases outermost. Runs
that an irrelevant setting tells apart (the attack, with no Byzantine worker) are one. A field is
set in one place of a file.

**exclude.** A combination goes where every field of one mapping has the value that the sweep writes
for it. It goes before it is checked as a run, so that impossible ones can be excluded. A mapping
that matches no combination is an error.

**extends.** What this file sets, anywhere, takes the place of what the base sets as fixed, in its
grid or in its zip (`honest` and `workers` take each other's place). The grid and the zip keep what
else the base has in them; `cases`, `exclude` and `tune` are taken whole from the file that has
them last, null for none. The base may extend another.

**--set** on the command line changes a file as one more that extends it: `learning_rate=0.1` fixes
a field, `grid.seed=[0, 1]` sets an axis; `cases`, `exclude` and `tune` can be given too. Values are
YAML.

**tune.** `privrobust.sweeps.tuning` says what is trained and how it is chosen. A mapping of
`exclude` that names a tuned field takes candidates away:
{aggregator: majority_vote, learning_rate: 0.5}.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import combinations, product
from math import prod
from pathlib import Path
from typing import Any

from privrobust.core.numbers import own
from privrobust.errors import SpecError, in_short, shown, unknown_name
from privrobust.spec import TOGETHER, AttackSpec, RunSpec, in_key, key_of
from privrobust.sweeps.yaml_lines import Field, at, parse, read

Settings = dict[str, Any]
"""Fields of a run as a sweep writes them."""

_FIELDS = [*RunSpec.model_fields, "workers"]
_COUNTS = {"honest", "workers"}  # each says the other
_CRITERIA = ["clean", "worst"]
_MOST_COMBINATIONS = 1_000_000
_PLAIN = {bool, float, int, str, type(None)}
_PART = {name: names[0] for names in TOGETHER for name in names}
_OF_PART = {names[0]: [name for name in names if name != "workers"] for names in TOGETHER}
# What is compared and how, which no accuracy chooses.
_NOT_TUNED = {
    "dataset", "data_dir", "partition", "heterogeneity", "honest", "workers", "byzantine", "attack",
    "seed", "evaluate_on", "device",
}  # fmt: skip


@dataclass(frozen=True)
class Tune:
    """What is chosen on the validation split, and by what."""

    fields: Mapping[str, list[Any]]
    """The values that each tuned field may take."""
    by: str = "clean"
    """`clean`: accuracy with no Byzantine worker; `worst`: that of the worst (f, attack)."""
    seeds: Sequence[Any] | None = None
    """Those of the sweep, if None."""

    @property
    def candidates(self) -> list[Settings]:
        """Every combination, the last field fastest."""
        return _crossed(self.fields)


@dataclass(frozen=True)
class Sweep:
    """What one sweep says, as `from_settings` and `load_sweep` check it: all but the runs."""

    fixed: Settings
    cases: Sequence[Settings] = ({},)
    zip: Mapping[str, list[Any]] = field(default_factory=dict)
    grid: Mapping[str, list[Any]] = field(default_factory=dict)
    exclude: Sequence[Settings] = ()
    tune: Tune | None = None

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Sweep":
        """Read a mapping such as a file holds.

        Lists may be whatever holds values in an order (ranges, arrays, columns of a frame), and
        numbers of any type.

        Raises:
            SpecError: a number that is not exactly a float, an unknown field, one that is set in
                two places, lists of unequal lengths, an exclusion that matches nothing.

        """
        return _parsed(_extended({}, _plain(settings)))

    def runs(self) -> list[RunSpec]:
        """Every distinct run, cases outermost, then zip, then grid.

        Raises:
            SpecError: a run is not valid, none is left, or the sweep tunes:
                `privrobust.sweeps.tuning` tells its runs.

        """
        if self.tune is not None:
            tuned = ", ".join(self.tune.fields)
            raise SpecError(
                f"tune: which runs there are is known once {tuned} is chosen (tuning.choose)"
            )
        return distinct(map(RunMaker(), self.combinations()))

    def combinations(self) -> list[Settings]:
        """The settings of every run but the tuned ones, as written, without those excluded."""
        kept = [settings for settings in self._all() if not self.excludes(settings)]
        if not kept:
            raise SpecError("exclude: leaves no run of the sweep")
        return kept

    def excludes(self, settings: Settings) -> bool:
        """Whether an exclusion matches."""
        return any(_matches(exclusion, settings) for exclusion in self.exclude)

    def refuse_idle_exclusions(self) -> None:
        """Refuse a mapping of `exclude` that excludes nothing: a typing error."""
        if not self.exclude:
            return
        candidates = self.tune.candidates if self.tune else [{}]
        whole = [settings | candidate for settings in self._all() for candidate in candidates]
        for exclusion in self.exclude:
            if not any(_matches(exclusion, settings) for settings in whole):
                raise SpecError(
                    f"{at(next(iter(exclusion)))}exclude: {shown(exclusion, 80)} matches no "
                    "combination; accepted: fields that the sweep sets, with its values as written"
                )

    def refuse_too_many(self) -> None:
        """Refuse a grid that no memory holds: lists multiply, and a few lines make billions."""
        axes = [*self.grid.values(), *(self.tune.fields.values() if self.tune else ())]
        pairs = len(next(iter(self.zip.values()), [{}]))
        count = len(self.cases) * pairs * prod(map(len, axes))
        if count > _MOST_COMBINATIONS:
            raise SpecError(
                f"{at(next(iter(self.grid), ''))}grid: {shown(count)} combinations; accepted: "
                f"up to {_MOST_COMBINATIONS:,}"
            )

    def _all(self) -> list[Settings]:
        rows = zip(*self.zip.values(), strict=True)
        pairs = [dict(zip(self.zip, values, strict=True)) for values in rows]
        return [
            self.fixed | case | pair | point
            for case in self.cases
            for pair in pairs or [{}]
            for point in _crossed(self.grid)
        ]


def load_sweep(path: Path, overrides: Sequence[str] = ()) -> Sweep:
    """The sweep of a YAML file, and of those that it extends.

    Args:
        path: the file.
        overrides: `field=value` and `grid.field=[value, ...]`, each once.

    Raises:
        SpecError: a file cannot be read, is not YAML, extends itself, or as `from_settings`.

    """
    settings = _chain(path, ())
    return _parsed(_extended(settings, _overrides(overrides)) if overrides else settings)


def run_of(settings: Settings) -> RunSpec:
    """The run; an error starts with where its field is written."""
    try:
        return RunSpec(**settings)
    except SpecError as error:
        blamed = [name.partition(".")[0] for name in str(error).partition(":")[0].split(", ")]
        blamed += [error.field] if error.field else []
        places = [at(written) for written in settings if written in blamed]
        raise SpecError(f"{places[0] if places else ''}{error}") from None


class RunMaker:
    """Makes runs of settings as `run_of`, a hundred thousand of one sweep in seconds.

    What is checked together is checked once: settings of which every part has been in a run before
    are put together of the parts of these runs.
    """

    def __init__(self) -> None:
        self._usual = RunSpec()
        self._usually_written = in_key(self._usual.__dict__)
        self._parts: dict[tuple[str, ...], list[list[str]]] = {}
        """By the fields that settings have, those of each part."""
        self._known: dict[tuple[Any, ...], tuple[Settings, dict[str, str]]] = {}
        """The fields of a run that each part makes, and how its key has them."""
        self._checked: list[Settings] = []
        """What `_known` is of: it knows some values by their place in memory."""

    def __call__(self, settings: Settings) -> RunSpec:
        """Make one, with the errors of `run_of`."""
        names = tuple(settings)
        if names not in self._parts:
            self._parts[names] = _parted(names)
        parts = [
            (*of_part, *(_told(settings[name]) for name in of_part))
            for of_part in self._parts[names]
        ]
        try:
            made = [self._known[part] for part in parts]
        except KeyError:
            return self._make(settings, parts)
        run = self._usual.__copy__()
        in_the_key = self._usually_written.copy()
        for fields, of_fields in made:
            run.__dict__.update(fields)
            in_the_key.update(of_fields)
        object.__setattr__(run, "_key", key_of(run, in_the_key))
        return run

    def _make(self, settings: Settings, parts: list[tuple[Any, ...]]) -> RunSpec:
        run = run_of(settings)
        self._checked.append(settings)
        for part in parts:
            fields = _OF_PART.get(_PART.get(part[0], ""), [part[0]])
            made = {field: getattr(run, field) for field in fields}
            self._known[part] = made, in_key(made)
        return run


def _parted(names: Sequence[str]) -> list[list[str]]:
    parts: dict[str, list[str]] = {}
    for name in names:
        parts.setdefault(_PART.get(name, name), []).append(name)
    return list(parts.values())


def _told(value: Any) -> tuple[type, Any]:
    """Tell a value from every other: True from 1, and what has no hash by its place in memory."""
    kind = type(value)
    return kind, value if kind in _PLAIN else id(value)


def distinct(runs: Iterable[RunSpec]) -> list[RunSpec]:
    """The first run of each key.

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


def _plain(settings: Any, name: str = "sweep") -> Any:
    """Return mappings, lists and numbers of any type as a file has them.

    All of it at once, as a sweep is read more than once and an iterator only once.
    """
    if isinstance(settings, Mapping):
        if "name" in settings:  # an attack or a rule, whose parameters may be tuples
            return settings
        return {key: _plain(value, str(key)) for key, value in settings.items()}
    value = own(name, settings)
    if isinstance(value, AttackSpec | str | bytes | Set) or not isinstance(value, Iterable):
        return value
    if getattr(value, "ndim", 1) == 0:
        return value
    return [_plain(each, name) for each in value]


def _crossed(axes: Mapping[str, list[Any]]) -> list[Settings]:
    return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]


def _matches(exclusion: Settings, settings: Settings) -> bool:
    return all(
        name in settings and settings[name] in (values if isinstance(values, list) else [values])
        for name, values in exclusion.items()
    )


def _chain(path: Path, above: tuple[Path, ...]) -> Settings:
    """What a file says on top of what it extends."""
    settings = read(path)
    if not isinstance(settings, dict):
        holds = "is empty" if settings is None else f"holds {shown(settings)}"
        raise SpecError(f"{shown(str(path), 200)} {holds}; accepted: fields and their values")
    if "extends" not in settings:
        return _extended({}, settings)
    here = at(_key(settings, "extends"))
    base = settings.pop("extends")
    if not isinstance(base, str):
        raise SpecError(f"{here}extends: {shown(base)} is not accepted; give the path of a sweep")
    other, above = path.parent / base, (*above, path.resolve())
    if other.resolve() in above:
        raise SpecError(f"{here}extends: {shown(base)} extends this file in turn")
    _refuse_other(other, f"{here}extends: {shown(base, 200)}")
    return _extended(_chain(other, above), settings)


def _refuse_other(path: Path, named: str) -> None:
    """Refuse a file that is no sweep, which a stranger's sweep may name, and show none of it."""
    if not os.path.exists(path):  # as Path.exists, which raises for a name too long
        return  # the reader says so
    if not path.is_file():  # devices have no end
        raise SpecError(f"{named} is no file; accepted: a sweep's")
    try:
        found = read(path)
    except SpecError as error:
        place, _, _ = str(error).partition(" (")
        raise SpecError(f"{named} is no sweep ({place})") from None
    if not isinstance(found, dict):
        raise SpecError(f"{named} is no sweep; accepted: a file of fields and their values")
    known = [*_FIELDS, *_READERS, "extends"]
    for name in found:
        if name not in known:
            hint = re.search("; did you mean '[a-z_]+'", str(unknown_name("", name, known)))
            place = at(name) if isinstance(name, str) else ""
            raise SpecError(
                f"{named} is no sweep ({place}a field that no run has{hint[0] if hint else ''})"
            )


def _overrides(texts: Sequence[str]) -> Settings:
    """What `--set` says, as a file would."""
    settings: Settings = {}
    for text in texts:
        target, (name, _, value) = settings, text.partition("=")
        name = name.strip()
        if name.startswith("grid."):
            target, name = settings.setdefault("grid", {}), name.removeprefix("grid.")
        if not name or not value.strip() or name in ("grid", "zip", "extends"):
            raise SpecError(
                f"--set: {shown(text)} is not accepted; give field=value or grid.field=[value, ...]"
            )
        if name in target:
            raise SpecError(f"--set: {in_short(name)} is given twice")
        place = f"--set {in_short(text)}"
        target[Field(name, place)] = _value(place, value)
    return settings


def _value(place: str, text: str) -> Any:
    return parse(text, place, lambda line: place)


def _extended(base: Settings, own: Any) -> Settings:
    """What a file says on top of what another said."""
    layer = _parsed(own)
    replaced = set(own) | {name for place in _places(layer).values() for name in place}
    if replaced & _COUNTS:
        replaced |= _COUNTS
    settings = {name: value for name, value in base.items() if name not in replaced} | {
        name: value for name, value in own.items() if name not in ("grid", "zip")
    }
    for axes in ("grid", "zip"):
        kept = {name: value for name, value in base.get(axes, {}).items() if name not in replaced}
        settings[axes] = kept | own.get(axes, {})
        if not settings[axes]:
            del settings[axes]
    sweep = _parsed(settings)
    if "exclude" in own:  # one of the base may have lost what it excluded to this file
        sweep.refuse_idle_exclusions()
    return settings


def _parsed(settings: Any) -> Sweep:
    """What a mapping says, place by place."""
    fixed = _fields("sweep", settings, [*_FIELDS, *_READERS, "extends"])
    if "extends" in fixed:
        raise SpecError("extends: only a file extends another")
    given = {name: fixed.pop(name) for name in list(fixed) if name in _READERS}
    sweep = Sweep(fixed, **{str(place): _READERS[place](place, given[place]) for place in given})
    sweep.refuse_too_many()
    for (first, here), (second, there) in combinations(_places(sweep).items(), 2):
        for name in sorted(there & here):
            earlier, later = (at(_key(place, name)) for place in (here, there))
            known = f" ({earlier.removesuffix(': ')})" if earlier else ""
            raise SpecError(
                f"{later}{name}: set in {first}{known} and in {second}; set it in one place"
            )
    return sweep


def _places(sweep: Sweep) -> dict[str, set[str]]:
    """The fields that each place sets."""
    return {
        "fixed": set(sweep.fixed),
        "cases": set().union(*sweep.cases),
        "zip": set(sweep.zip),
        "grid": set(sweep.grid),
        "tune": set(sweep.tune.fields if sweep.tune else ()),
    }


def _fields(place: str, mapping: Any, known: Sequence[str] = _FIELDS) -> Settings:
    """The settings of one place, named."""
    if not isinstance(mapping, Mapping):
        raise SpecError(
            f"{at(place)}{place}: {shown(mapping)} is not accepted; give fields and their values"
        )
    for name in mapping:
        if not isinstance(name, str):
            raise SpecError(f"{at(place)}{place}: {shown(name)} is not the name of a field")
        if name not in known:
            kind = "field" if place == "sweep" else place
            raise SpecError(f"{at(name)}{unknown_name(kind, name, known)}")
    return dict(mapping)


def _choices(field: str, values: Any, place: str) -> list[Any]:
    if not isinstance(values, list) or not values:
        raise SpecError(
            f"{at(place)}{field}: {shown(values)} is not accepted; "
            "give a list of at least one value"
        )
    return values


def _axes(place: str, mapping: Any) -> dict[str, list[Any]]:
    axes = _fields(place, mapping)
    if not axes:
        raise SpecError(
            f"{at(place)}{place}: {shown(mapping)} is not accepted; give fields and values"
        )
    return {name: _choices(f"{place}.{name}", axes[name], name) for name in axes}


def _zipped(place: str, mapping: Any) -> dict[str, list[Any]]:
    axes = _axes(place, mapping)
    first, length = next((name, len(values)) for name, values in axes.items())
    for name, values in axes.items():
        if len(values) != length:
            raise SpecError(
                f"{at(name)}zip: {name} has {len(values)} values and {first} {length}; "
                "accepted: lists of one length"
            )
    return axes


def _cases(place: str, cases: Any) -> list[Settings]:
    if cases is None:
        return [{}]
    return [_fields(place, case) for case in _choices(place, cases, place)]


def _exclusions(place: str, exclusions: Any) -> list[Settings]:
    if exclusions is None:
        return []
    given = [_fields(place, exclusion) for exclusion in _choices(place, exclusions, place)]
    if {} in given:
        raise SpecError(f"{at(place)}{place}: {{}} is not accepted; give fields and their values")
    return given


def _tuned(place: str, settings: Any) -> Tune | None:
    if settings is None:
        return None
    tuned = _fields(place, settings, [*_FIELDS, "by", "seeds"])
    by, seeds = tuned.pop("by", "clean"), tuned.pop("seeds", None)
    if by not in _CRITERIA:
        raise SpecError(f"{at(_key(settings, 'by'))}{unknown_name('tune.by', by, _CRITERIA)}")
    if seeds is not None:
        _choices("tune.seeds", seeds, _key(settings, "seeds"))
    for name in tuned:
        if name in _NOT_TUNED:
            accepted = ", ".join(sorted(set(RunSpec.model_fields) - _NOT_TUNED))
            raise SpecError(
                f"{at(name)}tune.{name}: says what is compared, so it is not tuned; "
                f"accepted: {accepted}"
            )
    if not tuned:
        raise SpecError(f"{at(place)}tune: no field to tune; give one and its candidates")
    fields = {name: _choices(f"tune.{name}", tuned[name], name) for name in tuned}
    return Tune(fields, by, seeds)


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "cases": _cases,
    "zip": _zipped,
    "grid": _axes,
    "exclude": _exclusions,
    "tune": _tuned,
}


def _key(fields: Iterable[str], name: str) -> str:
    """The name as it is among the fields, which may know its place."""
    return next(field for field in fields if field == name)
