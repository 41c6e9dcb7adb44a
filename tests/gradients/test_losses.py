from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp
from sklearn.calibration import calibration_curve
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from privrobust import RunSpec, train
from privrobust.data import get_dataset
from privrobust.errors import SpecError
from privrobust.gradients import Loss, available_losses, get_loss, losses, parameter, register_loss
from privrobust.training.evaluation import calibration_error


def drawn(seed=0, classes=4, shape=(3, 5)):
    generator = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(*shape, classes, generator=generator, dtype=torch.float64)
    return scores, torch.randint(classes, shape, generator=generator)


def one_hot(scores, labels):
    return F.one_hot(labels, scores.shape[-1]).double()


OF_TORCH = {
    "brier": lambda s, y: F.mse_loss(s.softmax(-1), one_hot(s, y), reduction="none").sum(-1) / 2,
    "cross_entropy": lambda s, y: F.cross_entropy(s.movedim(-1, 1), y, reduction="none"),
    "squared": lambda s, y: F.mse_loss(s, one_hot(s, y), reduction="none").sum(-1) / 2,
    "logistic": lambda s, y: F.binary_cross_entropy_with_logits(
        s, one_hot(s, y), reduction="none"
    ).sum(-1),
}


@pytest.mark.parametrize("name", available_losses())
def test_losses_are_torchs(name):
    scores, labels = drawn()
    ours = get_loss(name).values(scores, labels)
    torch.testing.assert_close(ours, OF_TORCH[name](scores, labels))


class Largest(TorchDispatchMode):
    """Keeps how many numbers the largest tensor has that is made."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor):
            self.numbers = max(self.numbers, made.numel())
        return made


@pytest.mark.parametrize("name", available_losses())
def test_values_of_many_classes_take_no_square_of_their_number(name):
    scores, labels = torch.zeros(3, 4, 50), torch.zeros(3, 4, dtype=torch.int64)
    with Largest() as largest:
        get_loss(name).values(scores, labels)
    assert largest.numbers == scores.numel()


@pytest.mark.parametrize("name", available_losses())
def test_errors_are_the_gradients_of_losses(name):
    scores, labels = drawn(seed=1)
    kept = scores.clone()
    errors = get_loss(name).errors(scores, labels)
    assert torch.equal(scores, kept)
    scores.requires_grad_()
    (expected,) = torch.autograd.grad(OF_TORCH[name](scores, labels).sum(), scores)
    torch.testing.assert_close(errors, expected)


EXACT = {
    "brier": lambda s, y: [1 / (1 + mp.exp(s[y] - s[1 - y])) ** 2],
    "cross_entropy": lambda s, y: [mp.log1p(sum(mp.exp(s[k] - s[y]) for k in (0, 1) if k != y))],
    "squared": lambda s, y: [(s[k] - (k == y)) ** 2 / 2 for k in (0, 1)],
    "logistic": lambda s, y: [mp.log1p(mp.exp(-s[k] if k == y else s[k])) for k in (0, 1)],
}
SLOPES = {
    "brier": lambda s, y: [
        2 * (1 - 2 * (k == y)) / (1 + mp.exp(s[y] - s[1 - y])) ** 2 / (1 + mp.exp(s[1 - y] - s[y]))
        for k in (0, 1)
    ],
    "cross_entropy": lambda s, y: [
        (1 - 2 * (k == y)) / (1 + mp.exp(s[y] - s[1 - y])) for k in (0, 1)
    ],
    "squared": lambda s, y: [s[k] - (k == y) for k in (0, 1)],
    "logistic": lambda s, y: [
        (1 - 2 * (k == y)) / (1 + mp.exp(s[k] if k == y else -s[k])) for k in (0, 1)
    ],
}


@pytest.mark.parametrize("name", available_losses())
@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize(
    "scores",
    [
        (12.0, 0.0),
        (0.5, -16.0),
        (30.0, -9.0),
        (45.0, -45.0),
        (120.0, -3.0),
        (1.0, 1e-21),
        (1.0, 1e-40),
    ],
)
def test_losses_and_slopes_are_right_however_small_they_are(name, label, scores):
    """Against 50 digits; a difference with 1, or a square in float32, would leave few of them."""
    given = torch.tensor([scores])
    labels = torch.tensor([label])
    with mp.workdps(80):
        exact = [mp.mpf(float(each)) for each in given[0]]
        value = float(mp.fsum(EXACT[name](exact, label)))
        slopes = [float(each) for each in SLOPES[name](exact, label)]
    ours = get_loss(name).values(given.requires_grad_(), labels)
    assert ours.item() == pytest.approx(value, rel=1e-12, abs=0)
    tiny = 2.0**-149  # the least number that float32 has, and half of it is rounding
    expected = [pytest.approx(each, rel=2e-7, abs=tiny) for each in slopes]
    assert get_loss(name).errors(given.detach(), labels)[0].tolist() == expected
    assert torch.autograd.grad(ours.sum(), given)[0][0].tolist() == expected


@pytest.mark.parametrize("name", available_losses())
def test_scores_that_overflow_have_no_finite_loss(name):
    infinite = torch.tensor([[torch.inf, 0.0], [torch.nan, 0.0], [torch.inf, torch.inf]])
    for label in (0, 1):
        values = get_loss(name).values(infinite, torch.full((3,), label))
        assert not bool(values[1].isfinite())
        if name == "cross_entropy":
            assert not bool(values.isfinite().any())


def test_confidences_are_probabilities_of_the_prediction():
    scores, _ = drawn(seed=2)
    torch.testing.assert_close(
        get_loss("cross_entropy").confidences(scores), scores.softmax(-1).amax(-1)
    )
    torch.testing.assert_close(
        get_loss("logistic").confidences(scores), (1 / (1 + (-scores).exp())).amax(-1)
    )
    far = torch.tensor([[0.2, 0.7], [1.4, 0.1], [-1.0, -2.0]])
    assert get_loss("squared").confidences(far).tolist() == pytest.approx([0.7, 1.0, 0.0])


@pytest.mark.parametrize("loss", available_losses())
def test_every_loss_learns_digits_with_clipping_and_noise(loss):
    result = train(RunSpec(loss=loss, noise_scale=0.03, clip_norm=1.0, steps=150))
    assert result.accuracy > 0.8
    assert 0 < result.calibration_error < 0.5


@pytest.mark.parametrize("loss", available_losses())
def test_training_descends_the_loss_it_names(loss):
    """One step of plain gradient descent, against torch's own gradient."""
    spec = RunSpec(
        loss=loss, aggregator="mean", honest=1, batch_size=1257, steps=1, learning_rate=0.1,
        evaluate_on="validation",
    )  # fmt: skip
    from privrobust.models import build_model

    data = get_dataset("digits")
    model = build_model("logistic", data, spec.seed)
    scores = model(data.train.inputs).double()
    OF_TORCH[loss](scores, data.train.labels).mean().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.1 * parameter.grad
        after = OF_TORCH[loss](model(data.validation.inputs).double(), data.validation.labels)
    assert train(spec).loss == pytest.approx(float(after.mean()), rel=1e-5)


def test_an_unknown_loss():
    with pytest.raises(SpecError, match=r"loss: unknown name 'hinge' .*cross_entropy, logistic"):
        RunSpec(loss="hinge")


@given(seed=st.integers(0, 10**6), count=st.integers(1, 400))
def test_calibration_error_is_the_gap_of_scikit_learns_reliability_curve(seed, count):
    random = np.random.default_rng(seed)
    confidences = random.uniform(0.001, 1, (2, count))
    correct = random.uniform(size=(2, count)) < 0.6
    ours = calibration_error(torch.tensor(confidences), torch.tensor(correct))
    for of_lane, mine, right in zip(ours, confidences, correct, strict=True):
        accuracy, confidence = calibration_curve(right, mine, n_bins=15)
        bins = np.histogram(mine, np.linspace(0, 1, 16))[0]
        gaps = np.abs(accuracy - confidence) * bins[bins > 0] / count
        assert float(of_lane) == pytest.approx(gaps.sum(), abs=1e-12)


def test_a_diverged_run_is_not_calibrated():
    spec = RunSpec(aggregator="mean", byzantine=1, attack="nan", steps=3, honest=5)
    assert np.isnan(train(spec).calibration_error)


def test_calibration_of_the_sure_and_wrong():
    wrong = torch.zeros(10, dtype=torch.bool)
    assert float(calibration_error(torch.ones(10), wrong)) == 1
    assert float(calibration_error(torch.ones(10), ~wrong)) == 0
    assert float(calibration_error(torch.zeros(10), wrong)) == 0


@dataclass(frozen=True)
class Hinge(Loss):
    """`sum_k max(0, margin + s_k - s_y)` over the other classes k (Weston, Watkins 1999)."""

    margin: float = parameter(1.0, above=0)

    def _excess(self, scores, labels):
        places = labels.unsqueeze(-1)
        return (self.margin + scores - scores.gather(-1, places)).scatter(-1, places, 0.0).relu()

    def values(self, scores, labels):
        return self._excess(scores.double(), labels).sum(-1)

    def errors(self, scores, labels):
        ahead = (self._excess(scores, labels) > 0).to(scores.dtype)
        return ahead.scatter(-1, labels.unsqueeze(-1), -ahead.sum(-1, keepdim=True))

    def confidences(self, scores):
        return scores.softmax(-1).amax(-1)


@pytest.mark.parametrize("model", ["logistic", "mlp", f"{__name__}:of_single_examples"])
def test_a_loss_of_ones_own_trains_with_clipping_and_noise(model):
    register_loss("hinge", Hinge)
    settings = {"clip_norm": 1.0, "noise_scale": 0.01, "honest": 4, "steps": 60, "model": model}
    result = train(RunSpec(loss="hinge(margin=2)", **settings))
    assert result.spec.loss == "hinge(margin=2.0)"
    assert result.accuracy > 0.55
    assert result.epsilon == train(RunSpec(**settings)).epsilon
    assert result.loss == pytest.approx(
        train(RunSpec(loss=f"{__name__}:Hinge(margin=2)", **settings)).loss
    )


class Single(torch.nn.Module):
    """Not proven to keep the rows of a batch apart."""

    def __init__(self, width, classes):
        super().__init__()
        self.layer = torch.nn.Linear(width, classes)

    def forward(self, x):
        return self.layer(x.flatten(1))


def of_single_examples(shape, classes):
    return Single(shape.numel(), classes)


class Doubled(Hinge):
    def errors(self, scores, labels):
        return 2 * super().errors(scores, labels)


class Forgetful(Hinge):
    """The label's own score is forgotten."""

    def errors(self, scores, labels):
        return super().errors(scores, labels).scatter(-1, labels.unsqueeze(-1), 0.0)


class OfTheBatch(Hinge):
    def values(self, scores, labels):
        values = super().values(scores, labels)
        return values - values.mean()


class Narrow(Hinge):
    def values(self, scores, labels):
        return super().values(scores, labels).float()


class Mean(Hinge):
    def values(self, scores, labels):
        return super().values(scores, labels).mean()


class Wide(Hinge):
    def errors(self, scores, labels):
        return super().errors(scores, labels).double()


class Unsure(Hinge):
    def confidences(self, scores):
        return scores.amax(-1)


class Broken(Hinge):
    def values(self, scores, labels):
        return scores.no_such_method()


class Counting(Hinge):
    """Its control flow depends on data, which vmap does not know."""

    def errors(self, scores, labels):
        return super().errors(scores, labels) if bool(scores.sum() < 1e9) else scores


class AtChance(Hinge):
    def errors(self, scores, labels):
        return super().errors(scores, labels) + 0 * torch.rand_like(scores)


WRONG = [
    (Doubled, "its errors are not the gradient of its values: they are off by up to 2"),
    (Forgetful, "its errors are not the gradient of its values"),
    (OfTheBatch, "the loss of an example depends on those beside it"),
    (Narrow, r"values of torch.float32 \(64,\); accepted: torch.float64 \(64,\)"),
    (Mean, r"values of torch.float64 \(\); accepted: torch.float64 \(64,\)"),
    (Wide, "errors of torch.float64 for scores of torch.float32"),
    (Unsure, "its confidences are no probabilities"),
    (Broken, "Broken: it failed .*no_such_method"),
    (Counting, "Counting: it failed .*data-dependent control flow"),
    (AtChance, "AtChance: it failed .*random"),
]


@pytest.mark.parametrize(("loss", "message"), WRONG)
def test_a_wrong_loss_is_found_out_and_never_trains(loss, message):
    for refused in (
        lambda: register_loss("wrong", loss),
        lambda: RunSpec(loss=f"{__name__}:{loss.__name__}"),
        lambda: RunSpec(loss=f"{__name__}:{loss.__name__}(margin=2)"),
    ):
        with pytest.raises(SpecError, match=message) as raised:
            refused()
        assert "\n" not in str(raised.value)
    assert "wrong" not in available_losses()


@dataclass(frozen=True)
class Meddling(Hinge):
    """Takes the mean over a batch from its errors, and none where it is alone."""

    def errors(self, scores, labels):
        errors = super().errors(scores, labels)
        return errors - errors.mean(0) if errors.dim() > 1 else errors


def test_no_example_of_a_batch_sees_another_through_a_loss():
    """What the loss would do to a batch it is never given: errors are those of each alone."""
    register_loss("meddling", Meddling)
    scores, labels = torch.randn(2, 5, 3), torch.randint(3, (2, 5))
    ours = get_loss("meddling").gradients(scores, labels)
    torch.testing.assert_close(ours, Hinge().errors(scores, labels))
    assert not torch.allclose(ours, Meddling().errors(scores, labels))


@pytest.mark.parametrize("name", available_losses())
def test_our_losses_pass_what_a_users_has_to(name):
    assert losses._problem(get_loss(name)) is None


@dataclass(frozen=True)
class OfAScale(Hinge):
    """Has no default."""

    scale: float = field(kw_only=True)

    def errors(self, scores, labels):
        return self.scale * super().errors(scores, labels)


def test_a_loss_without_defaults_is_tried_out_once_it_is_named():
    register_loss("scaled", OfAScale)
    with pytest.raises(SpecError, match="loss: scaled needs scale; accepted: scaled"):
        RunSpec(loss="scaled")
    with pytest.raises(SpecError, match="its errors are not the gradient"):
        RunSpec(loss="scaled(scale=3)")
    assert RunSpec(loss="scaled(scale=1)").loss == "scaled(scale=1.0)"
