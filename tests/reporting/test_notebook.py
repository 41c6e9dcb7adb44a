"""What notebooks show: tables that say what epsilon promises, whatever text is in them."""

import math
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_runs import HOSTILE, RUNS

from privrobust import RunResult, RunSpec, train
from privrobust.accountants import Release, Spent
from privrobust.audit import AuditResult, Detections, clopper_pearson_bound
from privrobust.core.displayed import Displayed
from privrobust.data import Dataset
from privrobust.errors import SpecError
from privrobust.federated import Ledger, PrivateUpdates, UpdatePrivacy
from privrobust.reporting.budgets import compute
from privrobust.reporting.card import Card, Fact, spark_line
from privrobust.reporting.legend import promise
from privrobust.reporting.notebook import html
from privrobust.reporting.tables import lay_out
from privrobust.store import Store

USED = {
    "div", "strong", "table", "tr", "th", "td", "svg", "title", "path", "caption", "thead",
    "tbody", "br",
}  # fmt: skip


class Read(HTMLParser):
    """The tags of a piece of HTML, and what is read of it."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.words, self.open = set(), set(), [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}
        if tag not in ("br", "path"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("br", "path"):
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def read(shown):
    """Read what a notebook shows, which no text of anybody's may change."""
    found = Read(shown._repr_html_() if isinstance(shown, Displayed) else shown)
    assert found.tags <= USED
    assert not found.open
    assert not [name for name in found.attributes if name.startswith("on")]
    return found


SPEC = RunSpec(steps=30, noise_scale=0.1, clip_norm=1.0, byzantine=2, attack="alie(z=1.5)")


@pytest.fixture(scope="module")
def result():
    return train(SPEC)


def test_a_result_says_how_good_it_is_and_what_epsilon_promises(result):
    assert f"{100 * result.accuracy:.1f}&nbsp;% on test data" in result._repr_html_()
    text = read(result).text
    printed = float(re.search(r"epsilon ([\d.]+) at delta", text).group(1))
    assert 0 <= printed - result.epsilon < 0.01
    row = pd.DataFrame([{
        **SPEC.model_dump(), "attack": "alie(z=1.5)", "epsilon": result.epsilon,
        "accountant_used": "pld", "is_upper_bound": True,
    }])  # fmt: skip
    for line in promise(row):
        assert line.removeprefix("epsilon: ") in text
    assert "zero-out" in text
    settings = ", ".join(f"{name} {value:g}" if name != "attack" else f"{name} {value}"
                         for name, value in SPEC.changed.items())  # fmt: skip
    assert settings in text
    assert "byzantine 2, attack alie(z=1.5), noise_scale 0.1, clip_norm 1, steps 30" in text
    assert "mean of the last 3 evaluations" in text


def test_settings_have_the_names_of_a_sweep_and_defaults_are_told():
    assert "clip_norm 1" in read(SPEC).text
    assert "all other fields have their defaults" in read(SPEC).text
    assert read(RunSpec()).text.endswith(" all fields have their defaults")


def test_an_epsilon_is_rounded_up_and_an_estimate_marked(result):
    spent = Spent(1.2301, 1e-5, "gdp", is_upper_bound=False)
    guessed = replace(result, spent=spent)
    assert "epsilon ~1.24" in read(guessed).text
    assert "ESTIMATE" in read(guessed).text
    assert "epsilon ~1.24" in repr(guessed)
    exact = replace(result, spent=replace(spent, is_upper_bound=True))
    assert "epsilon 1.24," in repr(exact)


def test_what_is_not_private_failed_or_diverged_says_so(result):
    nothing = Spent(math.inf, 1e-5, "pld", is_upper_bound=True, reason="no noise (b = 0)")
    open_to_all = replace(result, spent=nothing)
    assert "epsilon ∞, not private: no noise (b = 0)" in read(open_to_all).text
    assert "epsilon ∞" in repr(open_to_all)
    failed = replace(result, failure=HOSTILE)
    assert "failed" in repr(failed)
    assert "accuracy" not in repr(failed)
    assert "document.title" in read(failed).text  # as text
    lost = replace(result, history=result.history.assign(loss=math.nan))
    assert repr(lost).endswith("30 steps, diverged>")
    assert "diverged" in read(lost).text
    assert len(repr(failed)) < 200


def test_a_path_is_text(tmp_path):
    path = "<script>alert(1)</script>.csv"
    inputs, labels = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60) % 2
    table = pd.DataFrame(inputs, columns=["a", "b"]).assign(label=labels)
    table.to_csv(tmp_path / "s.csv", index=False)
    data = Dataset.from_tensors(path, inputs.astype(np.float32), labels)
    assert path in read(data).text
    spec = SPEC.model_construct(**{**dict(SPEC), "dataset": f"table(path='{path}')"})
    assert path in read(spec).text


def test_every_kind_is_shown(tmp_path, result):
    release = Release(noise_scale=0.1, clip_norm=1.0, batch_size=32, dataset_size=95, steps=300)
    assert "epsilon 9.31" in read(release).text  # science: 9.306 by pld
    assert "zero-out" in read(release).text
    logistic = replace(release, noise="logistic", adjacency="replace-one")
    assert "does not support" in read(logistic).text
    with Store(tmp_path / "results.db") as store:
        store.add([result])
        assert "done 1 run running 0 runs failed 0 runs" in read(store).text
    (tmp_path / "results.db").unlink()
    assert "does not answer" in read(store).text
    with Ledger(tmp_path / "ledger.db", "<b>ward</b>", max_epsilon=3) as ledger:
        ledger.charge(Release(noise_scale=2.0, clip_norm=1.0, unit="worker", steps=1))
        assert "<b>ward</b> spent epsilon 2.00 of at most 3" in read(ledger).text
    updates = PrivateUpdates(UpdatePrivacy(clip_norm=1.0, noise_scale=2.0))
    updates.message(torch.zeros(5))
    assert "1 message" in read(updates).text
    settings = {"noise_scale": [0.1], "clip_norm": [1.0], "batch_size": [32.0],
                "dataset_size": [95], "steps": [300], "sampling": ["poisson"]}  # fmt: skip
    budgets = compute(settings, {"delta": 1e-5, "accountants": ["pld"]})
    assert "9.306" in read(budgets).text
    assert repr(budgets) == "<Budgets 1 setting: pld>"
    layout = lay_out(RUNS)
    assert "majority_vote" not in repr(layout)
    assert "Accuracy in %" in read(layout).text


def test_an_audit_says_what_was_found_and_what_that_means():
    bound = clopper_pearson_bound(Detections(100, 90, 100, 0), 1e-5)
    audit = AuditResult(
        epsilon_lower_bound=bound.epsilon_lower_bound, epsilon_if_gaussian=3.0, claimed=9.306,
        delta=1e-5, p_value=1.0, confidence=0.95, attack="norm", observer="messages",
        canaries="spike", helpers=0, rule="median", accountant="pld", adjacency="zero-out",
        runs=200, per_run=1, assumed=("coins are fair",), bound=bound,
    )  # fmt: skip
    printed = float(re.search("epsilon at least ([\\d.]+),", repr(audit)).group(1))
    assert 0 <= bound.epsilon_lower_bound - printed < 0.01
    assert "9.31 claimed, seen by messages>" in repr(audit)
    text = read(audit).text
    assert "verdict stands" in text
    assert "No attack proves privacy" in text
    assert "refuted" in repr(replace(audit, p_value=1e-9))


def test_what_is_of_no_kind_is_an_error_of_ours_and_no_page():
    with pytest.raises(TypeError, match="nothing says how it is shown"):
        html(object())


@given(st.text(), st.text(), st.lists(st.tuples(st.text(), st.text()), max_size=4))
def test_a_card_is_whole_and_holds_its_texts_as_text(kind, name, facts):
    read(Card(kind, name, [Fact(*each) for each in facts]).html())


SHARES = st.one_of(st.floats(0, 1), st.just(math.nan), st.just(math.inf))


@given(st.lists(SHARES, max_size=30))
def test_a_line_has_a_place_for_each_finite_share_and_none_for_others(shares):
    line = spark_line(range(10, 10 + len(shares)), shares)
    finite = sum(map(math.isfinite, shares))
    if finite < 2:
        assert line == ""
        return
    found = read(line)
    path = line.split('<path d="')[2].split('"')[0]
    assert path.count("M") + path.count("L") == finite
    breaks = sum(
        math.isfinite(here) and not (place and math.isfinite(shares[place - 1]))
        for place, here in enumerate(shares)
    )
    assert path.count("M") == breaks
    assert "nan" not in path
    assert "0 to 100 %" in found.text


def test_a_result_draws_its_history(result):
    figure = result.plot()
    (panel,) = figure.axes
    (line,) = (each for each in panel.lines if len(each.get_xdata()))
    np.testing.assert_array_equal(line.get_xdata(), result.history["step"])
    np.testing.assert_allclose(line.get_ydata(), result.history["accuracy"])
    assert result.plot("kappa").axes[0].get_ylabel() == "kappa"
    with pytest.raises(SpecError, match="did you mean 'kappa'"):
        result.plot("kapa")


def test_a_figure_shows_itself_in_a_notebook(result):
    """Where pyplot was never imported nothing else would: the size is that of the page."""
    figure = result.plot()
    picture, said = figure._repr_png_()
    assert picture.startswith(b"\x89PNG")
    width = int.from_bytes(picture[16:20], "big")
    assert width == pytest.approx(2 * said["width"], abs=2)


def test_without_matplotlib_a_plot_says_what_to_install(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(SpecError, match=r"pip install 'privrobust\[plot\]'"):
        result.plot()


def test_a_result_is_one_of_the_public_names():
    assert issubclass(RunResult, Displayed)
