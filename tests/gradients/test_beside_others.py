"""An example that leaves moves its own worker by C, and no bit of another example or lane."""

import threading

import pytest
import torch
from test_chain import MODELS, made
from torch import nn

from privrobust.core.threads import in_threads, one_layer_of_threads
from privrobust.gradients import get_loss, image_passes
from privrobust.gradients.batch import Batch
from privrobust.gradients.chain import Chain
from privrobust.gradients.clipping import Flat
from privrobust.gradients.layout import Layout


def chain(model, examples):
    found = Chain.of(model, Layout(model), examples[:3], Flat(), get_loss("cross_entropy"))
    assert found is not None
    return found, nn.utils.parameters_to_vector(model.parameters()).detach().unsqueeze(0)


def test_an_example_that_leaves_turns_no_other_at_a_kink():
    """A product of 15 rows rounds otherwise than one of 16: units at their kink switch on."""
    torch.manual_seed(0)
    model, example = nn.Sequential(nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10)), 784
    examples = torch.randn(1, example).repeat(16, 1)
    with torch.no_grad(), one_layer_of_threads():
        model[0].bias.zero_()
        model[0].bias.sub_(model[0](examples)[0])
    way, parameters = chain(model, examples)
    places = torch.arange(16).view(1, 1, -1)
    with one_layer_of_threads():
        sums = [
            way(parameters, Batch(examples.__getitem__, places, places * 0, places < count),
                torch.ones(1, dtype=torch.float64)).sums
            for count in (16, 15)
        ]  # fmt: skip
    assert float((sums[0] - sums[1]).norm()) <= 1


@pytest.mark.parametrize("layer", [nn.Sigmoid(), nn.SELU(), nn.Softplus(), nn.Mish()], ids=repr)
def test_a_lane_has_its_own_bits_wherever_it_stands_in_a_piece(layer):
    """Torch's loops over numbers round a vector otherwise than what is left of one at the end."""
    torch.manual_seed(0)
    examples = torch.randn(60, 6)
    way, start = chain(nn.Sequential(nn.Linear(6, 5), layer, nn.Linear(5, 4)), examples)
    parameters = start + 0.3 * torch.randn(6, start.shape[1])
    shape = (6, 3, 17)
    batch = Batch(
        examples.__getitem__, torch.randint(60, shape), torch.randint(4, shape),
        torch.rand(shape) < 0.7,
    )  # fmt: skip
    limits = torch.full((6,), 0.1)
    with one_layer_of_threads():
        together = way(parameters, batch, limits)
        for lane in range(6):
            i = slice(lane, lane + 1)
            alone = way(parameters[i], batch[i], limits[i])
            assert torch.equal(together.sums[lane], alone.sums[0])


def test_products_of_a_new_pool_thread_are_of_one_thread(threads, monkeypatch):
    """A thread asks torch how many it has only where torch is to spread a loop, not a product."""
    from privrobust.core.threads import _pool

    threads(2)
    _pool.cache_clear()
    left, right = torch.randn(512, 784), torch.randn(784, 100)
    both, found = threading.Barrier(2, timeout=30), []

    def multiply():
        both.wait()
        found.append(left @ right)

    with one_layer_of_threads():
        in_threads([multiply, multiply])
        assert torch.equal(*found)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("own", [False, True])
def test_an_example_has_the_same_bits_alone_and_beside_others(name, own, monkeypatch):
    """So one that joins or leaves moves no other, which is what clipping's bound speaks of."""
    if own:  # where torch's products keep examples apart, ours are never asked for
        monkeypatch.setattr(
            image_passes._Products, "of", lambda *shape: image_passes._OwnProducts()
        )
    model, examples = made(name)
    way, start = chain(model, examples)
    places = torch.randint(len(examples), (1, 1, 33))
    batch = Batch(examples.__getitem__, places, places % 4, torch.ones_like(places) > 0)
    limits = torch.full((1,), 0.05, dtype=torch.float64)
    with one_layer_of_threads():
        together = way(start, batch, limits)
        alone = [way(start, batch[..., place : place + 1], limits) for place in range(33)]
    assert torch.equal(
        together.norms.flatten(), torch.cat([each.norms for each in alone]).flatten()
    )
    total = torch.zeros_like(together.sums)
    for each in alone:
        total += each.sums
    torch.testing.assert_close(together.sums, total, rtol=1e-13, atol=1e-15)


def test_own_products_of_a_block_are_torchs():
    draw = torch.Generator().manual_seed(0)
    patches, errors, matrix = (
        torch.randn(shape, generator=draw, dtype=torch.float64)
        for shape in ((8, 25, 27), (8, 25, 5), (27, 5))
    )
    found = []
    for products in (image_passes._Products(), image_passes._OwnProducts()):
        into, formed = torch.empty(8, 25, 5).double(), torch.empty(8, 5, 27).double()
        products.rows(patches, matrix, into)
        products.of_examples(errors, patches, formed)
        found.append((into, formed))
    torch.testing.assert_close(*found)
