"""Sweeps from files: what a file says on top of what it extends, and `--set` on top of both."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from privrobust.core.plugins import look_in
from privrobust.errors import SpecError, in_short, shown, unknown_name
from privrobust.sweeps.grid import KNOWN, Sweep, parsed
from privrobust.sweeps.run_maker import Settings
from privrobust.sweeps.yaml_lines import Field, as_written, at, parse, read

_COUNTS = {"honest", "workers"}  # each says the other


def load_sweep(path: Path | str, overrides: Sequence[str] = ()) -> Sweep:
    """Read the sweep of a YAML file, and of those that it extends.

    Modules that it names are found beside the file from then on, before any others.

    Args:
        path: the file.
        overrides: `field=value` and `grid.field=[value, ...]`, each once.

    Raises:
        SpecError: a file cannot be read, is not YAML, extends itself, or as `Sweep.from_settings`.

    """
    return changed(_chain(Path(path), ()), overrides)


def changed(settings: Settings, overrides: Sequence[str]) -> Sweep:
    """Return the sweep of such settings as a file holds, with `overrides` as of `load_sweep`."""
    return parsed(_extended(settings, _overrides(overrides)) if overrides else settings)


def _chain(path: Path, above: tuple[Path, ...]) -> Settings:
    """Return what a file says on top of what it extends."""
    settings = read(path)
    if not isinstance(settings, dict):
        holds = "is empty" if settings is None else f"holds {shown(settings)}"
        raise SpecError(
            f"{shown(str(path), 200)} {holds}; accepted: fields and their values, as in steps: 300"
        )
    if "extends" not in settings:
        look_in(path.parent)
        return _extended({}, settings)
    here = at(as_written("extends", settings))
    base = settings.pop("extends")
    if not isinstance(base, str):
        given = "nothing is given" if base is None else f"{shown(base)} is not accepted"
        raise SpecError(
            f"{here}extends: {given}; give the path of a sweep, from this file's folder"
        )
    other, above = path.parent / base, (*above, path.resolve())
    if other.resolve() in above:
        raise SpecError(f"{here}extends: {shown(base)} extends this file in turn")
    _refuse_other(other, f"{here}extends: {shown(base, 200)}")
    extended = _chain(other, above)
    look_in(path.parent)  # before what is beside the other
    return _extended(extended, settings)


def _refuse_other(path: Path, named: str) -> None:
    """Refuse a file that is no sweep, which a stranger's sweep may name, and show none of it."""
    if not os.path.exists(path):  # as Path.exists, which raises for a name too long
        raise SpecError(f"{named} is no file; looked for {shown(str(path), 200)}")
    if not path.is_file():  # devices have no end
        raise SpecError(f"{named} is no file; accepted: a sweep's")
    try:
        found = read(path)
    except SpecError as error:
        place, _, _ = str(error).partition(" (")
        raise SpecError(f"{named} is no sweep ({place})") from None
    if not isinstance(found, dict):
        raise SpecError(f"{named} is no sweep; accepted: a file of fields and their values")
    for name in found:
        if name not in KNOWN:
            hint = re.search("; did you mean '[a-z_]+'", str(unknown_name("", name, KNOWN)))
            place = at(name) if isinstance(name, str) else ""
            raise SpecError(
                f"{named} is no sweep ({place}a field that no run has{hint[0] if hint else ''})"
            )


def _overrides(texts: Sequence[str]) -> Settings:
    """Return what `--set` says, as a file would."""
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
        target[Field(name, place)] = _read_at(place, value)
    return settings


def _read_at(place: str, text: str) -> Any:
    """Read YAML that stands in one place, whatever its line."""
    return parse(text, place, lambda line: place)


def _extended(base: Settings, own: Any) -> Settings:
    """Return what a file says on top of what another said."""
    replaced = set(own).union(*parsed(own).places.values())
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
    sweep = parsed(settings)
    if "exclude" in own:  # one of the base may have lost what it excluded to this file
        sweep.refuse_idle_exclusions()
    if "tune" in own:
        sweep.refuse_idle_tuning()
    return settings
