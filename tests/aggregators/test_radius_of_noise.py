"""Centred clipping whose radius is in units of the noise: what it is, in runs and outside."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from privrobust import RunSpec, train
from privrobust.aggregators import CentredClipping, KnownNoise, get_aggregator
from privrobust.errors import SpecError
from privrobust.training.loop import train_lanes

RUN = {"clip_norm": 1.0, "noise_scale": 0.1, "steps": 5, "honest": 6, "byzantine": 2}
RULE = "centred_clipping(radius=0.5, unit='noise')"


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double()


def noise(std, momentum=(0.0,), reach=(0.0,)):
    lanes = (torch.tensor(each, dtype=torch.float64) for each in (std, momentum, reach))
    return KnownNoise(*(each.view(-1, 1, 1) for each in lanes))


@given(
    radius=st.floats(1e-6, 1e6),
    std=st.floats(0, 1e3),
    reach=st.floats(1e-6, 1e3),
    start=st.sampled_from(["medoid", "mean", "zero"]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=50)
def test_a_radius_of_noise_is_that_many_lengths(radius, std, reach, start, seed):
    messages = draw(1, 7, 40, seed=seed)
    begun = CentredClipping(radius, start=start, unit="noise").in_run(noise([std], [0.0], [reach]))
    length = math.sqrt(40) * std + reach
    same = CentredClipping(radius * length, start=start)
    torch.testing.assert_close(begun(messages), same(messages), rtol=1e-9, atol=1e-12)


def test_each_lane_has_its_own_noise():
    messages = draw(3, 7, 40)
    stds, betas, reaches = [0.1, 1.0, 0.0], [0.0, 0.9, 0.5], [1.0, 0.2, 0.3]
    together = CentredClipping(0.4, unit="noise").in_run(noise(stds, betas, reaches))(messages)
    for lane in range(3):
        known = noise([stds[lane]], [betas[lane]], [reaches[lane]])
        alone = CentredClipping(0.4, unit="noise").in_run(known)(messages[lane : lane + 1])
        assert torch.equal(together[lane : lane + 1], alone)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.99])
def test_the_length_is_that_of_noise_once_momentum_has_settled(momentum):
    """The variance of `m <- beta m + (1 - beta) xi` is `(1 - beta) / (1 + beta)` in the limit."""
    known = noise([2.0], [momentum], [3.0])
    expected = math.sqrt(650) * 2.0 * math.sqrt((1 - momentum) / (1 + momentum)) + 3.0
    assert known.longest(650).item() == pytest.approx(expected, rel=1e-12)
    assert known.std_at(math.inf).item() == pytest.approx(known.std_at(10**4).item(), rel=1e-12)


@pytest.mark.parametrize("hostile", [1e30, -1e30, math.nan, math.inf])
def test_f_messages_however_long_move_a_round_by_f_radii(hostile):
    """By `f radius / n`, from where it would be had they sent v; not so the choice of a medoid."""
    honest, none = draw(1, 9, 40), torch.zeros(1, 2, 40).double()
    clipping = CentredClipping(0.5, iterations=1, start="zero", unit="noise")
    rule = clipping.in_run(noise([1.0], [0.0], [0.0]))
    harmless = rule(torch.cat([honest, none], 1))
    moved = (rule(torch.cat([honest, none + hostile], 1)) - harmless).norm().item()
    assert moved <= 2 * 0.5 * math.sqrt(40) / 11 * (1 + 1e-6)


def test_lanes_are_the_runs_alone():
    """Of other noise, none and momentum, beside another rule; also where the attack knows it."""
    specs = [
        RunSpec(**RUN, aggregator=RULE, attack="line_search"),
        RunSpec(**{**RUN, "noise_scale": 0.3}, aggregator=RULE, attack="line_search", seed=1),
        RunSpec(**{**RUN, "noise_scale": 0.0}, aggregator=RULE, attack="alie"),
        RunSpec(**RUN, aggregator=RULE, attack="alie", worker_momentum=0.5),
        RunSpec(**RUN, aggregator=f"nnm + {RULE}", attack="alie"),
        RunSpec(**RUN, aggregator="median", attack="alie"),
    ]
    for spec, beside in zip(specs, train_lanes(specs), strict=True):
        assert train(spec).history.equals(beside.history)


def test_an_attack_against_another_rule_starts_that_once(monkeypatch):
    started, in_run = [], CentredClipping.in_run
    monkeypatch.setattr(
        CentredClipping, "in_run", lambda rule, noise: started.append(1) or in_run(rule, noise)
    )
    settings = {**RUN, "aggregator": "median"}
    guessed = RunSpec(**settings, attack=f'line_search(against="{RULE}")')
    alone = train(guessed)
    assert started == [1]
    beside, _ = train_lanes([guessed, RunSpec(**settings, attack="line_search")])
    assert beside.history.equals(alone.history)
    with pytest.raises(SpecError, match=r"LineSearch.against: .* where signs are sent; accepted"):
        RunSpec(**{**RUN, "aggregator": "majority_vote"}, attack=f'line_search(against="{RULE}")')


def test_in_a_run_it_is_told_b_and_c():
    """Without noise L is the bound of a gradient; a radius of any length is the mean."""
    of_noise = train(RunSpec(**RUN, aggregator=RULE, attack="large_value"))
    length = math.sqrt(650) * 0.1 + 1 + 3 / math.sqrt(32)
    of_messages = f"centred_clipping(radius={0.5 * length!r})"
    same = train(RunSpec(**RUN, aggregator=of_messages, attack="large_value"))
    assert of_noise.accuracy == pytest.approx(same.accuracy, abs=0.02)
    assert of_noise.history["kappa"].tolist() == pytest.approx(same.history["kappa"].tolist(), 1e-3)
    settings = {**RUN, "byzantine": 0}
    vast = RunSpec(**settings, aggregator="centred_clipping(radius=1e6, unit='noise')")
    mean = train(RunSpec(**settings, aggregator="mean"))
    assert train(vast).accuracy == pytest.approx(mean.accuracy, abs=0.01)


def test_what_is_refused():
    with pytest.raises(SpecError, match=r"CentredClipping: unit='noise' outside a run, .*in_run"):
        CentredClipping(unit="noise")(draw(5, 4))
    with pytest.raises(SpecError, match="unit: 'b' is not one of 'message', 'noise'"):
        get_aggregator("centred_clipping(unit='b')")
    for rule in (RULE, f"arc + {RULE}"):
        with pytest.raises(SpecError, match=r"^clip_norm: none with .*grad_norm_bound$"):
            RunSpec(noise_scale=0.1, aggregator=rule)
    assert RunSpec(noise_scale=0.1, aggregator="centred_clipping").clip_norm is None


def test_a_unit_that_is_not_named_changes_no_key():
    assert RunSpec(aggregator="centred_clipping(radius=2, unit='message')").aggregator == (
        "centred_clipping(radius=2.0)"
    )
