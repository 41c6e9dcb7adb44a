"""What may be trained: modules that treat examples one by one, and where a seed starts them.

What is refused here is refused early, with advice. That no example sees another is not left to it:
`privrobust.gradients.clipped_sums` calls any module that is not proven on single examples.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from privrobust.core.numbers import as_whole
from privrobust.core.random import stream
from privrobust.data import Dataset
from privrobust.errors import SpecError, in_a_line, is_of_the_call
from privrobust.gradients.isolation import own_copy
from privrobust.gradients.layer_rules import has_rule
from privrobust.gradients.row_wise import HOOKS
from privrobust.models.registry import get_factory

EXAMPLES = 16  # to look at what a module does with a batch


def build_model(name: str, dataset: Dataset, seed: int) -> nn.Module:
    """Make the model of that name, its parameters drawn from the seed's own stream.

    Args:
        name: a known name, perhaps with parameters, `mlp(hidden=32)`, or
            `package.module:factory`, a callable `(shape, classes)` that returns a torch module for
            examples of that shape.
        dataset: what it is to learn.
        seed: the run's seed; equal seeds give equal parameters.

    Raises:
        SpecError: unknown name, or a module that has no per-sample gradients.

    """
    model = _made(name, dataset, seed)
    _refuse_mixing(name, model, dataset.train.examples(slice(EXAMPLES)), dataset.classes)
    return model


def check_module(name: str, model: nn.Module, examples: Tensor) -> int:
    """Refuse a module that no run could train.

    Args:
        name: what errors call it.
        model: it; it stays as it is.
        examples: a few inputs.

    Returns:
        How many classes it scores.

    Raises:
        SpecError: it has no per-sample gradients.

    """
    _refuse_unsound(name, model)
    return _refuse_mixing(name, model, examples)


def _made(name: str, dataset: Dataset, seed: int) -> nn.Module:
    """Make what `build_model` does, its layers looked at but not what they do with a batch."""
    factory = get_factory(name)
    seed = as_whole("seed", seed, "a whole number, 0 or more", least=0)
    shape, classes = dataset.shape, dataset.classes
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(seed, "parameters").initial_seed())
        try:
            model = factory(shape, classes)
        except SpecError:
            raise
        except Exception as error:  # whatever a user's factory raises
            if is_of_the_call(error):
                raise SpecError(
                    f"model: {name!r} cannot be called so; accepted: (shape, classes) to a module"
                ) from error
            raise SpecError(
                f"model: {name!r} failed for examples of shape {tuple(shape)} and {classes} "
                f"classes ({in_a_line(error)})"
            ) from error
    if not isinstance(model, nn.Module):
        raise SpecError(f"model: {name!r} made a {type(model).__name__}, not a torch.nn.Module")
    _refuse_unsound(name, model)
    return model


def initial_parameters(
    name: str, dataset: Dataset, seeds: Sequence[int]
) -> tuple[nn.Module, Tensor]:
    """Make the model, and the parameters `(seeds, dim)` that each seed starts it from.

    Parameters are flat, in the order of `named_parameters`. Buffers are the module's own.

    Raises:
        SpecError: as `build_model`, or the seeds' buffers differ, which lanes would share.

    """
    # what a module does is looked at once: the others give it their parameters
    models = [build_model(name, dataset, seed) for seed in seeds[:1]]
    models += [_made(name, dataset, seed) for seed in seeds[1:]]
    for buffer, value in models[0].named_buffers():
        if any(not torch.equal(value, model.get_buffer(buffer)) for model in models):
            raise SpecError(f"model: buffer {buffer!r} of {name!r} depends on the seed")
    flat = [nn.utils.parameters_to_vector(model.parameters()).detach() for model in models]
    return models[0], torch.stack(flat)


def _refuse_unsound(name: str, model: nn.Module) -> None:
    """Refuse layers that mix examples or draw numbers that no seed controls, and frozen ones."""
    for path, layer in model.named_modules():
        kind = type(layer).__name__
        if compiler := _compiler(layer):
            raise SpecError(
                f"model: layer {path!r} of {name!r} is made by {compiler}, whose code no gradient "
                "of single examples sees into; give the torch.nn.Module that it was made from"
            )
        if any(getattr(layer, hooks) for hooks in HOOKS):
            raise SpecError(
                f"model: layer {path!r} of {name!r} is {kind} with a hook, which may keep what it "
                "sees; do its work in a forward method"
            )
        if "forward" in vars(layer):
            raise SpecError(
                f"model: layer {path!r} of {name!r} is {kind} with a forward of its own, which "
                "copies may share; define it in a class"
            )
        if objection := _objection(layer):
            raise SpecError(f"model: layer {path!r} of {name!r} is {kind}: {objection}")
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


def _compiler(layer: nn.Module) -> str | None:
    """Name what made a module that is no plain Python any more, or a function that it holds."""
    if isinstance(layer, torch.jit.ScriptModule):
        return "torch.jit"
    if any(isinstance(value, torch.jit.ScriptFunction) for value in vars(layer).values()):
        return "torch.jit"
    return "torch.compile" if type(layer).__module__.startswith("torch._dynamo") else None


# opacus refuses these because its hooks do not see into them, not because a private gradient does
# not exist: ours are differentiated example by example.
_SEEN_INTO = (nn.RNNBase, nn.MultiheadAttention)

_REMEDIES = {
    nn.modules.batchnorm._BatchNorm: "use torch.nn.GroupNorm instead",
    nn.modules.instancenorm._InstanceNorm: "set track_running_stats=False",
}


def _objection(layer: nn.Module) -> str | None:
    """Say why opacus's ModuleValidator would not train this layer privately, and what to do."""
    if has_rule(layer) or isinstance(layer, _SEEN_INTO):
        return None
    held = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
    if not held and not isinstance(layer, tuple(_REMEDIES)):  # nothing private to get wrong
        return None
    from opacus.validators import ModuleValidator  # which takes seconds to import

    judges = [ModuleValidator.VALIDATORS.get(kind) for kind in type(layer).__mro__]
    problems = [problem for judge in judges if judge for problem in judge(layer)]
    if not problems:
        return None
    reason = " ".join(str(problems[0]).split()).split(". ")[0]
    remedies = [text for kind, text in _REMEDIES.items() if isinstance(layer, kind)]
    return "; ".join([reason, *remedies])


def _refuse_mixing(
    name: str, model: nn.Module, examples: Tensor, classes: int | None = None
) -> int:
    """Refuse a module whose outputs have the wrong shape, or depend on company or on chance."""
    expected = f"({len(examples)}, {classes or 'classes'})"
    with torch.no_grad():
        try:  # on copies: what is trained is the module as its factory left it
            together = own_copy(model)(examples.clone())
            if not isinstance(together, Tensor):
                raise SpecError(
                    f"model: forward of {name!r} returned a {type(together).__name__}; accepted: "
                    f"one tensor {expected}, a score for each class"
                )
            apart = torch.cat([own_copy(model)(each.clone()) for each in examples.split(1)])
        except SpecError:
            raise
        except Exception as error:  # whatever a user's module raises
            raise SpecError(
                f"model: {name!r} failed on {tuple(examples.shape)} inputs ({in_a_line(error)})"
            ) from error
    if together.dim() != 2 or together.shape != (len(examples), classes or together.shape[-1]):
        raise SpecError(
            f"model: {name!r} maps {tuple(examples.shape)} to {tuple(together.shape)}; "
            f"accepted: to {expected}, a score for each class"
        )
    if not torch.allclose(together, apart, rtol=1e-4, atol=1e-5, equal_nan=True):
        raise SpecError(
            f"model: an output of {name!r} depends on the other examples of its batch, or on "
            "chance; accepted: modules that treat examples one by one"
        )
    return together.shape[1]
