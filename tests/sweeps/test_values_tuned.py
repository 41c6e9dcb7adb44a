"""`tune` in place of one value of a field: some rows of a grid choose, others are as they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privrobust.errors import SpecError
from privrobust.sweeps.grid import Sweep
from privrobust.sweeps.loading import load_sweep
from privrobust.sweeps.tuning import candidates, choose

RATES = [0.1, 0.5]
RADII = ["centred_clipping(radius=1.0)", "centred_clipping(radius=3.0)"]
GRID = {
    "aggregator": ["median", "centred_clipping"],
    "byzantine": [0, 2],
    "attack": ["alie"],
    "noise_scale": [0, 0.1],
}


def sweep_of(tune=None, **settings):
    tune = {"learning_rate": RATES, "aggregator": {"centred_clipping": RADII}} | (tune or {})
    given = {"workers": 9, "clip_norm": 1.0, "grid": GRID} | settings
    return Sweep.from_settings(given | {"tune": tune})


def pairs(runs):
    return list(dict.fromkeys((run.aggregator, run.learning_rate) for run in runs))


def test_one_value_is_replaced_and_the_others_stay():
    sweep = sweep_of()
    tried = candidates(sweep)
    assert set(pairs(tried)) == {(rule, rate) for rule in ("median", *RADII) for rate in RATES}
    assert len(tried) == 3 * 2 * 2  # rules, rates, b

    def accuracy(run):  # the radius goes with b, and the rate with the radius
        fits = run.aggregator == RADII[run.noise_scale > 0]
        return fits + 0.1 * (run.learning_rate == (0.5 if "3" in run.aggregator else 0.1))

    finals = choose(sweep, {run.key: accuracy(run) for run in tried})
    chosen = [(r.aggregator, r.noise_scale, r.byzantine, r.learning_rate) for r in finals]
    assert chosen == [
        ("median", b, f, 0.1) for f in (0, 2) for b in (0, 0.1)
    ] + [
        (RADII[b > 0], b, f, 0.5 if b else 0.1) for f in (0, 2) for b in (0, 0.1)
    ]  # fmt: skip


@pytest.mark.parametrize(
    "where",
    [
        {"aggregator": "centred_clipping"},
        {"cases": [{"aggregator": "centred_clipping"}]},
        {"zip": {"aggregator": ["centred_clipping"]}},
    ],
)
def test_the_value_may_stand_in_any_place(where):
    alone = Sweep.from_settings({**where, "tune": {"aggregator": {"centred_clipping": RADII}}})
    listed = Sweep.from_settings({"tune": {"aggregator": RADII}})
    assert candidates(alone) == candidates(listed)
    known = {run.key: float("3" in run.aggregator) for run in candidates(alone)}
    assert choose(alone, known) == choose(listed, known)


@given(st.data())
def test_rows_that_choose_nothing_are_as_without(data):
    """Whatever is found: the median's runs are those of a sweep of the median alone."""
    both = sweep_of()
    alone = Sweep.from_settings(
        {"workers": 9, "clip_norm": 1.0, "aggregator": "median"}
        | {"grid": {name: values for name, values in GRID.items() if name != "aggregator"}}
        | {"tune": {"learning_rate": RATES}}
    )
    known = {run.key: data.draw(st.floats(0, 1)) for run in candidates(both)}
    of_median = [run for run in choose(both, known) if run.aggregator == "median"]
    assert of_median == choose(alone, known)


def test_written_values_are_settings_of_their_own():
    """Two that may become the same rule choose apart; one that stands for itself has no choice."""
    sweep = sweep_of(
        {"aggregator": {"krum": RADII, "median": RADII[::-1]}, "learning_rate": [0.1]},
        grid={"aggregator": ["krum", "median", RADII[0]]},
    )
    known = {run.key: 0.5 for run in candidates(sweep)}
    assert pairs(choose(sweep, known)) == [(RADII[0], 0.1), (RADII[1], 0.1)]  # the first of equals


def test_exclusions_name_a_candidate_or_the_value_it_stands_for():
    by_value = sweep_of(exclude=[{"aggregator": "centred_clipping", "learning_rate": 0.1}])
    rules = {rule for rule, rate in pairs(candidates(by_value)) if rate == 0.1}
    assert rules == {"median"}
    by_name = sweep_of(exclude=[{"aggregator": RADII[0], "learning_rate": 0.1}])
    rules = {rule for rule, rate in pairs(candidates(by_name)) if rate == 0.1}
    assert rules == {"median", RADII[1]}
    whole = sweep_of(exclude=[{"aggregator": "centred_clipping"}])
    assert {rule for rule, _ in pairs(candidates(whole))} == {"median"}
    with pytest.raises(SpecError, match=r"exclude: .* matches no combination"):
        sweep_of(exclude=[{"aggregator": "krum", "learning_rate": 0.1}])


def test_tuning_that_is_counted_draws_from_them():
    settings = {"repeats": "constant(count=4)", "noise_scale": 0.1, "clip_norm": 1.0}
    tune = {"learning_rate": RATES, "aggregator": {"centred_clipping": RADII}}
    grid = {"aggregator": ["median", "centred_clipping"]}
    tried = candidates(Sweep.from_settings({**settings, "grid": grid, "tune": tune}))
    drawn = [(run.aggregator, run.learning_rate) for run in tried]
    expected = [("median", rate) for rate in RATES] * 2
    assert sorted(drawn) == sorted(expected + [(rule, rate) for rule in RADII for rate in RATES])


@pytest.mark.parametrize(
    ("tune", "message"),
    [
        ({"aggregator": {"krum": RADII}}, "tune.aggregator: 'krum' is no aggregator of the sweep;"),
        ({"aggregator": {}}, "tune.aggregator: {} is not accepted; give values"),
        ({"aggregator": {"median": "krum"}}, "tune.aggregator, 'median': 'krum' is not accepted;"),
        ({"aggregator": {"median": []}}, r"tune.aggregator, 'median': \[\] is not accepted; give"),
        ({"aggregator": RADII}, "aggregator: set in grid and in tune"),
        ({"attack": {"alie": ["zero"]}}, "tune.attack: says what is compared"),
        ({"momentum": {0.0: [0.5]}}, "tune.momentum: 0.0 is no momentum of the sweep"),
        ({"clip_norm": {None: [1.0, 2.0]}}, "tune.clip_norm: None is no clip_norm of the sweep"),
        ({"aggregator": {"median": ["krun"]}}, "aggregator: .*'krun'.*did you mean 'krum'"),
    ],
)
def test_what_is_refused_is_one_line(tune, message):
    with pytest.raises(SpecError, match=message) as raised:
        candidates(sweep_of(tune))
    assert "\n" not in str(raised.value)


def test_too_many_are_refused_before_they_are_made():
    rates = [0.1 + place / 1e6 for place in range(2000)]
    radii = [f"centred_clipping(radius={place + 1})" for place in range(600)]
    with pytest.raises(SpecError, match="combinations; accepted: up to"):
        sweep_of({"learning_rate": rates, "aggregator": {"centred_clipping": radii}})


def test_a_file_that_extends_may_lose_the_value(tmp_path):
    base = tmp_path / "base.yaml"
    base.write_text(
        "workers: 9\ngrid: {aggregator: [median, krum]}\n"
        "tune: {learning_rate: [0.1], aggregator: {krum: [multi_krum]}}"
    )
    assert pairs(candidates(load_sweep(base))) == [("median", 0.1), ("multi_krum", 0.1)]
    more = tmp_path / "more.yaml"
    more.write_text("extends: base.yaml\ngrid: {aggregator: [median]}")
    assert pairs(candidates(load_sweep(more))) == [("median", 0.1)]
    more.write_text("extends: base.yaml\ntune: {aggregator: {kum: [multi_krum]}}")
    with pytest.raises(SpecError, match=r"more\.yaml, line 2: tune.aggregator: 'kum' is no"):
        load_sweep(more)
