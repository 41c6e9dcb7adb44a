"""Rounding: of sums with and without an example, the exact difference is at most C."""

from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from one_worker import CLASSES, batch_of, starts
from torch import nn

from privrobust import RunSpec
from privrobust.data import get_dataset
from privrobust.errors import SpecError
from privrobust.gradients.clipped_sums import gradient_sum
from privrobust.gradients.clipping import Flat, clip_vectors
from privrobust.gradients.factors import Formed, Ghost, Matrices, Outer, Rows, Use
from privrobust.gradients.layout import Layout
from privrobust.gradients.losses import get_loss
from privrobust.gradients.per_sample import PerSample
from privrobust.models import build_model
from privrobust.training.workers import Clipping, clipped_gradients

CROSS_ENTROPY = get_loss("cross_entropy")
C = 0.1  # a float32 of it is larger
MANY = 50_000


def linear(width):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(width, CLASSES))


@pytest.mark.parametrize("slow", [False, True])
def test_rounding_of_a_large_batch_is_within_c(slow):
    """Everyone points the same way: float32 sums would move by 1.001 C."""
    model = linear(4)
    inputs = torch.full((MANY, 4), 3.0) + torch.randn(MANY, 4) / 100
    batch = batch_of(inputs)
    batch = replace(batch, labels=torch.zeros_like(batch.labels))
    way = (
        PerSample(model, Layout(model), inputs[:16], Flat(), CROSS_ENTROPY)
        if slow
        else gradient_sum(model, Layout(model), inputs[:16], Flat(), CROSS_ENTROPY)
    )
    clip_norms = torch.tensor([C], dtype=torch.float64)
    whole = way(starts(model), batch, clip_norms).sums
    assert float(whole.norm()) > 0.9 * MANY * C
    for place in (0, 12_345, MANY - 1):
        present = batch.present.clone()
        present[..., place] = False
        less = way(starts(model), replace(batch, present=present), clip_norms).sums
        moved = float((whole - less).norm())
        assert (1 - 2e-6) * C <= moved <= C


def formed(size):
    return Formed(torch.randn(size, 7))


def outer(size):
    return Outer(Use(torch.randn(size, 5), torch.randn(size, 3)), has_bias=False)


def ghost(size):
    """Two positions, which nearly cancel to the share that is not yet said to."""
    errors, inputs = 100 * torch.randn(size, 1, 3, 1), torch.randn(size, 1, 5, 1)
    errors = torch.cat([errors, -0.98 * errors], -1)
    return Ghost(lambda: Matrices(errors, inputs.repeat(1, 1, 1, 2)))


def rows(size):
    return Rows(torch.randint(4, (size, 3)), torch.randn(size, 3, 5))


SHAPES = {formed: (7,), outer: (3, 5), ghost: (3, 5), rows: (4, 5)}


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("size", [300, MANY])
@pytest.mark.parametrize("kind", SHAPES, ids=lambda kind: kind.__name__)
def test_every_kind_of_gradients_keeps_to_c(kind, size, order):
    torch.manual_seed(0)
    gradients = kind(size)
    factors = Flat(order).factors(gradients.norms(order).view(1, -1, 1), torch.tensor([C]).double())
    factors = factors.view(1, size)
    found = torch.empty(2, 1, *SHAPES[kind], dtype=torch.float64)
    for total, keep in zip(found, (1.0, 0.0), strict=True):
        factors[0, 5] *= keep
        gradients.sums(factors, total)
    moved = float((found[0] - found[1]).flatten().norm(order))
    assert (1 - 2e-6) * C <= moved <= C


def test_long_vectors_are_clipped_to_c_exactly():
    """4 million equal numbers, whose norm is known without rounding."""
    size = 1 << 22
    vectors = torch.full((1, 1, size), 0.7, dtype=torch.float64)
    clip_norms = torch.tensor([C], dtype=torch.float64)
    for order in (1, 2):
        clipped = clip_vectors(vectors.clone(), [size], Flat(order), clip_norms).sums
        (value,) = {Fraction(number) for number in clipped.unique().tolist()}
        assert size * value**order <= Fraction(C) ** order


def test_a_step_uses_the_c_that_is_accounted_for():
    """C = 0.1 is no float32, and the nearest is larger."""
    spec = RunSpec(model="logistic", clip_norm=C, batch_size=1)
    digits = get_dataset("digits")
    model = build_model("logistic", digits, seed=0)
    layout, examples = Layout(model), digits.train.examples(slice(16))
    gradients = clipped_gradients(spec, model, layout, examples)
    clip = Clipping([spec], gradients, layout, examples.device)
    batch = batch_of(1e3 * digits.train.examples(slice(1)))
    averages = clip(starts(model), batch).sums
    assert averages.dtype == torch.float64
    assert (1 - 2e-6) * C <= float(averages.norm()) <= C


def test_more_examples_than_the_proof_covers_are_refused():
    model = linear(1)
    way = gradient_sum(model, Layout(model), torch.randn(16, 1), Flat(), CROSS_ENTROPY)
    with pytest.raises(SpecError, match=r"batch_size: 1048577 examples of one worker .*: accepted"):
        way(starts(model), batch_of(torch.randn((1 << 20) + 1, 1)), torch.tensor([C]))
