"""The report: what its page says of a store."""

import json
import math
import re
import sqlite3
import statistics
import sys
from html import unescape
from html.parser import HTMLParser
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import yaml
from frames import frame
from made_runs import HOSTILE, SWEEP, grid
from scipy import stats
from typer.testing import CliRunner

from privrobust.cli.main import app, main
from privrobust.reporting.findings import findings
from privrobust.reporting.report import page as pages
from privrobust.reporting.report.page import page, write_report
from privrobust.reporting.report.recipes import recipe
from privrobust.reporting.report.rows import held, rows_of
from privrobust.reporting.report.words import notes, overview
from privrobust.store import Store
from privrobust.store.schema import RUNS
from privrobust.sweeps.grid import Sweep
from privrobust.sweeps.runner import run_sweep


def text_of(path):
    with Store(path) as store:
        return page(store)


class Table(HTMLParser):
    """The cells of the results table, `(shown text, data-v)`, by row, and which are the best.

    What only screen readers say is left out, and so are columns that are not shown at first.
    """

    def __init__(self, text):
        super().__init__()
        self.rows, self.best = [], []
        self._inside, self._cell, self._is_heard = False, None, False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "table":
            self._inside = attributes.get("id") == "results"
        if self._inside and tag == "tr":
            self.rows.append([])
        if self._inside and tag in ("td", "th") and "data-metric" not in attributes:
            self._cell = ["", attributes.get("data-v")]
            self.rows[-1].append(self._cell)
        self._is_heard |= tag == "span" and attributes.get("class") == "heard"
        if tag == "strong" and self._cell is not None:
            self.best.append((len(self.rows) - 1, self.rows[0][len(self.rows[-1]) - 1][0]))

    def handle_endtag(self, tag):
        self._is_heard &= tag != "span"
        if tag in ("td", "th"):
            self._cell = None
        if tag == "table":
            self._inside = False

    def handle_data(self, data):
        if self._cell is not None and not self._is_heard:
            self._cell[0] += data.replace("\N{NO-BREAK SPACE}", " ")


def records(text):
    """By header, the rows of the results table."""
    header, *rows = Table(text).rows
    names = [shown for shown, _ in header]
    return [dict(zip(names, ([*map(tuple, row)]), strict=True)) for row in rows]


def recipes(text):
    """The YAML of every row, as a browser would show it."""

    class Recipes(HTMLParser):
        found, at = {}, None

        def handle_starttag(self, tag, attributes):
            label = dict(attributes).get("aria-label", "")
            self.at = label.removeprefix("YAML of row ") if tag == "pre" else None

        def handle_data(self, data):
            if self.at:
                self.found[int(self.at)] = self.found.get(int(self.at), "") + data

        def handle_endtag(self, tag):
            self.at = None

    parser = Recipes()
    parser.feed(text)
    return parser.found


def test_numbers_are_those_of_the_store(made):
    """Against SQL, Python's statistics and SciPy, not against the tables' own code."""
    rows = records(text_of(made))
    assert len(rows) == 2 * 2 * 2 * 2
    with sqlite3.connect(made) as connection:
        for row in rows:
            where = {
                "aggregator": row["method"][0],
                "noise_scale": float(row["b"][0]),
                "heterogeneity": float(row["heterogeneity"][0]),
            }
            f = int(row["f"][0])
            cells = {
                "clean": cell_of(connection, where, 0, None),
                "sign_flip": cell_of(connection, where, f, "sign_flip"),
                "alie(z=1.5)": cell_of(connection, where, f, "alie(z=1.5)"),
            }
            for name, (mean, half) in cells.items():
                for text, value in zip(row[name][0].split(" ± "), (mean, half), strict=True):
                    last = 10.0 ** -len(text.partition(".")[2])
                    assert float(text) == pytest.approx(100 * value, abs=0.5 * last + 1e-9)
                assert float(row[name][1]) == pytest.approx(mean, abs=1e-12)
            worst = min(cells["sign_flip"][0], cells["alie(z=1.5)"][0])
            assert float(row["worst"][1]) == pytest.approx(worst, abs=1e-12)
            gap = cells["clean"][0] - worst
            assert float(row["gap"][1]) == pytest.approx(gap, abs=1e-12)
            (text,) = re.match(r"(-?[\d.]+)§? ± [\d.]+$", row["gap"][0]).groups()
            last = 10.0 ** -len(text.partition(".")[2])
            assert float(text) == pytest.approx(100 * gap, abs=0.5 * last + 1e-9)
            (epsilon,) = connection.execute(
                f"select max(epsilon) from runs where {' and '.join(f'{c} = ?' for c in where)}",
                [*where.values()],
            ).fetchone()
            assert float(row["epsilon"][1]) == float(epsilon)
            if math.isinf(float(epsilon)):
                assert row["epsilon"][0] == "∞ not private1"  # the note's number
            else:
                assert 0 <= float(row["epsilon"][0]) / epsilon - 1 < 0.01


def test_success_is_told_beside_the_accuracies_of_attacks_that_have_a_goal(changed):
    """A rate of three seeds, 0.6, 0.7 and 0.8: a half-width of t(2, 97.5 %) 0.1 / sqrt(3)."""
    told = "0.6 + seed / 10.0 where attack = 'sign_flip'"
    path = changed((f"update runs set attack_success_rate = {told}",))
    text = text_of(path)
    assert "success: of the held-out examples that an attack aims at" in text
    half = f"{100 * stats.t.ppf(0.975, 2) * 0.1 / 3**0.5:.0f}"
    for row in records(text):
        assert f"success 70 ± {half} %" in row["sign_flip"][0]
        assert "success" not in row["alie(z=1.5)"][0] + row["clean"][0]
    assert "success: of the held-out" not in text_of(changed(("update runs set seed = seed",)))


def test_the_best_of_each_column_is_marked_among_rows_on_the_same_data_at_the_same_f(changed):
    """As pandas finds them; a clean cell stands in the rows of both f."""
    path = changed(
        ("update runs set accuracy = ((rowid + 17 * byzantine) * 7 % 1000) / 1000.0, "
         "accuracy_by_class = null",),
        ("delete from runs where aggregator = 'mean' and noise_scale = 0.1 and heterogeneity = 1 "
         "and attack = 'sign_flip' and byzantine = 2",),
    )  # fmt: skip
    with Store(path) as store:
        runs = store.runs()
    setting = ["heterogeneity", "aggregator", "noise_scale"]
    means = runs.fillna({"attack": ""}).groupby([*setting, "byzantine", "attack"])["accuracy"]
    by_attack = means.mean().unstack("attack")
    table = Table(text_of(path))
    found = {
        (row["heterogeneity"][0], row["method"][0], row["b"][0], int(row["f"][0]), column)
        for place, row in enumerate(records(text_of(path)), 1)
        for column in ("clean", "worst", "sign_flip", "alie(z=1.5)", "gap", "breakdown")
        if (place, column) in table.best
    }
    expected = set()
    for h, f in product([0, 1], [1, 2]):
        at_f = by_attack.xs((h, f), level=["heterogeneity", "byzantine"]).copy()
        at_f["clean"] = by_attack.xs((h, 0), level=["heterogeneity", "byzantine"])[""]
        at_f["worst"] = at_f[["sign_flip", "alie(z=1.5)"]].min(axis=1, skipna=False)
        for column in ("clean", "worst", "sign_flip", "alie(z=1.5)"):
            method, b = at_f[column].idxmax()
            expected.add((str(h), method, f"{b:g}", f, column))
    assert found == expected


def test_metrics_that_are_stored_have_columns(changed):
    """Under the attack that is the worst for accuracy, and told what epsilon leaves out."""
    path = changed(
        ("update runs set worst_class_accuracy = accuracy / 2, error = null",),
        ("update runs set train_accuracy = null, train_loss = null",),
    )
    text = text_of(path)
    names = set(re.findall(r'<th scope="col" data-head="([^"]*)" data-metric', text))
    assert {"worst class, clean", "worst class, worst", "loss, clean"} <= names
    assert not {name for name in names if name.startswith(("error", "train", "gen. gap"))}
    values = re.findall(r'data-metric="worst_class_accuracy" data-v="([^"]*)"', text)
    halves = [(float(row["clean"][1]) / 2, float(row["worst"][1]) / 2) for row in records(text)]
    assert list(map(float, values)) == pytest.approx([each for pair in halves for each in pair])
    assert "worst class: accuracy in % on the worst class of test data" in text
    assert "not covered by epsilon" not in text
    gap = "What is measured on training examples is not covered by epsilon. None is marked as best"
    assert gap in " ".join(text_of(changed(("update runs set seed = seed",))).split())


def test_metrics_of_too_many_rows_are_left_out_and_that_is_said(made, monkeypatch):
    monkeypatch.setattr("privrobust.reporting.report.page._MOST_MEASURED", 15)
    text = text_of(made)
    assert "data-metric" not in text.partition("<table")[2].partition("</table>")[0]
    assert "left out: 16 rows are more than the 15 that this page has" in text


def test_no_line_breaks_inside_a_number(made):
    """Between a mean, its interval and the per cent sign."""
    shown = re.sub(
        r"<pre.*?</pre>|<script.*?</script>|<style.*?</style>", "", text_of(made), flags=re.S
    )
    assert re.findall(r".{20}\d [±%]|.{20}± \d", shown) == []
    assert len(re.findall("\\d\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}\\d", shown)) > 16 * 4


def test_the_page_opens_with_what_was_found(made):
    """Its name, findings and one chart come before the table, and definitions after it."""
    text = text_of(made)
    with Store(made) as store:
        sentences = [each.replace("\N{NO-BREAK SPACE}", " ") for each in findings(store.runs())]
    body = unescape(text.partition("<body>")[2]).replace("\N{NO-BREAK SPACE}", " ")
    places = [
        body.index(each)
        for each in ("<h1>results</h1>", *sentences, 'id="figure-privacy"', 'id="results"',
                     'id="figure-heatmap"', "Many <em>workers</em>", 'class="guarantees"')
    ]  # fmt: skip
    assert places == sorted(places)


def test_a_page_of_one_sweep_has_its_name_and_its_runs_alone(made, tmp_path):
    one = SWEEP | {"grid": SWEEP["grid"] | {"aggregator": ["median"], "noise_scale": [0.1]}}
    sweep = tmp_path / "with_noise.yaml"
    sweep.write_text(yaml.safe_dump(one), encoding="utf-8")
    page_of = tmp_path / "page.html"
    arguments = ["report", str(made), "-o", str(page_of), "--sweep", str(sweep)]
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 0, outcome.output
    text = page_of.read_text(encoding="utf-8")
    assert "<h1>with_<wbr>noise</h1>" in text
    rows = records(text)
    assert len(rows) == 2 * 2
    assert {row["method"][0] for row in rows} == {"median"}
    assert "each with b 0.1" in re.sub("<[^>]*>", "", text)


def test_runs_are_counted_once_with_what_they_are_of(made, changed):
    def lead(text):
        return " ".join(re.search(r'<p class="lead">(.*?);', text, re.S)[1].split())

    assert lead(text_of(made)) == "digits, logistic, 5 honest workers: 120 runs on test data"
    path = changed(
        ("update runs set evaluate_on = 'validation' where seed = 2",),
        ("update runs set honest = 7 - byzantine",),
    )
    assert lead(text_of(path)) == (
        "digits, logistic, 7 workers: 80 runs on test data, 40 runs to tune by"
    )
    several = changed(("update runs set dataset = 'mnist', model = 'mlp' where seed = 2",))
    assert lead(text_of(several)) == "5 honest workers: 120 runs on test data"


def test_what_was_run_is_told_in_a_line(made):
    told = re.search(r"<summary>(digits.*?)</summary>", text_of(made))[1]
    assert told == (
        "digits, model logistic; methods mean and median; f = 0, 1 and 2; "
        "attacks sign_flip and alie(z=1.5); 3 seeds"
    )


def test_b_has_no_column_where_epsilon_tells_it(made, changed):
    """As where targets chose it, a b for every f."""
    chosen = (
        "update runs set target_epsilon = 2 + 6 * (aggregator = 'mean'), "
        "noise_scale = 0.1 + byzantine / 100.0 where noise_scale > 0",
        "update runs set epsilon = target_epsilon - 0.001 where target_epsilon > 0",
    )
    assert "b" in records(text_of(made))[0]
    text = text_of(changed(*((each,) for each in chosen)))
    assert "b" not in records(text)[0]
    assert 'name="noise_scale"' not in text
    assert {row["epsilon"][0] for row in records(text)} == {"2.00", "8.00", "∞ not private1"}
    alike = "update runs set epsilon = 2 where target_epsilon > 0"
    assert "b" in records(text_of(changed(*((each,) for each in (*chosen, alike)))))[0]


MADE = grid(heterogeneity=[0.0])
SOME = (MADE["seed"] == 2) & (MADE["attack"] == "sign_flip")
NO_ATTACK = MADE[MADE["byzantine"] == 0]


@pytest.mark.parametrize(
    ("note", "without", "runs"),
    [
        ("Fewer than 3 seeds", MADE, MADE[~SOME]),
        ("Failed: ", MADE, MADE.assign(accuracy=MADE["accuracy"].mask(SOME),
                                       failure=MADE["failure"].mask(SOME, "no memory"))),
        ("Diverged: ", MADE, MADE.assign(diverged=SOME)),
        ("Not run: ", MADE, MADE[(MADE["attack"] != "alie") | (MADE["byzantine"] != 2)]),
        ("±: half of", MADE[MADE["seed"] == 0], MADE),
        ("gap: ", NO_ATTACK, MADE),
        ("breakdown: ", NO_ATTACK, MADE),
    ],
)  # fmt: skip
def test_notes_explain_what_is_there_alone(note, without, runs):
    def told(runs):
        return "".join(notes(rows_of(runs, MADE.iloc[:0]), has_best=True))

    assert note not in told(without)
    assert note in told(runs)


def test_whole_numbers_stay_whole_in_recipes():
    """A column with gaps holds floats."""
    runs = frame(
        ({"repetition": 7, "pairwise_noise": 1.0, "noise_scale": 0.1, "colluding": 4}, 0.9),
        ({"repetition": 7, "seed": 1}, 0.8),
    )
    runs = runs.assign(repetition=runs["repetition"].astype(float))
    written = recipe(runs)
    assert "repetition: 7\n" in written
    assert re.search(r"colluding: 4\b(?!\.)", written)


def test_breakdown_points(changed):
    """One or two Byzantine workers joined five."""
    path = changed(
        ("update runs set accuracy = 0.8, accuracy_by_class = null",),
        ("update runs set accuracy = 0.3 where aggregator = 'median' and byzantine = 2 "
         "and attack = 'sign_flip' and heterogeneity = 0",),
        ("update runs set accuracy = 0 where aggregator = 'mean' and byzantine > 0 "
         "and heterogeneity = 0",),
        ("delete from runs where aggregator = 'mean' and byzantine = 0 and heterogeneity = 1",),
    )  # fmt: skip
    found = {
        (row["method"][0], row["heterogeneity"][0], row["f"][0], *row["breakdown"])
        for row in records(text_of(path))
    }
    expected = {
        ("median", "0"): ("0.17", repr(1 / 6)),
        ("median", "1"): ("≥0.29", repr(2 / 7)),
        ("mean", "0"): ("0.00", "0.0"),
        ("mean", "1"): ("", ""),
    }
    assert found == {(*at, f, *shown) for at, shown in expected.items() for f in ("1", "2")}


def cell_of(connection, where, f, attack):
    conditions = [f"{column} = ?" for column in where] + ["byzantine = ?", "attack is ?"]
    found = connection.execute(
        f"select accuracy from runs where {' and '.join(conditions)}",
        [*where.values(), f, attack],
    ).fetchall()
    values = [accuracy for (accuracy,) in found]
    assert len(values) == 3
    sem = statistics.stdev(values) / math.sqrt(3)
    return statistics.mean(values), stats.t.ppf(0.975, 2) * sem


def test_curves_are_the_means_of_histories(made):
    text = text_of(made)
    payload = json.loads(
        re.search(r'<script type="application/json" id="payload">(.*?)</script>', text).group(1)
    )
    drawn = payload["curves"]
    with sqlite3.connect(made) as connection:
        found = connection.execute(
            "select step, e.accuracy from evaluations e "
            "join runs r on e.run = r.key where aggregator = 'median' and noise_scale = 0.1 and "
            "heterogeneity = 1 and byzantine = 2 and attack = 'sign_flip'"
        ).fetchall()
    by_step = {step: [value for at, value in found if at == step] for step in (2, 4, 6)}
    row = next(
        number
        for number, row in enumerate(records(text), 1)
        if [row[name][0] for name in ("method", "b", "heterogeneity", "f")]
        == ["median", "0.1", "1", "2"]
    )
    curves = [drawn["curves"][place] for place in drawn["rows"][str(row)]]
    assert {curve["attack"] for curve in curves} == {"none", "sign_flip", "alie(z=1.5)"}
    (curve,) = [curve for curve in curves if curve["attack"] == "sign_flip"]
    assert drawn["steps"][curve["steps"]] == [2, 4, 6]
    for place, values in enumerate(by_step.values()):
        assert len(values) == 3
        mean, sem = statistics.mean(values), statistics.stdev(values) / math.sqrt(3)
        ends = stats.t.interval(0.95, 2, mean, sem)
        got = [curve[line][place] / drawn["scale"] for line in ("mean", "low", "high")]
        assert got == pytest.approx([mean, *np.clip(ends, 0, 1)], abs=1e-4)


def test_a_store_too_large_for_curves_says_so(made, monkeypatch):
    whole = text_of(made)
    assert "Training curves are left out" not in whole
    monkeypatch.setattr("privrobust.reporting.report.curves.MOST_RUNS", 119)
    monkeypatch.setattr("privrobust.reporting.report.page.MOST_RUNS", 119)
    text = text_of(made)
    assert 'id="chart-curves"' not in text
    assert "Training curves are left out: 120 runs are more than the 119" in text
    assert '<code data-copy="command">privrobust figure curves STORE' in text
    for promised in ("spec and command", "the commands", "YAML runs"):
        assert promised in whole
        assert promised not in text.partition("<body")[2].partition("<script")[0]
    assert 'aria-label="row 3: a link to it"' in text


def test_recipes_expand_to_exactly_the_runs_of_their_rows(made):
    text = text_of(made)
    every = set()
    for number, written in recipes(text).items():
        runs = Sweep.from_settings(yaml.safe_load(written)).runs()
        assert len(runs) == 3 + 2 * 3, number  # clean, and two attacks
        every |= {run.key for run in runs}
    with Store(made) as store:
        assert every == store.keys()


def test_a_recipe_and_its_command_reproduce_a_cell(made, tmp_path, monkeypatch):
    text = text_of(made)
    wanted = records(text)[-1]
    number = int(wanted["row"][0])
    command = re.findall(rf">privrobust (run row-{number}\.yaml [^<]*)</code>", text)
    monkeypatch.chdir(tmp_path)
    Path(f"row-{number}.yaml").write_text(recipes(text)[number], encoding="utf-8")
    outcome = CliRunner().invoke(app, command[0].split())
    assert outcome.exit_code == 0, outcome.output
    (again,) = records(text_of(tmp_path / f"row-{number}.db"))
    assert again["row"] == ("1", "1")
    kept = again.keys() - {"row"}  # of one row, no setting varies
    assert kept == wanted.keys() - {"row", "b", "heterogeneity"}
    assert {name: again[name] for name in kept} == {name: wanted[name] for name in kept}


@pytest.mark.parametrize(
    "settings",
    [
        {"grid": {"workers": [7], "byzantine": [0, 1, 2], "attack": ["alie", "zero"]}},
        {"byzantine": 1, "attack": "zero", "target_epsilon": 8.0, "grid": {"seed": [0, 1]}},
        {"cases": [{"seed": 0}, {"seed": 1, "byzantine": 1, "attack": "zero"}]},
        {"unit": "worker", "noise": "laplace", "noise_scale": 0.3, "partition": "labels(k=2)"},
        {"noise_scale": 1e-5, "delta": 1e-7, "evaluate_on": "validation"},
    ],
)
def test_recipes_of_other_sweeps(tmp_path, settings):
    fixed = {"honest": 5} if "workers" not in settings.get("grid", {}) else {}
    sweep = Sweep.from_settings({**fixed, "clip_norm": 1.0, "steps": 1, **settings})
    with Store(tmp_path / "results.db") as store:
        run_sweep(sweep.runs(), store)
        found = recipes(page(store)).values()
        written = [Sweep.from_settings(yaml.safe_load(text)).runs() for text in found]
        assert {run.key for runs in written for run in runs} == store.keys()


def test_the_guarantee_is_told(made):
    text = text_of(made)
    for said in (
        "at delta = 1e-05, an upper bound, computed by the accountant",
        "one example of one honest worker has its contribution set to zero; n, its worker&#39;s "
        "number of examples, is public and stays (zero-out)",
        "not private (epsilon = ∞): no noise (b = 0).",
        "<sup>1</sup> not private: no noise (b = 0).",
        "What it does not cover",
    ):
        assert said in text
    assert "+ tuning" not in text


def test_estimates_and_tuning_are_marked(changed):
    path = changed(
        ("update runs set is_upper_bound = 0, accountant_used = 'gdp' where noise_scale > 0",),
        ("update runs set evaluate_on = 'validation' where seed = 2",),
    )
    text = text_of(path)
    assert "an ESTIMATE, which may be smaller than the truth" in text
    assert "Tuning spent privacy that is not counted." in text
    private = [row for row in records(text) if "∞" not in row["epsilon"][0]]
    assert {row["epsilon"][0].partition(" ")[2] for row in private} == {"estimate + tuning"}
    assert all("2 seeds" in row["clean"][0] for row in records(text))  # those of the test split


def test_noise_is_told_by_how_it_was_chosen(made, changed):
    fixed = "of scale b = {} in every coordinate"
    aimed = "of the least scale b that keeps epsilon within 2 and 8"
    targets = "update runs set target_epsilon = 2 + 6 * (heterogeneity > 0) where noise_scale > ?"
    assert f"gaussian, {fixed.format('0 and 0.1')}<" in text_of(made)
    some = text_of(changed((targets, 0)))
    assert f"gaussian, {fixed.format('0')} or {aimed}<" in some
    assert f"gaussian, {aimed}<" in text_of(changed((targets, -1)))


def test_few_seeds_failed_and_diverged_runs_and_gaps_are_marked(changed):
    path = changed(
        ("delete from runs where attack = 'sign_flip' and byzantine = 2",),
        ("delete from runs where seed > 0 and byzantine = 0",),
        (
            "update runs set status = 'failed', accuracy = null, failure = 'it <b>broke</b>' "
            "where attack = 'sign_flip' and seed = 1",
        ),
        ("update runs set diverged = 1 where attack = 'alie(z=1.5)' and seed = 0",),
    )
    text = text_of(path)
    by_f = {row["f"][0]: row for row in records(text)}
    assert "± " not in by_f["1"]["clean"][0]
    assert "1 seed" in by_f["1"]["clean"][0]
    shown, rank = by_f["1"]["sign_flip"]
    assert re.fullmatch(r"failed 1 of 3, others [\d.]+ ± [\d.]+ 2 seeds", shown)
    assert float(rank) < 0  # worse than any accuracy, whatever the other seeds reached
    assert by_f["1"]["worst"] == by_f["1"]["sign_flip"]
    assert by_f["1"]["gap"] == ("", "")
    assert "1 diverged" in by_f["1"]["alie(z=1.5)"][0]
    assert by_f["2"]["sign_flip"] == ("not run", "")
    assert "failed: it &lt;b&gt;broke&lt;/b&gt;" in text
    assert "stopped being finite" in text
    assert {row["worst attack"][0] for row in records(text) if row["f"][0] == "1"} == {"sign_flip"}


def test_worst_cases_over_fewer_attacks_are_told(made, changed):
    assert "the same attacks" not in text_of(made)
    text = text_of(changed(("delete from runs where attack = 'sign_flip' and byzantine = 2",)))
    assert "‡ Not all rows were given the same attacks: 8 of 16 worst cases, and the" in text
    marked = {row["f"][0] for row in records(text) if "‡ of 1 attack" in row["worst"][0]}
    assert marked == {"2"}


def test_one_seed(changed):
    text = text_of(changed(("delete from runs where seed > 0",)))
    assert "fewer than 3, so chance may explain differences" in text
    assert all("1 seed" in row["worst"][0] for row in records(text))


def test_only_failures(changed):
    path = changed(
        ("update runs set status = 'failed', accuracy = null, kappa = null, failure = 'no'",),
        ("delete from evaluations",),
    )
    text = text_of(path)
    assert "failed 3 of 3" in records(text)[0]["clean"][0]
    assert "failed: no" in text
    assert 'id="chart-privacy"' not in text


def test_deltas_stand_beside_epsilons_where_they_differ(made, changed):
    assert not [row for row in records(text_of(made)) if "delta" in row["epsilon"][0]]
    where = "noise_scale = 0.1 and aggregator = 'mean'"
    path = changed((f"update runs set delta = 0.001 where {where}",))
    for row in records(text_of(path)):
        told = re.findall(r"delta (\S+)", row["epsilon"][0])
        if row["b"][0] == "0":
            assert told == []
        else:
            assert told == ["0.001" if row["method"][0] == "mean" else "1e-05"]


def test_failures_are_told_by_reason_with_a_count(changed):
    """However many they are: the rest folds away."""
    fails = "update runs set status = 'failed', accuracy = null, failure ="
    text = text_of(changed((f"{fails} 'no memory'",), ("delete from evaluations",)))
    assert text.count("failed: no memory: <strong>120 runs</strong>") == 1
    place = "(select count(*) from runs as other where other.key < runs.key)"
    text = text_of(changed((f"{fails} 'no ' || ({place} % 20)",), ("delete from evaluations",)))
    shown, folded = re.split(r"<summary>12 more reasons, of 72 runs</summary>", text)
    assert len(re.findall(r"<summary>failed: no \d+: <strong>6 runs</strong>", shown)) == 8
    assert len(re.findall(r"<summary>failed: no \d+: <strong>6 runs</strong>", folded)) == 12


def test_damaged_runs_are_told_on_the_page(made, changed):
    assert "left out: damaged" not in text_of(made)
    path = changed(("update runs set epsilon = -1 where noise_scale = 0.1",))
    told = "60 of 120 runs are left out: damaged cells (epsilon in 60)"
    assert told in text_of(path)
    with Store(path) as store:  # and of those that are asked for
        assert told in page(store, store.runs(sorted(store.keys())))


def test_what_has_no_accuracy_did_not_fail(changed):
    path = changed(("update runs set accuracy = null where aggregator = 'median' and seed = 1",))
    text = text_of(path)
    for row in records(text):
        is_lacking = row["method"][0] == "median"
        assert all((row[name][0] == "no accuracy") == is_lacking for name in ("clean", "worst"))
    assert "No accuracy: a run of the cell ended without a failure" in text
    assert "None: every run in the table finished" in text


@pytest.mark.parametrize(
    ("point", "low", "near_chance", "sorts_by"),
    [(0.17, 0.0, False, 0.0), (0.29, 0.29, False, 0.29), (0.17, math.nan, False, 0.17),
     (math.nan, math.nan, False, math.nan), (0.17, 0.0, True, math.nan)],
)  # fmt: skip
def test_breakdown_points_sort_by_what_surely_holds(point, low, near_chance, sorts_by):
    found = {"point": point, "low": low, "near_chance": near_chance}
    assert held(found) == pytest.approx(sorts_by, nan_ok=True)


def test_the_page_says_of_which_evaluations_accuracy_is_a_mean(made, changed):
    told = "Accuracy of a run: the mean over the last"
    assert f"{told} 3 evaluations" in text_of(made)
    assert told not in text_of(changed(("update runs set final_evaluations = 1",)))


def test_only_clean_runs(changed):
    text = text_of(changed(("delete from runs where byzantine > 0",)))
    assert {row["worst"][0] for row in records(text)} == {"not run"}
    assert 'id="chart-heatmap"' not in text


def test_no_runs(tmp_path):
    with Store(tmp_path / "empty.db") as store:
        text = page(store)
        assert "This store holds no finished runs." in text
        store.claim(Sweep.from_settings({"steps": 1}).runs())
        assert "still under way" in page(store)


def test_what_stores_say_is_escaped(hostile, monkeypatch):
    """Nor is anything imported that they name."""
    monkeypatch.setattr("privrobust.core.plugins.import_module", pytest.fail)
    text = text_of(hostile)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text).group(1)
    assert "default-src &#39;none&#39;" in policy
    assert "unsafe-eval" not in policy
    body = text.partition('<script type="application/json"')[0]
    assert "<script" not in body
    assert "<img" not in body
    assert "&lt;/script&gt;&lt;script&gt;" in body
    assert len(re.findall(r"<script\b", text)) == 3
    for written in recipes(text).values():
        assert yaml.safe_load(written)["dataset"] == HOSTILE


@pytest.mark.slow
def test_2000_runs_stay_below_5_mb(changed):
    """Each of them a setting of its own, with a long history."""
    fields = [column.name for column in RUNS.c if column.name not in ("key", "learning_rate")]
    path = changed(("delete from runs where key not in (select key from runs where seed = 0)",))
    with sqlite3.connect(path) as connection:
        kept = connection.execute("select count(*) from runs").fetchone()[0]
        for copy in range(1, 2000 // kept + 1):
            connection.execute(
                f"insert into runs (key, learning_rate, {', '.join(fields)}) "
                f"select {copy} || substr(key, 5), {copy} / 100.0, {', '.join(fields)} "
                "from runs where learning_rate = 0.5"
            )
        connection.execute("delete from evaluations")
        connection.executemany(
            "insert into evaluations (run, step, accuracy) select key, ?, accuracy from runs",
            [(step,) for step in range(10, 1001, 10)],
        )
        assert connection.execute("select count(*) from runs").fetchone()[0] >= 2000
    connection.close()
    assert len(text_of(path).encode()) < 5_000_000


def refused(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["privrobust", "report", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    (line,) = err.splitlines()
    return line


def test_a_missing_store_is_one_line(tmp_path, monkeypatch, capsys):
    line = refused(monkeypatch, capsys, tmp_path / "none.db", "-o", tmp_path / "page.html")
    assert "does not exist" in line
    assert not list(tmp_path.iterdir())


def test_the_page_is_written_whole_or_not_at_all(made, tmp_path, monkeypatch, capsys):
    target = tmp_path / "page.html"
    target.write_text("before")
    with Store(made) as store:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", full)
            with pytest.raises(pages.PrivRobustError, match=r"output: .* cannot be written"):
                write_report(store, target)
        assert target.read_text() == "before"
        assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
        write_report(store, target)
    assert target.read_text(encoding="utf-8").endswith("</html>")
    line = refused(monkeypatch, capsys, made, "-o", tmp_path / "nowhere" / "page.html")
    assert "No such file or directory" in line
    assert "is the store" in refused(monkeypatch, capsys, made, "-o", made)


def full(path, target):
    raise OSError(28, "No space left on device")


def test_missing_packages_are_told(made, monkeypatch, capsys, tmp_path):
    pages._library.cache_clear()
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    line = refused(monkeypatch, capsys, made, "-o", tmp_path / "page.html")
    assert "pip install 'privrobust[report]'" in line


@pytest.mark.parametrize(
    ("steps", "told"), [([1, 1], ""), ([1, 5], "; 1 and 5 local steps a message")]
)
def test_the_overview_tells_local_steps_where_there_are_some(steps, told):
    runs = frame(*(({"local_steps": each, "seed": seed}, 0.9) for seed, each in enumerate(steps)))
    sentence = dict(overview(runs))["Training"]
    assert sentence == f"300 steps of learning rate 0.5, batches of 32 examples expected{told}"
