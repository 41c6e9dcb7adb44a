"""A built-in law more than accountants and the compiled loop know, as who adds one has it first."""

import math
import sys
from dataclasses import FrozenInstanceError, replace
from types import MappingProxyType

import numpy as np
import pytest
import torch

from privrobust import RunSpec, train
from privrobust.accountants import (
    Release,
    available_accountants,
    basic,
    delta,
    get_accountant,
    mechanism,
    noise_scale,
    privacy_loss_grid,
    privacy_losses,
    spend,
)
from privrobust.accountants import release as releases
from privrobust.accountants.mechanism import Mechanism
from privrobust.errors import SpecError
from privrobust.noise import NOISE_LAWS, add_noise, available_noise_laws
from privrobust.noise.addition import add_on_device, add_to_rows
from privrobust.noise.backend import compiled_loop
from privrobust.noise.grid import Grid, Grids
from privrobust.noise.laws import REGISTRY, GridLaw
from privrobust.noise.streams import as_keys

STEPS = 7
DIGITS = Release(noise_scale=0.1, clip_norm=1.0, batch_size=32, dataset_size=95, steps=300)
REASON = "noise that no accountant knows (third)"
THIRD = GridLaw(
    "Always seven steps of the grid: no other law's noise is.",
    1.0,
    2,
    lambda coordinate, scale, more: STEPS,
    lambda words, scale: (torch.full(words.shape, float(STEPS)).double(), words != words),
)


@pytest.fixture(autouse=True)
def third(monkeypatch):
    laws = MappingProxyType({**NOISE_LAWS, "third": THIRD})
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("privrobust") and "NOISE_LAWS" in vars(
            module
        ):
            monkeypatch.setattr(module, "NOISE_LAWS", laws)
    monkeypatch.setattr(REGISTRY, "built_in", dict(laws))


def test_a_spec_may_name_it():
    assert available_noise_laws() == ["gaussian", "laplace", "logistic", "third"]


@pytest.mark.parametrize("accountant", ["auto", *available_accountants()])
@pytest.mark.parametrize("message", ["vector", "sign"])
def test_no_accountant_has_a_number(accountant, message):
    known = replace(DIGITS, message=message)
    unknown = replace(known, noise="third")
    for several in (unknown, [known, unknown]):
        spent = spend(several, 1e-5, accountant)
        assert (spent.epsilon, spent.reason) == (math.inf, REASON)
        assert delta(several, 3.0, accountant) == 1.0


def test_nothing_is_calibrated_to_it_or_told_to_others():
    unknown = replace(DIGITS, noise="third")
    assert type(unknown.dp_event()).__name__ == "NonPrivateDpEvent"
    with pytest.raises(SpecError, match=r"no b meets a target with noise that no accountant knows"):
        noise_scale(unknown, 8.0)
    with pytest.raises(SpecError, match=r"^noise: no accountant knows third$"):
        Mechanism.of(unknown)


@pytest.mark.parametrize("accountant", available_accountants())
def test_no_formula_of_another_law_is_used_where_one_is_said_to_know_it(accountant, monkeypatch):
    """Who adds it to `ACCOUNTED_LAWS` and forgets a place gets an error there."""
    for module in (releases, mechanism):
        monkeypatch.setattr(module, "ACCOUNTED_LAWS", ("gaussian", "laplace", "logistic", "third"))
    unknown = replace(DIGITS, noise="third", message="sign" if accountant == "sign" else "vector")
    for release in (unknown, replace(unknown, sampling="full", batch_size=None)):
        with pytest.raises((SpecError, AssertionError), match="third"):
            get_accountant(accountant).epsilon(release, 1e-5)
    with pytest.raises(KeyError, match="third"):
        unknown.dp_event()
    step = Mechanism.of(unknown)
    for ask in (
        lambda: basic._amplified(step, 1e-5),
        lambda: privacy_losses.losses(step, "removed", privacy_losses.Resolution(1.0), 1e-9, 1e-9),
        lambda: privacy_loss_grid._self_composed(step, 1, 0.1),
        lambda: privacy_loss_grid._loss_range(step, 1),
    ):
        with pytest.raises(AssertionError, match="third"):
            ask()


@pytest.mark.parametrize("dim", [1, 4, 2049])
def test_its_noise_is_its_own_by_every_way(dim):
    grids = Grids.of([Grid(0.25, 3.0)] * 2)
    keys = as_keys(bytes(range(32)))
    values = np.arange(2.0 * dim).reshape(2, dim)
    assert compiled_loop() is not None
    sent = np.empty_like(values)
    add_to_rows(values, keys, grids, "third", sent)
    np.testing.assert_array_equal(sent, values + STEPS * 0.25)
    words = torch.zeros(2, dim + dim % 2, dtype=torch.int64)
    on_device = add_on_device(torch.from_numpy(values), words, keys, grids, "third")
    np.testing.assert_array_equal(on_device.numpy(), sent)
    moved = np.unique(add_noise(np.zeros(dim), 1.0, 1.0, noise="third"))
    assert len(moved) == 1
    assert moved[0] > 0


def test_a_run_trains_with_it_and_has_no_epsilon():
    settings = {"clip_norm": 1.0, "honest": 4, "steps": 4, "evaluate_every": 4}
    result = train(RunSpec(**settings, noise="third", noise_scale=0.1))
    assert (result.epsilon, result.spent.reason) == (math.inf, REASON)
    assert result.loss != train(RunSpec(**settings, noise_scale=0.1)).loss


def test_laws_are_not_added_or_exchanged_from_outside():
    for laws in (NOISE_LAWS, compiled_loop().CODES):
        with pytest.raises(TypeError):
            laws["third"] = THIRD
        with pytest.raises(TypeError):
            laws["gaussian"] = THIRD
    with pytest.raises(FrozenInstanceError):
        NOISE_LAWS["gaussian"].std = 0.1
