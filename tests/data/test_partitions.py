import re
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from privrobust import RunSpec, train
from privrobust.accountants import Release, epsilon
from privrobust.data import Dataset, Split, get_dataset
from privrobust.data.partitions import (
    Dirichlet,
    Groups,
    Labels,
    Partition,
    PowerLaw,
    Similarity,
    get_partition,
)
from privrobust.data.registry import DATASETS
from privrobust.errors import SpecError
from privrobust.reporting.figures.partitions import partition_figure
from privrobust.training.batches import byzantine_batches
from privrobust.training.shares import shares

DIGITS = get_dataset("digits").train.labels


@given(
    partition=st.one_of(
        st.builds(Similarity, heterogeneity=st.floats(0, 1)),
        st.builds(Dirichlet, alpha=st.floats(0.05, 100), least=st.just(1)),
        st.builds(Labels, k=st.integers(1, 4)),
        st.builds(PowerLaw, exponent=st.floats(0, 3)),
        st.just(Groups()),
    ),
    workers=st.integers(1, 12),
    codes=st.lists(st.integers(0, 5), min_size=1, max_size=200),
    seed=st.integers(0, 1000),
)
def test_every_example_goes_to_one_worker_and_none_is_empty(partition, workers, codes, seed):
    try:
        dealt = partition.deal(torch.tensor(codes), workers, seed)
    except SpecError as error:
        may_be_empty = isinstance(partition, (PowerLaw, Labels))
        if not may_be_empty and re.search(" deals |without examples", str(error)):
            raise
        assume(False)
    assert len(dealt) == workers
    assert min(map(len, dealt)) > 0
    assert sorted(torch.cat(dealt).tolist()) == list(range(len(codes)))
    again = partition.deal(torch.tensor(codes), workers, seed)
    assert all(torch.equal(one, other) for one, other in zip(dealt, again, strict=True))


@pytest.mark.parametrize(
    "text",
    ["iid", "dirichlet(alpha=1.0)", "labels(k=2)", "power_law", "similarity(heterogeneity=0.5)"],
)
def test_partitions_follow_the_seed(text):
    one, other = (get_partition(text).deal(DIGITS, 5, seed) for seed in (0, 1))
    assert not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_similarity_runs_from_iid_to_a_block_of_labels_each():
    def labels_a_worker(heterogeneity):
        dealt = Similarity(heterogeneity).deal(DIGITS, 10, seed=0)
        return sum(len(DIGITS[indices].unique()) for indices in dealt) / 10

    assert labels_a_worker(0.0) == 10
    assert labels_a_worker(1.0) <= 2.5
    purities = [
        sum(float(DIGITS[i].bincount().max() / len(i)) for i in Similarity(h).deal(DIGITS, 10, 0))
        for h in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    assert purities == sorted(purities)


def test_sizes_of_similarity_depend_on_counts_alone():
    for heterogeneity in (0.0, 0.3, 1.0):
        dealt = Similarity(heterogeneity).deal(DIGITS, 10, seed=5)
        assert [len(indices) for indices in dealt] == [126] * 7 + [125] * 3


def test_iid_deals_every_worker_the_same_mixture():
    """A chi-squared test of the table of workers and labels; false alarm below 1e-6."""
    dealt = get_partition("iid").deal(torch.arange(20_000) % 10, 10, seed=0)
    table = [(share % 10).bincount(minlength=10).tolist() for share in dealt]
    assert stats.chi2_contingency(table).pvalue > 1e-6


@pytest.mark.parametrize("alpha", [1e12, 1e300, 1e308, 1.7e308])
def test_dirichlet_with_a_huge_alpha_deals_equal_shares(alpha):
    labels = torch.arange(900) % 3
    shares = Dirichlet(alpha=alpha).deal(labels, 10, seed=0)
    counts = np.array([labels[share].bincount(minlength=3).numpy() for share in shares])
    assert abs(counts - 30).max() <= 1  # 300 of a label for 10 workers, rounded


def test_labels_are_dealt_from_a_tensor_or_an_array():
    labels = torch.arange(60) % 3
    for ours, other in zip(
        Labels(k=1).deal(labels, 3, seed=0), Labels(k=1).deal(labels.numpy(), 3, 0), strict=True
    ):
        assert torch.equal(ours, other)


def test_dirichlet_proportions_have_the_moments_of_the_law():
    """Marginals are Beta(alpha, alpha (n - 1)); 2,000 labels, false alarm below 1e-6."""
    alpha, workers, of_label = 0.7, 4, 500
    labels = torch.arange(2000).repeat_interleave(of_label)
    dealt = Dirichlet(alpha).deal(labels, workers, seed=0)
    first = labels[dealt[0]].bincount(minlength=2000).numpy() / of_label
    # counts are rounded by less than one example in 500
    test = stats.kstest(first, stats.beta(alpha, alpha * (workers - 1)).cdf)
    assert test.statistic < stats.kstwo.isf(1e-6, 2000) + 0.02


def test_small_alpha_is_heterogeneous_and_large_alpha_is_iid():
    def purity(alpha):
        dealt = Dirichlet(alpha).deal(DIGITS, 5, seed=0)
        return np.mean([float(DIGITS[i].bincount().max() / len(i)) for i in dealt])

    assert purity(0.05) > 0.5 > 0.2 > purity(1000.0)


@pytest.mark.parametrize(("k", "workers"), [(1, 10), (2, 7), (3, 10), (10, 3)])
def test_every_worker_holds_k_labels_shared_equally(k, workers):
    dealt = Labels(k).deal(DIGITS, workers, seed=0)
    table = torch.stack([DIGITS[share].bincount(minlength=10) for share in dealt])
    assert ((table > 0).sum(1) == k).all()
    holders = (table > 0).sum(0)
    assert int(holders.max() - holders.min()) <= 1
    for of_label in table.T:
        held = of_label[of_label > 0]
        assert int(held.max() - held.min()) <= 1


def test_sizes_of_a_power_law():
    sizes = [len(share) for share in PowerLaw(exponent=1.5).deal(DIGITS, 6, seed=0)]
    weights = np.arange(1, 7) ** -1.5
    assert np.abs(sizes - 1257 * weights / weights.sum()).max() <= 1
    equal = [len(share) for share in PowerLaw(exponent=0.0).deal(DIGITS, 6, seed=0)]
    assert max(equal) - min(equal) <= 1


def test_groups_stay_together_and_are_balanced():
    codes = torch.tensor([0] * 50 + [1] * 30 + [2] * 20 + [3] * 5)
    dealt = Groups().deal(codes, 2, seed=0)
    assert [sorted(codes[share].unique().tolist()) for share in dealt] == [[0, 3], [1, 2]]


class Plain(Partition):
    def __init__(self, skew=0.0):
        super().__init__()
        object.__setattr__(self, "skew", skew)

    def split(self, codes, workers, random):
        return np.array_split(np.arange(len(codes)), workers)


@dataclass(frozen=True)
class Skewed(Plain):
    skew: float | list = 0.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Plain(skew=0.7)", "'skew' is no dataclass field; accepted: a class with @dataclass"),
        ("Skewed(skew=[1])", "cannot be told from others; accepted: numbers, text or tuples"),
    ],
)
def test_parameters_that_keys_and_caches_would_not_see_are_refused(text, message):
    with pytest.raises(SpecError, match=message):
        RunSpec(partition=f"{__name__}:{text}")


def test_parameters_of_a_users_partition_tell_runs_apart():
    one, other = (RunSpec(partition=f"{__name__}:Skewed(skew={skew})") for skew in (0.1, 0.7))
    assert one.key != other.key
    assert one.dealt_by != other.dealt_by
    assert RunSpec(partition=f"{__name__}:Plain").dealt_by.skew == 0


class Forgetful(Partition):
    def split(self, codes, workers, random):
        return np.array_split(np.arange(len(codes) - 1), workers)


class Broken(Partition):
    def split(self, codes, workers, random):
        raise KeyError("nobody")


class Greedy(Partition):
    def split(self, codes, workers, random):
        return [np.arange(len(codes))] + [np.arange(0)] * (workers - 1)


@pytest.mark.parametrize(
    ("partition", "workers", "message"),
    [
        (Similarity(), 1258, "honest: 1258 workers cannot share 1257 training examples; .* 1257"),
        (Labels(k=11), 3, r"Labels.k: 11 labels .*; accepted: 4 to 10"),
        (Labels(k=1), 3, r"Labels.k: 1 labels for each of 3 workers; accepted: 4 to 10"),
        (PowerLaw(exponent=9.0), 10, "leaves honest worker [0-9] without .* a smaller exponent"),
        (Dirichlet(alpha=1e-3), 30, "fewer than 10 .*; accepted: larger alpha"),
        (Dirichlet(alpha=1e308), 150, "fewer than 10 of .*; accepted: smaller least, or fewer"),
        (Groups(), 11, "honest: 11 workers cannot share 10 groups; accepted: at most 10"),
        (Forgetful(), 3, "Forgetful deals 1256 examples to 3 workers; accepted: each of 1257"),
        (Broken(), 3, "Broken: it failed .KeyError: 'nobody'"),
        (Greedy(), 3, "leaves honest worker 1 without examples; accepted: fewer honest workers"),
    ],
)
def test_partitions_that_cannot_be_made(partition, workers, message):
    with pytest.raises(SpecError, match=message):
        partition.deal(DIGITS, workers, seed=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"partition": "dirichlet(alpha=0)"},
            "Dirichlet.alpha: 0.0 is not a finite number above 0",
        ),
        ({"partition": "dirichlet(beta=1)"}, "dirichlet has no parameter 'beta'"),
        ({"partition": "dirichlett"}, "did you mean 'dirichlet'"),
        ({"partition": "similarity(heterogeneity=1.5)"}, "at least 0 and at most 1"),
        ({"partition": "iid(alpha=1)"}, "iid takes no parameters"),
        ({"partition": "labels(k=2)", "heterogeneity": 0.5}, "heterogeneity: 0.5 with partition"),
        ({"partition": "iid", "heterogeneity": 0.5}, "heterogeneity: 0.5 with partition"),
        (
            {"partition": "similarity(heterogeneity=0.0)", "heterogeneity": 0.5},
            "heterogeneity: 0.5 with partition",
        ),
        ({"partition": "os:getcwd"}, "partition: 'os:getcwd' is of Python's own library"),
    ],
)
def test_partitions_that_are_no_setting(settings, message):
    with pytest.raises(SpecError, match=message):
        RunSpec(**settings)


def test_one_partition_has_one_key():
    keys = [
        RunSpec(partition="similarity(heterogeneity=0.5)").key,
        RunSpec(partition={"name": "similarity", "heterogeneity": 0.5}).key,
        RunSpec(heterogeneity=0.5).key,
    ]
    assert len(set(keys)) == 1
    assert RunSpec(**RunSpec(heterogeneity=0.5).model_dump()).key == keys[0]
    assert RunSpec(partition="iid").key == RunSpec().key != keys[0]
    assert RunSpec(partition="dirichlet(alpha=0.5)").partition == "dirichlet"


SHORT = {"clip_norm": 1.0, "noise_scale": 0.1, "steps": 5, "batch_size": 8, "evaluate_every": 5}


def test_workers_with_less_data_spend_more_and_the_run_spends_the_most():
    result = train(RunSpec(**SHORT, honest=4, partition="power_law"))
    sizes = [len(share) for share in shares(result.spec)]
    assert sizes == sorted(sizes, reverse=True)
    expected = [
        epsilon(Release(noise_scale=0.1, clip_norm=1, batch_size=8, dataset_size=n, steps=5))
        for n in sizes
    ]
    assert result.epsilon_by_worker.tolist() == expected
    assert expected == sorted(expected)
    assert result.epsilon == max(expected)


def test_a_worker_smaller_than_its_batch_is_named():
    spec = RunSpec(honest=10, partition="power_law(exponent=2.0)", batch_size=32)
    with pytest.raises(
        SpecError, match=r"batch_size: 32 .* 8 examples of honest worker 9 .*a part"
    ):
        train(spec)


def test_runs_of_any_partition_are_the_same_beside_others():
    """Sizes differ between lanes, and so does what each draws."""
    texts = ["iid", "dirichlet(alpha=1.0, least=20)", "labels(k=3)", "power_law(exponent=0.5)"]
    specs = [
        RunSpec(**SHORT, honest=6, partition=text, seed=seed, byzantine=1, attack="label_flip")
        for text in texts
        for seed in (0, 1)
    ]
    from privrobust.training.loop import train_lanes

    for spec, result in zip(specs, train_lanes(specs), strict=True):
        alone = train(spec)
        pd.testing.assert_frame_equal(result.history, alone.history, rtol=1e-4, atol=1e-5)
        assert alone.epsilon == result.epsilon


def grouped(monkeypatch):
    """Groups that differ in what can be learned: labels of group 1 are noise."""
    generator = torch.Generator().manual_seed(0)
    count = 1000
    labels = torch.randint(2, (count,), generator=generator)
    groups = torch.arange(count) % 4
    inputs = torch.randn(count, 2, generator=generator) / 4
    inputs[:, 0] += labels * 2.0 - 1
    labels = torch.where(groups == 1, torch.randint(2, (count,), generator=generator), labels)
    data = Dataset.from_split("grouped", Split(inputs, labels, groups=groups), 2, list("abcd"))
    monkeypatch.setitem(DATASETS.registered, "grouped", data)
    return data


def test_accuracy_by_group_says_who_pays(monkeypatch):
    data = grouped(monkeypatch)
    spec = RunSpec(dataset="grouped", partition="groups", honest=4, batch_size=16, steps=100)
    result = train(spec)
    held_by = [set(data.train.groups[share].tolist()) for share in shares(spec)]
    assert sorted(map(sorted, held_by)) == [[0], [1], [2], [3]]
    by_worker = result.accuracy_by_worker
    for worker, held in enumerate(held_by):
        mine = (data.test.groups == held.copy().pop()).numpy()
        assert by_worker[worker] == pytest.approx(result.correct[mine].mean())
        assert (by_worker[worker] < 0.7) == (held == {1})


def test_byzantine_workers_with_data_copy_the_first_shares_the_largest_under_a_power_law():
    spec = RunSpec(**SHORT, partition="power_law", honest=4, byzantine=2, attack="label_flip")
    data = get_dataset("digits")
    held = [set(share.tolist()) for share in shares(spec)]
    assert [len(share) for share in held] == sorted(map(len, held), reverse=True)
    by_bytes = {row.numpy().tobytes(): place for place, row in enumerate(data.train.inputs)}
    drawn = [set(), set()]
    for batch in byzantine_batches([spec], data, data.train, steps=200):
        for worker, places in enumerate(drawn):
            rows = batch.inputs[0, worker][batch.present[0, worker]]
            places.update(by_bytes[row.numpy().tobytes()] for row in rows)
    for worker, places in enumerate(drawn):
        assert places <= held[worker]
        assert len(places) > 0.8 * len(held[worker])


def test_a_dataset_without_groups_says_so():
    with pytest.raises(SpecError, match="partition: groups: the dataset 'digits' has none"):
        train(RunSpec(**SHORT, partition="groups"))


def test_the_picture_shows_the_counts():
    figure = partition_figure(get_dataset("digits"), ["iid", "labels(k=1)", "power_law"], honest=10)
    panels = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title() for axes in panels] == [
        "heterogeneity 0",
        "labels(k=1)",
        "power_law",
    ]
    for axes, text in zip(panels, ["iid", "labels(k=1)", "power_law"], strict=True):
        dealt = get_partition(text).deal(DIGITS, 10, 0)
        table = torch.stack([DIGITS[share].bincount(minlength=10) for share in dealt]).double()
        areas = torch.tensor(axes.collections[0].get_widths()).square().view(10, 10)
        torch.testing.assert_close(areas / areas.max(), table / table.max())
        ticks = [label.get_text() for label in axes.get_xticklabels()]
        assert ticks == [f"{worker}: {len(share)}" for worker, share in enumerate(dealt)]


def test_the_picture_of_many_workers_and_of_shares_can_be_read():
    shares = ["similarity(heterogeneity=0.0)", "similarity(heterogeneity=0.25)"]
    figure = partition_figure(get_dataset("digits"), shares, honest=50)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["heterogeneity 0", "heterogeneity 0.25"]
    figure.canvas.draw()
    for axes in figure.axes:
        boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
        assert not any(one.overlaps(other) for one, other in pairwise(boxes))
