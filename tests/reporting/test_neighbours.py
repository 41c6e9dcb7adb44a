import math

import pandas as pd
import pytest

from privrobust import RunSpec, train
from privrobust.reporting.figures.notes import guarantee as small_print
from privrobust.reporting.legend import guarantee as legend
from privrobust.reporting.neighbours import adjacencies, all_in_short
from privrobust.reporting.report.words import guarantees
from privrobust.reporting.tables.cells import data
from privrobust.store import Store

ZEROED = "one example's contribution set to zero, n public (zero-out)"
REMOVED = "one example there or not, q public and fixed in advance (add-or-remove)"
WORKER = "one worker's contribution set to zero (zero-out)"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """A run of each kind: q from n, q of its own, and whole workers, where q is that of batches."""
    kinds = ({}, {"sampling_rate": 0.1}, {"unit": "worker", "sampling_rate": 0.1})
    specs = [
        RunSpec(honest=3, steps=2, noise_scale=0.3, clip_norm=1.0, evaluate_every=2, **kind)
        for kind in kinds
    ]
    with Store(tmp_path_factory.mktemp("store") / "results.db") as store:
        store.add([train(spec) for spec in specs])
        return store.runs([spec.key for spec in specs])


def test_neighbours_follow_from_what_q_follows_from(runs: pd.DataFrame) -> None:
    assert list(adjacencies(runs)) == ["zero-out", "add-or-remove", "zero-out"]
    assert all_in_short(runs) == f"{ZEROED}, or {REMOVED}, or {WORKER}"
    assert all_in_short(pd.concat([runs.iloc[:1]] * 2)) == ZEROED


def test_whatever_prints_an_epsilon_names_its_neighbours(runs: pd.DataFrame) -> None:
    for place in range(3):
        of_kind = runs.iloc[place : place + 1]
        for printed in (legend(of_kind), small_print(of_kind, of_kind)):
            text = " ".join(printed)
            told = [kind in text for kind in (ZEROED, REMOVED, WORKER)]
            assert told == [kind == place for kind in range(3)]
    sentences = list(guarantees(runs))
    assert len(sentences) == 3
    assert "there or not; q, the chance to join a batch, is public" in sentences[1]
    assert [sentence.count("(zero-out)") for sentence in sentences] == [1, 0, 1]


def test_data_names_the_neighbours_of_each_row(runs: pd.DataFrame) -> None:
    cells = data(runs)
    assert set(zip(cells["unit"], cells["adjacency"], strict=True)) == {
        ("example", "zero-out"),
        ("example", "add-or-remove"),
        ("worker", "zero-out"),
    }


def test_runs_without_an_epsilon_promise_nothing(runs: pd.DataFrame) -> None:
    none = runs.assign(epsilon=math.inf, not_private="no noise (b = 0)")
    assert not any("zero-out" in line for line in legend(none))


@pytest.mark.parametrize("sampling", ["shuffled", "fixed", "balls_in_bins"])
def test_whatever_prints_an_epsilon_says_how_batches_were_drawn(
    runs: pd.DataFrame, sampling: str
) -> None:
    """Where it matters: of examples, and where they are no Poisson samples."""
    word = f"{sampling.replace('_', ' ').capitalize()}: "
    drawn = runs.iloc[[0, 2]].assign(sampling=sampling)
    for place, is_said in ((0, True), (1, False)):
        of_kind = drawn.iloc[place : place + 1]
        for printed in (legend(of_kind), small_print(of_kind, of_kind), guarantees(of_kind)):
            assert (word in " ".join(printed)) == is_said
    for older in (runs, runs.assign(sampling=None)):
        assert word not in " ".join(legend(older))
