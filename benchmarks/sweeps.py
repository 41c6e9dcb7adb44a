"""Sweeps of small runs: lanes against one run at a time, and against the pipeline of peers."""

import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import byzfl
from conditions import ALL, Condition, under_each
from elsewhere import Elsewhere, Opens
from peers import OpacusWorker, byzfl_attack, flat, pipeline
from timing import in_turns, median, ratio, table
from torch import nn
from torch.utils.data import TensorDataset

from privrobust import RunSpec
from privrobust.data import get_dataset
from privrobust.store import Store
from privrobust.sweeps import load_sweep, run_sweep
from privrobust.sweeps.packing import LANES
from privrobust.training.loop import train_lanes
from privrobust.training.shares import shares

QUICKSTART = Path(__file__).parents[1] / "experiments" / "quickstart.yaml"
DIGITS = [
    RunSpec(
        seed=seed, byzantine=2, attack="sign_flip", clip_norm=1.0, noise_scale=0.1,
        learning_rate=0.1 * step, device="cpu",
    )
    for seed in range(64)
    for step in (1, 2, 3, 4)
]  # fmt: skip


def sweep_of_digits(runs: Sequence[RunSpec], sample: int, rounds: int) -> list[str]:
    """All of them in lanes, and so many of them one by one."""

    def side_by_side() -> None:
        for start in range(0, len(runs), LANES):
            train_lanes(runs[start : start + LANES])

    def one_by_one() -> None:
        for alone in runs[:: len(runs) // sample]:
            train_lanes([alone])

    times = in_turns({"lanes": side_by_side, "alone": one_by_one}, rounds)
    alone = [seconds * len(runs) / sample for seconds in times["alone"]]
    return [
        f"{len(runs)} digits runs, lanes on", f"the same one by one ({sample} of them, scaled)",
        f"{median(times['lanes']):.1f} s", f"{median(alone):.1f} s",
        ratio(alone, times["lanes"]), "4",
    ]  # fmt: skip


def quickstart(file: Path, peer_steps: int, elsewhere: Opens) -> list[str]:
    """All runs in our engine once; the pipeline's from the median of some steps of each kind."""
    runs = load_sweep(file).runs()
    train_lanes(runs[:1])  # imports are not counted, as they are not for the pipeline
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "results.db") as store:
        start = time.perf_counter()
        run_sweep(runs, store)
        ours = time.perf_counter() - start
    kinds: dict[tuple[object, ...], list[RunSpec]] = {}
    for run in runs:
        kind = (run.aggregator, run.byzantine, run.attack and run.attack.name)
        kinds.setdefault(kind, []).append(run)
    with elsewhere() as peers:
        theirs = sum(
            peers.seconds(peer_steps, quickstart_pipeline, alike[0])
            * sum(run.steps for run in alike)
            for alike in kinds.values()
        )
    return [
        f"the quickstart, {len(runs)} runs", f"opacus + ByzFL ({len(kinds)} kinds of run, scaled)",
        f"{ours:.0f} s", f"{theirs:.0f} s", f"{theirs / ours:.0f}", "50",
    ]  # fmt: skip


def quickstart_pipeline(run: RunSpec) -> Callable[[], None]:
    """Its training steps alone: neither evaluations nor accounting are charged to the pipeline."""
    train = get_dataset("digits").train
    dealt = shares(run)
    workers = [
        OpacusWorker(
            nn.Linear(64, 10),
            TensorDataset(train.inputs[mine], train.labels[mine]),
            int(run.batch_size),
            clip_norm=1.0,
            noise_multiplier=1.0,
        )
        for mine in dealt
    ]
    aggregate = {
        "mean": byzfl.Average(),
        "median": byzfl.Median(),
        "majority_vote": lambda messages: messages.sign().sum(0).sign(),
    }[run.aggregator]
    attack = byzfl_attack(run.attack.name) if run.attack else None
    start = flat(nn.Linear(64, 10).parameters()).detach()
    return pipeline(workers, start, attack, run.byzantine, aggregate, run.learning_rate)


def report(
    digits: Sequence[RunSpec] = DIGITS,
    alone: int = 16,
    rounds: int = 3,
    file: Path = QUICKSTART,
    peer_steps: int = 10,
    elsewhere: Opens = Elsewhere,
    conditions: Sequence[Condition] = ALL,
) -> str:
    warnings.filterwarnings("ignore")

    def compared() -> str:
        header = ["work", "against", "ours", "theirs", "ratio", "aim"]
        rows = [sweep_of_digits(digits, alone, rounds), quickstart(file, peer_steps, elsewhere)]
        return table(header, rows)

    return under_each(conditions, compared)


if __name__ == "__main__":
    print(report())
