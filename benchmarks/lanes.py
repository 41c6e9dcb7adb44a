"""How much sooner runs end side by side than one after the other.

Digits, logistic regression, B = 32, C = 1, b = 0.1.
"""

from collections.abc import Callable, Sequence
from functools import partial

from conditions import ALL, Condition, under_each
from timing import in_turns, median, table

from privrobust import RunSpec, train
from privrobust.training.loop import train_lanes

COUNTS = (1, 4, 8, 16, 32, 64)


def spec(honest: int, steps: int, **settings: object) -> RunSpec:
    return RunSpec(honest=honest, steps=steps, clip_norm=1.0, noise_scale=0.1, **settings)


def lanes(count: int, steps: int) -> list[RunSpec]:
    """Specify a slice of a sweep: four attacked settings of each seed."""
    attacks = ("sign_flip", "large_value", "alie", "sign_flip")
    return [
        spec(10, steps, seed=lane // 4, byzantine=2 + 2 * (lane % 4 == 3), attack=attacks[lane % 4])
        for lane in range(count)
    ]


def report(
    counts: Sequence[int] = COUNTS,
    steps: int = 300,
    rounds: int = 5,
    conditions: Sequence[Condition] = ALL,
) -> str:
    """Of so many lanes, 1 of which comes first."""
    return under_each(conditions, partial(side_by_side, counts, steps, rounds))


def side_by_side(counts: Sequence[int], steps: int, rounds: int) -> str:
    alone_run = spec(15, steps)
    cases: dict[str, Callable[[], object]] = {"15 workers, one run": lambda: train(alone_run)}
    for count in counts:
        cases[f"{count} lanes"] = partial(train_lanes, lanes(count, steps))
    times = in_turns(cases, rounds)
    alone = times.pop("15 workers, one run")
    rows = [["15 workers, alone", f"{median(alone):.2f} s", ""]]
    for count, taken in zip(counts, times.values(), strict=True):
        each = median(taken) / count
        rows.append([f"{count} lanes", f"{each:.3f} s", f"{median(times['1 lanes']) / each:.1f}"])
    return table(["digits runs", "each takes", "times as fast as alone"], rows)


if __name__ == "__main__":
    print(report())
