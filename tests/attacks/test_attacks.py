import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from privrobust.aggregators import (
    Aggregator,
    Krum,
    MajorityVote,
    Mean,
    Median,
    TrimmedMean,
    available_aggregators,
    get_aggregator,
)
from privrobust.attacks import (
    ALIE,
    Attack,
    Drift,
    Examples,
    Gaussian,
    InnerProduct,
    LabelFlip,
    LabelShift,
    LargeValue,
    LineSearch,
    MedianExtreme,
    Mimic,
    MinMax,
    MinSum,
    NoiseAwareALIE,
    OwnSignFlip,
    Replay,
    Setting,
    SignFlip,
    VoteExtreme,
    available_attacks,
    collude,
    get_attack,
    register_attack,
)
from privrobust.attacks.alie import z_max
from privrobust.errors import SpecError

NAMES = [
    *["alie", "backdoor", "camouflage", "drift", "edge_case", "gaussian", "infinity"],
    *["inner_product", "label_flip", "label_shift"],
    *["large_value", "line_search", "median_extreme", "mimic", "min_max", "min_sum", "nan"],
    *["noise_aware_alie", "own_sign_flip", "replay", "sign_flip", "vote_extreme", "zero"],
]
F = 3


def messages(*shape, seed=7):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def setting(lead=0, noise_std=0.5):
    """For messages of so many leading axes."""
    return Setting(Median(), torch.full([1] * (lead + 2), noise_std, dtype=torch.float64))


def test_every_attack_has_a_name():
    assert available_attacks() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_names(name):
    attack = get_attack(name)
    space = {type(attack).__name__: type(attack)}
    assert attack == eval(repr(attack), space)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("lead", [(3,), (2, 2)])
def test_lanes_are_loops(name, lead):
    """Of a run of several steps, each lane with its own stream and memory."""
    attack = get_attack(name)
    workers = F if attack.sees == "own" else 8

    def streams():
        return [torch.Generator().manual_seed(seed) for seed in range(lead[0])]

    together = attack.in_run(setting(len(lead)))
    alone = [attack.in_run(setting(len(lead) - 1)) for _ in range(lead[0])]
    streams_together, streams_alone = streams(), streams()
    for step in range(3):
        seen = messages(*lead, workers, 5, seed=step)
        sent = together(seen, F, streams_together)
        assert sent.shape == (*lead, F, 5)
        for lane in range(lead[0]):
            expected = alone[lane](seen[lane], F, streams_alone[lane])
            torch.testing.assert_close(sent[lane], expected, equal_nan=True)


@pytest.mark.parametrize("lead", [(), (0,)])
@pytest.mark.parametrize("name", NAMES)
def test_no_coordinates_and_no_lanes_make_as_many(name, lead):
    attack = get_attack(name)
    workers, d = F if attack.sees == "own" else 8, 0 if not lead else 5
    sent = attack.in_run(setting(len(lead)))(messages(*lead, workers, d), F, None)
    assert sent.shape == (*lead, F, d)


@pytest.mark.parametrize("name", [name for name in NAMES if get_attack(name).sees == "nothing"])
def test_attacks_that_see_nothing_do_not_look(name):
    attack = get_attack(name)
    sent = [
        attack(seen, F, torch.Generator().manual_seed(0))
        for seen in (messages(8, 5), torch.zeros(8, 5).double())
    ]
    torch.testing.assert_close(*sent, equal_nan=True, rtol=0, atol=0)


def test_sign_flips_mirror():
    honest = messages(6, 4)
    np.testing.assert_allclose(SignFlip(scale=2.0)(honest, 1)[0], -2 * honest.numpy().mean(0))
    np.testing.assert_allclose(InnerProduct(tau=0.1)(honest, 2)[1], -0.1 * honest.numpy().mean(0))
    torch.testing.assert_close(OwnSignFlip(scale=3.0)(honest, 6), -3 * honest)


def test_large_values():
    honest = messages(6, 400)
    np.testing.assert_allclose(
        LargeValue(scale=9.0)(honest, 2)[1], -9 * np.sign(honest.numpy().mean(0))
    )
    assert (LargeValue(scale=9.0, direction="constant")(honest, 2) == 9.0).all()
    drawn = LargeValue(scale=9.0, direction="random")(honest, 2, torch.Generator().manual_seed(0))
    assert drawn.norm(dim=-1).tolist() == pytest.approx([9.0 * 20] * 2)
    # two random directions in 400 dimensions: the cosine has std 1/20, |cos| > 0.3 in 1 of 10^9
    assert abs(torch.cosine_similarity(*drawn, dim=0)) < 0.3


def test_gaussian_numbers_have_the_mean_and_std_asked_for():
    drawn = Gaussian(mean=2.0, std=3.0)(messages(4, 100_000), 2, torch.Generator().manual_seed(0))
    # five standard errors of 200,000 numbers: fails by chance in 1 of 10^6 seeds
    assert float(drawn.mean()) == pytest.approx(2.0, abs=5 * 3 / 200_000**0.5)
    assert float(drawn.std()) == pytest.approx(3.0, abs=5 * 3 / 400_000**0.5)


@given(st.floats(-5, 5))
def test_alie_is_mean_minus_z_standard_deviations(z):
    honest = messages(7, 4)
    expected = honest.numpy().mean(0) - z * honest.numpy().std(0)
    np.testing.assert_allclose(ALIE(z=z)(honest, 2)[0], expected, atol=1e-12)


@pytest.mark.parametrize(
    ("n", "f", "hidden"),
    # n = 50, f = 24 is the example of Baruch et al. 2019, section 3: s = 2, z = Phi^-1(24/26)
    [(50, 24, 24 / 26), (14, 4, 6 / 10), (15, 4, 7 / 11), (12, 2, 1 / 2)],
)
def test_published_z(n, f, hidden):
    assert z_max(n, f) == pytest.approx(stats.norm.ppf(hidden))
    np.testing.assert_allclose(
        ALIE()(messages(n - f, 3), f), ALIE(z=z_max(n, f))(messages(n - f, 3), f)
    )


def test_alie_without_a_z_says_so():
    for h, f in ((2, 9), (1, 1), (2, 3)):
        with pytest.raises(SpecError, match=f"z is not defined for {f} Byzantine of {h + f} work"):
            ALIE()(messages(h, 3), byzantine=f)
    for h, f in ((2, 1), (2, 2), (6, 6)):
        assert ALIE()(messages(h, 3), byzantine=f).isfinite().all()


@pytest.mark.parametrize("gradient_std", [0.0, 2.0])
def test_noise_aware_alie_lies_among_the_honest_messages(gradient_std):
    """`s sqrt(d)` from the mean with s^2 = noise^2 + spread^2, against its sign."""
    drawn = 1.0 + 1.5 * messages(12, 50_000) + gradient_std * messages(12, 50_000, seed=8)
    sent = NoiseAwareALIE(noise_std=1.5)(drawn, 2)[0]
    away = sent - drawn.mean(0)
    assert (away * drawn.mean(0) < 0).all()
    s = (1.5**2 + gradient_std**2) ** 0.5
    # s^2 is estimated from 550,000 degrees of freedom: 0.1 % is a standard error of s
    assert float(away.norm()) == pytest.approx(s * 50_000**0.5, rel=6e-3)
    between = torch.pdist(drawn).square().mean() / (2 * s**2 * 50_000)
    to_sent = (drawn - sent).square().sum(1).mean() / ((2 - 1 / 12) * s**2 * 50_000)
    assert float(between) == pytest.approx(1, rel=1e-2)
    assert float(to_sent) == pytest.approx(1, rel=1e-2)


def test_known_noise_is_the_least_that_noise_aware_alie_hides_in():
    honest = 1.0 + 1e-3 * messages(12, 100)
    sent = NoiseAwareALIE(z=2.0, noise_std=0.5)(honest, 1)[0]
    torch.testing.assert_close(sent, honest.mean(0) - 1.0)


@pytest.mark.parametrize("direction", ["unit", "sign", "std"])
@given(h=st.integers(3, 12), seed=st.integers(0, 10**6))
@settings(max_examples=20)
def test_min_max_and_min_sum_are_as_far_out_as_their_constraint_allows(direction, h, seed):
    honest = messages(h, 6, seed=seed) + 0.5
    between = torch.cdist(honest, honest).square()
    step = {"unit": honest.mean(0), "sign": honest.mean(0).sign(), "std": honest.std(0)}[direction]
    for attack, of, most in (
        (MinMax(direction), lambda each: each.amax(), between.amax()),
        (MinSum(direction), lambda each: each.sum(), between.sum(1).amax()),
    ):
        sent = attack(honest, 1)[0]
        assert of((honest - sent).square().sum(1)) <= most * (1 + 1e-9)
        further = sent - 1e-5 * step / step.norm() * most.sqrt()
        assert of((honest - further).square().sum(1)) > most
        assert torch.cosine_similarity(sent - honest.mean(0), -step, dim=0) > 1 - 1e-9


def test_min_max_without_a_direction_sends_the_mean():
    """Without a spread, or without a mean."""
    agreed, opposite = torch.full((5, 6), 0.5), torch.tensor([[1.0, -2.0], [-1.0, 2.0]])
    for attack in (MinMax, MinSum):
        assert (attack("std")(agreed, 2) == 0.5).all()
        for direction in ("unit", "sign"):
            assert (attack(direction)(opposite, 2) == 0).all()


def test_min_max_of_workers_that_agree_agrees():
    honest = messages(1, 6).expand(5, 6)
    for attack in (MinMax(), MinSum(), MinMax("unit")):
        torch.testing.assert_close(attack(honest, 2), honest[:2])


def test_mimic_finds_the_worker_that_lies_furthest_out():
    """Worker 4 differs from the rest in one direction, always the same; noise hides it a while."""
    attack = Mimic(learning_steps=20).in_run(setting())
    for step in range(40):
        honest = messages(8, 30, seed=step)
        honest[4] += 3.0
        sent = attack(honest, 2, None)
        if step >= 10:
            torch.testing.assert_close(sent, honest[[4, 4]])
    torch.testing.assert_close(Mimic(worker=2)(honest, 2), honest[[2, 2]])


def test_mimic_is_its_definition():
    """In NumPy: from the longest deviation, one power step a step, averages over all steps."""
    attack = Mimic(learning_steps=6).in_run(setting())
    unit = lambda vector: vector / np.linalg.norm(vector)  # noqa: E731
    chosen = []
    for step in range(8):
        honest = messages(8, 5, seed=step)
        sent = attack(honest, 1, None)[0]
        if step < 6:
            away = (honest - honest.mean(0)).numpy()
            if step == 0:
                z = unit(away[np.linalg.norm(away, axis=1).argmax()])
                along = np.zeros(8)
            turned = unit(away.T @ (away @ z))
            z = unit(step / (step + 1) * z + turned / (step + 1))
            along = step / (step + 1) * along + away @ z / (step + 1)
        chosen.append(int(np.abs(along).argmax()))
        torch.testing.assert_close(sent, honest[chosen[-1]])
    assert len(set(chosen)) > 1
    assert len(set(chosen[-3:])) == 1


def test_replay_repeats_what_was_sent_before():
    attack = Replay(delay=3).in_run(setting())
    past = [messages(2, 5, seed=step) for step in range(8)]
    for step, honest in enumerate(past):
        torch.testing.assert_close(attack(honest, 3, None), past[max(0, step - 3)][[0, 1, 0]])


def test_a_memory_belongs_to_one_run():
    attack = Replay(delay=1)
    first, second = attack.in_run(setting()), attack.in_run(setting())
    first(messages(2, 5, seed=1), 1, None)
    seen = messages(2, 5, seed=2)
    torch.testing.assert_close(second(seen, 1, None), seen[:1])


def test_labels_are_poisoned():
    data = Examples(torch.rand(4, 3), torch.tensor([0, 1, 8, 9]), 10)
    for attack, expected in (
        (LabelFlip(), [9, 8, 1, 0]),
        (LabelShift(shift=2), [2, 3, 0, 1]),
        (LabelShift(shift=10**50 + 2), [2, 3, 0, 1]),
    ):
        made = attack.poisoned(data, torch.Generator())
        assert made.labels.tolist() == expected
        assert made.inputs is data.inputs


def test_drift_is_a_share_of_the_noise():
    own = messages(3, 5)
    torch.testing.assert_close(
        Drift(share=0.2).in_run(setting(noise_std=0.5))(own, 3, None), own + 0.1
    )
    torch.testing.assert_close(Drift(share=0.2, noise_std=1.0)(own, 3), own + 0.2)


@given(h=st.integers(2, 10), data=st.data(), seed=st.integers(0, 10**6))
@settings(max_examples=60)
def test_no_placement_moves_a_median_further(h, data, seed):
    f = data.draw(st.integers(1, h - 1))
    honest = messages(h, 30, seed=seed)
    mean = honest.mean(0)
    placements = [10 * messages(f, 30, seed=seed + other) for other in range(1, 8)]
    placements += [attack(honest, f) for attack in (SignFlip(5.0), LargeValue(), MinMax())]
    others = [Median()(torch.cat([honest, placed])) for placed in placements]
    distance = Median()(torch.cat([honest, MedianExtreme()(honest, f)]))
    descent = Median()(torch.cat([honest, MedianExtreme(goal="descent")(honest, f)]))
    for other in others:
        assert ((distance - mean).abs() >= (other - mean).abs() - 1e-12).all()
        assert (descent * mean.sign() <= other * mean.sign() + 1e-12).all()


@given(h=st.integers(1, 10), f=st.integers(1, 6), seed=st.integers(0, 10**6))
@settings(max_examples=60)
def test_no_votes_turn_a_majority_further(h, f, seed):
    votes = messages(h, 30, seed=seed).sign()
    honest = MajorityVote()(votes)
    attacked = MajorityVote()(torch.cat([votes, VoteExtreme()(votes, f)]))
    for other in range(5):
        placed = messages(f, 30, seed=seed + other + 1)
        outcome = MajorityVote()(torch.cat([votes, placed]))
        assert ((attacked - honest).abs() >= (outcome - honest).abs()).all()
    lead = votes.sum(0)
    expected = torch.where(lead.abs() > f, honest, torch.where(lead.abs() == f, 0.0, -honest))
    assert torch.equal(attacked[lead != 0], expected[lead != 0])


@pytest.mark.parametrize("family", ["alie", "inner_product"])
@pytest.mark.parametrize("rule", [Median(), TrimmedMean(3), Krum(3)], ids=repr)
def test_a_line_search_beats_every_fixed_strength(family, rule):
    honest = messages(12, 40) + 0.3
    mean, std = honest.mean(0), honest.std(0, correction=0)

    def distance(sent):
        return (rule(torch.cat([honest, sent])) - mean).norm()

    found = distance(LineSearch(family, against=rule, evaluations=60)(honest, 3))
    sends = {"alie": lambda t: mean - t * std, "inner_product": lambda t: -t * mean}[family]
    for strength in (0.0, 0.5, 1.0, 1.5, 2.0):
        assert found >= distance(collude(sends(strength), 3)) - 1e-9


def test_a_line_search_takes_the_rule_of_its_run():
    honest = messages(12, 40)
    searched = LineSearch().in_run(Setting(Krum(3), torch.zeros(1, 1)))(honest, 3, None)
    torch.testing.assert_close(searched, LineSearch(against="krum")(honest, 3))
    assert not torch.equal(searched, LineSearch(against="mean")(honest, 3))
    with pytest.raises(SpecError, match=r"LineSearch.against: needed outside a run"):
        LineSearch()(honest, 3)


class Breaks(Aggregator):
    """A mean that is no number where some message is longer than 100."""

    def aggregate(self, messages):
        mean = messages.mean(-2)
        return mean.masked_fill((messages.norm(dim=-1) > 100).any(-1, keepdim=True), torch.nan)


@pytest.mark.parametrize("weakest", [0.125, 0.01])
def test_a_line_search_finds_what_breaks_a_rule(weakest):
    """No aggregate is further from the honest mean than none: on the grid, and doubled beyond."""
    honest = messages(11, 50)
    sent = LineSearch(against=Breaks(), weakest=weakest)(honest, 3)
    assert sent.isfinite().all()
    assert Breaks()(torch.cat([honest, sent])).isnan().all()


class Sum(Aggregator):
    """Of votes: it trusts that workers send signs."""

    message = "sign"

    def aggregate(self, messages):
        return messages.sum(-2)


@pytest.mark.parametrize("family", ["alie", "inner_product"])
def test_a_line_search_tries_what_a_server_sees(family):
    """A sum of signs is moved furthest by votes against it, however small what they are made of."""
    honest = messages(11, 400).sign()
    found = LineSearch(family, against=Sum())(honest, 3)
    mean = honest.mean(0)
    sent = [mean - t * honest.std(0, correction=0) for t in torch.linspace(0, 64, 200)]
    sent = [-mean] if family == "inner_product" else sent

    def distance(message):
        return (honest.sum(0) + 3 * message.sign() - mean).norm()

    assert set(found.unique().tolist()) <= {-1.0, 0.0, 1.0}
    assert distance(found[0]) >= 0.999 * max(map(distance, sent))


@pytest.mark.parametrize(("evaluations", "strength"), [(1, 0), (2, 1), (3, 2), (5, 512 * 4)])
def test_a_line_search_moves_a_mean_as_far_as_it_can_double(evaluations, strength):
    """The distance grows for ever: 0 first, then the grid's end, then doubled."""
    moved = LineSearch(against=Mean(), evaluations=evaluations, weakest=1.0)(messages(12, 40), 3)
    mean, std = messages(12, 40).mean(0), messages(12, 40).std(0, correction=0)
    torch.testing.assert_close(moved[0], mean - strength * std)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["alie", "inner_product"])
@pytest.mark.parametrize("rule", sorted(set(available_aggregators()) - {"mean"}))
def test_a_line_search_finds_what_a_dense_grid_finds(family, rule):
    """Three quarters of the best of 600 strengths up to 100, far peaks included.

    What it misses are peaks just before a strength at which the rule drops the messages.
    """
    strengths = torch.linspace(0, 100, 601).unsqueeze(-1)
    against = get_aggregator(rule, 3)
    for seed in range(6):
        honest = messages(11, 50, seed=seed)
        mean, std = honest.mean(0), honest.std(0, correction=0)
        origin, direction = (mean, -std) if family == "alie" else (0 * mean, -mean)

        def distance(sent, honest=honest, mean=mean):
            whole = torch.cat([honest.expand(*sent.shape[:-2], -1, -1), sent], dim=-2)
            return (against(whole) - mean).norm(dim=-1)

        dense = distance(collude(origin + strengths * direction, 3)).max()
        assert distance(LineSearch(family, against=against)(honest, 3)) >= 0.75 * dense


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("sign_flop", {}, r"unknown name 'sign_flop'; did you mean 'sign_flip'\?"),
        ("alie", {"zz": 1.0}, r"alie has no parameter 'zz' \(it takes: z\)"),
        ("alie", {"z": float("nan")}, "ALIE.z: nan is not a finite number or none"),
        ("zero", {"z": 1}, r"zero has no parameter 'z' \(it takes none\)"),
        ("large_value", {"scale": -1.0}, "LargeValue.scale: -1.0 is not a finite number above 0"),
        ("large_value", {"scale": "big"}, "LargeValue.scale: 'big' is not a finite number above 0"),
        ("min_max", {"direction": "down"}, "direction: 'down' is not one of 'unit', 'sign', 'std'"),
        ("replay", {"delay": 0}, "Replay.delay: 0 is not a whole number at least 1"),
        ("line_search", {"weakest": 0.0}, "weakest: 0.0 is not a finite number above 0"),
        ("os:getcwd", {}, "'os:getcwd' is of Python's own library; accepted: a class"),
    ],
)
def test_bad_attacks(name, parameters, message):
    with pytest.raises(SpecError, match=message):
        get_attack(name, **parameters)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: get_attack(None), "attack: None is not accepted: text"),
        (
            lambda: register_attack("zz", 5),
            "attack: zz is 5; accepted: a class that derives from pri",
        ),
        (lambda: register_attack("zz", Median), "zz is <class .*; accepted: a class that derives"),
        (lambda: register_attack("", SignFlip), "attack: '' is not accepted as a name: letters"),
    ],
)
def test_what_is_no_attack_is_refused_at_once(call, message):
    with pytest.raises(SpecError, match=message):
        call()


class Doubled(Attack):
    """Twice the honest mean, from the wrong side."""

    def craft(self, honest, byzantine, generator):
        return collude(-2 * honest.mean(-2), byzantine)


class InPlace(Attack):
    """Turns the honest messages themselves."""

    def craft(self, honest, byzantine, generator):
        return honest[..., :byzantine, :].mul_(-1)


class Alone(Attack):
    """Forgets that there are several."""

    def craft(self, honest, byzantine, generator):
        return honest.mean(-2)


class Elsewhere(Attack):
    """Sends from another device."""

    def craft(self, honest, byzantine, generator):
        return honest[..., :byzantine, :].to("meta")


@pytest.mark.parametrize(
    ("attack", "seen", "f", "message"),
    [
        (SignFlip(), torch.zeros(3), 1, r"SignFlip: torch.float32 \(3,\) is not accepted: float"),
        (
            SignFlip(),
            torch.zeros(3, 2).long(),
            1,
            r"SignFlip: torch.int64 \(3, 2\) is not accepted",
        ),
        (SignFlip(), torch.zeros(3, 2), 0, "SignFlip: byzantine 0 is not accepted: at least 1"),
        (SignFlip(), torch.zeros(3, 2), 1.5, "SignFlip: byzantine 1.5 is not accepted"),
        (SignFlip(), torch.zeros(0, 2), 1, "SignFlip: no honest workers; accepted: at least 1"),
        (Elsewhere(), torch.zeros(3, 2), 1, "Elsewhere: it sends from meta; accepted: cpu"),
        (LabelFlip(), torch.zeros(3, 2), 2, "LabelFlip: 3 messages of 2 Byzantine workers"),
        (MedianExtreme(), torch.zeros(3, 2), 3, "3 Byzantine and 3 honest workers; .* fewer"),
        (Mimic(worker=3), torch.zeros(3, 2), 1, "Mimic.worker: 3 of 3 honest .*: 0 to 2"),
        (Alone(), torch.zeros(3, 2), 2, r"\(2,\); .* \(2, 2\), a row for each Byzantine"),
        (InPlace(), torch.ones(4, 2), 2, "InPlace: it writes to the messages that it sees"),
        (Drift(), torch.zeros(1, 2), 1, "Drift.noise_std: needed outside a run"),
    ],
)
def test_attacks_say_what_they_need(attack, seen, f, message):
    with pytest.raises(SpecError, match=message):
        attack(seen, f)


class Unaware(Attack):
    """Takes other arguments than an attack is given."""

    def craft(self, honest):
        raise NotImplementedError


class Careless(Attack):
    """Fails in a line that a reader of the error wants to find."""

    def craft(self, honest, byzantine, generator):
        return torch.zeros(2) @ torch.zeros(3)


def plain(honest):
    """Is no class, as a spec wants it."""
    return -honest


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (
            Unaware(),
            r"Unaware: it cannot be called so; accepted: craft\(self, seen, byzantine, generator\)",
        ),
        (Careless(), r"Careless: it failed \(.*, test_attacks.py, line \d+\)"),
        (
            Alone(),
            r"Alone: .*\(2, 1\), a row for each Byzantine worker \(tried on zeros of one coor",
        ),
    ],
)
def test_a_users_attack_that_cannot_run_says_what_to_mend_and_where(attack, message):
    with pytest.raises(SpecError, match=message):
        attack.fits(get_aggregator("median"), 3, 2)


def test_a_function_is_no_attack_and_the_error_says_what_is():
    with pytest.raises(SpecError, match=r"accepted: a class .* privrobust\.attacks\.Attack"):
        get_attack(f"{__name__}:plain")


@pytest.mark.parametrize("name", NAMES)
def test_attacks_work_in_inference_mode(name):
    with torch.inference_mode():
        seen = messages(F if get_attack(name).sees == "own" else 8, 5)
        sent = get_attack(name).in_run(setting())(seen, F, None)
        checked = get_attack(name).carry_out(get_attack(name).in_run(setting()), seen, F, None)
        assert sent.shape == checked.shape == (F, 5)


def test_byzantine_workers_may_be_counted_by_numpy():
    assert SignFlip()(messages(3, 2), np.int64(2)).shape == (2, 2)


def test_a_users_own_attack():
    honest = messages(4, 3)
    named = get_attack(f"{__name__}:Doubled")
    torch.testing.assert_close(named(honest, 2), SignFlip(2.0)(honest, 2))
    register_attack("doubled", Doubled)
    torch.testing.assert_close(get_attack("doubled")(honest, 2), named(honest, 2))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rule", ["median", "krum", "geometric_median", "nnm + trimmed_mean"])
def test_no_attack_makes_a_robust_rule_infinite(name, rule):
    attack, aggregate = get_attack(name), get_aggregator(rule, byzantine=3)
    honest = messages(9, 6)
    seen = honest[:3] if attack.sees == "own" else honest
    sent = attack.in_run(Setting(aggregate, torch.full((1, 1), 0.5).double()))(seen, 3, None)
    assert aggregate(torch.cat([honest, sent])).isfinite().all()
