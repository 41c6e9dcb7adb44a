"""What is trained: MNIST-shaped random images, as speed does not depend on what they show."""

import torch
from torch import nn

from privrobust import RunSpec
from privrobust.architectures import cnn_byzfl
from privrobust.data import Dataset, Split, register_dataset
from privrobust.models import register_model

HONEST, BYZANTINE, BATCH = 12, 3, 32
EXAMPLES = 1000  # of each worker
CLIP_NORM, NOISE_SCALE, LEARNING_RATE = 1.0, 0.01, 0.1


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


def register() -> None:
    """Make the tasks known to specs."""
    train = images(HONEST * EXAMPLES)
    register_dataset(Dataset("images", train, images(100), images(100), classes=10))
    for name, model in MODELS.items():
        register_model(f"bench_{name}", model)


def spec(model: str, **settings: object) -> RunSpec:
    """12 honest and 3 ALIE workers, B = 32, C = 1, median."""
    common: dict[str, object] = {
        "dataset": "images",
        "model": f"bench_{model}",
        "honest": HONEST,
        "byzantine": BYZANTINE,
        "attack": "alie",
        "aggregator": "median",
        "batch_size": BATCH,
        "clip_norm": CLIP_NORM,
        "noise_scale": NOISE_SCALE,
        "learning_rate": LEARNING_RATE,
        "device": "cpu",
    }
    return RunSpec(**common | settings)
