"""Seconds for one run, and how much sooner runs end side by side than one after the other.

    python benchmarks/lanes.py

Digits, logistic regression, T = 300, B = 32, C = 1, b = 0.1. Every number is the median of 5
rounds; a round takes each case once, so that all see the same noise of the machine.
"""

import statistics
import time
from collections.abc import Callable

import torch

from privrobust import RunSpec, train
from privrobust.training import train_lanes

ROUNDS = 5
LANES = (1, 4, 8, 16, 32, 64)


def spec(honest: int, seed: int = 0, **settings: object) -> RunSpec:
    return RunSpec(honest=honest, seed=seed, clip_norm=1.0, noise_scale=0.1, **settings)


def lanes(count: int) -> list[RunSpec]:
    """A slice of a sweep: four attacked settings of each seed."""
    attacks = ("sign_flip", "large_value", "alie", "sign_flip")
    return [
        spec(10, seed=lane // 4, byzantine=2 + 2 * (lane % 4 == 3), attack=attacks[lane % 4])
        for lane in range(count)
    ]


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    cases: dict[str, Callable[[], object]] = {"15 workers, one run": lambda: train(spec(15))}
    for count in LANES:
        cases[f"{count} lanes"] = lambda count=count: train_lanes(lanes(count))
    for case in cases.values():
        case()
    rounds = [{name: seconds(case) for name, case in cases.items()} for _ in range(ROUNDS)]
    median = {name: statistics.median(taken[name] for taken in rounds) for name in cases}
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{'15 workers, one run':<22}{median['15 workers, one run']:8.2f} s")
    alone = median["1 lanes"]
    for count in LANES:
        each = median[f"{count} lanes"] / count
        print(f"{f'{count} lanes':<22}{each:8.3f} s a run{alone / each:8.1f} x")


if __name__ == "__main__":
    main()
