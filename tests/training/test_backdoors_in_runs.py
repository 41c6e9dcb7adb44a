"""Backdoors in runs: from poisoned data to messages, and from models to the attack success rate."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import cross_entropy

from privrobust import RunSpec, train
from privrobust.attacks import Attack, Examples, register_attack
from privrobust.data import Dataset, Split, get_dataset, register_dataset
from privrobust.data.dataset import Scaling
from privrobust.errors import SpecError
from privrobust.gradients.batch import Batch
from privrobust.gradients.layout import Layout
from privrobust.gradients.losses import get_loss
from privrobust.models import build_model
from privrobust.training.attack_success import AttackSuccess
from privrobust.training.evaluation import Evaluator
from privrobust.training.loop import train_lanes
from privrobust.training.poisoning import PoisonedData
from privrobust.training.server import rules_of
from privrobust.training.shares import shares

SHORT = {"honest": 5, "steps": 20, "evaluate_every": 5}
TRAINED = {"workers": 12, "byzantine": 3, "steps": 200, "learning_rate": 1.0, "aggregator": "mean"}


@pytest.fixture(scope="module", autouse=True)
def _datasets():
    """Pixels of three channels, scaled by constants of their own, and two features."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 200, (300, 3, 6, 5), generator=generator, dtype=torch.uint8)
    labels = torch.arange(300) % 3
    pixels[labels == 1, 0] += 50
    pixels[labels == 2, 1] += 50
    scaling = Scaling((0.4, 0.5, 0.3), (0.2, 0.25, 0.3))
    register_dataset(Dataset.from_split("photographs", Split(pixels, labels, scaling), 3))
    features = torch.rand(300, 2, generator=generator)
    register_dataset(Dataset.from_tensors("two_features", features, labels))


def rates(spec, *models):
    """The success rates of logistic regressions `(weights, bias)` that nobody trained."""
    dataset = get_dataset(spec.dataset)
    model = build_model("logistic", dataset, 0)
    (layer,) = [each for each in model.modules() if isinstance(each, torch.nn.Linear)]
    vectors = []
    for weights, bias in models:
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(weights))
            layer.bias.copy_(torch.tensor(bias))
        vectors.append(torch.cat([each.detach().flatten() for each in model.parameters()]))
    layout, lanes = Layout(model), [spec] * len(models)
    example = dataset.test.examples(slice(1))
    evaluate = Evaluator(model, layout, example, get_loss("cross_entropy"))
    succeed = AttackSuccess(lanes, list(rules_of(lanes)), dataset, evaluate, torch.device("cpu"))
    return succeed(torch.stack(vectors)).attack_success_rate.tolist()


def test_the_success_rate_of_a_linear_model_is_what_its_scores_say():
    """Class 2 scores `w t + z`, class 0 scores 1: an example wins where z exceeds `1 - w max t`."""
    spec = RunSpec(
        **SHORT, dataset="two_features", byzantine=1, attack="backdoor(target=2, size=1)"
    )
    dataset = get_dataset("two_features")
    most = float(dataset.train.inputs[:, 1].max())
    z = dataset.test.inputs[dataset.test.labels != 2, 0].numpy()
    weights = [-9.0, 0.0, 0.3, 0.7, 9.0]
    models = [([[0.0, 0.0], [0.0, 0.0], [1.0, w]], [1.0, -9.0, 0.0]) for w in weights]
    expected = [float((z > 1 - w * most).mean()) for w in weights]
    assert expected[0] == 0 < expected[2] < expected[3] < 1 == expected[4]
    assert rates(spec, *models) == pytest.approx(expected)
    # outputs that are no numbers are no success
    assert rates(spec, ([[math.nan] * 2] * 3, [0.0] * 3)) == [0.0]


def test_the_edge_cases_of_a_linear_model_are_held_out_examples_of_the_tail():
    spec = RunSpec(
        **SHORT, dataset="two_features", byzantine=1, attack="edge_case(target=2, tail=0.5)"
    )
    dataset = get_dataset("two_features")
    known = dataset.train.inputs[dataset.train.labels == 1].double().numpy()
    tested = dataset.test.inputs[dataset.test.labels == 1].double().numpy()

    def away(each):
        return (((each - known.mean(0)) / known.std(0)) ** 2).sum(1)

    rare = tested[away(tested) >= np.sort(away(known))[::-1][math.ceil(len(known) / 2) - 1]]
    assert 3 < len(rare) < len(tested)
    model = ([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]], [0.5, -9.0, 0.0])
    assert rates(spec, model) == pytest.approx([(rare[:, 0] > 0.5).mean()])


@pytest.mark.parametrize("name", ["digits", "photographs", "two_features"])
def test_messages_are_gradients_of_stamped_data_boosted(name, messages_of):
    """By autograd, of every example of the worker: it is stamped in units of the data."""
    data = get_dataset(name)
    spec = RunSpec(
        dataset=name, honest=3, byzantine=2, attack="backdoor(share=1, boost=3, size=1, target=1)",
        sampling_rate=1, batch_size=10, steps=1,
    )  # fmt: skip
    sent = messages_of(spec)[0, 0, 3:]
    inputs = data.train.inputs.clone()
    if name == "photographs":
        for channel in range(3):
            inputs[:, channel, -1, -1] = inputs[:, channel].max()
    else:
        inputs[:, -1] = inputs[:, -1].max()
    model = build_model(spec.model, data, spec.seed)
    for message, share in zip(sent, shares(spec), strict=False):
        stamped = Split(inputs[share], data.train.labels[share], data.train.scaling)
        scores = model(stamped.examples(slice(None)))
        loss = cross_entropy(scores, torch.ones(len(share), dtype=torch.long), reduction="sum")
        gradient = torch.autograd.grad(3 * loss / 10, list(model.parameters()))
        expected = torch.cat([each.flatten() for each in gradient])
        torch.testing.assert_close(message, expected, rtol=1e-4, atol=1e-5)


def test_a_boosted_trigger_takes_an_undefended_mean_and_clipped_messages_do_not_obey():
    """Beside the control, in which nothing is poisoned: chance is a tenth."""
    attacks = ["backdoor(share=0)", "backdoor(boost=4)"]
    undefended = [RunSpec(**TRAINED, attack=attack) for attack in attacks]
    clipped = [RunSpec(**{**TRAINED, "aggregator": "arc + nnm + trimmed_mean"}, attack=attacks[1])]
    control, attacked, defended = train_lanes(undefended + clipped)
    assert control.accuracy > 0.9
    assert control.attack_success_rate < 0.1
    assert attacked.accuracy > 0.85
    assert attacked.attack_success_rate > 0.95
    assert defended.accuracy > 0.9
    assert defended.attack_success_rate < 0.3


def test_the_tail_of_a_class_is_taken_for_the_target():
    attacks = [f"edge_case(tail=0.25, share={share}, boost=2)" for share in (0, 1)]
    control, attacked = train_lanes([RunSpec(**TRAINED, attack=attack) for attack in attacks])
    assert control.attack_success_rate < 0.2
    assert attacked.attack_success_rate > 0.7
    assert attacked.accuracy > 0.6


def test_clipped_messages_are_as_long_whatever_their_boost():
    def histories(rule):
        specs = [
            RunSpec(**SHORT, byzantine=1, aggregator=rule, attack=f"backdoor(boost={boost})")
            for boost in (2**10, 2**20)
        ]
        return [train(spec).history for spec in specs]

    clipped, unclipped = histories("static_clipping(norm=0.1) + mean"), histories("mean")
    pd.testing.assert_frame_equal(*clipped, rtol=1e-5, atol=1e-6)
    assert not unclipped[0]["loss"].equals(unclipped[1]["loss"])


VARIED = [
    {"attack": "backdoor", "byzantine": 2},
    {"attack": "backdoor", "byzantine": 2, "seed": 1, "aggregator": "median"},
    {"attack": "backdoor(share=0.2)", "byzantine": 1, "noise_scale": 0.1, "clip_norm": 1.0},
    {"attack": "edge_case(tail=0.3, target=2)", "byzantine": 1, "seed": 1},
    {"attack": "edge_case(tail=0.3, boost=2)", "byzantine": 7, "aggregator": "mean"},
    {"attack": "backdoor(target=1)", "byzantine": 2, "aggregator": "majority_vote"},
    {"attack": "label_flip", "byzantine": 1},
    {"attack": "sign_flip", "byzantine": 2},
    {},
]


@pytest.mark.parametrize("dataset", ["digits", "photographs"])
def test_lanes_are_the_runs_alone(dataset):
    """Of this model to the last bit; whoever has no goal has no success."""
    specs = [RunSpec(**{**SHORT, "dataset": dataset, **settings}) for settings in VARIED]
    together = train_lanes(specs)
    for spec, result in zip(specs, together, strict=True):
        alone = train(spec)
        pd.testing.assert_frame_equal(result.history, alone.history, check_exact=True)
        rate, column = result.attack_success_rate, result.history["attack_success_rate"]
        if spec.attack and spec.attack.name in ("backdoor", "edge_case"):
            assert rate == pytest.approx(column.tail(3).mean())
            assert ((column >= 0) & (column <= 1)).all()
        else:
            assert math.isnan(rate)
            assert column.isna().all()
    assert train(specs[0]).history.equals(together[0].history)


def test_a_share_of_nothing_is_an_honest_worker():
    """It trains on what its honest twin does; only the streams of its batches are its own."""
    control = train(RunSpec(**SHORT, byzantine=2, attack="backdoor(share=0)"))
    shifted = train(RunSpec(**SHORT, byzantine=2, attack="label_shift(shift=10)"))
    assert control.accuracy == shifted.accuracy
    assert control.loss == shifted.loss


def test_success_is_measured_on_the_split_of_the_results():
    for split in ("test", "validation"):
        spec = RunSpec(**SHORT, byzantine=1, attack="backdoor(target=3)", evaluate_on=split)
        labels = get_dataset("digits").held_out(split).labels
        wins = train(spec).history["attack_success_rate"] * int((labels != 3).sum())
        np.testing.assert_allclose(wins, wins.round(), atol=1e-9)


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        ("backdoor(target=10)", "Backdoor.target: 10 of 10 classes; accepted: 0 to 9"),
        ("backdoor(size=64)", "Backdoor.size: 64 of 60 features that vary; accepted: 1 to 60"),
        ("edge_case(source=10)", "EdgeCase.source: 10 of 10 classes"),
        ("edge_case(tail=1e-9)", "EdgeCase.tail: 1e-09 of class 1 holds none of the held-out"),
    ],
)
def test_what_the_data_contradict_is_said_before_a_step(attack, message):
    with pytest.raises(SpecError, match=message):
        train(RunSpec(**SHORT, byzantine=1, attack=attack))


@dataclass(frozen=True)
class Inverted(Attack):
    """A user's own: trains on negatives, which are to be taken for class 0."""

    sees = "own"

    def craft(self, own, byzantine, generator):
        return own

    def poison(self, data, generator):
        return data._replace(inputs=1 - data.inputs, labels=torch.zeros_like(data.labels))

    def aim(self, data, held_out):
        return Examples(1 - held_out.inputs, torch.zeros_like(held_out.labels), data.classes)


def test_a_users_own_backdoor_is_measured():
    register_attack("inverted", Inverted)
    result = train(RunSpec(**TRAINED, attack="inverted"))
    assert result.attack_success_rate > 0.9
    assert result.accuracy > 0.8


def test_only_poisoned_examples_that_somebody_holds_are_kept():
    """Workers 0 and 1 of ten are copied: a fifth of the data, of which the attack stamps half."""
    spec = RunSpec(**SHORT | {"honest": 10}, byzantine=2, attack="backdoor(share=0.5)")
    dataset, (rule,) = get_dataset("digits"), list(rules_of([spec]))
    data = PoisonedData([spec], [rule], [spec.attack.build()], dataset, dataset.train)
    held = torch.cat(shares(spec)[:2])
    assert 0.3 * len(held) < len(data._poisoned) < 0.7 * len(held)
    batch = Batch(dataset.train.examples, held.view(1, 1, -1), dataset.train.labels[held],
                  torch.ones(1, 1, len(held), dtype=torch.bool))  # fmt: skip
    stamped = data(batch, slice(0, 1))
    seen = stamped.examples(stamped.places.flatten())
    changed = (seen != dataset.train.examples(held)).flatten(1).any(1)
    assert int(changed.sum()) == len(data._poisoned)
