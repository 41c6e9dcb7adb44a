"""The examples that a worker holds: in tensors, or read one by one when they are drawn.

One that cannot be read, or is unlike the others, is no error: whoever sees whether a worker sends
would learn of it from that. It has the label `UNFIT`, counts as 0, and a log on this machine says
why.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from privrobust.core.numbers import as_whole
from privrobust.data import Split
from privrobust.data.dataset import as_tensor
from privrobust.errors import SpecError, in_a_line, in_short, text_of

UNFIT = torch.iinfo(torch.int64).min
"""The label of an example that counts as 0."""

_FIRST = 16  # examples whose shape and type are looked at
_ACCEPTED = "(inputs, labels), a Split, or a torch Dataset with a length and items (input, label)"

log = logging.getLogger(__name__)


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
    """Examples of a map-style torch Dataset, of which none is kept.

    Raises:
        SpecError: none of the first few can be read.

    """

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self._told: set[int] = set()
        self._shape, self._dtype = self._usual()

    def __len__(self) -> int:
        return len(self._dataset)

    @property
    def known_labels(self) -> Tensor:
        """None."""
        return torch.empty(0, dtype=torch.long)

    def read(self, places: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return inputs as a model takes them, `(examples, *features)`, and labels.

        Numbers that are not finite pass: the gradient of their example is not, and counts as 0.
        """
        items = [self._alike(place) for place in places]
        labels = torch.tensor([label for _, label in items], dtype=torch.long)
        return torch.stack([tensor for tensor, _ in items]), labels

    def _alike(self, place: int) -> tuple[Tensor, int]:
        """Return an example as the others are; zeros in the place of one that is not."""
        try:
            tensor, label = self._item(place)
            if (tensor.shape, tensor.dtype) != (self._shape, self._dtype):
                raise SpecError(
                    f"data: example {place} is {tensor.dtype} {tuple(tensor.shape)}, others "
                    f"{self._dtype} {tuple(self._shape)}; accepted: all alike"
                )
            return tensor, label
        except Exception as error:  # whatever a tensor of a user's own raises
            if place not in self._told:
                self._told.add(place)
                said = in_short(text_of(error), 300)
                log.warning("data: example %d counts as 0: %s", place, said)
            return torch.zeros(self._shape, dtype=self._dtype), UNFIT

    def _usual(self) -> tuple[torch.Size, torch.dtype]:
        """Return the shape and type of most of the first examples: no single one decides them."""
        kinds: Counter[tuple[torch.Size, torch.dtype]] = Counter()
        fault = None
        for place in range(min(_FIRST, len(self))):
            try:
                tensor, _ = self._item(place)
            except SpecError as error:
                fault = fault or error
            else:
                kinds[tensor.shape, tensor.dtype] += 1
        if not kinds:
            raise fault or SpecError("data: it holds no example; accepted: one or more")
        return kinds.most_common(1)[0][0]

    def _item(self, place: int) -> tuple[Tensor, int]:
        try:
            given, label = self._dataset[place]
            tensor = torch.as_tensor(given).detach().cpu().contiguous()
        except Exception as error:  # whatever a user's dataset raises
            raise SpecError(
                f"data: example {place} cannot be read ({in_a_line(error)}); accepted: items "
                "(input, label), the input a tensor or an array"
            ) from error
        accepted = "a whole number, 0 or more"
        label = as_whole(
            f"data: label of example {place}", label, accepted, least=0, most=-UNFIT - 1
        )
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
        data = Split(*_finite(*data))
    if isinstance(data, Split):
        found: InMemory | OnDemand = InMemory(data.to(device))
    elif hasattr(data, "__getitem__") and hasattr(data, "__len__") and type(data) not in _PLAIN:
        found = OnDemand(data)
    else:
        raise SpecError(f"data: a {type(data).__name__} is not accepted: {_ACCEPTED}")
    if not len(found):
        raise SpecError("data: it holds no example; accepted: one or more")
    return found


def _finite(inputs: object, labels: object) -> tuple[Tensor, Tensor]:
    """Take out examples that are not finite, as long as others are; `Split` refuses them."""
    values, codes = as_tensor("inputs", inputs), as_tensor("labels", labels)
    if values.dtype != torch.float32 or values.dim() < 2 or codes.shape != values.shape[:1]:
        return values, codes  # of which `Split` says what is wrong, if anything is
    finite = values.isfinite().flatten(1).all(1)
    if bool(finite.all()) or not bool(finite.any()) or codes.is_floating_point():
        return values, codes
    log.warning("data: %d examples hold NaN or infinity; they count as 0", int((~finite).sum()))
    rows = finite.view(-1, *[1] * (values.dim() - 1))
    return values.where(rows, 0.0), codes.long().where(finite, UNFIT)


# What has a length and items, and was meant as something else.
_PLAIN = (tuple, list, dict, str, bytes, Tensor, np.ndarray)
