"""The claim that noise opens rules to backdoors is judged by seeds that did not suggest it."""

from pathlib import Path

import pandas as pd
import pytest
from frames import frame
from study import backdoors
from study.verdicts import FAILS, HOLDS, UNDECIDED

from privrobust.sweeps.loading import load_sweep

SWEEP = Path(__file__).parent.parent / "experiments" / "backdoors.yaml"
ATTACKED = [(0, None), *((2, attack) for attack in (backdoors._CONTROL, *backdoors._TRIGGERS))]


def runs_of(seeds, opened):
    """Make runs of seeds, in which noise lets a trigger in or not."""
    rows, won = [], []
    for seed in seeds:
        for clip_norm, b in ((None, 0.0), (1.0, 0.0), (1.0, 0.1)):
            for f, attack in ATTACKED:
                settings = {
                    "aggregator": "median", "honest": 15 - f, "byzantine": f, "attack": attack,
                    "clip_norm": clip_norm, "noise_scale": b, "seed": seed,
                }  # fmt: skip
                rows.append((settings, 0.9))
                is_open = opened and b and attack in backdoors._TRIGGERS
                won.append((0.8 if is_open else 0.0) + 0.001 * seed * bool(f))
    return frame(*rows).assign(attack_success_rate=won)


@pytest.mark.parametrize(
    ("first", "fresh", "outcome"),
    [(True, False, FAILS), (False, True, HOLDS), (True, None, UNDECIDED)],
)
def test_only_fresh_seeds_judge_what_opens(first, fresh, outcome):
    suggested = runs_of(range(5), first)
    runs = suggested
    if fresh is not None:
        runs = pd.concat([suggested, runs_of(range(5, 10), fresh)], ignore_index=True)
    found = backdoors.claims(runs)
    assert [each.outcome for each in found if "opens it" in each.claim] == [outcome] * 2
    others = [each for each in found if "opens it" not in each.claim]
    before = [each for each in backdoors.claims(suggested) if "opens it" not in each.claim]
    assert others == before
    assert backdoors.table(runs) == backdoors.table(suggested)
    assert set(backdoors.cells(runs)["seeds"]) == {5}


def test_the_sweep_runs_fresh_seeds_where_they_judge():
    """All that the claim needs of every rule, b and f; and nothing of first seeds is left out."""
    runs = pd.DataFrame(load_sweep(SWEEP).combinations())
    fresh = runs[runs["seed"] >= backdoors._SUGGESTED]
    assert set(fresh["clip_norm"]) == {1.0}
    assert set(fresh["byzantine"]) == {2, 4}
    assert len(fresh) == 5 * 4 * 5 * 2 * 3
    assert len(runs) - len(fresh) == 5 * 4 * 6 * 3 * 5
