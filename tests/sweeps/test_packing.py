"""No field of a run may be taken from another lane: each is shared by lanes, or each lane's own."""

from typing import Annotated

import numpy as np
import pytest
from pydantic import BaseModel

from privrobust import RunSpec
from privrobust.spec.field_meaning import Meaning, Role
from privrobust.spec.run_fields import FIELDS, meanings
from privrobust.sweeps.packing import lane_shape
from privrobust.training.loop import train_lanes

BASE = {
    "honest": 5, "byzantine": 1, "attack": "alie", "heterogeneity": 0.5, "noise_scale": 0.05,
    "clip_norm": 1.0, "steps": 6, "evaluate_every": 2, "momentum": 0.5,
}  # fmt: skip

# By field, a value other than that of BASE, and what else both runs have.
CHANGES = {
    "dataset": ("mnist", {}),
    "data_dir": ("elsewhere", {}),
    "model": ("mlp", {}),
    "loss": ("squared", {}),
    "partition": ("labels(k=2)", {"heterogeneity": 0.0}),
    "heterogeneity": (1.0, {}),
    "honest": (6, {}),
    "byzantine": (2, {}),
    "attack": ("sign_flip", {}),
    "aggregator": ("majority_vote", {}),
    "noise": ("laplace", {}),
    "noise_scale": (0.2, {}),
    "pairwise_noise": (2.0, {"pairwise_noise": 0.5}),
    "colluding": (3, {"pairwise_noise": 0.5}),
    "target_epsilon": (4.0, {"noise_scale": 0.0, "target_epsilon": 2.0}),
    "clip_norm": (0.3, {}),
    "clipping": ("automatic", {}),
    "grad_norm_bound": (1.0, {"clip_norm": None, "grad_norm_bound": 1e3}),
    "unit": ("worker", {}),
    "worker_sampling_rate": (0.5, {"unit": "worker"}),
    "sampling": ("shuffled", {}),
    "batch_size": (16, {}),
    "sampling_rate": (0.1, {}),
    "steps": (8, {}),
    "local_steps": (3, {}),
    "local_learning_rate": (0.1, {"local_steps": 3}),
    "learning_rate": (0.1, {}),
    "schedule": ("cosine", {}),
    "warmup_steps": (3, {}),
    "momentum": (0.9, {}),
    "worker_momentum": (0.9, {}),
    "weight_decay": (0.1, {}),
    "seed": (1, {}),
    "repetition": (1, {}),
    "repeats": ("poisson(mean=3.0)", {}),
    "delta": (1e-6, {}),
    "accountant": ("rdp", {}),
    "max_epsilon": (0.9, {}),
    "evaluate_on": ("validation", {}),
    "evaluate_every": (3, {}),
    "final_evaluations": (1, {}),
    "device": ("cpu", {}),
}


def is_same(one, other):
    """Whether results agree, to the rounding that a processor's kernels may do otherwise."""
    if (one.failure, one.spent) != (other.failure, other.spent):
        return False
    if one.history["step"].tolist() != other.history["step"].tolist():
        return False
    numbers = [(one.history, other.history), (one.correct, other.correct)]
    numbers += [(one.accuracy, other.accuracy), (one.loss, other.loss)]
    return all(np.allclose(*pair, rtol=1e-5, atol=1e-6, equal_nan=True) for pair in numbers)


@pytest.mark.parametrize("field", RunSpec.model_fields)
def test_a_field_keeps_runs_out_of_one_batch_or_each_lane_has_its_own(field):
    """What is taken from the first of lanes is wrong for the second: both orders are tried."""
    value, rest = CHANGES[field]
    one = RunSpec(**BASE | rest)
    other = RunSpec(**BASE | rest | {field: value})
    assert [name for name in FIELDS if getattr(one, name) != getattr(other, name)] == [field]
    if lane_shape(one) != lane_shape(other):
        return
    assert FIELDS[field].per_lane
    alone = train_lanes([one]) + train_lanes([other])
    assert not is_same(*alone)  # or the rest would show nothing
    together, turned = train_lanes([one, other]), train_lanes([other, one])[::-1]
    assert all(map(is_same, together, alone))
    assert all(map(is_same, turned, alone))


def test_lanes_share_a_field_that_does_not_say_otherwise():
    assert not Meaning(Role.TASK).per_lane


def test_a_field_without_a_meaning_cannot_be_defined():
    class Spec(BaseModel):
        known: Annotated[int, Meaning(Role.TASK)] = 0
        new: int = 0

    with pytest.raises(TypeError, match=r"Spec\.new"):
        meanings(Spec)
