"""Runs put together of known groups of fields, held against `RunSpec`, which checks all at once."""

import pytest

from privrobust.errors import SpecError
from privrobust.spec.run_fields import FIELDS, SETTINGS, RunFields
from privrobust.sweeps.run_maker import RunMaker, run_of

# Every field is written, so that runs differ in values alone; and what others are checked with.
USUAL = {name: RunFields.model_fields[name].default for name in FIELDS}
BASES = [
    USUAL,
    USUAL | {"honest": 3, "byzantine": 2, "attack": "alie", "clip_norm": 1.0, "unit": "worker"},
    USUAL | {"target_epsilon": 2.0, "grad_norm_bound": 1.0, "partition": "iid", "steps": 1},
]

# Of each field: what is valid beside some values of others, and what is not beside some. (The last
# of such drops is no float: one step has none.)
VALUES = {
    "dataset": ["digits", "mnist"],
    "data_dir": [None, "elsewhere"],
    "model": ["logistic", "mlp(hidden=32)"],
    "loss": ["cross_entropy", "squared"],
    "partition": ["similarity", "similarity(heterogeneity=0.5)", "labels(k=2)"],
    "heterogeneity": [0, 0.5],
    "honest": [1, 3, 10],
    "byzantine": [0, 2, 9],
    "attack": [None, "alie", {"name": "alie", "z": 1.5}, "mimic"],
    "aggregator": ["median", "krum", "krum(f=4)", "nnm + trimmed_mean", "majority_vote"],
    "noise": ["gaussian", "laplace", "logistic"],
    "noise_scale": [0, 0.5, 1e-50],
    "pairwise_noise": [None, 0.5],
    "colluding": [None, 2, 4, 9],
    "target_epsilon": [None, 2.0],
    "clip_norm": [None, 1.0],
    "clipping": ["flat", "per_layer", "automatic"],
    "grad_norm_bound": [None, 1.0],
    "unit": ["example", "worker"],
    "worker_sampling_rate": [1.0, 0.5],
    "sampling": ["poisson", "shuffled", "fixed", "balls_in_bins"],
    "batch_size": [32, 1.5, 1e9],
    "sampling_rate": [None, 0.1, 1.0],
    "steps": [1, 5, 300],
    "local_steps": [1, 2, 10**9],
    "local_learning_rate": [None, 0.1],
    "learning_rate": [0.5, 1e9],
    "schedule": ["constant", "drops(by=1e300)", "linear"],
    "warmup_steps": [0, 1, 10],
    "momentum": [0.0, 0.9],
    "worker_momentum": [0.0, 0.9],
    "weight_decay": [0.0, 1.0],
    "seed": [0, 2**62],
    "repetition": [0, 3, -1],
    "repeats": [None, "poisson( mean=3 )", "binomial"],
    "delta": [1e-5, 0.9],
    "accountant": ["auto", "sign", "rdp", "gdp"],
    "max_epsilon": [None, 3.0],
    "evaluate_on": ["test", "validation"],
    "evaluate_every": [1, 1000],
    "final_evaluations": [1, 1000],
    "device": ["auto", "cpu"],
    "workers": [1, 5, 12.0],
}


def changed(base, change):
    """Return settings with `honest` or `workers`, whichever is asked for."""
    settings = base | change
    if "workers" in change and "honest" not in change:
        del settings["honest"]
    return settings


def outcome(make, settings):
    """Return the run, its key and the types of its values; or the error."""
    try:
        run = make(settings)
    except SpecError as error:
        return str(error)
    return run, run.key, [type(value) for value in dict(run).values()]


@pytest.fixture(scope="module")
def make():
    """A maker that knows each value of each field from some run, where there is a valid one."""
    maker = RunMaker()
    for base in BASES:
        for name, values in VALUES.items():
            for value in values:
                outcome(maker, changed(base, {name: value}))
    return maker


def test_every_field_has_values():
    assert VALUES.keys() == SETTINGS.keys()


@pytest.mark.parametrize("one", VALUES)
def test_two_fields_are_accepted_and_refused_as_by_a_spec(one, make):
    others = list(VALUES)[list(VALUES).index(one) + 1 :]
    for other in others:
        for base in BASES:
            for value in VALUES[one]:
                for another in VALUES[other]:
                    settings = changed(base, {one: value, other: another})
                    assert outcome(make, settings) == outcome(run_of, settings)
