"""The page of a question: trains what its sweep lacks, then writes figure, table and verdicts.

$ python experiments/answer.py r1_iid --store results.db
$ python experiments/answer.py r1_iid --quick

A page begins with the answer in words, which people write: what stands above the marker is kept.
Where runs are audited, in place of being trained into a store, NAME.csv keeps what they gave.
"""

import importlib
import numbers
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from rich.console import Console
from study.audited import audited
from study.experiment import Experiment
from study.verdicts import Verdict, markdown, tally

from privrobust import RunSpec
from privrobust.errors import PrivRobustError, unknown_name
from privrobust.reporting.figures import save_figure
from privrobust.store import Store
from privrobust.sweeps import load_sweep, run_whole, watch_on
from privrobust.sweeps.tuning import candidates

HERE = Path(__file__).parent
NAMES = sorted(
    path.stem for path in (HERE / "study").glob("*.py") if (HERE / f"{path.stem}.yaml").exists()
)
_MEASURED = "<!-- measured -->"  # above it people write, below it this file does
_RATES = {"learning_rate": "Learning rates", "local_learning_rate": "Those of local steps"}
_QUICK = ["grid.seed=[0, 1]"]
_QUICK_STEPS, _QUICK_GRID = 20, "grid.steps=[10, 20]"
_QUICK_AUDITS = 5  # runs of each
_QUICK_TUNE = "tune={learning_rate: [0.01, 0.1], by: clean, seeds: [100]}"


def answer(
    name: Annotated[str, typer.Argument(help=f"Which: {', '.join(NAMES)}.")],
    store: Annotated[
        str, typer.Option(help="File or postgresql:// address of results.")
    ] = "results.db",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for what is written.")
    ] = HERE,
    quick: Annotated[
        bool, typer.Option("--quick", help="Few short runs in a store of its own, to see it work.")
    ] = False,
) -> None:
    """Answer one question of the study; what `privrobust run` has trained is not trained again."""
    if name not in NAMES:
        raise unknown_name("experiment", name, NAMES)
    with tempfile.TemporaryDirectory() as folder:
        place = str(Path(folder) / "quick.db") if quick else store
        if quick and output == HERE:
            output = Path(f"{name}-quick")
        output.mkdir(parents=True, exist_ok=True)
        sweep = load_sweep(HERE / f"{name}.yaml", shortened(name) if quick else ())
        if audits := experiment_of(name).audits:
            asked = replace(audits, runs=_QUICK_AUDITS) if quick else audits
            found = audited(sweep, asked, output / f"{name}.csv")
            tried = found.iloc[:0]
        else:
            with Store(place) as results:
                runs = run_whole(sweep, results, watch=watch_on(Console()))
                found = results.runs([run.key for run in runs])
                tried = results.runs([run.key for run in candidates(sweep)])
    write(name, found, tried, output, sweep.tune.fields if sweep.tune else {})


def experiment_of(name: str) -> Experiment:
    """Return what is made of the runs of this question."""
    experiment: Experiment = importlib.import_module(f"study.{name}").EXPERIMENT
    return experiment


def shortened(name: str) -> list[str]:
    """Tell what a quick answer changes in a sweep."""
    sweep = load_sweep(HERE / f"{name}.yaml")
    is_long = sweep.fixed.get("steps", 0) > _QUICK_STEPS
    steps = [f"steps={_QUICK_STEPS}"] if is_long else []
    steps += [_QUICK_GRID] if "steps" in sweep.grid else []
    return [*_QUICK, *steps, *([_QUICK_TUNE] if sweep.tune else [])]


def write(
    name: str,
    runs: pd.DataFrame,
    tried: pd.DataFrame,
    folder: Path,
    tuned: Mapping[str, Sequence[Any]],
) -> list[Verdict]:
    """NAME.md, NAME.csv and NAME.svg; `tuned` has what was chosen from, by field, of `tried`."""
    experiment = experiment_of(name)
    page = folder / f"{name}.md"
    answered = _answered(page) if page.exists() else f"# {_question(name)}\n"
    verdicts = experiment.claims(runs)
    edges = "".join(_edges(field, runs, tried) for field in _RATES if field in tuned)
    table = f"{experiment.table(runs).strip()}\n{edges}"
    save_figure(experiment.figure(runs), folder / f"{name}.svg")
    cells = experiment.cells(runs)
    cells.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")
    cost = _cost(runs, tried, "audits" if experiment.audits else "runs")
    command = "" if experiment.audits else f"privrobust run experiments/{name}.yaml\n"
    measured = _measured(name, table, verdicts, command, cost)
    page.write_text(f"{answered.rstrip()}\n\n{measured}")
    typer.echo(f"{folder / name}.md, .csv and .svg are written")
    return verdicts


def _answered(page: Path) -> str:
    """Return what people wrote above the marker."""
    answered, marker, _ = page.read_text().partition(_MEASURED)
    if not marker:
        raise PrivRobustError(f"{page}: has no {_MEASURED}; put it below the answer")
    return answered


def _edges(field: str, runs: pd.DataFrame, tried: pd.DataFrame) -> str:
    """How many runs might do better with a rate beyond those that their setting was offered.

    Raises:
        PrivRobustError: nothing was tried for the setting of some run.

    """
    rates = sorted(tried[field].dropna().unique())
    offered = tried.assign(setting=_settings(tried, tried)).groupby("setting")[field]
    chosen = runs[runs[field].notna()]
    setting = _settings(chosen, tried)
    ends = [setting.map(offered.min()), setting.map(offered.max())]
    if (unknown := setting[ends[0].isna()]).any():
        raise PrivRobustError(f"{field}: none was tried for {unknown.iloc[0]}, which was run")
    share = (chosen[field].eq(ends[0]) | chosen[field].eq(ends[1])).mean()
    return (
        f"\n{_RATES[field]} were chosen from {', '.join(f'{rate:g}' for rate in rates)}; "
        f"{share:.1%} of the runs have the first or the last of those that were tried for them.\n"
    )


def _settings(runs: pd.DataFrame, tried: pd.DataFrame) -> pd.Series:
    """Name what one rate is chosen for: all that varies in what was tried, but for seeds and rates.

    And but for what follows from f and a target: how many are honest, and b.
    """
    fields = [
        field
        for field in RunSpec.model_fields
        if field not in ("seed", "honest", *_RATES) and tried[field].nunique(dropna=False) > 1
    ]
    b = runs["noise_scale"].where(runs["target_epsilon"].isna())
    known = runs.assign(noise_scale=b)[fields].astype(object)
    return known.map(_written).agg("|".join, axis=1)


def _written(value: Any) -> str:
    """Write what a cell has; numbers are floats in a column with a gap, and integers without."""
    if pd.isna(value):
        return "none"
    is_number = isinstance(value, (numbers.Real, np.bool_))
    return repr(float(value)) if is_number else str(value)


def _question(name: str) -> str:
    """Return the first line of its sweep."""
    return (HERE / f"{name}.yaml").read_text().splitlines()[0].lstrip("# ")


def _cost(runs: pd.DataFrame, tried: pd.DataFrame, what: str) -> str:
    """Say what it takes to train all this, and by what it was trained."""
    minutes, tuning = (float(some["seconds"].sum()) / 60 for some in (runs, tried))
    tuned = f", and {len(tried):,} to tune them {_minutes(tuning)}" if len(tried) else ""
    versions = "; ".join(sorted(set(runs["versions"])))
    return (
        f"The {len(runs):,} {what} took {_minutes(minutes)} minutes of one process{tuned} "
        f"({versions})."
    )


def _minutes(minutes: float) -> str:
    return f"{minutes:.1f}" if minutes >= 0.05 else "under 0.1"


def _measured(name: str, table: str, verdicts: list[Verdict], command: str, cost: str) -> str:
    return f"""{_MEASURED}

![The figure of this experiment]({name}.svg)

## Table

{table}

## Verdicts

{tally(verdicts)}

{markdown(verdicts)}

## The command

```
{command}python experiments/answer.py {name}
```

{cost} [{name}.yaml]({name}.yaml) says what was run, [{name}.csv]({name}.csv) has every cell, and
[study/{name}.py](study/{name}.py) computes the verdicts.
"""


if __name__ == "__main__":
    app = typer.Typer(add_completion=False)
    app.command()(answer)
    try:
        app(standalone_mode=True)
    except PrivRobustError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(2) from None
