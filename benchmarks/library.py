"""Every aggregation rule and attack, against those of ByzFL and ByzPy that there are.

Rules take the messages as each library holds them: ours a tensor, ByzFL a tensor, ByzPy a list of
vectors. An attack makes one message, as theirs return one for all Byzantine workers.
"""

import warnings
from collections.abc import Callable
from math import comb

import byzfl
import torch
from byzpy import attacks as py_attacks
from byzpy import pre_aggregators as py_before
from byzpy.aggregators import coordinate_wise as py_coordinates
from byzpy.aggregators import geometric_wise as py_geometry
from byzpy.aggregators import norm_wise as py_norms
from timing import in_turns, median, ratio, table
from torch import Tensor

from privrobust.aggregators import Median, get_aggregator
from privrobust.aggregators.mixing import NNM, Bucketing
from privrobust.aggregators.robust_clipping import ARC, StaticClipping
from privrobust.attacks import (
    ALIE,
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
from privrobust.memory import keep_freed_memory

SHAPES = {"15 x 1,000,000": (15, 1_000_000), "50 x 79,510": (50, 79_510)}
F = 3
ROUNDS = 3

# Rules that try all subsets of workers take minutes in Python loops beyond so many.
MOST_SUBSETS = 1000

Call = Callable[[], object]


def rules(messages: Tensor) -> dict[str, tuple[Call, Call | None, Call | None]]:
    """By name: ours, ByzFL's and ByzPy's."""
    rows = list(messages)
    n = len(rows)

    def ours(name: str) -> Call:
        rule = get_aggregator(name, F)
        return lambda: rule(messages)

    def before(each) -> Call:
        return lambda: each(messages)

    def fl(each) -> Call:
        return lambda: each(messages)

    def in_place(each) -> Call:  # ByzFL's clipping writes into what it is given
        return lambda: each(messages.clone())

    def py(each) -> Call:
        return lambda: each.aggregate(rows)

    def py_pre(each) -> Call:
        return lambda: each.pre_aggregate(rows)

    found = {
        "mean": (ours("mean"), fl(byzfl.Average()), None),
        "median": (
            ours("median"), fl(byzfl.Median()), py(py_coordinates.CoordinateWiseMedian()),
        ),
        "trimmed mean": (
            ours("trimmed_mean"), fl(byzfl.TrMean(F)),
            py(py_coordinates.CoordinateWiseTrimmedMean(f=F)),
        ),
        "MeaMed": (
            ours("meamed"), fl(byzfl.Meamed(F)), py(py_coordinates.MeanOfMedians(f=F)),
        ),
        "Krum": (ours("krum"), fl(byzfl.Krum(F)), py(py_geometry.Krum(f=F))),
        "Multi-Krum": (
            ours("multi_krum"), fl(byzfl.MultiKrum(F)), py(py_geometry.MultiKrum(f=F, q=n - F)),
        ),
        "geometric median": (
            ours("geometric_median"), fl(byzfl.GeometricMedian()),
            py(py_geometry.GeometricMedian()),
        ),
        "centred clipping": (
            ours("centred_clipping"), fl(byzfl.CenteredClipping(L=3, tau=10.0)),
            py(py_norms.CenteredClipping(c_tau=10.0, M=3)),
        ),
        "MoNNA": (ours("monna"), fl(byzfl.MoNNA(F)), py(py_geometry.MoNNA(f=F))),
        "CAF": (ours("caf"), fl(byzfl.CAF(F)), py(py_norms.CAF(f=F))),
        "NNM": (before(NNM(F)), fl(byzfl.NNM(F)), py_pre(py_before.NearestNeighborMixing(f=F))),
        "bucketing": (
            before(Bucketing(2)), fl(byzfl.Bucketing(2)), py_pre(py_before.Bucketing(2)),
        ),
        "static clipping": (
            before(StaticClipping(2.0)), in_place(byzfl.Clipping(2.0)),
            py_pre(py_before.Clipping(2.0)),
        ),
        "ARC": (before(ARC(F)), in_place(byzfl.ARC(F)), py_pre(py_before.ARC(f=F))),
    }  # fmt: skip
    if comb(n, F) <= MOST_SUBSETS:
        found["MDA"] = (
            ours("mda"), fl(byzfl.MDA(F)), py(py_geometry.MinimumDiameterAveraging(f=F)),
        )  # fmt: skip
        found["SMEA"] = (ours("smea"), fl(byzfl.SMEA(F)), py(py_geometry.SMEA(f=F)))
    return found


def attacks(messages: Tensor) -> dict[str, tuple[Call, Call | None, Call | None]]:
    """The same of attacks; many have no peer."""
    honest = messages[:-F]
    rows, one = list(honest), honest[0]

    def ours(attack) -> Call:
        return lambda: attack(honest, 1)

    def fl(attack) -> Call:
        return lambda: attack(honest)

    def py(attack) -> Call:
        return lambda: attack.apply(honest_grads=rows, base_grad=one)

    search = {"agg": byzfl.Median(), "pre_agg_list": [], "f": F}
    return {
        "sign-flip": (ours(SignFlip()), fl(byzfl.SignFlipping()), None),
        "inner product": (
            ours(InnerProduct()), fl(byzfl.InnerProductManipulation()),
            py(py_attacks.EmpireAttack()),
        ),
        "ALIE": (
            ours(ALIE(z=1.0)), fl(byzfl.ALittleIsEnough(1.0)), py(py_attacks.LittleAttack(f=F)),
        ),
        "ALIE, line search": (
            ours(LineSearch(against=Median())), fl(byzfl.Optimal_ALittleIsEnough(**search)), None,
        ),
        "mimic a worker": (
            ours(Mimic(worker=0)), fl(byzfl.Mimic(0)), py(py_attacks.MimicAttack(0)),
        ),
        "Gaussian": (ours(Gaussian()), fl(byzfl.Gaussian()), py(py_attacks.GaussianAttack())),
        "infinity": (ours(Infinity()), fl(byzfl.Inf()), py(py_attacks.InfAttack())),
        **{
            name: (ours(attack), None, None)
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
        "drift": (lambda: Drift(noise_std=0.1)(honest[:1], 1), None, None),
        "own sign-flip": (lambda: OwnSignFlip()(honest[:1], 1), None, None),
    }  # fmt: skip


def compared(find: Callable[[Tensor], dict[str, tuple[Call, Call | None, Call | None]]]) -> str:
    """A row a name and shape."""
    lines = []
    for shape, (n, d) in SHAPES.items():
        messages = torch.randn(n, d, generator=torch.Generator().manual_seed(0)) + 0.1
        for name, (mine, fl, py) in find(messages).items():
            cases = {"ours": mine, "ByzFL": fl, "ByzPy": py}
            times = in_turns({key: call for key, call in cases.items() if call}, ROUNDS)
            ratios = [ratio(times[key], times["ours"]) if key in times else "" for key in cases]
            lines.append([name, shape, f"{median(times['ours']) * 1e3:.2f} ms", *ratios[1:]])
    return table(["", "n x d", "ours", "ByzFL takes so many times as long", "ByzPy"], lines)


def report() -> str:
    keep_freed_memory()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the peers
        return f"Rules, f = {F}:\n\n{compared(rules)}\n\nAttacks:\n\n{compared(attacks)}"
