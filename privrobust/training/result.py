"""What a run reports."""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from privrobust.accountants import Release, Spent
from privrobust.aggregators import get_aggregator
from privrobust.core.displayed import Displayed, of_notebooks, told
from privrobust.core.formatting import percent, rounded_up
from privrobust.data import get_dataset
from privrobust.spec import RunSpec
from privrobust.theory import error_bound, error_of_mean
from privrobust.training.gradient_bounds import Failure
from privrobust.training.held_out import evaluated_on
from privrobust.training.privacy_plan import PrivacyPlan
from privrobust.training.shares import codes, shares

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False, repr=False)
class RunResult(Displayed):
    """The outcome of one run."""

    spec: RunSpec
    spent: Spent
    """(epsilon, delta), the accountant that vouches for it, and why epsilon is infinite if so."""
    history: pd.DataFrame
    """A row an evaluation: `step`, `accuracy`, `loss` and `calibration_error` on the held-out
    split, the `attack_success_rate`, and how well the step's aggregate stood for the honest
    messages (`privrobust.training.measures.Measures`)."""
    correct: np.ndarray
    """For each held-out example, the share of the last `spec.final_evaluations` evaluations that
    classified it correctly, `(examples,)`."""
    train_accuracy: float
    """Mean accuracy, in [0, 1], on training examples in the same evaluations: on all that the
    honest workers hold, or on a fixed sample (`privrobust.training.fit`). It is no release: whoever
    runs an experiment sees all data, and epsilon does not cover what that one publishes of it."""
    train_loss: float
    """Mean loss on the same training examples; not covered by epsilon either."""
    steps: int
    """Steps taken: fewer than `spec.steps` where `max_epsilon` ended the run."""
    dim: int
    """The model's parameters, and with it the coordinates of a message."""
    kappa_bound: float
    """What `kappa` is at most, by the rule's proof; NaN where nothing is proven."""
    failure: str | None = None
    """Why the run ended without a result: accuracy and loss are NaN, epsilon is infinite."""

    def __repr__(self) -> str:
        """Say how it ended, in a line."""
        estimate = "" if self.spent.is_upper_bound or math.isinf(self.epsilon) else "~"
        facts = [
            f"failed ({self.failure})" if self.failure else f"accuracy {percent(self.accuracy)} %",
            f"epsilon {estimate}{rounded_up(self.epsilon, 3)}",
            f"{self.steps} steps",
            *(["diverged"] if self.diverged else []),
        ]
        return told(type(self).__name__, self.spec.aggregator, facts)

    def plot(self, measure: str = "accuracy") -> "Figure":
        """Draw a column of `history` against the step, as `privrobust figure curves` does.

        Raises:
            SpecError: no such column, or nothing in it; matplotlib is missing (extra `plot`).

        """
        figure: Figure = of_notebooks("curve")(self, measure)
        return figure

    @property
    def accuracy(self) -> float:
        """Mean accuracy, in [0, 1], of the last `spec.final_evaluations` evaluations."""
        return self._final("accuracy")

    @property
    def loss(self) -> float:
        """Mean loss (cross-entropy in nats, or `spec.loss`) of the same evaluations."""
        return self._final("loss")

    @property
    def calibration_error(self) -> float:
        """Expected calibration error, in [0, 1], of the same evaluations (Guo et al. 2017)."""
        return self._final("calibration_error")

    @property
    def attack_success_rate(self) -> float:
        """Share, in [0, 1], of the held-out examples that the attack aims at which it wins.

        Over the same evaluations; NaN without an attack that has a goal of its own, as backdoors
        do. A model that nobody attacked is not at 0: the attack's `share=0` measures that.
        """
        return self._final("attack_success_rate")

    @property
    def generalisation_gap(self) -> float:
        """Accuracy on training examples less that on held-out ones: what was learnt by heart.

        About 0, too, where nothing was learnt: read it beside `train_accuracy`.
        """
        return self.train_accuracy - self.accuracy

    @property
    def loss_gap(self) -> float:
        """Loss on held-out examples less that on training examples.

        This is what stability bounds, as of Hardt, Recht, Singer 2016, are about.
        """
        return self.loss - self.train_loss

    @property
    def accuracy_by_class(self) -> pd.Series:
        """Accuracy on the examples of each class in the same evaluations; NaN for a class without.

        Who pays for privacy and robustness: rare classes often do.
        """
        dataset = get_dataset(self.spec.dataset, self.spec.data_dir)
        labels = evaluated_on(self.spec, dataset).labels.numpy()
        return pd.Series(
            _mean_by(labels, self.correct, dataset.classes), name="accuracy"
        ).rename_axis("class")

    @property
    def accuracy_by_worker(self) -> pd.Series:
        """Accuracy on held-out examples such as each honest worker's own.

        They are weighted to the labels that the worker holds, or with `partition: groups` to its
        groups; NaN where it holds a label or group that the held-out split lacks.
        """
        dataset = get_dataset(self.spec.dataset, self.spec.data_dir)
        held_out, partition = evaluated_on(self.spec, dataset), self.spec.dealt_by
        mine = codes(dataset, dataset.train, partition)
        kinds = max(dataset.classes, len(dataset.group_names))
        accuracy = _mean_by(codes(dataset, held_out, partition).numpy(), self.correct, kinds)
        mixes = [
            np.bincount(mine[share], minlength=kinds) / len(share) for share in shares(self.spec)
        ]
        # a sum of rounded products may be a little above what it averages
        by_worker = [np.minimum(1.0, np.sum(mix[mix > 0] * accuracy[mix > 0])) for mix in mixes]
        return pd.Series(by_worker, name="accuracy").rename_axis("worker")

    @property
    def worst_class_accuracy(self) -> float:
        """The least of `accuracy_by_class`, over the classes that have held-out examples."""
        return float(self.accuracy_by_class.min())

    @property
    def worst_worker_accuracy(self) -> float:
        """The least of `accuracy_by_worker`, over the honest workers for whom it is known."""
        return float(self.accuracy_by_worker.min())

    @property
    def kappa(self) -> float:
        """Empirical robustness coefficient: the largest kappa of the steps that were measured."""
        return float(self.history["kappa"].max())

    @property
    def error(self) -> float:
        """Mean of the `error` of the steps that were measured; NaN where signs are sent."""
        rule = get_aggregator(self.spec.aggregator, self.spec.byzantine)
        return math.nan if rule.message == "sign" else float(self.history["error"].mean())

    @property
    def error_bound(self) -> float:
        """What the expectation of `error` is at most, by settings alone (`theory.error_bound`).

        With `pairwise_noise` it takes no advantage of what cancels in the mean. NaN where nothing
        is proven: of the rule, of gradients without a bound, with `worker_momentum`, whose messages
        are of other steps too, and of sums of noisy local steps, of whose gradients the noise is
        not independent.
        """
        spec, plan = self.spec, PrivacyPlan(self.spec)
        releases = plan.releases
        if spec.worker_momentum or spec.noisy_vectors > 1 or math.isinf(releases[0].contribution):
            return math.nan
        moment = sum(map(second_moment, releases)) / len(releases)
        return error_bound(self.kappa_bound, spec.honest, self.dim, spec.noise_std, moment)

    @property
    def error_of_mean(self) -> float:
        """What noise makes of the mean of the honest messages; NaN with `worker_momentum`."""
        if self.spec.worker_momentum:
            return math.nan
        return error_of_mean(self.spec.honest, self.dim, self.spec.lasting_noise_std)

    def ended_by(self, failure: Failure) -> "RunResult":
        """Return the run without its result: what it claimed of its gradients is false."""
        spent = replace(self.spent, epsilon=math.inf, reason="the stated gradient bound was broken")
        kept = self.history[self.history["step"] < failure.step]
        correct = np.full_like(self.correct, np.nan)
        return replace(
            self,
            spent=spent,
            history=kept,
            correct=correct,
            train_accuracy=math.nan,
            train_loss=math.nan,
            failure=failure.reason,
        )

    @property
    def epsilon(self) -> float:
        """The run's epsilon at `spec.delta`: the largest over honest workers.

        Neighbours are "zero-out", one contribution set to zero and n public; with a
        `sampling_rate` of examples "add-or-remove", that rate being public.
        """
        return self.spent.epsilon

    @property
    def epsilon_by_worker(self) -> pd.Series:
        """What each honest worker spends; those with less data spend more."""
        spent = PrivacyPlan(self.spec).spent_by_worker
        each = [math.inf if self.failure else worker.epsilon for worker in spent]
        return pd.Series(each, name="epsilon").rename_axis("worker")

    @property
    def diverged(self) -> bool:
        """Whether the loss stopped being finite; such outputs count as wrong answers."""
        return not bool(np.isfinite(self.history["loss"].astype(float)).all())

    def _final(self, column: str) -> float:
        if self.failure:
            return math.nan
        return float(self.history[column].tail(self.spec.final_evaluations).mean(skipna=False))


def proven_kappa(spec: RunSpec) -> float:
    """Return the `kappa_bound` of a run, NaN where nothing is proven.

    Raises:
        SpecError: the rule, a user's own perhaps, fails to tell it.

    """
    rule = get_aggregator(spec.aggregator, spec.byzantine)
    bound = rule.proven(spec.workers, spec.byzantine)
    return math.nan if bound is None else bound


def second_moment(release: Release) -> float:
    """Bound the expectation of the squared L2 norm of what a worker sends, before noise.

    A batch of S examples adds up to S / B of the bound C at most. Where each joins with probability
    q by itself, `E S^2 = n q (n q + 1 - q)`; batches of fixed size and of a shuffled epoch have B
    examples at most.
    """
    if release.unit == "worker":
        return release.sampling_rate * release.contribution**2
    assert release.dataset_size is not None  # of a run
    assert release.batch_size is not None
    if release.sampling in ("fixed", "shuffled"):
        return (release.contribution * release.batch_size) ** 2
    expected = release.dataset_size * release.sampling_rate
    return release.contribution**2 * expected * (expected + 1 - release.sampling_rate)


def _mean_by(codes: np.ndarray, values: np.ndarray, kinds: int) -> np.ndarray:
    """Average the values of each code from 0 to kinds - 1, NaN of those that do not occur."""
    counts = np.bincount(codes, minlength=kinds)
    sums = np.bincount(codes, values, minlength=kinds)
    means: np.ndarray = np.divide(sums, counts, out=np.full(kinds, np.nan), where=counts > 0)
    return means
