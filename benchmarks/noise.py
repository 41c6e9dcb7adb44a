"""Noise that is what theory says, against torch's that is not, and where its time goes."""

from collections.abc import Callable

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from timing import in_turns, median, ratio, table

from privrobust.noise import NOISE_LAWS, derived_keys
from privrobust.noise.addition import add_on_device, add_to_rows
from privrobust.noise.backend import compiled_loop
from privrobust.noise.grid import Grids, grid
from privrobust.noise.streams import first_words

WORKERS = 12
B, CONTRIBUTION = 0.1, 1 / 32
LIMITS = {
    "keystream": "the processor's AES instructions: ten rounds a block",
    "law, rounding and sum": "arithmetic in vectors: 90 instructions, a division and a root for 16",
}


class Noisy:
    """Ways to add noise to the averages of some workers, `(WORKERS, dim)`."""

    def __init__(self, dim: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.shape = (WORKERS, dim)
        self.averages = torch.randn(self.shape, generator=generator, dtype=torch.float64) * 1e-3
        self.in_float32 = self.averages.float()
        self.keys = derived_keys(0, "noise", 1, WORKERS)
        self.sent, self.drawn = torch.empty(self.shape), torch.empty(self.shape)
        self.generator = generator

    def grids(self, noise: str) -> Grids:
        of = grid(B, CONTRIBUTION, self.shape[1], NOISE_LAWS[noise].order)
        return Grids.of([of] * WORKERS)

    def ours(self, noise: str) -> Callable[[], object]:
        grids = self.grids(noise)
        values, out = self.averages.numpy(), self.sent.numpy()
        return lambda: add_to_rows(values, self.keys, grids, noise, out)

    def in_tensors(self, noise: str) -> Callable[[], object]:
        """Without the loop, words included."""
        grids, dim = self.grids(noise), self.shape[1]

        def add() -> None:
            words = torch.from_numpy(first_words(self.keys, dim + dim % 2).view(np.int64))
            add_on_device(self.averages, words, self.keys, grids, noise)

        return add

    def torch_s(self, noise: str) -> Callable[[], object]:
        """Float32 noise of 24 bits, added to float32 averages: fast, and not what is accounted."""

        def add() -> None:
            if noise == "gaussian":
                self.drawn.normal_(generator=self.generator)
            else:
                uniform = self.drawn.uniform_(-1, 1, generator=self.generator)
                torch.copysign(torch.log1p(-uniform.abs()), uniform, out=self.drawn)
            torch.add(self.in_float32, self.drawn, alpha=B, out=self.sent)

        return add

    def signs_by_chance(self, noise: str) -> Callable[[], object]:
        """Signs drawn with their probability in float64, of words that are there already."""
        words = torch.from_numpy(first_words(self.keys, self.shape[1]).view(np.int64).copy())
        chance = (words >> 1 & (1 << 62) - 1).double() * 2.0**-62

        def draw() -> None:
            size = self.averages.abs() / B
            if noise == "gaussian":
                tail = torch.erfc(size * 0.5**0.5).mul_(0.5)
            else:
                tail = torch.exp(-size).mul_(0.5)
            torch.where(chance < tail, -self.averages, self.averages).sign_()

        return draw


def each(seconds: list[float], numbers: int) -> str:
    return f"{median(seconds) / numbers * 1e9:.2f} ns"


def against_torch(dim: int, rounds: int, threads: int) -> list[list[str]]:
    """Rows of both laws, on so many threads."""
    before, noisy, rows = torch.get_num_threads(), Noisy(dim), []
    torch.set_num_threads(threads)
    try:
        for noise in NOISE_LAWS:
            cases = {
                "ours": noisy.ours(noise),
                "tensors": noisy.in_tensors(noise),
                "torch": noisy.torch_s(noise),
                "signs": noisy.signs_by_chance(noise),
            }
            times = in_turns(cases, rounds)
            numbers = WORKERS * dim
            rows.append(
                [
                    f"{noise}, {threads} thread{'s' * (threads > 1)}",
                    *(each(times[name], numbers) for name in cases),
                    ratio(times["torch"], times["ours"]),
                ]
            )
    finally:
        torch.set_num_threads(before)
    return rows


def profile(dim: int, rounds: int) -> list[list[str]]:
    """Where the compiled loop's time goes, on one thread."""
    loop, noisy, numbers = compiled_loop(), Noisy(dim), WORKERS * dim
    assert loop is not None, "there is no compiled loop to profile"
    words = np.empty((WORKERS, -(-dim // loop.GROUP) * loop.GROUP), np.int64)
    row, zeros = words[0].copy(), bytes(8 * words.shape[1])
    encrypt = Cipher(algorithms.AES(bytes(16)), modes.CTR(bytes(16))).encryptor()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times = in_turns(
            {
                "whole": noisy.ours("gaussian"),
                "keystream": lambda: [
                    loop.fill_rows(noisy.keys[worker : worker + 1], row[None])
                    for worker in range(WORKERS)
                ],
                "library": lambda: [encrypt.update(zeros) for _ in range(WORKERS)],
            },
            rounds,
        )
    finally:
        torch.set_num_threads(before)
    rest = [a - b for a, b in zip(times["whole"], times["keystream"], strict=True)]
    parts = {"keystream": times["keystream"], "law, rounding and sum": rest}
    whole = median(times["whole"])
    rows = [
        [name, each(spent, numbers), f"{median(spent) / whole:.0%}", LIMITS[name]]
        for name, spent in parts.items()
    ]
    lanes = f"{loop.LANES} blocks an instruction" if loop.LANES else "by the library"
    rows[0][0] += f", {lanes}"
    return [*rows, ["keystream by `cryptography`", each(times["library"], numbers), "", ""]]


def report(dim: int = 79_510, rounds: int = 41) -> str:
    header = [
        f"a coordinate of {WORKERS} x {dim:,}", "ours", "without the loop", "torch, unsound",
        "signs alone, without their words", "torch / ours",
    ]  # fmt: skip
    rows = [row for threads in (1, 2) for row in against_torch(dim, rounds, threads)]
    parts = table(
        ["part, 1 thread", "a coordinate", "share", "near the limit of"], profile(dim, rounds)
    )
    return f"{table(header, rows)}\n\n{parts}"


if __name__ == "__main__":
    print(report())
