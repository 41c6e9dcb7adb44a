"""How much sooner runs end side by side than one after the other.

Digits, logistic regression, T = 300, B = 32, C = 1, b = 0.1.
"""

from collections.abc import Callable

from timing import in_turns, median, table

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


def report() -> str:
    cases: dict[str, Callable[[], object]] = {"15 workers, one run": lambda: train(spec(15))}
    for count in LANES:
        cases[f"{count} lanes"] = lambda count=count: train_lanes(lanes(count))
    times = in_turns(cases, ROUNDS)
    alone = times.pop("15 workers, one run")
    rows = [["15 workers, alone", f"{median(alone):.2f} s", ""]]
    for count, taken in zip(LANES, times.values(), strict=True):
        each = median(taken) / count
        rows.append([f"{count} lanes", f"{each:.3f} s", f"{median(times['1 lanes']) / each:.1f}"])
    return table(["digits runs", "each takes", "times as fast as alone"], rows)


if __name__ == "__main__":
    print(report())
