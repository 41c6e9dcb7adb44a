"""Opacus in source that is only read: `make_private` and `make_private_with_epsilon`."""

import ast
from collections.abc import Iterator, Sequence

from privrobust.federated.check.claims import SampleNoise
from privrobust.federated.check.settings import Known
from privrobust.federated.check.source import Call, Source
from privrobust.federated.check.unknown import Unknown

_HANDLERS = {"train", "fit"}
_ARGUMENTS = ("noise_multiplier", "target_epsilon", "target_delta", "epochs", "poisson_sampling")


def sample_noise(
    calls: Sequence[Call], source: Source, known: Known, rounds: int | None
) -> Iterator[SampleNoise]:
    """Yield what Opacus is asked for."""
    for call in calls:
        last = call.name.rpartition(".")[2]
        if last not in ("make_private", "make_private_with_epsilon"):
            continue
        if call.arguments() is None:  # ** may hold anything
            values: dict[str, object] = dict.fromkeys(_ARGUMENTS, Unknown("**"))
        else:
            values = source.given(call)
        finds_noise = last == "make_private_with_epsilon"
        yield SampleNoise(
            where=call.where,
            what=f"Opacus, {last}",
            noise_multiplier=None
            if finds_noise
            else known.number("noise_multiplier", values.get("noise_multiplier")),
            epsilon=known.number("epsilon", values.get("target_epsilon")),
            claimed_epochs=known.number("claimed_epochs", values.get("epochs")),
            finds_noise=finds_noise,
            delta=known.number("delta", values.get("target_delta")),
            dataset_size=known.whole("dataset_size"),
            batch_size=known.whole("batch_size"),
            epochs=known.whole("epochs"),
            rounds=rounds,
            lasts=known.truth("engine_lasts", False if _is_made_anew(call) else None),
            is_poisson=values.get("poisson_sampling", True) is True,
        )


def _is_made_anew(call: Call) -> bool:
    """Tell whether a call stands right in what handles each message of a Flower client."""
    for node in call.module.enclosing(call.node):
        if isinstance(node, ast.If | ast.Lambda):
            return False
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            decorators = [
                each.func if isinstance(each, ast.Call) else each for each in node.decorator_list
            ]
            names = {each.attr for each in decorators if isinstance(each, ast.Attribute)}
            return node.name == "fit" or bool(names & _HANDLERS)
    return False
