"""Read a Flower app: its pyproject.toml, and the source that this names, which is not run.

What is looked for: LocalDpMod and the DifferentialPrivacy... wrappers of `flwr`, of either of its
two interfaces; the strategy inside a wrapper; how many rounds there are; what is accounted.
"""

import ast
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from privrobust.core.numbers import as_float
from privrobust.errors import SpecError, in_short, shown
from privrobust.federated.check.claims import (
    Accounting,
    Adaptive,
    CentralNoise,
    Claim,
    LocalNoise,
    Reading,
    Unread,
)
from privrobust.federated.check.files import content
from privrobust.federated.check.mods import is_among_mods
from privrobust.federated.check.opacus_calls import sample_noise
from privrobust.federated.check.our_mods import our_noise
from privrobust.federated.check.settings import Known, answered, setting_called
from privrobust.federated.check.source import Call, Module, Source, calls
from privrobust.federated.check.unknown import Unknown

FILE = "pyproject.toml"
_WRAPPERS = {
    "DifferentialPrivacyServerSideFixedClipping",
    "DifferentialPrivacyClientSideFixedClipping",
    "DifferentialPrivacyServerSideAdaptiveClipping",
    "DifferentialPrivacyClientSideAdaptiveClipping",
}
_FIXED = ("strategy", "noise_multiplier", "clipping_norm", "num_sampled_clients")
_ADAPTIVE = (
    "strategy",
    "noise_multiplier",
    "num_sampled_clients",
    "initial_clipping_norm",
    "target_clipped_quantile",
    "clip_norm_lr",
    "clipped_count_stddev",
)
_LOCAL = ("clipping_norm", "sensitivity", "epsilon", "delta")
_OLDER = {"DPFedAvgFixed", "DPFedAvgAdaptive", "DPFedAvgNumPyClient"}
_CLIPPING_MODS = {"fixedclipping_mod", "adaptiveclipping_mod"}
_SUMMING_MODS = {"secagg_mod", "secaggplus_mod"}
_AGGREGATION = {"aggregate_train", "aggregate_fit"}
_START = ("grid", "initial_arrays", "num_rounds")
_STRATEGY = ("fraction_train", "fraction_evaluate", "min_train_nodes")
_MADE_BY_WORD = {"noise_multiplier", "epsilon", "clipping_norm", "sensitivity"}
_SAMPLING: Mapping[str, Any] = {
    "POISSON": "poisson",
    "WITHOUT_REPLACEMENT": "without-replacement",
    "NO_AMPLIFICATION": "no-amplification",
}

_OF_ALL = (
    "Budgets are of one run: Flower keeps nothing between runs, so each further run on the same "
    "data spends as much again.",
    "Metrics, the number of examples among them, leave clients neither clipped nor noised, and are "
    "in no epsilon here.",
)
_OF_ITS_NOISE = (
    "Flower's clipping lets an update with a NaN through unclipped, and fails where an update is "
    "0; its noise on arrays of whole numbers is cut to whole numbers, small noise to none.",
    "Flower's noise comes from np.random, which is no cryptographic source and repeats where a "
    "seed is set; in floating point no noise is exactly Gaussian (Mironov 2012).",
)


def read_flower_app(path: Path, changes: Sequence[str] = ()) -> Reading:
    """Read an app.

    Args:
        path: its folder, or its pyproject.toml.
        changes: `name=value`, of settings and of keys of its configuration.

    Raises:
        SpecError: it is none, or says what cannot be.

    """
    file = path / FILE if path.is_dir() else path
    table = _table(file)
    app = _inside(table, "tool", "flwr", "app")
    if not isinstance(app, dict):
        raise SpecError(
            f"{shown(str(file), 200)}: no [tool.flwr.app]; accepted: the pyproject.toml of a "
            "Flower app"
        )
    config = _supernodes(table) | _config(app.get("config", {}), file)
    answers, config = answered(changes, config)
    known = Known(config, answers, f"{file.name}: ")
    source = Source(file.parent, config)
    names = _components(app.get("components"), file)
    for name in names:
        if source.module(name) is None:
            raise SpecError(f"{file.name}: {name} is not there; accepted: source beside it")
    modules = source.reached(names)
    read = _Reader(source, modules, known)
    claims = tuple(read.claims())
    notes: tuple[str, ...] = _OF_ALL if claims else ()
    if any(isinstance(claim, LocalNoise | CentralNoise) for claim in claims):
        notes += _OF_ITS_NOISE
    return Reading(kind="Flower app", path=str(path), claims=claims, notes=notes)


def _table(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(content(file))
    except tomllib.TOMLDecodeError as error:
        raise SpecError(
            f"{shown(str(file), 200)}: not valid TOML ({in_short(str(error))})"
        ) from None
    except RecursionError:
        raise SpecError(f"{shown(str(file), 200)}: not valid TOML (too deep to read)") from None


def _inside(table: object, *names: str) -> Any:
    """Return what is at the end of a path of tables; None where it does not lead there."""
    for name in names:
        table = table.get(name) if isinstance(table, dict) else None
    return table


def _supernodes(table: object) -> dict[str, object]:
    """Return how many clients the default federation simulates, where an app says it."""
    federations = _inside(table, "tool", "flwr", "federations")
    default = _inside(federations, "default")
    name = default if isinstance(default, str) else ""
    count = _inside(federations, name, "options", "num-supernodes")
    return {"num-supernodes": count} if isinstance(count, int) else {}


def _config(given: object, file: Path, within: str = "") -> dict[str, object]:
    """Return a configuration by flat names, as Flower makes them: `a.b`."""
    if not isinstance(given, dict):
        raise SpecError(f"{file.name}: [tool.flwr.app.config] is {shown(given)}, not a table")
    flat: dict[str, object] = {}
    for key, value in given.items():
        if isinstance(value, dict):
            flat |= _config(value, file, f"{within}{key}.")
        elif isinstance(value, bool | int | float | str):
            flat[f"{within}{key}"] = value
        else:
            raise SpecError(
                f"{file.name}: {in_short(within + key)}: {shown(value)} is not accepted: a number, "
                "text, true or false"
            )
    return flat


def _components(given: object, file: Path) -> list[str]:
    """Return the modules of an app's two components."""
    names = []
    for component in ("serverapp", "clientapp"):
        text = given.get(component) if isinstance(given, dict) else None
        module = text.partition(":")[0] if isinstance(text, str) else ""
        if not module or not all(part.isidentifier() for part in module.split(".")):
            said = "is missing" if text is None else f"is {shown(text)}"
            raise SpecError(
                f"{file.name}: [tool.flwr.app.components] {component} {said}; accepted: "
                "module:object"
            )
        names.append(module)
    return names


class _Reader:
    """What an app's modules say."""

    def __init__(self, source: Source, modules: Sequence[Module], known: Known) -> None:
        self._source, self._modules, self._known = source, modules, known
        self._calls = list(calls(modules))
        self._rounds = known.whole("rounds", self._stated_rounds())

    def claims(self) -> Iterator[Claim]:
        found = [
            *self._of_flower(),
            *our_noise(self._calls, self._source, self._known, self._rounds),
            *sample_noise(self._calls, self._source, self._known, self._rounds),
        ]
        yield from found
        if found:
            return
        unused = [key for key in self._known.config if _says_privacy(key)]
        for key in unused:
            yield Unread(
                where=self._known.place.removesuffix(": "),
                what=in_short(key),
                claim=in_short(f"{key} = {self._known.config[key]}"),
                question="no class of Flower or Opacus takes it in the source that was read: what "
                "does?",
            )

    def _of_flower(self) -> Iterator[Claim]:
        for call in self._calls:
            root, _, last = call.name.rpartition(".")
            if root.partition(".")[0] != "flwr":
                continue
            if last == "LocalDpMod":
                yield self._local(call)
            elif last in _WRAPPERS:
                yield self._central(call, last)
            elif last in _OLDER:
                yield Unread(
                    where=call.where,
                    what=last,
                    claim="an older class of Flower's",
                    question=f"{last} is deprecated and not read here: which of the newer classes?",
                )

    def _local(self, call: Call) -> LocalNoise:
        given, known = self._source.given(call, _LOCAL), self._known
        return LocalNoise(
            where=call.where,
            what="LocalDpMod",
            **{name: known.number(name, given.get(name)) for name in _LOCAL},
            rounds=self._rounds,
            is_used=self._known.truth("clips", self._is_among_mods("LocalDpMod")),
        )

    def _central(self, call: Call, name: str) -> CentralNoise:
        is_adaptive = "Adaptive" in name
        given = self._source.given(call, _ADAPTIVE if is_adaptive else _FIXED)
        known, accounting = self._known, self._accounting(call)
        divisor = known.whole("num_sampled_clients", given.get("num_sampled_clients"))
        inside = self._strategy(call)
        by_client = "ClientSide" in name
        clips = known.truth("clips", self._is_among_mods(*_CLIPPING_MODS)) if by_client else True
        summed = known.truth("secure_aggregation")
        if summed is None:
            summed = None if self._is_among_mods(*_SUMMING_MODS) else False
        return CentralNoise(
            where=call.where,
            what=name,
            **inside,
            clips_at="client" if by_client else "server",
            is_clipped=clips,
            adaptive=_adaptive(given, divisor) if is_adaptive else None,
            noise_multiplier=known.number("noise_multiplier", given.get("noise_multiplier")),
            num_sampled_clients=divisor,
            clients=known.whole("clients", accounting and accounting.population_size),
            largest_share=known.number("largest_share"),
            delta=known.number("delta", accounting and accounting.delta),
            epsilon=known.number("epsilon", accounting and accounting.max_epsilon),
            rounds=self._rounds,
            accounting=accounting,
            secure_aggregation=summed,
        )

    def _strategy(self, wrapper: Call) -> dict[str, Any]:
        """Return which rule is inside a wrapper, and its settings."""
        arguments = wrapper.arguments(("strategy",)) or {}
        node, module = arguments.get("strategy"), wrapper.module
        if node is None:
            return {"rule": None}
        made, home = self._source.resolved(node, module)
        full = home.dotted(made.func) if isinstance(made, ast.Call) else None
        if not isinstance(made, ast.Call) or full is None:
            return {"rule": None}
        given = self._source.given(Call(full, made, home), _STRATEGY)
        fraction = given.get("fraction_train", given.get("fraction_fit", 1.0))
        least = given.get("min_train_nodes", given.get("min_fit_clients", 2))
        return {
            "rule": self._rule(full, home),
            "cut": _share("beta", given.get("beta", 0.2)),
            "fraction": _share("fraction_train", fraction),
            "least_clients": least if isinstance(least, int) else None,
        }

    def _rule(self, full: str, module: Module) -> str | None:
        """Return Flower's class that a strategy is, or derives from without another aggregation."""
        for _ in range(10):
            if full.startswith("flwr."):
                return full.rpartition(".")[2]
            node, module = self._source.defined(full, module)
            if not isinstance(node, ast.ClassDef) or len(node.bases) != 1:
                return None
            names = {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
            base = module.dotted(node.bases[0])
            if names & _AGGREGATION or base is None:
                return None
            full = base
        return None

    def _accounting(self, wrapper: Call) -> Accounting | None:
        """Return what the app's PrivacyConfig says, if it has one."""
        arguments = wrapper.arguments(_FIXED) or {}
        is_given = "accountant" in arguments and not (
            isinstance(arguments["accountant"], ast.Constant)
        )
        for call in self._calls:
            if call.name.startswith("flwr.") and call.name.endswith(".PrivacyConfig"):
                names = (
                    "target_delta",
                    "population_size",
                    "neighboring_relation",
                    "sampling_method",
                    "max_epsilon",
                )
                given, known = self._source.given(call, names), self._known
                method = (call.arguments(names) or {}).get("sampling_method")
                return Accounting(
                    sampling=_sampling(method, given.get("sampling_method")),
                    population_size=known.whole(
                        "clients", given.get("population_size"), by_name=False
                    ),
                    max_epsilon=known.number("epsilon", given.get("max_epsilon"), by_name=False),
                    delta=known.number("delta", given.get("target_delta"), by_name=False),
                    is_of_wrapper=is_given,
                )
        return Accounting(is_of_wrapper=True) if is_given else None

    def _stated_rounds(self) -> object:
        """Return how many rounds the source trains for; None where it does not say."""
        found: set[object] = set()
        for call in self._calls:
            last = call.name.rpartition(".")[2]
            if last == "start" and self._is_start(call):
                found.add(self._source.given(call, _START).get("num_rounds", 3))
            elif last == "ServerConfig" and call.name.startswith("flwr."):
                found.add(self._source.given(call, ("num_rounds",)).get("num_rounds", 1))
        if len(found) > 1:
            return Unknown("several")
        return found.pop() if found else None

    def _is_start(self, call: Call) -> bool:
        """Tell a strategy's `start` from that of threads and timers."""
        return {"grid", "initial_arrays"} <= set(call.arguments(_START) or {})

    def _is_among_mods(self, *names: str) -> bool | None:
        return is_among_mods(self._calls, self._source, *names)


def _adaptive(given: Mapping[str, object], clients: int | None) -> Adaptive:
    """Return what adapts the norm, with Flower's defaults where a call gives none."""
    count = None if clients is None else clients / 20
    values = {
        name: given.get(name, default)
        for name, default in (
            ("clipped_count_stddev", count),
            ("target_clipped_quantile", 0.5),
            ("clip_norm_lr", 0.2),
        )
    }
    numbers = [
        None
        if each is None or isinstance(each, Unknown)
        else as_float(name, each, "a finite number, 0 or more", least=0.0)
        for name, each in values.items()
    ]
    return Adaptive(count_noise=numbers[0], quantile=numbers[1], rate=numbers[2])


def _share(name: str, value: object) -> float | None:
    if isinstance(value, Unknown):
        return None
    return as_float(name, value, "from 0 to 1", least=0.0, most=1.0)


def _sampling(node: ast.expr | None, value: object) -> Any:
    """Return a SamplingMethod: `SamplingMethod.POISSON`, or its text."""
    if isinstance(node, ast.Attribute):
        return _SAMPLING.get(node.attr)
    return value if value in _SAMPLING.values() else None


def _says_privacy(key: str) -> bool:
    setting = setting_called(key)
    return setting is not None and setting.name in _MADE_BY_WORD
