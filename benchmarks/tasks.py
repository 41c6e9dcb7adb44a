"""What is trained: MNIST-shaped random images, as speed does not depend on what they show."""

from dataclasses import dataclass

import torch
from torch import nn

from privrobust import RunSpec
from privrobust.data import Dataset, Split, register_dataset
from privrobust.models import register_model
from privrobust.models.architectures import cnn_byzfl

CLIP_NORM, NOISE_SCALE, LEARNING_RATE = 1.0, 0.01, 0.1


@dataclass(frozen=True)
class Task:
    """How many workers there are, and how much each of them has and takes."""

    honest: int = 12
    byzantine: int = 3
    batch: int = 32
    examples: int = 1000  # of each worker

    @property
    def workers(self) -> int:
        return self.honest + self.byzantine


FULL = Task()


def images(count: int, seed: int = 0) -> Split:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.rand(count, 1, 28, 28, generator=generator)
    return Split(inputs, torch.randint(10, (count,), generator=generator))


SHAPE = torch.Size([1, 28, 28])


def mlp(shape: torch.Size = SHAPE, classes: int = 10, hidden: int = 100) -> nn.Module:
    """ByzFL's fc_mnist without its softmax: 79,510 parameters."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(shape.numel(), hidden), nn.ReLU(), nn.Linear(hidden, classes)
    )


def cnn(shape: torch.Size = SHAPE, classes: int = 10) -> nn.Module:
    """ByzFL's cnn_mnist without its softmax: 431,080 parameters."""
    return cnn_byzfl(shape, classes)


MODELS = {"mlp": mlp, "cnn": cnn}


def register(task: Task) -> None:
    """Make the task known to specs."""
    train = images(task.honest * task.examples)
    register_dataset(Dataset("images", train, images(100), images(100), classes=10))
    for name, model in MODELS.items():
        register_model(f"bench_{name}", model)


def spec(model: str, task: Task, **settings: object) -> RunSpec:
    """Its workers, the Byzantine ones under ALIE, C = 1, median."""
    common: dict[str, object] = {
        "dataset": "images",
        "model": f"bench_{model}",
        "honest": task.honest,
        "byzantine": task.byzantine,
        "attack": "alie",
        "aggregator": "median",
        "batch_size": task.batch,
        "clip_norm": CLIP_NORM,
        "noise_scale": NOISE_SCALE,
        "learning_rate": LEARNING_RATE,
        "device": "cpu",
    }
    return RunSpec(**common | settings)
