"""A batch of one worker, and where a model starts."""

import torch
from torch import nn

from privrobust.gradients.batch import Batch

CLASSES = 10


def batch_of(inputs, present=None):
    """One worker's."""
    labels = (torch.arange(len(inputs)) % CLASSES).view(1, 1, -1)
    present = torch.ones(len(inputs), dtype=torch.bool) if present is None else present
    return Batch.of(inputs[None, None], labels, present[None, None])


def starts(model):
    return nn.utils.parameters_to_vector(model.parameters()).detach().unsqueeze(0)
