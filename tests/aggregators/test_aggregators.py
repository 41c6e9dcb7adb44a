import itertools
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import optimize, stats
from tensors import LargestTensor

from privrobust.aggregators import (
    ARC,
    CAF,
    MDA,
    NNM,
    SMEA,
    Aggregator,
    Bucketing,
    Bulyan,
    CentredClipping,
    Chain,
    DnC,
    GeometricMedian,
    Krum,
    MajorityVote,
    MeaMed,
    Mean,
    Median,
    MoNNA,
    MultiKrum,
    PreAggregator,
    StaticClipping,
    TrimmedMean,
    available_aggregators,
    available_pre_aggregators,
    canonical,
    get_aggregator,
    register_aggregator,
)
from privrobust.core.parameters import parse, written
from privrobust.errors import SpecError

MESSAGES = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=4, max_side=9),
    elements=st.floats(-1e6, 1e6, width=32),
)

ROBUST = [
    *["median", "geometric_median", "centred_clipping", "trimmed_mean", "meamed", "krum", "mda"],
    *["multi_krum", "monna", "caf", "smea", "nnm + trimmed_mean", "arc + median", "nnm + krum"],
    *["arc + nnm + geometric_median", "static_clipping(norm=100.0) + trimmed_mean"],
    *["bulyan(f=1)", "cge", "arc + dnc"],
]
"""Rules that promise to withstand f of n (krum: n > 2f + 2, bulyan: n > 4f + 2), as a spec names
them."""


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(MESSAGES)
def test_median_is_numpys(messages):
    ours = Median()(torch.from_numpy(messages)).numpy()
    least = float(np.finfo(np.float32).smallest_subnormal)  # of which halves are rounded
    np.testing.assert_allclose(ours, np.median(messages, axis=-2), rtol=1e-6, atol=least)


@given(MESSAGES, st.data())
def test_trimmed_mean_is_scipys(messages, data):
    workers = messages.shape[-2]
    f = data.draw(st.integers(0, (workers - 1) // 2))
    ours = TrimmedMean(f)(torch.from_numpy(messages)).numpy()
    whole = messages.astype(np.float64)
    theirs = stats.trim_mean(whole, (f + 0.5) / workers, axis=-2)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=0.5)


@given(MESSAGES)
def test_mean_is_numpys(messages):
    ours = Mean()(torch.from_numpy(messages)).numpy()
    np.testing.assert_allclose(ours, messages.mean(axis=-2, dtype=np.float64), rtol=1e-4, atol=0.5)


@given(MESSAGES)
def test_majority_vote_is_the_sign_of_the_sum_of_signs(messages):
    ours = MajorityVote()(torch.from_numpy(messages)).numpy()
    np.testing.assert_array_equal(ours, np.sign(np.sign(messages).sum(axis=-2)))


def test_a_zero_abstains_and_a_tie_gives_zero():
    votes = torch.tensor([[0.0, 1.0, -5.0], [2.0, -1.0, 0.0]])
    assert MajorityVote()(votes).tolist() == [1.0, 0.0, -1.0]


@pytest.mark.parametrize("n", [1, 2, 5, 12, 65])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.49])
def test_meamed_averages_the_values_nearest_to_the_median(n, share):
    f = int(share * n)
    messages = draw(n, 40, seed=n)
    values = messages.double().numpy()
    order = np.argsort(np.abs(values - np.median(values, axis=0)), axis=0)[: n - f]
    expected = np.take_along_axis(values, order, axis=0).mean(0)
    np.testing.assert_allclose(MeaMed(f)(messages), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("values", "f", "mean"),
    [([0.0, 1.0, 2.0], 1, 0.5), ([-1.0, 0.0, 1.0, 2.0, 3.0], 1, 0.5), ([0.0, 2.0], 0, 1.0)],
)
def test_of_two_values_equally_near_the_smaller_counts(values, f, mean):
    assert MeaMed(f)(torch.tensor(values).unsqueeze(-1)).item() == mean


def distances(messages):
    values = messages.double().numpy()
    return np.linalg.norm(values[:, None] - values[None], axis=-1)


@pytest.mark.parametrize(("n", "f"), [(5, 1), (9, 2), (12, 4)])
def test_krum_is_its_definition(n, f):
    messages = draw(n, 30, seed=n)
    squares = np.sort(distances(messages) ** 2, axis=1)[:, 1 : n - f - 1]  # n - f - 2 others
    scores = squares.sum(1)
    assert torch.equal(Krum(f)(messages), messages[scores.argmin()])
    best = messages[np.argsort(scores)[: n - f]].mean(0)
    torch.testing.assert_close(MultiKrum(f)(messages), best)
    best = messages[np.argsort(scores)[:2]].mean(0)
    torch.testing.assert_close(MultiKrum(f, best_of=2)(messages), best)


@pytest.mark.parametrize(("n", "f"), [(5, 0), (5, 2), (9, 3)])
def test_rules_over_subsets_are_their_definitions(n, f):
    messages = draw(n, 30, seed=n)
    between = distances(messages)
    subsets = list(itertools.combinations(range(n), n - f))
    spans = [between[np.ix_(each, each)] for each in subsets]
    measured = [(round(span.max(), 6), (span**2).sum()) for span in spans]
    expected = messages[list(subsets[measured.index(min(measured))])].mean(0)
    torch.testing.assert_close(MDA(f)(messages), expected)
    tops = [np.linalg.eigvalsh(np.cov(messages[list(each)].numpy().T))[-1] for each in subsets]
    expected = messages[list(subsets[int(np.argmin(tops))])].mean(0)
    torch.testing.assert_close(SMEA(f)(messages), expected)


def test_monna_averages_the_nearest_to_the_trusted():
    messages = draw(8, 30)
    nearest = np.argsort(distances(messages)[3])[:6]
    torch.testing.assert_close(MoNNA(f=2, trusted=3)(messages), messages[nearest].mean(0))


def test_nnm_averages_the_nearest_to_each():
    messages = draw(8, 30)
    nearest = np.argsort(distances(messages), axis=1)[:, :6]
    torch.testing.assert_close(NNM(f=2)(messages), messages[nearest].mean(1))


def test_the_geometric_median_is_where_scipy_finds_it():
    messages = draw(9, 4).double()
    found = optimize.minimize(
        lambda point: np.linalg.norm(messages.numpy() - point, axis=1).sum(),
        messages.mean(0).numpy(),
        tol=1e-12,
    )
    np.testing.assert_allclose(GeometricMedian()(messages), found.x, atol=1e-5)


def test_a_geometric_median_that_is_found_waits_for_slower_lanes():
    """To rounding: the steps that the other lane still needs would move it by 1e-11."""
    fast = draw(9, 30).double()
    slow = torch.nn.functional.pad(draw(9, 2, seed=1).double(), (0, 28))
    slow[5:] = 100.0  # a bare majority, far from the rest
    together = GeometricMedian()(torch.stack([fast, slow]))
    torch.testing.assert_close(together[0], GeometricMedian()(fast), rtol=0, atol=1e-13)


@pytest.mark.parametrize("shared", [0.0, 10.0])
@pytest.mark.parametrize("start", ["medoid", "mean", "zero"])
def test_centred_clipping_is_its_iteration(start, shared):
    """Also from afar, with messages that are alike."""
    messages = shared + draw(9, 30)
    medoid = messages[distances(messages).sum(1).argmin()]
    v = {"medoid": medoid, "mean": messages.mean(0), "zero": torch.zeros(30)}[start]
    for _ in range(4):
        away = messages - v
        v = v + (away * (2.0 / away.norm(dim=1, keepdim=True)).clamp(max=1)).mean(0)
    ours = CentredClipping(radius=2.0, iterations=4, start=start)(messages)
    torch.testing.assert_close(ours, v)


def filtered(messages, f):
    """CAF in the space of the messages, with NumPy's eigenvectors."""
    values = messages.double().numpy()
    c = np.ones(len(values))
    found = []
    while True:
        mean = c @ values / c.sum()
        away = values - mean
        tops, vectors = np.linalg.eigh((c * away.T) @ away / c.sum())
        found.append((tops[-1], mean))
        along = (c > 0) * (away @ vectors[:, -1]) ** 2
        c = c * (1 - along / along.max())
        if c.sum() <= len(values) - 2 * f:
            return min(found, key=lambda each: each[0])[1]


@pytest.mark.parametrize("f", [0, 1, 3, 4])
def test_caf_is_its_definition(f):
    messages = torch.cat([draw(6, 20), 3 + draw(3, 20, seed=1)])
    np.testing.assert_allclose(CAF(f)(messages), filtered(messages, f), rtol=1e-4, atol=1e-5)


def test_static_clipping_and_arc_shorten_the_longest():
    messages = draw(10, 20) * torch.arange(1, 11).unsqueeze(-1)
    norms = messages.norm(dim=1)
    torch.testing.assert_close(StaticClipping(9.0)(messages).norm(dim=1), norms.clamp(max=9.0))
    cut = norms.sort().values[10 - 2 * 3 * 7 // 10 - 1]  # floor(2 f (n - f) / n) are longer
    torch.testing.assert_close(ARC(f=3)(messages).norm(dim=1), norms.clamp(max=cut))
    for rule in (StaticClipping(1.0), ARC(f=1)):
        assert torch.equal(rule(torch.zeros(3, 2)), torch.zeros(3, 2))


@pytest.mark.parametrize("rule", [NNM(f=0), StaticClipping(1e38)], ids=repr)
def test_messages_that_are_not_finite_count_as_zero(rule):
    for value, counts in ((1e30, 1e30), (torch.inf, 0.0), (-torch.inf, 0.0), (torch.nan, 0.0)):
        messages = torch.tensor([[1.0, value], [0.0, 0.0], [0.0, 0.0]])
        sent = rule(messages).sum(0)  # also of the means of all three
        torch.testing.assert_close(sent, torch.tensor([float(counts > 0), counts]))


@pytest.mark.parametrize(("n", "s", "buckets"), [(10, 2, 5), (10, 3, 4), (3, 5, 1)])
def test_bucketing_averages_each_message_once(n, s, buckets):
    messages = draw(n, 4)
    mixed = Bucketing(s)(messages, torch.Generator().manual_seed(0))
    assert mixed.shape == (buckets, 4)
    counts = torch.tensor([float(len(range(i, min(i + s, n)))) for i in range(0, n, s)])
    torch.testing.assert_close(counts @ mixed, messages.sum(0))
    other = Bucketing(s)(messages, torch.Generator().manual_seed(1))
    assert s >= n or not torch.equal(mixed, other)


def test_means_of_large_values_do_not_overflow():
    """Whose sum does: the mean of those near the median is 2.1e38, and of three alike 3e38."""
    values = torch.tensor([[2e38], [2.1e38], [2.2e38], [3.3e38]])
    torch.testing.assert_close(MeaMed(1)(values), torch.tensor([2.1e38]))
    torch.testing.assert_close(Bucketing(3)(torch.full((3, 1), 3e38)), torch.tensor([[3e38]]))


@pytest.mark.parametrize("shape", [(9, 0), (0, 9, 4), (3, 0, 9, 0)])
@pytest.mark.parametrize("rule", [*ROBUST, "mean", "majority_vote", "bucketing + median"])
def test_no_coordinates_and_no_lanes_make_as_many(rule, shape):
    made = get_aggregator(rule, byzantine=2)(torch.zeros(shape))
    assert made.shape == (*shape[:-2], shape[-1])


@pytest.mark.parametrize("rule", [*ROBUST, "mean", "majority_vote", "bucketing + median"])
@pytest.mark.parametrize("lead", [(3,), (2, 2)])
def test_lanes_are_loops(rule, lead):
    rule = get_aggregator(rule, byzantine=2)
    messages = draw(*lead, 9, 30)
    seeds = range(lead[0])

    def streams():
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    together = rule(messages, streams())
    assert together.shape == (*lead, 30)
    for lane, (each, alone) in enumerate(zip(together, messages, strict=True)):
        torch.testing.assert_close(each, rule(alone, streams()[lane]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rule", [*ROBUST, "mean"])
@given(order=st.permutations(range(9)), seed=st.integers(0, 10**6))
@settings(max_examples=10)
def test_the_order_of_workers_does_not_matter(rule, order, seed):
    if rule == "monna":  # it trusts worker 0
        order = [0, *(worker for worker in order if worker)]
    rule = get_aggregator(rule, byzantine=2)
    messages = draw(9, 12, seed=seed).double()
    # Weiszfeld's steps end where they are close enough, which where they start may change
    torch.testing.assert_close(rule(messages[list(order)]), rule(messages), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "rule",
    [*(each for each in ROBUST if not {"arc", "100", "cge"} & {*re.split(r"\W+", each)}), "dnc"],
)
@given(scale=st.floats(0.1, 1000), shift=st.floats(-10, 10), seed=st.integers(0, 10**6))
@settings(max_examples=10)
def test_rules_move_and_grow_with_their_messages(rule, scale, shift, seed):
    moved = get_aggregator(rule, byzantine=2)
    if rule == "centred_clipping":  # its radius is in the unit of the messages
        moved = CentredClipping(radius=10.0 * scale)
    if rule == "geometric_median":
        moved = GeometricMedian(smoothing=1e-6 * scale)
    messages = draw(9, 12, seed=seed).double()
    expected = scale * get_aggregator(rule, byzantine=2)(messages) + shift
    torch.testing.assert_close(moved(scale * messages + shift), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rule", [*ROBUST, "mean", "bucketing + median"])
def test_rules_agree_with_workers_that_agree(rule):
    message = draw(1, 50)
    if "static" in rule:
        message /= message.norm()
    agreed = get_aggregator(rule, byzantine=3)(message.expand(11, 50))
    torch.testing.assert_close(agreed, message[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rule", [each.replace("(f=1)", "") for each in ROBUST])
@given(
    f=st.integers(1, 4),
    hostile=st.one_of(
        st.sampled_from([torch.nan, torch.inf, -torch.inf, 3e38, -1e20]),
        st.sampled_from([10.0**power for power in range(18)]),
        st.floats(-1e9, 1e9),
    ),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=30)
def test_few_messages_have_bounded_influence(rule, f, hostile, seed):
    """Near the honest mean, whatever f of as few workers as the rule accepts send."""
    least = 3 * f + 3 if rule == "bulyan" else f + (3 if "krum" in rule else 1)
    honest = draw(least, 10, seed=seed)
    byzantine = hostile * draw(f, 10, seed=seed + 1)
    aggregate = get_aggregator(rule, byzantine=f)(torch.cat([honest, byzantine]))
    away = (aggregate - honest.mean(0)).norm()
    # a geometric median is within 2 h / (h - f) times the honest spread (Lai, Rao, Vempala 2016)
    assert away <= (2 * f + 2) * torch.cdist(honest, honest).max() + 30


@given(
    honest=st.integers(1, 12),
    data=st.data(),
    hostile=st.sampled_from([torch.nan, torch.inf, -torch.inf]),
)
def test_a_minority_of_non_finite_messages_stays_within_the_honest(honest, data, hostile):
    byzantine = data.draw(st.integers(0, honest - 1))
    messages = draw(honest, 5, seed=honest)
    attacked = torch.cat([torch.full((byzantine, 5), hostile), messages])
    for rule in (Median(), TrimmedMean(byzantine), MeaMed(byzantine)):
        assert (messages.amin(0) - 1e-6 <= rule(attacked)).all()
        assert (rule(attacked) <= messages.amax(0) + 1e-6).all()
    votes = np.sign(np.nan_to_num(attacked.numpy(), nan=1.0)).sum(0)
    np.testing.assert_array_equal(MajorityVote()(attacked), np.sign(votes))


@pytest.mark.parametrize("place", range(6))
def test_nan_is_ordered_as_plus_infinity_wherever_it_stands(place):
    values = [1.0, 2.0, 3.0, 4.0, 5.0]
    values.insert(place, torch.nan)
    assert Median()(torch.tensor(values).unsqueeze(-1)).item() == 3.5


def test_nan_votes_for_plus_one():
    """As +infinity does; in one of several blocks of coordinates, too."""
    votes = torch.ones(4, 1 << 19)
    votes[:2] = -1
    votes[1, -1] = votes[3, 0] = torch.nan
    outcome = MajorityVote()(votes)
    assert outcome[-1] == 1
    assert (outcome[:-1] == 0).all()
    infinite = torch.tensor([[torch.inf], [-torch.inf], [1.0]])
    assert MajorityVote()(infinite).tolist() == [1.0]


def test_the_mean_is_not_robust():
    assert Mean()(torch.tensor([[1.0], [torch.inf]])).isinf().all()


@pytest.mark.parametrize("rule", [Krum(2), NNM(2), GeometricMedian(), MDA(2)], ids=repr)
def test_what_messages_share_does_not_hide_where_they_differ(rule):
    """In float32, with a common part ten thousand times as long as the differences."""
    apart = draw(9, 1000, seed=3)
    together = 1e4 * draw(1, 1000, seed=4) + apart
    expected = rule(together.double() - together[0].double()) + together[0].double()
    torch.testing.assert_close(rule(together).double(), expected, rtol=1e-5, atol=1e-5)


def scattered(honest, f):
    """As long as honest messages, each in a direction of its own: most pairs are far apart."""
    return honest.norm(dim=1).mean() * torch.nn.functional.normalize(draw(f, 1000, seed=6), dim=1)


def mirrored(honest, f):
    """Opposite to the honest, and of median norm."""
    norms = honest.norm(dim=1).sort().values
    middle = norms[len(norms) // 2 - 1 :][:2].mean()
    return (-middle * honest[:1] / honest[0].norm()).expand(f, -1)


@pytest.mark.parametrize("attack", [scattered, mirrored])
@pytest.mark.parametrize(("h", "f", "ratio"), [(10, 5, 300.0), (10, 5, 1e3), (8, 1, 1e4)])
@pytest.mark.parametrize("rule", ["krum", "multi_krum", "geometric_median", "nnm + mean", "mda"])
def test_a_minority_does_not_hide_where_honest_messages_differ(rule, h, f, ratio, attack):
    """In float32, whatever they send, against the same in float64."""
    honest = ratio * draw(1, 1000, seed=4) + draw(h, 1000, seed=3)
    together = torch.cat([honest, attack(honest, f)])
    rule = get_aggregator(rule, byzantine=f)
    # a float32 of 3 * ratio is within 2e-7 * ratio
    torch.testing.assert_close(
        rule(together).double(), rule(together.double()), rtol=0, atol=2e-6 * ratio
    )


@pytest.mark.parametrize("rule", [Krum(3), GeometricMedian(), NNM(3), MDA(3)], ids=repr)
def test_no_tensor_is_workers_times_messages(rule):
    """Pairwise distances of 15 x 100,000 without a tensor of 15 x 15 x 100,000."""
    messages = draw(15, 100_000)
    with LargestTensor() as largest:
        rule(messages)
    assert largest.numel <= messages.numel()


@pytest.mark.parametrize(
    ("text", "byzantine", "made"),
    [
        ("median", 3, Median()),
        ("trimmed_mean", 2, TrimmedMean(f=2)),
        ("krum(f=1)", 2, Krum(f=1)),
        ("multi_krum(best_of=3)", 2, MultiKrum(f=2, best_of=3)),
        ("arc+nnm + krum", 2, Chain((ARC(2), NNM(2)), Krum(2))),
        ("centred_clipping(radius=1, start='zero')", 0, CentredClipping(1.0, start="zero")),
    ],
)
def test_rules_by_name(text, byzantine, made):
    assert get_aggregator(text, byzantine) == made
    assert get_aggregator(canonical(text), byzantine) == made
    assert made == eval(repr(made))


def test_every_rule_has_a_name():
    assert set(available_aggregators()) == {
        *["bulyan", "caf", "centred_clipping", "cge", "dnc", "fltrust", "geometric_median"],
        *[
            "krum",
            "majority_vote",
            "mda",
            "mean",
            "meamed",
            "median",
            "monna",
            "multi_krum",
            "noise_aware",
            "smea",
        ],
        "trimmed_mean",
    }
    assert set(available_pre_aggregators()) == {"arc", "bucketing", "nnm", "static_clipping"}


class NotARule:
    pass


@dataclass(frozen=True)
class Misses(Aggregator):
    """Fails as it is made."""

    def __post_init__(self):
        {}["a key"]

    def aggregate(self, messages):
        raise NotImplementedError


class Quits(Misses):
    """Ends the program."""

    def __post_init__(self):
        raise SystemExit("enough\nof this")


@dataclass(frozen=True)
class Unresolved(Aggregator):
    """Has a parameter of a type that is nowhere."""

    size: "Nothing" = 1  # noqa: F821

    def aggregate(self, messages):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("medain", r"'medain'; did you mean 'median'\? \(known: .*mean"),
        ("krum(g=2)", r"krum has no parameter 'g' \(it takes: f, neighbours\)"),
        ("krum(f=-1)", "Krum.f: -1 is not a whole number at least 0"),
        ("krum(f=1.5)", "Krum.f: 1.5 is not a whole number at least 0"),
        ("krum(f=True)", "Krum.f: true is not a whole number"),
        ("krum(2)", "'krum.2.' is not accepted: a name, or name.parameter=value"),
        ("krum(f=", "is not accepted: a name"),
        ("krum(f=1)(f=2)", "is not accepted: a name"),
        ("krum(f=1, f=2)", "is not accepted: a name"),
        ("krum(f=1) or f(f=2)", "is not accepted: a name"),
        ("", "'' is not accepted: a name"),
        ("median + krum", "'median . krum' has a rule before its end; accepted there: arc, "),
        ("nnm", "'nnm' ends without a rule; accepted: . and one of bulyan, "),
        ("centred_clipping(start='origin')", "start: 'origin' is not one of 'medoid', 'mean', 'z"),
        ("centred_clipping(radius=inf)", "not accepted"),
        ("geometric_median(smoothing=0)", "smoothing: 0.0 is not a finite number above 0"),
        ("dnc(coordinates=0)", "DnC.coordinates: 0 is not a whole number at least 1"),
        ("dnc(dropped=0)", "DnC.dropped: 0.0 is not a finite number above 0"),
        (f"{__name__}:NotARule", "NotARule' is another class; accepted: a class that"),
        (
            f"{__name__}:Misses",
            r"Misses cannot be made \(KeyError: 'a key', test_agg.*, line \d+\)$",
        ),
        (
            f"{__name__}:Quits",
            r"Quits cannot be made \(SystemExit: enough, test_agg.*, line \d+\)$",
        ),
        (f"{__name__}:Unresolved", "Unresolved cannot be made .NameError: name 'Nothing' is not"),
        (f"{__name__}:summed", "summed' is a function, no class; accepted: a class that derives"),
        ("mean.krum", "unknown name 'mean.krum'.*; one of your own: module:name"),
        (f"{__name__}:NotRule", r"has no 'NotRule'; did you mean 'NotARule'\?"),
        ("builtins:dict", "'builtins:dict' is of Python's own library; accepted: a class that"),
        ("sys:exit", "'sys:exit' is of Python's own library"),
        (f"krum(f=1{'0' * 400})", "Krum.f: a number of 1329 bits is not a whole number at least 0"),
        (f"krum(f=0x1{'0' * 5000})", "Krum.f: a number of 20001 bits is not a whole number at le"),
        (f"static_clipping(norm=1{'0' * 400})", "norm: a number of 1329 bits is not a finite numb"),
        ("krum(f={[]: 1})", "is not accepted: a name"),
        (f"krum(f={'-' * 3000}1)", r"'krum\(f=-{189}\.\.\. is not accepted: a name"),
        (f"krum(f={'1+' * 6000}1)", "is not accepted: a name"),
    ],
)
def test_bad_rules(text, message):
    with pytest.raises(SpecError, match=message) as raised:
        get_aggregator(text)
    assert "\n" not in str(raised.value)


def summed(messages):
    """Is no class, as a spec wants it."""
    return messages.sum(-2)


class Unaware(Aggregator):
    """Takes other arguments than a rule is given."""

    def aggregate(self):
        raise NotImplementedError


class Wide(Aggregator):
    """Keeps the axis of workers."""

    def aggregate(self, messages):
        return messages


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            Unaware(),
            r"Unaware: it cannot be called so; accepted: aggregate\(self, messages\) \(tried on",
        ),
        (Wide(), r"\(3, 1\); accepted: torch.float32 \(1,\) \(tried on zeros of one coordinate\)"),
    ],
)
def test_a_users_rule_that_cannot_run_is_told_how_it_was_tried(rule, message):
    with pytest.raises(SpecError, match=message):
        rule.try_out(3)


class Shouts(Aggregator):
    """Asks for what no worker sends."""

    message = "signs"

    def aggregate(self, messages):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: get_aggregator(None), "aggregator: None is not accepted: text"),
        (lambda: canonical(3), "aggregator: 3 is not accepted: text"),
        (
            lambda: get_aggregator(f"{__name__}:Shouts"),
            "Shouts asks for message 'signs'; accepted:",
        ),
        (
            lambda: register_aggregator("zz", Median()),
            r"zz is Median\(\); accepted: a class that de",
        ),
        (lambda: register_aggregator("zz", NotARule), "aggregators.Aggregator or PreAggregator$"),
        (lambda: register_aggregator("z + z", Median), r"'z \+ z' is not accepted as a name"),
    ],
)
def test_what_is_no_rule_is_refused_at_once(call, message):
    with pytest.raises(SpecError, match=message):
        call()


@dataclass(frozen=True)
class Chooses(Aggregator):
    """One of a few, numbers and words."""

    of: Literal[1, 2, "all"] = 1

    def aggregate(self, messages):
        raise NotImplementedError


@pytest.mark.parametrize("choice", [1, 2, "all"])
def test_a_choice_may_be_a_number(choice):
    assert get_aggregator(f"{__name__}:Chooses(of={choice!r})").of == choice


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        (3, "3 is not"),
        (1.5, "1.5 is not"),
        (True, "true is not"),
        ("one", "'one' is not"),
        (None, "nothing is given; accepted:"),
    ],
)
def test_no_other_is_accepted(choice, told):
    with pytest.raises(SpecError, match=rf"of: {told} one of 1, 2, 'all'$"):
        Chooses(choice)


def test_a_module_that_exits_is_named(tmp_path, monkeypatch):
    (tmp_path / "exits_at_once.py").write_text("import sys\nsys.exit('no\\nmore')\n")
    monkeypatch.syspath_prepend(tmp_path)
    named = r"'exits_at_once:Rule' \(SystemExit: no, exits_at_once\.py, line 2\)$"
    with pytest.raises(SpecError, match=named):
        get_aggregator("exits_at_once:Rule")


@pytest.mark.parametrize("f", [3, 10**30, -(16**5000)], ids=["short", "long", "too long"])
def test_whole_numbers_are_written_as_they_are_read(f):
    assert parse("aggregator", written("krum", {"f": f})) == ("krum", {"f": f})


@pytest.mark.parametrize(
    ("rule", "messages", "message"),
    [
        (TrimmedMean(2), torch.zeros(4, 3), "TrimmedMean: 4 workers, 2 of them .* at least 5 work"),
        (Krum(2), torch.zeros(6, 3), "Krum: 6 workers, 2 of them Byzantine; .* at least 7 workers"),
        (Chain((Bucketing(2),), Krum(2)), torch.zeros(9, 3), "Krum: 5 workers, 2 of them"),
        (MoNNA(f=0, trusted=5), torch.zeros(5, 3), "MoNNA: 5 workers, .* at least 6 workers"),
        (
            MDA(20),
            torch.zeros(50, 3),
            "MDA: 50 workers have more subsets of 30 .*: at most 100,000",
        ),
        (SMEA(4000), torch.zeros(20_000, 1), "SMEA: 20000 workers have more subsets of 16000 than"),
        (Bulyan(1), torch.zeros(6, 3), "Bulyan: 6 workers, 1 of them .* at least 7 workers"),
        (DnC(2, dropped=2.5), torch.zeros(5, 3), "dropped: 2.5 times 2 of 5 workers; accepted: f"),
        (MultiKrum(best_of=5), torch.zeros(4, 3), "best_of: 5 of 4 workers; accepted: 1 to 4"),
        (Krum(neighbours=4), torch.zeros(4, 3), "neighbours: 4 of 4 workers; accepted: 1 to 3"),
        (Median(), torch.zeros(3), r"Median: messages \(3,\) is not accepted: a tensor \(..., n,"),
        (Median(), [[1.0]], r"Median: messages list is not accepted: a tensor"),
        (
            Median(),
            torch.zeros(3, 2).int(),
            "Median: messages of torch.int32 is not accepted: torch.float32",
        ),
        (Krum(1), torch.zeros(7, 2).half(), "Krum: messages of torch.float16 is not accepted"),
        (NNM(1), torch.zeros(0, 2), "NNM: 0 workers, 1 of them Byzantine; accepted: at least 3"),
    ],
)
def test_rules_say_what_they_need(rule, messages, message):
    with pytest.raises(SpecError, match=message):
        rule(messages)


class Column(Aggregator):
    """Keeps an axis too many."""

    def aggregate(self, messages):
        return messages[..., :1, :]


class Elsewhere(Aggregator):
    """Returns what is on another device."""

    def aggregate(self, messages):
        return messages[..., 0, :].to("meta")


class Moves(PreAggregator):
    """So does this one."""

    def transform(self, messages, generator):
        return messages.to("meta")


class Flattens(PreAggregator):
    """Leaves no axis of workers."""

    def transform(self, messages, generator):
        return messages.flatten()


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Column(), r"Column: it returns torch.float32 \(1, 2\); accepted: torch.float32 \(2,\)"),
        (Flattens(), r"Flattens: it returns torch.float32 \(6,\); accepted: .* \('m', 2\)"),
        (Elsewhere(), "Elsewhere: it returns what is on meta; accepted: cpu"),
        (Moves(), "Moves: it returns what is on meta; accepted: cpu"),
    ],
)
def test_a_rule_that_returns_something_else_is_named(rule, message):
    with pytest.raises(SpecError, match=message):
        rule(torch.zeros(3, 2))


@pytest.mark.parametrize(
    ("rule", "n", "f", "message"),
    [
        ("median", 8, 4, "Median: 8 messages, 4 of them Byzantine; accepted: fewer than half"),
        ("bucketing(s=3) + median", 10, 3, "Median: 4 messages, 3 of them Byzantine"),
        ("monna(trusted=7)", 10, 3, "MoNNA.trusted: 7 is a Byzantine worker; accepted: 0 to 6"),
        ("nnm + bucketing + monna", 10, 2, "MoNNA: behind Bucketing, which shuffles workers; acc"),
        ("krum(f=0)", 18, 9, "Krum: 18 messages, 9 of them Byzantine; accepted: fewer than half"),
        ("bucketing + trimmed_mean(f=1)", 8, 2, "TrimmedMean: 4 messages, 2 of them Byzantine"),
        ("centred_clipping", 8, 4, "CentredClipping: 8 messages, 4 of them Byzantine"),
    ],
)
def test_rules_refuse_runs_in_which_they_promise_nothing(rule, n, f, message):
    with pytest.raises(SpecError, match=message):
        get_aggregator(rule, byzantine=f).fits(n, f)
    for promises_nothing in ("mean", "centred_clipping(start='mean')"):
        get_aggregator(promises_nothing, byzantine=f).fits(n, f)


def test_one_worker_moves_the_mean_as_a_start_anywhere():
    messages = torch.cat([draw(8, 5), torch.full((1, 5), 1e9)])
    moved = CentredClipping(start="mean")(messages)
    assert moved.norm() > 1e8
    assert not CentredClipping(start="mean").robust
    assert not CentredClipping(start="zero").robust
    assert CentredClipping()(messages).norm() < 50


@pytest.mark.parametrize("rule", ["nnm + monna", "arc + monna", "static_clipping + monna"])
def test_the_trusted_worker_keeps_its_place_behind(rule):
    get_aggregator(rule, byzantine=2).fits(9, 2)


def test_workers_send_what_the_rule_behind_a_pre_aggregator_asks_for():
    assert get_aggregator("nnm + majority_vote").message == "sign"
    assert get_aggregator("nnm + median").message == "vector"


class First(Aggregator):
    """The message of worker 0."""

    def aggregate(self, messages):
        return messages[..., 0, :]


def test_a_users_own_rule():
    messages = draw(3, 4)
    assert torch.equal(get_aggregator(f"{__name__}:First")(messages), messages[0])
    register_aggregator("first", First)
    chained = get_aggregator("nnm + first", byzantine=1)
    torch.testing.assert_close(chained(messages), NNM(1)(messages)[0])


@given(
    hnp.arrays(
        np.float32, st.tuples(st.integers(3, 12), st.just(40)), elements=st.sampled_from([-1, 1])
    ),
    st.integers(0, 3),
)
def test_of_signs_all_rules_take_the_majority_where_none_has_a_tie(signs, f):
    """A median of signs is the vote of their majority, and so is what trimming leaves."""
    messages = torch.from_numpy(signs)
    f = min(f, (len(signs) - 1) // 2)
    made = torch.stack(
        [rule(messages).sign() for rule in (Mean(), TrimmedMean(f=f), Median(), MajorityVote())]
    )
    decided = (made != 0).all(0)
    assert (made[:, decided] == made[0, decided]).all()
    assert torch.equal(decided, messages.sum(0) != 0)
