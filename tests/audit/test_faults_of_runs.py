"""Faults that make epsilon false are found; each is put into the training loop of this package.

A fault is found at p < 10^-6, so that none of these tests passes by chance where nothing is found.
"""

import faults
import pytest

from privrobust import RunSpec
from privrobust.audit import audit
from privrobust.models import register_model
from privrobust.training.privacy_plan import PrivacyPlan

# noise multiplier 4, every example in every batch
SPEC = RunSpec(clip_norm=1.0, noise_scale=0.4, batch_size=10, sampling_rate=1.0, steps=3, honest=3)
# noise multiplier 1: what moves twice as far is the easier to see
LOUD = SPEC.model_copy(update={"noise_scale": 0.1})
SURE = 1e-6


@pytest.mark.parametrize("fault", faults.FAULTS, ids=lambda fault: fault.__name__)
def test_fault_is_found(fault, monkeypatch):
    fault(monkeypatch)
    found = audit(SPEC, runs=500)
    assert found.p_value < SURE
    assert found.is_refuted


def test_one_worker_in_three_without_noise_is_found(monkeypatch):
    faults.last_worker_without_noise(monkeypatch)
    assert audit(SPEC, runs=1000).p_value < SURE


# of signs, a difference between workers shows seldom, and is then certain
@pytest.mark.parametrize(("aggregator", "sure"), [("majority_vote", 1e-3), ("krum", SURE)])
def test_noise_that_workers_share_is_found_under_other_rules(aggregator, sure, monkeypatch):
    faults.noise_shared_between_workers(monkeypatch)
    spec = SPEC.model_copy(update={"aggregator": aggregator, "noise_scale": 0.2})
    assert audit(spec, runs=600).p_value < sure


def test_faults_are_found_with_workers_as_the_unit(monkeypatch):
    faults.noise_shared_between_steps(monkeypatch)
    spec = RunSpec(unit="worker", clip_norm=0.1, noise_scale=0.4, steps=3, honest=3)
    assert audit(spec, runs=240).p_value < SURE


def test_noise_for_another_batch_size_is_found(monkeypatch):
    faults.noise_for_another_batch_size(monkeypatch)
    assert audit(LOUD, runs=800).p_value < SURE
    assert audit(LOUD, runs=160, per_run=150).is_refuted


def test_epsilon_of_removal_quoted_for_replacement_is_found():
    quoted = PrivacyPlan(LOUD).spent.epsilon
    exchanged = audit(LOUD, runs=800, adjacency="replace-one", claimed=quoted)
    assert exchanged.p_value < SURE
    assert not audit(LOUD, runs=800, claimed=quoted).is_refuted
    assert not audit(LOUD, runs=800, adjacency="replace-one").is_refuted


def test_module_that_mixes_examples_is_found(monkeypatch):
    register_model("centred_by_batch", faults.centred)
    faults.module_that_mixes_examples(monkeypatch)
    spec = SPEC.model_copy(update={"model": "centred_by_batch", "batch_size": 40})
    assert audit(spec, canaries="out_of_distribution", runs=240).p_value < SURE
