"""Gradients of losses by a kernel, against those of tensor operations and of autograd."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_row_sums import KINDS, numbers

from privrobust.gradients import get_loss
from privrobust.kernels.losses import cross_entropy_errors


@KINDS
@given(examples=st.integers(0, 5), classes=st.integers(1, 35), size=st.floats(1e-3, 1e3))
def test_errors_are_those_of_the_loss(kind, examples, classes, size):
    scores = size * numbers(examples, classes, kind=kind)
    labels = torch.randint(classes, (examples,))
    expected = get_loss("cross_entropy").errors(scores, labels)
    # below, torch's exponentials are numbers that are not normal, and ours are 0
    close = (
        {"rtol": 1e-6, "atol": 1e-38} if kind is torch.float32 else {"rtol": 1e-13, "atol": 1e-300}
    )
    torch.testing.assert_close(cross_entropy_errors(scores, labels), expected, **close)


@KINDS
def test_errors_are_the_gradient_of_torchs_loss(kind):
    scores, labels = numbers(40, 10, kind=kind).requires_grad_(), torch.randint(10, (40,))
    torch.nn.functional.cross_entropy(scores, labels, reduction="sum").backward()
    close = (
        {"rtol": 1e-5, "atol": 1e-6} if kind is torch.float32 else {"rtol": 1e-12, "atol": 1e-15}
    )
    torch.testing.assert_close(cross_entropy_errors(scores.detach(), labels), scores.grad, **close)


@KINDS
def test_they_are_right_where_the_label_is_sure(kind):
    """Not a difference of what is nearly 1."""
    scores = torch.tensor([[0.0, 80.0, 0.0]], dtype=kind)
    found = cross_entropy_errors(scores, torch.tensor([1]))
    small = torch.exp(torch.tensor(-80.0, dtype=torch.float64))
    expected = torch.stack([small, -2 * small, small]).to(kind)
    torch.testing.assert_close(found[0], expected, rtol=1e-6, atol=0)


@KINDS
@pytest.mark.parametrize("place", [0, 3, 8])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_makes_its_example_nan_and_no_other(kind, place, value):
    scores = numbers(3, 9, kind=kind)
    clean = cross_entropy_errors(scores, torch.tensor([0, 1, 2]))
    scores[1, place] = value
    found = cross_entropy_errors(scores, torch.tensor([0, 1, 2]))
    assert found[1].isnan().all()
    assert torch.equal(found[::2], clean[::2])


def test_impossible_classes_have_no_gradient():
    scores = torch.tensor([[-torch.inf, 0.0, 0.0]])
    found = cross_entropy_errors(scores, torch.tensor([1]))
    torch.testing.assert_close(found, torch.tensor([[0.0, -0.5, 0.5]]))


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_is_one_of_the_classes(label):
    with pytest.raises(IndexError, match=f"{label} of 3 classes"):
        cross_entropy_errors(torch.zeros(1, 3), torch.tensor([label]))
