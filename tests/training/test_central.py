"""One worker and the mean are central DP-SGD: its steps beside those of opacus."""

import pytest
import torch
from opacus import GradSampleModule
from opacus.accountants import RDPAccountant
from opacus.optimizers import DPOptimizer
from scipy import stats
from torch.nn.functional import cross_entropy

from privrobust import RunSpec, train
from privrobust.data import get_dataset
from privrobust.models import build_model
from privrobust.training.batches import honest_batches

CENTRAL = RunSpec(
    dataset="digits", model="mlp", aggregator="mean", honest=1, batch_size=48, clip_norm=0.7,
    momentum=0.9, learning_rate=0.4, steps=15, evaluate_every=1, seed=3,
)  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:opacus", "ignore:Full backward hook")


def opacus(spec, noise_multiplier):
    """Return a model and an optimiser that trains it privately, from where a run starts."""
    model = GradSampleModule(build_model(spec.model, get_dataset(spec.dataset), spec.seed))
    sgd = torch.optim.SGD(model.parameters(), spec.learning_rate, spec.momentum)
    return model, DPOptimizer(
        sgd,
        noise_multiplier=noise_multiplier,
        max_grad_norm=spec.clip_norm,
        expected_batch_size=spec.batch_size,
    )


def batches(spec):
    """Yield the examples and labels that the one worker of a run draws."""
    dataset = get_dataset(spec.dataset)
    for batch in honest_batches([spec], dataset, dataset.train, spec.steps):
        yield batch.inputs[batch.present], batch.labels[batch.present]


def backward(model, optimiser, inputs, labels):
    optimiser.zero_grad()
    cross_entropy(model(inputs), labels).backward()


def test_steps_without_noise_are_those_of_opacus():
    """Clipping, the divisor, momentum and the rate, on batches of some 30 to 70 examples."""
    model, optimiser = opacus(CENTRAL, noise_multiplier=0.0)
    test, losses, sizes = get_dataset(CENTRAL.dataset).test, [], set()
    for inputs, labels in batches(CENTRAL):
        sizes.add(len(labels))
        backward(model, optimiser, inputs, labels)
        optimiser.step()
        with torch.no_grad():
            losses.append(float(cross_entropy(model(test.inputs), test.labels)))
    ours = train(CENTRAL).history["loss"]
    assert len(sizes) > 5  # so that a divisor of the data's would be seen
    assert losses[-1] < 0.8 * losses[0]
    assert ours.tolist() == pytest.approx(losses, rel=1e-4)


def test_its_noise_and_its_epsilon_are_those_of_opacus(messages_of):
    """At b = sigma C / B, of both 6 vectors of 7,510 coordinates: false alarms below 1e-8."""
    sigma, steps = 1.3, 6
    b = sigma * CENTRAL.clip_norm / CENTRAL.batch_size
    spec = CENTRAL.model_copy(update={"noise_scale": b, "steps": steps, "evaluate_every": steps})
    quiet = spec.model_copy(update={"noise_scale": 0.0})
    ours = ((messages_of(spec) - messages_of(quiet)) / b).flatten(0, 2)

    model, optimiser = opacus(spec, sigma)
    theirs = []
    for inputs, labels in batches(spec):
        backward(model, optimiser, inputs, labels)
        optimiser.clip_and_accumulate()
        clipped = flat(each.summed_grad for each in model.parameters()) / spec.batch_size
        optimiser.add_noise()
        optimiser.scale_grad()
        theirs.append((flat(each.grad for each in model.parameters()) - clipped) / b)
    for noise in (ours, torch.stack(theirs)):
        total = stats.chi2(noise.numel()).cdf(float(noise.double().square().sum()))
        assert noise.shape == (steps, 7_510)
        assert 1e-9 < total < 1 - 1e-9

    accountant = RDPAccountant()
    rate = spec.batch_size / len(get_dataset(spec.dataset).train)
    accountant.history = [(sigma, rate, steps)]
    run = train(spec.model_copy(update={"accountant": "rdp"}))
    assert run.epsilon == pytest.approx(accountant.get_epsilon(spec.delta), rel=0.01)


def flat(tensors):
    return torch.cat([each.detach().flatten() for each in tensors])
