"""Whether robustness and privacy cost more together than apart (Allouah et al. 2023)."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from privrobust.reporting.intervals import half_width
from privrobust.reporting.metrics import METRICS
from privrobust.reporting.summary import summarise
from privrobust.theory import spectral_error_bound
from study.experiment import Experiment
from study.lines import lines_figure
from study.outcomes import ALL_BROKEN, NONE, at_budget, broken, cell, outcomes, seeds_at, slopes
from study.verdicts import Verdict, judge, untested

_WHOLE = ("nnm + trimmed_mean", "smea")  # rules that look at whole messages, not at coordinates
_THEIRS, _OURS = ("smea", 0.9), ("median", 0.0)  # SAFE-DSHB, and noisy medianSGD
_MANY = 10  # honest workers, of whom most claims are
_DIM = 7850  # of logistic regression on 28 x 28 pixels in ten classes
_MARGIN = 1  # point of accuracy
_LIMITS = (
    "What this does not show. From one epsilon to the other s only doubles, as few images are "
    "drawn in 100 steps: an error that goes as 1 / epsilon^2 takes more. The term f s^2 / n "
    "of the lower bound is hidden by d s^2 / n, d being 7,850. Data that differ between workers "
    "would add the price of robustness alone. Runs of a seed share the draws of noise. ALIE's z "
    "of 0.5 is about what SMEA lets through, by its eigenvalues; whoever searches may do more harm."
)
_NO_EXTRA = "attackers add nothing to the error of some seed"


def errors(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the squared error of an aggregate under the attack that is worst for it, by seed.

    Of runs without momentum, whose messages are of the step that the error is of.

    Returns:
        Indexed by honest workers, rule, epsilon ("none" without noise) and f, a column a seed.

    """
    fresh = runs[runs["worker_momentum"] == 0]
    epsilon = fresh["target_epsilon"].astype(object).where(fresh["target_epsilon"].notna(), NONE)
    levels = ["honest", "aggregator", "epsilon", "byzantine", "seed"]
    cells = fresh.assign(epsilon=epsilon).groupby(levels, sort=False)["error"]
    return cells.max().where(cells.count() == cells.size()).unstack("seed")


def prices(runs: pd.DataFrame) -> dict[tuple[int, float], tuple[float, float]]:
    """Return s and d s^2 / h, the error of averaging noise alone, by honest workers and epsilon."""
    noisy = runs[runs["target_epsilon"].notna()]
    settings = noisy[["honest", "target_epsilon", "noise_scale"]].drop_duplicates()
    return {
        (int(honest), epsilon): (s, _DIM * s**2 / honest)
        for honest, epsilon, s in settings.itertuples(index=False)
    }


def accuracies(runs: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy in % under the attack that is worst for it, by rule, momentum, epsilon, f."""
    fields = ["aggregator", "worker_momentum", "target_epsilon"]
    return outcomes(runs[runs["honest"] == _MANY], fields)


def claims(runs: pd.DataFrame) -> list[Verdict]:
    """Claim how the error depends on noise, on f / n and on the rule, then what accuracy pays."""
    error, price, accuracy = errors(runs), prices(runs), accuracies(runs)
    least, most = _epsilons(error)
    rules = list(error.index.unique("aggregator"))
    fs = sorted(f for f in error.index.unique("byzantine") if f)
    found = [_privacy_alone(error, price, at) for at in (most, least)]
    found += [_together(error, price, rule, least, f) for rule in rules for f in fs]
    found += [_grows_with_noise(error, price, rule, (most, least), fs[-1]) for rule in rules]
    found += [_grows_with_share(error, rule, least, fs) for rule in rules]
    found += [_price_of_both(error, price, rule, least, fs[-1]) for rule in rules]
    found += [_twice_the_workers(error, rule, least, fs[-1]) for rule in rules]
    found += [_proven(runs, error, price, rule, least, fs[-1]) for rule in rules]
    epsilons, f = (NONE, least), fs[-1]
    found += [_better(accuracy, _THEIRS, _OURS, at, f) for at in epsilons]
    rivals = [(rule, _THEIRS[1]) for rule in rules if rule != _THEIRS[0]]
    found += [_better(accuracy, _THEIRS, rival, at, f) for at in epsilons for rival in rivals]
    found += [_better(accuracy, _THEIRS, (_THEIRS[0], 0.0), at, f) for at in epsilons]
    momenta = accuracy.index.unique("worker_momentum")
    return found + [
        _gap_widens(accuracy, (rule, momentum), least, f) for rule in rules for momentum in momenta
    ]


def _epsilons(error: pd.DataFrame) -> list[float]:
    return sorted(float(at) for at in error.index.unique("epsilon") if at != NONE)


def _extra(error: pd.DataFrame, rule: str, epsilon: Any, f: int) -> pd.Series:
    """Return what f attackers add to the error."""
    return seeds_at(error, _MANY, rule, epsilon, f) - seeds_at(error, _MANY, rule, epsilon, 0)


def _privacy_alone(error: pd.DataFrame, price: dict[Any, Any], epsilon: float) -> Verdict:
    """Claim of the mean, which every rule but the median is without attackers."""
    return judge(
        f"epsilon {epsilon:g}, no attackers: the error of averaging is d s^2 / h within 2 %",
        100 * (seeds_at(error, _MANY, "smea", epsilon, 0) / price[_MANY, epsilon][1] - 1),
        (-2, 2),
        "%",
        level=0.9,
    )


def _together(
    error: pd.DataFrame, price: dict[Any, Any], rule: str, epsilon: float, f: int
) -> Verdict:
    beyond = _extra(error, rule, epsilon, f) - _extra(error, rule, NONE, f)
    return judge(
        f"{rule}, f = {f}: attackers add more to the error at epsilon {epsilon:g} than without "
        "noise, by over a tenth of d s^2 / h",
        100 * beyond / price[_MANY, epsilon][1],
        (10, math.inf),
        "% of d s^2 / h",
    )


def _grows_with_noise(
    error: pd.DataFrame, price: dict[Any, Any], rule: str, epsilons: Sequence[float], f: int
) -> Verdict:
    claim = f"{rule}, f = {f}: what attackers add goes as s^2 (exponent 2 within 0.2)"
    extra = pd.DataFrame([_extra(error, rule, epsilon, f) for epsilon in epsilons])
    noise = [price[_MANY, epsilon][0] for epsilon in epsilons]
    return _exponent(claim, extra, noise, (1.8, 2.2), level=0.9)


def _grows_with_share(error: pd.DataFrame, rule: str, epsilon: float, fs: Sequence[int]) -> Verdict:
    claim = (
        f"{rule}, epsilon {epsilon:g}: what attackers add grows at least as f / n (exponent "
        "over 0.8)"
    )
    extra = pd.DataFrame([_extra(error, rule, epsilon, f) for f in fs])
    return _exponent(claim, extra, [f / (_MANY + f) for f in fs], (0.8, math.inf), level=0.95)


def _exponent(
    claim: str,
    extra: pd.DataFrame,
    x: Sequence[float],
    accepted: tuple[float, float],
    level: float,
) -> Verdict:
    if extra.isna().any(axis=None):
        return untested(claim, "a run failed")
    if not (extra > 0).all(axis=None):
        return untested(claim, _NO_EXTRA)
    exponents = slopes(extra.map(math.log), [math.log(at) for at in x])
    return judge(claim, exponents, accepted, "exponent", level)


def _price_of_both(
    error: pd.DataFrame, price: dict[Any, Any], rule: str, epsilon: float, f: int
) -> Verdict:
    amortises = rule in _WHOLE
    return judge(
        f"{rule}, epsilon {epsilon:g}, f = {f}: attackers add {'less' if amortises else 'more'} "
        "than privacy alone costs, d s^2 / h",
        100 * _extra(error, rule, epsilon, f) / price[_MANY, epsilon][1],
        (-math.inf, 100) if amortises else (100, math.inf),
        "% of d s^2 / h",
    )


def _twice_the_workers(error: pd.DataFrame, rule: str, epsilon: float, f: int) -> Verdict:
    amortises = rule in _WHOLE
    kept = "half (0.4 to 0.6)" if amortises else "over two thirds"
    return judge(
        f"{rule}, epsilon {epsilon:g}: of the error with {f // 2} of {(_MANY + f) // 2} workers "
        f"Byzantine, {f} of {_MANY + f} keep {kept}",
        seeds_at(error, _MANY, rule, epsilon, f)
        / seeds_at(error, _MANY // 2, rule, epsilon, f // 2),
        (0.4, 0.6) if amortises else (2 / 3, math.inf),
        "times",
        level=0.9 if amortises else 0.95,
    )


def proven(runs: pd.DataFrame, price: dict[Any, Any], rule: str, epsilon: float, f: int) -> float:
    """Return the least bound on the error that docs/theory.md proves, by settings alone."""
    private = (runs["target_epsilon"] == epsilon) & (runs["worker_momentum"] == 0)
    same = (runs["honest"] == _MANY) & (runs["aggregator"] == rule) & (runs["byzantine"] == f)
    run = runs[private & same].iloc[0]
    if rule != "smea":
        return float(run["error_bound"])
    second_moment = run["clip_norm"] ** 2  # of batches of B, divided by B
    return spectral_error_bound(
        run["kappa_bound"], _MANY, _DIM, price[_MANY, epsilon][0], second_moment
    )


def _proven(
    runs: pd.DataFrame,
    error: pd.DataFrame,
    price: dict[Any, Any],
    rule: str,
    epsilon: float,
    f: int,
) -> Verdict:
    return judge(
        f"{rule}, epsilon {epsilon:g}, f = {f}: the error is within what is proven of it",
        100 * seeds_at(error, _MANY, rule, epsilon, f) / proven(runs, price, rule, epsilon, f),
        (0, 100),
        "% of the bound",
    )


def _better(
    accuracy: pd.DataFrame,
    one: tuple[str, float],
    other: tuple[str, float],
    epsilon: Any,
    f: int,
) -> Verdict:
    claim = (
        f"{at_budget(epsilon)}, f = {f}, worst case: {_named(one)} is better than "
        f"{_named(other)} by over {_MARGIN} point"
    )
    lost = broken(accuracy)
    if all(lost.loc[(*method, epsilon, f)] for method in (one, other)):
        return untested(claim, ALL_BROKEN)
    difference = seeds_at(accuracy, *one, epsilon, f) - seeds_at(accuracy, *other, epsilon, f)
    return judge(claim, difference, (_MARGIN, math.inf))


def _gap_widens(
    accuracy: pd.DataFrame, method: tuple[str, float], epsilon: float, f: int
) -> Verdict:
    def gap(at: Any) -> pd.Series:
        return seeds_at(accuracy, *method, at, 0) - seeds_at(accuracy, *method, at, f)

    return judge(
        f"{_named(method)}, f = {f}: attackers cost more accuracy at epsilon {epsilon:g} than "
        f"without noise, by over {_MARGIN} point",
        gap(epsilon) - gap(NONE),
        (_MARGIN, math.inf),
    )


def _named(method: tuple[str, float]) -> str:
    rule, momentum = method
    return f"{rule} with momentum {momentum:g}" if momentum else f"{rule} without momentum"


def table(runs: pd.DataFrame) -> str:
    """Lay out errors by rule and f, then accuracies by rule, momentum and f."""
    error, price, accuracy = errors(runs), prices(runs), accuracies(runs)
    least, most = _epsilons(error)
    epsilons = (NONE, most, least)
    heads = " | ".join(map(at_budget, epsilons))
    rows = [
        "Squared error of an aggregate, |aggregate - mean of honest gradients before noise|^2, "
        "under the attack that is worst for it:",
        "",
        f"| rule | honest | f | {heads} | of d s^2 / h, at epsilon {least:g} | proven |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for honest, rule, f in sorted(set(error.droplevel("epsilon").index), key=_order):
        known = [
            _cell(seeds_at(error, honest, rule, at, f))
            if (honest, rule, at, f) in error.index
            else ""
            for at in epsilons
        ]
        times = seeds_at(error, honest, rule, least, f).mean() / price[honest, least][1]
        bound = f"{proven(runs, price, rule, least, f):.3g}" if honest == _MANY else ""
        rows.append(f"| {rule} | {honest} | {f} | {' | '.join(known)} | {times:.2f} | {bound} |")
    noise = "; ".join(
        f"{at_budget(epsilon)}, {honest} honest: s = {s:.4f}, d s^2 / h = {alone:.3f}"
        for (honest, epsilon), (s, alone) in sorted(price.items(), reverse=True)
    )
    rows += [
        "",
        f"Means over {error.shape[1]} seeds, ± half of their 95 % intervals; no momentum. {noise}. "
        f"Proven: what docs/theory.md bounds the expectation by, at epsilon {least:g}.",
        "",
        "Accuracy in % on test data, without attackers and under the attack that is worst for each "
        "seed:",
        "",
        f"| rule | momentum | f | {heads} |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for rule, momentum, f in sorted(set(accuracy.droplevel("target_epsilon").index)):
        known = [
            cell(seeds_at(accuracy, rule, momentum, at, f))
            if (rule, momentum, at, f) in accuracy.index
            else ""
            for at in epsilons
        ]
        rows.append(f"| {rule} | {momentum:g} | {f} | {' | '.join(known)} |")
    return "\n".join(
        [
            *rows,
            "",
            f"{_MANY} honest workers. Epsilon at delta = 1e-05: an upper bound for one example's "
            "contribution set to zero, n public, against whoever sees every message. Tuning is not "
            "counted.",
            "",
            _LIMITS,
        ]
    )


def _order(place: tuple[int, str, int]) -> tuple[int, str, int]:
    honest, rule, f = place
    return -honest, rule, f


def _cell(seeds: pd.Series) -> str:
    half = float(half_width(seeds.std(ddof=1), seeds.size))
    return f"{seeds.mean():.3g} ± {half:.1g}" if seeds.mean() > 1e-9 else "0"


def figure(runs: pd.DataFrame) -> Figure:
    """Draw the error over that of privacy alone, against f: a panel an epsilon, a line a rule."""
    error, price = errors(runs), prices(runs)
    of_many = error.loc[_MANY].index
    drawn = {
        (at_budget(epsilon), rule, f): seeds_at(error, _MANY, rule, epsilon, f)
        / price[_MANY, epsilon][1]
        for epsilon in reversed(_epsilons(error))
        for rule in of_many.unique("aggregator")
        for f in of_many.unique("byzantine")
    }
    values = pd.DataFrame(
        [seeds.to_numpy() for seeds in drawn.values()], index=pd.MultiIndex.from_tuples(drawn)
    )
    return lines_figure(
        values,
        f"f beside {_MANY} honest workers",
        "worst error / (d s² / h)",
        [
            "1: what privacy alone costs. Costs that add would fall towards it with more noise; "
            "costs that multiply look the same at each epsilon."
        ],
        grey="without attackers",
    )


def cells(runs: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, with intervals, of all metrics."""
    return summarise(runs, list(METRICS)).reset_index()


EXPERIMENT = Experiment(claims, table, figure, cells)
