"""How much of epsilon each observer gets out, rule by rule.

python experiments/observers.py

trains some 72,000 runs of ten steps, in about ten minutes on 2 cores, and writes observers.csv,
observers.md and observers.svg beside itself.

Each audit is made three times, with seeds of its own. What is averaged is the lower bound on
epsilon at 95 % for the whole audit, "if Gaussian": exact for messages of rules that take vectors,
as every example joins every step, and an estimate for the others; counting alone could not show
more than some 4 of epsilon with so many runs. Error bars reach from the least to the largest of the
three, and are no intervals for epsilon.
"""

import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from privrobust import RunSpec
from privrobust.audit import audits
from privrobust.audit.watching import Observer
from privrobust.reporting.audits import audit_frame
from privrobust.reporting.figures import save_figure
from privrobust.reporting.figures.canvas import WIDE, new_figure, styled
from privrobust.reporting.figures.panels import grid
from privrobust.reporting.figures.themes import looks

HERE = Path(__file__).parent
RULES = ("mean", "median", "trimmed_mean(f=2)", "geometric_median", "krum(f=2)", "majority_vote")
HELPERS, SEEDS = (0, 2), (0, 1, 2)
RUNS = 1000
SHARED: dict[str, Any] = {
    "clip_norm": 1.0,
    "noise_scale": 0.015,
    "batch_size": 126,
    "sampling_rate": 1.0,
    "steps": 10,
    "honest": 10,
}
VIEWS: dict[tuple[Observer, int], str] = {
    ("messages", 0): "every message",
    ("aggregates", 0): "every aggregate",
    ("model", 0): "the last model",
    ("aggregates", 2): "every aggregate, 2 helpers",
    ("model", 2): "the last model, 2 helpers",
}


def measured(helpers: int, seed: int, runs: int = RUNS) -> pd.DataFrame:
    """Audit every rule for every observer."""
    torch.set_num_threads(1)
    specs = [RunSpec(aggregator=rule, **SHARED) for rule in RULES]
    observers = [observer for observer, by in VIEWS if by == helpers]
    found = audits(specs, observers, helpers=helpers, runs=runs, seed=seed)
    return audit_frame(found).assign(seed=seed)


def all_measured(runs: int = RUNS) -> pd.DataFrame:
    """Audit with and without helpers, with every seed, in two processes."""
    tasks = [(helpers, seed) for seed in SEEDS for helpers in HELPERS]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        parts = pool.map(measured, *zip(*tasks, strict=True), [runs] * len(tasks))
        return pd.concat(parts, ignore_index=True)


def spread(frame: pd.DataFrame) -> dict[tuple[Any, ...], pd.Series]:
    """Return mean, least and largest over seeds, by rule, observer and helpers."""
    by = ["aggregator", "observer", "helpers"]
    return {
        tuple(which): found["epsilon_if_gaussian"].agg(["mean", "min", "max"])
        for which, found in frame.groupby(by)
    }


def page(frame: pd.DataFrame) -> str:
    """Write the table."""
    of = spread(frame)
    claims = frame.groupby("aggregator")["claimed"].max()
    lines = [
        "| rule | claimed | " + " | ".join(VIEWS.values()) + " |",
        "| --- " * (len(VIEWS) + 2) + "|",
    ]
    for rule in RULES:
        cells = [_cell(of[rule, *view]) for view in VIEWS]
        lines.append(f"| {rule} | {claims[rule]:.2f} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(found: Any) -> str:
    return f"{found['mean']:.2f} ({found['min']:.2f} to {found['max']:.2f})"


@styled
def figure(frame: pd.DataFrame) -> Any:
    """Draw what each observer found of each rule's claim."""
    of = spread(frame)
    claims = frame.groupby("aggregator")["claimed"].max()
    drawn = new_figure(WIDE, 2.6)
    axes = drawn.subplots()
    look = looks(VIEWS.values())
    for place, (view, name) in enumerate(VIEWS.items()):
        rows = [of[rule, *view] for rule in RULES]
        means = [row["mean"] for row in rows]
        errors = [
            [row["mean"] - row["min"] for row in rows],
            [row["max"] - row["mean"] for row in rows],
        ]
        at = [rule + (place - 2) * 0.14 for rule in range(len(RULES))]
        axes.errorbar(
            at, means, yerr=errors, fmt=look[name].marker, color=look[name].color, label=name
        )
    for rule, name in enumerate(RULES):
        axes.hlines(
            claims[name], rule - 0.4, rule + 0.4, color="black", label="_" * bool(rule) + "claimed"
        )
    axes.set_xticks(range(len(RULES)), RULES)
    axes.set_ylabel("epsilon at delta = 1e-5, at least")
    axes.set_ylim(bottom=0)
    grid(axes)
    axes.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.28))
    return drawn


def main(arguments: Sequence[str]) -> None:
    """Measure, and write what was found; with --draw only write."""
    stored = HERE / "observers.csv"
    if "--draw" not in arguments:
        all_measured().to_csv(stored, index=False)
    frame = pd.read_csv(stored)
    save_figure(figure(frame), HERE / "observers.svg")
    text = HERE / "observers.md"
    before = text.read_text().partition("<!-- table -->")[0] if text.exists() else "# Observers\n\n"
    text.write_text(f"{before}<!-- table -->\n\n{page(frame)}")


if __name__ == "__main__":
    main(sys.argv[1:])
