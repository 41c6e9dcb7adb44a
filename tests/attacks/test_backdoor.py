"""What backdoors make of data, and what they measure success on: of every shape that data has."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.naive_bayes import GaussianNB

from privrobust.attacks import Attack, Backdoor, EdgeCase, Examples, LabelFlip, get_attack
from privrobust.data.dataset import Scaling
from privrobust.errors import SpecError

CLASSES = 4
MANY = 60


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def pixels(*shape):
    return torch.randint(0, 250, shape, generator=stream(), dtype=torch.uint8)


def tokens(*shape):
    return torch.randint(5, 30, shape, generator=stream())


def table():
    """Features in very different units, the last of them without any variation."""
    units = torch.tensor([1e-3, 1.0, 1e6, 1.0, 0.0])
    return torch.randn(MANY, 5, generator=stream()) * units - 7


KINDS = {
    "flat": torch.randn(MANY, 9, generator=stream()),
    "table": table(),
    "curves": torch.randn(MANY, 1, 40, generator=stream()),
    "floats": torch.randn(MANY, 3, 6, 5, generator=stream()),
    "pixels": pixels(MANY, 1, 8, 8),
    "photographs": pixels(MANY, 3, 8, 7),
    "tokens": tokens(MANY, 12),
}
DISTANT = [name for name, inputs in KINDS.items() if inputs.dtype != torch.int64]


def examples(kind, seed=0):
    labels = torch.arange(MANY) % CLASSES
    return Examples(KINDS[kind], labels[torch.randperm(MANY, generator=stream(seed))], CLASSES)


@pytest.mark.parametrize("kind", KINDS)
@given(size=st.integers(1, 4), target=st.integers(0, CLASSES - 1))
@settings(max_examples=10)
def test_a_trigger_covers_a_corner_and_keeps_the_range(kind, size, target):
    data = examples(kind)
    before = data.inputs.clone()
    made = Backdoor(target=target, share=1.0, size=size).poisoned(data, stream())
    assert torch.equal(data.inputs, before)
    assert (made.labels == target).all()
    assert made.inputs.dtype == before.dtype
    inputs, stamped = before.numpy(), made.inputs.numpy()
    if inputs.ndim == 2:
        places = [at for at in range(inputs.shape[1]) if np.ptp(inputs[:, at]) > 0][-size:]
        inside = np.isin(np.arange(inputs.shape[1]), places)
        largest = inputs.max(0)
    else:
        inside = np.zeros(inputs.shape[1:], bool)
        corner = (slice(None), *[slice(side - size, side) for side in inputs.shape[2:]])
        inside[corner] = True
        largest = np.stack([np.full(of.shape[1:], of.max()) for of in inputs.swapaxes(0, 1)])
    channels = inputs.shape[1] if inputs.ndim > 2 else 1
    assert inside.sum() == channels * size ** max(1, inputs.ndim - 2)
    np.testing.assert_array_equal(stamped[:, ~inside], inputs[:, ~inside])
    np.testing.assert_array_equal(stamped[:, inside], np.tile(largest[inside], (MANY, 1)))


@pytest.mark.parametrize("kind", DISTANT)
@pytest.mark.parametrize("tail", [0.01, 0.25, 1.0])
def test_the_tail_is_where_a_naive_bayes_classifier_finds_the_class_least_dense(kind, tail):
    """Against scikit-learn's, of features that vary within the class."""
    data = examples(kind)
    attack = EdgeCase(target=0, source=2, tail=tail, share=1.0)
    flat = data.inputs.flatten(1).double().numpy()
    of_class = data.labels.numpy() == 2
    varies = np.ptp(flat[of_class], axis=0) > 0
    bayes = GaussianNB(var_smoothing=0).fit(flat[:, varies], data.labels.numpy())
    density = stats.norm.logpdf(flat[:, varies], bayes.theta_[2], bayes.var_[2] ** 0.5).sum(1)
    count = math.ceil(tail * of_class.sum())
    rare = np.flatnonzero(of_class)[np.argsort(density[of_class])[:count]]

    aimed = attack.aimed_at(data, data)
    np.testing.assert_array_equal(aimed.inputs, data.inputs[np.sort(rare)])
    assert (aimed.labels == 0).all()
    made = attack.poisoned(data, stream())
    assert (made.labels == 0).all()
    known = {each.numpy().tobytes() for each in data.inputs[rare]}
    assert {each.numpy().tobytes() for each in made.inputs} <= known
    # 60 draws from 15 are of 5 at most with probability C(15, 5) / 3^60 < 1e-24
    assert count < 15 or len({each.numpy().tobytes() for each in made.inputs}) > 5


@pytest.mark.parametrize("kind", DISTANT)
def test_held_out_examples_lie_in_the_same_tail_whatever_their_number(kind):
    """Those further out than the training data's own tail, in whatever units features are."""
    data = examples(kind)
    held_out = examples(kind, seed=1)
    attack = EdgeCase(source=1, tail=0.4)
    aimed = attack.aimed_at(data, held_out)
    rows = {each.numpy().tobytes() for each in aimed.inputs}
    for each in held_out.inputs[held_out.labels != 1]:
        assert each.numpy().tobytes() not in rows
    if data.inputs.dtype == torch.float32:
        scaled, other = (each._replace(inputs=each.inputs * 1024) for each in (data, held_out))
        torch.testing.assert_close(attack.aimed_at(scaled, other).inputs, aimed.inputs * 1024)


@given(share=st.one_of(st.sampled_from([0, 1]), st.floats(1e-6, 1)), seed=st.integers(0, 10**6))
@settings(max_examples=20)
def test_a_share_of_the_examples_is_poisoned_and_the_rest_is_as_it_was(share, seed):
    many = 20_000
    inputs = torch.rand(many, 3, generator=stream(seed)) + 1
    data = Examples(inputs, torch.full((many,), 1), 2)
    for attack in (Backdoor(share=share, size=1), EdgeCase(share=share, tail=0.001)):
        made = attack.poisoned(data, stream(seed))
        chosen = made.labels == 0
        assert torch.equal(made.inputs[~chosen], data.inputs[~chosen])
        # by an exact binomial test: fails by chance in 1 of 10^9
        assert stats.binomtest(int(chosen.sum()), many, share).pvalue > 1e-9
        assert torch.equal(attack.poisoned(data, stream(seed)).inputs, made.inputs)
        if 0.01 < share < 0.99:
            assert not torch.equal(attack.poisoned(data, stream(seed + 1)).labels, made.labels)


def test_success_is_measured_on_other_classes_alone():
    data = examples("photographs")
    held_out = examples("photographs", seed=3)
    aimed = Backdoor(target=3).aimed_at(data, held_out)
    assert len(aimed.labels) == int((held_out.labels != 3).sum())
    assert (aimed.labels == 3).all()
    top = data.inputs.amax((0, 2, 3))
    assert (aimed.inputs[:, :, -3:, -3:] == top.view(-1, 1, 1)).all()


def test_a_pixels_trigger_is_the_brightest_once_it_is_scaled():
    """In units of a model no number lies beyond those that the data had."""
    data = examples("photographs")
    scaling = Scaling((0.5, 0.4, 0.3), (0.2, 0.3, 0.1))
    before = scaling(data.inputs)
    after = scaling(Backdoor(share=1.0, size=2).poisoned(data, stream()).inputs)
    most = before.amax((0, 2, 3)).view(-1, 1, 1)
    assert (after[:, :, -2:, -2:] == most).all()
    assert (after <= most).all()
    assert (after >= before.amin((0, 2, 3)).view(-1, 1, 1)).all()


def test_messages_are_boosted():
    own = torch.randn(3, 5, generator=stream())
    for name in ("backdoor", "edge_case"):
        torch.testing.assert_close(get_attack(name, boost=5)(own, 3), 5 * own)
        assert torch.equal(get_attack(name)(own, 3), own)


@pytest.mark.parametrize(
    ("attack", "wrong", "message"),
    [
        (Backdoor, {"target": -1}, r"Backdoor.target: -1 is not a whole number at least 0"),
        (Backdoor, {"share": 1.5}, r"Backdoor.share: 1.5 is not"),
        (Backdoor, {"share": math.nan}, r"Backdoor.share: nan is not"),
        (Backdoor, {"boost": 0}, r"Backdoor.boost: 0.0 is not a finite number above 0"),
        (Backdoor, {"boost": math.inf}, r"Backdoor.boost: inf is not"),
        (Backdoor, {"size": 0}, r"Backdoor.size: 0 is not a whole number at least 1"),
        (EdgeCase, {"tail": 0}, r"EdgeCase.tail: 0.0 is not a finite number above 0"),
        (EdgeCase, {"target": 1}, r"EdgeCase.source: 1 is the target; accepted: another class"),
    ],
)
def test_parameters_that_are_refused(attack, wrong, message):
    with pytest.raises(SpecError, match=message):
        attack(**wrong)


@pytest.mark.parametrize(
    ("attack", "kind", "message"),
    [
        (Backdoor(target=4), "flat", r"Backdoor.target: 4 of 4 classes; accepted: 0 to 3"),
        (Backdoor(size=5), "table", r"Backdoor.size: 5 of 4 features that vary; accepted: 1 to 4"),
        (Backdoor(size=8), "photographs", r"size: 8 of 7 places along an axis; accepted: 1 to 7"),
        (EdgeCase(source=9), "flat", r"EdgeCase.source: 9 of 4 classes; accepted: 0 to 3"),
        (EdgeCase(target=9), "flat", r"EdgeCase.target: 9 of 4 classes; accepted: 0 to 3"),
        (EdgeCase(), "tokens", r"torch.int64 inputs, which are embedded, lie at no distance"),
    ],
)
def test_data_that_is_refused(attack, kind, message):
    data = examples(kind)
    for call in (lambda: attack.poisoned(data, stream()), lambda: attack.aimed_at(data, data)):
        with pytest.raises(SpecError, match=message):
            call()


def test_a_tail_without_examples_is_refused():
    data = examples("flat")
    none = data._replace(labels=data.labels.clamp(min=2))
    with pytest.raises(SpecError, match=r"no training example is of class 1; accepted: another"):
        EdgeCase().aimed_at(none, data)
    with pytest.raises(SpecError, match=r"tail: 0.1 of class 1 holds none of the held-out exam"):
        EdgeCase().aimed_at(data, none)
    all_of_target = data._replace(labels=torch.zeros_like(data.labels))
    with pytest.raises(SpecError, match=r"Backdoor: none of the held-out examples is one that"):
        Backdoor().aimed_at(data, all_of_target)


@dataclass(frozen=True)
class Own(Attack):
    """A user's own."""

    makes: object = None

    sees = "own"

    def craft(self, own, byzantine, generator):
        return own

    def poison(self, data, generator):
        return self.makes(data)

    def aim(self, data, held_out):
        return self.makes(held_out)


def overwritten(data):
    data.inputs[0] = 0
    return data


def overwritten_labels(data):
    data.labels[0] = 0
    return data


def failing(data):
    raise RuntimeError("patient 7")


HOSTILE = {
    r"it makes str; accepted: privrobust.attacks.Examples": lambda data: "data",
    r"inputs torch.float64 \(60, 9\); accepted: torch.float32 \(examples, 9\)": lambda data: (
        data._replace(inputs=data.inputs.double())
    ),
    r"inputs torch.float32 \(60, 3\); accepted": lambda data: data._replace(
        inputs=data.inputs[:, :3]
    ),
    r"inputs list; accepted": lambda data: data._replace(inputs=[]),
    r"labels torch.int64 \(3,\) of 60 inputs": lambda data: data._replace(labels=data.labels[:3]),
    r"labels torch.float32": lambda data: data._replace(labels=data.labels.float()),
    r"the label 7; accepted: 0 to 3": lambda data: data._replace(labels=data.labels + 4),
    r"the label -1; accepted": lambda data: data._replace(labels=data.labels - 1),
    r"NaN or infinity; accepted: finite": lambda data: data._replace(inputs=data.inputs / 0),
    r"it writes to the examples that it is given": overwritten,
    r"writes to the examples": overwritten_labels,
    r"Own: it failed \(patient 7": failing,
}


@pytest.mark.parametrize("message", HOSTILE)
def test_what_a_users_attack_makes_is_checked(message):
    def data():
        return Examples(KINDS["flat"].clone(), torch.arange(MANY).flip(0) % CLASSES, CLASSES)

    attack = Own(HOSTILE[message])
    for call in (
        lambda: attack.poisoned(data(), stream()),
        lambda: attack.aimed_at(examples("flat"), data()),
    ):
        with pytest.raises(SpecError, match=message):
            call()


def test_as_many_examples_are_poisoned_as_there_are():
    fewer = Own(lambda data: data._replace(inputs=data.inputs[:5], labels=data.labels[:5]))
    with pytest.raises(SpecError, match=r"Own: it makes 5 examples of 60; accepted: as many"):
        fewer.poisoned(examples("flat"), stream())
    assert len(fewer.aimed_at(examples("flat"), examples("flat")).labels) == 5


def test_other_attacks_aim_at_nothing_and_leave_data_alone():
    data = examples("flat")
    assert LabelFlip().aimed_at(data, data) is None
    assert get_attack("own_sign_flip").poisoned(data, stream()) is data
    assert get_attack("alie").aimed_at(data, data) is None
