import copy
import math
import pickle

import pytest
import torch

from privrobust import RunSpec
from privrobust.errors import SpecError


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
        ({"clip_norm": 0}, "clip_norm: 0 is not accepted: above 0"),
        ({"clip_norm": 1, "grad_norm_bound": 1}, "clip_norm, grad_norm_bound: give one of them"),
        ({"target_epsilon": 0, "clip_norm": 1}, "target_epsilon: 0 is not accepted: above 0"),
        ({"target_epsilon": 2}, "target_epsilon: 2 needs a clip_norm or a grad_norm_bound"),
        (
            {"target_epsilon": 2, "clip_norm": 1, "noise_scale": 0.1},
            "target_epsilon, noise_scale: 2 and 0.1; give one of them",
        ),
        (
            {"target_epsilon": 2, "clip_norm": 1, "max_epsilon": 3},
            "target_epsilon, max_epsilon: 2 and 3; give one of them",
        ),
        ({"heterogeneity": 1.1}, "heterogeneity: 1.1 is not accepted: at most 1"),
        ({"clip_norm": 1e-50}, "clip_norm: 1e-50 is not accepted"),
        ({"noise_scale": 1e-50}, "noise_scale: 1e-50 is not accepted: 1e-30 to"),
        ({"noise_scale": 1e39}, "noise_scale: 1e\\+39 is not accepted"),
        ({"honest": 10**30}, "honest: 1000000000000000000000000000000 is not accepted"),
        ({"workers": -3}, "workers: -3 .* at least one worker"),
        ({"workers": True}, "workers: true"),
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


def test_what_is_restored_is_checked_as_it_was():
    dump = RunSpec(clip_norm=1, target_epsilon=2).model_dump()
    with pytest.raises(SpecError, match="noise_scale: -1 is not accepted"):
        RunSpec.restored({**dump, "noise_scale": -1})
    with pytest.raises(SpecError, match="unknown name 'stepz'"):
        RunSpec.restored({**dump, "stepz": 1})


def test_a_changed_copy_has_a_key_of_its_own():
    spec = RunSpec(seed=1)
    assert spec.key == RunSpec(seed=1).key  # looked up before it is copied
    for deep in (False, True):
        changed = spec.model_copy(update={"seed": 2}, deep=deep)
        assert changed.key == RunSpec(seed=2).key != spec.key
    assert spec == RunSpec(seed=1)
    assert RunSpec(**dict(spec)) == spec
    assert copy.copy(spec).key == pickle.loads(pickle.dumps(spec)).key == spec.key


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ({"stepz": 1}, "unknown name 'stepz'; did you mean 'steps'"),
        ({"steps": 0}, "steps: 0 is not accepted"),
        ({"noise_scale": True}, "noise_scale: true is not accepted: a finite number"),
        ({"aggregator": "medain"}, "'medain'; did you mean 'median'"),
        ({"byzantine": 2}, "attack: needed when byzantine is 2"),
        ({"grad_norm_bound": 1}, "clip_norm, grad_norm_bound: give one of them"),
        ({"workers": 5, "honest": 5}, "workers, honest: give one of them"),
        ({"target_epsilon": 1}, "target_epsilon, noise_scale: 1 and 0.1; give one of them"),
    ],
)
def test_a_changed_copy_is_checked(update, message):
    spec = RunSpec(clip_norm=1, noise_scale=0.1)
    for change in (spec.model_copy, lambda update: spec.__replace__(**update)):
        with pytest.raises(SpecError, match=message):
            change(update=update)


def test_a_changed_copy_is_what_a_new_spec_would_be():
    spec = RunSpec(clip_norm=1, noise_scale=0.1)
    assert spec.model_copy() == spec.model_copy(update={}) == spec
    fewer = spec.model_copy(update={"workers": 5, "byzantine": 1, "attack": "alie"})
    assert (fewer.honest, str(fewer.attack)) == (4, "alie")
    alie = fewer.attack.model_copy(update={"parameters": {"z": 2}})
    assert str(fewer.model_copy(update={"attack": alie}).attack) == "alie(z=2.0)"
    with pytest.raises(SpecError, match=r"attack\.z: 2 is not accepted"):
        fewer.attack.model_copy(update={"z": 2})


def test_a_changed_copy_leaves_the_b_that_was_found_behind():
    found = RunSpec(clip_norm=1, target_epsilon=2).with_noise(0.3)
    assert found.noise_scale == found.model_copy().noise_scale == 0.3
    longer = found.model_copy(update={"steps": 600})
    assert longer == RunSpec(clip_norm=1, target_epsilon=2, steps=600)
    kept = found.model_copy(update={"target_epsilon": None, "noise_scale": 0.3})
    assert kept == RunSpec(clip_norm=1, noise_scale=0.3)
    with pytest.raises(SpecError, match=r"target_epsilon, noise_scale: 2 and 0\.3; give one"):
        found.model_copy(update={"noise_scale": 0.3})
    assert found.model_copy(update={"target_epsilon": None}).noise_scale == 0.3
