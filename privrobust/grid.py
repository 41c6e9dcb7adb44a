"""A sweep: fixed fields, crossed with a grid and, if settings belong together, with cases.

```yaml
dataset: digits            # any field of RunSpec, fixed
cases:                     # settings that change together
  - {aggregator: mean, learning_rate: 0.5}
  - {aggregator: majority_vote, learning_rate: 0.01}
grid:                      # every combination of these
  noise_scale: [0, 0.1]
  seed: [0, 1, 2]
```
"""

from collections.abc import Mapping
from itertools import combinations, product
from pathlib import Path
from typing import Any

import yaml

from privrobust.errors import SpecError
from privrobust.spec import RunSpec


def load_runs(path: Path) -> list[RunSpec]:
    """The runs of a YAML file.

    Raises:
        SpecError: the file cannot be read, is not YAML, or describes no valid sweep.

    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{str(path)!r} cannot be read ({error})") from None
    try:
        settings = yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise SpecError(f"{str(path)!r} is not valid YAML ({reason})") from None
    return expand(settings)


class _Loader(yaml.SafeLoader):
    """YAML without repeated fields, of which PyYAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        fields = [self.construct_object(key) for key, _ in node.value]
        for field in fields:
            if fields.count(field) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{field!r} is given twice")
        return super().construct_mapping(node, deep)


def expand(settings: Mapping[str, Any]) -> list[RunSpec]:
    """Every distinct run, cases outermost, in the order of the grid.

    Runs that an irrelevant setting tells apart (the attack, with no Byzantine worker) are one.

    Raises:
        SpecError: an empty grid, a field set in two places, or a run that is not valid.

    """
    fixed = _fields("sweep", settings)
    cases = [_fields("cases", case) for case in _choices("cases", fixed.pop("cases", [{}]))]
    axes = {}
    if "grid" in fixed:
        grid = _fields("grid", fixed.pop("grid"))
        axes = {field: _choices(f"grid.{field}", values) for field, values in grid.items()}
    _refuse_repeats({"fixed": set(fixed), "cases": set().union(*cases), "grid": set(axes)})
    runs = [
        RunSpec(**fixed | case | dict(zip(axes, values, strict=True)))
        for case in cases
        for values in product(*axes.values())
    ]
    distinct: dict[str, RunSpec] = {}
    for run in runs:
        first = distinct.setdefault(run.key, run)
        if first.data_dir != run.data_dir:
            raise SpecError(
                f"data_dir: {first.data_dir!r} and {run.data_dir!r} for one run; accepted: one "
                "folder, as results are kept by the dataset's name"
            )
    return list(distinct.values())


def _fields(place: str, mapping: Any) -> dict[str, Any]:
    """The settings of one place, named."""
    if not isinstance(mapping, Mapping) or (place == "grid" and not mapping):
        raise SpecError(f"{place}: {mapping!r} is not accepted; give fields and their values")
    for field in mapping:
        if not isinstance(field, str):
            raise SpecError(f"{place}: {field!r} is not the name of a field")
    return dict(mapping)


def _refuse_repeats(places: dict[str, set[str]]) -> None:
    for (first, here), (second, there) in combinations(places.items(), 2):
        for field in sorted(here & there):
            raise SpecError(f"{field}: set in {first} and in {second}; set it in one place")


def _choices(field: str, values: Any) -> list[Any]:
    if not isinstance(values, list) or not values:
        raise SpecError(f"{field}: {values!r} is not accepted; give a list of at least one value")
    return values
