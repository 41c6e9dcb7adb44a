"""Choices that the engine makes, each against the other way: why the code is as it is."""

import torch
from timing import in_turns, median, table
from torch import Tensor

from privrobust import selection
from privrobust.memory import keep_freed_memory
from privrobust.perturbation import NOISE_LAWS, chances, noisy_signs
from privrobust.sampling import stream
from privrobust.selection import mean_of_ranks

ROUNDS = 9


def selections() -> str:
    """The network against quickselect, as workers grow: where `_MOST_WIRES` comes from."""
    rows = []
    for workers in (15, 31, 51, 64, 81, 101):
        messages = torch.randn(workers, 79_510, generator=torch.Generator().manual_seed(0))
        middle = ((workers - 1) // 2, workers // 2 + 1)

        def with_wires(wires: int, messages: Tensor = messages, middle: tuple = middle) -> None:
            selection._MOST_WIRES = wires
            mean_of_ranks(messages, *middle)

        cases = {
            "network": lambda call=with_wires: call(1000),
            "quickselect": lambda call=with_wires: call(0),
            "torch.median": lambda messages=messages: messages.median(dim=0),
        }
        times = in_turns(cases, ROUNDS)
        rows.append([str(workers), *(f"{median(times[name]) * 1e3:.1f} ms" for name in cases)])
    return table(["workers x 79,510", "network", "quickselect", "torch.median"], rows)


def signs() -> str:
    """Signs drawn with their probability against noise added and its sign taken."""
    shape, b = (12, 79_510), torch.tensor(0.1)
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 0.03
    noise, chance = torch.empty(shape), torch.empty(shape, dtype=torch.int32)
    tails = {
        "gaussian": lambda x: torch.erfc(x * 0.5**0.5).mul_(0.5),
        "laplace": NOISE_LAWS["laplace"].tail,
    }
    rows = []
    for law, tail in tails.items():
        generator = stream(0, law)

        def added(law: str = law, generator: torch.Generator = generator) -> None:
            NOISE_LAWS[law].fill(noise, generator)
            torch.addcmul(values, noise, b).sign_()

        def drawn(tail=tail, generator: torch.Generator = generator) -> None:
            chances(chance, generator)
            noisy_signs(values, b, tail, chance)

        times = in_turns({"added": added, "drawn": drawn}, ROUNDS)
        rows.append([law, *(f"{median(times[name]) * 1e3:.1f} ms" for name in times)])
    return table(["signs of 12 x 79,510, one thread of noise", "noise added", "signs drawn"], rows)


def report() -> str:
    keep_freed_memory()
    return f"{selections()}\n\n{signs()}"


if __name__ == "__main__":
    print(report())
