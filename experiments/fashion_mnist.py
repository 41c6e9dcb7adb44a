"""What local privacy and robustness cost on Fashion-MNIST, against central training.

python experiments/fashion_mnist.py

measures, in about two hours on 2 cores, and writes fashion_mnist.csv and fashion_mnist.md
beside itself. Stopped, it goes on where it was: what is done is kept in build/fashion_mnist.

Everybody sees the same training split and takes the same number of steps on batches of about 480
expected examples: 15 workers of 32, or one central trainer of 478, which is a whole number of
batches an epoch, as opacus wants it. Learning rates are chosen on the validation split with a seed
that is not used again, for each model, method and epsilon; accuracies are on the test split,
averaged over the last three evaluations of a run.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
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
from privrobust.reporting.intervals import half_width
from privrobust.schedules import get_schedule, rate
from privrobust.store import Store
from privrobust.sweeps import run_sweep, watch_on
from privrobust.sweeps.runner import check

MODELS = ("logistic", "cnn_opacus")
EPSILONS = (2.0, 8.0)
CLIP_NORM = 1.0
TUNING_SEED, SEEDS = 0, (1, 2, 3, 4, 5)
CENTRAL = "central"
METHODS = ("mean", "median", "majority_vote")
SHARED: dict[str, Any] = {
    "dataset": "fashion_mnist",
    "steps": 750,
    "momentum": 0.9,
    "schedule": "cosine",
    "warmup_steps": 75,
    "evaluate_every": 50,
    "final_evaluations": 3,
}
RATES = (0.01, 0.03, 0.1, 0.3, 1.0)
SIGN_RATES = (0.0001, 0.0003, 0.001, 0.003)
MARGIN = 1.0
"""Points of accuracy within which the mean is called as good as central training."""

HERE = Path(__file__).parent
KEPT = HERE.parent / "build" / "fashion_mnist"
memory = Memory(KEPT, verbose=0)


class Setting(NamedTuple):
    """A cell of the table: who trains what, and at which budget."""

    model: str
    method: str
    epsilon: float | None

    def rates(self) -> tuple[float, ...]:
        """Learning rates to choose from."""
        return SIGN_RATES if self.method == "majority_vote" else RATES

    def run(self, learning_rate: float, seed: int, split: str) -> RunSpec:
        """Specify a run of it; a central trainer is one worker with all examples."""
        examples = len(get_dataset(SHARED["dataset"]).train)
        is_central = self.method == CENTRAL
        honest = 1 if is_central else 15
        batch = examples / math.ceil(examples / 480) if is_central else 32
        own: dict[str, Any] = {
            "model": self.model,
            "aggregator": "mean" if is_central else self.method,
            "honest": honest,
            "batch_size": batch,
            "learning_rate": learning_rate,
            "seed": seed,
            "evaluate_on": split,
        }
        if self.epsilon is not None:
            release = Release(
                noise_scale=1.0,
                clip_norm=CLIP_NORM,
                batch_size=batch,
                dataset_size=examples // honest,
                steps=SHARED["steps"],
            )
            b = noise_scale(release, epsilon=self.epsilon)
            own |= {"clip_norm": CLIP_NORM, "noise_scale": b}
        return RunSpec(**SHARED, **own)


class Trial(NamedTuple):
    """A run of a setting."""

    setting: Setting
    learning_rate: float
    seed: int
    split: str


def settings() -> Iterator[Setting]:
    """All cells; without privacy only the mean is compared."""
    for model in MODELS:
        yield from (Setting(model, method, None) for method in (CENTRAL, "mean"))
        for epsilon in EPSILONS:
            yield from (Setting(model, method, epsilon) for method in (CENTRAL, *METHODS))


@memory.cache  # type: ignore[untyped-decorator]
def central(**settings: Any) -> float:
    """Accuracy of torch's SGD, or of opacus's DP-SGD, at one place that holds all examples."""
    spec = RunSpec(**settings)
    dataset = get_dataset(spec.dataset)
    torch.manual_seed(spec.seed)
    model = build_model(spec.model, dataset, spec.seed)
    optimizer = torch.optim.SGD(model.parameters(), spec.learning_rate, spec.momentum)
    schedule = get_schedule(spec.schedule)
    scheduler = lr_scheduler.LambdaLR(
        optimizer,
        lambda done: rate(schedule, spec.warmup_steps, min(done + 1, spec.steps), spec.steps),
    )
    examples = TensorDataset(dataset.train.examples(slice(None)), dataset.train.labels)
    loader = DataLoader(examples, batch_size=math.ceil(spec.batch_size), shuffle=True)
    if spec.clip_norm is not None:
        model, optimizer, loader = PrivacyEngine().make_private(
            module=model,
            optimizer=optimizer,
            data_loader=loader,
            noise_multiplier=spec.noise_scale * spec.batch_size / spec.clip_norm,
            max_grad_norm=spec.clip_norm,
        )
        assert math.isclose(loader.sample_rate, spec.batch_size / len(examples))
    found = []
    for step, (inputs, labels) in enumerate(_batches(loader, spec.steps), start=1):
        optimizer.zero_grad()
        cross_entropy(model(inputs), labels).backward()
        optimizer.step()
        scheduler.step()
        if step % spec.evaluate_every == 0:
            found.append(_accuracy(model, dataset.held_out(spec.evaluate_on)))
    return float(np.mean(found[-spec.final_evaluations :]))


def _batches(loader: DataLoader[Any], steps: int) -> Iterator[list[torch.Tensor]]:
    while steps > 0:
        for batch in loader:
            if steps > 0:
                yield batch
            steps -= 1


@torch.no_grad()
def _accuracy(model: nn.Module, split: Any) -> float:
    scores = torch.cat([model(part) for part in split.examples(slice(None)).split(1000)])
    return float((scores.argmax(-1) == split.labels).double().mean())


def accuracies(trials: list[Trial], store: Store) -> dict[Trial, float]:
    """Of these, trained unless they are kept."""
    specs = {trial: trial.setting.run(*trial[1:]) for trial in trials}
    here = {trial: spec for trial, spec in specs.items() if trial.setting.method == CENTRAL}
    runs = {trial: spec for trial, spec in specs.items() if trial not in here}
    check(list(runs.values()))
    run_sweep(list(runs.values()), store, watch=watch_on(Console(stderr=True)))
    stored = store.runs()["accuracy"]
    return {
        **{trial: float(stored[spec.key]) for trial, spec in runs.items()},
        **{trial: central(**spec.model_dump(exclude={"data_dir"})) for trial, spec in here.items()},
    }


def measure(store: Store) -> pd.DataFrame:
    """Train all that is missing; return a row a setting: learning rate, accuracies of all seeds."""
    cells = list(settings())
    tuned = accuracies(
        [Trial(cell, each, TUNING_SEED, "validation") for cell in cells for each in cell.rates()],
        store,
    )
    best = {}
    for cell in cells:
        found = {each: tuned[Trial(cell, each, TUNING_SEED, "validation")] for each in cell.rates()}
        best[cell] = max(found, key=found.__getitem__)
    tested = accuracies(
        [Trial(cell, best[cell], seed, "test") for cell in cells for seed in SEEDS], store
    )
    return pd.DataFrame(
        [
            {
                **cell._asdict(),
                "learning_rate": best[cell],
                "at_edge": best[cell] in (cell.rates()[0], cell.rates()[-1]),
                **{f"seed_{seed}": tested[Trial(cell, best[cell], seed, "test")] for seed in SEEDS},
            }
            for cell in cells
        ]
    )


def by_seed(row: pd.Series) -> np.ndarray:
    """Accuracies in percent."""
    return 100 * row[[f"seed_{seed}" for seed in SEEDS]].to_numpy(float)


def shown(row: pd.Series) -> str:
    """Mean over seeds in percent, and half of the 95 % Student interval."""
    values = by_seed(row)
    half = half_width(values.std(ddof=1), len(values))
    edge = "*" if row["at_edge"] else ""
    return f"{values.mean():.1f} ± {half:.1f} ({row['learning_rate']:g}{edge})"


def table(measured: pd.DataFrame) -> str:
    """In Markdown."""
    cells = measured.assign(cell=measured.apply(shown, axis=1))
    cells["epsilon"] = cells["epsilon"].map(lambda e: "none" if pd.isna(e) else f"{e:g}")
    wide = cells.pivot(index=["model", "epsilon"], columns="method", values="cell")
    wide = wide.reindex(columns=[CENTRAL, *METHODS]).fillna("")
    names = {CENTRAL: "central SGD", "majority_vote": "sign vote"}
    header = ["model", "epsilon", *(names.get(name, name) for name in wide.columns)]
    rows = [[*at, *row] for at, row in zip(wide.index, wide.to_numpy(), strict=True)]
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def comparisons(measured: pd.DataFrame) -> str:
    """Without privacy, is the mean of 15 workers as good as one trainer? Welch's two t-tests."""
    rows = measured[measured["epsilon"].isna()].set_index(["model", "method"])
    lines = []
    for model in MODELS:
        mean, alone = (by_seed(rows.loc[[(model, method)]].iloc[0]) for method in ("mean", CENTRAL))
        low, high = stats.ttest_ind(mean, alone, equal_var=False).confidence_interval(0.90)
        holds = "shown" if low > -MARGIN and high < MARGIN else "not shown"
        lines.append(
            f"- {model}: mean less central {mean.mean() - alone.mean():+.2f} points, 90 % interval "
            f"{low:+.2f} to {high:+.2f}: within {MARGIN:g} point is {holds}."
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, and write the page."""
    KEPT.mkdir(parents=True, exist_ok=True)
    with Store(KEPT / "runs.db") as store:
        measured = measure(store)
    measured.to_csv(HERE / "fashion_mnist.csv", index=False)
    found = f"{table(measured)}\n\n{comparisons(measured)}"
    page = HERE / "fashion_mnist.md"
    start, end = "<!-- measured -->", "<!-- end -->"
    before, _, rest = page.read_text().partition(start)
    after = rest.partition(end)[2]
    page.write_text(f"{before}{start}\n{found}\n{end}{after}")
    print(found)


if __name__ == "__main__":
    main()
