"""Accountants: from noise, clipping and sampling to a privacy budget, and back.

>>> r = Release(noise_scale=0.1, clip_norm=1.0, batch_size=32, dataset_size=95, steps=300)
>>> round(epsilon(r, delta=1e-5, accountant="pld"), 2)
9.31
"""

from privrobust.accountants.calibration import max_clip_norm, max_steps, noise_scale
from privrobust.accountants.correlated import effective_noise_scale
from privrobust.accountants.protocol import Accountant
from privrobust.accountants.registry import (
    available_accountants,
    get_accountant,
    list_accountants,
    register_accountant,
)
from privrobust.accountants.release import Release
from privrobust.accountants.spending import Spent, delta, epsilon, spend
from privrobust.accountants.table import budget_table, noise_table

__all__ = [
    "Accountant",
    "Release",
    "Spent",
    "available_accountants",
    "budget_table",
    "delta",
    "effective_noise_scale",
    "epsilon",
    "get_accountant",
    "list_accountants",
    "max_clip_norm",
    "max_steps",
    "noise_scale",
    "noise_table",
    "register_accountant",
    "spend",
]
