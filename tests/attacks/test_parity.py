"""The same inputs through ByzFL, ByzPy where it is installed, and ours.

    pip install -e ".[bench,test]" && pip install --no-deps byzpy
    pytest tests/attacks/test_parity.py

ByzPy comes without its dependencies, one of which is a torch older than ours.

What both define alike is equal to 1e-5. What differs by definition, and why:

- median of an even number: ours is the mean of the two middle values; torch.median, which both
  use, returns the lower one. It is the centre of MeaMed too.
- Krum: Blanchard et al. 2017 score n - f - 2 neighbours, both peers n - f - 1: ours takes
  `neighbours`.
- MDA, ties: of subsets with the least diameter ours takes that of least sum of squared distances,
  whatever the order of workers; ByzFL takes the first it tries.
- geometric median: ByzFL takes three steps from zero, ours and ByzPy's go on until they converge;
  ByzFL's smoothing is 0.1, ours 1e-6, ByzPy's 1e-12.
- centred clipping: ByzFL starts at zero and keeps its state between calls; ByzPy starts at the
  mean; ours at the medoid, and takes either as `start`.
- CAF, SMEA: ByzFL looks for eigenvectors with one step of the power method from a random vector,
  ByzPy's CAF with three; ours are exact, as ByzPy's SMEA. Ours also leaves those whose weight is
  gone out of the largest deviation.
- Bulyan, DnC, FLTrust: neither has them; test_chosen_messages.py and test_trusting.py have slow
  references. CGE: ByzPy's is a mean, too.
- bucketing: random: the buckets depend on the stream.
- line search: ByzFL climbs from 0 by doubling and shrinking steps; ours starts from a grid, and
  goes at least as far.
- ALIE: ByzFL adds where ours subtracts, and divides the variance by h - 1; ByzPy adds, and takes
  its z from n instead of n - f.
- LabelFlipping: ByzFL averages honest workers' gradients on flipped labels; ours trains Byzantine
  workers on them.
"""

import byzfl
import pytest
import torch

from privrobust.aggregators import get_aggregator
from privrobust.attacks import ALIE, Attack, Infinity, InnerProduct, LineSearch, Mimic, SignFlip
from privrobust.attacks.alie import z_max


def draw(n, d=60, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator, dtype=torch.float64) + 0.3


def same(ours, theirs):
    """ByzFL computes in float32, whatever it is given."""
    torch.testing.assert_close(ours, torch.as_tensor(theirs).to(ours), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("mean", lambda f: byzfl.Average()),
        ("median", lambda f: byzfl.Median()),
        ("trimmed_mean", byzfl.TrMean),
        ("meamed", byzfl.Meamed),
        ("krum(neighbours=9)", byzfl.Krum),
        ("multi_krum(neighbours=9)", byzfl.MultiKrum),
        ("monna", byzfl.MoNNA),
        ("geometric_median(smoothing=0.1)", lambda f: byzfl.GeometricMedian(nu=0.1, T=500)),
        (
            "centred_clipping(radius=2.0, iterations=4, start='zero')",
            lambda f: byzfl.CenteredClipping(L=4, tau=2.0),
        ),
        ("nnm + mean", lambda f: lambda x: byzfl.NNM(f)(x).mean(0)),
        ("nnm + trimmed_mean", lambda f: lambda x: byzfl.TrMean(f)(byzfl.NNM(f)(x))),
        ("arc + mean", lambda f: lambda x: byzfl.ARC(f)(x.clone()).mean(0)),
        (
            "static_clipping(norm=3.0) + mean",
            lambda f: lambda x: byzfl.Clipping(3.0)(x.clone()).mean(0),
        ),
    ],
)
def test_byzfl_rules(ours, theirs, seed):
    messages = draw(13, seed=seed)
    same(get_aggregator(ours, byzantine=3)(messages), theirs(3)(messages))


@pytest.mark.parametrize("seed", range(5))
def test_byzfl_mda_where_one_subset_is_smallest(seed):
    """Three far messages leave one subset of ten without them."""
    messages = torch.cat([draw(10, seed=seed), 20 * draw(3, seed=seed + 100)])
    same(get_aggregator("mda", byzantine=3)(messages), byzfl.MDA(3)(messages))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (SignFlip(), lambda: byzfl.SignFlipping()),
        (InnerProduct(tau=1.3), lambda: byzfl.InnerProductManipulation(tau=1.3)),
        (Mimic(worker=4), lambda: byzfl.Mimic(4)),
        (Infinity(), lambda: byzfl.Inf()),
        (ALIE(z=-1.5 * (12 / 11) ** 0.5), lambda: byzfl.ALittleIsEnough(tau=1.5)),
    ],
    ids=lambda each: repr(each) if isinstance(each, Attack) else "byzfl",
)
def test_byzfl_attacks(ours, theirs):
    honest = draw(12)
    for sent in ours(honest, 3):
        same(sent, theirs()(honest))


@pytest.mark.parametrize("rule", ["median", "trimmed_mean", "krum(neighbours=11)"])
def test_byzfl_line_search(rule):
    """ByzFL climbs from 0 by doubling steps, ours starts from a grid: it goes at least as far."""
    honest = draw(12)
    agg = {"median": byzfl.Median(), "trimmed_mean": byzfl.TrMean(3)}.get(rule, byzfl.Krum(3))
    theirs = byzfl.Optimal_InnerProductManipulation(
        agg=agg, pre_agg_list=[], f=3, evals=15, delta=1.0
    )
    ours = LineSearch("inner_product", against=rule, evaluations=15)

    def distance(sent):
        whole = torch.cat([honest, sent.to(honest).expand(3, -1)])
        return (get_aggregator(rule, 3)(whole) - honest.mean(0)).norm()

    assert distance(ours(honest, 3)[:1]) >= 0.99 * distance(theirs(honest))


@pytest.fixture
def byzpy():
    return pytest.importorskip("byzpy", reason="pip install --no-deps byzpy")


@pytest.mark.parametrize("seed", range(3))
def test_byzpy_rules(byzpy, seed):
    from byzpy.aggregators import coordinate_wise, geometric_wise, norm_wise
    from byzpy.aggregators.norm_wise.comparative_gradient_elimination import (
        ComparativeGradientElimination,
    )

    messages = draw(13, seed=seed)
    f = 3
    for ours, theirs in {
        "median": coordinate_wise.CoordinateWiseMedian(),
        "trimmed_mean": coordinate_wise.CoordinateWiseTrimmedMean(f=f),
        "meamed": coordinate_wise.MeanOfMedians(f=f),
        "krum(neighbours=9)": geometric_wise.Krum(f=f),
        "multi_krum(neighbours=9, best_of=4)": geometric_wise.MultiKrum(f=f, q=4),
        "monna": geometric_wise.MoNNA(f=f),
        "smea": geometric_wise.SMEA(f=f),
        "cge": ComparativeGradientElimination(f=f),
        "geometric_median": geometric_wise.GeometricMedian(tol=1e-10),
        "centred_clipping(radius=2.0, iterations=4, start='mean')": norm_wise.CenteredClipping(
            c_tau=2.0, M=4, init="mean"
        ),
    }.items():
        same(get_aggregator(ours, byzantine=f)(messages), theirs.aggregate(list(messages)))


def test_byzpy_pre_aggregators(byzpy):
    from byzpy import pre_aggregators

    messages = draw(13)
    for ours, theirs in {
        "nnm": pre_aggregators.NearestNeighborMixing(f=3),
        "arc": pre_aggregators.ARC(f=3),
        "static_clipping(norm=3.0)": pre_aggregators.Clipping(3.0),
    }.items():
        transform = get_aggregator(f"{ours} + median", byzantine=3).before[0]
        same(transform(messages), torch.stack(theirs.pre_aggregate(list(messages))))


def test_byzpy_attacks(byzpy):
    from byzpy import attacks

    honest = draw(12)
    rows = list(honest)
    n, f = 15, 3
    supporters = n // 2 + 1 - f
    assert z_max(n, f) != (n - supporters) / n
    theirs = attacks.LittleAttack(f=f).apply(honest_grads=rows)
    z = -float(((theirs - honest.mean(0)) / honest.std(0, correction=0)).mean())
    same(ALIE(z=z)(honest, f)[0], theirs)
    same(
        InnerProduct(tau=1.0)(honest, f)[0],
        attacks.EmpireAttack(scale=-1.0).apply(honest_grads=rows),
    )
    same(Mimic(worker=2)(honest, f)[0], attacks.MimicAttack(2).apply(honest_grads=rows))
    same(Infinity()(honest, f)[0], attacks.InfAttack().apply(honest_grads=rows))
