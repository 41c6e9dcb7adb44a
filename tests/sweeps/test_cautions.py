"""What is almost surely a mistake is warned of, in one line, and nothing that we ship is."""

import math
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from privrobust import RunSpec, train
from privrobust.data import get_dataset
from privrobust.errors import PrivRobustWarning, SpecError
from privrobust.sweeps import Sweep, load_sweep
from privrobust.sweeps.cautions import warn_of_idle, warn_of_noise
from privrobust.sweeps.planning import planned
from privrobust.sweeps.runner import check
from privrobust.training.privacy_plan import PrivacyPlan

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def told(warn, *given):
    """What is warned of, a line each."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", PrivRobustWarning)
        warn(*given)
    lines = [str(each.message) for each in seen]
    assert all(len(line.splitlines()) == 1 for line in lines)
    return lines


def of_noise(*runs):
    return told(warn_of_noise, [PrivacyPlan(run) for run in runs])


@pytest.mark.parametrize(("honest", "steps", "clip_norm"), [(3, 50, 1.0), (10, 300, 0.1)])
def test_noise_is_warned_of_from_c_sqrt_h_t_on(honest, steps, clip_norm):
    edge = clip_norm * math.sqrt(honest * steps)
    settings = {"honest": honest, "steps": steps, "clip_norm": clip_norm}
    assert not of_noise(RunSpec(noise_scale=0.99 * edge, **settings))
    (line,) = of_noise(RunSpec(noise_scale=1.01 * edge, **settings))
    assert line.startswith("noise_scale: b = ")


def test_all_steps_add_up_as_the_bound_says():
    """Signals of norm C in one direction and noise on them, added up, against the criterion."""
    random, h, steps, runs = np.random.default_rng(0), 4, 25, 4000
    b = math.sqrt(h * steps)  # of C = 1: the edge
    sums = (1 + b * random.standard_normal((runs, steps, h))).mean(-1).sum(-1)
    assert sums.mean() / sums.std() == pytest.approx(1, abs=0.1)  # 0.1 is 5 deviations


def test_a_run_that_is_warned_of_learns_nothing():
    settings = {"honest": 3, "steps": 50, "clip_norm": 1.0, "aggregator": "mean"}
    noise = 5 * math.sqrt(150)
    runs = [RunSpec(noise_scale=noise, seed=seed, **settings) for seed in range(3)]
    assert of_noise(*runs)
    assert np.mean([train(run).accuracy for run in runs]) < 0.3  # chance is 0.1
    assert train(RunSpec(**settings)).accuracy > 0.6


def test_a_target_that_nothing_can_be_learnt_with_is_one_line_for_all_its_runs():
    runs = [
        RunSpec(target_epsilon=target, clip_norm=1.0, seed=seed)
        for target in (1e-7, 1e-6, 1)
        for seed in (0, 1)
    ]
    (line,) = told(check, runs)
    assert line.startswith("target_epsilon: 1e-07 takes b = ")
    assert "one of 2 such settings" in line  # 1 is none, and seeds are no settings
    assert "accepted: a larger target_epsilon" in line


def of_idle(tmp_path, text, base=None):
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    if base is not None:
        (tmp_path / "base.yaml").write_text(base)
    sweep = load_sweep(path)
    return told(warn_of_idle, sweep, planned(sweep), path)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("attack: alie", "attack: does nothing in any run; accepted: with byzantine: 1 or more"),
        ("grid: {attack: [alie, mimic]}", "attack: does nothing"),
        ("colluding: 3", "colluding: does nothing in any run; accepted: with a pairwise_noise"),
        ("local_learning_rate: 0.1", "local_learning_rate: does nothing in any run"),
        ("attack: alie\ngrid: {byzantine: [0, 1]}", None),
        ("colluding: 3\npairwise_noise: 1\nnoise_scale: 1", None),
        ("local_learning_rate: 0.1\nlocal_steps: 2", None),
        ("steps: 5", None),
    ],
)
def test_fields_that_do_nothing_are_warned_of_with_their_place(tmp_path, text, line):
    found = of_idle(tmp_path, text)
    if line is None:
        assert found == []
    else:
        (one,) = found
        assert one.startswith(f"{tmp_path / 'sweep.yaml'}, line 1: {line}")


def test_what_a_base_sets_for_others_is_no_mistake(tmp_path):
    assert of_idle(tmp_path, "extends: base.yaml", "attack: alie") == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", sorted({each.stem for each in EXPERIMENTS.glob("*.yaml")} - {"digits"})
)  # which is what others extend
def test_no_experiment_that_we_ship_is_warned_of(name):
    path = EXPERIMENTS / f"{name}.yaml"
    sweep = load_sweep(path)
    runs = planned(sweep)
    assert told(warn_of_idle, sweep, runs, path) == []
    for of_a_kind in ({run.noise: run for run in runs}, {run.unit: run for run in runs}):
        assert of_noise(*of_a_kind.values()) == []
    least = min(runs, key=lambda run: (run.target_epsilon or math.inf, -run.noise_scale))
    assert of_noise(least) == []


def table(folder, **columns):
    path = folder / "people.csv"
    pd.DataFrame({**columns, "y": [0, 1] * (len(next(iter(columns.values()))) // 2)}).to_csv(
        path, index=False
    )
    return f"table(path='{path}', label='y')"


@pytest.mark.parametrize(
    ("sizes", "column"),
    [
        ((1, 1), None),
        ((1, 30), None),
        ((1, 100), "b"),
        ((2e4, 40), "a"),
        ((200, 200), None),  # alike, as pixels are
        ((0.005, 0.01), "b"),
        ((0.1, 1), None),
    ],
)
def test_features_that_no_step_fits_are_warned_of(tmp_path, sizes, column):
    random = np.random.default_rng(0)
    a, b = (size * random.normal(size=400) for size in sizes)
    found = told(get_dataset, table(tmp_path, a=a, b=b))
    assert len(found) == (column is not None)
    for line in found:
        assert f"column '{column}' of " in line
        assert "scaling='standard'" in line


def test_what_is_warned_of_trains_to_chance_and_its_remedy_does_not(tmp_path):
    random = np.random.default_rng(0)
    signal = random.normal(size=400) + 3 * (np.arange(400) % 2)
    raw = table(tmp_path, age=signal + 40, income=5e4 + 2e4 * random.normal(size=400))
    scaled = raw.replace(")", ", scaling='standard')")
    assert told(get_dataset, raw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrivRobustWarning)
        of = {
            name: train(RunSpec(dataset=name, honest=3, steps=100, clip_norm=1.0)).accuracy
            for name in (raw, scaled)
        }
    assert of[raw] < 0.7
    assert of[scaled] > 0.85


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"byzantine": 1, "attack": "backdoor(target=10)"}, "Backdoor.target: 10 of 10 classes"),
        ({"aggregator": "fltrust(examples=5000)"}, "wants 5000 public examples; accepted: 1 to 1"),
    ],
)
def test_parameters_that_do_not_fit_the_data_are_refused_before_training(settings, message):
    with pytest.raises(SpecError, match=message):
        check(Sweep.from_settings({"honest": 5, **settings}).runs())
