"""The examples that a worker holds: in tensors, or read one by one when they are drawn."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from privrobust.core.numbers import as_whole
from privrobust.data import Split
from privrobust.errors import SpecError, in_a_line

_ACCEPTED = "(inputs, labels), a Split, or a torch Dataset with a length and items (input, label)"


class InMemory:
    """Examples of a split."""

    def __init__(self, split: Split) -> None:
        self._split = split

    def __len__(self) -> int:
        return len(self._split)

    @property
    def known_labels(self) -> Tensor:
        """All labels, as far as they are known before an example is drawn."""
        return self._split.labels

    def read(self, places: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return inputs as a model takes them, `(examples, *features)`, and labels."""
        which = torch.tensor(places, dtype=torch.long, device=self._split.inputs.device)
        return self._split.examples(which), self._split.labels[which]


class OnDemand:
    """Examples of a map-style torch Dataset, of which none is kept."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    @property
    def known_labels(self) -> Tensor:
        """None."""
        return torch.empty(0, dtype=torch.long)

    def read(self, places: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return inputs as a model takes them, `(examples, *features)`, and labels.

        Numbers that are not finite pass: the gradient of their example is not, and counts as 0.

        Raises:
            SpecError: an item is no example, or has another shape than those beside it.

        """
        items = [self._item(place) for place in places]
        inputs = [tensor for tensor, _ in items]
        for place, tensor in zip(places, inputs, strict=True):
            if (tensor.shape, tensor.dtype) != (inputs[0].shape, inputs[0].dtype):
                raise SpecError(
                    f"data: example {place} is {tensor.dtype} {tuple(tensor.shape)}, another "
                    f"{inputs[0].dtype} {tuple(inputs[0].shape)}; accepted: all alike"
                )
        return torch.stack(inputs), torch.tensor([label for _, label in items])

    def _item(self, place: int) -> tuple[Tensor, int]:
        try:
            given, label = self._dataset[place]
            tensor = torch.as_tensor(given).detach()
        except Exception as error:  # whatever a user's dataset raises
            raise SpecError(
                f"data: example {place} cannot be read ({in_a_line(error)}); accepted: items "
                "(input, label), the input a tensor or an array"
            ) from error
        label = as_whole(f"data: label of example {place}", label, "a whole number, 0 or more")
        if tensor.dtype == torch.uint8:  # pixels, as a split has them
            return tensor.float().div_(255), label
        if tensor.is_floating_point():
            return tensor.float(), label
        if tensor.dtype in (torch.int32, torch.int64):
            return tensor, label
        raise SpecError(
            f"data: example {place} is {tensor.dtype}; accepted: floating point, torch.uint8 "
            "pixels, or torch.int32 or int64 for an embedding"
        )


def examples_of(data: object, device: torch.device) -> InMemory | OnDemand:
    """Read what a user gave as data; tensors are moved to the device.

    Raises:
        SpecError: it is no such thing, or holds no example.

    """
    if isinstance(data, TensorDataset):
        data = data.tensors
    if isinstance(data, tuple | list) and len(data) == 2:
        data = Split(*data)
    if isinstance(data, Split):
        found: InMemory | OnDemand = InMemory(data.to(device))
    elif hasattr(data, "__getitem__") and hasattr(data, "__len__") and type(data) not in _PLAIN:
        found = OnDemand(data)
    else:
        raise SpecError(f"data: a {type(data).__name__} is not accepted: {_ACCEPTED}")
    if not len(found):
        raise SpecError("data: it holds no example; accepted: one or more")
    return found


# What has a length and items, and was meant as something else.
_PLAIN = (tuple, list, dict, str, bytes, Tensor, np.ndarray)
