"""What a sweep's `tune` says: which fields are chosen, of what, and by what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import Any

from privrobust.sweeps.run_maker import Settings


@dataclass(frozen=True)
class Tune:
    """What is chosen on the validation split, and by what."""

    fields: Mapping[str, list[Any]] = field(default_factory=dict)
    """The values that each tuned field may take, in every run."""
    instead: Mapping[str, Mapping[Any, list[Any]]] = field(default_factory=dict)
    """Those that a field may take in place of a value that the sweep writes, by that value."""
    by: str | None = None
    """`clean`, which None is too: accuracy with no Byzantine worker; `worst`: that of the worst
    (f, attack). With `repeats` each run is chosen by its own accuracy, and there is none."""
    seeds: Sequence[Any] | None = None
    """Those of the sweep, if None."""

    def candidates(self, settings: Settings) -> list[Settings]:
        """Return every combination of tuned fields for a run, the last field fastest."""
        return crossed({**self.fields, **self._instead(settings)})

    def named(self, settings: Settings) -> list[str]:
        """Return the fields that are tuned in a run."""
        return [*self.fields, *self._instead(settings)]

    @property
    def most(self) -> int:
        """How many candidates a run may have."""
        longest = [max(map(len, values.values())) for values in self.instead.values()]
        return prod([*map(len, self.fields.values()), *longest])

    def _instead(self, settings: Settings) -> dict[str, list[Any]]:
        return {
            name: values
            for name, places in self.instead.items()
            for written, values in places.items()
            if name in settings and settings[name] == written
        }


def crossed(axes: Mapping[str, list[Any]]) -> list[Settings]:
    """Return every combination, the last field fastest."""
    return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
