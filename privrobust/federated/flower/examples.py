"""A client whose examples are the unit of privacy: their gradients are clipped, not its update."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from flwr.app import Message, MetricRecord, RecordDict
from torch import Tensor, nn

from privrobust.core.numbers import as_float, as_whole, shown
from privrobust.errors import SpecError
from privrobust.federated.flower.arrays import SentArrays, Vector
from privrobust.federated.flower.mods import WEIGHT
from privrobust.federated.flower.replies import only_arrays
from privrobust.federated.worker import PrivateWorker
from privrobust.gradients.layout import Layout


def private_gradient(
    msg: Message,
    model: nn.Module,
    worker: PrivateWorker,
    *,
    local_steps: int = 1,
    learning_rate: float = 1.0,
    metrics: Mapping[str, float] | None = None,
) -> Message:
    """Train on what a server sent, and return the reply: steps along private gradients.

        app = ClientApp(mods=[guarded()])

        @app.train()
        def train(msg, context):
            model, data = Net(), my_examples(context)
            worker = PrivateWorker(model, data, clip_norm=1.0, noise_scale=0.1, batch_size=32,
                                   ledger=Ledger("mine.db", "my examples"))
            return private_gradient(msg, model, worker)

    The model gets the parameters that were sent and keeps its buffers: gradients are those with the
    buffers that the worker was made with, and what a server sends in their place is not used, and
    goes back as it came. Each step draws a batch by coins of the client's
    own, clips every example's gradient and adds noise (`PrivateWorker.message`); the client moves
    by it, and sends where it arrived. A server with one local step and a `server_learning_rate`
    does what `train` does.

    Formal guarantee:
        The reply is made of what was sent and of `local_steps` messages of the worker, each charged
        to its ledger before it is made: it tells of an example no more than those messages do,
        however the server chose what it sent. `metrics` are not covered.

    Args:
        msg: a message to train on, with the model's `state_dict` as its one record of arrays.
        model: the worker's.
        worker: of the client's data.
        local_steps: how many steps; 1, for a worker that sends signs.
        learning_rate: of each.
        metrics: numbers to publish.

    Raises:
        SpecError: the arrays are not those of the model; or as the worker.
        BudgetExhausted: the ledger refuses a step; nothing may be sent.

    """
    steps = as_whole("local_steps", local_steps, "a whole number, 1 or more", least=1)
    rate = as_float("learning_rate", learning_rate, "a finite number above 0", above=0.0)
    sends_signs = worker.step.message == "sign"
    if sends_signs and steps > 1:
        raise SpecError(f"local_steps: {steps} of a worker that sends signs; accepted: 1")
    sent = SentArrays.of(only_arrays(msg.content))
    _load(model, sent)
    layout = Layout(model)
    total = torch.zeros(layout.dim, dtype=torch.float64)
    for _ in range(steps):
        gradient = worker.message().cpu().double()
        total += gradient
        _move(model, layout, -rate * gradient)
    if sends_signs:
        arrays = sent.as_signs(_in_order(sent, layout, -total))
    else:
        arrays = sent.moved(_in_order(sent, layout, -rate * total))
    record = MetricRecord({**(metrics or {}), WEIGHT: 1})
    return Message(RecordDict({"arrays": arrays, "metrics": record}), reply_to=msg)


def _load(model: nn.Module, sent: SentArrays) -> None:
    """Write what was sent to the model's parameters; its buffers stay those of the worker."""
    parameters = dict(model.named_parameters())
    held = {**parameters, **dict(model.named_buffers())}
    floats = {name: tuple(each.shape) for name, each in held.items() if each.is_floating_point()}
    if floats != sent.shapes:
        odd = sorted(floats.items() ^ sent.shapes.items())[0][0]
        raise SpecError(
            f"arrays: {shown(odd)} is not alike in the message and in the model; accepted: "
            "ArrayRecord(model.state_dict())"
        )
    with torch.no_grad():
        for name, values in sent.taken_apart(sent.vector).items():
            if name in parameters:
                parameters[name].copy_(torch.from_numpy(values))


def _move(model: nn.Module, layout: Layout, step: Tensor) -> None:
    """Move the model's parameters by a step, in their order."""
    parts = layout.unflatten(step)
    with torch.no_grad():
        for name, each in model.named_parameters():
            each.add_(parts[name].to(each.device, each.dtype))


def _in_order(sent: SentArrays, layout: Layout, vector: Tensor) -> Vector:
    """Bring a vector from the order of parameters to that of what was sent; buffers get 0."""
    parts = layout.unflatten(vector)
    return np.concatenate(
        [
            parts[name].numpy().reshape(-1) if name in parts else np.zeros(math.prod(shape))
            for name, shape in sent.shapes.items()
        ]
    )
