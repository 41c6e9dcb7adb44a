"""Aggregation rules by name."""

from typing import TypeAlias

from privrobust.aggregators.base import Aggregator, Chain, PreAggregator
from privrobust.aggregators.bulyan import Bulyan
from privrobust.aggregators.centred_clipping import CentredClipping
from privrobust.aggregators.coordinate_wise import MeaMed, Mean, Median, TrimmedMean
from privrobust.aggregators.geometric_median import GeometricMedian
from privrobust.aggregators.majority_vote import MajorityVote
from privrobust.aggregators.mixing import NNM, Bucketing
from privrobust.aggregators.nearest import MDA, Krum, MoNNA, MultiKrum
from privrobust.aggregators.noise_aware import NoiseAware
from privrobust.aggregators.robust_clipping import ARC, StaticClipping
from privrobust.aggregators.shortest import CGE
from privrobust.aggregators.spectral import CAF, SMEA, DnC
from privrobust.aggregators.trusting import FLTrust
from privrobust.core.numbers import as_whole
from privrobust.core.parameters import parse, parts
from privrobust.core.plugins import Own
from privrobust.core.registry import Entry, Registry
from privrobust.errors import SpecError, shown

Part: TypeAlias = Aggregator | PreAggregator
"""What a spec may name between the `+` of a chain."""

_BUILT_IN: dict[str, type[Part]] = {
    "arc": ARC,
    "bucketing": Bucketing,
    "bulyan": Bulyan,
    "caf": CAF,
    "centred_clipping": CentredClipping,
    "cge": CGE,
    "dnc": DnC,
    "fltrust": FLTrust,
    "geometric_median": GeometricMedian,
    "krum": Krum,
    "majority_vote": MajorityVote,
    "mda": MDA,
    "mean": Mean,
    "meamed": MeaMed,
    "median": Median,
    "monna": MoNNA,
    "multi_krum": MultiKrum,
    "nnm": NNM,
    "noise_aware": NoiseAware,
    "smea": SMEA,
    "static_clipping": StaticClipping,
    "trimmed_mean": TrimmedMean,
}
AGGREGATORS = Registry(
    "aggregator",
    _BUILT_IN,
    Own(
        (Aggregator, PreAggregator),
        "a class that derives from privrobust.aggregators.Aggregator or PreAggregator",
    ),
)


def available_aggregators() -> list[str]:
    """Return the names of rules that a spec may use."""
    return _available(Aggregator)


def available_pre_aggregators() -> list[str]:
    """Return the names of what a spec may put before a rule, as in `nnm + median`."""
    return _available(PreAggregator)


def _available(base: type[Part]) -> list[str]:
    return [name for name in AGGREGATORS.available() if issubclass(AGGREGATORS[name], base)]


def register_aggregator(name: str, rule: type[Part]) -> None:
    """Let specs name a rule, or what comes before one.

    An earlier one of your own of that name is replaced. Results are kept by name: give changed code
    a new one.

    Raises:
        SpecError: the name is one of ours, or none that a spec can write; or it is no class of
            these.

    """
    AGGREGATORS.register(name, rule)


def get_aggregator(text: str, byzantine: int = 0) -> Aggregator:
    """Make the rule that a spec names, to withstand so many Byzantine workers.

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
    """Write the same rule in one way."""
    # f is kept where it is given: without it, a rule takes the run's
    return " + ".join(AGGREGATORS.canonical(part, {"f"}) for part in parts("aggregator", text))


def list_aggregators() -> list[Entry]:
    """Describe every rule, then what comes before one, for `privrobust list aggregators`."""
    rules = [AGGREGATORS.entry(name) for name in available_aggregators()]
    return rules + [
        AGGREGATORS.entry(name, f"comes before a rule, as in {name} + median")
        for name in available_pre_aggregators()
    ]


def _part(text: str, byzantine: int) -> Part:
    name, given = parse("aggregator", text)
    made: Part = AGGREGATORS.make(name, given)
    if isinstance(made, Aggregator) and made.message not in ("vector", "sign"):
        raise SpecError(
            f"aggregator: {name} asks for message {made.message!r}; accepted: 'vector', 'sign'"
        )
    if made.knows_f() and "f" not in given:
        made = AGGREGATORS.make(name, {"f": byzantine, **given})
    return made
