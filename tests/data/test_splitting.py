"""Which examples are held out: how many, of which label and group, and what asks for some."""

import pickle
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from privrobust import RunSpec, train
from privrobust.data import Dataset, Split, get_dataset, registry
from privrobust.data.splitting import halves, three_ways, two_ways
from privrobust.errors import SpecError
from privrobust.store import Store
from privrobust.sweeps import Sweep, run_whole
from privrobust.sweeps.planning import planned
from privrobust.sweeps.runner import check

GROUPED = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=40, max_size=300)
SHORT = {"steps": 2, "batch_size": 8, "evaluate_every": 2}


def test_a_tenth_and_a_fifth_are_those_of_scikit_learn():
    """What results were made of before the share could be named."""
    labels = np.arange(503) % 7
    rest, test = train_test_split(np.arange(503), test_size=0.2, stratify=labels, random_state=0)
    train_, valid = train_test_split(rest, test_size=0.125, stratify=labels[rest], random_state=0)
    for ours, theirs in zip(three_ways("", labels), (train_, valid, test), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@given(GROUPED, st.sampled_from([0, 0.1, 0.25, 0.5]))
def test_every_group_is_split_for_itself_and_keeps_its_mixture_of_labels(examples, share):
    labels, groups = np.array(examples).T
    parts = three_ways("", labels, groups, share)
    assert sorted(np.concatenate(parts)) == list(range(len(labels)))
    assert bool(share) == bool(len(parts[1]))
    left = np.arange(len(labels))
    for taken, of_left in ((parts[2], 0.2), (parts[1], share / 0.8)):
        for group in np.unique(groups):
            there, mine = (places[groups[places] == group] for places in (left, taken))
            expected = np.floor(len(there) * of_left + 0.5)
            assert len(mine) == min(expected, len(there) - 1)
            for label in np.unique(labels):
                have = (labels[there] == label).sum() * of_left
                assert abs((labels[mine] == label).sum() - have) < 1 + 1e-9
        left = np.setdiff1d(left, taken)
    assert set(groups[parts[0]]) == set(groups)


def test_which_labels_of_small_groups_are_held_out_is_drawn():
    """Of 5 labels of 3,000 groups of 5, each is in test 600 times; 6 deviations are 132."""
    groups, labels = np.divmod(np.arange(15_000), 5)
    _, _, test = three_ways("", labels, groups)
    assert abs(np.bincount(labels[test]) - 600).max() < 132


@pytest.mark.parametrize("share", [-0.1, 0.51, float("nan"), float("inf"), "half", None, [0.1]])
def test_shares_that_are_not_accepted(share):
    for split in (three_ways, two_ways):
        with pytest.raises(SpecError, match=r"^validation: .* a number from 0 to 0.5$"):
            split("", np.arange(50) % 2, validation=share)


@given(st.lists(st.integers(0, 6), max_size=60).map(np.array))
def test_halves_have_each_label_alike(labels):
    labels = labels.astype(np.int64)
    first, second = halves(labels)
    assert sorted([*first, *second]) == list(range(len(labels)))
    assert len(first) - len(second) == len(labels) % 2
    for label in labels:
        assert abs((labels[first] == label).sum() - (labels[second] == label).sum()) <= 1
    np.testing.assert_array_equal(halves(labels)[0], first)


def test_which_examples_are_in_which_half_is_drawn():
    """Of 4,000 each is in the first with probability 1/2, whatever its place."""
    first, _ = halves(np.zeros(4000, dtype=np.int64))
    deviation = 2000**0.5  # of 2,000 draws, were they independent; these vary less
    assert abs(first.sum() / 4000 - 1000) < 5 * deviation
    assert abs((first % 2).sum() - 1000) < 5 * deviation


def test_groups_that_are_too_small_to_hold_any_out():
    with pytest.raises(SpecError, match="groups: 'few' has 6 examples in 3 groups, too small each"):
        three_ways("few", np.arange(6) % 2, np.arange(6) // 2)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("digits(validation=0)", (1437, 0, 360)),
        ("digits(validation=0.25)", (987, 450, 360)),
        ("mnist5k(validation=0)", (4000, 0, 1000)),
        ("mnist1d(validation=0.5)", (2000, 2000, 1000)),
        ("subset(of='mnist1d(validation=0)', size=200)", (200, 0, 1000)),
    ],
)
def test_a_spec_says_how_many_are_for_validation(name, sizes):
    data = get_dataset(name)
    assert tuple(map(len, (data.train, data.validation, data.test))) == sizes
    usual = get_dataset(name.partition("(")[0]) if "subset" not in name else data
    assert torch.equal(data.test.inputs, usual.test.inputs)  # whatever is validated on
    assert data.fingerprint != usual.fingerprint or data is usual


def test_a_table_says_so_too_and_scales_by_what_it_trains_on(tmp_path):
    rows = [f"{place % 5},{place % 2},{'ab'[place % 4 // 2]}" for place in range(40)]
    (tmp_path / "rows.csv").write_text("\n".join(["x,y,who", *rows]))
    text = "table(path='rows.csv', label='y', group='who', validation=0, scaling='standard')"
    with pytest.warns(UserWarning, match="epsilon does not count"):
        data = get_dataset(text, str(tmp_path))
    assert list(map(len, (data.train, data.validation, data.test))) == [32, 0, 8]
    assert data.train.groups.bincount().tolist() == [16, 16]
    assert data.train.inputs.mean().item() == pytest.approx(0, abs=1e-6)


def test_the_usual_share_is_not_part_of_a_name():
    assert RunSpec(dataset="digits(validation=0.1)").key == RunSpec(dataset="digits").key
    spec = RunSpec(dataset="emnist(validation=0, split='letters')")
    assert spec.dataset == "emnist(split='letters', validation=0.0)"


@pytest.mark.parametrize("share", ["-0.1", "0.6", "true", "'all'"])
def test_other_shares_are_refused_by_the_spec(share):
    with pytest.raises(SpecError, match=r"Digits.validation: .* at least 0 and at most 0.5"):
        RunSpec(dataset=f"digits(validation={share})")


NOTHING = (
    "evaluate_on: validation, as in tuning, of dataset digits.validation=0.0., of which nothing"
)


def test_what_is_not_held_out_is_not_evaluated_on():
    spec = RunSpec(**SHORT, dataset="digits(validation=0)", evaluate_on="validation")
    for refused in (lambda: train(spec), lambda: check([spec])):
        with pytest.raises(SpecError, match=NOTHING):
            refused()
    assert np.isfinite(train(RunSpec(**SHORT, dataset="digits(validation=0)")).accuracy)


def test_a_sweep_that_tunes_is_refused_before_it_trains(tmp_path):
    settings = SHORT | {"dataset": "digits(validation=0)"}
    sweep = Sweep.from_settings(settings | {"tune": {"learning_rate": [0.1, 1.0]}})
    with pytest.raises(SpecError, match=NOTHING):
        check(planned(sweep))
    with Store(str(tmp_path / "results.db")) as store:
        run_whole(Sweep.from_settings(settings), store)  # which does not tune
        assert len(store.runs()) == 1


@pytest.mark.parametrize("rule", ["fltrust", "noise_aware"])
def test_a_rule_with_public_examples_needs_some_held_out(rule):
    private = SHORT | {"clip_norm": 1.0, "noise_scale": 0.1, "aggregator": rule}
    spec = RunSpec(**private, dataset="digits(validation=0)")
    for refused in (lambda: train(spec), lambda: check([spec])):
        with pytest.raises(SpecError, match=f"aggregator: {rule} wants .* a dataset with validat"):
            refused()
    check([RunSpec(**private, dataset="digits(validation=0.08)")])


def test_only_validation_may_be_empty():
    whole = Split(torch.zeros(4, 2), torch.arange(4) % 2)
    empty = Split(whole.inputs[:0], whole.labels[:0])
    data = Dataset("own", whole, empty, whole, 2)
    assert len(data.validation) == 0
    assert data.fingerprint != Dataset("own", whole, whole, whole, 2).fingerprint
    data.share_memory()
    sent = pickle.loads(ForkingPickler.dumps(data))
    assert sent.fingerprint == data.fingerprint
    for parts in ((empty, whole, whole), (whole, whole, empty)):
        with pytest.raises(SpecError, match="of 'own' has no examples"):
            Dataset("own", *parts, 2)


def test_files_are_known_as_their_own_whatever_their_parameters(monkeypatch):
    """Fashion-MNIST's took MNIST's names, and are told apart by the dataset's name."""
    monkeypatch.setattr(registry, "_loaded", {})
    data = get_dataset("fashion_mnist(validation=0)")
    assert data.train.labels.bincount().tolist() == [6000] * 10
