"""Models by name: plain torch modules from (features, classes)."""

from collections.abc import Callable
from importlib import import_module

import torch
from torch import Tensor, nn

from privrobust.errors import SpecError, unknown_name
from privrobust.sampling import stream


def logistic(features: int, classes: int) -> nn.Module:
    """Multinomial logistic regression."""
    return nn.Sequential(nn.Flatten(), nn.Linear(features, classes))


def mlp(features: int, classes: int) -> nn.Module:
    """One hidden layer of 100 rectified units."""
    return nn.Sequential(nn.Flatten(), nn.Linear(features, 100), nn.ReLU(), nn.Linear(100, classes))


_MODELS: dict[str, Callable[[int, int], nn.Module]] = {"logistic": logistic, "mlp": mlp}


def available_models() -> list[str]:
    """Names that a spec may use."""
    return sorted(_MODELS)


def build_model(name: str, features: int, classes: int, seed: int) -> nn.Module:
    """The model of that name, its parameters drawn from the seed's own stream.

    Args:
        name: a known name, or `package.module:factory`, a callable `(features, classes)` that
            returns a torch module.
        features: numbers in one example.
        classes: labels.
        seed: the run's seed; equal seeds give equal parameters.

    Raises:
        SpecError: unknown name, or a module that has no per-sample gradients.

    """
    factory = _factory(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(seed, "parameters").initial_seed())
        model = factory(features, classes)
    _refuse_unsound(name, model, features)
    return model


def _factory(name: str) -> Callable[[int, int], nn.Module]:
    if name in _MODELS:
        return _MODELS[name]
    module, _, attribute = name.partition(":")
    if not attribute:
        raise unknown_name("model", name, _MODELS)
    try:
        factory: Callable[[int, int], nn.Module] = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise SpecError(f"model: cannot import {name!r} ({error})") from None
    return factory


def _refuse_unsound(name: str, model: nn.Module, features: int) -> None:
    """Refuse what mixes examples, draws numbers that no seed controls, or is not trained whole."""
    for path, layer in model.named_modules():
        kind = type(layer).__name__
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            raise SpecError(
                f"model: layer {path!r} of {name!r} is {kind}, which mixes the examples of a "
                "batch, so that no per-sample gradient exists; use torch.nn.GroupNorm instead"
            )
        if isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p > 0:
            raise SpecError(
                f"model: layer {path!r} of {name!r} is {kind}, whose draws no seed of a run "
                "controls; remove it or set p = 0"
            )
    if not list(model.parameters()):
        raise SpecError(f"model: {name!r} has no parameters to train")
    frozen = [path for path, value in model.named_parameters() if not value.requires_grad]
    if frozen:
        raise SpecError(f"model: parameter {frozen[0]!r} of {name!r} is frozen; all are trained")
    pair = torch.linspace(0, 1, 2 * features).view(2, features)
    with torch.no_grad():
        apart = torch.cat([model(pair[:1]), model(pair[1:])])
        if not torch.allclose(model(pair), apart, rtol=1e-4, atol=1e-5):
            raise SpecError(
                f"model: an output of {name!r} depends on the other examples of its batch, or on "
                "chance; accepted: modules that treat examples one by one"
            )


def flat_parameters(model: nn.Module) -> Tensor:
    """All parameters as one vector `(dim,)`, in the order of `named_parameters`."""
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()
