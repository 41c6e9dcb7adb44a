import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from privrobust import RunSpec
from privrobust.errors import SpecError
from privrobust.grid import expand, load_runs


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"nois_scale": 1}, r"field: unknown name 'nois_scale'; did you mean 'noise_scale'\?"),
        ({"dataset": "minst"}, r"dataset: unknown name 'minst'; did you mean 'mnist'\? .*digits"),
        ({"aggregator": "medain"}, r"'medain'; did you mean 'median'\?"),
        ({"attack": "alei"}, r"'alei'; did you mean 'alie'\?"),
        ({"attack": "alei", "byzantine": 1}, r"'alei'; did you mean 'alie'\?"),
        ({"attack": {"name": "alie", "q": 1}, "byzantine": 1}, "alie has no parameter 'q'"),
        ({"accountant": "pdl"}, r"accountant: unknown name 'pdl'; did you mean 'pld'\?"),
        ({"byzantine": 2}, "attack: needed when byzantine is 2"),
        ({"noise_scale": -0.1}, "noise_scale: -0.1 is not accepted: .* 0"),
        ({"noise_scale": math.nan}, "noise_scale: nan is not accepted: .*finite"),
        ({"noise_scale": math.inf}, "noise_scale: inf is not accepted: .*finite"),
        ({"clip_norm": 0}, "clip_norm: 0 is not accepted: .*greater than 0"),
        ({"clip_norm": 1, "grad_norm_bound": 1}, "clip_norm, grad_norm_bound: give one of them"),
        ({"heterogeneity": 1.1}, "heterogeneity: 1.1 is not accepted: .*less than or equal to 1"),
        ({"clip_norm": 1e-50}, "clip_norm: 1e-50 is not accepted"),
        ({"noise_scale": 1e-50}, "noise_scale: 1e-50 is not accepted: 1e-30 to"),
        ({"noise_scale": 1e39}, "noise_scale: 1e\\+39 is not accepted"),
        ({"honest": 10**30}, "honest: 1000000000000000000000000000000 is not accepted"),
        ({"workers": -3}, "workers: -3 .* at least one worker"),
        ({"workers": True}, "workers: True"),
        ({"attack": {"name": "alie", "parameters": {}, "z": 1}}, r"attack\.z: 1 is not accepted"),
        ({"steps": 0}, "steps: 0 is not accepted"),
        ({"steps": 1.5}, "steps: 1.5 is not accepted"),
        ({"learning_rate": "fast"}, "learning_rate: 'fast' is not accepted"),
        ({"momentum": 1.0}, "momentum: 1.0 is not accepted"),
        ({"delta": 0}, "delta: 0 is not accepted"),
        ({"seed": -1}, "seed: -1 is not accepted"),
        ({"honest": 0}, "honest: 0 is not accepted"),
        ({"workers": 5, "byzantine": 5, "attack": "alie"}, "byzantine: 5 of 5 workers; .* 0 to 4"),
        ({"workers": 5, "honest": 5}, "workers, honest: give one of them"),
        ({"workers": "five"}, "workers: 'five' .*give whole numbers"),
        (
            {"aggregator": "mean", "byzantine": 9, "honest": 2, "attack": "alie"},
            "z is not defined for 9 Byzantine of 11",
        ),
    ],
)
def test_bad_settings_get_one_line(settings, message):
    with pytest.raises(SpecError, match=message) as raised:
        RunSpec(**settings)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"attack": "gaussian", "honest": 41},
        {"attack": "zero", "aggregator": "bucketing + median", "honest": 42},
        {"attack": "line_search(against='bucketing + mean')", "honest": 43},
    ],
)
def test_a_spec_leaves_torchs_own_generator_alone(settings):
    state = torch.get_rng_state()
    RunSpec(**settings, byzantine=3)
    assert torch.equal(torch.get_rng_state(), state)


def test_one_run_has_one_folder():
    with pytest.raises(SpecError, match="data_dir: 'a' and 'b' for one run; accepted: one folder"):
        expand({"grid": {"data_dir": ["a", "b"]}})


def test_workers_counts_everyone():
    spec = RunSpec(workers=15, byzantine=5, attack="sign_flip")
    assert (spec.honest, spec.byzantine, spec.workers) == (10, 5, 15)
    assert spec == RunSpec(honest=10, byzantine=5, attack="sign_flip")


def test_keys_tell_runs_apart_and_nothing_else():
    base = RunSpec()
    assert base.key == RunSpec(attack="alie").key == RunSpec(noise_scale="0.0").key
    changes = [{"seed": 1}, {"noise_scale": 1e-9}, {"clip_norm": 1}, {"grad_norm_bound": 1}]
    attacks = ["alie", {"name": "alie", "z": 1.0}, "sign_flip"]
    changes += [{"byzantine": 1, "attack": attack} for attack in attacks]
    keys = {RunSpec(**change).key for change in changes} | {base.key}
    assert len(keys) == len(changes) + 1


def test_a_spec_survives_its_own_json():
    spec = RunSpec(byzantine=1, attack={"name": "alie", "z": 1.5}, clip_norm=1.0)
    assert RunSpec(**spec.model_dump(mode="json")) == spec


def test_a_grid_is_every_combination_without_repeats():
    runs = expand(
        {
            "steps": 5,
            "cases": [{"aggregator": "mean"}, {"aggregator": "median", "learning_rate": 0.1}],
            "grid": {"byzantine": [0, 2], "attack": ["alie", "sign_flip"], "seed": [0, 1]},
        }
    )
    assert len(runs) == 2 * (1 + 2) * 2  # without a Byzantine worker the attack is irrelevant
    assert {(run.aggregator, run.learning_rate) for run in runs} == {("mean", 0.5), ("median", 0.1)}
    assert {run.steps for run in runs} == {5}


def test_a_sweep_without_a_grid_is_one_run():
    assert expand({"seed": 3}) == [RunSpec(seed=3)]


@given(st.lists(st.sampled_from([0.0, 0.1, 0.2]), min_size=1), st.integers(1, 4))
def test_the_number_of_runs(scales, seeds):
    grid = {"noise_scale": scales, "seed": list(range(seeds))}
    assert len(expand({"grid": grid})) == len(set(scales)) * seeds


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"grid": {}}, "grid: {} is not accepted"),
        ({"grid": None}, "grid: None is not accepted"),
        ({"grid": {"noise_scale": []}}, r"grid.noise_scale: \[\] is not accepted"),
        ({"grid": {"noise_scale": 0.1}}, "grid.noise_scale: 0.1 is not accepted"),
        ({"cases": ["mean"]}, "cases: 'mean' is not accepted"),
        ({"cases": []}, r"cases: \[\] is not accepted"),
        ({"seed": 0, "grid": {"seed": [1]}}, "seed: set in fixed and in grid"),
        ({"cases": [{"seed": 0}], "grid": {"seed": [1]}}, "seed: set in cases and in grid"),
        ({"sed": 0, "cases": [{}]}, "unknown name 'sed'"),
    ],
)
def test_bad_sweeps_get_one_line(settings, message):
    with pytest.raises(SpecError, match=message) as raised:
        expand(settings)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grid: [1", "is not valid YAML"),
        ("", "sweep: None is not accepted"),
        ("- 1", r"sweep: \[1\] is not accepted"),
        ("7: 1", "7 is not the name of a field"),
        ("seed: 2020-13-45", "is not valid YAML"),
        ("seed: 1\nseed: 2", "'seed' is given twice"),
        ("grid: {7: [1]}", "7 is not the name of a field"),
        ("cases: [{7: 1}]", "7 is not the name of a field"),
    ],
)
def test_bad_files_get_one_line(tmp_path, text, message):
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match=message) as raised:
        load_runs(path)
    assert "\n" not in str(raised.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(SpecError, match="cannot be read"):
        load_runs(tmp_path / "none.yaml")
