from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from frames import frame
from hypothesis import given
from hypothesis import settings as few_examples
from hypothesis import strategies as st
from made_runs import row, stored
from scipy import stats
from tex import compile_table, needs_tex

from privrobust.aggregators import available_aggregators, get_aggregator
from privrobust.errors import SpecError
from privrobust.reporting.legend import WITH_PUBLIC_EXAMPLES, guarantee
from privrobust.reporting.summary import row_fields, summarise
from privrobust.reporting.tables import FORMATS, PRESETS, SHOWN, chosen, data, lay_out


def shown(runs):
    return FORMATS["terminal"](lay_out(runs))


ATTACKED = {"byzantine": 2, "noise_scale": 0.1}
SIGN_FLIP, ALIE = ({**ATTACKED, "attack": name} for name in ("sign_flip", "alie"))
RUNS = frame(
    *(({"seed": seed, "noise_scale": 0.1}, 0.9 + seed / 100) for seed in range(3)),
    *(({"seed": seed, **SIGN_FLIP}, accuracy) for seed, accuracy in enumerate((0.5, 0.6, 0.1))),
    *(({"seed": seed, **ALIE}, accuracy) for seed, accuracy in enumerate((0.41, 0.42, 0.43))),
)


def test_means_and_student_intervals():
    summary = summarise(RUNS)
    row = summary.xs((2, "sign_flip"), level=("byzantine", "attack")).iloc[0]
    values = np.array([0.5, 0.6, 0.1])
    low, high = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
    assert row["accuracy"] == pytest.approx(values.mean())
    assert row["interval"] == pytest.approx((high - low) / 2)
    assert row["seeds"] == 3


def test_worst_is_the_least_mean_over_attacks_not_the_mean_of_least():
    worst = summarise(RUNS).xs((2, "worst"), level=("byzantine", "attack")).iloc[0]
    assert worst["accuracy"] == pytest.approx(0.4)  # sign-flip; the least of each seed mean 0.31


def test_one_seed_has_no_interval():
    text = shown(RUNS[RUNS["seed"] == 0])
    assert "±" not in text.splitlines()[4]
    assert "90.0" in text


def test_cells_and_legend():
    text = shown(RUNS)
    assert "91±2" in text
    assert "40±66" in text
    assert "6.73" in text  # 6.721, rounded up: still an upper bound
    assert "at delta = 1e-05, by pld (upper bound)" in text


def test_infinite_epsilon_says_why():
    text = shown(frame(({"noise_scale": 0}, 0.5), ({"noise_scale": 0.1}, 0.5)))
    assert "∞¹" in text
    assert "¹ not private: no noise (b = 0)." in text


def test_estimates_are_labelled():
    text = shown(RUNS.assign(accountant_used="gdp", is_upper_bound=False))
    assert "~6.73" in text
    assert "gdp (~ ESTIMATE, may be too small)" in text


def test_diverged_and_failed_runs_are_marked():
    runs = RUNS.copy()
    runs.loc[0, "diverged"] = True
    runs.loc[4, ["failure", "accuracy"]] = ["grad_norm_bound: too long", None]
    text = shown(runs)
    assert "91†±2" in text
    assert "failed: grad_norm_bound: too long" in text


def test_runs_that_max_epsilon_ended_are_told():
    text = shown(RUNS.assign(steps_taken=[300, 120, 300, 80, 300, 300, 300, 300, 300]))
    assert "max_epsilon ended 2 runs, after 80 to 120 steps." in text


def test_rows_are_told_apart_by_what_varies_by_itself():
    usual = ["heterogeneity", "aggregator", "noise_scale"]
    decided = [({"aggregator": name, "learning_rate": lr}, 0) for name, lr in
               [("mean", 0.5), ("median", 0.1)]]  # fmt: skip
    assert row_fields(frame(*decided)) == usual
    crossed = [({"aggregator": name, "learning_rate": lr}, 0) for name in ("mean", "median")
               for lr in (0.1, 0.5)]  # fmt: skip
    assert row_fields(frame(*crossed)) == [*usual, "learning_rate"]
    optional = [({"clip_norm": clip_norm}, 0) for clip_norm in (None, 1.0)]
    assert row_fields(frame(*optional)) == [*usual, "clip_norm"]


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("sampling", ["poisson", "shuffled"]),
        ("local_steps", [1, 3]),
        ("pairwise_noise", [None, 1.0]),
        ("colluding", [0, 2]),
        ("repeats", [None, "constant(count=2)"]),
        ("noise", ["gaussian", "laplace"]),
        ("unit", ["example", "worker"]),
    ],
)
def test_what_epsilon_is_not_read_without_has_a_column_wherever_it_varies(field, values):
    """Also where the method decides it, as it may decide a learning rate."""
    methods = zip(["mean", "median"], values, strict=True)
    runs = frame(*(({"aggregator": rule, field: value}, 0.5) for rule, value in methods))
    assert field in row_fields(runs)
    assert field in shown(runs)


def test_honest_makes_no_rows_where_it_only_makes_room_for_byzantine():
    usual = ["heterogeneity", "aggregator", "noise_scale"]
    sizes = [(workers, f) for workers in (12, 15) for f in (0, 2, 4)]
    runs = [
        {"honest": workers - f, "byzantine": f, "attack": "alie", "noise_scale": 0.1}
        for workers, f in sizes
    ]
    fixed = frame(*((run, 0.5) for run in runs))
    assert row_fields(fixed) == [*usual, "workers"]
    assert row_fields(fixed[:3]) == usual
    assert "f of all workers are Byzantine; epsilon is the largest over f." in shown(fixed)
    added = frame(*(({**run, "honest": 10}, 0.5) for run in runs[:3]))
    assert row_fields(added) == usual
    assert "added to the honest ones" in shown(added)
    assert row_fields(frame(({"honest": 10}, 0), ({"honest": 8}, 0))) == [*usual, "honest"]


def test_nothing_but_seeds_is_averaged_over():
    runs = frame(*(({"evaluate_on": split}, 0.5) for split in ("test", "validation")))
    assert row_fields(runs)[-1] == "evaluate_on"


def test_rows_stand_by_heterogeneity_then_method():
    runs = frame(
        *(
            ({"aggregator": name, "heterogeneity": heterogeneity}, 0.5)
            for name in ("mean", "median")
            for heterogeneity in (0.0, 1.0)
        )
    )
    lines = [line.split()[:2] for line in shown(runs).splitlines() if " me" in line]
    assert [line for line in lines if line[1].startswith("me")][-4:] == [
        ["0", "mean"], ["0", "median"], ["1", "mean"], ["1", "median"],
    ]  # fmt: skip


def test_b_that_a_target_chose_is_shown_if_it_is_one():
    def of_target(*scales):
        made = frame(*(({"seed": seed}, 0.8) for seed in range(len(scales))))
        return made.assign(target_epsilon=4.0, noise_scale=scales, epsilon=4.0, not_private=None)

    same = summarise(of_target(0.25, 0.25, 0.25))
    assert list(same.index.get_level_values("noise_scale")) == [0.25]
    uneven = summarise(of_target(0.25, 0.3, 0.25))
    assert list(uneven.index.get_level_values("noise_scale")) == ["for 4"]
    assert list(uneven["seeds"]) == [3]
    plain = frame(({"noise_scale": 0.1}, 0.8), ({"noise_scale": 0.3}, 0.7))
    assert list(summarise(plain).index.get_level_values("noise_scale")) == [0.1, 0.3]


def golden():
    """Two methods, with a failed, a diverged and a missing cell, one of few seeds."""
    runs = []
    for method, clean, attacked in (("median", 0.9, 0.6), ("mean", 0.92, 0.1)):
        for b in (0.0, 0.1):
            settings = {"aggregator": method, "noise_scale": b, "clip_norm": 1.0}
            for seed in range(3):
                noisy = settings | {"seed": seed}
                runs.append((noisy, clean - b + (seed - 1) / 100))
                attack = {"byzantine": 2, "attack": "alie(z=1.5)"}
                if b or seed < 2:
                    runs.append((noisy | attack, attacked - b + (seed - 1) / 50))
    made = frame(*runs)
    made.index = [f"run {place}" for place in range(len(made))]
    made.loc["run 1", "diverged"] = True
    last = made.index[-1]
    made.loc[last, ["failure", "accuracy"]] = ["boom & <bust>", None]
    return made


GOLDEN = """
| heterogeneity | method | b | epsilon | clean | f=2 alie(z=1.5) | f=2 worst |
| --- | --- | --- | ---: | ---: | ---: | ---: |
| 0 | median | 0 | ∞¹ | 90±2 | **59†°±13** | **59†°±13** |
| 0 | median | 0.1 | 6.73 | 80±2 | 50±5 | 50±5 |
| 0 | mean | 0 | ∞¹ | **92±2** | 9°±13 | 9°±13 |
| 0 | mean | 0.1 | 6.73 | 82±2 | failed | failed |
"""


def test_a_golden_table_in_markdown():
    shown = FORMATS["markdown"](lay_out(golden()))
    assert shown.partition("\n\n")[0].strip() == GOLDEN.strip()
    assert "- ° fewer than 3 seeds." in shown
    assert "- † in some seed the model's outputs stopped being finite." in shown
    assert "- failed: boom & \\<bust\\>" in shown
    assert "- ¹ not private: no noise (b = 0)." in shown


def test_html_is_escaped_and_says_the_same():
    shown = FORMATS["html"](lay_out(golden()))
    assert "<bust>" not in shown
    table = ElementTree.fromstring(shown.replace("<br>", " "))
    heads = ["".join(head.itertext()) for head in table.findall("./thead/tr/th")]
    rows = [["".join(cell.itertext()) for cell in row] for row in table.findall("./tbody/tr")]
    assert [row[heads.index("clean")] for row in rows] == ["90±2", "80±2", "92±2", "82±2"]
    assert shown.count("<strong>") == 3


def test_text_of_a_terminal_marks_the_best_with_a_star():
    lines = FORMATS["terminal"](lay_out(golden())).splitlines()
    assert sum(line.count("*") for line in lines if "±" in line and "median" in line) == 2


def of_methods(attacks, f=2):
    """Clean runs of methods, and what each attack leaves of them."""
    runs = []
    for method, left in attacks.items():
        settings = {"aggregator": method, "noise_scale": 0.1}
        for seed in range(3):
            runs.append((settings | {"seed": seed}, 0.9))
            for attack, accuracy in left.items():
                attacked = {"byzantine": f, "attack": attack, "seed": seed}
                runs.append((settings | attacked, accuracy))
    return frame(*runs)


def charged_for_signs():
    """A median and a vote at the same b, which tells less."""
    runs = of_methods({"median": {"alie": 0.8}, "majority_vote": {"alie": 0.7}})
    votes = runs["aggregator"] == "majority_vote"
    runs["epsilon"] = runs["epsilon"].where(~votes, 5.5)
    runs["accountant_used"] = runs["accountant_used"].where(~votes, "sign")
    return runs


def test_rules_that_spend_differently_at_one_b_stand_side_by_side_with_their_epsilons():
    shown = FORMATS["markdown"](PRESETS["trilemma"](charged_for_signs()))
    rows = [line.strip("| ").split(" | ") for line in shown.splitlines() if "| m" in line]
    assert [row[:2] for row in rows[1:]] == [["median", "6.73"], ["majority_vote", "5.5"]]
    assert all(cell.strip() for row in rows for cell in row)
    assert "by pld for median, sign for majority_vote (upper bounds)" in shown


def test_under_a_target_they_share_its_column():
    runs = charged_for_signs().assign(target_epsilon=6.8)
    shown = FORMATS["markdown"](PRESETS["trilemma"](runs))
    assert "noise_scale" not in shown.splitlines()[0]


def test_a_budget_has_a_row_for_signs_and_one_for_vectors():
    shown = FORMATS["markdown"](PRESETS["budget"](charged_for_signs()))
    rows = [
        line.strip("| ").split(" | ") for line in shown.splitlines() if line.startswith("| 0.1")
    ]
    assert [row[-2:] for row in rows] == [["pld", "6.73"], ["sign", "5.5"]]


FEWER = "‡ fewer attacks were run than on others of its column: never the best."


def test_a_worst_case_of_fewer_attacks_is_marked_and_never_the_best():
    easy = {"mean": {"alie": 0.85}}
    hard = {
        "median": {"alie": 0.8, "sign_flip": 0.5},
        "majority_vote": {"alie": 0.7, "sign_flip": 0.6},
    }
    marked = lay_out(of_methods(easy | hard), SHOWN)
    assert entries(marked, "f=2 worst") == ["85.0‡±0.0", "50.0±0.0", "60.0±0.0"]
    assert entries(marked, "f=2 gap") == ["5.0‡±0.0", "40.0±0.0", "30.0±0.0"]
    assert entries(marked, "breakdown")[0].endswith("‡")
    assert entries(marked, "f=2 alie") == ["85.0±0.0", "80.0±0.0", "70.0±0.0"]
    assert best(marked, "f=2 worst") == ["60.0±0.0"]
    assert best(marked, "f=2 alie") == ["85.0±0.0"]
    assert FEWER in marked.notes
    alike = lay_out(of_methods(hard), SHOWN)
    assert "‡" not in FORMATS["markdown"](alike)
    other_data = of_methods(easy).assign(heterogeneity=1.0)
    assert "‡" not in FORMATS["markdown"](lay_out(pd.concat([of_methods(hard), other_data])))


def test_a_gap_and_a_breakdown_point_are_no_contest():
    runs = of_methods({"mean": {"alie": 0.85}, "median": {"alie": 0.4}})
    layout = lay_out(runs, ["gap", "breakdown"])
    assert not any(entry.is_best for block in layout.blocks for row in block for entry in row)


@needs_tex
@pytest.mark.parametrize(
    "name", ["attacks", "budget", "fairness", "generalisation", "noise", "trilemma", "all"]
)
def test_latex_compiles_as_it_is_and_stays_on_the_page(tmp_path, name):
    make = PRESETS.get(name, lambda runs: lay_out(runs, SHOWN, across=["noise_scale"]))
    said = compile_table(FORMATS["latex"](make(golden())), tmp_path)
    assert "Missing character" not in said
    assert "Overfull" not in said


def test_theory_shows_shares_of_bounds():
    """Of two attacks and two seeds: the largest kappa, the error of the worst attack's mean."""
    specs = [
        {"byzantine": f, "attack": attack, "seed": seed, "noise_scale": 0.1}
        for f, attack in ((0, None), (2, "alie"), (2, "sign_flip"))
        for seed in (0, 1)
    ]
    runs = stored([row(0.5, **spec) for spec in specs]).assign(
        kappa=[0.1, 0.2, 0.3, 0.4, 0.5, 0.25], kappa_bound=[0.8] * 2 + [1.0] * 4,
        error=[1.0, 2.0, 8.0, 2.0, 3.0, 4.0], error_bound=[10.0] * 2 + [np.inf] * 4,
        error_of_mean=0.65,
    )  # fmt: skip
    layout = PRESETS["theory"](runs)
    assert entries(layout, "kappa") == ["0.2", "0.5"]
    assert entries(layout, "error") == ["1.5", "5"]
    assert entries(layout, "noise alone") == ["0.65", "0.65"]
    _, of_clean, of_attacked = FORMATS["markdown"](layout).split("| median |")
    assert "| 0.2 | 0.8 | 25.0 | 1.5 | 0.65 | 10 | 15.0 |" in of_clean
    assert "| 0.5 | 1 | 50.0 | 5 | 0.65 | ∞ |  |" in of_attacked
    with pytest.raises(SpecError, match="preset: theory: no run of this store has an error"):
        PRESETS["theory"](runs.assign(error=np.nan))


def test_latex_says_once_what_columns_share():
    lines = FORMATS["latex"](lay_out(golden(), ["clean", "attacks", "worst"])).splitlines()
    top = lines.index("\\toprule")
    assert lines[top + 1 : top + 4] == [
        r" &  &  &  & \multicolumn{2}{c}{f=2} \\",
        r"\cmidrule(lr){5-6}",
        r"heterogeneity & method & b & clean & alie(z=1.5) & worst \\",
    ]


def column(layout, heading):
    place = [" ".join(column.header) for column in layout.columns].index(heading)
    return [row[place] for block in layout.blocks for row in block]


def entries(layout, heading):
    return [entry.text for entry in column(layout, heading)]


def best(layout, heading):
    return [entry.text for entry in column(layout, heading) if entry.is_best]


def test_presets():
    runs = golden()
    trilemma = PRESETS["trilemma"](runs)
    assert entries(trilemma, "method") == ["median", "mean"]
    assert entries(trilemma, "epsilon 6.73 clean") == ["80±2", "82±2"]
    assert entries(trilemma, "epsilon ∞¹ f=2 worst") == ["59†°±13", "9°±13"]
    noise = PRESETS["noise"](runs)
    assert entries(noise, "f=2 gap") == ["30°±6", "30±2", "82°±6", "failed"]
    assert entries(noise, "breakdown") == ["≥0.17", "≥0.17", "0.00", "failed"]
    budget = PRESETS["budget"](runs)
    assert entries(budget, "noise_scale") == ["0", "0.1"]
    assert entries(budget, "epsilon") == ["∞¹", "6.73"]
    with pytest.raises(SpecError, match="preset: clipping compares values of clip_norm"):
        PRESETS["clipping"](runs)
    for clip_norm in (0.5, 2.0):
        runs = pd.concat([runs, golden().assign(clip_norm=clip_norm)])
    assert set(entries(PRESETS["clipping"](runs), "clip_norm")) == {"0.5", "1", "2"}


def test_the_best_rate_of_each_method_and_b():
    found = {(0.01, 0.1): 0.5, (0.1, 0.1): 0.8, (1.0, 0.1): 0.7, (0.01, 0.3): 0.6, (0.1, 0.3): 0.4}
    runs = frame(
        *(
            ({"learning_rate": rate, "noise_scale": b, "seed": seed}, accuracy)
            for (rate, b), accuracy in found.items()
            for seed in range(3)
        )
    )
    tuned = PRESETS["tuning"](runs)
    assert entries(tuned, "best rate") == ["0.1", "0.01 (edge)"]
    assert entries(tuned, "clean") == ["80.0±0.0", "60.0±0.0"]
    assert entries(tuned, "tried") == ["0.01 to 1 (3)", "0.01 to 0.1 (2)"]
    assert any("which epsilon does not count" in note for note in tuned.notes)


def test_what_nothing_broke_has_a_bound_of_its_breakdown_point():
    left = {"mean": {"alie": 0.1}, "median": {"alie": 0.8}}
    more = {"mean": {"alie": 0.1}, "median": {"alie": 0.2}}
    once = lay_out(of_methods(left), ["breakdown"])
    assert entries(once, "breakdown") == ["0.00", "≥0.17"]  # f=2 beside 10 honest
    runs = pd.concat([of_methods(left), of_methods(more, f=4).query("byzantine > 0")])
    layout = lay_out(runs, ["clean", "breakdown"])
    assert entries(layout, "breakdown") == ["0.00", "0.17"]
    assert any(note.startswith("breakdown: the largest f/n") for note in layout.notes)
    assert not any("breakdown" in note for note in lay_out(runs).notes)


def test_rates_that_the_method_decides_are_nothing_to_tune():
    rates = {"mean": 0.5, "median": 0.1}
    decided = frame(*(({"aggregator": name, "learning_rate": rates[name]}, 0.5) for name in rates))
    with pytest.raises(SpecError, match="no method and b has runs of several learning rates"):
        PRESETS["tuning"](decided)


def test_data_says_what_each_cell_costs_and_for_whom_epsilon_holds():
    runs = of_methods({"mean": {"alie": 0.1}, "median": {"alie": 0.8, "sign_flip": 0.7}})
    cells = data(runs).set_index(["aggregator", "attack"])
    gaps = cells["gap"].dropna().to_dict()
    assert gaps == {
        ("mean", "alie"): pytest.approx(0.8),
        ("mean", "worst"): pytest.approx(0.8),
        ("median", "alie"): pytest.approx(0.1),
        ("median", "sign_flip"): pytest.approx(0.2),
        ("median", "worst"): pytest.approx(0.2),
    }
    assert cells["breakdown"].groupby("aggregator").unique().to_dict() == {
        "mean": [0],
        "median": [pytest.approx(2 / 12)],
    }
    told = ["accountant_used", "delta", "unit", "adjacency"]
    assert set(map(tuple, cells[told].to_numpy())) == {("pld", 1e-5, "example", "zero-out")}
    assert len(data(runs.query("byzantine == 0"))) == 2
    failed = runs.assign(failure=["boom", *[None] * (len(runs) - 1)])
    assert data(failed).query("aggregator == 'mean'")["gap"].isna().all()


def test_rows_and_columns_by_field():
    runs = golden()
    spread = lay_out(runs, ["clean"], rows=["noise_scale"], across=["aggregator"])
    assert entries(spread, "b") == ["0", "0.1"]
    assert entries(spread, "aggregator mean clean") == ["92±2", "82±2"]
    forgotten = lay_out(runs, ["clean"], rows=["aggregator"])
    assert entries(forgotten, "b") == ["0", "0.1", "0", "0.1"]  # nothing but seeds is averaged


@pytest.mark.parametrize(
    ("conditions", "count"),
    [
        ([], 22),
        (["aggregator=mean"], 11),
        (["attack=none"], 12),
        (["attack=alie(z=1.5)", "noise_scale=0.1"], 6),
        (["seed=[0, 2]", "noise_scale=0"], 6),
        (["max_epsilon=none"], 22),
    ],
)
def test_runs_are_chosen_by_their_fields(conditions, count):
    assert len(chosen(golden(), conditions)) == count


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        (["aggregator"], "where: 'aggregator' is not accepted: field=value or field=[value, ...]"),
        (["noise_scale>0.1"], "where: 'noise_scale>0.1' is not accepted: field=value or field=["),
        (["agregator=mean"], "did you mean 'aggregator'?"),
        (["seed=7"], "where: no run has seed=7 (there is: 0, 1, 2)"),
        (["attack=alei"], "no run has attack=alei (there is: alie(z=1.5), none)"),
        (["aggregator=medain"], "no run has aggregator=medain; did you mean 'median'? (there is: "),
        (["seed=[7"], "where seed=[7: not valid YAML"),
    ],
)
def test_conditions_that_choose_nothing(conditions, message):
    with pytest.raises(SpecError) as raised:
        chosen(golden(), conditions)
    assert message in str(raised.value)


def test_only_failures_make_a_table():
    runs = golden().assign(failure="boom", accuracy=np.nan)
    assert "failed" in FORMATS["terminal"](lay_out(runs))
    assert "failed: boom" in FORMATS["latex"](PRESETS["trilemma"](runs))


@few_examples(max_examples=20)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["mean", "median"]),
            st.sampled_from([0.0, 0.1]),
            st.sampled_from([0, 2]),
            st.integers(0, 3),
            st.floats(0, 1),
        ),
        min_size=1,
        max_size=12,
        unique_by=lambda run: run[:4],
    )
)
def test_any_store_makes_every_format(found):
    fields = ("aggregator", "noise_scale", "byzantine", "seed")
    runs = frame(
        *((dict(zip(fields, at, strict=True)) | {"attack": "zero"}, value) for *at, value in found)
    )
    layout = lay_out(runs, SHOWN)
    widths = {len(row) for block in layout.blocks for row in block}
    assert widths == {len(layout.columns)}
    for write in FORMATS.values():
        assert write(layout)
    assert len(data(runs)) == len(summarise(runs))
    summary = summarise(runs)
    for at, alike in runs.groupby(list(fields[:3])):
        values = alike["accuracy"]
        row = summary.xs(at, level=list(fields[:3])).iloc[0]
        assert row["accuracy"] == pytest.approx(values.mean())
        if len(values) > 1 and values.std() > 1e-9:
            low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
            assert row["interval"] == pytest.approx((high - low) / 2)


BACKDOORED = frame(
    *(({"seed": seed, "noise_scale": 0.1}, 0.9) for seed in range(3)),
    *(({"seed": seed, **ATTACKED, "attack": "backdoor"}, 0.91) for seed in range(3)),
    *(({"seed": seed, **ALIE}, 0.5) for seed in range(3)),
)
RATES = [0.8, 0.6, 0.7]
BACKDOORED["attack_success_rate"] = (
    BACKDOORED["seed"].map(dict(enumerate(RATES))).where(BACKDOORED["attack"] == "backdoor")
)


def test_success_has_columns_of_its_own_where_there_is_any():
    """Of the attack that has a goal, mean and interval over seeds; no row is best at it."""
    layout = lay_out(BACKDOORED)
    headers = [column.header for column in layout.columns]
    assert headers.count(("f=2", "backdoor", "success")) == 1
    assert sum("success" in header for header in headers) == 1
    entry = layout.blocks[0][0][headers.index(("f=2", "backdoor", "success"))]
    half = stats.t.ppf(0.975, 2) * np.std(RATES, ddof=1) / 3**0.5
    assert entry.text == f"70±{100 * half:.0f}"
    assert not entry.is_best
    assert any(note.startswith("success: how many in %") for note in layout.notes)
    assert "success" not in shown(RUNS)
    assert "success" not in FORMATS["terminal"](lay_out(BACKDOORED, ["clean", "worst"]))


def test_the_worst_case_is_about_accuracy_whatever_a_backdoor_achieves():
    worst = summarise(BACKDOORED).xs((2, "worst"), level=("byzantine", "attack")).iloc[0]
    assert worst["accuracy"] == pytest.approx(0.5)
    assert np.isnan(worst["attack_success_rate"])


def test_success_is_data_with_all_digits():
    cells = data(BACKDOORED).set_index("attack")
    assert cells.loc["backdoor", "attack_success_rate"] == pytest.approx(0.7)
    half = stats.t.ppf(0.975, 2) * np.std(RATES, ddof=1) / 3**0.5
    assert cells.loc["backdoor", "attack_success_interval"] == pytest.approx(half)
    assert cells.loc[["", "alie"], "attack_success_rate"].isna().all()


def test_the_success_of_failed_runs_is_not_known():
    runs = BACKDOORED.copy()
    runs.loc[4, ["failure", "accuracy", "attack_success_rate"]] = ["no memory", None, None]
    layout = lay_out(runs)
    at = [column.header for column in layout.columns].index(("f=2", "backdoor", "success"))
    assert layout.blocks[0][0][at].text == "failed"


def test_small_print_says_who_knows_the_noise_of_pairs():
    spec = {"clip_norm": 1.0, "noise_scale": 0.1, "honest": 4, "steps": 2}
    alone, shared = (frame((spec | more, 0.5)) for more in ({}, {"pairwise_noise": 1.0}))
    told = "pairwise_noise: who sees the messages knows the noise of pairs with a Byzantine"
    for runs, count in ((alone, 0), (shared, 1)):
        assert sum(note.startswith(told) for note in guarantee(runs)) == count


def test_small_print_says_that_no_epsilon_protects_the_examples_of_the_server():
    runs = of_methods({rule: {"alie": 0.5} for rule in ("median", "krum", "mean")})
    rules = {"krum": "nnm + fltrust(examples=20)", "mean": "noise_aware"}
    told = lay_out(runs.replace({"aggregator": rules})).notes
    [note] = [note for note in told if "public" in note and "no epsilon protects" in note]
    assert note.startswith("nnm + fltrust(examples=20), noise_aware: ")
    assert not any("no epsilon protects" in note for note in lay_out(RUNS).notes)
    known = {name for name in available_aggregators() if get_aggregator(name).public_examples}
    assert set(WITH_PUBLIC_EXAMPLES) == known


def test_of_what_is_asked_for_a_table_says_why_it_is_not_there():
    clean = RUNS[RUNS["byzantine"] == 0]
    notes = lay_out(clean, ["clean", "worst", "gap", "success"]).notes
    assert notes[-3:] == [
        "worst: no run has attackers.",
        "gap: no run has attackers.",
        "success: no run has an attack with a goal of its own, such as a backdoor.",
    ]
    attacked = RUNS[RUNS["byzantine"] > 0]
    assert "clean: no run is without attackers." in PRESETS["trilemma"](attacked).notes
    assert not any("no run" in note for note in lay_out(clean).notes)  # what there is, unasked
    with pytest.raises(SpecError, match=r"show: there is nothing to show \(worst: no run has att"):
        lay_out(clean, ["worst"])
