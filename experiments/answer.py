"""The page of a question: trains what its sweep lacks, then writes figure, table and verdicts.

$ python experiments/answer.py r1_iid --store results.db
$ python experiments/answer.py r1_iid --quick

A page begins with the answer in words, which people write: what stands above the marker is kept.
"""

import importlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from rich.console import Console
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
_QUICK_STEPS, _QUICK_GRID = "steps=20", "grid.steps=[10, 20]"
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
        with Store(place) as results:
            sweep = load_sweep(HERE / f"{name}.yaml", shortened(name) if quick else ())
            runs = run_whole(sweep, results, watch=watch_on(Console()))
            found = results.runs([run.key for run in runs])
            tried = results.runs([run.key for run in candidates(sweep)])
    write(name, found, tried, output, sweep.tune.fields if sweep.tune else {})


def shortened(name: str) -> list[str]:
    """Tell what a quick answer changes in a sweep."""
    sweep = load_sweep(HERE / f"{name}.yaml")
    steps = [_QUICK_STEPS] if "steps" in sweep.fixed else []
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
    experiment: Experiment = importlib.import_module(f"study.{name}").EXPERIMENT
    verdicts = experiment.claims(runs)
    edges = "".join(_edges(field, runs, tried) for field in _RATES if field in tuned)
    page = folder / f"{name}.md"
    answered = (
        page.read_text().partition(_MEASURED)[0] if page.exists() else f"# {_question(name)}\n"
    )
    table = f"{experiment.table(runs).strip()}\n{edges}"
    save_figure(experiment.figure(runs), folder / f"{name}.svg")
    cells = experiment.cells(runs)
    cells.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")
    measured = _measured(name, table, verdicts, _cost(runs, tried))
    page.write_text(f"{answered.rstrip()}\n\n{measured}")
    typer.echo(f"{folder / name}.md, .csv and .svg are written")
    return verdicts


def _edges(field: str, runs: pd.DataFrame, tried: pd.DataFrame) -> str:
    """How many runs might do better with a rate beyond those that their setting was offered."""
    rates = sorted(tried[field].dropna().unique())
    offered = tried.assign(setting=_settings(tried, tried)).groupby("setting")[field]
    chosen = runs[runs[field].notna()]
    setting = _settings(chosen, tried)
    ends = [setting.map(offered.min()), setting.map(offered.max())]
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
    return known.where(known.notna(), "none").map(str).agg("|".join, axis=1)


def _question(name: str) -> str:
    """Return the first line of its sweep."""
    return (HERE / f"{name}.yaml").read_text().splitlines()[0].lstrip("# ")


def _cost(runs: pd.DataFrame, tried: pd.DataFrame) -> str:
    """Say what it takes to train all this, and by what it was trained."""
    minutes, tuning = (float(some["seconds"].sum()) / 60 for some in (runs, tried))
    tuned = f", and {len(tried):,} to tune them {tuning:.1f}" if len(tried) else ""
    versions = "; ".join(sorted(set(runs["versions"])))
    return f"The {len(runs):,} runs took {minutes:.1f} minutes of one process{tuned} ({versions})."


def _measured(name: str, table: str, verdicts: list[Verdict], cost: str) -> str:
    return f"""{_MEASURED}

![The figure of this experiment]({name}.svg)

## Table

{table}

## Verdicts

{tally(verdicts)}

{markdown(verdicts)}

## The command

```
privrobust run experiments/{name}.yaml
python experiments/answer.py {name}
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
