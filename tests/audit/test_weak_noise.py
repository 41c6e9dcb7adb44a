"""Noise that is weak somewhere, or told by other numbers, is found by the default audit."""

from dataclasses import replace

import faults
import numpy as np
import pytest
import torch
from scipy.stats import binom

from privrobust import RunSpec
from privrobust.audit import audit
from privrobust.audit.beside import Search
from privrobust.audit.echoes import Echoes, repeated
from privrobust.audit.fresh import Fresh
from privrobust.audit.weakest import echo_left, variance_left
from privrobust.models import register_model

# noise multiplier 4, every example in every batch
SPEC = RunSpec(clip_norm=1.0, noise_scale=0.4, batch_size=10, sampling_rate=1.0, steps=3, honest=3)
LOUD = SPEC.model_copy(update={"noise_scale": 0.1})
SURE = 1e-6
RARE = 1e-6

QUICK = [
    "missing_in_one_coordinate",
    "missing_in_one_coordinate_in_ten",
    "shared_by_all_coordinates",
    "repeated_in_the_second_half",
    "negated_in_the_second_half",
    "of_the_next_worker_100_later",
    "of_the_last_step_1_later",
]


@pytest.mark.parametrize("name", QUICK)
def test_weak_noise_is_found(name, monkeypatch):
    faults.weak_noise(monkeypatch, name)
    assert audit(SPEC, runs=150).p_value < SURE


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(faults.WEAK.keys() - QUICK))
def test_weak_noise_of_other_kinds_is_found(name, monkeypatch):
    faults.weak_noise(monkeypatch, name)
    assert audit(SPEC, runs=1000).p_value < SURE


@pytest.mark.slow
def test_noise_too_small_by_half_in_one_layer_is_found(monkeypatch):
    faults.half_noise_in_the_first_layer(monkeypatch)
    spec = LOUD.model_copy(update={"model": "mlp(hidden=3)"})
    assert audit(spec, runs=1000).p_value < SURE


def test_the_worker_with_least_noise_has_the_canary(monkeypatch):
    faults.last_worker_without_noise(monkeypatch)
    assert audit(SPEC, runs=150).p_value < SURE


@pytest.mark.parametrize("settings", [{}, {"unit": "worker", "sampling_rate": None}])
def test_clipping_that_gradient_code_forgets_is_seen(settings, monkeypatch):
    faults.examples_not_clipped(monkeypatch)
    found = audit(SPEC.model_copy(update=settings), runs=100, canaries="update")
    is_of_examples = "unit" not in settings  # averages of workers are clipped elsewhere
    assert (found.counterexample is not None) == is_of_examples == found.is_refuted
    assert not found.is_exceeded


def test_mixing_of_examples_is_seen_without_examples_as_canaries(monkeypatch):
    register_model("centred_here", faults.centred)
    faults.module_that_mixes_examples(monkeypatch)
    found = audit(SPEC.model_copy(update={"model": "centred_here"}), runs=100, observer="model")
    assert "times what clipping allows" in found.counterexample
    assert found.as_record()["counterexample"] == found.counterexample
    assert found.is_refuted
    assert not replace(found, accountant="stated").is_refuted  # of which nobody knows what it takes


# the parts


def normals(seed, *shape):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.parametrize("samples", [2, 5, 300])
@pytest.mark.parametrize("law", ["normal", "laplace"])
def test_chance_is_not_taken_for_weak_noise(samples, law):
    layers = [300, 5, 95]
    wrong = 0
    for seed in range(40):
        noise = getattr(np.random.default_rng(seed), law)(size=(samples, 4, 400))
        left = variance_left(torch.from_numpy(noise.var(0)), samples, layers)
        wrong += bool((left < 1).any())
    assert wrong <= binom.isf(RARE, 40, 0.05)


def test_weak_cells_workers_and_layers_are_seen():
    noise = normals(0, 100, 4, 400)
    assert (variance_left(noise.var(0), 100, [300, 100]) == 1).all()
    layer = noise.clone()
    layer[:, :, 300:] /= 2
    left = variance_left(layer.var(0), 100, [300, 100])
    assert (left[:, :300] > 0.9).all()  # their workers have less than others' usual coordinate
    assert ((left[:, 300:] > 0.25) & (left[:, 300:] < 0.4)).all()
    cell = noise.clone()
    cell[:, 2, 7] = 3.0
    assert (variance_left(cell.var(0), 100, [400]) < 1).nonzero().tolist() == [[2, 7]]
    worker = noise.clone()
    worker[:, 1] *= 0.8
    left = variance_left(worker.var(0), 100, [400])
    assert (left[1] < 0.75).all()
    assert (left[[0, 2, 3]] > 0.9).all()  # a coordinate has the weak worker among its four


def test_repeats_are_those_of_pairwise_comparison():
    noise = torch.round(normals(1, 3, 2, 2, 60) * 50) / 50
    sizes = noise.abs().flatten(1)
    near = (sizes.unsqueeze(1) - sizes.unsqueeze(2)).abs() <= 1e-6
    near |= torch.diag_embed(sizes <= 1e-6)
    expected = (near.sum(2) > 1) | (sizes <= 1e-6)
    found = repeated(noise.float(), torch.full((3,), 1e-6))
    assert torch.equal(found.flatten(1), expected)


def test_coordinates_that_repeat_more_than_others_stand_out():
    counts = torch.full((500,), 20)
    counts[3] = 90
    left = echo_left(counts, 100)
    assert float(left[3]) == pytest.approx(0.1)
    assert (left == 1).sum() == 499


@pytest.mark.parametrize("is_in", [False, True])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_echoes_are_counted_with_and_without_the_canary(sign, is_in):
    """Coordinate 5 of worker 1 has the noise of coordinate 30 of worker 0, a step before."""
    noise = normals(2, 4, 2, 3, 50)  # steps, lanes, workers, coordinates
    noise[1:, :, 1, 5] = sign * noise[:-1, :, 0, 30]
    sent = noise.clone()
    sent[:, :, 1, 5] += 0.25 * is_in
    echoes = Echoes(torch.tensor([[1], [1]]), 0.0)
    for step in sent:
        step = step.float().double()
        echoes.see(step, step, torch.tensor([[5], [5]]), torch.full((2, 1), 0.25).double())
    expected = [0, 3] if is_in else [3, 0]
    assert echoes.counts(is_opposed=False).tolist() == [expected] * 2
    if not is_in:  # exchanged: who is not there is there the other way
        assert echoes.counts(is_opposed=True).tolist() == [[0, 0]] * 2


def left_by_regression(noise, place, beside):
    """What is left of the noise in one coordinate of all messages, as a share, by numpy."""
    workers = noise.shape[2]
    columns = [
        torch.stack([beside.of_step(step, torch.full((len(noise),), w)) for step in steps], 1)
        for w, steps in ((w, list(noise.unbind(1))) for w in range(workers))
    ]
    told = torch.stack([beside.in_time(list(c.unbind(1))) for c in columns], 2)
    known, own = told.flatten(0, 2).numpy(), noise[..., place].flatten().numpy()
    if not known.shape[1]:
        return 1.0
    weights, *_ = np.linalg.lstsq(known, own, rcond=None)
    return float(np.square(own - known @ weights).mean() / np.square(own).mean())


SHARED = {
    "by a common term": lambda x: 0.6**0.5 * x + 0.4**0.5 * x.mean(-1, keepdim=True) * 100**0.5,
    "with the next coordinate": lambda x: x + x.roll(1, -1),
    "with the last step of the next worker": lambda x: (
        x + torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1).roll(-1, 2)
    ),
    "of a sum that is zero": lambda x: x - x.mean(-1, keepdim=True),
    "of 20 factors": lambda x: x[..., :20] @ normals(5, 20, 100),
}


@pytest.mark.parametrize("how", SHARED)
def test_what_varies_together_is_found_and_tells(how):
    """On other noise than it was found in."""
    search = Search(SHARED[how](normals(3, 40, 4, 3, 100)).float(), torch.Generator())
    place = int(search.left.argmin())
    assert float(search.left[place]) < 0.85
    fresh = SHARED[how](normals(4, 40, 4, 3, 100))
    assert left_by_regression(fresh, place, search.beside(place)) < 0.85


def test_independent_noise_tells_nothing():
    wrong = 0
    for seed in range(30):
        search = Search(normals(seed, 20, 3, 3, 100).float(), torch.Generator().manual_seed(seed))
        wrong += bool((search.left < 1).any()) or search.beside(7).places != ()
    assert wrong <= binom.isf(RARE, 30, 0.02)


def test_momentum_is_taken_away():
    specs = [SPEC.model_copy(update={"worker_momentum": 0.9})] * 2
    fresh, kept = Fresh(specs), torch.zeros(2, 3, 4, dtype=torch.float64)
    for step in range(5):
        noised = normals(step, 2, 3, 4)
        kept = 0.9 * kept + 0.1 * noised
        torch.testing.assert_close(fresh(kept.clone()), noised)
