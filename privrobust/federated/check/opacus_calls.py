"""Opacus in source that is only read: `make_private` and `make_private_with_epsilon`."""

import ast
from collections.abc import Iterator, Sequence

from privrobust.federated.check.claims import SampleNoise
from privrobust.federated.check.settings import Known
from privrobust.federated.check.source import Call, Source, Unknown

_HANDLERS = {"train", "fit"}


def sample_noise(
    calls: Sequence[Call], source: Source, known: Known, rounds: int | None
) -> Iterator[SampleNoise]:
    """Yield what Opacus is asked for."""
    for call in calls:
        last = call.name.rpartition(".")[2]
        if last not in ("make_private", "make_private_with_epsilon"):
            continue
        arguments = call.arguments() or {}
        values = {
            name: None if isinstance(value, Unknown) else value
            for name, node in arguments.items()
            for value in [source.value(node, call.module)]
        }
        finds_noise = last == "make_private_with_epsilon"
        yield SampleNoise(
            where=call.where,
            what=f"Opacus, {last}",
            noise_multiplier=None
            if finds_noise
            else known.number("noise_multiplier", values.get("noise_multiplier")),
            epsilon=known.number("epsilon", values.get("target_epsilon")),
            claimed_epochs=known.number("epochs", values["epochs"], by_name=False)
            if values.get("epochs") is not None
            else None,
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
