"""Which rules does an auditor get most out of?

What an audit gets out is its lower bound on epsilon "if Gaussian". Where every example joins every
step, that is exact for messages of vectors and for what a mean makes of them, and an estimate for
all else. Bounds of a rule are held against the mean's of the same seed.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.optimize import brentq
from scipy.special import ndtr

from privrobust.audit import Guesses, f_dp_bound
from privrobust.audit.lower_bound import gaussian_epsilon
from privrobust.audit.verdict import GUESSED
from privrobust.reporting.figures.canvas import WIDE, new_figure, styled
from privrobust.reporting.figures.margins import add_legend, add_notes
from privrobust.reporting.figures.panels import grid
from privrobust.reporting.figures.themes import looks, theme
from privrobust.reporting.intervals import half_width
from study.audited import CONFIDENCE, Audits
from study.experiment import Experiment
from study.outcomes import seeds_at
from study.verdicts import Verdict, any_of, judge, untested

_MEAN, _VOTE = "mean", "majority_vote"
_AUDITS = Audits(runs=45, canaries=100)
_COUNTED = 0.6  # of the canaries: the others teach attacks
_MARGIN = 0.5  # of epsilon
_HALF, _NEAR = 50, 10  # % of a claim, and points of that
_VIEWS = {
    ("messages", 0): "every message",
    ("aggregates", 0): "every aggregate",
    ("model", 0): "the last model",
    ("aggregates", 2): "every aggregate, 2 helpers",
    ("model", 2): "the last model, 2 helpers",
}


def of_seeds(runs: pd.DataFrame) -> pd.DataFrame:
    """Return what was found, by rule, observer and helpers, a column a seed."""
    rows = ["aggregator", "observer", "helpers"]
    found: pd.DataFrame = runs.set_index([*rows, "seed"])["epsilon_if_gaussian"].unstack("seed")
    return found.loc[pd.MultiIndex.from_frame(runs[rows].drop_duplicates())]


def claimed(runs: pd.DataFrame) -> pd.Series:
    """Return the epsilon that is claimed of messages, by rule."""
    return runs.groupby("aggregator", sort=False)["claimed"].max()


def claims(runs: pd.DataFrame) -> list[Verdict]:
    """Judge messages, then each rule: against the mean, half of the claim, and no helpers."""
    values, epsilons = of_seeds(runs), claimed(runs)
    shares = 100 * values.div(epsilons.loc[values.index.get_level_values(0)].to_numpy(), axis=0)
    rules = list(epsilons.index)
    return [
        *_of_messages(values, shares),
        *(
            _more_than_the_mean(values, rule, helpers, len(rules) - 1)
            for helpers in (0, 2)
            for rule in rules
            if rule != _MEAN
        ),
        *(_more_with_helpers(values, rule, len(rules)) for rule in rules),
        _over_half(shares, rules, 0),
        *(_over_half(shares, [rule], 2) for rule in rules),
    ]


def _of_messages(values: pd.DataFrame, shares: pd.DataFrame) -> list[Verdict]:
    """Judge what is found in messages: those of vectors have one law, whatever the rule."""
    epsilon, share = (each.xs(("messages", 0), level=(1, 2)) for each in (values, shares))
    vectors = epsilon.drop(_VOTE).mean()
    of_vectors, of_vote = share.drop(_VOTE).mean(), share.loc[_VOTE]
    over_half = (_HALF, math.inf)
    return [
        judge("messages of vectors: over half of the claim is found", of_vectors, over_half, "%"),
        judge(f"messages of {_VOTE}: over half of the claim is found", of_vote, over_half, "%"),
        judge(
            f"messages of {_VOTE}: less is found than in vectors, by over {_MARGIN}",
            vectors - epsilon.loc[_VOTE],
            (_MARGIN, math.inf),
            "epsilon",
        ),
        judge(
            f"messages of {_VOTE}: as large a share of its claim is found as of that of vectors, "
            f"within {_NEAR} points",
            of_vote - of_vectors,
            (-_NEAR, _NEAR),
            level=0.9,
        ),
    ]


def _more_than_the_mean(values: pd.DataFrame, rule: str, helpers: int, rules: int) -> Verdict:
    claim = f"{rule}, {_who(helpers)}: aggregates tell more than the mean's, by over {_MARGIN}"
    of_rule, of_mean = (seeds_at(values, each, "aggregates", helpers) for each in (rule, _MEAN))
    if not (of_rule.any() or of_mean.any()):
        return untested(claim, "nothing was found of either")
    more = of_rule - of_mean
    return judge(claim, more, (_MARGIN, math.inf), "epsilon", comparisons=rules)


def _more_with_helpers(values: pd.DataFrame, rule: str, rules: int) -> Verdict:
    claim = f"{rule}: two helpers get more out of aggregates than none, by over {_MARGIN}"
    more = seeds_at(values, rule, "aggregates", 2) - seeds_at(values, rule, "aggregates", 0)
    return judge(claim, more, (_MARGIN, math.inf), "epsilon", comparisons=rules)


def _over_half(shares: pd.DataFrame, rules: Sequence[str], helpers: int) -> Verdict:
    """Judge whether over half of a claim is found by who sees less than messages."""
    who = rules[0] if len(rules) == 1 else "some rule"
    claim = f"{who}, {_who(helpers)}: over half of the claim is found in aggregates or the model"
    found = [
        judge(
            f"{rule}, {_VIEWS[observer, 0]}",
            seeds_at(shares, rule, observer, helpers),
            (_HALF, math.inf),
            "%",
            comparisons=2 * len(rules),
        )
        for rule in rules
        for observer in ("aggregates", "model")
    ]
    return any_of(claim, found)


def _who(helpers: int) -> str:
    return "two helpers" if helpers else "no helpers"


def mean_tells(mu: float, honest: int, helpers: int) -> float:
    """Return mu of a mean's aggregates, if that of messages is `mu`.

    What is sent by who holds the canary counts once, and once more for each helper, and its noise
    with it; the other honest workers add noise alone.
    """
    copies = 1 + helpers
    return mu * copies / math.sqrt(honest - 1 + copies**2)


def mu_of(epsilon: float, delta: float) -> float:
    """Return mu of the Gaussian trade-off that has that epsilon at delta."""
    return float(brentq(lambda mu: gaussian_epsilon(mu, delta) - epsilon, 1e-3, 1e3))


def at_best(mu: float, delta: float, canaries: int) -> float:
    """Return about the bound on epsilon that an audit gets out if its attack misses nothing.

    Scores are normal then, mu apart, and as many guesses right as are expected to be; how many to
    make is what the audit tries. A lucky one gets more.
    """
    counted = round(_COUNTED * canaries)
    bounds = []
    for share in GUESSED:
        each = max(1, int(share * counted))
        # above the threshold lies that share of canaries, half of which are in
        above = brentq(lambda at, of: (ndtr(-at) + ndtr(mu - at)) / 2 - of, -20, mu + 20, (share,))
        right = float(ndtr(mu - above)) / 2 / share
        seen = Guesses(counted, 2 * each, round(2 * each * right))
        bounds.append(f_dp_bound(seen, delta, CONFIDENCE).epsilon_lower_bound)
    return max(bounds)


def least_seen(delta: float, canaries: int) -> float:
    """Return the least epsilon, in tenths, of which such an audit shows anything at best."""
    tenths = range(1, 1000)

    def is_seen(each: int) -> bool:
        return at_best(mu_of(each / 10, delta), delta, canaries) > 0

    return tenths[bisect_left(tenths, True, key=is_seen)] / 10


def table(runs: pd.DataFrame) -> str:
    """Tell what was found by rule and observer, beside what is claimed, true, and findable."""
    values, epsilons = of_seeds(runs), claimed(runs)
    lines = [
        "| rule | claimed | " + " | ".join(_VIEWS.values()) + " |",
        "| --- " + "| ---: " * (len(_VIEWS) + 1) + "|",
    ]
    for rule, epsilon in epsilons.items():
        cells = [_cell(seeds_at(values, str(rule), *view)) for view in _VIEWS]
        lines.append(f"| {rule} | {epsilon:.2f} | {' | '.join(cells)} |")
    delta, honest = float(runs["delta"].iloc[0]), int(runs["honest"].iloc[0])
    trained, per_run = int(runs["runs"].iloc[0]), int(runs["per_run"].iloc[0])
    mu = mu_of(float(epsilons[_MEAN]), delta)
    known = {
        ("messages", 0): mu,
        ("aggregates", 0): mean_tells(mu, honest, 0),
        ("aggregates", 2): mean_tells(mu, honest, 2),
    }
    for name, of in (
        ("truth of the mean", lambda mu: gaussian_epsilon(mu, delta)),
        ("at best to be found of it", lambda mu: at_best(mu, delta, trained * per_run)),
    ):
        cells = [f"{of(known[view]):.2f}" if view in known else "" for view in _VIEWS]
        lines.append(f"| *{name}* |  | {' | '.join(cells)} |")
    proven = runs.loc[runs["observer"] == "messages", "epsilon_lower_bound"]
    notes = [
        f"Lower bounds on epsilon at delta = {delta:g} if Gaussian: mean over {values.shape[1]} "
        f"audits of {trained} runs with {per_run} canaries each, ± half of its 95 % interval. Each "
        f"bound holds at {CONFIDENCE:.0%} by itself.",
        "Claimed: of who sees every message, by pld for vectors and sign for the vote; one "
        "example's contribution set to zero, n public.",
        "Truth of the mean: what its aggregates hide is Gaussian, and follows from the claim. At "
        "best to be found: about what an attack gets that misses nothing. Of an epsilon below "
        f"{least_seen(delta, trained * per_run):g} such an audit shows nothing even so, and a "
        "bound of 0 proves nothing.",
        f"Whatever the mechanism, {proven.mean():.2f} is proven of messages on average.",
        f"Refuted: {int(runs['is_refuted'].sum())} of {len(runs)} claims, each tested at "
        f"{1 - CONFIDENCE:.0%}.",
    ]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)])


def _cell(found: pd.Series) -> str:
    return f"{found.mean():.2f} ± {half_width(found.std(), found.size):.2f}"


@styled
def figure(runs: pd.DataFrame) -> Figure:
    """Draw what each observer found of each rule's claim: a row a rule."""
    values, epsilons = of_seeds(runs), claimed(runs)
    rows = np.arange(len(epsilons))
    drawn = new_figure(WIDE, 0.6 + 0.42 * len(epsilons))
    axes, styles = drawn.subplots(), looks(_VIEWS.values())
    marks: list[Any] = []
    for place, (view, name) in enumerate(_VIEWS.items()):
        found = values.loc[[(rule, *view) for rule in epsilons.index]]
        means, half = found.mean(axis=1), half_width(found.std(axis=1), found.shape[1])
        at, color = rows + (place - 2) * 0.16, styles[name].color
        least = np.minimum(half, means)  # no bound is below 0
        axes.errorbar(means, at, xerr=[least, half], fmt="none", ecolor=color, elinewidth=0.8)
        look: Any = {"color": color, "marker": styles[name].marker, "label": name}
        marks += axes.plot(means, at, ls="none", **look)
    claim: Any = {"color": theme().pale, "lw": 1.2, "label": "claimed of messages"}
    axes.vlines(epsilons, rows - 0.42, rows + 0.42, **claim)
    marks.append(Line2D([], [], **claim))
    axes.set_yticks(rows, [name.replace(" + ", " +\n") for name in epsilons.index])
    axes.set_ylim(len(epsilons) - 0.45, -0.55)
    axes.set_xlim(left=0)
    axes.set_xlabel("epsilon")
    grid(axes)
    add_legend(drawn, marks)
    notes = (
        f"Lower bounds if Gaussian: means over {values.shape[1]} audits, 95 % Student intervals."
    )
    add_notes(drawn, [notes, "A bound of 0 proves nothing."])
    return drawn


def every_audit(runs: pd.DataFrame) -> pd.DataFrame:
    """Keep all of it."""
    return runs


EXPERIMENT = Experiment(claims, table, figure, every_audit, _AUDITS)
