"""Our accountants behind Flower's protocol, in Flower's own strategies."""

import json
import math
from functools import cache
from textwrap import dedent

import numpy as np
import pytest
from dp_accounting import dp_event
from dp_accounting.pld.pld_privacy_accountant import PLDAccountant
from flwr.serverapp import (
    GaussianPrivacyEvent,
    NeighboringRelation,
    PrivacyConfig,
    SamplingMethod,
)
from flwr.serverapp.exception import PrivacyBudgetExhausted
from flwr.serverapp.strategy import (
    DifferentialPrivacyClientSideFixedClipping,
    DifferentialPrivacyServerSideFixedClipping,
    FedAvg,
)
from in_process import InProcessGrid, moving, record

from privrobust.errors import SpecError
from privrobust.federated import Ledger
from privrobust.federated.flower import FlowerAccountant, accountant

EVENT = GaussianPrivacyEvent(noise_multiplier=2.0, sample_size=4, population_size=4)


def config(sampling="no-amplification", neighbours="add-or-remove-one", **changed):
    settings = {"target_delta": 1e-5, "population_size": 4, "max_epsilon": None, **changed}
    return PrivacyConfig(
        sampling_method=SamplingMethod(sampling),
        neighboring_relation=NeighboringRelation(neighbours),
        **settings,
    )


@cache
def theirs(step, count, delta=1e-5):
    """What dp-accounting's own PLD says."""
    accountant = PLDAccountant()
    accountant.compose(dp_event.SelfComposedDpEvent(step, count))
    return accountant.get_epsilon(delta)


def close_from_above(ours, exact):
    """Theirs is an upper bound too, on a grid of 1e-4 a step: neither may be far off."""
    assert exact * 0.99 < ours < exact * 1.01


def test_full_participation_is_what_dp_accounting_says():
    accountant, count = FlowerAccountant(config()), 3
    accountant.compose(EVENT, count)
    close_from_above(accountant.get_epsilon(1e-5), theirs(dp_event.GaussianDpEvent(2.0), count))
    spent = accountant.get_privacy_spent()
    assert (spent.num_releases, spent.delta, spent.accounting_method) == (count, 1e-5, "pld")
    assert accountant.get_delta(spent.epsilon) == pytest.approx(1e-5, rel=1e-2)


def test_poisson_sampling_amplifies():
    accountant = FlowerAccountant(config("poisson", population_size=20))
    event = GaussianPrivacyEvent(2.0, 4, 20)
    accountant.compose(event, 50)
    step = dp_event.PoissonSampledDpEvent(0.2, dp_event.GaussianDpEvent(2.0))
    close_from_above(accountant.get_epsilon(1e-5), theirs(step, 50))


@pytest.mark.parametrize(
    ("sampling", "neighbours"),
    [("no-amplification", "add-or-remove-one"), ("without-replacement", "replace-one")],
)
def test_a_sample_of_fixed_size_has_another_client_in_place_of_one(sampling, neighbours):
    """The mean moves by 2 C / n: sigma is half of what is stated."""
    accountant = FlowerAccountant(config(sampling, neighbours, population_size=20))
    accountant.compose(GaussianPrivacyEvent(2.0, 4, 20), 10)
    close_from_above(accountant.get_epsilon(1e-5), theirs(dp_event.GaussianDpEvent(1.0), 10))


def test_nothing_is_spent_at_first():
    accountant = FlowerAccountant(config())
    assert accountant.get_epsilon(1e-5) == accountant.get_delta(1.0) == 0
    assert accountant.get_privacy_spent().epsilon == accountant.num_releases == 0


def test_states_go_through_json_and_back():
    accountant = FlowerAccountant(config())
    accountant.compose(EVENT, 3)
    accountant.compose(GaussianPrivacyEvent(1.0, 4, 4))
    again = FlowerAccountant(config())
    again.load_state_dict(json.loads(json.dumps(accountant.state_dict())))
    assert again.num_releases == 4
    assert again.get_epsilon(1e-5) == accountant.get_epsilon(1e-5)
    assert again.state_dict() == accountant.state_dict()


GOOD = {"noise_multiplier": 2.0, "sample_size": 4, "population_size": 4}


@pytest.mark.parametrize(
    "state",
    [
        None,
        {},
        {"schema_version": 2},
        {"backend": "rdp"},
        {"config": {}},
        {"compositions": 7},
        {"compositions": [7]},
        {"compositions": [{"event": {**GOOD, "noise_multiplier": -1}, "count": 1}]},
        {"compositions": [{"event": {**GOOD, "population_size": 5}, "count": 1}]},
        {"compositions": [{"event": GOOD, "count": 0}]},
        {"compositions": [{"event": GOOD}]},
    ],
)
def test_states_that_are_none_change_nothing(state):
    accountant = FlowerAccountant(config())
    accountant.compose(EVENT)
    before = accountant.state_dict()
    whole = state and {**before, **state}
    with pytest.raises(SpecError, match=r"^state: "):
        accountant.load_state_dict(whole)
    assert accountant.state_dict() == before


@pytest.mark.parametrize(
    ("event", "count", "says"),
    [
        (GaussianPrivacyEvent(1.0, 4, 5), 1, "population_size: 5 is not that of the config, 4"),
        (EVENT, 0, "count: 0 is not a whole number, 1 or more"),
    ],
)
def test_events_that_cannot_be(event, count, says):
    with pytest.raises(SpecError, match=says):
        FlowerAccountant(config()).compose(event, count)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([{}], "config: {} is not accepted: a PrivacyConfig of Flower's"),
        ([config(), "pdl"], "accountant: unknown name 'pdl'"),
        ([config(), "pld", "l.db"], "ledger: 'l.db' is not accepted: a Ledger"),
    ],
)
def test_accountants_that_cannot_be(args, says):
    with pytest.raises(SpecError, match=says):
        FlowerAccountant(*args)


def test_the_example_of_the_documentation_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = {}
    exec(dedent(accountant.__doc__.partition("\n")[2]), made)
    assert made["strategy"].accountant is made["accountant"]
    assert made["accountant"].num_releases == 0


def test_what_is_allowed_has_to_be_said():
    with pytest.raises(SpecError, match="max_epsilon: none is given"):
        FlowerAccountant(config()).would_exceed(EVENT)


# --- in Flower's own strategies ------------------------------------------------------------------


def run(accountant, rounds, wrapper=DifferentialPrivacyServerSideFixedClipping, clients=None):
    strategy = wrapper(
        FedAvg(fraction_evaluate=0.0, min_train_nodes=4, min_available_nodes=4),
        noise_multiplier=2.0,
        clipping_norm=1.0,
        num_sampled_clients=4,
        accountant=accountant,
    )
    grid = InProcessGrid(clients or [moving(np.float32(1))] * 4)
    return strategy.start(grid, record(w=np.zeros(5, np.float32)), num_rounds=rounds), grid


@pytest.mark.parametrize(
    "wrapper",
    [DifferentialPrivacyServerSideFixedClipping, DifferentialPrivacyClientSideFixedClipping],
)
def test_it_plugs_into_the_strategies_of_fixed_clipping(wrapper):
    accountant = FlowerAccountant(config())
    run(accountant, 3, wrapper)
    assert accountant.num_releases == 3
    close_from_above(accountant.get_epsilon(1e-5), theirs(dp_event.GaussianDpEvent(2.0), 3))


def test_it_stops_before_it_overspends():
    most = theirs(dp_event.GaussianDpEvent(2.0), 2) * 1.02
    accountant = FlowerAccountant(config(max_epsilon=most))
    with pytest.raises(PrivacyBudgetExhausted):
        run(accountant, 5)
    assert accountant.num_releases == 2


def test_a_ledger_is_charged_before_the_next_round_and_outlives_the_process(tmp_path):
    most = theirs(dp_event.GaussianDpEvent(2.0), 3) * 1.02
    seen = []

    def ledger():
        return Ledger(tmp_path / "ledger.db", "all", max_epsilon=most)

    def client(message, context):
        seen.append(len(ledger().entries))
        return moving(np.float32(1))(message, context)

    run(FlowerAccountant(config(), ledger=ledger()), 2, clients=[client] * 4)
    assert seen == [0] * 4 + [1] * 4
    again = FlowerAccountant(config(), ledger=ledger())
    assert again.num_releases == 2
    with pytest.raises(PrivacyBudgetExhausted):
        run(again, 2)
    assert again.num_releases == len(ledger().entries) == 3
    assert again.get_privacy_spent().epsilon <= most


def test_a_state_takes_nothing_from_a_ledger(tmp_path):
    accountant = FlowerAccountant(config(), ledger=Ledger(tmp_path / "ledger.db", "all"))
    empty = FlowerAccountant(accountant.config).state_dict()
    accountant.compose(EVENT, 2)
    accountant.load_state_dict(empty)
    assert accountant.num_releases == 2
    assert math.isfinite(accountant.get_epsilon(1e-5))
