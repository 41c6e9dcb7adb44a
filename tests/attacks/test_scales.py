"""Messages as small or large as floats are: rules and attacks scale with them, and stay robust."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from privrobust.aggregators import NNM, CentredClipping, MeaMed, Mean, get_aggregator
from privrobust.aggregators.moments import mean_and_std
from privrobust.aggregators.scaling import lengths, unit
from privrobust.attacks import Setting, get_attack
from privrobust.training.measures import measure

RULES = [
    *["mean", "median", "trimmed_mean", "meamed", "geometric_median", "krum", "multi_krum", "mda"],
    *["smea", "caf", "monna", "centred_clipping", "nnm + mean", "arc + mean", "bucketing + mean"],
    *["static_clipping + mean", "nnm + caf", "arc + nnm + geometric_median", "bulyan(f=1)", "cge"],
    *["dnc", "dnc(coordinates=20, rounds=3)", "arc + dnc"],
]
ROBUST = sorted(
    {*RULES}
    - {"mean", "bucketing + mean", "static_clipping + mean", "nnm + mean", "bulyan(f=1)"}
    - {"dnc(coordinates=20, rounds=3)"}
)
ATTACKS = [
    *[("alie", {}), ("alie", {"z": 3.0}), ("noise_aware_alie", {}), ("mimic", {}), ("replay", {})],
    *[("inner_product", {}), ("sign_flip", {}), ("own_sign_flip", {}), ("median_extreme", {})],
    *[(each, {"direction": way}) for each in ("min_max", "min_sum") for way in ("std", "unit")],
    *[("min_max", {"direction": "sign"}), ("median_extreme", {"goal": "descent"}), ("drift", {})],
    *[("line_search", {"against": rule}) for rule in ("krum(f=0)", "geometric_median")],
]
# What leaves room for 2^10 times as large a message, and for its low bits.
POWERS = {torch.float32: (-95, 110), torch.float64: (-960, 1000)}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def times(values, power):
    """Exact, unlike `torch.ldexp`."""
    return values * 2.0 ** (power // 2) * 2.0 ** (power - power // 2)


def in_units(rule, power):
    """The rule, what it takes in the unit of messages in units of 2 to that power."""
    if rule == "centred_clipping":
        return CentredClipping(radius=3.0 * 2.0**power)
    return get_aggregator(rule.replace("static_clipping", f"static_clipping(norm={2.0**power})"), 2)


def batches():
    """Messages of 9 workers: alike or not, some far from the rest, or 0."""

    def made(d, seed, shared, last, dtype):
        messages = shared + draw(9, d, seed=seed).to(dtype)
        messages[7:] *= last
        return messages

    return st.builds(
        made,
        d=st.sampled_from([1, 2, 30, 300]),
        seed=st.integers(0, 10**6),
        shared=st.sampled_from([0.0, 0.0, 10.0]),
        last=st.sampled_from([1.0, 0.0, 1e-3, 1000.0]),
        dtype=st.sampled_from([torch.float32, torch.float64]),
    )


@pytest.mark.parametrize("rule", RULES)
@given(messages=batches(), data=st.data())
@settings(max_examples=12)
def test_rules_scale_with_messages(rule, messages, data):
    """By powers of two: bit for bit."""
    power = data.draw(st.integers(*POWERS[messages.dtype]))
    made = in_units(rule, 0)(messages, torch.Generator().manual_seed(0))
    of_scaled = in_units(rule, power)(times(messages, power), torch.Generator().manual_seed(0))
    assert torch.equal(of_scaled, times(made, power))


@pytest.mark.parametrize(("name", "parameters"), ATTACKS, ids=str)
@given(seen=batches(), data=st.data())
@settings(max_examples=8)
def test_attacks_scale_with_what_they_see(name, parameters, seen, data):
    attack = get_attack(name, **parameters)
    seen = seen[:2] if attack.sees == "own" else seen
    power = data.draw(st.integers(*POWERS[seen.dtype]))
    sent = []
    for by in (0, power):
        std = torch.full((1, 1), 2.0**by / 4, dtype=seen.dtype)
        craft = attack.in_run(Setting(get_aggregator("median"), std))
        craft(times(seen, by), 2, None)  # it may remember a step
        sent.append(craft(times(seen, by).flip(0), 2, None))
    torch.testing.assert_close(times(sent[1], -power), sent[0])


@pytest.mark.parametrize("rule", ROBUST)
@pytest.mark.parametrize("size", [1e-42, 1e-37, 1e-30, 1e-22, 1e-15, 1e10, 1e19, 1e30, 1e37])
@pytest.mark.parametrize("further", [-30.0, 1e3, 1e20, 1e60])
def test_outliers_do_not_matter_at_any_size(rule, size, further):
    """In float32, as large as it takes: no further from the honest mean than these from another."""
    honest = (size * draw(7, 40, seed=1).double()).float()
    outlier = min(abs(size * further), 3e38) * (1 if further > 0 else -1)
    messages = torch.cat([honest, torch.full((2, 40), outlier)]).unsqueeze(0)
    radius = 10 * size
    aggregate = CentredClipping(radius) if rule == "centred_clipping" else get_aggregator(rule, 2)
    away = aggregate(messages)[0].double() - honest.double().mean(0)
    widest = torch.cdist(honest.double(), honest.double()).max()
    # of which subnormal numbers are multiples: the least one, and a rounding a message
    assert away.norm() <= 3 * widest + 9 * 40**0.5 * 2.0**-149


@pytest.mark.parametrize("rule", ["krum", "multi_krum", "mda", "smea", "monna", "nnm + krum"])
@pytest.mark.parametrize("apart", [1e-38, 1e-30, 1e-20, 1e-10])
def test_where_messages_differ_is_found_beside_what_they_share(rule, apart):
    """Exactly 1 in one coordinate, tiny numbers in others, that squares in float32 are not."""
    messages = torch.nn.functional.pad((apart * draw(9, 30).double()).float(), (1, 0), value=1.0)
    messages[7:, 1:] *= 5
    alone = get_aggregator(rule, byzantine=2)(1e3 * messages[:, 1:].double() / apart)
    made = get_aggregator(rule, byzantine=2)(messages)
    assert made[0] == pytest.approx(1)
    torch.testing.assert_close(1e3 * made[1:].double() / apart, alone, rtol=1e-5, atol=0.1)


@given(
    size=st.floats(-44, 37), seed=st.integers(0, 10**6), outlier=st.sampled_from([0.0, 3.0, 3e38])
)
def test_mean_and_standard_deviation_of_each_coordinate_are_float64s(size, seed, outlier):
    """Coordinates of very different sizes beside each other."""
    sizes = 10 ** torch.tensor([size, 0.0, -20.0, 37.0, -44.0]).double()
    honest = (sizes * draw(6, 5, seed=seed).double()).float()
    honest[0, 1] = outlier
    mean, std = mean_and_std(honest)
    torch.testing.assert_close(mean.double(), honest.double().mean(0), rtol=1e-4, atol=1e-44)
    expected = honest.double().std(0, correction=0)
    torch.testing.assert_close(std.double(), expected, rtol=1e-4, atol=1e-44)


@pytest.mark.parametrize("size", [1e-42, 1e-30, 1e-20, 1.0, 1e15, 1e30])
def test_kappa_and_cosine_do_not_depend_on_the_unit(size):
    honest = (size * draw(1, 8, 30).double()).float()
    update = (size * draw(1, 30, seed=1).double()).float()
    measured = measure(honest, update, update, update)
    mean = honest.double().mean(1)
    spread = (honest.double() - mean.unsqueeze(1)).square().sum(-1).mean(1)
    kappa = (update.double() - mean).square().sum(-1) / spread
    torch.testing.assert_close(measured.kappa, kappa, rtol=1e-2 if size < 1e-37 else 1e-5, atol=0)
    cosine = torch.cosine_similarity(update.double() / size, mean / size)
    torch.testing.assert_close(measured.cosine, cosine, rtol=0, atol=1e-2 if size < 1e-37 else 1e-5)


@given(st.floats(-320, 307), st.integers(0, 10**6))
def test_lengths_and_directions_at_every_size(power, seed):
    vector = draw(3, seed=seed).double() * 10.0 ** (power / 2) * 10.0 ** (power / 2)
    largest = vector.abs().amax()
    if not largest:
        return
    expected = largest * (vector / largest).norm()
    torch.testing.assert_close(lengths(vector), expected, rtol=1e-9, atol=1e-323)
    torch.testing.assert_close(unit(vector).norm(), torch.tensor(1.0).double(), rtol=0.5, atol=0)


def test_means_of_the_largest_floats_are_finite():
    most = torch.finfo(torch.float32).max
    assert Mean()(torch.full((3, 2), most)).tolist() == [most, most]
    assert Mean()(torch.tensor([[most], [most], [-most], [-most]])).tolist() == [0]
    assert Mean()(torch.tensor([[most], [torch.inf]])).tolist() == [torch.inf]


def test_the_nearest_to_a_median_are_found_where_differences_overflow():
    """Of 3e38, -3e38 and 2e38 the two nearest to 2e38 are the positive ones."""
    values = torch.tensor([[3e38], [-3e38], [2e38]])
    torch.testing.assert_close(MeaMed(1)(values), torch.tensor([2.5e38]))


def test_neighbours_are_found_where_differences_overflow():
    """Two clusters, further apart than a float32 may be."""
    values = torch.tensor([[3e38], [-3e38], [2.9e38], [-2.9e38]])
    mixed = NNM(1)(values[[0, 0, 2, 1]])
    torch.testing.assert_close(mixed[:3], torch.full((3, 1), (3e38 + 3e38 + 2.9e38) / 3))


@pytest.mark.parametrize(
    "rule",
    [
        "arc + caf", "arc + nnm + trimmed_mean", "caf", "geometric_median", "mda", "mean", "monna",
        "multi_krum", "nnm + centred_clipping", "nnm + geometric_median", "smea", "bulyan", "cge",
        "dnc",
    ],
)  # fmt: skip
def test_the_largest_messages_have_a_finite_mean(rule):
    """Rounding may not take a mean beyond the largest number that there is."""
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        signs = torch.randn(11, 3, generator=generator).sign()
        found = get_aggregator(rule, byzantine=2)(signs * torch.finfo(torch.float32).max)
        assert found.isfinite().all()
