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
from itertools import product
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
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read ({error})") from None
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise SpecError(f"{path}: is not valid YAML ({reason})") from None
    if not isinstance(settings, dict):
        raise SpecError(f"{path}: holds no fields; a sweep is a mapping of fields, cases and grid")
    return expand(settings)


def expand(settings: Mapping[str, Any]) -> list[RunSpec]:
    """Every distinct run, cases outermost, in the order of the grid.

    Runs that an irrelevant setting tells apart (the attack, with no Byzantine worker) are one.

    Raises:
        SpecError: an empty grid, a field set in two places, or a run that is not valid.

    """
    fixed = {field: value for field, value in settings.items() if field not in ("grid", "cases")}
    cases = [_case(case) for case in _choices("cases", settings.get("cases", [{}]))]
    grid = settings.get("grid", {"seed": [fixed.pop("seed", 0)]})
    if not isinstance(grid, dict) or not grid:
        raise SpecError(f"grid: {grid!r} is not accepted; give at least one field: [values]")
    axes = {field: _choices(f"grid.{field}", values) for field, values in grid.items()}
    for field in axes | {field: None for case in cases for field in case}:
        places = [("fixed", field in fixed), ("grid", field in axes)]
        places += [("cases", any(field in case for case in cases))]
        named = [place for place, present in places if present]
        if len(named) > 1:
            raise SpecError(f"{field}: set in {' and in '.join(named)}; set it in one place")
    runs = [
        RunSpec(**fixed, **case, **dict(zip(axes, values, strict=True)))
        for case in cases
        for values in product(*axes.values())
    ]
    return list({run.key: run for run in runs}.values())


def _choices(field: str, values: Any) -> list[Any]:
    if not isinstance(values, list) or not values:
        raise SpecError(f"{field}: {values!r} is not accepted; give a list of at least one value")
    return values


def _case(case: Any) -> dict[str, Any]:
    if not isinstance(case, dict):
        raise SpecError(f"cases: {case!r} is not a mapping of fields")
    return case
