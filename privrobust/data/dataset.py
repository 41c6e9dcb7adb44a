"""Datasets held in memory once: what specs train on, in three disjoint splits.

Images stay bytes and are scaled as batches are drawn, so that a run holds no second copy. Tensors
travel between processes as handles to shared memory where `torch.multiprocessing` sends them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from privrobust.core.displayed import Displayed, told
from privrobust.core.lazy_imports import torch
from privrobust.core.numbers import as_float, as_whole, own, shown
from privrobust.core.plugins import check_text
from privrobust.data.splitting import VALIDATION, halves, three_ways, two_ways
from privrobust.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Scaling:
    """How pixels become numbers: `(pixel / 255 - mean) / std`, for each channel.

    The constants are part of a dataset's definition and public: nothing is measured on the data at
    hand, which would cost privacy.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        """Make the constants Python's own.

        Raises:
            SpecError: they are no finite numbers, one for each channel.

        """
        for name in ("mean", "std"):
            try:
                given = tuple(getattr(self, name))
            except TypeError:  # no iterable
                raise SpecError(
                    f"scaling: {name} {shown(getattr(self, name))} is not accepted: one number "
                    "for each channel"
                ) from None
            numbers = tuple(as_float(f"scaling.{name}", each, "a finite number") for each in given)
            object.__setattr__(self, name, numbers)

    def check(self, inputs: Tensor) -> None:
        """Refuse inputs that it is not for.

        Raises:
            SpecError: no pixels, other channels, or constants that do not scale.

        """
        channels = len(self.mean)
        is_image = inputs.dtype == torch.uint8 and inputs.dim() == 4
        if not is_image or inputs.shape[1] != channels:
            raise SpecError(
                f"scaling: of {channels} channels with {inputs.dtype} inputs of shape "
                f"{tuple(inputs.shape)} is not accepted: torch.uint8 (examples, channels, height, "
                "width)"
            )
        if len(self.std) != channels or min(self.std) <= 0:
            raise SpecError(f"scaling: std {self.std} is not accepted: one above 0 for each mean")

    def __call__(self, pixels: Tensor) -> Tensor:
        """Scale pixels `(..., channels, height, width)` from 0 to 255, in float32."""
        mean, std = (
            torch.tensor(values, device=pixels.device).view(-1, 1, 1)
            for values in (self.mean, self.std)
        )
        return pixels.float().div_(255 * std).sub_(mean / std)


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """Examples and their labels.

    Args:
        inputs: `(examples, *features)`: float32; bytes, which are pixels; or int32 or int64 for
            models that embed them.
        labels: `(examples,)`, whole numbers from 0, which are kept as int64.
        scaling: of pixels; without one they are divided by 255.
        groups: `(examples,)`, as labels: what real group each belongs to, if known.

    Arrays of numpy's are copied into tensors.

    Raises:
        SpecError: other types, counts that differ, or features that are not finite.

    """

    inputs: Tensor
    labels: Tensor
    scaling: Scaling | None = None
    groups: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("inputs", "labels", "groups"):
            given = getattr(self, name)
            if given is not None:
                object.__setattr__(self, name, as_tensor(name, given))
        if self.inputs.dim() < 2 or not self.inputs.shape[1:].numel():
            raise SpecError(
                f"inputs: shape {tuple(self.inputs.shape)} is not accepted: (examples, *features), "
                "at least one feature"
            )
        for name in ("labels", "groups"):
            codes = getattr(self, name)
            if codes is None:
                continue
            if codes.dim() != 1 or len(self.inputs) != len(codes):
                raise SpecError(
                    f"{name}: shape {tuple(codes.shape)} with inputs {tuple(self.inputs.shape)} "
                    f"is not accepted: one of the {name} an example"
                )
            if not _whole(codes):
                raise SpecError(f"{name}: {codes.dtype} is not accepted: torch.int64")
            object.__setattr__(self, name, codes.long())
        if self.inputs.dtype not in (torch.float32, torch.uint8, torch.int32, torch.int64):
            raise SpecError(
                f"inputs: {self.inputs.dtype} is not accepted: torch.float32, torch.uint8 pixels, "
                "or torch.int32 or int64 for an embedding (to round: tensor.float(), or "
                "array.astype('float32'))"
            )
        if self.scaling is not None:
            self.scaling.check(self.inputs)
        if self.inputs.dtype == torch.float32:
            finite = self.inputs.isfinite().flatten(1).all(1)
            if not bool(finite.all()):
                raise SpecError(
                    f"inputs: {int((~finite).sum())} of {len(finite)} examples hold NaN or "
                    f"infinity, the first at place {int(finite.int().argmin())}; "
                    "accepted: finite numbers"
                )

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        """Say in a line how much it holds."""
        shape, kind = tuple(self.inputs.shape[1:]), str(self.inputs.dtype)
        return told(type(self).__name__, "", [f"{len(self)} examples", f"{kind} {shape}"])

    @property
    def described(self) -> str:
        """All but the numbers: types, shapes, scaling."""
        constants = (self.scaling.mean, self.scaling.std) if self.scaling else ()
        tensors = (self.inputs, self.labels, self.groups)
        shapes = [values if values is None else (values.dtype, *values.shape) for values in tensors]
        return repr((shapes, [tuple(map(float, each)) for each in constants]))

    def examples(self, which: Tensor | slice) -> Tensor:
        """Return examples as a model takes them, `(*indices, *features)`: pixels as float32."""
        if isinstance(which, slice):
            chosen = self.inputs[which]
        else:  # a copy of rows, which takes torch a quarter of what indexing takes
            rows = self.inputs.index_select(0, which.flatten())
            chosen = rows.view(*which.shape, *rows.shape[1:])
        if chosen.dtype != torch.uint8:
            return chosen
        return self.scaling(chosen) if self.scaling else chosen.float().div_(255)

    @property
    def strata(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Labels and groups, which parts of it are to have alike."""
        groups = None if self.groups is None else self.groups.cpu().numpy()
        return self.labels.cpu().numpy(), groups

    def only(self, chosen: np.ndarray | Tensor) -> Split:
        """Return a split of these examples alone."""
        index = torch.as_tensor(chosen)
        groups = None if self.groups is None else self.groups[index]
        return Split(self.inputs[index], self.labels[index], self.scaling, groups)

    def to(self, device: torch.device) -> Split:
        """Move it to that device."""
        groups = None if self.groups is None else self.groups.to(device)
        return Split(self.inputs.to(device), self.labels.to(device), self.scaling, groups)


@dataclass(frozen=True, eq=False, repr=False)
class Dataset(Displayed):
    """Three disjoint splits; learning rates are tuned on `validation`, never on `test`.

    Args:
        name: what specs and results call it.
        train: dealt to the honest workers.
        validation: to choose settings by; it may be empty.
        test: for results.
        classes: how many there are.
        group_names: of the groups that splits number, in order.

    Raises:
        SpecError: another split is empty, examples have different shapes, or a label is no class.

    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: int
    group_names: Sequence[str] = ()

    def __post_init__(self) -> None:
        classes = as_whole("classes", self.classes, "a whole number")
        object.__setattr__(self, "classes", classes)
        object.__setattr__(self, "name", check_text("dataset", self.name))
        names = [str(own("group_names", name)) for name in self.group_names]
        object.__setattr__(self, "group_names", names)
        if classes < 2:
            raise SpecError(
                f"dataset: {self.name!r} has {shown(classes)} class; accepted: 2 or more"
            )
        for name in ("train", "validation", "test"):
            split = getattr(self, name)
            if split.inputs.shape[1:] != self.shape:
                raise SpecError(
                    f"dataset: {name} of {self.name!r} has examples of shape "
                    f"{tuple(split.inputs.shape[1:])}, train of {tuple(self.shape)}; "
                    "accepted: one shape"
                )
            if name == "validation" and not len(split):
                continue
            _refuse_foreign(f"{name} of {self.name!r}", "labels", split.labels, self.classes)
            if split.groups is not None:
                groups = len(self.group_names)
                _refuse_foreign(f"{name} of {self.name!r}", "groups", split.groups, groups)

    def __repr__(self) -> str:
        """Say in a line how much it holds."""
        counts = [f"{len(getattr(self, name))} {name}" for name in ("train", "validation", "test")]
        return told(type(self).__name__, self.name, [*counts, f"{self.classes} classes"])

    @classmethod
    def from_tensors(
        cls,
        name: str,
        inputs: Tensor | np.ndarray,
        labels: Tensor | np.ndarray,
        validation: float = VALIDATION,
    ) -> Dataset:
        """Split examples 70 / 10 / 20 into train, validation and test, stratified by label.

        Which examples are test examples depends on the labels alone, never on a run's seed.

        Args:
            name: what specs and results call it.
            inputs: `(examples, *features)`, as `Split` takes them.
            labels: `(examples,)`, from 0; the largest tells how many classes there are. Both may
                be arrays of numpy's.
            validation: the share of all examples that is for it, 0 to 0.5, in place of a tenth.

        Raises:
            SpecError: what `Split` refuses, or too few examples of a class for every split.

        """
        whole = Split(as_tensor("inputs", inputs), as_tensor("labels", labels))
        classes = int(whole.labels.max()) + 1 if len(whole) else 0
        return cls.from_split(name, whole, classes, validation=validation)

    @classmethod
    def from_split(
        cls,
        name: str,
        whole: Split,
        classes: int,
        group_names: Sequence[str] = (),
        validation: float = VALIDATION,
    ) -> Dataset:
        """Make a dataset from one split that has everything, as `from_tensors` does.

        Where groups are known, each is split for itself.
        """
        classes = as_whole("classes", classes, "a whole number")
        _refuse_foreign(repr(name), "labels", whole.labels, classes)
        train, valid, test = map(whole.only, three_ways(name, *whole.strata, validation))
        return cls(name, train, valid, test, classes, group_names)

    @classmethod
    def from_official(
        cls,
        name: str,
        training: Split,
        test: Split,
        classes: int,
        group_names: Sequence[str] = (),
        validation: float = VALIDATION,
    ) -> Dataset:
        """Make one with an official test split: a tenth of the training split is for validation.

        That part is stratified by label, or taken from each group, and the same for every run.
        """
        classes = as_whole("classes", classes, "a whole number")
        _refuse_foreign(f"train of {name!r}", "labels", training.labels, classes)
        train, valid = map(training.only, two_ways(name, *training.strata, validation))
        return cls(name, train, valid, test, classes, group_names)

    def share_memory(self) -> None:
        """Move tensors to memory that processes share, where they are sent as handles."""
        for split in (self.train, self.validation, self.test):
            for tensor in (split.inputs, split.labels, split.groups):
                if tensor is not None:
                    tensor.share_memory_()

    @property
    def shape(self) -> torch.Size:
        """Of one example."""
        return self.train.inputs.shape[1:]

    @cached_property
    def fingerprint(self) -> str:
        """Hash the data, whatever its name: 32 hex digits.

        Taken once, when it is first asked for.
        """
        known = repr((int(self.classes), [str(name) for name in self.group_names]))
        digest = blake2b(known.encode(), digest_size=16)
        for split in (self.train, self.validation, self.test):
            digest.update(split.described.encode())
            for values in (split.inputs, split.labels, split.groups):
                if values is not None:
                    digest.update(values.detach().cpu().flatten().contiguous().numpy().data)
        return digest.hexdigest()

    @cached_property
    def halves_of_validation(self) -> tuple[Split, Split]:
        """Halves of the validation split, stratified by label: to be public, and for results."""
        public, rest = map(self.validation.only, halves(self.validation.strata[0]))
        return public, rest

    def held_out(self, name: str) -> Split:
        """Return the split that a run is evaluated on.

        Raises:
            SpecError: there is nothing in it.

        """
        split = {"validation": self.validation, "test": self.test}[name]
        if not len(split):
            raise SpecError(
                f"evaluate_on: {name}, as in tuning, of dataset {self.name}, of which nothing is "
                "held out for it; accepted: test, or a dataset with validation above 0"
            )
        return split


def as_tensor(field: str, values: object) -> Tensor:
    """Return a tensor as it is, and a copy of an array of numpy's as a tensor of its type.

    Raises:
        SpecError: it is neither, or holds other than numbers.

    """
    if isinstance(values, torch.Tensor):
        return values
    if np.ma.is_masked(values):
        raise SpecError(f"{field}: an array with masked values is not accepted: all of them")
    if isinstance(values, np.ndarray):
        try:
            # torch knows neither other byte orders nor negative strides
            return torch.from_numpy(values.astype(values.dtype.newbyteorder("="), order="C"))
        except (TypeError, ValueError):  # text, objects, records
            raise SpecError(
                f"{field}: an array of {values.dtype} is not accepted: numbers"
            ) from None
    raise SpecError(
        f"{field}: a {type(values).__name__} is not accepted: a torch tensor or a numpy array"
    )


def _whole(codes: Tensor) -> bool:
    """Tell whether torch.int64 holds whatever codes of this type may be."""
    return codes.dtype in (
        torch.int8, torch.int16, torch.int32, torch.int64,
        torch.uint8, torch.uint16, torch.uint32,
    )  # fmt: skip


def _refuse_foreign(split: str, kind: str, codes: Tensor, count: int) -> None:
    if not len(codes):
        raise SpecError(f"dataset: {split} has no examples")
    low, high = int(codes.min()), int(codes.max())
    if low < 0 or high >= count:
        known = "classes" if kind == "labels" else "group_names"
        raise SpecError(
            f"dataset: {split} has {kind} {low} to {high}; accepted: 0 to {count - 1}, "
            f"for {count} {known}"
        )
