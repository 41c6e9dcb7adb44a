"""Choices that the engine makes, each against the other way: why the code is as it is."""

from collections.abc import Sequence
from functools import partial

import torch
from timing import in_turns, median, table

from privrobust import selection
from privrobust.memory import keep_freed_memory
from privrobust.perturbation import NOISE_LAWS, chances, noisy_signs
from privrobust.sampling import stream

ROUNDS = 9


def selections(worker_counts: Sequence[int], dim: int) -> str:
    """The network against quickselect, as workers grow: where `_MOST_WIRES` comes from."""
    rows = []
    for workers in worker_counts:
        messages = torch.randn(workers, dim, generator=torch.Generator().manual_seed(0))
        middle = {"low": (workers - 1) // 2, "high": workers // 2 + 1}
        network = partial(selection._select, **middle)
        quickselect = partial(selection._quickselect, **middle)
        cases = {
            "network": partial(selection.in_threaded_blocks, network, messages),
            "quickselect": partial(selection.in_threaded_blocks, quickselect, messages),
            "torch.median": partial(messages.median, dim=0),
        }
        times = in_turns(cases, ROUNDS)
        rows.append([str(workers), *(f"{median(times[name]) * 1e3:.1f} ms" for name in cases)])
    return table([f"workers x {dim:,}", "network", "quickselect", "torch.median"], rows)


def signs(dim: int) -> str:
    """Signs drawn with their probability against noise added and its sign taken."""
    shape, b = (12, dim), torch.tensor(0.1)
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
    title = f"signs of 12 x {dim:,}, one thread of noise"
    return table([title, "noise added", "signs drawn"], rows)


def report(worker_counts: Sequence[int] = (15, 31, 51, 64, 81, 101), dim: int = 79_510) -> str:
    keep_freed_memory()
    return f"{selections(worker_counts, dim)}\n\n{signs(dim)}"


if __name__ == "__main__":
    print(report())
