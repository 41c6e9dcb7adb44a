"""What Xiang et al. report, by a rewriting of their code, with ingredients of ours in it.

$ python experiments/published_xiang_ingredients.py

takes some twenty minutes of one process and writes published_xiang_ingredients.csv beside itself.

Their code is
https://github.com/zihangxiang/Practical-Differentially-Private-and-Byzantine-resilient-Federated,
and what `Ingredients` names is from its modules BRP, utility and privacy_analysis.handler. Nothing
here claims an epsilon: an example that is drawn once is in 16 messages, where an accountant is told
of batches that are drawn anew each step.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pandas as pd
import torch
from torch import Tensor

from privrobust.core.random import stream
from privrobust.data import Dataset, get_dataset

HERE = Path(__file__).parent
DATASET = "fashion_mnist(validation=0)"
HONEST, BATCH, HIDDEN = 20, 16, 32
EPOCHS, STEPS_AN_EPOCH = 8, 187
PUBLIC_A_CLASS, PUBLIC_BATCH, PUBLIC_MOMENTUM = 2, 10, 0.99
SIGMAS = {2: 0.79203, 1: 1.037697, 0.5: 1.513771, 0.25: 2.539161, 0.125: 4.687598}
SEEDS = (0, 1, 2, 3, 4)
_DEAR = 100  # Byzantine workers: from there on two seeds
_THEIR_START = 1234


@dataclass(frozen=True)
class Ingredients:
    """What their code does; `OURS` has what a run of privrobust does in its place."""

    worker_momentum: float = 0.1
    """Of a worker's last noisy message, in each of its gradients before it is normalised."""
    repeats_batches: bool = True
    """94 batches are drawn; each is used twice in a row, in every epoch."""
    byzantine_batch: int = 1
    """Examples of a Byzantine worker; the sum is divided by 16 all the same."""
    added: float = 1e-6
    """To a gradient's norm before it is divided by it: how much the smallest count."""
    start: Literal["one", "xavier", "torch"] = "one"
    """Weights of normal laws with variance 2 / (inputs + outputs), the same with every seed; or of
    each seed's own; or uniform as torch has them."""


THEIRS = Ingredients()
OURS = Ingredients(
    worker_momentum=0.0, repeats_batches=False, byzantine_batch=BATCH, added=0.01, start="torch"
)
_CROWD = "16 examples a Byzantine worker"
VARIANTS = {
    "theirs": THEIRS,
    "no worker momentum": replace(THEIRS, worker_momentum=0.0),
    "new batches each step": replace(THEIRS, repeats_batches=False),
    _CROWD: replace(THEIRS, byzantine_batch=BATCH),
    "0.01 added to norms": replace(THEIRS, added=OURS.added),
    "a start for each seed": replace(THEIRS, start="xavier"),
    "torch's start for each seed": replace(THEIRS, start="torch"),
    "ours, with their worker momentum": replace(OURS, worker_momentum=THEIRS.worker_momentum),
    "ours, with 1e-6 added to norms": replace(OURS, added=THEIRS.added),
    "ours": OURS,
}


class Layers:
    """Two linear layers, each with its bias as a last column; `nn.ELU(False)` is a ReLU."""

    def __init__(self, features: int, classes: int, start: str, generator: torch.Generator):
        """Draw weights."""
        self.matrices = []
        drawing = torch.Generator().manual_seed(_THEIR_START) if start == "one" else generator
        for inputs, outputs in ((features, HIDDEN), (HIDDEN, classes)):
            reach = 1 / math.sqrt(inputs)
            drawn = torch.rand(outputs, inputs + 1, generator=generator) * 2 * reach - reach
            if start != "torch":
                std = math.sqrt(2 / (inputs + outputs))
                drawn[:, :-1] = std * torch.randn(outputs, inputs, generator=drawing)
            self.matrices.append(drawn)

    def scores(self, inputs: Tensor) -> Tensor:
        """Return a score a class, `(..., features)` to `(..., classes)`."""
        return with_one(self._hidden(inputs)) @ self.matrices[1].T

    def factors(self, inputs: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return, a layer, vectors whose outer product is each example's gradient.

        Args:
            inputs: `(workers, batch, features)`.
            labels: `(workers, batch)`.

        """
        hidden = self._hidden(inputs)
        errors = self.scores(inputs).softmax(-1)
        errors.scatter_add_(-1, labels.unsqueeze(-1), errors.new_full((*labels.shape, 1), -1.0))
        below = (errors @ self.matrices[1][:, :-1]) * (hidden > 0)
        return [(below, with_one(inputs)), (errors, with_one(hidden))]

    def _hidden(self, inputs: Tensor) -> Tensor:
        return (with_one(inputs) @ self.matrices[0].T).relu()

    def move(self, along: Tensor, rate: float) -> None:
        """Take a step down a gradient `(dim,)`."""
        for matrix, part in zip(self.matrices, split(along, self.matrices), strict=True):
            matrix -= rate * part


def with_one(inputs: Tensor) -> Tensor:
    """Append the input of a bias."""
    return torch.cat([inputs, inputs.new_ones((*inputs.shape[:-1], 1))], -1)


def split(vectors: Tensor, like: list[Tensor]) -> list[Tensor]:
    """Cut vectors `(..., dim)` into matrices."""
    parts = vectors.split([matrix.numel() for matrix in like], -1)
    return [part.unflatten(-1, matrix.shape) for part, matrix in zip(parts, like, strict=True)]


def normalised_sums(
    factors: list[tuple[Tensor, Tensor]], before: list[Tensor] | None, used: Ingredients
) -> Tensor:
    """Return each worker's sum of `v / (|v| + added)`, with `v = (1 - beta) g + beta m`.

    Args:
        factors: of examples' gradients g, as `Layers.factors`.
        before: m, a matrix a worker, for every layer; None is 0.
        used: beta, the worker momentum, and what is added to norms.

    Returns:
        `(workers, dim)`.

    """
    beta = used.worker_momentum
    squares = sum((a.square().sum(-1) * b.square().sum(-1) for a, b in factors), torch.zeros(()))
    squares = (1 - beta) ** 2 * squares
    if before is not None:
        for (a, b), m in zip(factors, before, strict=True):
            products = ((a @ m) * b).sum(-1)
            squares = squares + 2 * beta * (1 - beta) * products
            squares = squares + beta**2 * m.square().sum((-1, -2)).unsqueeze(-1)
    weights = 1 / (squares.clamp(min=0).sqrt() + used.added)
    sums = [(1 - beta) * ((a * weights.unsqueeze(-1)).mT @ b) for a, b in factors]
    if before is not None:
        held = beta * weights.sum(-1)[:, None, None]
        sums = [part + held * m for part, m in zip(sums, before, strict=True)]
    return torch.cat([part.flatten(1) for part in sums], -1)


class Selection:
    """Their rule: the mean of the workers whose cosines to the server's gradient add up to most."""

    def __init__(self, many: int) -> None:
        """Average that many."""
        self._many = many
        self._scores: Tensor | None = None

    def __call__(self, messages: Tensor, direction: Tensor) -> Tensor:
        """Return what a step goes along."""
        cosines = messages @ direction / messages.norm(dim=-1)
        least = cosines.topk(self._many).values.mean()
        gained = cosines.where(cosines >= least, 0.0)
        self._scores = gained if self._scores is None else self._scores + gained
        return messages[self._scores.topk(self._many).indices].mean(0)


def accuracy(
    dataset: Dataset, epsilon: float, byzantine: int, used: Ingredients, seed: int
) -> float:
    """Train once; the mean of the honest without Byzantine workers, else their rule.

    Returns:
        The share of test examples that the last model gets right.

    """
    generator = stream(seed, "published")
    inputs = dataset.train.examples(torch.arange(len(dataset.train))).flatten(1)
    labels = dataset.train.labels
    model = Layers(inputs.shape[1], dataset.classes, used.start, generator)
    sigma = SIGMAS[epsilon]
    rate = 0.2 * SIGMAS[2] / sigma
    public = few_of_each(labels, generator)
    remembered, before = torch.zeros(()), None
    rule, no_momentum = Selection(HONEST), replace(used, worker_momentum=0.0)
    for honest, others in batches(labels, byzantine, used, generator):
        shown = public[torch.randperm(len(public), generator=generator)[:PUBLIC_BATCH]]
        own = model.factors(inputs[shown][None], labels[shown][None])
        gradient = torch.cat([(a.mT @ b).flatten() for a, b in own]) / len(shown)
        remembered = PUBLIC_MOMENTUM * remembered + (1 - PUBLIC_MOMENTUM) * gradient
        sums = normalised_sums(model.factors(inputs[honest], labels[honest]), before, used)
        if byzantine:
            flipped = dataset.classes - 1 - labels[others]
            sums = torch.cat(
                [sums, normalised_sums(model.factors(inputs[others], flipped), None, no_momentum)]
            )
        messages = (sums + sigma * torch.randn(sums.shape, generator=generator)) / BATCH
        before = split(messages[:HONEST], model.matrices) if used.worker_momentum else None
        direction = remembered / (remembered.norm() + 1e-6)
        along = rule(messages, direction) if byzantine else messages.mean(0)
        model.move(along, rate)
    test = dataset.test
    scores = model.scores(test.examples(torch.arange(len(test))).flatten(1))
    return float((scores.argmax(-1) == test.labels).double().mean())


def few_of_each(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Return which examples are public: they stay the workers', too."""
    order = torch.randperm(len(labels), generator=generator)
    return torch.cat([order[labels[order] == label][:PUBLIC_A_CLASS] for label in labels.unique()])


def batches(
    labels: Tensor, byzantine: int, used: Ingredients, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield, for every step, which examples honest and Byzantine workers use; with replacement."""
    order = torch.randperm(len(labels) - 10, generator=generator)
    order = order[labels[order].argsort(stable=True)]
    shares = torch.stack(
        [order[worker::HONEST][: len(order) // HONEST] for worker in range(HONEST)]
    )

    def drawn() -> tuple[Tensor, Tensor]:
        which = torch.randint(shares.shape[1], (HONEST, BATCH), generator=generator)
        size = (byzantine, used.byzantine_batch)
        return shares.gather(1, which), order[torch.randint(len(order), size, generator=generator)]

    kept = [drawn() for _ in range(STEPS_AN_EPOCH // 2 + 1)] if used.repeats_batches else []
    for _ in range(EPOCHS):
        for step in range(STEPS_AN_EPOCH):
            yield kept[step // 2] if kept else drawn()


def settings() -> Iterator[tuple[int, float, str]]:
    """Yield f, epsilon and variant: theirs at both ends, and at the least epsilon what else."""
    for byzantine in (0, 30):
        yield byzantine, 2, "theirs"
    for name in VARIANTS:
        if name != _CROWD:
            yield 0, 0.125, name
    for byzantine in (30, 180):
        for name in ("theirs", _CROWD, "ours"):
            yield byzantine, 0.125, name


def main() -> None:
    """Train all, a row a run."""
    torch.set_num_threads(1)
    dataset = get_dataset(DATASET)
    rows = []
    for byzantine, epsilon, name in settings():
        for seed in SEEDS[:2] if byzantine > _DEAR else SEEDS:
            found = accuracy(dataset, epsilon, byzantine, VARIANTS[name], seed)
            rows.append((byzantine, epsilon, name, seed, 100 * found))
            print(*rows[-1], flush=True)
    columns = ["byzantine", "epsilon", "ingredients", "seed", "accuracy"]
    pd.DataFrame(rows, columns=columns).to_csv(
        HERE / f"{Path(__file__).stem}.csv", index=False, float_format="%.6g"
    )


if __name__ == "__main__":
    main()
