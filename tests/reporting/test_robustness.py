"""What runs say of attacks: in training, in their history, and over runs."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from frames import frame
from scipy import stats

from privrobust import RunSpec, attacks, train
from privrobust.aggregators import Aggregator
from privrobust.aggregators.distances import Geometry
from privrobust.attacks import Attack, available_attacks, get_attack
from privrobust.data import get_dataset
from privrobust.errors import SpecError
from privrobust.reporting.legend import breakdown_text
from privrobust.reporting.robustness import breakdown, robustness
from privrobust.reporting.tables import lay_out
from privrobust.training.loop import train_lanes
from privrobust.training.measures import measure

SHORT = {"honest": 6, "clip_norm": 1.0, "steps": 12, "evaluate_every": 3, "noise_scale": 0.02}


def test_every_attack_trains_in_lanes_as_it_does_alone():
    """Beside the others, two seeds of each, in the order of nothing in particular."""
    short = SHORT | {"honest": 7}  # five buckets, of which two may be Byzantine
    specs = [
        RunSpec(**short, byzantine=2, attack=attack, seed=seed, aggregator=aggregator)
        for seed in (0, 1)
        for attack in available_attacks()
        for aggregator in ("median", "bucketing + trimmed_mean(f=1)")
    ]
    for spec, result in list(zip(specs, train_lanes(specs), strict=True))[::3]:
        alone = train(spec)
        for column in result.history:
            expected = alone.history[column].to_numpy()
            np.testing.assert_allclose(
                result.history[column], expected, rtol=1e-3, atol=1e-5, err_msg=str(spec.attack)
            )


def test_an_attack_spends_nothing():
    clean, attacked = RunSpec(**SHORT), RunSpec(**SHORT, byzantine=2, attack="label_flip")
    assert train(clean).epsilon == train(attacked).epsilon


def messages(messages_of, attack, heterogeneity=1.0, noise_scale=0.0):
    settings = SHORT | {"noise_scale": noise_scale, "heterogeneity": heterogeneity}
    return messages_of(RunSpec(**settings, byzantine=2, attack=attack))[:, 0]


def test_byzantine_workers_follow_the_protocol_on_data_of_their_own(messages_of):
    """Worker j holds what honest worker j holds, and draws for itself; shift 10 poisons nothing."""
    seen = messages(messages_of, "label_shift(shift=10)")
    honest, byzantine = seen[:, :6], seen[:, 6:]
    assert not torch.allclose(honest[:, :2], byzantine)
    means = torch.nn.functional.normalize(seen.mean(0), dim=-1)
    alike = means[6:] @ means[:6].T
    assert alike.argmax(1).tolist() == [0, 1]
    assert (alike.amax(1) > 0.95).all()
    # a batch of B expected examples of norm at most 1, over B; a Poisson batch of 3 B is rarer
    # than 10^-12
    assert byzantine.norm(dim=-1).max() <= 3


def test_flipped_labels_pull_to_the_mirrored_class(messages_of):
    """Each worker holds one label for the most part; a bias has the gradient p - y."""
    seen = messages(messages_of, "label_flip").mean(0)
    biases = seen[:, -10:]
    labels = biases.argmin(-1)
    assert labels[6:].tolist() == (9 - labels[:2]).tolist()


def test_byzantine_noise_is_their_own(messages_of):
    seen = messages(messages_of, "label_shift(shift=10)", noise_scale=10.0)
    spread = seen[:, 6:].std()
    # 12 x 2 x 650 numbers of std 10: a standard error is 0.06
    assert float(spread) == pytest.approx(10.0, abs=0.4)
    correlation = torch.corrcoef(seen.transpose(0, 1).flatten(1))
    correlation.fill_diagonal_(0)
    # 7,800 numbers a worker: five standard errors
    assert correlation.abs().max() < 5 / 7800**0.5


def test_a_sign_rule_gets_signs_of_blind_attackers(messages_of):
    spec = RunSpec(**SHORT, byzantine=2, attack="label_flip")
    assert set(messages_of(spec, message="sign").unique().tolist()) <= {-1.0, 0.0, 1.0}


class Votes(Aggregator):
    """A user's vote, which trusts that workers send signs."""

    message = "sign"

    def aggregate(self, messages):
        return messages.sum(-2).sign()


def test_byzantine_workers_of_a_sign_rule_have_a_vote_each():
    attacked = {**SHORT, "byzantine": 1, "attack": "large_value", "learning_rate": 0.01}
    own = train(RunSpec(**attacked, aggregator=f"{__name__}:Votes"))
    assert own.loss == train(RunSpec(**attacked, aggregator="majority_vote")).loss


def test_drift_under_a_sign_rule_stays_under_the_noise(messages_of):
    """Added before the sign: at b = 10 and a tenth of a std, 54 % of the votes are +1."""
    spec = RunSpec(**SHORT | {"noise_scale": 10.0}, byzantine=2, attack="drift(share=0.1)")
    votes = messages_of(spec, message="sign")[:, 0, 6:]
    # 15,600 votes: five standard errors are 2 %
    assert float((votes > 0).double().mean()) == pytest.approx(0.54, abs=0.02)


def test_a_ruined_mean_has_no_finite_kappa():
    assert math.isinf(train(RunSpec(**SHORT, aggregator="mean", byzantine=1, attack="nan")).kappa)


def test_measures_are_their_definitions():
    generator = torch.Generator().manual_seed(0)
    honest = torch.randn(3, 7, 50, generator=generator)
    update, previous, wanted = torch.randn(3, 3, 50, generator=generator)
    measured = measure(honest, update, previous, wanted)
    for lane in range(3):
        values, u = honest[lane].double().numpy(), update[lane].double().numpy()
        mean, median = values.mean(0), np.median(values, axis=0)
        spread = ((values - mean) ** 2).sum(1).mean()
        assert float(measured.kappa[lane]) == pytest.approx(
            ((u - mean) ** 2).sum() / spread, rel=1e-4
        )
        assert float(measured.median_mean_gap[lane]) == pytest.approx(np.linalg.norm(median - mean))
        cosine = u @ mean / np.linalg.norm(u) / np.linalg.norm(mean)
        assert float(measured.cosine[lane]) == pytest.approx(cosine, rel=1e-4)
        step = u - previous[lane].double().numpy()
        assert float(measured.variance[lane]) == pytest.approx((step**2).sum() / 2, rel=1e-4)
        away = u - wanted[lane].double().numpy()
        assert float(measured.error[lane]) == pytest.approx((away**2).sum(), rel=1e-4)


def test_measures_of_an_aggregate_that_is_huge_or_nothing():
    honest = torch.randn(1, 7, 50, generator=torch.Generator().manual_seed(0))
    mean = honest[0].double().numpy().mean(0)
    zero, nan = torch.zeros(1, 50), torch.full((1, 50), torch.nan)
    huge = measure(honest, torch.full((1, 50), 1e20), nan, zero)
    spread = ((honest[0].double().numpy() - mean) ** 2).sum(1).mean()
    assert float(huge.kappa) == pytest.approx(50 * 1e40 / spread, rel=1e-4)
    cosine = mean.sum() / np.linalg.norm(mean) / 50**0.5
    assert float(huge.cosine) == pytest.approx(cosine, rel=1e-4)
    assert float(huge.error) == pytest.approx(50 * 1e40, rel=1e-4)
    nothing = measure(honest, zero, zero, zero)
    assert float(nothing.cosine) == float(nothing.variance) == float(nothing.error) == 0
    assert float(measure(honest, nan, zero, zero).error) == math.inf


def test_a_run_reports_how_its_aggregate_stood_for_the_honest_messages():
    mean = train(RunSpec(**SHORT, aggregator="mean")).history
    assert mean["kappa"].max() < 1e-9
    assert mean["cosine"].min() > 1 - 1e-5
    median = train(RunSpec(**SHORT))
    attacked = train(RunSpec(**SHORT, byzantine=2, attack="median_extreme"))
    assert median.kappa < attacked.kappa
    assert (mean["variance"] < median.history["variance"]).iloc[1:].all()  # pi / 2 times the noise


@pytest.mark.parametrize("aggregator", ["mean", "median"])
def test_the_variance_of_the_aggregate_is_that_of_the_noise(aggregator):
    """At large b: b^2 / n for a mean, about pi b^2 / (2 n) for a median, per coordinate."""
    spec = RunSpec(
        **SHORT | {"noise_scale": 10.0, "honest": 21, "learning_rate": 1e-9}, aggregator=aggregator
    )
    measured = train(spec).history["variance"].iloc[1:].mean() / 650
    expected = 100 / 21 * (1 if aggregator == "mean" else math.pi / 2)
    # 3 x 650 squares: a standard error is 3 %; a median of 21 has 3 % less than of many
    assert measured == pytest.approx(expected, rel=0.2)


def attack_runs():
    common = {"noise_scale": 0.1}
    runs = [({**common, "seed": seed}, 0.9) for seed in range(2)]
    for f, attack, accuracy in [
        (2, "alie", 0.8), (2, "sign_flip", 0.7), (4, "alie", 0.5), (4, "sign_flip", 0.6),
        (6, "alie", 0.2), (6, "sign_flip", 0.9),
    ]:  # fmt: skip
        runs += [
            ({**common, "byzantine": f, "attack": attack, "seed": seed}, accuracy)
            for seed in (0, 1)
        ]
    return frame(*runs)


def test_robustness_is_the_worst_case_and_its_gap():
    table = robustness(attack_runs())
    assert table.index.get_level_values("byzantine").tolist() == [2, 4, 6]
    assert table["worst"].tolist() == pytest.approx([0.7, 0.5, 0.2])
    assert table["attack"].tolist() == ["sign_flip", "alie", "alie"]
    assert table["gap"].tolist() == pytest.approx([0.2, 0.4, 0.7])
    assert table["workers"].tolist() == [12, 14, 16]
    assert table["kappa"].tolist() == pytest.approx([1.8, 1.6, 1.9])


@pytest.mark.parametrize(
    ("fraction", "point"), [(0.5, 4 / 14), (0.7, 2 / 12), (0.95, 0.0), (0.2, 6 / 16)]
)
def test_the_breakdown_point_is_the_last_share_that_holds(fraction, point):
    assert breakdown(attack_runs(), fraction)["point"].tolist() == [pytest.approx(point)]


def failing(runs, attack, byzantine=2):
    """With the first of those runs failed, as a store has it."""
    runs = runs.copy()
    first = runs.index[(runs["attack"].fillna("") == attack) & (runs["byzantine"] == byzantine)][0]
    runs.loc[first, ["failure", "accuracy"]] = ["boom", None]
    return runs


def test_a_failed_run_does_not_hide_the_worst_attack():
    """Nor is the mean of the seeds that survived an attack its accuracy."""
    common = {"noise_scale": 0.1}
    attacked = [("alie", 0.9), ("sign_flip", 0.2)]
    runs = [({**common, "seed": seed}, 0.9) for seed in (0, 1)] + [
        ({**common, "byzantine": 2, "attack": attack, "seed": seed}, accuracy)
        for attack, accuracy in attacked
        for seed in (0, 1)
    ]
    intact, other, itself = (
        robustness(frame(*runs)),
        *(robustness(failing(frame(*runs), attack)) for attack, _ in attacked),
    )
    for table, attack, worst, failed in [
        (intact, "sign_flip", 0.2, 0), (other, "sign_flip", 0.2, 1), (itself, "alie", 0.9, 1),
    ]:  # fmt: skip
        assert table["attack"].tolist() == [attack]
        assert table["worst"].tolist() == pytest.approx([worst])
        assert table["gap"].tolist() == pytest.approx([0.9 - worst])
        assert table["failed"].tolist() == [failed]


def test_an_attack_that_failed_alone_leaves_no_worst():
    runs = frame(({}, 0.9), ({"byzantine": 2, "attack": "alie"}, 0.8))
    table = robustness(failing(runs, "alie"))
    assert table[["worst", "attack", "gap"]].isna().all(axis=None)
    assert table["workers"].tolist() == [12]


def test_what_failed_under_attack_tells_nothing():
    """Nor does it hide what another attack broke, with fewer workers or as many."""
    runs = attack_runs()
    assert breakdown(failing(runs, "alie", 2))["point"].isna().all()
    assert breakdown(failing(runs, "", 0))["point"].isna().all()
    whole = [CLEAN, (2, "sign_flip", [0.7, 0.75, 0.8]), (2, "alie", [0.7, 0.75, 0.8])]
    for broken, told in (([0.7, 0.75, 0.8], "≥0.17"), ([0.1, 0.1, 0.12], "0.17")):
        runs = seeds_of(*whole, (4, "sign_flip", broken), (4, "alie", [0.7, 0.7, 0.7]))
        (found,) = breakdown(failing(runs, "alie", 4)).to_dict("records")
        assert found["failed"]
        assert breakdown_text(found, 4 / 14) == told
    (found,) = breakdown(failing(seeds_of(*whole), "alie", 2)).to_dict("records")
    assert breakdown_text(found, 2 / 12) == "failed"


def test_a_breakdown_point_needs_clean_runs_and_a_fraction():
    attacked = attack_runs().query("byzantine > 0")
    assert breakdown(attacked)["point"].isna().all()
    for fraction in (1.5, math.nan, "half"):
        with pytest.raises(
            SpecError, match=rf"fraction: {fraction!r} is not accepted: above 0 and"
        ):
            breakdown(attack_runs(), fraction)


def seeds_of(*cells):
    """Runs of (f, attack, accuracies by seed)."""
    return frame(
        *(
            ({"byzantine": f, "attack": attack, "seed": seed, "noise_scale": 0.1}, accuracy)
            for f, attack, accuracies in cells
            for seed, accuracy in enumerate(accuracies)
        )
    )


CLEAN = (0, None, [0.8, 0.9, 1.0])


def test_a_gap_has_the_interval_of_a_paired_test():
    left = [0.42, 0.5, 0.61]
    table = robustness(seeds_of(CLEAN, (2, "alie", left), (2, "sign_flip", [0.7, 0.8, 0.9])))
    theirs = stats.ttest_rel(CLEAN[2], left).confidence_interval()
    (gap,), (half,) = table["gap"], table["gap_interval"]
    assert (gap - half, gap + half) == pytest.approx(theirs)
    assert table["gap_seeds"].tolist() == [3]


def test_a_gap_is_over_the_seeds_that_both_have():
    table = robustness(seeds_of(CLEAN, (2, "alie", [0.5, 0.6])))
    assert table[["gap", "gap_interval"]].to_numpy().tolist() == [[pytest.approx(0.3), 0.0]]
    loss = robustness(seeds_of(CLEAN, (2, "alie", [0.5, 0.6, 0.7])), "final_loss")
    assert loss["gap"].tolist() == [pytest.approx(0.3)]  # a loss of 1 - accuracy: more is worse


HELD, BROKEN, OPEN = [0.7, 0.8, 0.9], [0.1, 0.2, 0.3], [0.1, 0.5, 0.8]


@pytest.mark.parametrize(
    ("by_f", "low", "high", "text"),
    [
        ([HELD, HELD, HELD], 6 / 16, math.inf, "≥0.38"),
        ([HELD, BROKEN, BROKEN], 2 / 12, 2 / 12, "0.17"),
        ([HELD, OPEN, BROKEN], 2 / 12, 4 / 14, "0.17 to 0.29"),
        ([HELD, OPEN, HELD], 2 / 12, math.inf, "≥0.17"),
        ([BROKEN, HELD, HELD], 0, 0, "0.00"),
        ([OPEN, BROKEN, HELD], 0, 2 / 12, "0.00 to 0.17"),
        ([OPEN, OPEN, OPEN], 0, math.inf, "?"),
    ],
)
def test_a_breakdown_point_is_what_seeds_decide(by_f, low, high, text):
    runs = seeds_of(CLEAN, *((f, "alie", left) for f, left in zip((2, 4, 6), by_f, strict=True)))
    found = breakdown(runs.assign(chance=0.1)).iloc[0]
    assert (found["low"], found["high"]) == (pytest.approx(low), pytest.approx(high))
    assert breakdown_text(found, 6 / 16) == text
    (entry,) = lay_out(runs.assign(chance=0.1), ["breakdown"]).blocks[0][0][-1:]
    assert entry.text == text


def test_a_single_seed_decides_no_breakdown_point():
    runs = seeds_of((0, None, [0.9]), (2, "alie", [0.8]), (4, "alie", [0.2]))
    found = breakdown(runs).iloc[0]
    assert found[["point", "low", "high"]].tolist() == pytest.approx(
        [2 / 12, math.nan, math.nan], nan_ok=True
    )
    assert breakdown_text(found, 4 / 14) == "0.17°"


def test_what_may_have_learnt_nothing_has_no_breakdown_point():
    """16 ± 21 % where 10 % is chance, and nothing lost under attack."""
    runs = seeds_of((0, None, [0.1, 0.13, 0.25]), (2, "alie", [0.1, 0.13, 0.25]))
    for chance, is_near in ((0.1, True), (math.nan, False)):
        told = runs.assign(chance=chance)
        found = breakdown(told).iloc[0]
        assert found["near_chance"] == is_near
        assert math.isnan(found["point"]) == is_near
        layout = lay_out(told, ["clean", "gap", "breakdown"])
        _, gap, point = [entry.text for entry in layout.blocks[0][0]][-3:]
        assert ("§" in gap, point == "§") == (is_near, is_near)
        notes = [note for note in layout.notes if note.startswith("§")]
        assert len(notes) == is_near
        assert all("(10.0 %, the same answer everywhere)" in note for note in notes)


def test_half_of_a_little_is_no_more_than_chance():
    """Clean 15 %, which is above chance; under attack 10 %, which is not, and half is left."""
    runs = seeds_of((0, None, [0.15, 0.151, 0.152]), (2, "alie", [0.1, 0.1, 0.1]))
    assert breakdown(runs.assign(chance=0.1))["point"].tolist() == [0.0]
    assert breakdown(runs.assign(chance=0.1))["high"].tolist() == [0.0]
    assert breakdown(runs)["point"].tolist() == [pytest.approx(2 / 12)]


@pytest.mark.parametrize(
    ("settings", "canonical"),
    [
        ({"attack": "alie"}, "alie"),
        ({"attack": "alie(z=1)"}, "alie(z=1.0)"),
        ({"attack": "sign_flip(scale=1)"}, "sign_flip"),
        ({"attack": {"name": "large_value", "scale": 2}}, "large_value(scale=2.0)"),
        ({"attack": "min_max(direction='unit')"}, "min_max(direction='unit')"),
    ],
)
def test_attacks_are_written_in_one_way(settings, canonical):
    spec = RunSpec(**SHORT, byzantine=2, **settings)
    assert str(spec.attack) == canonical
    assert spec.key == RunSpec(**SHORT, byzantine=2, attack=canonical).key
    assert RunSpec(**spec.model_dump()) == spec


@pytest.mark.parametrize(
    ("aggregator", "canonical"),
    [
        ("median", "median"),
        (" nnm+ krum( f = 1 )", "nnm + krum(f=1)"),
        ("centred_clipping(iterations=2, radius=5)", "centred_clipping(radius=5.0, iterations=2)"),
        ("centred_clipping(radius=10)", "centred_clipping"),
        ({"name": "krum", "f": 1}, "krum(f=1)"),
        ("static_clipping(norm=1e+3) + median", "static_clipping(norm=1000.0) + median"),
    ],
)
def test_rules_are_written_in_one_way(aggregator, canonical):
    spec = RunSpec(**SHORT, aggregator=aggregator)
    assert spec.aggregator == canonical
    assert spec.key == RunSpec(**SHORT, aggregator=canonical).key


ZERO = {"byzantine": 2, "attack": "zero"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"aggregator": "krum", **ZERO, "honest": 4}, "Krum: 6 workers, 2 .* at least 7"),
        ({"aggregator": "krum(g=1)"}, r"krum has no parameter 'g' \(it takes: f, neighbours\)"),
        (
            {"aggregator": "mda", **ZERO, "byzantine": 20, "honest": 40},
            "MDA: 60 workers have .* subsets",
        ),
        ({"byzantine": 2, "attack": "mimic(worker=6)"}, "Mimic.worker: 6 of 6 honest workers"),
        (
            {"aggregator": "mean", "byzantine": 6, "attack": "median_extreme"},
            "6 Byzantine and 6 honest workers",
        ),
        ({"byzantine": 2, "attack": "alie(1)"}, "attack: 'alie.1.' is not accepted: a name"),
        ({"byzantine": 2, "attack": "line_search(against='medain')"}, "did you mean 'median'"),
        ({"byzantine": 2, "attack": ["alie"]}, "attack"),
    ],
)
def test_what_rule_and_attack_need_is_known_before_a_run(settings, message):
    with pytest.raises(SpecError, match=message):
        RunSpec(**SHORT | settings)


def test_labels_of_the_dataset_stay_as_they_are():
    before = get_dataset("digits").train.labels.clone()
    train(RunSpec(**SHORT, byzantine=2, attack="label_flip"))
    assert torch.equal(get_dataset("digits").train.labels, before)


@dataclass(frozen=True)
class FailsLater(Attack):
    """Sends zeros twice, once when it is tried, and fails at the second step."""

    def craft(self, honest, byzantine, generator):
        raise NotImplementedError

    def in_run(self, setting):
        steps = []

        def craft(honest, byzantine, generator):
            steps.append(1)
            if len(steps) == 2:
                raise RuntimeError("no more\nand here is why")
            return torch.zeros_like(honest[..., :1, :]).expand(*honest.shape[:-2], byzantine, -1)

        return craft


@dataclass(frozen=True)
class Picky(Aggregator):
    """Fails on what is no zeros, as messages of a run are."""

    def aggregate(self, messages):
        if bool(messages.any()):
            return messages[..., 0, :].numpy()
        return messages[..., 0, :]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"attack": f"{__name__}:FailsLater"},
            r"FailsLater: it failed \(no more, test_rob.*, line \d+\)$",
        ),
        (
            {"attack": "zero", "aggregator": f"{__name__}:Picky"},
            r"Picky: it returns ndarray; accepted: torch.float32 \(1, 650\)",
        ),
    ],
)
def test_a_users_class_that_fails_in_training_is_named_in_one_line(settings, message):
    with pytest.raises(SpecError, match=message) as raised:
        train(RunSpec(**SHORT, byzantine=2, **settings))
    assert "\n" not in str(raised.value)


def test_rules_on_pairs_of_workers_are_not_tried_in_vain(monkeypatch):
    """5,000 workers would be 25 million pairs, for every f and attack of a sweep."""

    def products(*arguments):
        raise AssertionError("tried")

    monkeypatch.setattr(Geometry, "of", products)
    for rule in ("krum", "nnm + geometric_median", "caf", "centred_clipping"):
        for attack in ("min_max", "line_search", "line_search(against='nnm + krum')"):
            RunSpec(honest=4000, byzantine=1001, attack=attack, aggregator=rule)
    with pytest.raises(SpecError, match=r"Krum: 5001 workers, 2500 .*; accepted: at least 5003"):
        RunSpec(honest=2501, byzantine=2500, attack="min_max", aggregator="krum")


def test_byzantine_workers_sit_out_by_streams_of_their_own(messages_of):
    """With 300 steps of two workers, equal patterns would be a matter of 2^-600."""
    spec = RunSpec(
        unit="worker", worker_sampling_rate=0.5, honest=2, byzantine=2, clip_norm=1.0,
        attack="label_shift(shift=10)", aggregator="mean", steps=300, evaluate_every=300,
    )  # fmt: skip
    takes_part = messages_of(spec)[:, 0].norm(dim=-1) > 0
    assert 0.3 < float(takes_part[:, 2:].double().mean()) < 0.7
    assert not torch.equal(takes_part[:, :2], takes_part[:, 2:])


@pytest.mark.parametrize("direction", ["constant", "random"])
def test_a_large_value_that_needs_no_honest_messages_sees_none(direction):
    seen = []

    class Watched(type(get_attack("large_value"))):
        def craft(self, honest, byzantine, generator):
            seen.append(float(honest.abs().max()))
            return super().craft(honest, byzantine, generator)

    assert get_attack("large_value").sees == "honest"
    assert get_attack("large_value", direction=direction).sees == "nothing"
    attacks.register_attack("watched", Watched)
    train(RunSpec(**SHORT, byzantine=2, attack=f"watched(direction={direction!r})"))
    assert seen
    assert max(seen) == 0
