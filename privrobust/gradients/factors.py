"""Per-sample gradients of a layer's parameters, kept as the factors that make them.

The gradient of one example with respect to a weight matrix is a sum over positions (the pixels of
a convolution, the words of a sentence) of outer products, `sum_t e_t a_t^T`, of output gradients e,
p wide, and inputs a, d wide. Norms and clipped sums need less than these matrices:

- with one position the norm is `|e| |a|` (Goodfellow 2015), in L2 and in L1;
- with T positions its square is `sum_st (e_s . e_t) (a_s . a_t)`, from two T x T Gram matrices
  (ghost norms, Li et al. 2022), in `T^2 (p + d)` products;
- or the matrix itself is formed, in `T p d` products.

Gram matrices take fewer products exactly where the matrix, `p d`, is larger than the activations
that it comes from, `T (p + d)`, but take them in float64, at half the speed. So a matrix is formed
where it is at most twice as large, and memory does not grow with examples x parameters.

Norms and sums come from the same factors, and both are taken in float64: what is added is what was
measured, whether or not it is the gradient (`privrobust.gradients.summation` bounds what rounding
may add).

Shapes: `examples = groups * size`; a group is the batch of one worker of one lane.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from privrobust.gradients.summation import add_up, longest, product

# Numbers that are unfolded or formed together on the way to norms and sums (16 MiB).
_BLOCK = 1 << 22

# Numbers that become float64 together (2 MiB): more would leave the processor's cache.
_WIDENED = 1 << 18

# How much larger than a gradient the sizes of its terms may be: beyond, they are said to cancel.
_CANCELLATION = 1 << 7


class Use(NamedTuple):
    """One call of a layer: what went in, and the loss gradient of what came out."""

    inputs: Tensor
    """`(examples, ...)`"""
    errors: Tensor
    """`(examples, ...)`"""


class Gradients(Protocol):
    """The gradients of all examples with respect to one parameter, or to all of a layer."""

    def norms(self, order: int) -> Tensor:
        """Measure the L2 (order 2) or L1 (order 1) norm of each, `(examples,)`, float64."""
        ...

    def sums(self, factors: Tensor, *out: Tensor) -> None:
        """Write the sum over each group of `factor * gradient`.

        Args:
            factors: `(groups, size)`, float64; 0 where a gradient is not finite.
            out: `(groups, *parameter)` for each parameter, float64 views into flat sums.

        """
        ...


class Formed:
    """Gradients of one parameter as they are, `(examples, *parameter)`."""

    def __init__(self, gradients: Tensor) -> None:
        self._gradients = gradients

    def norms(self, order: int) -> Tensor:
        """Measure each example's numbers."""
        return vector_norms(self._gradients, order)

    def sums(self, factors: Tensor, *out: Tensor) -> None:
        """Take one vector-matrix product a group."""
        groups, size = factors.shape
        gradients = self._gradients.reshape(groups, size, -1)
        at_once = max(1, _WIDENED // max(1, gradients[0].numel()))
        parts = (each.split(at_once) for each in (factors, gradients, out[0].view(groups, 1, -1)))
        for some, wanted, into in zip(*parts, strict=True):
            product(some.unsqueeze(1), wanted.double(), into, size)


class Zero:
    """Of parameters that the scores do not depend on."""

    def __init__(self, examples: int, device: torch.device) -> None:
        self._norms = torch.zeros(examples, dtype=torch.float64, device=device)

    def norms(self, order: int) -> Tensor:
        """Return zeros."""
        return self._norms

    def sums(self, factors: Tensor, *out: Tensor) -> None:
        """Write zeros."""
        for total in out:
            total.zero_()


class Joined:
    """Gradients of a layer, from those of each of its parameters."""

    def __init__(self, parts: list[Gradients]) -> None:
        self._parts = parts

    def norms(self, order: int) -> Tensor:
        """Measure all parts as one vector."""
        parts = torch.stack([part.norms(order) for part in self._parts])
        norms: Tensor = torch.linalg.vector_norm(parts, order, dim=0)
        return norms

    def sums(self, factors: Tensor, *out: Tensor) -> None:
        """Sum one part a parameter."""
        for part, total in zip(self._parts, out, strict=True):
            part.sums(factors, total)


class Outer:
    """Gradients `e a^T` and, for the bias, `e` of a linear layer called once on `(examples, d)`."""

    def __init__(self, use: Use, has_bias: bool) -> None:
        self._inputs, self._errors = (part.double() for part in use)
        self._has_bias = has_bias

    def norms(self, order: int) -> Tensor:
        """Multiply `|e| |(a, 1)|`, without the 1 if there is no bias."""
        inputs = vector_norms(self._inputs, order)
        if self._has_bias:
            inputs = inputs + 1 if order == 1 else inputs.hypot(torch.ones_like(inputs))
        return inputs.mul_(vector_norms(self._errors, order))

    def sums(self, factors: Tensor, *out: Tensor) -> None:
        """Take one matrix product a group."""
        size = factors.shape[1]
        errors = self._errors.view(*factors.shape, -1)
        inputs = self._inputs.reshape(*factors.shape, -1)
        product((errors * factors.unsqueeze(-1)).mT, inputs, out[0], size)
        if self._has_bias:
            product(factors.unsqueeze(1), errors, out[1].unsqueeze(1), size)


class Matrices(NamedTuple):
    """Uses of a layer as matrices with a column a position."""

    errors: Tensor
    """`(examples, channel groups, p, T)`"""
    inputs: Tensor
    """`(examples, channel groups, d, T)`"""


class Ghost:
    """Gradients `sum_t e_t a_t^T` that are much larger than the matrices they come from.

    These are unfolded again when needed rather than kept. A gradient whose terms cancel is kept:
    the sizes of its terms, and with them what rounding does to their sum, are not small against
    the norm that clips it.
    """

    def __init__(self, unfold: Callable[[], Matrices]) -> None:
        self._unfold = unfold
        self._cancelled: dict[int, Tensor] = {}  # gradients by example, once norms are measured

    def norms(self, order: int) -> Tensor:
        """Measure in L2 from Gram matrices, in L1 and where terms cancel from the gradient."""
        errors, inputs = (part.double() for part in self._unfold())
        terms = (errors.norm(order, dim=-2) * inputs.norm(order, dim=-2)).sum((1, 2))
        if order == 1:
            norms = (errors @ inputs.mT).abs().sum((1, 2, 3))
        else:  # axis by axis: sums of T terms, not of T^2
            squares = (errors.mT @ errors).mul_(inputs.mT @ inputs).sum(3).sum(2).sum(1)
            norms = squares.clamp_(min=0.0).sqrt_()
        for example in (~(norms * _CANCELLATION >= terms)).nonzero().flatten().tolist():
            gradient = errors[example] @ inputs[example].mT
            norms[example] = torch.linalg.vector_norm(gradient, order)
            self._cancelled[example] = gradient
        return norms

    def sums(self, factors: Tensor, *out: Tensor) -> None:
        """Multiply over the examples and positions of each group."""
        size = factors.shape[1]
        matrices = self._unfold()
        errors, inputs = (part.unflatten(0, factors.shape).double() for part in matrices)
        weights = factors.flatten().clone()
        weights[list(self._cancelled)] = 0.0
        # (groups, channel groups, p or d, size * T)
        left = errors * weights.view(*factors.shape, 1, 1, 1)
        left = left.permute(0, 2, 3, 1, 4).flatten(3)
        right = inputs.permute(0, 2, 1, 4, 3).flatten(2, 3)
        total = out[0].view(*left.shape[:3], right.shape[-1])
        product(left, right, total, size, _CANCELLATION)
        for group in {example // size for example in self._cancelled}:
            held = [
                gradient.nan_to_num(0.0, 0.0, 0.0) * factors[group, example % size]
                for example, gradient in self._cancelled.items()
                if example // size == group
            ]
            add_up([total[group].clone(), *held], total[group])


class Blocks:
    """Gradients in blocks of whole groups, so that no unfolding is ever whole."""

    def __init__(self, parts: list[Gradients], groups: int) -> None:
        """Join parts that hold so many groups each; the last may hold fewer."""
        self._parts = parts
        self._groups = groups

    def norms(self, order: int) -> Tensor:
        """Measure one part after the other."""
        return torch.cat([part.norms(order) for part in self._parts])

    def sums(self, factors: Tensor, *out: Tensor) -> None:
        """Sum one part after the other."""
        (total,) = out
        of_parts = zip(factors.split(self._groups), total.split(self._groups), strict=True)
        for part, (some, into) in zip(self._parts, of_parts, strict=True):
            part.sums(some, into)


def sum_of_outer(uses: list[Use], size: int, unfold: Callable[[Use], Matrices]) -> Gradients:
    """Make the gradients `sum_t e_t a_t^T` over the positions of every use of one weight.

    Args:
        uses: of the layer.
        size: examples of a group.
        unfold: what turns some examples of a use into matrices.

    """

    def matrices(examples: slice) -> Matrices:
        parts = [unfold(Use(use.inputs[examples], use.errors[examples])) for use in uses]
        if len(parts) == 1:
            return parts[0]
        errors, inputs = zip(*parts, strict=True)
        return Matrices(torch.cat(errors, dim=-1), torch.cat(inputs, dim=-1))

    sample = matrices(slice(0, 1))
    (p, positions), d = sample.errors.shape[-2:], sample.inputs.shape[-2]
    groups = max(1, _BLOCK // (size * (sample.errors.numel() + sample.inputs.numel())))
    starts = range(0, len(uses[0].errors), groups * size)
    blocks = [partial(matrices, slice(start, start + groups * size)) for start in starts]
    if p * d > 2 * positions * (p + d):
        return Blocks([Ghost(block) for block in blocks], groups)
    formed = (block() for block in blocks)
    return Blocks([Formed(each.errors @ each.inputs.mT) for each in formed], groups)


class Rows:
    """Gradients of an embedding: every position adds its error to the row of its index."""

    def __init__(self, indices: Tensor, errors: Tensor) -> None:
        """Take indices `(examples, T)` and errors `(examples, T, width)`.

        Errors of equal index are added up at once: what is clipped is what is measured, however
        much they cancel.
        """
        indices, positions = indices.long().sort(dim=1)
        is_new = indices.diff(dim=1, prepend=indices[:, :1]) != 0
        place = is_new.cumsum(1)
        wide = place.unsqueeze(-1).expand_as(errors)
        errors = errors.gather(1, positions.unsqueeze(-1).expand_as(errors))
        self._rows = torch.zeros_like(indices).scatter_(1, place, indices)
        self._errors = torch.zeros_like(errors).scatter_add_(1, wide, errors)

    def norms(self, order: int) -> Tensor:
        """Measure the rows that an example touches."""
        return vector_norms(self._errors, order)

    def sums(self, factors: Tensor, *out: Tensor) -> None:
        """Add every weighted row to its group's."""
        (total,) = out
        examples = factors.shape[1]
        rows = self._rows.unflatten(0, factors.shape)
        errors = self._errors.unflatten(0, factors.shape)
        groups = torch.arange(len(total), device=total.device).view(-1, 1, 1)

        def add(to: Tensor, some: slice) -> Tensor:
            weighted = errors[:, some].double() * factors[:, some, None, None]
            places = (groups.expand_as(rows[:, some]), rows[:, some])
            return to.index_put_(places, weighted, accumulate=True)

        at_once = longest(examples)  # of a row an example has one sum
        if examples <= at_once:
            add(total.zero_(), slice(None))
        else:
            starts = range(0, examples, at_once)
            parts = (slice(start, start + at_once) for start in starts)
            add_up((add(torch.zeros_like(total), part) for part in parts), total)


def vector_norms(vectors: Tensor, order: int) -> Tensor:
    """Measure the norm of each example's numbers, `(examples, ...)` to `(examples,)`, in float64.

    There the squares of float32 numbers neither vanish nor overflow, and a sum of d of them is off
    by `d 2^-53` at most.
    """
    flat = vectors.reshape(len(vectors), -1)
    at_once = max(1, _WIDENED // max(1, flat.shape[1]))
    norms = [torch.linalg.vector_norm(some.double(), order, dim=1) for some in flat.split(at_once)]
    return torch.cat(norms)
