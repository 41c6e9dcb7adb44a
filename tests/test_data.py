import pytest
import torch

from privrobust.data import digits, get_dataset, partition, worker_sizes
from privrobust.errors import SpecError


def test_digits_is_split_into_disjoint_stratified_parts():
    data = digits()
    parts = [data.train, data.validation, data.test]
    assert [len(part) for part in parts] == [1257, 180, 360]
    assert len(torch.cat([part.inputs for part in parts]).unique(dim=0)) == 1797
    assert data.features == 64
    for part in parts:
        assert part.inputs.min() == 0
        assert part.inputs.max() == 1
        shares = part.labels.bincount() / len(part)
        assert float((shares - 0.1).abs().max()) < 0.02


def test_the_split_is_fixed():
    assert torch.equal(digits().test.inputs, digits().test.inputs)


def test_heterogeneity_runs_from_iid_to_a_block_of_labels_each():
    labels = get_dataset("digits").train.labels

    def labels_a_worker(heterogeneity):
        dealt = partition(labels, 10, heterogeneity, seed=0)
        return sum(len(labels[indices].unique()) for indices in dealt) / 10

    assert labels_a_worker(0.0) == 10
    assert labels_a_worker(1.0) <= 2.5
    purities = [
        sum(float(labels[i].bincount().max() / len(i)) for i in partition(labels, 10, h, 0))
        for h in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    assert purities == sorted(purities)


def test_sizes_depend_on_counts_alone():
    labels = get_dataset("digits").train.labels
    for heterogeneity in (0.0, 0.3, 1.0):
        dealt = partition(labels, 10, heterogeneity, seed=5)
        assert (
            [len(indices) for indices in dealt] == worker_sizes(1257, 10) == [126] * 7 + [125] * 3
        )


def test_partitions_follow_the_seed():
    labels = get_dataset("digits").train.labels
    first, again, other = (partition(labels, 4, 0.5, seed)[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_worker_without_data_is_refused():
    with pytest.raises(SpecError, match="11 workers cannot share 10 training examples"):
        worker_sizes(10, 11)
