"""What local privacy and robustness cost on Fashion-MNIST, against central training.

python experiments/fashion_mnist.py

measures, in about an hour and a quarter on 2 cores, and writes fashion_mnist.csv and
fashion_mnist.md beside itself. Stopped, it goes on where it was: what is done is kept in
build/fashion_mnist.

Everybody sees the same training split and takes the same number of steps on batches of 480
expected examples: 15 workers of 32, or one central trainer of 480. Learning rates are chosen on the
validation split with seed 0, for each model, method and epsilon; accuracies are on the test split,
averaged over the last three evaluations of a run. Without privacy rates fall along a cosine.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from joblib import Memory
from opacus import PrivacyEngine
from rich.console import Console
from scipy import stats
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

from privrobust import RunSpec
from privrobust.accountants import Release, noise_scale
from privrobust.data import get_dataset
from privrobust.models import build_model
from privrobust.store import Store
from privrobust.sweep import check, run_sweep

MODELS = ("logistic", "cnn_opacus")
HONEST, BATCH, STEPS, EVERY, LAST = 15, 32, 750, 50, 3
CENTRAL_BATCH = HONEST * BATCH
CLIP_NORM = 1.0
EPSILONS = (2.0, 8.0)
SEEDS = (0, 1, 2)
METHODS = ("mean", "median", "majority_vote")
CENTRAL, PLAIN = "central", "none"

RATES = {
    ("logistic", PLAIN): (0.01, 0.03, 0.1),
    ("logistic", "private"): (0.3, 1.0, 3.0),
    ("cnn_opacus", PLAIN): (0.03, 0.1, 0.3),
    ("cnn_opacus", "private"): (0.3, 1.0, 3.0),
}
SIGN_RATES = (0.001, 0.003, 0.01)

HERE = Path(__file__).parent
KEPT = HERE.parent / "build" / "fashion_mnist"
memory = Memory(KEPT, verbose=0)


class Setting(NamedTuple):
    """A cell of the tables: who trains what, and at which budget."""

    model: str
    method: str
    epsilon: float | None

    def rates(self) -> tuple[float, ...]:
        """Learning rates to choose from."""
        if self.method == "majority_vote":
            return SIGN_RATES
        return RATES[self.model, PLAIN if self.epsilon is None else "private"]


def settings() -> Iterator[Setting]:
    """All cells; without privacy only the mean is compared."""
    for model in MODELS:
        yield from (Setting(model, method, None) for method in (CENTRAL, "mean"))
        for epsilon in EPSILONS:
            yield from (Setting(model, method, epsilon) for method in (CENTRAL, *METHODS))


def scale(epsilon: float, examples: int, batch: float) -> float:
    """b that spends epsilon on a trainer of so many examples."""
    release = Release(
        noise_scale=1.0,
        clip_norm=CLIP_NORM,
        batch_size=batch,
        dataset_size=examples,
        steps=STEPS,
    )
    return noise_scale(release, epsilon=epsilon)


def distributed(setting: Setting, rate: float, seed: int, split: str) -> RunSpec:
    """A run of 15 workers."""
    examples = len(get_dataset("fashion_mnist").train) // HONEST
    if setting.epsilon is None:
        own = {"schedule": "cosine"}
    else:
        own = {
            "noise_scale": scale(setting.epsilon, examples, BATCH),
            "clip_norm": CLIP_NORM,
        }
    return RunSpec(
        dataset="fashion_mnist",
        model=setting.model,
        aggregator=setting.method,
        honest=HONEST,
        batch_size=BATCH,
        steps=STEPS,
        learning_rate=rate,
        seed=seed,
        evaluate_on=split,
        evaluate_every=EVERY,
        final_evaluations=LAST,
        **own,
    )


@memory.cache
def central(setting: Setting, rate: float, seed: int, split: str) -> float:
    """Accuracy of plain SGD, or of opacus's DP-SGD, on all training examples at one place."""
    dataset = get_dataset("fashion_mnist")
    torch.manual_seed(seed)
    model = build_model(setting.model, dataset, seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    train = dataset.train
    examples = TensorDataset(train.examples(slice(None)), train.labels)
    loader = DataLoader(examples, batch_size=CENTRAL_BATCH, shuffle=True)
    if setting.epsilon is None:
        scheduler = lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    else:
        scheduler = lr_scheduler.ConstantLR(optimizer, factor=1.0)
        batch = len(train) / len(loader)  # what opacus expects a batch to hold
        b = scale(setting.epsilon, len(train), batch)
        model, optimizer, loader = PrivacyEngine().make_private(
            module=model,
            optimizer=optimizer,
            data_loader=loader,
            noise_multiplier=b * batch / CLIP_NORM,
            max_grad_norm=CLIP_NORM,
        )
    held_out = dataset.held_out(split)
    inputs, labels = held_out.examples(slice(None)), held_out.labels
    found = []
    for step, (batch_inputs, batch_labels) in enumerate(_forever(loader), start=1):
        optimizer.zero_grad()
        cross_entropy(model(batch_inputs), batch_labels).backward()
        optimizer.step()
        scheduler.step()
        if step > STEPS - LAST * EVERY and step % EVERY == 0:
            found.append(_accuracy(model, inputs, labels))
        if step == STEPS:
            return sum(found) / LAST
    raise AssertionError("a loader that never ends has ended")


def _forever(loader: DataLoader) -> Iterator[list[torch.Tensor]]:
    while True:
        yield from loader


@torch.no_grad()
def _accuracy(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> float:
    scores = torch.cat([model(part) for part in inputs.split(1000)])
    return float((scores.argmax(-1) == labels).double().mean())


def accuracies(wanted: list[tuple[Setting, float, int, str]], store: Store) -> list[float]:
    """Of these (setting, rate, seed, split), trained unless they are kept."""
    runs = {task: distributed(*task) for task in wanted if task[0].method != CENTRAL}
    console = Console(stderr=True)
    check(list(runs.values()))
    run_sweep(list(runs.values()), store, console)
    stored = store.runs()["accuracy"] if runs else {}
    return [float(stored[runs[task].key]) if task in runs else central(*task) for task in wanted]


def measure(store: Store) -> pd.DataFrame:
    """A row a setting: its learning rate, and the accuracies of all seeds."""
    cells = list(settings())
    tried = [(cell, rate, 0, "validation") for cell in cells for rate in cell.rates()]
    tuned = dict(zip(tried, accuracies(tried, store), strict=True))
    best = {
        cell: max(cell.rates(), key=lambda rate, cell=cell: tuned[cell, rate, 0, "validation"])
        for cell in cells
    }
    final = [(cell, best[cell], seed, "test") for cell in cells for seed in SEEDS]
    tested = dict(zip(final, accuracies(final, store), strict=True))
    return pd.DataFrame(
        [
            {
                **cell._asdict(),
                "learning_rate": best[cell],
                **{f"seed_{seed}": tested[cell, best[cell], seed, "test"] for seed in SEEDS},
            }
            for cell in cells
        ]
    )


def shown(row: pd.Series) -> str:
    """Mean over seeds in percent, and half of the 95 % Student interval."""
    values = 100 * row[[f"seed_{seed}" for seed in SEEDS]].astype(float)
    half = stats.t.ppf(0.975, len(values) - 1) * values.std() / len(values) ** 0.5
    return f"{values.mean():.1f} ± {half:.1f} ({row['learning_rate']:g})"


def tables(measured: pd.DataFrame) -> str:
    """In Markdown: without privacy, and with."""
    cells = measured.assign(cell=measured.apply(shown, axis=1))
    cells["epsilon"] = cells["epsilon"].map(lambda e: "none" if pd.isna(e) else f"{e:g}")
    wide = cells.pivot(index=["model", "epsilon"], columns="method", values="cell")
    wide = wide.reindex(columns=[CENTRAL, *METHODS]).fillna("")
    names = {CENTRAL: "central SGD", "majority_vote": "sign vote"}
    header = ["model", "epsilon", *(names.get(name, name) for name in wide.columns)]
    rows = [[*at, *row] for at, row in zip(wide.index, wide.to_numpy(), strict=True)]
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def main() -> None:
    """Measure, and write the page."""
    KEPT.mkdir(parents=True, exist_ok=True)
    with Store(KEPT / "runs.db") as store:
        measured = measure(store)
    measured.to_csv(HERE / "fashion_mnist.csv", index=False)
    page = HERE / "fashion_mnist.md"
    start, end = "<!-- measured -->", "<!-- end -->"
    before, _, rest = page.read_text().partition(start)
    after = rest.partition(end)[2]
    page.write_text(f"{before}{start}\n{tables(measured)}\n{end}{after}")
    print(tables(measured))


if __name__ == "__main__":
    main()
