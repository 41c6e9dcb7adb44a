"""`repeats` and `repetition`: how they are read, what they decide, what a run's key tells apart."""

import pytest

from privrobust import RunSpec
from privrobust.accountants import spend
from privrobust.errors import SpecError
from privrobust.training.privacy_plan import PrivacyPlan

PRIVATE = {"clip_norm": 1.0, "noise_scale": 0.4}


def test_equal_laws_make_equal_runs():
    written = ["poisson(mean=3)", " poisson( mean = 3.0 )", {"name": "poisson", "mean": 3}]
    assert {RunSpec(repeats=law).key for law in written} == {RunSpec(repeats="poisson(mean=3)").key}
    assert len({RunSpec(repeats=law).key for law in (None, "poisson", "constant")}) == 3
    assert RunSpec(repeats="poisson").repeats == "poisson(mean=10.0)"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("repeats", "binomial"), ("repeats", 10), ("repeats", "os:system"), ("repeats", ""),
        ("repetition", -1), ("repetition", 0.5), ("repetition", 2**63), ("repetition", "x"),
    ],
)  # fmt: skip
def test_what_is_none_is_one_line(field, value):
    with pytest.raises(SpecError, match=f"^{field}: ") as raised:
        RunSpec(**{field: value})
    assert "\n" not in str(raised.value)


def test_epsilon_is_that_of_the_choice_by_the_worker_who_spends_most():
    run = RunSpec(**PRIVATE, partition="power_law(exponent=1.0)", repeats="negative_binomial")
    plan = PrivacyPlan(run)
    worst = max(plan.releases, key=lambda release: release.sampling_rate)
    assert plan.spent == spend(worst, run.delta)
    assert plan.spent.accountant == "rdp"
    assert plan.spent.epsilon == max(spent.epsilon for spent in plan.spent_by_worker)
    assert plan.spent.epsilon > PrivacyPlan(run.model_copy(update={"repeats": None})).spent.epsilon


def test_a_budget_ends_a_run_sooner_where_tuning_has_its_part():
    alone = PrivacyPlan(RunSpec(**PRIVATE, max_epsilon=1.5))
    chosen = PrivacyPlan(RunSpec(**PRIVATE, max_epsilon=1.5, repeats="negative_binomial"))
    assert 0 < chosen.steps < alone.steps
    assert chosen.spent.epsilon <= 1.5


def test_signs_of_momentum_are_vectors():
    signs = {"aggregator": "majority_vote"}
    assert RunSpec(**signs).message == "sign"
    assert RunSpec(**signs, worker_momentum=0.5).message == "vector"
    assert RunSpec().message == "vector"
