"""A model's parameters as one flat vector, in the order of `named_parameters`.

Messages, aggregates and noise are flat; modules and layer rules want parameters by name. A run
makes the layout of its model once.

>>> layout = Layout(nn.Linear(3, 2))
>>> layout.dim, layout.layers, layout.layer_sizes
(8, {'': ['weight', 'bias']}, [8])
"""

from torch import Tensor, nn


class Layout:
    """Where each parameter of a model, and of its copies, stands in the flat vector."""

    def __init__(self, model: nn.Module) -> None:
        self._shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
        self._sizes = [shape.numel() for shape in self._shapes.values()]
        self.dim = sum(self._sizes)
        """How many numbers the model is trained by."""
        self.layers: dict[str, list[str]] = {}
        """Every module that owns parameters, with their full names; they are neighbours."""
        for name in self._shapes:
            self.layers.setdefault(name.rpartition(".")[0], []).append(name)

    @property
    def layer_sizes(self) -> list[int]:
        """How many numbers each layer owns."""
        return [sum(self._shapes[name].numel() for name in names) for names in self.layers.values()]

    def unflatten(self, parameters: Tensor) -> dict[str, Tensor]:
        """Take flat parameters `(..., dim)` apart, to views by name, `(..., *shape)` each."""
        parts = parameters.split(self._sizes, dim=-1)
        leading = parameters.shape[:-1]
        return {
            name: part.view(leading + shape)
            for (name, shape), part in zip(self._shapes.items(), parts, strict=True)
        }
