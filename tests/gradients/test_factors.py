"""Sums whose terms cancel: whatever an example sends, it moves its group's sum by C at most."""

import numpy as np
import pytest
import torch

from privrobust.gradients.clipping import Flat
from privrobust.gradients.factors import Ghost, Matrices, Rows, vector_norms

C = 1.0


def moved(gradients, size, *parameter, order):
    """How far the first example of a group moves the sum of all, and its norm as measured."""
    norms = gradients.norms(order)
    factors = Flat(order).factors(norms.view(1, -1, 1), torch.tensor([C])).view(1, size)
    with_it, without = torch.empty(2, 1, *parameter, dtype=torch.float64)
    gradients.sums(factors, with_it)
    factors[0, 0] = 0
    gradients.sums(factors, without)
    return (with_it - without).norm(order), norms[0]


def product_rule(scale, p=1e-3, q=3e-4):
    """Three positions whose outer products are huge and add up to nothing but rounding."""
    errors = scale * torch.tensor([1 + p, -1.0, -p])
    inputs = torch.tensor([1 + q, 1 + p + q, q])
    return errors.expand(20, 3), inputs.expand(20, 3)


def pairs(scale, positions=400):
    """Every position has a twin of almost opposite error."""
    generator = torch.Generator().manual_seed(0)
    errors = scale * torch.randn(20, positions // 2, generator=generator)
    inputs = torch.randn(20, positions // 2, generator=generator)
    return torch.cat([errors, -errors * (1 + 1e-6)], 1), inputs.repeat(1, 2)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("scale", [1e-40, 1e-30, 1.0, 1e30])
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_norms_of_every_float_type_are_float64_norms_of_its_numbers(kind, scale, order):
    numbers = (scale * torch.randn(7, 3, 5, generator=torch.Generator().manual_seed(3))).to(kind)
    ours = vector_norms(numbers, order)
    assert ours.dtype == torch.float64
    flat = numbers.double().flatten(1).numpy()
    np.testing.assert_allclose(ours.numpy(), np.linalg.norm(flat, order, axis=1), rtol=1e-14)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("scale", [1.0, 1e10, 1e15])
@pytest.mark.parametrize("cancelling", [product_rule, pairs])
def test_outer_products_that_cancel(cancelling, scale, order):
    generator = torch.Generator().manual_seed(1)
    errors, inputs = cancelling(scale)
    ordinary = [torch.randn(2, *part.shape, generator=generator) for part in (errors, inputs)]
    matrices = Matrices(
        torch.cat([errors[None], ordinary[0]]).unsqueeze(1),
        torch.cat([inputs[None], ordinary[1]]).unsqueeze(1),
    )
    distance, norm = moved(Ghost(lambda: matrices), 3, 20, 20, order=order)
    exact = (errors.double() @ inputs.double().T).norm(order)
    assert norm == pytest.approx(exact.item(), rel=1e-9)
    assert distance <= C


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("scale", [1.0, 1e9, 1e15])
def test_errors_of_one_word_that_cancel(scale, order):
    generator = torch.Generator().manual_seed(2)
    ordinary = torch.randn(2, 4, 5, generator=generator)
    error = scale * torch.randn(5, generator=generator)
    hostile = torch.stack([error, ordinary[0, 0] / 100, -error, torch.zeros(5)])
    indices = torch.tensor([[3, 3, 3, 1], [3, 1, 2, 2], [0, 3, 3, 3]])
    gradients = Rows(indices, torch.cat([hostile[None], ordinary]))
    distance, _ = moved(gradients, 3, 4, 5, order=order)
    assert distance <= C
