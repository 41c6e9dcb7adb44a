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
  aggregator:              # in place of this value of the sweep's, one of these
    centred_clipping: [centred_clipping(radius=1), centred_clipping(radius=3)]
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

**tune.** `privrobust.sweeps.tuning` says what is trained and how it is chosen. A field has a list
of candidates; or, where the sweep sets it, a mapping from some of its values to what may take their
place, and runs with others keep them. A mapping of `exclude` that names a tuned field takes
candidates away: {aggregator: majority_vote, learning_rate: 0.5}. What takes the place of a value
goes by that value there, and by its own. With `repeats: poisson(mean=10)`, a field of runs
as any other, epsilon counts what tuning spends: `privrobust.sweeps.repetitions`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import combinations
from math import prod
from typing import Any

from privrobust.core.displayed import told
from privrobust.core.numbers import own
from privrobust.errors import SpecError, shown, unknown_name
from privrobust.spec import AttackSpec, RunSpec
from privrobust.spec.run_fields import SETTINGS, named
from privrobust.sweeps.candidates import Tune, crossed
from privrobust.sweeps.paths import located
from privrobust.sweeps.run_maker import RunMaker, Settings, distinct, placed
from privrobust.sweeps.yaml_lines import as_written, at

_FIELDS = list(SETTINGS)
_CRITERIA = ["clean", "worst"]
MOST_COMBINATIONS = 1_000_000


@dataclass(frozen=True, repr=False)
class Sweep:
    """What one sweep says, as `from_settings` and `load_sweep` check it: all but the runs."""

    fixed: Settings
    cases: Sequence[Settings] = ({},)
    zip: Mapping[str, list[Any]] = field(default_factory=dict)
    grid: Mapping[str, list[Any]] = field(default_factory=dict)
    exclude: Sequence[Settings] = ()
    tune: Tune | None = None

    def __repr__(self) -> str:
        """Say in a line what varies, and in how many values."""
        tune = self.tune or Tune()
        parts = {"zip": self.zip, "grid": self.grid, "tune": {**tune.fields, **tune.instead}}
        facts = [f"{len(self.cases)} cases"] if len(self.cases) > 1 else []
        facts += [
            f"{part} {name} ({len(values)})"
            for part, fields in parts.items()
            for name, values in fields.items()
        ]
        return told(type(self).__name__, "", facts)

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Sweep":
        """Read a mapping such as a file holds.

        Lists may be whatever holds values in an order (ranges, arrays, columns of a frame), and
        numbers of any type.

        Raises:
            SpecError: a number that is not exactly a float, an unknown field, one that is set in
                two places, lists of unequal lengths, an exclusion that matches nothing.

        """
        given = _plain(settings)
        sweep = parsed(given)
        if "exclude" in given:
            sweep.refuse_idle_exclusions()
        if "tune" in given:
            sweep.refuse_idle_tuning()
        return sweep

    def runs(self) -> list[RunSpec]:
        """Return every distinct run, cases outermost, then zip, then grid.

        Raises:
            SpecError: a run is not valid, none is left, or the sweep tunes:
                `privrobust.sweeps.tuning` tells its runs.

        """
        if self.tune is not None:
            tuned = ", ".join([*self.tune.fields, *self.tune.instead])
            raise SpecError(
                f"tune: which runs there are is known once {tuned} is chosen (tuning.choose)"
            )
        return distinct(map(RunMaker(), self.combinations()))

    def combinations(self) -> list[Settings]:
        """Return the settings of every run, as written: those that no exclusion matches.

        Tuned fields are left out.

        Raises:
            SpecError: none is left.

        """
        kept = [settings for settings in self._all() if not self.excludes(settings)]
        if not kept:
            raise SpecError("exclude: leaves no run of the sweep")
        return kept

    def excludes(self, settings: Settings) -> bool:
        """Tell whether an exclusion matches."""
        return any(_matches(exclusion, settings) for exclusion in self.exclude)

    def candidates(self, settings: Settings) -> list[Settings]:
        """Return those of `tune` that no exclusion takes from a run."""
        tune = self.tune or Tune()
        return [
            each
            for each in tune.candidates(settings)
            if not any(map(self.excludes, _views(settings, each)))
        ]

    def refuse_idle_exclusions(self) -> None:
        """Refuse a mapping of `exclude` that excludes nothing: a typing error."""
        if not self.exclude:
            return
        tune = self.tune or Tune()
        whole = [
            view
            for settings in self._all()
            for candidate in tune.candidates(settings)
            for view in _views(settings, candidate)
        ]
        for exclusion in self.exclude:
            if not any(_matches(exclusion, settings) for settings in whole):
                raise SpecError(
                    f"{at(next(iter(exclusion)))}exclude: {shown(exclusion, 80)} matches no "
                    "combination; accepted: fields that the sweep sets, with its values as written"
                )

    def refuse_idle_tuning(self) -> None:
        """Refuse to tune in place of a value that no run has: a typing error."""
        for name, places in self.tune.instead.items() if self.tune else ():
            written = [settings[name] for settings in self._all() if name in settings]
            for value in places:
                if value not in written:
                    raise SpecError(
                        f"{at(name)}tune.{name}: {shown(value)} is no {name} of the sweep; "
                        "accepted: a value that it sets, as written"
                    )

    def refuse_too_many(self) -> None:
        """Refuse a grid that no memory holds: lists multiply, and a few lines make billions."""
        pairs = len(next(iter(self.zip.values()), [{}]))
        candidates = self.tune.most if self.tune else 1
        count = len(self.cases) * pairs * prod(map(len, self.grid.values())) * candidates
        if count > MOST_COMBINATIONS:
            raise SpecError(
                f"{at(next(iter(self.grid), ''))}grid: {shown(count)} combinations; accepted: "
                f"up to {MOST_COMBINATIONS:,}"
            )

    @property
    def places(self) -> dict[str, set[str]]:
        """The fields that each place of a file sets."""
        return {
            "fixed": set(self.fixed),
            "cases": set().union(*self.cases),
            "zip": set(self.zip),
            "grid": set(self.grid),
            "tune": set(self.tune.fields if self.tune else ()),
        }

    @property
    def everywhere(self) -> list[Settings]:
        """What sets fields of its runs, place by place; names are as written."""
        return [self.fixed, *self.cases, dict(self.zip), dict(self.grid)]

    def placed(self, error: SpecError) -> SpecError:
        """Return an error about one of its runs with the place of the field, where it has one."""
        set_once = Counter(name for place in self.everywhere for name in place)
        return placed(error, [name for name, times in set_once.items() if times == 1])

    def _all(self) -> list[Settings]:
        rows = zip(*self.zip.values(), strict=True)
        pairs = [dict(zip(self.zip, values, strict=True)) for values in rows]
        (fixed,), cases, paired, points = (
            located(place)
            for place in ([self.fixed], self.cases, pairs or [{}], crossed(self.grid))
        )
        return [
            _joined(fixed, case, pair, point)
            for case in cases
            for pair in paired
            for point in points
        ]


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


def _joined(*parts: tuple[Settings, Settings]) -> Settings:
    """Put the settings of a run together, with the folder of its dataset if it says none."""
    whole: Settings = {}
    for settings, _ in parts:
        whole |= settings
    if "data_dir" not in whole:
        for _, folder in parts:
            whole |= folder
    return whole


def _views(settings: Settings, candidate: Settings) -> tuple[Settings, Settings]:
    """Return a run as exclusions may name it: as it is trained, and as it is written."""
    return settings | candidate, candidate | settings


def _matches(exclusion: Settings, settings: Settings) -> bool:
    return all(
        name in settings and settings[name] in (values if isinstance(values, list) else [values])
        for name, values in exclusion.items()
    )


def parsed(settings: Any) -> Sweep:
    """Read a mapping whose values are as a file has them, place by place.

    Raises:
        SpecError: as `Sweep.from_settings`, except of exclusions.

    """
    fixed = _fields("sweep", settings, KNOWN)
    if "extends" in fixed:
        raise SpecError("extends: only a file extends another")
    given = {name: fixed.pop(name) for name in list(fixed) if name in _READERS}
    sweep = Sweep(fixed, **{str(place): _READERS[place](place, given[place]) for place in given})
    sweep.refuse_too_many()
    for (first, here), (second, there) in combinations(sweep.places.items(), 2):
        for name in sorted(there & here):
            earlier, later = (at(as_written(name, place)) for place in (here, there))
            known = f" ({earlier.removesuffix(': ')})" if earlier else ""
            raise SpecError(
                f"{later}{name}: set in {first}{known} and in {second}; set it in one place"
            )
    return sweep


def _fields(place: str, mapping: Any, known: Sequence[str] = _FIELDS) -> Settings:
    """Return the settings of one place, with names that are known."""
    if not isinstance(mapping, Mapping):
        raise SpecError(f"{at(place)}{place}: {_no(mapping)}; give fields and their values")
    for name in mapping:
        if not isinstance(name, str):
            beside = next((at(each) for each in mapping if at(each)), at(place))
            raise SpecError(f"{beside}{place}: {shown(name)} is not the name of a field")
        if name not in known:
            kind = "field" if place == "sweep" else place
            raise SpecError(f"{at(name)}{unknown_name(kind, name, known)}")
    return dict(mapping)


def _choices(field: str, values: Any, place: str) -> list[Any]:
    if not isinstance(values, list) or not values:
        raise SpecError(f"{at(place)}{field}: {_no(values)}; give a list of at least one value")
    return values


def _no(value: Any) -> str:
    """Say that a value is none that is wanted; what YAML leaves out is no value."""
    return "nothing is given" if value is None else f"{shown(value)} is not accepted"


def _axes(place: str, mapping: Any) -> dict[str, list[Any]]:
    axes = _fields(place, mapping)
    if not axes:
        raise SpecError(f"{at(place)}{place}: {_no(mapping)}; give fields and values")
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
    by, seeds = tuned.pop("by", None), tuned.pop("seeds", None)
    if by is not None and by not in _CRITERIA:
        raise SpecError(f"{at(as_written('by', settings))}{unknown_name('tune.by', by, _CRITERIA)}")
    if seeds is not None:
        _choices("tune.seeds", seeds, as_written("seeds", settings))
    for name in tuned:
        if not SETTINGS[name].may_be_tuned:
            accepted = ", ".join(sorted(named(lambda field: field.may_be_tuned)))
            raise SpecError(
                f"{at(name)}tune.{name}: says what is compared, so it is not tuned; "
                f"accepted: {accepted}"
            )
    if not tuned:
        raise SpecError(f"{at(place)}tune: no field to tune; give one and its candidates")
    fields, instead = {}, {}
    for name, values in tuned.items():
        if not isinstance(values, Mapping):
            fields[name] = _choices(f"tune.{name}", values, name)
        elif values:
            instead[name] = {
                written: _choices(f"tune.{name}, {shown(written)}", values[written], name)
                for written in values
            }
        else:
            raise SpecError(f"{at(name)}tune.{name}: {{}} is not accepted; give values to replace")
    return Tune(fields, instead, by, seeds)


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "cases": _cases,
    "zip": _zipped,
    "grid": _axes,
    "exclude": _exclusions,
    "tune": _tuned,
}

KNOWN = [*_FIELDS, *_READERS, "extends"]
"""What a file may have at its top."""
