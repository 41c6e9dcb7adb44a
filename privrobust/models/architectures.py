"""The models that the field reports on, as plain torch modules.

Each is made for the shape of one example and a number of classes. Images are `(channels, height,
width)`; linear models take any shape.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from privrobust.core.lazy_imports import nn, torch
from privrobust.core.numbers import as_whole
from privrobust.core.parameters import Configured
from privrobust.errors import SpecError


@dataclass(frozen=True)
class Architecture(Configured, ABC):
    """A model with parameters that a spec may give; a user's own derives from it."""

    @abstractmethod
    def __call__(self, shape: torch.Size, classes: int) -> nn.Module:
        """Make a module for examples of that shape."""


@dataclass(frozen=True)
class Logistic(Architecture):
    """Multinomial logistic regression.

    Args:
        bias: whether each class has a score of its own beside what the features add.
        baseline: whether the first class is what others are compared with: its score is 0, and it
            has no parameters. Two classes then have one score, as in binary logistic regression.

    """

    bias: bool = True
    baseline: bool = False

    def __call__(self, shape: torch.Size, classes: int) -> nn.Module:
        """Make one linear layer."""
        if not self.baseline:
            return nn.Sequential(nn.Flatten(), nn.Linear(shape.numel(), classes, bias=self.bias))
        from privrobust.models.baseline_score import BaselineScore

        others = nn.Linear(shape.numel(), classes - 1, bias=self.bias)
        return nn.Sequential(nn.Flatten(), others, BaselineScore())


def bounded_logistic(shape: torch.Size, classes: int) -> nn.Module:
    r"""Make logistic regression on examples scaled to norm 1: no gradient is longer than 2.

    Proof. For an example a of norm at most 1 and label y, with p = softmax(W a + c), the
    cross-entropy has the gradient (p - e_y) a^T in W and p - e_y in c. So its squared L2 norm is
    |p - e_y|^2 (|a|^2 + 1) <= 2 |p - e_y|^2. And |p - e_y|^2 = (1 - p_y)^2 + sum_{k != y} p_k^2
    <= (1 - p_y)^2 + (sum_{k != y} p_k)^2 = 2 (1 - p_y)^2 <= 2. Together: norm at most 2, for all
    parameters. Scaling an example looks at that example alone. So `grad_norm_bound: 2` holds in
    place of clipping, with Gaussian noise and `loss: cross_entropy`.

    With Laplace noise the L1 norm counts: |p - e_y|_1 (|a|_1 + 1) = 2 (1 - p_y) (|a|_1 + 1), at
    most 2 (sqrt(d) + 1) for d features.
    """
    from privrobust.models.unit_norm import UnitNorm

    return nn.Sequential(nn.Flatten(), UnitNorm(), nn.Linear(shape.numel(), classes))


def bound_of_bounded_logistic(shape: torch.Size, order: int) -> float:
    """Bound the L2 (order 2) or L1 (order 1) norm of its gradients under cross-entropy."""
    return 2.0 if order == 2 else 2 * (math.sqrt(shape.numel()) + 1)


_WIDTHS = "a whole number, 1 or more, or a list of such"


@dataclass(frozen=True)
class MLP(Architecture):
    """Hidden layers of rectified units: one of 100, or `hidden=[64, 32]`.

    Args:
        hidden: units of the hidden layer, or a list of those of each.

    """

    hidden: int | tuple[int, ...] = 100

    def __post_init__(self) -> None:
        """Keep one width as a number, and several as a tuple, however they were given."""
        hidden: object = self.hidden
        given = tuple(hidden) if isinstance(hidden, list | tuple) else (hidden,)
        if not given:
            raise SpecError(f"MLP.hidden: [] is not {_WIDTHS}; model: logistic has no layer")
        widths = tuple(as_whole("MLP.hidden", each, _WIDTHS, least=1) for each in given)
        object.__setattr__(self, "hidden", widths if len(widths) > 1 else widths[0])
        super().__post_init__()

    def __call__(self, shape: torch.Size, classes: int) -> nn.Module:
        """Make linear layers, rectified between."""
        widths = self.hidden if isinstance(self.hidden, tuple) else (self.hidden,)
        return nn.Sequential(nn.Flatten(), *_head(shape.numel(), widths, classes))


def cnn_byzfl(shape: torch.Size, classes: int) -> nn.Module:
    """Make ByzFL's `cnn_mnist` without its softmax: 431,080 parameters on 28 x 28 grey."""
    return _with_head(
        shape,
        [
            nn.Conv2d(_channels(shape), 20, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2),
        ],
        hidden=[500],
        classes=classes,
    )  # fmt: skip


def cnn_opacus(shape: torch.Size, classes: int) -> nn.Module:
    """Make the model of opacus's MNIST example: 26,010 parameters on 28 x 28 grey."""
    return _with_head(
        shape,
        [
            nn.Conv2d(_channels(shape), 16, 8, stride=2, padding=3), nn.ReLU(),
            nn.MaxPool2d(2, stride=1),
            nn.Conv2d(16, 32, 4, stride=2), nn.ReLU(), nn.MaxPool2d(2, stride=1),
        ],
        hidden=[32],
        classes=classes,
    )  # fmt: skip


def lenet(shape: torch.Size, classes: int) -> nn.Module:
    """Make LeNet-5 with rectified units and maximum pooling: 62,006 parameters on 32 x 32 colour.

    (LeCun et al. 1998, figure 2.) Images of 28 x 28 are padded to 32 x 32, as there.
    """
    return _with_head(
        shape,
        [
            nn.Conv2d(_channels(shape), 6, 5, padding=max(0, (32 - shape[-1]) // 2)), nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        ],
        hidden=[120, 84],
        classes=classes,
    )  # fmt: skip


def resnet18(shape: torch.Size, classes: int) -> nn.Module:
    """Make ResNet-18 for small images, GroupNorm of 32 groups for BatchNorm: 11.2 million numbers.

    torchvision's (He et al. 2016), with a first convolution of 3 x 3 and stride 1 and no first
    pooling, as is usual for CIFAR.
    """
    from torchvision.models import resnet18 as of_torchvision

    model: nn.Module = of_torchvision(
        num_classes=classes, norm_layer=lambda width: nn.GroupNorm(32, width)
    )
    model.conv1 = nn.Conv2d(_channels(shape), 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model


def _channels(shape: torch.Size) -> int:
    if len(shape) != 3:
        raise SpecError(
            f"model: examples of shape {tuple(shape)} are no images; accepted: (channels, height, "
            "width), or a model for any shape, such as mlp"
        )
    return shape[0]


def _with_head(
    shape: torch.Size, convolutions: list[nn.Module], hidden: list[int], classes: int
) -> nn.Module:
    """Make convolutions, then linear layers of these widths, rectified between."""
    features = nn.Sequential(*convolutions, nn.Flatten())
    try:
        with torch.no_grad():
            width = features(torch.zeros(1, *shape)).shape[1]
    except RuntimeError as error:  # torch's, of images smaller than a kernel
        raise SpecError(
            f"model: images of {tuple(shape)} are too small ({str(error).splitlines()[0]})"
        ) from None
    return nn.Sequential(*features, *_head(width, hidden, classes))


def _head(width: int, hidden: Sequence[int], classes: int) -> list[nn.Module]:
    """Make linear layers of these widths, rectified between."""
    layers: list[nn.Module] = []
    for size in hidden:
        layers += [nn.Linear(width, size), nn.ReLU()]
        width = size
    return [*layers, nn.Linear(width, classes)]
