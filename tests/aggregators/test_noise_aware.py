"""The rule that knows the noise: its tests against scipy's, its scores, and what it refuses."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from privrobust.aggregators import Aggregator, KnownNoise, NoiseAware, get_aggregator
from privrobust.aggregators.known_noise import longest_square, passes, quantile_band
from privrobust.aggregators.noise_aware import cosines, gains
from privrobust.errors import SpecError

RARE = 1e-6  # how often a right test of chance may fail


def draw(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def noise(std=1.0, momentum=0.0, reach=0.0, lanes=()):
    return KnownNoise(*(torch.full((*lanes, 1, 1), each) for each in (std, momentum, reach)))


def has_passed(messages, std=1.0, reach=0.0):
    return passes(messages, *(torch.full((1, 1), each) for each in (std, reach)))


@pytest.mark.parametrize("dim", [1, 2, 7, 650])
def test_a_message_passes_where_scipys_tests_say_so(dim):
    """Of noise, and of what is a little too wide, too narrow, beside it or of another law."""
    seen = draw(100, dim, seed=dim, dtype=torch.float64)
    uniform = (torch.special.ndtr(seen) - 0.5) * 12**0.5
    several = [seen, 1.1 * seen, 0.9 * seen, seen + 0.1, uniform, seen.clamp(min=-1.5), seen.abs()]
    messages = torch.cat(several)
    squares = messages.square().sum(-1).numpy()
    is_as_long = abs(squares - dim) <= 3 * math.sqrt(2 * dim)
    p_values = [stats.kstest(each.numpy(), "norm").pvalue for each in messages]
    expected = is_as_long & (torch.tensor(p_values) >= 0.05).numpy()
    assert has_passed(0.01 * messages, std=0.01).tolist() == expected.tolist()
    assert expected[:100].mean() > 0.85
    assert not expected.all()


def test_noise_passes_as_often_as_the_tests_promise():
    """Between both levels together and the worse of them, at a false alarm of 1e-6."""
    many, dim = 8000, 400
    norm = stats.chi2(dim)
    width = 3 * math.sqrt(2 * dim)
    is_long_or_short = 1 - (norm.cdf(dim + width) - norm.cdf(dim - width))
    rejected = many - int(has_passed(draw(many, dim, seed=1)).sum())
    assert rejected >= stats.binom.ppf(RARE / 2, many, 0.05)
    assert rejected <= stats.binom.isf(RARE / 2, many, 0.05 + is_long_or_short)


def test_the_norm_leaves_room_for_what_clipping_allows():
    """At the most that v may be: rejected where it is not known, hardly where it is."""
    seen = draw(2000, 50, seed=2)
    towards = draw(50, seed=3)
    hidden = seen + 4.0 * towards / towards.norm()
    squares = hidden.double().square().sum(-1)
    room = 50 + 16 + 3 * math.sqrt(2 * 50 + 4 * 16)
    band = quantile_band(hidden)
    ordered = hidden.sort(-1).values
    is_spread = ((ordered >= band[0]) & (ordered <= band[1])).all(-1)
    assert torch.equal(has_passed(hidden, reach=4.0), is_spread & (squares <= room))
    assert has_passed(hidden, reach=4.0).sum() > has_passed(hidden).sum()
    assert torch.equal(has_passed(hidden, reach=math.inf), is_spread)


@given(
    st.sampled_from([0.0, torch.nan, torch.inf, -torch.inf, 3e38, 1e-45, 1.0]),
    st.integers(0, 10**6),
)
@settings(max_examples=25)
def test_hostile_messages_count_as_zero(value, seed):
    """Whatever one sends: the mean of all is that of the others' noise, short by its share."""
    rule = NoiseAware(selected=1.0).in_run(noise(reach=1.0))
    messages = draw(5, 100, seed=seed)
    messages[2] = value
    kept = has_passed(messages[[0, 1, 3, 4]], reach=1.0)
    update = rule(messages, public=draw(100, seed=seed + 1))
    torch.testing.assert_close(update, (messages[[0, 1, 3, 4]] * kept.unsqueeze(-1)).sum(0) / 5)


def book(rule, steps):
    """Write the rule anew, message by message, as its docstring says it."""
    n = len(steps[0][0])
    many = math.ceil(rule.selected * n)
    direction, scores, made = 0.0, [0.0] * n, []
    for messages, public in steps:
        kept = messages.double() * has_passed(messages).unsqueeze(-1)
        direction = rule.memory * direction + (1 - rule.memory) * public.double()
        found = [
            float(each @ direction / each.norm() / direction.norm()) if each.any() else 0.0
            for each in kept
        ]
        mean_of_best = sum(sorted(found)[-many:]) / many
        for worker in range(n):
            scores[worker] += found[worker] if found[worker] >= mean_of_best else 0.0
        order = sorted(range(n), key=lambda at: (-scores[at], -found[at]))
        made.append(kept[order[:many]].mean(0))
    return torch.stack(made)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("selected", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("memory", [0.0, 0.9])
def test_scores_add_up_over_a_run(selected, memory):
    """Against a rule written anew, over six steps; the fourth message is no noise."""
    rule = NoiseAware(selected=selected, memory=memory)
    steps = []
    for step in range(6):
        messages, public = draw(9, 60, seed=step), draw(60, seed=100 + step)
        messages[:3] += 0.5 * public
        messages[3] = -public
        steps.append((messages, public))
    begun = rule.in_run(noise())
    made = torch.stack([begun(messages, public=public) for messages, public in steps])
    torch.testing.assert_close(made.double(), book(rule, steps), rtol=1e-5, atol=1e-6)
    alone = torch.stack([rule.in_run(noise())(each, public=public) for each, public in steps])
    assert (selected == 0.9) == torch.allclose(made, alone)  # it remembers, where any is left out


def test_who_sends_what_the_server_likes_is_selected_whatever_the_place():
    """Two of eight know the gradient; they are averaged from whichever place they send."""
    for places in ([0, 1], [3, 6], [6, 7]):
        rule = NoiseAware(selected=0.25, memory=0.0).in_run(noise(reach=9.0))
        for step in range(12):
            messages, public = draw(8, 400, seed=step), draw(400, seed=99)
            messages[places] += 0.3 * public
            update = rule(messages, public=public)
        kept = messages * has_passed(messages, reach=9.0).unsqueeze(-1)
        torch.testing.assert_close(update, kept[places].mean(0))


def test_equal_messages_of_colluders_earn_what_they_are_worth():
    """The mean of seven equal numbers rounds to above them: they are not below it."""
    for seed in range(200):
        value = draw(1, seed=seed, dtype=torch.float64).expand(7)
        assert torch.equal(gains(value, 7), value)


def test_the_noise_of_a_momentum_is_known_step_by_step():
    """Against simulated momenta: the variance of each step, at a false alarm of 1e-6."""
    beta, many = 0.8, 40_000
    kept = torch.zeros(many, dtype=torch.float64)
    for step in range(1, 8):
        kept = beta * kept + (1 - beta) * 0.5 * draw(many, seed=step, dtype=torch.float64)
        std = noise(0.5, momentum=beta).std_at(step).item()
        ratio = kept.square().sum().item() / std**2
        assert stats.chi2.ppf(RARE / 2, many) < ratio < stats.chi2.isf(RARE / 2, many)
    assert noise(0.5).std_at(1).item() == noise(0.5).std_at(9).item() == 0.5


@pytest.mark.usefixtures("way")
@given(
    seed=st.integers(0, 10**6),
    power=st.integers(-100, 100),
    hostile=st.sampled_from([0.0, torch.nan, -torch.inf, 3e38, 1e-45]),
    lead=st.integers(2, 4),
)
@settings(max_examples=20)
def test_lanes_are_apart(seed, power, hostile, lead):
    """Each with noise of its own size: over three steps they are what they are alone."""
    sizes = torch.tensor([2.0 ** (power * (lane % 2)) for lane in range(lead)])[:, None, None]
    several = KnownNoise(sizes, torch.zeros_like(sizes), sizes)
    rule = NoiseAware(selected=0.5)
    together = rule.in_run(several)
    alone = [
        rule.in_run(KnownNoise(sizes[lane], torch.zeros(1, 1), sizes[lane])) for lane in range(lead)
    ]
    for step in range(3):
        messages = draw(lead, 7, 80, seed=seed + step) * sizes
        messages[0, -1] = hostile
        public = draw(lead, 80, seed=seed + 50 + step)
        made = together(messages, public=public)
        assert made.isfinite().all()
        for lane, each in enumerate(alone):
            assert torch.equal(made[lane], each(messages[lane], public=public[lane]))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 0.0])
def test_a_gradient_that_is_none_scores_nothing(value):
    rule = NoiseAware(selected=1.0).in_run(noise())
    messages = draw(4, 200, seed=5)
    kept = messages * has_passed(messages).unsqueeze(-1)
    torch.testing.assert_close(rule(messages, public=torch.full((200,), value)), kept.mean(0))
    assert cosines(messages, torch.zeros(200)).tolist() == [0.0] * 4


def test_the_longest_square_is_the_longest_that_passes():
    """Stretched to either side of it, as far as the quantiles go with it."""
    seen = draw(1, 4000, seed=6)
    longest = seen / seen.norm() * longest_square(4000) ** 0.5
    assert has_passed(0.999 * longest).tolist() == [True]
    assert has_passed(1.001 * longest).tolist() == [False]


def test_it_refuses_what_it_cannot_judge():
    messages = draw(4, 10)
    with pytest.raises(SpecError, match="NoiseAware: outside a run its noise is not known"):
        NoiseAware()(messages, public=draw(10))
    with pytest.raises(SpecError, match=r"NoiseAware: public NoneType is not accepted: .*\(10,\)"):
        NoiseAware().in_run(noise())(messages)
    for text in ("nnm", "bucketing", "arc", "static_clipping"):
        with pytest.raises(SpecError, match=r"NoiseAware: behind .*: nothing before it$"):
            get_aggregator(f"{text} + noise_aware").fits(9, 2)


class Unready(Aggregator):
    """Its run begins with nothing."""

    def in_run(self, noise):
        return None

    def aggregate(self, messages):
        return messages[..., 0, :]


class Failing(Unready):
    """Its run does not begin."""

    def in_run(self, noise):
        raise KeyError("here")


def test_errors_of_a_users_run_name_the_rule():
    with pytest.raises(SpecError, match="Unready: its in_run returns NoneType; accepted: a rule"):
        Unready().started(noise())
    with pytest.raises(SpecError, match=r"Failing: it failed \(KeyError"):
        Failing().started(noise())
    chained = get_aggregator("arc + median", byzantine=1)
    assert chained.started(noise()) == chained
