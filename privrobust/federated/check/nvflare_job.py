"""Read an NVFlare job: the filters of its configurations, and Opacus in its scripts.

A job is a folder of apps, each with `config/config_fed_client.json`, `config_fed_server.json` or
both (.conf or .yml in place of .json), and scripts in `custom`. `privacy.json`, which is a site's
own policy, is read, too.
"""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from privrobust.core.numbers import as_float
from privrobust.errors import SpecError, in_short, shown
from privrobust.federated.check.claims import Claim, NotPrivate, Reading, SparseVector, Unread
from privrobust.federated.check.files import content
from privrobust.federated.check.hocon import parse_hocon
from privrobust.federated.check.opacus_calls import sample_noise
from privrobust.federated.check.settings import Known, answered
from privrobust.federated.check.source import Source, calls, option_defaults

_NAMES = ("config_fed_client", "config_fed_server", "privacy")
_ENDINGS = (".json", ".conf", ".yml", ".yaml")
_MOST_FILES = 1000
_DEEPEST = 8
_SVT = ("epsilon", "epsilon_threshold", "epsilon_query", "epsilon_release", "noise_var", "fraction")

_OF_ALL = (
    "A further job on the same data spends as much again: nothing is kept between jobs.",
    "Metrics, logs and what no filter acts on leave clients as they are, in no epsilon here.",
)
_OF_SVT = (
    "SVTPrivacy lets variables that are single numbers through without noise; its noise comes from "
    "np.random, which is no cryptographic source, and in floating point no noise is exactly "
    "Laplace (Mironov 2012).",
)
_NO_NOISE = {
    "PercentilePrivacy": "it cuts updates, and adds no noise: no epsilon is finite",
    "GaussianPrivacy": "its noise goes by the update, which nothing clips: no epsilon is finite",
    "StatisticsPrivacyFilter": "it coarsens statistics, and promises no epsilon",
    "HEModelEncryptor": "the server cannot read what it adds; what the sum tells stays",
}
_IS_CLAIM = {"PercentilePrivacy", "GaussianPrivacy"}


def read_nvflare_job(path: Path, changes: Sequence[str] = ()) -> Reading:
    """Read a job.

    Args:
        path: its folder, or one configuration of it.
        changes: `name=value`, of settings.

    Raises:
        SpecError: it has no configuration, or says what cannot be.

    """
    files = [path] if path.is_file() else configurations(path)
    if not files:
        raise SpecError(
            f"{shown(str(path), 200)}: neither pyproject.toml nor config_fed_*.json; accepted: a "
            "Flower app, an NVFlare job, or a YAML file of runs"
        )
    read = {file: _read(file) for file in files}
    answers, _ = answered(changes, {})
    known = Known({}, answers)
    rounds = known.whole("rounds", _one(_found(read.values(), "num_rounds")))
    claims = [
        claim for file, config in read.items() for claim in _claims(file, config, known, rounds)
    ]
    unread: list[str] = []
    claims += _of_scripts(read, known, rounds, unread)
    notes: tuple[str, ...] = _OF_ALL if claims else ()
    if unread:
        notes += (f"Not there, and so not read: {', '.join(dict.fromkeys(unread))}.",)
    if any(isinstance(claim, SparseVector) for claim in claims):
        notes += _OF_SVT
    return Reading(
        kind="NVFlare job", path=str(path), claims=tuple(dict.fromkeys(claims)), notes=notes
    )


def configurations(folder: Path) -> list[Path]:
    """Return the configurations in a folder, by name."""
    found: list[Path] = []
    seen = 0
    waiting = [(folder, 0)]
    while waiting:
        place, depth = waiting.pop()
        try:
            inside = sorted(place.iterdir())
        except OSError as error:
            raise SpecError(f"{shown(str(place), 200)} cannot be read ({error.strerror})") from None
        for each in inside:
            seen += 1
            if seen > _MOST_FILES:
                raise SpecError(
                    f"{shown(str(folder), 200)}: more than {_MOST_FILES} files; accepted: one job"
                )
            if each.is_symlink():
                continue  # which may lead anywhere
            if each.is_dir() and depth < _DEEPEST:
                waiting.append((each, depth + 1))
            elif is_configuration(each):
                found.append(each)
    return sorted(found)


def is_configuration(path: Path) -> bool:
    """Tell by its name whether a file is a configuration of NVFlare's."""
    return path.suffix in _ENDINGS and path.stem in _NAMES


def _read(file: Path) -> dict[str, Any]:
    text = content(file)
    if file.suffix in (".yml", ".yaml"):
        from privrobust.sweeps.yaml_lines import parse

        found = parse(text, str(file), lambda line: f"{file.name}, line {line}")
    elif file.suffix == ".conf":
        found = parse_hocon(text, str(file))
    else:
        try:
            found = json.loads(text)
        except ValueError as error:
            raise SpecError(
                f"{shown(str(file), 200)}: not valid JSON ({in_short(str(error))})"
            ) from None
        except RecursionError:
            raise SpecError(f"{shown(str(file), 200)}: not valid JSON (too deep to read)") from None
    if not isinstance(found, dict):
        raise SpecError(
            f"{shown(str(file), 200)} holds {shown(found)}; accepted: fields and values"
        )
    return {str(key): value for key, value in found.items()}


def _claims(
    file: Path, config: Mapping[str, Any], known: Known, rounds: int | None
) -> Iterator[Claim]:
    is_server = file.stem == "config_fed_server"
    for kind in ("task_result_filters", "task_data_filters"):
        for listed in _filters(config, kind, file):
            path = listed.get("path", listed.get("class_path", listed.get("name")))
            args = listed.get("args", {})
            if not isinstance(path, str) or not isinstance(args, dict):
                raise SpecError(
                    f"{file.name}: {kind}: {shown(listed)} is no filter; accepted: path and args"
                )
            where = f"{'/'.join(file.parts[-3:])}, {kind}"
            protects = not is_server and kind == "task_result_filters"
            yield from _of_filter(where, path, _resolved(args, config), known, rounds, protects)


def _filters(config: Mapping[str, Any], kind: str, file: Path) -> Iterator[dict[str, Any]]:
    """Yield filters of a job, listed by their tasks, or of a site's policy, listed by scopes."""
    listed = [config.get(kind, [])]
    scopes = config.get("scopes", [])
    if isinstance(scopes, list):
        listed += [scope.get(kind, []) for scope in scopes if isinstance(scope, dict)]
    for groups in listed:
        for group in groups if isinstance(groups, list) else [groups]:
            if not isinstance(group, dict):
                raise SpecError(f"{file.name}: {kind}: {shown(group)} is no filter")
            inside = group.get("filters", [group])
            for each in inside if isinstance(inside, list) else [inside]:
                if not isinstance(each, dict):
                    raise SpecError(f"{file.name}: {kind}: {shown(each)} is no filter")
                yield each


def _of_filter(
    where: str, path: str, args: Mapping[str, Any], known: Known, rounds: int | None, protects: bool
) -> Iterator[Claim]:
    name = path.rpartition(".")[2]
    if name == "SVTPrivacy":
        yield SparseVector(
            where=where,
            what=name,
            **_svt(args),
            parameters=known.whole("parameters"),
            rounds=rounds,
            is_on_results=protects,
        )
    elif name in _NO_NOISE:
        yield NotPrivate(
            where=where,
            what=name,
            claim="privacy" if name in _IS_CLAIM else "none",
            reason=_NO_NOISE[name],
            is_claim=name in _IS_CLAIM,
        )
    elif any(word in path.lower() for word in ("privacy", "noise", "dp_", "gaussian", "laplace")):
        yield Unread(
            where=where,
            what=in_short(name),
            claim="by its name, privacy",
            question="a filter that is not read here: what does it add, to what bound?",
        )


def _svt(args: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of SVTPrivacy, which NVFlare itself refuses where they contradict."""
    given = {
        name: as_float(f"SVTPrivacy {name}", args[name], "a finite number above 0", above=0.0)
        for name in _SVT
        if args.get(name) is not None
    }
    epsilon = given.get("epsilon", 0.1)
    threshold, query = given.get("epsilon_threshold"), given.get("epsilon_query")
    parts = [each for each in (threshold, query) if each is not None]
    if parts and (sum(parts) > epsilon * 1.00001 or (len(parts) == 1 and parts[0] >= epsilon)):
        raise SpecError(
            f"SVTPrivacy epsilon: {epsilon:g} is less than its parts; accepted: epsilon_threshold "
            "+ epsilon_query"
        )
    return given


def _resolved(args: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments with NVFlare's references to variables of the file, `"{SIGMA0}"`."""
    return {
        name: config.get(value[1:-1])
        if isinstance(value, str) and value[:1] + value[-1:] == "{}" and value[1:-1] in config
        else value
        for name, value in args.items()
    }


def _found(values: Any, name: str) -> Iterator[Any]:
    """Yield every value of that name, however deep."""
    waiting = list(values)
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if name in value:
                yield value[name]
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _one(values: Iterator[Any]) -> Any:
    several = {value for value in values if isinstance(value, int | float)}
    return several.pop() if len(several) == 1 else None


def _of_scripts(
    read: Mapping[Path, Mapping[str, Any]], known: Known, rounds: int | None, unread: list[str]
) -> Iterator[Claim]:
    """Yield what Python scripts that are named do with Opacus; add those that are not there."""
    for file, config in read.items():
        arguments = _options(_one_text(_found([config], "task_script_args")))
        for named in (*_found([config], "task_script_path"), *_found([config], "app_script")):
            if not isinstance(named, str):
                continue
            options: dict[str, object] = {}
            source = Source(file.parent.parent / "custom", options, rounds)
            modules = source.reached([named.removesuffix(".py").replace("/", ".")])
            if not modules:
                unread.append(in_short(named))
            options |= option_defaults(calls(modules)) | arguments
            known_of = Known(options, known.answers)
            yield from sample_noise(list(calls(modules)), source, known_of, rounds)


def _one_text(values: Iterator[Any]) -> str:
    texts = [value for value in values if isinstance(value, str)]
    return texts[0] if len(texts) == 1 else ""


def _options(text: str) -> dict[str, object]:
    """Return the options of a command line, `--batch_size 16`, numbers as such."""
    try:
        parts = shlex.split(text)
    except ValueError:
        return {}
    found: dict[str, object] = {}
    for name, value in pairwise(parts):
        if name.startswith("--") and not value.startswith("--"):
            found[name.lstrip("-").replace("-", "_")] = _number(value)
    return found


def _number(text: str) -> object:
    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        return text
