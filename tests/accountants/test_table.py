import math

import numpy as np
import pytest

from privrobust.accountants import Release, budget_table, epsilon, noise_table
from privrobust.errors import SpecError

DIGITS = {"clip_norm": 1.0, "batch_size": 32, "dataset_size": 95, "steps": 300}


def test_one_row_a_setting_all_accountants_side_by_side() -> None:
    table = budget_table(
        **DIGITS, noise_scale=[0.1, 0.3], delta=[1e-5, 1e-6], accountants=["pld", "gdp"]
    )
    assert list(table.columns) == [
        *DIGITS,
        "noise_scale",
        "delta",
        "noise_multiplier",
        "sampling_rate",
        "pld",
        "gdp (estimate)",
        "note",
    ]
    assert len(table) == 4
    for row in table.itertuples():
        r = Release(**DIGITS, noise_scale=row.noise_scale)  # type: ignore[arg-type]
        assert row.pld == epsilon(r, row.delta, "pld")
    assert set(table["note"]) == {""}


def test_notes_say_what_is_missing_or_infinite() -> None:
    table = budget_table(
        **DIGITS, noise_scale=[0, 0.1], noise="laplace", accountants=["pld", "rdp"], delta=0.02
    )
    first, second = table.to_dict("records")
    assert first["rdp"] == math.inf
    assert first["note"].startswith("no noise (b = 0); delta = 0.02 is not below 1 / dataset_size")
    assert np.isnan(second["rdp"])
    assert "rdp does not support laplace noise" in second["note"]


def test_the_noise_for_each_target() -> None:
    table = noise_table(target_epsilon=[1, 8], **DIGITS, accountants=["pld"])
    for row in table.itertuples():
        r = Release(**DIGITS, noise_scale=row.pld)  # type: ignore[arg-type]
        assert 0.999 * row.target_epsilon <= epsilon(r, accountant="pld") <= row.target_epsilon


def test_bad_input_is_refused() -> None:
    with pytest.raises(SpecError, match=r"^setting: unknown name 'clip'"):
        budget_table(clip=1.0, steps=3, noise_scale=1.0)
    with pytest.raises(SpecError, match=r"^delta: 3 is not between"):
        budget_table(**DIGITS, noise_scale=1.0, delta=3)
    with pytest.raises(SpecError, match=r"^noise_scale: it is what this table finds"):
        noise_table(**DIGITS, noise_scale=1.0, target_epsilon=1.0)
    with pytest.raises(SpecError, match=r"^accountant: unknown name 'abadi'"):
        budget_table(**DIGITS, noise_scale=1.0, accountants=["abadi"])
