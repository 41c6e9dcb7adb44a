"""A worker of one's own training loop: clipped, noised messages of its own data."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from privrobust.accountants import Release
from privrobust.accountants.release import Message
from privrobust.core.devices import in_full_precision
from privrobust.core.numbers import as_float
from privrobust.core.threads import one_layer_of_threads
from privrobust.errors import (
    PrivRobustWarning,
    SpecError,
    in_a_line,
    in_short,
    shown,
    unknown_name,
)
from privrobust.federated.examples import UNFIT, examples_of
from privrobust.federated.ledger import Ledger
from privrobust.federated.sender import Sender
from privrobust.gradients import get_loss
from privrobust.gradients.batch import Batch
from privrobust.gradients.clipped_sums import gradient_sum
from privrobust.gradients.clipping import CLIPPING_RULES, ClippingRule
from privrobust.gradients.layout import Layout
from privrobust.models.validation import EXAMPLES, check_module
from privrobust.noise import get_noise_law
from privrobust.noise.grid import grid
from privrobust.noise.streams import as_keys, first_words, happen

# Batches are padded to multiples of this, as those of runs are: kernels add in blocks.
_PAD = 8

log = logging.getLogger(__name__)


class PrivateWorker(Sender):
    """A worker whose messages protect its examples, at whatever parameters the model has by then.

    Example usage:
        >>> model = nn.Sequential(nn.Linear(4, 3))
        >>> data = torch.randn(100, 4), torch.arange(100) % 3
        >>> worker = PrivateWorker(model, data, clip_norm=1.0, noise_scale=0.2, batch_size=10)
        >>> set_gradient(model, worker.message())  # or the aggregate of many workers' messages
        >>> torch.optim.SGD(model.parameters(), lr=0.1).step()
        >>> worker.release.steps, round(worker.spent.epsilon, 2)
        (1, 0.37)

    Formal guarantee:
        A message is the sum of the batch's gradients, each clipped to the norm C, over the public
        B, and noise: what `train` has honest workers send. Each example joins a batch by a coin of
        its own, with the probability of `release`, and moves the float64 sum by at most C / B,
        rounding included; `add_noise` keeps of the bits what theory promises. So the epsilon of
        `spent` holds of all that was sent, for an example that would have counted as 0 instead.
        An example that cannot be read, has another shape, type or label than the model takes, or
        makes the model fail, counts as 0: a log on this machine tells of it, and no error does.
        Coins and noise are made of keys from the operating system. Not covered: how long it takes,
        memory that runs out, what a `Dataset` keeps of one example for another, and that the worker
        is refused when it is made, which depends on the first examples: make it where an error is
        yours alone to see.

    Args:
        model: any module that `train` could train, with float32 parameters. It stays as it is, and
            its parameters are read when a message is made; its buffers, where it has some, are
            those that it has now.
        data: `(inputs, labels)`, a `privrobust.data.Split`, or a map-style torch Dataset of items
            (input, label), which are read when they are drawn. How many there are is public, and
            so are the shape and type that most of the first have.
        clip_norm: C, the norm of a gradient from which it is clipped: L2, or L1 for Laplace noise.
        noise_scale: b, in units of the average; 0 adds no noise, and nothing is private.
        batch_size: B, the expected batch and the divisor of the average.
        loss: a name, as in specs.
        clipping: "flat", "per_layer" or "automatic".
        noise: "gaussian", "laplace" or "logistic".
        message: the noisy "vector", or its "sign" for a server that counts votes.
        sampling_rate: q, where it is public and fixed in advance: the number of examples is then
            protected too. None: B over the number of examples.
        delta: that of `spent`.
        accountant: that of `spent`.
        ledger: where every message is charged before it leaves.
        seed: for experiments that repeat; whoever knows it can subtract the noise.

    Raises:
        SpecError: one line that names what is not accepted, and what is.

    """

    def __init__(
        self,
        model: nn.Module,
        data: object,
        *,
        clip_norm: float,
        noise_scale: float,
        batch_size: float,
        loss: str = "cross_entropy",
        clipping: str = "flat",
        noise: str = "gaussian",
        message: Message = "vector",
        sampling_rate: float | None = None,
        delta: float = 1e-5,
        accountant: str = "auto",
        ledger: Ledger | None = None,
        seed: int | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise SpecError(f"model: a {type(model).__name__} is not a torch.nn.Module")
        as_float("clip_norm", clip_norm, "a finite number above 0", above=0.0)
        if not isinstance(clipping, str) or clipping not in CLIPPING_RULES:
            raise unknown_name("clipping", clipping, CLIPPING_RULES)
        parameters = [*model.parameters()]
        device = parameters[0].device if parameters else torch.device("cpu")
        self._examples = examples_of(data, device)
        # with a rate of its own, how many examples there are is nobody's business
        rates: dict[str, Any] = {"dataset_size": len(self._examples)}
        if sampling_rate is not None:
            rates = {"sampling_rate": sampling_rate}
        step = Release(
            noise_scale=noise_scale,
            steps=1,
            clip_norm=clip_norm,
            batch_size=batch_size,
            noise=noise,
            message=message,
            **rates,
        )
        super().__init__(step, delta, accountant, ledger, seed)
        if sampling_rate is None and delta >= 1 / len(self._examples):
            warnings.warn(
                f"delta: {delta:g} is not below 1 / {len(self._examples)}: giving one example of "
                f"{len(self._examples)} away would satisfy it",
                PrivRobustWarning,
                stacklevel=2,
            )
        self._model, self._device = model, device
        self._told: set[int] = set()
        self._clip_norm = torch.tensor([step.clip_norm], dtype=torch.float64, device=device)
        with _by_itself(device):
            self._prepare(loss, CLIPPING_RULES[clipping](get_noise_law(step.noise).order))

    def _prepare(self, loss: str, rule: ClippingRule) -> None:
        """Look at the model, and find the fastest way to its clipped gradients."""
        model, step = self._model, self._step
        inputs, labels = self._examples.read(range(min(EXAMPLES, len(self._examples))))
        inputs = inputs.to(self._device)
        self._classes = check_module(type(model).__name__, model, inputs)
        known = torch.cat([self._examples.known_labels, labels])
        if not bool(self._fits(known).any()):
            raise SpecError(
                f"data: label {known.max()} is none of the model's {self._classes} classes, nor is "
                f"any other; accepted: 0 to {self._classes - 1}"
            )
        self._kinds = _kinds(model)
        for name, (dtype, device, _) in self._kinds.items():
            if (dtype, device) != (torch.float32, self._device):
                raise SpecError(
                    f"model: parameter {name!r} is {dtype} on {device}; accepted: torch.float32, "
                    "all on one device"
                )
        own = deepcopy(model)
        layout = Layout(own)
        if step.noise_scale:  # refused here where no grid holds it
            grid(step.noise_scale, step.contribution, layout.dim, rule.order)
        self._gradients = gradient_sum(own, layout, inputs, rule, get_loss(loss))

    def message(self) -> Tensor:
        """Draw a batch, and return its noisy average, or the sign of that: `(dim,)`, float32.

        A batch may be empty: pure noise is sent. Parameters are in the order of
        `named_parameters`, on the device of the model.

        Raises:
            BudgetExhausted: the ledger refuses it; nothing may be sent.
            SpecError: the model's parameters have other names, shapes or types by now.

        """
        with _by_itself(self._device):
            average = self._average(self._drawn())
        sent = torch.from_numpy(self._message(average.cpu().numpy()))
        return sent.to(self._device, torch.float32)

    def _drawn(self) -> list[int]:
        """Draw which examples join the batch."""
        words = first_words(as_keys(self._key("batches")), len(self._examples))[0]
        places: list[int] = np.flatnonzero(happen(words, float(self._step.sampling_rate))).tolist()
        return places

    def _average(self, places: list[int]) -> Tensor:
        """Sum the clipped gradients of these examples over B, `(dim,)`, float64."""
        if _kinds(self._model) != self._kinds:
            raise SpecError(
                "model: its parameters have other names, shapes, types or places than when the "
                "worker was made; accepted: the same with other values, or a new worker"
            )
        flat = [each.detach().reshape(-1) for each in self._model.parameters()]
        parameters = torch.cat(flat).unsqueeze(0)
        if not places:
            return torch.zeros_like(parameters[0], dtype=torch.float64)
        inputs, labels = (tensor.to(self._device) for tensor in self._examples.read(places))
        fits = self._fits(labels)
        total = self._sum(parameters, inputs, labels, fits)
        if total is None:
            # an example that makes the model fail must not take the others with it
            alone = [
                self._sum(parameters, *(tensor[i : i + 1] for tensor in (inputs, labels, fits)))
                for i in range(len(places))
            ]
            fits &= torch.tensor([each is not None for each in alone], device=self._device)
            total = self._sum(parameters, inputs, labels, fits)
        return torch.zeros_like(parameters[0], dtype=torch.float64) if total is None else total

    def _sum(
        self, parameters: Tensor, inputs: Tensor, labels: Tensor, fits: Tensor
    ) -> Tensor | None:
        """Sum the clipped gradients of those that fit; None where the model fails on one."""
        if not bool(fits.any()):
            return torch.zeros_like(parameters[0], dtype=torch.float64)
        divisor = self._step.batch_size
        assert divisor is not None
        batch = _padded(inputs, labels, fits)
        try:
            return self._gradients(parameters, batch, self._clip_norm, divisor).sums[0, 0]
        except Exception as error:  # whatever a user's module raises
            said = in_short(in_a_line(error), 300)
            log.warning("model: it failed on %d examples (%s)", int(fits.sum()), said)
            return None

    def _fits(self, labels: Tensor) -> Tensor:
        """Tell which labels are classes of the model's; examples of others count as 0."""
        fits = (labels >= 0) & (labels < self._classes)
        for label in labels[~fits & (labels != UNFIT)].unique().tolist():
            if label not in self._told:
                self._told.add(label)
                log.warning(
                    "data: label %d is none of the model's %d classes; its examples count as 0",
                    label,
                    self._classes,
                )
        return fits


def _padded(inputs: Tensor, labels: Tensor, fits: Tensor) -> Batch:
    """Make a batch of them, in which the first that fits stands in the place of what does not."""
    filled = torch.arange(_PAD * -(-len(labels) // _PAD), device=labels.device)
    present = filled < len(labels)
    filled = filled.where(present, 0)
    present &= fits[filled]
    filled = filled.where(present, fits.int().argmax())
    of_one = (1, 1, -1)
    return Batch.of(
        inputs[filled].unflatten(0, of_one),
        labels[filled].unflatten(0, of_one),
        present.unflatten(0, of_one),
    )


@contextmanager
def _by_itself(device: torch.device) -> Iterator[None]:
    """Take gradients in full precision, whatever the loop around is in."""
    with (
        in_full_precision(),
        one_layer_of_threads(),
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(device.type, enabled=False),
    ):
        yield


def set_gradient(model: nn.Module, update: Tensor) -> None:
    """Write an aggregate of messages into the gradients that a torch optimizer reads.

    Args:
        model: that of the workers; what its parameters had as `.grad` is replaced.
        update: `(dim,)`, in the order of `named_parameters`.

    Raises:
        SpecError: it is no such tensor.

    >>> model = nn.Linear(2, 1)
    >>> set_gradient(model, torch.tensor([1.0, 2.0, 3.0]))
    >>> model.weight.grad, model.bias.grad
    (tensor([[1., 2.]]), tensor([3.]))
    """
    parameters = [*model.parameters()]
    dim = sum(each.numel() for each in parameters)
    if not isinstance(update, Tensor) or update.shape != (dim,):
        given = tuple(update.shape) if isinstance(update, Tensor) else shown(update)
        raise SpecError(f"update: {given} is not accepted: a tensor ({dim},)")
    parts = update.detach().split([each.numel() for each in parameters])
    for each, part in zip(parameters, parts, strict=True):
        each.grad = part.view(each.shape).to(each.device, each.dtype, copy=True)


def _kinds(model: nn.Module) -> dict[str, tuple[torch.dtype, torch.device, torch.Size]]:
    return {name: (each.dtype, each.device, each.shape) for name, each in model.named_parameters()}
