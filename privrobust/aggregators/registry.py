"""Aggregation rules by name."""

from typing import Any

from privrobust.aggregators.base import Aggregator, Chain, PreAggregator
from privrobust.aggregators.centred_clipping import CentredClipping
from privrobust.aggregators.coordinate_wise import MajorityVote, MeaMed, Mean, Median, TrimmedMean
from privrobust.aggregators.geometric_median import GeometricMedian
from privrobust.aggregators.mixing import NNM, Bucketing
from privrobust.aggregators.nearest import MDA, Krum, MoNNA, MultiKrum
from privrobust.aggregators.robust_clipping import ARC, StaticClipping
from privrobust.aggregators.spectral import CAF, SMEA
from privrobust.core.entries import Entry
from privrobust.core.naming import Own
from privrobust.core.numbers import as_whole
from privrobust.core.parameters import (
    build,
    check_registered,
    described,
    parse,
    parts,
    settings,
    written,
)
from privrobust.errors import SpecError, shown

_OWN = Own(
    (Aggregator, PreAggregator),
    "a class that derives from privrobust.aggregators.Aggregator or PreAggregator",
)
_RULES: dict[str, type[Aggregator]] = {
    "caf": CAF,
    "centred_clipping": CentredClipping,
    "geometric_median": GeometricMedian,
    "krum": Krum,
    "majority_vote": MajorityVote,
    "mda": MDA,
    "mean": Mean,
    "meamed": MeaMed,
    "median": Median,
    "monna": MoNNA,
    "multi_krum": MultiKrum,
    "smea": SMEA,
    "trimmed_mean": TrimmedMean,
}
_BEFORE: dict[str, type[PreAggregator]] = {
    "arc": ARC,
    "bucketing": Bucketing,
    "nnm": NNM,
    "static_clipping": StaticClipping,
}


def available_aggregators() -> list[str]:
    """Names of rules that a spec may use."""
    return sorted(_RULES)


def available_pre_aggregators() -> list[str]:
    """Names of what a spec may put before a rule, as in `nnm + median`."""
    return sorted(_BEFORE)


def register_aggregator(name: str, rule: type[Aggregator] | type[PreAggregator]) -> None:
    """Let specs name a rule, or what comes before one; an earlier one of that name is replaced.

    Results are kept by name: give changed code a new one.

    Raises:
        SpecError: it is no name that a spec can write, or no class of these.

    """
    name = check_registered("aggregator", name, rule, Aggregator, PreAggregator)
    if issubclass(rule, Aggregator):
        _RULES[name] = rule
    else:
        _BEFORE[name] = rule


def get_aggregator(text: str, byzantine: int = 0) -> Aggregator:
    """The rule that a spec names, made to withstand so many Byzantine workers.

    Args:
        text: `median`, `krum(f=2)`, `arc + nnm + trimmed_mean`, or `package.module:Rule`.
        byzantine: f of the parts that take one and are not given another.

    Raises:
        SpecError: no such rule or parameter, or a value that it does not accept.

    """
    byzantine = as_whole("byzantine", byzantine, "a whole number, 0 or more", least=0)
    *first, last = [_part(part, byzantine) for part in parts("aggregator", text)]
    before = tuple(part for part in first if isinstance(part, PreAggregator))
    if len(before) < len(first):
        raise SpecError(
            f"aggregator: {shown(text, 200)} has a rule before its end; accepted there: "
            f"{', '.join(available_pre_aggregators())}"
        )
    if not isinstance(last, Aggregator):
        raise SpecError(
            f"aggregator: {shown(text, 200)} ends without a rule; accepted: + and one of "
            f"{', '.join(available_aggregators())}"
        )
    return Chain(before, last) if before else last


def canonical(text: str) -> str:
    """The same rule in one way of writing."""
    return " + ".join(_canonical(part) for part in parts("aggregator", text))


def _canonical(part: str) -> str:
    name, given = parse("aggregator", part)
    made = _part(part, byzantine=0)
    # f is kept where it is given: without it, a rule takes the run's
    return written(name, settings(made, kept={"f"} & set(given)))


def list_aggregators() -> list[Entry]:
    """What `privrobust list aggregators` shows, an entry a rule."""
    before = "comes before a rule, as in {0} + median"
    return [described(name, rule) for name, rule in sorted(_RULES.items())] + [
        described(name, rule, before.format(name)) for name, rule in sorted(_BEFORE.items())
    ]


def _part(text: str, byzantine: int) -> Aggregator | PreAggregator:
    name, given = parse("aggregator", text)
    known: dict[str, Any] = _RULES | _BEFORE
    made: Any = build("aggregator", known, name, given, _OWN)
    if isinstance(made, Aggregator) and made.message not in ("vector", "sign"):
        raise SpecError(
            f"aggregator: {name} asks for message {made.message!r}; accepted: 'vector', 'sign'"
        )
    if made.knows_f() and "f" not in given:
        made = build("aggregator", known, name, {"f": byzantine, **given}, _OWN)
    part: Aggregator | PreAggregator = made
    return part
