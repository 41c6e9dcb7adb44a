"""Models by name: plain torch modules from (features, classes)."""

from collections.abc import Callable, Sequence
from importlib import import_module

import torch
from torch import Tensor, nn

from privrobust.data import Dataset
from privrobust.errors import SpecError, unknown_name
from privrobust.sampling import stream


def logistic(features: int, classes: int) -> nn.Module:
    """Multinomial logistic regression."""
    return nn.Sequential(nn.Flatten(), nn.Linear(features, classes))


def mlp(features: int, classes: int) -> nn.Module:
    """One hidden layer of 100 rectified units."""
    return nn.Sequential(nn.Flatten(), nn.Linear(features, 100), nn.ReLU(), nn.Linear(100, classes))


_EXAMPLES = 16  # to look at what a module does with a batch

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
        try:
            model = factory(features, classes)
        except Exception as error:  # whatever a user's factory raises
            raise SpecError(
                f"model: {name!r} failed for {features} features and {classes} classes "
                f"({type(error).__name__}: {error}); accepted: (features, classes) to a module"
            ) from error
    if not isinstance(model, nn.Module):
        raise SpecError(f"model: {name!r} made a {type(model).__name__}, not a torch.nn.Module")
    _refuse_unsound(name, model)
    _refuse_mixing(name, model, features, classes)
    return model


def initial_parameters(
    name: str, dataset: Dataset, seeds: Sequence[int]
) -> tuple[nn.Module, Tensor]:
    """The model, and the parameters `(seeds, dim)` that each seed starts it from.

    Parameters are flat, in the order of `named_parameters`. Buffers are the module's own.

    Raises:
        SpecError: as `build_model`, or the seeds' buffers differ, which lanes would share.

    """
    models = [build_model(name, dataset.features, dataset.classes, seed) for seed in seeds]
    for buffer, value in models[0].named_buffers():
        if any(not torch.equal(value, model.get_buffer(buffer)) for model in models):
            raise SpecError(f"model: buffer {buffer!r} of {name!r} depends on the seed")
    flat = [nn.utils.parameters_to_vector(model.parameters()).detach() for model in models]
    return models[0], torch.stack(flat)


def _factory(name: str) -> Callable[[int, int], nn.Module]:
    if name in _MODELS:
        return _MODELS[name]
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise unknown_name("model", name, _MODELS)
    try:
        factory: Callable[[int, int], nn.Module] = getattr(import_module(module), attribute)
    except Exception as error:  # whatever a user's module raises
        raise SpecError(f"model: cannot import {name!r} ({error})") from error
    if not callable(factory):
        raise SpecError(f"model: {name!r} is a {type(factory).__name__}, not callable")
    return factory


def _refuse_unsound(name: str, model: nn.Module) -> None:
    """Refuse layers that mix examples or draw numbers that no seed controls, and frozen ones."""
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


def _refuse_mixing(name: str, model: nn.Module, features: int, classes: int) -> None:
    """Refuse a module whose outputs have the wrong shape, or depend on company or on chance."""
    examples = torch.linspace(0, 1, _EXAMPLES * features).view(_EXAMPLES, features)
    with torch.no_grad():
        try:
            together = model(examples)
            apart = torch.cat([model(example) for example in examples.split(1)])
        except Exception as error:  # whatever a user's module raises
            raise SpecError(
                f"model: {name!r} failed on {tuple(examples.shape)} inputs "
                f"({type(error).__name__}: {str(error).splitlines()[0]})"
            ) from error
    if together.shape != (_EXAMPLES, classes):
        raise SpecError(
            f"model: {name!r} maps {tuple(examples.shape)} to {tuple(together.shape)}; "
            f"accepted: to {(_EXAMPLES, classes)}, a score for each class"
        )
    if not torch.allclose(together, apart, rtol=1e-4, atol=1e-5, equal_nan=True):
        raise SpecError(
            f"model: an output of {name!r} depends on the other examples of its batch, or on "
            "chance; accepted: modules that treat examples one by one"
        )
