"""The table of best rates: what a sweep chooses, by clean accuracy or by the worst case."""

import numpy as np
import pytest
from made_runs import row, stored

from privrobust.reporting.tables import PRESETS
from privrobust.sweeps.grid import Sweep
from privrobust.sweeps.tuning import candidates, choose

RATES = [0.1, 0.3, 1.0]


def sweep_of(by, byzantine):
    return Sweep.from_settings(
        {
            "honest": 10,
            "clip_norm": 1.0,
            "grid": {
                "aggregator": ["median", "mean"],
                "noise_scale": [0.03, 0.1],
                "byzantine": byzantine,
                "attack": ["sign_flip", "alie"],
            },
            "tune": {"learning_rate": RATES, "by": by, "seeds": [5, 6, 7]},
        }
    )


def tried(sweep, accuracy):
    """Runs of every candidate, on validation data, as a store gives them."""
    fields = [run.model_dump() | {"attack": run.attack} for run in candidates(sweep)]
    return stored([row(accuracy[each.key], **given) for each, given in
                   zip(candidates(sweep), fields, strict=True)])  # fmt: skip


def cells(layout):
    heads = [" ".join(column.header) for column in layout.columns]
    return [
        dict(zip(heads, (entry.text for entry in line), strict=True))
        for block in layout.blocks
        for line in block
    ]


@pytest.mark.parametrize("by", ["worst", "clean"])
@pytest.mark.parametrize("byzantine", [[0, 2], [1, 2]])
@pytest.mark.parametrize("seed", range(5))
def test_the_best_rate_is_the_one_that_the_sweep_chooses(by, byzantine, seed):
    """Whether or not the sweep has clean runs, which it tries all the same `by: clean`."""
    draw = np.random.default_rng(seed)
    sweep = sweep_of(by, byzantine)
    accuracy = {run.key: draw.uniform() for run in candidates(sweep)}
    chosen = {
        (run.aggregator, f"{run.noise_scale:g}"): run.learning_rate
        for run in choose(sweep, accuracy)
    }
    found = cells(PRESETS["tuning"](tried(sweep, accuracy)))
    told = {
        (line["aggregator"], line["noise_scale"]): float(line["best rate"].removesuffix(" (edge)"))
        for line in found
    }
    assert told == chosen
    for line in found:
        rate = float(line["best rate"].removesuffix(" (edge)"))
        assert line["best rate"].endswith(" (edge)") == (rate in (RATES[0], RATES[-1]))
        assert line["tried"] == "0.1 to 1 (3)"


def test_a_row_says_under_which_attack_it_is_least():
    sweep = sweep_of("worst", [2])
    accuracy = {
        run.key: run.learning_rate / 2 - (0.1 if run.attack.name == "alie" else 0.0)
        for run in candidates(sweep)
    }
    layout = PRESETS["tuning"](tried(sweep, accuracy))
    for line in cells(layout):
        assert (line["best rate"], line["worst"]) == ("1 (edge)", "40.0±0.0")
        assert line["under"] == "alie, f=2"
    assert any("least mean accuracy over all f and attacks" in note for note in layout.notes)
    clean = sweep_of("clean", [2])
    layout = PRESETS["tuning"](tried(clean, {run.key: 0.5 for run in candidates(clean)}))
    assert {"clean"} == {each for line in cells(layout) for each in line} & {"clean", "worst"}
    assert all(line["best rate"] == "0.1 (edge)" for line in cells(layout))  # of equals


def test_a_rate_that_failed_or_lacks_an_attack_is_not_the_best():
    def runs(rate, alie, flip):
        given = {"noise_scale": 0.1, "learning_rate": rate, "evaluate_on": "validation"}
        attacked = {"sign_flip": flip, "alie": alie}
        return [
            row(accuracy, byzantine=2, attack=attack, seed=seed, **given)
            for attack, accuracy in attacked.items() if accuracy != "none"
            for seed in range(2)
        ]  # fmt: skip

    rows = [*runs(0.1, 0.5, 0.6), *runs(0.3, 0.9, None), *runs(1.0, 0.99, "none")]
    layout = PRESETS["tuning"](stored(rows))
    (line,) = cells(layout)
    assert line["best rate"] == "0.1 (edge)"
    assert line["tried"] == "0.1 to 0.3 (2)"
    assert any(note.startswith("1 rates that lack") for note in layout.notes)
    layout = PRESETS["tuning"](stored([*runs(0.1, None, 0.6), *runs(0.3, 0.9, None)]))
    (line,) = cells(layout)
    assert (line["best rate"], line["worst"], line["under"]) == ("failed", "", "")


def test_rates_that_met_other_attacks_are_not_compared():
    """As many of them: by their means the rate of the weaker attack would be the best."""
    spec = {"byzantine": 2, "evaluate_on": "validation"}
    runs = [
        row(0.8, learning_rate=0.1, attack="sign_flip", **spec),
        row(0.3, learning_rate=1.0, attack="alie", **spec),
    ]
    layout = PRESETS["tuning"](stored(runs))
    assert [line["best rate"] for line in cells(layout)] == ["?"]
    assert "2 rates that lack some f or attack are not compared; ?: none has all." in layout.notes
    runs.append(row(0.2, learning_rate=0.1, attack="alie", **spec))
    layout = PRESETS["tuning"](stored(runs))
    assert [line["best rate"] for line in cells(layout)] == ["0.1"]
