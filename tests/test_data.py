import torch

from privrobust.data import get_dataset


def test_digits_is_split_into_disjoint_stratified_parts():
    data = get_dataset("digits")
    parts = [data.train, data.validation, data.test]
    assert [len(part) for part in parts] == [1257, 180, 360]
    assert len(torch.cat([part.inputs for part in parts]).unique(dim=0)) == 1797
    assert data.shape == (64,)
    for part in parts:
        assert part.inputs.min() == 0
        assert part.inputs.max() == 1
        shares = part.labels.bincount() / len(part)
        assert float((shares - 0.1).abs().max()) < 0.02
