"""Made-up results, as a store gives them."""

import math

import pandas as pd

from privrobust import RunSpec
from privrobust.store.schema import cells


def frame(*runs):
    """Rows as `Store.runs` gives them, from (spec fields, accuracy) pairs."""
    rows = []
    for settings, accuracy in runs:
        spec = RunSpec(**{"honest": 10, **settings})
        rows.append(
            {
                **cells(spec),
                "accuracy": accuracy,
                "final_loss": 1.0 - accuracy,
                "calibration_error": 0.05,
                "train_accuracy": accuracy,
                "train_loss": 1.0 - accuracy,
                "worst_class_accuracy": accuracy,
                "worst_worker_accuracy": accuracy,
                "error": 2.0 - accuracy,
                "steps_taken": spec.steps,
                "kappa": 1.0 + accuracy,
                "attack_success_rate": math.nan,
                "diverged": False,
                "failure": None,
                "epsilon": 6.721 if spec.noise_scale else math.inf,
                "accountant_used": "pld",
                "is_upper_bound": True,
                "not_private": None if spec.noise_scale else "no noise (b = 0)",
            }
        )
    return pd.DataFrame(rows)
