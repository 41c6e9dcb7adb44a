"""Audits of runs: what canaries are, who sees what, and that settings are checked."""

import json
import math

import pytest
import torch

from privrobust import RunSpec
from privrobust.audit import audit, audits
from privrobust.audit.audited_runs import Asked, AuditedRuns
from privrobust.audit.canaries import canary
from privrobust.audit.watching import Observation
from privrobust.errors import SpecError
from privrobust.training.privacy_plan import PrivacyPlan

SPEC = RunSpec(clip_norm=1.0, noise_scale=0.05, batch_size=10, sampling_rate=1.0, steps=2, honest=3)


def asked(**settings):
    chosen = {"helpers": 0, "runs": 100, "per_run": 1, "opposed": False, "seed": 0} | settings
    return Asked(on_step=lambda runs: None, **chosen)


@pytest.mark.parametrize(
    ("settings", "bound"),
    [
        ({}, 0.1),
        ({"clipping": "per_layer", "model": "mlp(hidden=3)"}, 0.1),
        ({"clipping": "automatic"}, 0.1),
        ({"noise": "laplace"}, 0.1),
        ({"noise": "logistic"}, 0.1),
        ({"unit": "worker", "sampling_rate": None}, 1.0),
        ({"aggregator": "majority_vote"}, 0.1),
    ],
)
@pytest.mark.parametrize("kind", ["coordinate", "orthogonal", "update"])
def test_gradients_move_their_worker_by_no_more_than_is_claimed(kind, settings, bound, monkeypatch):
    """C / B of an example, C of a worker; of a clipped gradient in one layer, its share."""
    norms = norms_of_effects(kind, SPEC.model_copy(update=settings), monkeypatch)
    assert float(norms.max()) <= bound * (1 + 1e-12)
    least = bound / math.sqrt(2) if "per_layer" in settings.values() else 0.99 * bound
    assert float(norms.min()) >= least * (1 - 1e-5)


@pytest.mark.parametrize("kind", ["mislabelled", "blank", "out_of_distribution"])
@pytest.mark.parametrize("settings", [{}, {"noise": "laplace"}])
def test_examples_move_their_worker_by_no_more_than_is_claimed(kind, settings, monkeypatch):
    norms = norms_of_effects(kind, SPEC.model_copy(update=settings), monkeypatch)
    assert 0 < float(norms.max()) <= 0.1 * (1 + 1e-12)


def norms_of_effects(kind, spec, monkeypatch):
    """Return what each canary adds to an average, in the norm of the noise."""
    effects, see = [], Observation.see
    order = 1 if spec.noise == "laplace" else 2

    def keep(self, step, messages, update, parameters):
        found = self._planting.effects
        whole = torch.zeros(*found.sizes().shape, update.shape[1], dtype=torch.float64)
        lanes = torch.arange(len(whole)).unsqueeze(1)
        if kind == "coordinate":
            whole[lanes, torch.zeros_like(found.places), found.places] = found.amounts
        else:
            whole = found.vectors
        effects.append(torch.linalg.vector_norm(whole, order, dim=-1))
        see(self, step, messages, update, parameters)

    monkeypatch.setattr(Observation, "see", keep)
    dict(AuditedRuns(spec, canary(kind), asked()).trials(["messages"]))
    return torch.cat(effects)


def test_what_one_observer_sees_does_not_depend_on_the_others():
    alone = dict(AuditedRuns(SPEC, canary("coordinate"), asked()).trials(["messages"]))
    beside = AuditedRuns(SPEC, canary("coordinate"), asked())
    together = dict(beside.trials(["model", "aggregates", "messages"]))
    for field in ("values", "included", "amplitudes", "rates"):
        assert (getattr(alone["messages"], field) == getattr(together["messages"], field)).all()


def test_the_same_seed_gives_the_same_result():
    assert audit(SPEC, runs=120) == audit(SPEC, runs=120)
    assert audit(SPEC, runs=120).bound != audit(SPEC, runs=120, seed=1).bound


def test_who_sees_messages_finds_most_of_a_claim_and_helpers_help():
    spec = SPEC.model_copy(update={"noise_scale": 0.1, "honest": 7, "aggregator": "krum(f=2)"})
    messages, alone = audits([spec], ["messages", "aggregates"], runs=1000)
    (helped,) = audits([spec], ["aggregates"], runs=1000, helpers=2)
    assert not any(each.is_refuted for each in (messages, alone, helped))
    assert messages.claimed == PrivacyPlan(spec).spent.epsilon
    assert 0.3 * messages.claimed < messages.epsilon_if_gaussian < messages.claimed
    assert alone.epsilon_if_gaussian < 0.5 * messages.epsilon_if_gaussian
    # two who repeat a message make it Krum's choice
    assert helped.epsilon_if_gaussian > 2 * alone.epsilon_if_gaussian
    assert helped.epsilon_if_gaussian > 0.2 * messages.claimed


@pytest.mark.parametrize(
    "settings",
    [
        {"noise": "laplace"},
        {"noise": "logistic"},
        {"pairwise_noise": 2.0},
        {"pairwise_noise": 0.5, "aggregator": "majority_vote"},
        {"worker_momentum": 0.9},
        {"aggregator": "majority_vote", "worker_momentum": 0.5},
        {"clip_norm": None, "grad_norm_bound": 30.0, "model": "bounded_logistic"},
        {"clip_norm": None},
        {"noise_scale": 0.0},
        {"target_epsilon": 3.0, "noise_scale": 0.0},
        {"max_epsilon": 15.0, "steps": 50},
        {"byzantine": 1, "attack": "alie", "aggregator": "trimmed_mean(f=1)"},
        {"unit": "worker", "sampling_rate": None, "worker_sampling_rate": 0.5},
        {"partition": "dirichlet(alpha=1.0)", "batch_size": 1},
        {"sampling_rate": None, "model": "mlp(hidden=[4, 4])"},
        {"sampling_rate": None, "sampling": "shuffled", "batch_size": 400, "steps": 3},
        {"sampling_rate": None, "sampling": "fixed"},
        {"sampling_rate": None, "sampling": "balls_in_bins"},
    ],
)
def test_runs_of_all_kinds_are_audited(settings):
    spec = SPEC.model_copy(update=settings)
    for found in audits([spec], runs=100):
        assert not found.is_refuted
        assert found.epsilon_lower_bound <= found.claimed
        json.dumps(found.as_record(), allow_nan=False)


def test_an_exchange_that_no_bound_covers_is_refused_before_training():
    spec = SPEC.model_copy(update={"sampling_rate": None, "sampling": "balls_in_bins"})
    with pytest.raises(SpecError, match="adjacency: 'replace-one' with sampling 'balls_in_bins'"):
        AuditedRuns(spec, canary("coordinate"), asked(opposed=True))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"observer": "everything"}, "observer: 'everything' is not one of messages"),
        ({"canaries": "parrot"}, "canaries: 'parrot' is not one of coordinate"),
        ({"helpers": -1}, "helpers: -1 is not"),
        ({"runs": 50}, "runs, per_run: 50 x 1 canaries; accepted: at least 100 in all"),
        ({"per_run": 0}, "per_run: 0 is not"),
        ({"per_run": 10**6, "runs": 1}, "per_run: 1000000 canaries; accepted: at most 650"),
        ({"canaries": "blank", "per_run": 2}, "per_run: 2 canaries blank; accepted: 1"),
        ({"adjacency": "zero-out"}, "adjacency: 'zero-out' is not accepted"),
        ({"claimed": math.nan}, "claimed: nan is not"),
        ({"confidence": 1.0}, "confidence: 1.0 is not"),
        ({"canaries": "tails", "observer": "model"}, "canaries: tails: noise is looked at"),
    ],
)
def test_bad_settings_are_refused_in_one_line(settings, message):
    with pytest.raises(SpecError, match=message) as error:
        audit(SPEC, **settings)
    assert "\n" not in str(error.value)


def test_examples_are_no_canaries_of_workers():
    spec = RunSpec(unit="worker", clip_norm=1.0, noise_scale=0.1, steps=2, honest=3)
    with pytest.raises(SpecError, match="canaries: blank with unit: worker"):
        audit(spec, canaries="blank")
