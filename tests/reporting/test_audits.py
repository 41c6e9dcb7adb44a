"""What tables and figures say of audits, whatever was found."""

import math
from dataclasses import replace
from fractions import Fraction

import pytest

from privrobust import RunSpec
from privrobust.audit import AuditResult, Detections, clopper_pearson_bound
from privrobust.reporting.audits import audit_frame, laid_out
from privrobust.reporting.figures import save_figure
from privrobust.reporting.figures.audits import audits_figure
from privrobust.reporting.tables import FORMATS

ABOUT = ("rows", "is_estimate", "counterexample")
BOUND = clopper_pearson_bound(Detections(500, 400, 500, 10), 1e-5)


def made(found=1.0, claimed=2.0, p_value=1.0, observer="messages", assumed=("one",), **fields):
    about = {name: fields.pop(name) for name in ABOUT if name in fields}
    settings = {"noise_scale": 0.1, "clip_norm": 1.0} | fields
    return AuditResult(
        rule=fields.get("aggregator", "median"),
        epsilon_lower_bound=found,
        epsilon_if_gaussian=found * 1.5,
        claimed=claimed,
        delta=1e-5,
        p_value=p_value,
        confidence=0.9,
        attack="likelihood ratio",
        observer=observer,
        canaries="coordinate",
        helpers=2,
        spec=RunSpec(**settings),
        accountant="pld",
        adjacency="zero-out",
        runs=1000,
        per_run=1,
        assumed=assumed,
        bound=BOUND,
        **about,
    )


def rows(*results):
    layout = laid_out(results)
    heads = [" ".join(column.header) for column in layout.columns]
    return [
        dict(zip(heads, (entry.text for entry in row), strict=True))
        for block in layout.blocks
        for row in block
    ]


@pytest.mark.parametrize("value", [0.0123456, 1 / 3, 1.99999999, 6.7309, 123.45678, 1e-9])
def test_nothing_is_overstated(value):
    (row,) = rows(made(found=value, claimed=value, p_value=min(1.0, value)))
    slack = 1 + Fraction(1, 10**12)  # of a double's own rounding
    assert Fraction(row["found"]) <= Fraction(value) * slack
    assert Fraction(value) <= Fraction(row["claimed"]) * slack
    assert Fraction(row["if Gaussian"]) <= Fraction(1.5 * value) * slack
    assert Fraction(row["p"]) * slack >= Fraction(min(1.0, value))
    assert float(row["claimed"]) - float(row["found"]) <= 2e-3 * value


def test_a_share_is_rounded_down():
    assert rows(made(1.9999, 2.0))[0]["share"] == "99 %"
    assert rows(made(3.0, 2.0))[0]["share"] == "150 %"
    assert rows(made(1.0, 0.0))[0]["share"] == "∞"
    assert rows(made(0.0, 0.0))[0]["share"] == "0 %"


@pytest.mark.parametrize(
    ("result", "word"),
    [
        (made(1.0, 2.0), "stands"),
        (made(2.1, 2.0), "refuted"),
        (made(1.0, 2.0, p_value=0.09), "refuted"),  # confidence is 0.9
        (made(1.0, 2.0, p_value=0.11), "stands"),
        (made(50.0, math.inf, noise_scale=0.0), "no claim"),
        (made(50.0, math.inf, noise_scale=0.0, counterexample="one"), "no claim"),
        (made(1.0, 2.0, counterexample="one"), "refuted"),
        (made(2.1, 2.0, is_estimate=True), "estimate too low"),
        (made(1.0, 2.0, is_estimate=True), "stands"),
        (made(1.0, 2.0, is_estimate=True, counterexample="one"), "refuted"),
    ],
)
def test_verdicts(result, word):
    (row,) = rows(result)
    assert row["verdict"] == word
    assert result.is_refuted == (word in ("refuted", "estimate too low"))


def test_an_infinite_claim_comes_with_its_reason():
    results = [made(1.0, math.inf, noise_scale=0.0), made(), made(5.0, math.inf, clip_norm=None)]
    assert [row["claimed"] for row in rows(*results)] == ["∞¹", "2", "∞²"]
    assert [row["share"] for row in rows(*results)] == ["-", "50 %", "-"]
    notes = laid_out(results).notes
    assert "¹ not private: no noise (b = 0)." in notes
    assert [note[0] for note in notes if "not private" in note] == ["¹", "²"]


def test_columns_tell_runs_apart():
    alike = rows(made(), made(observer="model"))
    assert list(alike[0])[:4] == ["method", "canaries", "observer", "helpers"]
    apart = rows(made(aggregator="krum"), made(noise_scale=0.3), made(honest=12, seed=5))
    assert list(apart[0])[:4] == ["method", "honest", "b", "canaries"]
    assert [row["b"] for row in apart] == ["0.1", "0.3", "0.1"]


def test_confidence_and_assumptions_are_said_once():
    results = [
        made(assumed=("this", "that"), rows=2),
        made(assumed=("this", "more"), aggregator="krum", rows=2),
    ]
    notes = laid_out(results).notes
    assert sum("hold together with confidence 90 %" in note for note in notes) == 1
    assert any("all 2 rows" in note for note in notes)
    assert any(note.endswith("Assumed: this; that; more.") for note in notes)
    assert any("proves nothing" in note for note in notes)


@pytest.mark.parametrize(
    ("results", "confidence"),
    [
        ([made(), made(seed=1)], "80 %"),  # two audits of a row each, at 90 %
        ([made(rows=3), made(rows=3, seed=1)], "93.3333 %"),
        ([made(seed=seed) for seed in range(11)], "0 %"),
    ],
)
def test_what_rows_of_several_audits_leave_to_chance_adds_up(results, confidence):
    (note,) = [each for each in laid_out(results).notes if "hold together" in each]
    assert note.startswith("Rows are of several audits, or some of those of one")
    assert note.endswith(f"all {len(results)} hold together with confidence {confidence}.")


def test_counterexamples_are_told():
    notes = laid_out([made(counterexample="an example moved", rows=1)]).notes
    assert "Seen, without any chance: an example moved." in notes


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_has_the_verdict(form):
    assert "refuted" in FORMATS[form](laid_out([made(3.0)]))


def test_a_frame_has_all_digits():
    frame = audit_frame([made(1 / 3), made(0.0, math.inf, noise_scale=0.0)])
    assert list(frame["epsilon_lower_bound"]) == [1 / 3, 0.0]
    assert list(frame["claimed"]) == [2.0, math.inf]
    assert list(frame["noise_scale"]) == ["0.1", "0"]
    assert list(frame["is_refuted"]) == [False, False]
    assert list(frame["ratio"]) == [1 / 6, 0.0]


def marks(figure, label):
    """Where the marks of a colour and shape of the legend are, on the axis."""
    (named,) = (line for line in figure.legends[0].legend_handles if line.get_label() == label)
    look = (named.get_marker(), named.get_color(), named.get_markerfacecolor())
    return [
        float(line.get_xdata()[0])
        for line in figure.axes[0].lines
        if (line.get_marker(), line.get_color(), line.get_markerfacecolor()) == look
    ]


def test_the_figure_has_what_was_found_and_claimed():
    figure = audits_figure(
        [made(0.5, 2.0, rows=2), made(4.0, 3.0, observer="model", aggregator="krum", rows=2)]
    )
    assert marks(figure, "found in messages") == [0.5]
    assert marks(figure, "found in model") == [4.0]
    assert marks(figure, "claimed") == [2.0, 3.0]
    assert marks(figure, "refuted") == [3.0]
    panel = figure.axes[0]
    assert [each.get_text() for each in panel.get_yticklabels()] == ["median", "krum"]
    assert "confidence 90 %" in figure.get_supxlabel().replace("\n", " ")


def test_nothing_found_and_nothing_claimed_stand_apart():
    figure = audits_figure([made(0.0), made(1.0, math.inf, noise_scale=0.0)])
    panel = figure.axes[0]
    assert marks(figure, "claimed") == [2.0]
    assert [text.get_text() for text in panel.texts] == ["∞"]
    low, high = panel.get_xlim()
    assert low < marks(figure, "found in messages")[0] < 1.0
    assert high > 2.0
    assert "refuted" not in [each.get_text() for each in figure.legends[0].texts]


def test_a_figure_of_hundreds_draws_the_first_and_says_so():
    figure = audits_figure([made(seed=seed, honest=10 + seed) for seed in range(61)])
    assert len(marks(figure, "found in messages")) == 60
    assert "Left out: 1 of 61 rows." in figure.get_supxlabel()


@pytest.mark.parametrize(
    ("ending", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?")]
)
def test_figures_become_files(ending, start, tmp_path):
    path = tmp_path / f"figure.{ending}"
    save_figure(audits_figure([made(), made(byzantine=1, attack="alie")]), path)
    assert path.read_bytes().startswith(start)


def test_claims_say_whose_they_are():
    signs = replace(made(aggregator="majority_vote"), accountant="sign")
    (note,) = [each for each in laid_out([made(), signs]).notes if each.startswith("claimed")]
    assert "by pld for median, sign for majority_vote; one example's" in note
    assert "by pld; " in laid_out([made(), made(aggregator="mean")]).notes[0]
