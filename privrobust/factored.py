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

Shapes: `examples = groups * size`; a group is the batch of one worker of one lane.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

# Numbers that are unfolded or formed together on the way to norms and sums (16 MiB).
_BLOCK = 1 << 22

# Terms that cancel down to less than this share of them are added in float64: what float32 leaves
# of them is not small against the norm that clips them.
_CANCELLED = 0.01

# Of terms, what float64 may leave where nothing else is left.
_ROUNDING = 1e-13

# Numbers of a matrix from which a batched product writes to a strided view as fast as to a new one.
_DIRECT = 1 << 14


class Use(NamedTuple):
    """One call of a layer: what went in, and the loss gradient of what came out."""

    inputs: Tensor
    """`(examples, ...)`"""
    errors: Tensor
    """`(examples, ...)`"""


class Gradients(Protocol):
    """The gradients of all examples with respect to one parameter, or to all of a layer."""

    def norms(self, order: int) -> Tensor:
        """L2 (order 2) or L1 (order 1) norm of each, `(examples,)`."""
        ...

    def sums(self, factors: Tensor, *out: Tensor) -> None:
        """Write the sum over each group of `factor * gradient`.

        Args:
            factors: `(groups, size)`.
            out: `(groups, *parameter)` for each parameter, views into flat messages.

        """
        ...


class Formed:
    """Gradients of one parameter as they are, `(examples, *parameter)`."""

    def __init__(self, gradients: Tensor) -> None:
        self._gradients = gradients

    def norms(self, order: int) -> Tensor:
        """Of each example's numbers."""
        return vector_norms(self._gradients, order)

    def sums(self, factors: Tensor, *out: Tensor) -> None:
        """One vector-matrix product a group."""
        (total,) = out
        gradients = self._gradients.reshape(*factors.shape, -1)
        _multiply(factors.unsqueeze(1), gradients, out=total.view(len(total), 1, -1))


class Zero:
    """Of parameters that the scores do not depend on."""

    def __init__(self, examples: int, device: torch.device) -> None:
        self._norms = torch.zeros(examples, device=device)

    def norms(self, order: int) -> Tensor:
        """Nothing."""
        return self._norms

    def sums(self, factors: Tensor, *out: Tensor) -> None:
        """Nothing."""
        for total in out:
            total.zero_()


class Joined:
    """Gradients of a layer, from those of each of its parameters."""

    def __init__(self, parts: list[Gradients]) -> None:
        self._parts = parts

    def norms(self, order: int) -> Tensor:
        """Of all parts as one vector."""
        parts = torch.stack([part.norms(order) for part in self._parts])
        norms: Tensor = torch.linalg.vector_norm(parts, order, dim=0, dtype=torch.float64)
        return norms.float()

    def sums(self, factors: Tensor, *out: Tensor) -> None:
        """One part a parameter."""
        for part, total in zip(self._parts, out, strict=True):
            part.sums(factors, total)


class Outer:
    """Gradients `e a^T` and, for the bias, `e` of a linear layer called once on `(examples, d)`."""

    def __init__(self, use: Use, has_bias: bool) -> None:
        self._inputs, self._errors = use
        self._has_bias = has_bias

    def norms(self, order: int) -> Tensor:
        """`|e| |(a, 1)|`, without the 1 if there is no bias."""
        inputs = vector_norms(self._inputs, order)
        if self._has_bias:
            inputs = inputs + 1 if order == 1 else inputs.hypot(torch.ones_like(inputs))
        return inputs.mul_(vector_norms(self._errors, order))

    def sums(self, factors: Tensor, *out: Tensor) -> None:
        """One matrix product a group."""
        errors = self._errors.view(*factors.shape, -1) * factors.unsqueeze(-1)
        _multiply(errors.mT, self._inputs.reshape(*factors.shape, -1), out=out[0])
        if self._has_bias:
            torch.sum(errors, 1, out=out[1])


class Matrices(NamedTuple):
    """Uses of a layer as matrices with a column a position."""

    errors: Tensor
    """`(examples, channel groups, p, T)`"""
    inputs: Tensor
    """`(examples, channel groups, d, T)`"""


class Ghost:
    """Gradients `sum_t e_t a_t^T` that are much larger than the matrices they come from.

    These are unfolded again when needed rather than kept.
    """

    def __init__(self, unfold: Callable[[], Matrices]) -> None:
        self._unfold = unfold
        self._dtype = torch.float64  # of the sums, until norms find that no terms cancel

    def norms(self, order: int) -> Tensor:
        """In L2 from Gram matrices, but of terms that cancel from the gradient itself.

        So they are in L1, where there is no other way. In float64: what has no norm is not clipped.
        """
        errors, inputs = (part.double() for part in self._unfold())
        terms = (errors.norm(order, dim=-2) * inputs.norm(order, dim=-2)).sum((1, 2))
        if order == 1:
            norms = (errors @ inputs.mT).abs().sum((1, 2, 3))
        else:
            squares = (errors.mT @ errors).mul_(inputs.mT @ inputs).sum((1, 2, 3))
            norms = squares.clamp_(min=0.0).sqrt_()
        cancelled = (~(norms >= _CANCELLED * terms)).nonzero().flatten().tolist()
        self._dtype = torch.float64 if cancelled else torch.float32
        for example in cancelled if order == 2 else []:
            norms[example] = (errors[example] @ inputs[example].mT).norm()
        return norms.add_(terms, alpha=_ROUNDING).float()

    def sums(self, factors: Tensor, *out: Tensor) -> None:
        """A product over the examples and positions of each group."""
        matrices = self._unfold()
        errors, inputs = (part.unflatten(0, factors.shape).to(self._dtype) for part in matrices)
        weighted = errors * factors[:, :, None, None, None].to(self._dtype)
        (total,) = out
        total.copy_(torch.einsum("gskpt,gskdt->gkpd", weighted, inputs).view(total.shape))


class Blocks:
    """Gradients in blocks of whole groups, so that no unfolding is ever whole."""

    def __init__(self, parts: list[Gradients], groups: int) -> None:
        """Of parts that hold so many groups each; the last may hold fewer."""
        self._parts = parts
        self._groups = groups

    def norms(self, order: int) -> Tensor:
        """Of one part after the other."""
        return torch.cat([part.norms(order) for part in self._parts])

    def sums(self, factors: Tensor, *out: Tensor) -> None:
        """Of one part after the other."""
        (total,) = out
        of_parts = zip(factors.split(self._groups), total.split(self._groups), strict=True)
        for part, (some, into) in zip(self._parts, of_parts, strict=True):
            part.sums(some, into)


def sum_of_outer(uses: list[Use], size: int, unfold: Callable[[Use], Matrices]) -> Gradients:
    """Gradients `sum_t e_t a_t^T` over the positions of every use of one weight.

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
    return Blocks([Formed(_product(block())) for block in blocks], groups)


def _product(matrices: Matrices) -> Tensor:
    return matrices.errors @ matrices.inputs.mT


class Rows:
    """Gradients of an embedding: every position adds its error to the row of its index."""

    def __init__(self, indices: Tensor, errors: Tensor) -> None:
        """Of indices `(examples, T)` and errors `(examples, T, width)`.

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
        """Of the rows that an example touches."""
        return vector_norms(self._errors, order)

    def sums(self, factors: Tensor, *out: Tensor) -> None:
        """Add every weighted row to its group's."""
        (total,) = out
        groups = torch.arange(len(total), device=total.device).repeat_interleave(factors.shape[1])
        weighted = self._errors * factors.reshape(-1, 1, 1)
        places = (groups.unsqueeze(-1).expand_as(self._rows), self._rows)
        total.zero_().index_put_(places, weighted, accumulate=True)


def _multiply(left: Tensor, right: Tensor, out: Tensor) -> None:
    """Matrix products into a strided view: directly only where that costs less than a copy."""
    if out[0].numel() >= _DIRECT:
        torch.bmm(left, right, out=out)
    else:
        out.copy_(torch.bmm(left, right))


def vector_norms(vectors: Tensor, order: int) -> Tensor:
    """Norm of each example's numbers, `(examples, ...)` to `(examples,)`.

    Squares in float32 vanish below 1e-23 and overflow above 1e19, and what seems to have no norm
    is not clipped: doubtful norms are taken again in float64.
    """
    flat = vectors.reshape(len(vectors), -1)
    norms: Tensor = torch.linalg.vector_norm(flat, order, dim=1)
    least, most = torch.stack(norms.aminmax()).tolist()
    if not (least > 1e-15 and most < math.inf):
        doubtful = ~((norms > 1e-15) & norms.isfinite())
        norms[doubtful] = torch.linalg.vector_norm(flat[doubtful].double(), order, dim=1).float()
    return norms
