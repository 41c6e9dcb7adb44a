"""Every aggregation rule and attack, against those of ByzFL and ByzPy that there are.

Rules take the messages as each library holds them: ours a tensor, ByzFL a tensor, ByzPy a list of
vectors. An attack makes one message, as theirs return one for all Byzantine workers.
"""

import warnings
from collections.abc import Callable, Sequence
from math import comb
from typing import Any

import byzfl
import torch
from byzpy_calls import Call, byzpy_call
from conditions import QUIET, Condition, under_each
from timing import in_turns, median, ratio, table
from torch import Tensor

from privrobust.aggregators import Median, PreAggregator, get_aggregator
from privrobust.aggregators.mixing import NNM, Bucketing
from privrobust.aggregators.robust_clipping import ARC, StaticClipping
from privrobust.attacks import (
    ALIE,
    Attack,
    Drift,
    Gaussian,
    Infinity,
    InnerProduct,
    LargeValue,
    LineSearch,
    MedianExtreme,
    Mimic,
    MinMax,
    MinSum,
    NoiseAwareALIE,
    OwnSignFlip,
    Replay,
    SignFlip,
    VoteExtreme,
)
from privrobust.core.allocator import keep_freed_memory

SHAPES = ((15, 1_000_000), (50, 79_510))
F = 3

# Rules that try all subsets of workers take minutes in Python loops beyond so many.
MOST_SUBSETS = 1000

NONE = ""
Peer = Call | str
"""What is timed, or what its cell says instead."""

Rivals = dict[str, tuple[Call, Peer, Peer]]
"""By name: ours, ByzFL's and ByzPy's."""


def rules(messages: Tensor) -> Rivals:
    """Pair every rule with its peers."""
    rows = list(messages)
    n = len(rows)

    def ours(name: str) -> Call:
        rule = get_aggregator(name, F)
        return lambda: rule(messages)

    def before(each: PreAggregator) -> Call:
        return lambda: each(messages)

    def fl(each: Callable[[Tensor], object]) -> Call:
        return lambda: each(messages)

    def in_place(
        each: Callable[[Tensor], object],
    ) -> Call:
        return lambda: each(messages.clone())  # ByzFL's clipping writes into what it is given

    def py(place: str, **settings: Any) -> Peer:
        return byzpy_call(lambda rule: rule.aggregate(rows), f"aggregators.{place}", **settings)

    def py_pre(name: str, *arguments: Any, **settings: Any) -> Peer:
        place = f"pre_aggregators.{name}"
        return byzpy_call(lambda each: each.pre_aggregate(rows), place, *arguments, **settings)

    found: Rivals = {
        "mean": (ours("mean"), fl(byzfl.Average()), NONE),
        "median": (
            ours("median"), fl(byzfl.Median()), py("coordinate_wise.CoordinateWiseMedian"),
        ),
        "trimmed mean": (
            ours("trimmed_mean"), fl(byzfl.TrMean(F)),
            py("coordinate_wise.CoordinateWiseTrimmedMean", f=F),
        ),
        "MeaMed": (
            ours("meamed"), fl(byzfl.Meamed(F)), py("coordinate_wise.MeanOfMedians", f=F),
        ),
        "Krum": (ours("krum"), fl(byzfl.Krum(F)), py("geometric_wise.Krum", f=F)),
        "Multi-Krum": (
            ours("multi_krum"), fl(byzfl.MultiKrum(F)),
            py("geometric_wise.MultiKrum", f=F, q=n - F),
        ),
        "geometric median": (
            ours("geometric_median"), fl(byzfl.GeometricMedian()),
            py("geometric_wise.GeometricMedian"),
        ),
        "centred clipping": (
            ours("centred_clipping"), fl(byzfl.CenteredClipping(L=3, tau=10.0)),
            py("norm_wise.CenteredClipping", c_tau=10.0, M=3),
        ),
        "MoNNA": (ours("monna"), fl(byzfl.MoNNA(F)), py("geometric_wise.MoNNA", f=F)),
        "CAF": (ours("caf"), fl(byzfl.CAF(F)), py("norm_wise.CAF", f=F)),
        "NNM": (before(NNM(F)), fl(byzfl.NNM(F)), py_pre("NearestNeighborMixing", f=F)),
        "bucketing": (
            before(Bucketing(2)), fl(byzfl.Bucketing(2)), py_pre("Bucketing", 2),
        ),
        "static clipping": (
            before(StaticClipping(2.0)), in_place(byzfl.Clipping(2.0)),
            py_pre("Clipping", 2.0),
        ),
        "ARC": (before(ARC(F)), in_place(byzfl.ARC(F)), py_pre("ARC", f=F)),
    }  # fmt: skip
    if comb(n, F) <= MOST_SUBSETS:
        found["MDA"] = (
            ours("mda"), fl(byzfl.MDA(F)), py("geometric_wise.MinimumDiameterAveraging", f=F),
        )  # fmt: skip
        found["SMEA"] = (ours("smea"), fl(byzfl.SMEA(F)), py("geometric_wise.SMEA", f=F))
    return found


def attacks(messages: Tensor) -> Rivals:
    """Pair every attack with its peers; many have no peer."""
    honest = messages[:-F]
    rows, one = list(honest), honest[0]

    def ours(attack: Attack) -> Call:
        return lambda: attack(honest, 1)

    def fl(attack: Callable[[Tensor], object]) -> Call:
        return lambda: attack(honest)

    def py(name: str, *arguments: Any, **settings: Any) -> Peer:
        return byzpy_call(
            lambda attack: attack.apply(honest_grads=rows, base_grad=one),
            f"attacks.{name}",
            *arguments,
            **settings,
        )

    search = {"agg": byzfl.Median(), "pre_agg_list": [], "f": F}
    return {
        "sign-flip": (ours(SignFlip()), fl(byzfl.SignFlipping()), NONE),
        "inner product": (
            ours(InnerProduct()), fl(byzfl.InnerProductManipulation()),
            py("EmpireAttack"),
        ),
        "ALIE": (
            ours(ALIE(z=1.0)), fl(byzfl.ALittleIsEnough(1.0)), py("LittleAttack", f=F),
        ),
        "ALIE, line search": (
            ours(LineSearch(against=Median())), fl(byzfl.Optimal_ALittleIsEnough(**search)), NONE,
        ),
        "mimic a worker": (
            ours(Mimic(worker=0)), fl(byzfl.Mimic(0)), py("MimicAttack", 0),
        ),
        "Gaussian": (ours(Gaussian()), fl(byzfl.Gaussian()), py("GaussianAttack")),
        "infinity": (ours(Infinity()), fl(byzfl.Inf()), py("InfAttack")),
        **{
            name: (ours(attack), NONE, NONE)
            for name, attack in {
                "noise-aware ALIE": NoiseAwareALIE(noise_std=0.1),
                "Min-Max": MinMax(),
                "Min-Sum": MinSum(),
                "median extreme": MedianExtreme(),
                "vote extreme": VoteExtreme(),
                "large value": LargeValue(),
                "mimic, one step learned": Mimic(),
                "replay": Replay(),
            }.items()
        },
        "drift": (lambda: Drift(noise_std=0.1)(honest[:1], 1), NONE, NONE),
        "own sign-flip": (lambda: OwnSignFlip()(honest[:1], 1), NONE, NONE),
    }  # fmt: skip


def compared(
    find: Callable[[Tensor], Rivals],
    shapes: Sequence[tuple[int, int]],
    rounds: int,
) -> str:
    """Make a table, a row a name and shape."""
    lines = []
    for n, d in shapes:
        messages = torch.randn(n, d, generator=torch.Generator().manual_seed(0)) + 0.1
        for name, (mine, fl, py) in find(messages).items():
            cases = {"ours": mine, "ByzFL": fl, "ByzPy": py}
            times = in_turns({key: case for key, case in cases.items() if callable(case)}, rounds)
            ours = times.pop("ours")
            peers = [
                ratio(times[key], ours) if key in times else str(cases[key])
                for key in ("ByzFL", "ByzPy")
            ]
            lines.append([name, f"{n} x {d:,}", f"{median(ours) * 1e3:.2f} ms", *peers])
    return table(["", "n x d", "ours", "ByzFL takes so many times as long", "ByzPy"], lines)


def report(
    shapes: Sequence[tuple[int, int]] = SHAPES,
    rounds: int = 3,
    conditions: Sequence[Condition] = QUIET,
) -> str:
    keep_freed_memory()

    def measured() -> str:
        of_rules, of_attacks = (compared(find, shapes, rounds) for find in (rules, attacks))
        return f"Rules, f = {F}:\n\n{of_rules}\n\nAttacks:\n\n{of_attacks}"

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the peers
        return under_each(conditions, measured)
