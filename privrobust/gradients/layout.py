"""A model's parameters as one flat vector, in the order of `named_parameters`."""

from torch import Tensor, nn


class Layout:
    """Where each parameter of a model stands in the flat vector."""

    def __init__(self, model: nn.Module) -> None:
        self._shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
        self._sizes = [shape.numel() for shape in self._shapes.values()]
        self.layers: dict[str, list[str]] = {}
        """Every module that owns parameters, with their full names; they are neighbours."""
        for name in self._shapes:
            self.layers.setdefault(name.rpartition(".")[0], []).append(name)

    @property
    def layer_sizes(self) -> list[int]:
        """How many numbers each layer owns."""
        return [sum(self._shapes[name].numel() for name in names) for names in self.layers.values()]

    def unflatten(self, parameters: Tensor) -> dict[str, Tensor]:
        """Views of flat parameters `(..., dim)` by name, `(..., *shape)` each."""
        parts = parameters.split(self._sizes, dim=-1)
        leading = parameters.shape[:-1]
        return {
            name: part.view(leading + shape)
            for (name, shape), part in zip(self._shapes.items(), parts, strict=True)
        }
