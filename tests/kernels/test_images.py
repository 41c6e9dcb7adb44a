"""Patches and pools of images with channels last, against torch's of images with channels first."""

import pytest
import torch
from torch.nn import functional as F

from privrobust.kernels.images import Window, fold, max_pool, max_unpool, unfold

KINDS = pytest.mark.parametrize("kind", [torch.float32, torch.float64])


# Images' height, width and channels, and a window: kernels are compiled for each.
CASES = [
    ((28, 28, 1), Window((5, 5), (1, 1))),
    ((9, 4, 1), Window((3, 4), (1, 1))),
    ((10, 11, 1), Window((2, 3), (3, 2))),  # places do not reach the edge
    ((12, 12, 20), Window((5, 5), (1, 1))),
    ((7, 9, 3), Window((3, 2), (2, 1), (2, 3))),  # gaps
    ((6, 8, 17), Window((1, 4), (1, 3), (1, 2))),
    ((5, 5, 2), Window((5, 5), (2, 2))),  # one place
    ((4, 4, 150), Window((2, 2), (1, 1))),
]
WINDOWS = pytest.mark.parametrize(("shape", "window"), CASES)
POOLED = pytest.mark.parametrize(
    ("shape", "window"), [case for case in CASES if case[1].dilation == (1, 1)]
)
COUNT = 3


def numbers(shape, kind, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=kind)


def torchs_patches(images, window):
    """In the order of ours."""
    channels = images.shape[-1]
    found = F.unfold(images.permute(0, 3, 1, 2), window.size, window.dilation, 0, window.stride)
    return found.unflatten(1, (channels, -1)).permute(0, 3, 2, 1).flatten(2)


@KINDS
@WINDOWS
def test_patches_are_what_lies_under_the_window(kind, shape, window):
    images = numbers((COUNT, *shape), kind)
    assert torch.equal(unfold(images, window), torchs_patches(images, window))


@KINDS
@WINDOWS
def test_folding_is_the_transpose_of_unfolding(kind, shape, window):
    """`<unfold(x), p> = <x, fold(p)>` for all x and p."""
    images = numbers((COUNT, *shape), kind).double()
    patches = numbers(torchs_patches(images, window).shape, kind, seed=1)
    folded = torch.full(images.shape, torch.nan, dtype=kind)
    fold(patches, folded, window)
    left, right = (unfold(images, window) * patches).sum(), (images * folded).sum()
    torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-4)


@KINDS
@POOLED
@pytest.mark.parametrize(("ties", "bad"), [(False, False), (True, False), (True, True)])
def test_pooling_and_its_gradient_are_torchs(kind, shape, window, ties, bad):
    images = numbers((COUNT, *shape), kind)
    if ties:
        images = images.round()
    if bad:
        images.view(-1)[:: images.numel() // 3 + 1] = torch.nan
        images.view(-1)[1 :: images.numel() // 2 + 1] = -torch.inf
    given = images.permute(0, 3, 1, 2).requires_grad_()
    expected = F.max_pool2d(given, window.size, window.stride)
    largest, which = max_pool(images.detach(), window)
    torch.testing.assert_close(
        largest, expected.detach().permute(0, 2, 3, 1), rtol=0, atol=0, equal_nan=True
    )
    errors = numbers(largest.shape, kind, seed=1)
    (back,) = torch.autograd.grad(expected, given, errors.permute(0, 3, 1, 2))
    found = max_unpool(errors, which, images.shape, window)
    torch.testing.assert_close(found, back.permute(0, 2, 3, 1), rtol=1e-5, atol=1e-6)
