"""Ways in which a private training loop goes wrong, put into ours."""

import torch
from torch import nn

from privrobust.gradients import chain, clipped_sums
from privrobust.gradients.clipped_sums import gradient_sum
from privrobust.gradients.clipping import ClippedSums, ClippingRule, clip_vectors
from privrobust.gradients.verification import Agreement
from privrobust.models import validation
from privrobust.noise import streams
from privrobust.training import noise as training_noise
from privrobust.training import workers
from privrobust.training.noise import Perturbation
from privrobust.training.workers import Clipping

_derived_keys = streams.derived_keys
_clip = Clipping.__call__
_perturb = Perturbation.__call__


def no_clipping(patch):
    """Leave every gradient as it is."""
    patch.setattr(ClippingRule, "factors", lambda self, norms, clip_norms: torch.ones_like(norms))


def clipping_after_averaging(patch):
    """Clip the average, which one example may fill."""

    def clip(self, parameters, batch):
        never = torch.full_like(self._clip_norms, torch.inf)
        averages = self._gradients(parameters, batch, never, self._batch_size).sums
        return clip_vectors(averages, self._layers, self._rule, self._clip_norms)

    patch.setattr(Clipping, "__call__", clip)


def realised_batch_size(patch):
    """Divide by how many joined."""

    def clip(self, parameters, batch):
        sums, norms = _clip(self, parameters, batch)
        joined = (norms > 0).sum(-1, keepdim=True).clamp(min=1)
        return ClippedSums(sums * self._batch_size / joined, norms)

    patch.setattr(Clipping, "__call__", clip)


def noise_shared_between_workers(patch):
    """Give all workers the noise of the first."""

    def keys(seed, purpose, step, workers):
        first = _derived_keys(seed, purpose, step, workers)[:1]
        return first.repeat(workers, axis=0)

    patch.setattr(training_noise, "derived_keys", keys)


def noise_shared_between_steps(patch):
    """Draw the noise of every step from the streams of the first."""
    patch.setattr(
        training_noise,
        "derived_keys",
        lambda seed, purpose, step, workers: _derived_keys(seed, purpose, 1, workers),
    )


def noise_shared_between_pairs_of_steps(patch):
    """Draw the noise of two steps from the streams of the first of them."""
    patch.setattr(
        training_noise,
        "derived_keys",
        lambda seed, purpose, step, workers: _derived_keys(seed, purpose, step // 2, workers),
    )


def noise_handed_on(patch):
    """Give each worker the noise that the one before it had in the last step."""

    def keys(seed, purpose, step, workers):
        count = 100  # steps and workers after the first
        drawn = _derived_keys(seed, purpose, 1, 2 * count)
        return drawn[count - step : count - step + workers]

    patch.setattr(training_noise, "derived_keys", keys)


def noise_negated_every_second_step(patch):
    """Draw the noise of a step, and turn it around in the next."""

    def perturb(self, averages, into=None):
        self._turn = -getattr(self, "_turn", -1)
        if self._turn > 0:
            self._kept = _perturb(self, torch.zeros_like(averages)).double()
        sent = (averages + self._turn * self._kept).float()
        return sent if into is None else into.copy_(sent)

    patch.setattr(Perturbation, "__call__", perturb)


def last_worker_without_noise(patch):
    """Send what the last worker has as it is."""

    def perturb(self, averages, into=None):
        sent = _perturb(self, averages, into)
        sent[:, -1] = averages[:, -1]
        return sent

    patch.setattr(Perturbation, "__call__", perturb)


def reused_seed(patch):
    """Draw the noise of every run from one seed."""
    patch.setattr(
        training_noise,
        "derived_keys",
        lambda seed, purpose, step, workers: _derived_keys(7, purpose, step, workers),
    )


def few_seeds(patch):
    """Keep 5 bits of every run's seed."""
    patch.setattr(
        training_noise,
        "derived_keys",
        lambda seed, purpose, step, workers: _derived_keys(seed % 32, purpose, step, workers),
    )


def cached_noise(patch):
    """Draw noise once, and add it in every step."""

    def perturb(self, averages, into=None):
        if not hasattr(self, "_cached"):
            self._cached = _perturb(self, torch.zeros_like(averages)).double()
        sent = (averages + self._cached).float()
        return sent if into is None else into.copy_(sent)

    patch.setattr(Perturbation, "__call__", perturb)


def noise_for_another_batch_size(patch):
    """Divide the noise by twice the B that sums are divided by."""

    def perturb(self, averages, into=None):
        zero = torch.zeros_like(averages)
        sent = (averages + _perturb(self, zero).double() / 2).float()
        return sent if into is None else into.copy_(sent)

    patch.setattr(Perturbation, "__call__", perturb)


def noise_of_the_size_of_the_data(patch):
    """Scale noise by the average's own norm, as if nobody could see that."""

    def perturb(self, averages, into=None):
        noise = _perturb(self, torch.zeros_like(averages)).double()
        size = averages.norm(dim=-1, keepdim=True)
        sent = (averages + noise * size / (size + 1e-3)).float()
        return sent if into is None else into.copy_(sent)

    patch.setattr(Perturbation, "__call__", perturb)


FAULTS = [
    no_clipping,
    clipping_after_averaging,
    realised_batch_size,
    noise_shared_between_workers,
    noise_shared_between_steps,
    noise_shared_between_pairs_of_steps,
    noise_handed_on,
    noise_negated_every_second_step,
    reused_seed,
    few_seeds,
    cached_noise,
    noise_of_the_size_of_the_data,
]


class Centred(nn.Module):
    """Subtract the mean of the batch: every example moves every other."""

    def forward(self, inputs):
        """Centre `(examples, features)`."""
        return inputs - inputs.mean(0)


def centred(shape, classes):
    """Make a linear model of centred inputs."""
    return nn.Sequential(nn.Flatten(), Centred(), nn.Linear(shape.numel(), classes))


def module_that_mixes_examples(patch):
    """Take it for proven that a module keeps examples apart, and check nothing."""
    for module in (clipped_sums, chain):
        patch.setattr(module, "rows_stay_apart", lambda model, examples: True)
    patch.setattr(Agreement, "fault", lambda self, fast: None)
    patch.setattr(validation, "_refuse_mixing", lambda *given: given[-1])


def _with_noise(patch, change):
    """Change the noise `(lanes, workers, dim)` of every step, with what is kept between steps."""

    def perturb(self, averages, into=None):
        if not hasattr(self, "_kept"):
            self._kept = {}
        noise = _perturb(self, torch.zeros_like(averages)).double()
        sent = (averages + change(noise, self._kept)).float()
        return sent if into is None else into.copy_(sent)

    patch.setattr(Perturbation, "__call__", perturb)


def _flat(noise, offset):
    """Take each worker's noise from one stream, so many numbers after the last one's."""
    workers, dim = noise.shape[1:]
    stream = noise.flatten(1)
    return torch.stack([stream[:, w * offset : w * offset + dim] for w in range(workers)], 1)


def _before(noise, kept, shift=0):
    """Give every step the noise of the first, moved on by so many coordinates a step."""
    kept["step"] = kept.get("step", -1) + 1
    kept.setdefault("noise", noise)
    return kept["noise"].roll(shift * kept["step"], -1)


def _masked(noise, *at):
    noise[(..., *at)] = 0.0
    return noise


def _half(noise, sign=1.0):
    half = noise.shape[-1] // 2
    noise[..., half : 2 * half] = sign * noise[..., :half]
    return noise


def _shuffled(noise):
    """Give all workers the numbers of the first, in an order of their own that changes."""
    order = torch.rand_like(noise).argsort(-1)
    return noise[:, :1].expand_as(noise).gather(-1, order)


def _pool(noise):
    """Take all from 300 numbers."""
    pool = noise.flatten(1)[:, :300]
    return pool.gather(1, torch.randint(300, (len(noise), noise[0].numel()))).view_as(noise)


def _layer(noise):
    noise[..., :195] /= 2  # the first of two layers
    return noise


def _averaged(noise):
    return (noise + noise.roll(1, -1)) / 2**0.5


def _common(noise):
    return 0.9**0.5 * noise[..., :1] + 0.1**0.5 * noise


def _few_factors(noise):
    """Mix 100 numbers."""
    generator = torch.Generator().manual_seed(1)
    mixing = torch.randn(100, noise.shape[-1], generator=generator, dtype=torch.float64)
    return noise[..., :100] @ mixing / 10


def _summing_to_zero(noise):
    return noise - noise.mean(-1, keepdim=True)


def _scaled_copy(noise):
    half = noise.shape[-1] // 2
    noise[..., half : 2 * half] = 2 * noise[..., :half]
    return noise


def _sometimes_missing(noise):
    return noise * (torch.rand(noise.shape[:2]) < 0.8).unsqueeze(-1)


WEAK = {
    "missing_in_one_coordinate_in_ten": lambda noise, _: _masked(noise, slice(3, None, 10)),
    "missing_in_one_coordinate": lambda noise, _: _masked(noise, 137),
    "missing_in_one_coordinate_of_one_worker": lambda noise, _: _masked(noise, 1, 137),
    "missing_in_one_vector_in_five": lambda noise, _: _sometimes_missing(noise),
    "shared_by_all_coordinates": lambda noise, _: noise[..., :1].expand_as(noise),
    "repeated_in_the_second_half": lambda noise, _: _half(noise),
    "negated_in_the_second_half": lambda noise, _: _half(noise, -1.0),
    "doubled_in_the_second_half": lambda noise, _: _scaled_copy(noise),
    "of_the_next_worker_100_later": lambda noise, _: _flat(noise, 100),
    "of_the_next_worker_1_later": lambda noise, _: _flat(noise, 1),
    "of_the_last_step_1_later": lambda noise, kept: _before(noise, kept, 1),
    "shuffled_between_workers": lambda noise, _: _shuffled(noise),
    "from_a_pool": lambda noise, _: _pool(noise),
    "averaged_with_its_neighbour": lambda noise, _: _averaged(noise),
    "mostly_common": lambda noise, _: _common(noise),
    "of_few_factors": lambda noise, _: _few_factors(noise),
    "summing_to_zero": lambda noise, _: _summing_to_zero(noise),
}
"""Noise that is weak, or known, in some coordinates, or from others, by name."""


def weak_noise(patch, name):
    """Make noise weak in one of these ways."""
    _with_noise(patch, WEAK[name])


def examples_not_clipped(patch):
    """Forget to clip where examples are, and nowhere else."""

    def forgetful(*args):
        gradients = gradient_sum(*args)

        def summed(parameters, batch, clip_norms, divisor=1.0):
            return gradients(parameters, batch, torch.full_like(clip_norms, torch.inf), divisor)

        return summed

    patch.setattr(workers, "gradient_sum", forgetful)


def half_noise_in_the_first_layer(patch):
    """Scale noise by half in one layer of a `mlp(hidden=3)`."""
    _with_noise(patch, lambda noise, _: _layer(noise))
