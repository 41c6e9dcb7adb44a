"""What kernels make of messages, hostile ones in any layout, against NumPy and torch's way."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from privrobust.aggregators import MeaMed, distances
from privrobust.aggregators.distances import Geometry
from privrobust.aggregators.majority_vote import majority
from privrobust.aggregators.moments import mean, mean_and_std
from privrobust.aggregators.order_statistics import mean_of_ranks
from privrobust.attacks import MedianExtreme
from privrobust.errors import PrivRobustError
from privrobust.kernels import backend, coordinates, machine_code, moments, order, products

BOTH = [torch.float32, torch.float64]
DIMS = [1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100]


def hostile_values(dtype):
    limits = torch.finfo(dtype)
    tiniest = limits.smallest_normal * limits.eps
    return [0.0, -0.0, torch.nan, -torch.nan, torch.inf, -torch.inf, limits.max, limits.min,
            limits.smallest_normal, tiniest, -tiniest, 1.0, -1.0, 3.0]  # fmt: skip


@st.composite
def hostile(draw, dtypes=BOTH, finite=False):
    """Messages `(..., n, d)`: numbers of any size, and what else a worker may send."""
    dtype = draw(st.sampled_from(dtypes))
    lead = draw(st.sampled_from([(), (1,), (3,), (2, 2), (0,)]))
    shape = (*lead, draw(st.integers(1, 9)), draw(st.sampled_from(DIMS)))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    spread = draw(st.sampled_from([0, 1, 40 if dtype == torch.float32 else 300]))
    with np.errstate(all="ignore"):
        values = generator.standard_normal(shape) * 10.0 ** generator.uniform(
            -spread, spread, (*shape[:-1], 1)
        )
        messages = torch.from_numpy(values.astype(str(dtype).removeprefix("torch.")))
    several = torch.tensor(hostile_values(dtype), dtype=dtype)
    chosen = several[torch.from_numpy(generator.integers(0, len(several), shape))]
    places = torch.from_numpy(generator.random(shape)) < draw(st.sampled_from([0, 0.02, 0.4, 1]))
    messages = torch.where(places, chosen, messages)
    return messages.nan_to_num(1, 2, 3) if finite else messages


def bits(made):
    """All NaN alike, and both zeros."""
    kind = torch.int32 if made.dtype == torch.float32 else torch.int64
    return made.masked_fill(made.isnan(), torch.nan).masked_fill(made == 0, 0.0).view(kind)


def by_torch(rule):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "are_compiled", lambda: False)
        return rule()


@given(hostile(), st.data())
def test_every_rank_is_that_of_a_sort_and_torchs_way_has_the_same_bits(messages, data):
    n = messages.shape[-2]
    low = data.draw(st.integers(0, n - 1))
    values = messages.numpy()
    ordered = np.sort(np.where(np.isnan(values), np.inf, values), axis=-2)
    exact = torch.from_numpy(ordered)[..., low, :]
    assert torch.equal(mean_of_ranks(messages, low, low + 1), exact)
    high = data.draw(st.integers(low + 1, n))
    kernel = mean_of_ranks(messages, low, high)
    assert torch.equal(bits(kernel), bits(by_torch(lambda: mean_of_ranks(messages, low, high))))


@given(hostile(), st.data())
def test_meamed_has_the_bits_of_torchs_way(messages, data):
    rule = MeaMed(data.draw(st.integers(0, (messages.shape[-2] - 1) // 2)))
    assert torch.equal(bits(rule(messages)), bits(by_torch(lambda: rule(messages))))


@given(hostile(), st.data(), st.sampled_from(["distance", "descent"]))
def test_the_furthest_end_has_the_bits_of_torchs_way(honest, data, goal):
    honest = torch.cat([honest, honest[..., :1, :] + 1], dim=-2)
    byzantine = data.draw(st.integers(1, honest.shape[-2] - 1))
    attack = MedianExtreme(goal=goal)
    kernel, torchs = attack(honest, byzantine), by_torch(lambda: attack(honest, byzantine))
    assert torch.equal(bits(kernel), bits(torchs))


@given(hostile())
def test_votes_are_counted_nan_for_up_and_zeros_for_neither(messages):
    values = messages.numpy()
    ups = ((values > 0) | np.isnan(values)).sum(-2)
    expected = torch.from_numpy(np.sign(ups - (values < 0).sum(-2))).to(messages.dtype)
    assert torch.equal(majority(messages), expected)
    assert torch.equal(by_torch(lambda: majority(messages)), expected)


def is_close(found, exact, sizes):
    """To the last digit of float32, and of float64 in the largest values that were added."""
    away = np.abs(found.double().numpy() - exact)
    return (away <= 2**-23 * np.abs(exact) + 1e-14 * sizes + 2.0**-149).all()


@given(hostile([torch.float32], finite=True))
def test_mean_and_deviation_are_those_of_double_precision(messages):
    """Whatever the size: float64 squares all that a float32 may be."""
    whole = messages.double().numpy()
    sizes = np.abs(whole).max(-2)
    for middle, std in (mean_and_std(messages), by_torch(lambda: mean_and_std(messages))):
        assert is_close(middle, whole.mean(-2), sizes)
        assert is_close(std, whole.std(-2), 0)
    for middle in (mean(messages), by_torch(lambda: mean(messages))):
        assert is_close(middle, whole.mean(-2), sizes)


@given(hostile([torch.float32]))
def test_mean_and_deviation_tell_of_what_is_not_finite(messages):
    are_finite = messages.isfinite().all(-2)
    for found in (mean_and_std(messages), by_torch(lambda: mean_and_std(messages))):
        for each in found:
            assert torch.equal(each.isfinite(), are_finite)


def test_workers_that_agree_do_not_deviate():
    for value in (0.1, 3e38, 1e-45, -0.0):
        middle, std = mean_and_std(torch.full((7, 40), value))
        assert torch.equal(middle, torch.full((40,), value))
        assert not std.any()


@given(hostile())
def test_inner_products_are_those_of_finite_rows_whatever_the_others_are(messages):
    are_finite = messages.isfinite().all(-1)
    norms = messages.double().norm(dim=-1)
    norms = norms.where(norms < torch.finfo(messages.dtype).max ** 0.5 / 64, torch.inf)
    well = are_finite & norms.isfinite()
    rows = messages.masked_fill(~well.unsqueeze(-1), 0).double()
    size = norms.unsqueeze(-1) * norms.unsqueeze(-2)
    found = products.inner_products(messages)
    error = (found - rows @ rows.mT).abs() / size.clamp(min=1e-30)
    both = well.unsqueeze(-1) & well.unsqueeze(-2)
    tiny = size < torch.finfo(messages.dtype).smallest_normal * 1e6
    assert found.shape == both.shape
    assert not (both & ~tiny & ~(error < 4 * torch.finfo(messages.dtype).eps)).any()
    assert torch.equal(bits(found), bits(found.mT.contiguous()))


@pytest.mark.parametrize("dtype", BOTH)
@pytest.mark.parametrize("dim", [1, 15, 17, 1023, 1024, 1025, 40_007])
@pytest.mark.parametrize("n", [1, 4, 5, 15, 33])
def test_inner_products_of_any_size(n, dim, dtype):
    messages = torch.randn(2, n, dim, generator=torch.Generator().manual_seed(n), dtype=dtype)
    whole = messages.double()
    found = products.inner_products(messages)
    close = {"rtol": 1e-5, "atol": 1e-6 * dim} if dtype == torch.float32 else {}
    torch.testing.assert_close(found, whole @ whole.mT, **close)
    for lane, alone in zip(found, messages, strict=True):
        assert torch.equal(lane, products.inner_products(alone))


RULES = {
    "median": lambda messages: mean_of_ranks(messages, 2, 3),
    "meamed": MeaMed(1),
    "furthest end": lambda messages: MedianExtreme()(messages, 2),
    "votes": majority,
    "mean": mean,
    "mean and deviation": lambda messages: torch.stack(mean_and_std(messages)),
    "products": distances.products_of,
    "geometry": lambda messages: Geometry.of(messages).squared_distances(),
}


class Ran(Exception):
    pass


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_rule_runs_its_kernel(rule, monkeypatch):
    def refuse(*_):
        raise Ran

    monkeypatch.setattr(coordinates.Kernel, "__call__", refuse)
    monkeypatch.setattr(products, "inner_products", refuse)
    with pytest.raises((Ran, PrivRobustError)) as raised:
        rule(torch.zeros(5, 3))
    assert isinstance(raised.value, Ran) or isinstance(raised.value.__cause__, Ran)
    by_torch(lambda: rule(torch.zeros(5, 3)))


@pytest.mark.parametrize(
    ("rule", "dtype"),
    [
        (rule, dtype)
        for rule in RULES
        for dtype in BOTH
        if dtype.itemsize == 4 or "mean" not in rule
    ],
)
def test_any_layout_gives_the_bits_of_a_contiguous_one(rule, dtype):
    """But of float64 means, which torch adds up as they lie."""
    rule = RULES[rule]
    drawn = torch.randn(3, 5, 70, generator=torch.Generator().manual_seed(1), dtype=dtype)
    layouts = [
        drawn.transpose(0, 1),
        drawn.mT.contiguous().mT,
        drawn[..., 1:69],
        drawn[..., ::2],
        drawn[:, :1].expand(3, 5, 70),
        drawn[:1].expand(3, 5, 70),
        torch.cat([drawn] * 3, dim=-2)[:, 1::3],
        drawn.flip(-1),
    ]
    for messages in layouts:
        assert torch.equal(bits(rule(messages)), bits(rule(messages.clone().contiguous())))


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_messages_without_coordinates_or_lanes(rule):
    for shape in [(5, 0), (2, 5, 0), (0, 5, 3), (0, 5, 0)]:
        assert (
            rule(torch.zeros(shape)).numel()
            == by_torch(lambda s=shape: rule(torch.zeros(s))).numel()
        )


@pytest.mark.parametrize("dim", [65, 1000, 4099])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_pieces_and_threads_leave_the_bits_alone(rule, dim, threads, monkeypatch):
    messages = torch.randn(3, 5, dim, generator=torch.Generator().manual_seed(dim))
    whole = rule(messages)
    monkeypatch.setattr(coordinates, "_SMALL", 1)
    monkeypatch.setattr(coordinates, "_PIECE", 1)
    monkeypatch.setattr(products, "_SMALL", 1)
    for many in (1, 3):
        threads(many)
        assert torch.equal(rule(messages), whole)


KERNELS = {
    "mean of ranks": lambda dtype: order.mean_of_ranks(15, dtype, 7, 8).source,
    "mean around the median": lambda dtype: order.mean_around_median(15, dtype, 3).source,
    "furthest end": lambda dtype: order.furthest_end(12, dtype, 3, "distance").source,
    "votes": lambda dtype: moments.votes(dtype).source,
    "products": products.source,
    "mean": lambda _: moments.mean().source,
    "mean and deviation": lambda _: moments.mean_and_std().source,
}


@pytest.mark.parametrize("dtype", BOTH)
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_machine_code_has_the_widest_vectors(kernel, dtype):
    source = kernel(dtype)
    optimised = str(machine_code._optimised(source, machine_code._target_machine()))
    arithmetic = re.findall(r"= fcmp .*|= f(?:add|sub|mul) .*|@llvm\.fmuladd.*", optimised)
    of_vectors = [each for each in arithmetic if re.search(r"<\d+ x (?:float|double)>", each)]
    assert len(of_vectors) > 2 * len(arithmetic) / 3 > 2
    if "x86_64" in machine_code.binding.get_default_triple():
        register = {64: "zmm", 32: "ymm", 16: "xmm"}[machine_code.vector_bytes()]
        code = machine_code.assembly(source)
        assert len(re.findall(rf"\tv?\w+p[sd]\t.*%{register}", code)) > 10


class _NoFeatures(dict):
    def flatten(self):
        return ""


@pytest.mark.skipif(
    "x86_64" not in machine_code.binding.get_default_triple(), reason="code for others cannot run"
)
@pytest.mark.parametrize(("processor", "length"), [("haswell", 32), ("x86-64", 16)])
def test_processors_with_shorter_vectors_find_the_same_bits(processor, length, monkeypatch):
    messages = torch.randn(15, 1001, generator=torch.Generator().manual_seed(0))
    messages[messages > 1] = torch.nan
    ways = [
        lambda: order.mean_of_ranks.__wrapped__(15, torch.float32, 3, 12)(messages),
        lambda: order.mean_around_median.__wrapped__(15, torch.float32, 4)(messages),
        lambda: order.furthest_end.__wrapped__(15, torch.float32, 4, "distance")(messages),
        lambda: moments.votes.__wrapped__(torch.float32)(messages),
    ]
    here = [way() for way in ways]
    monkeypatch.setattr(machine_code.binding, "get_host_cpu_name", lambda: processor)
    monkeypatch.setattr(machine_code.binding, "get_host_cpu_features", _NoFeatures)
    monkeypatch.setattr(coordinates, "vector_bytes", lambda: length)
    for way, (expected,) in zip(ways, here, strict=True):
        (found,) = way()
        assert torch.equal(bits(found), bits(expected))
