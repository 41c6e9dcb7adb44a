"""R4: does noise trade bias for variance, on real gradients, as theory says?"""

import math
from functools import lru_cache

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from privrobust import RunSpec
from privrobust.reporting.figures.bias_variance import bias_variance_figure, monte_carlo, theory
from privrobust.theory import median_bias_bound
from study.experiment import Experiment
from study.outcomes import slopes
from study.probe import gradients, specs
from study.verdicts import Verdict, judge, untested

_STEP = 31  # at which gradients are taken: well on the way, not yet at the end
_COORDINATES = 20  # those that are most skewed over workers, where bias stands out of its error
_DRAWS = 30_000
_RATIOS = np.geomspace(1 / 30, 6, 14)  # b, in units of the largest spread of a coordinate
_GOOD = 0.1  # the b that r1_tradeoff finds best for the median at heterogeneity 1
_LARGE = 2.0  # of these, where theory is to hold


def claims(runs: pd.DataFrame) -> list[Verdict]:
    """Exponents, the constant of the variance, and the b of the least error."""
    found = []
    for heterogeneity, part in runs.groupby("heterogeneity", sort=False):
        where = f"heterogeneity {heterogeneity:g}"
        curves = [_curve(spec) for spec in specs(part)]
        for name, exponent in (("bias", -2), ("variance", 2)):
            values = pd.concat([np.log10(curve[name]) for curve in curves], axis=1)
            values = values[values.index >= _LARGE]
            found.append(
                judge(
                    f"{where}: {name} goes as b^{exponent} within 0.25 "
                    f"(b at least {_LARGE:g} spreads)",
                    slopes(values, np.log10(values.index.to_numpy())),
                    (exponent - 0.25, exponent + 0.25),
                    "exponent",
                )
            )
        found.append(
            judge(
                f"{where}: at the largest b the variance is pi b^2 / 2n within 10 %",
                [
                    float((curve["variance"] / curve["variance_in_theory"]).iloc[-1])
                    for curve in curves
                ],
                (0.9, 1.1),
                "times",
            )
        )
        found.append(
            judge(
                f"{where}: the bias stays below the bound of docs/theory.md at every b",
                [float((curve["bias"] / curve["bias_bound"]).max()) for curve in curves],
                (0, 1),
                "of the bound",
            )
        )
        found.append(_best_is_that_of_theory(where, curves))
        found.append(
            judge(
                f"{where}: some b has less squared error than no noise, by over a tenth",
                [_gain(curve) for curve in curves],
                (0.1, math.inf),
                "of the error",
            )
        )
    return found


def _best_is_that_of_theory(where: str, curves: list[pd.DataFrame]) -> Verdict:
    claim = f"{where}: the b of least squared error is that of theory within a factor of 2"
    best = [_measured_best(curve) for curve in curves]
    if 0 in best:
        return untested(claim, f"no noise is best in {best.count(0)} of {len(best)} seeds")
    theory_too = zip(best, map(_best_in_theory, curves), strict=True)
    return judge(claim, [math.log2(b / at) for b, at in theory_too], (-1, 1), "factors of 2")


@lru_cache(maxsize=64)
def _messages(spec: RunSpec) -> np.ndarray:
    """Honest clipped averages at one step, `(workers, dim)`, of the most skewed coordinates."""
    upto = spec.model_copy(update={"steps": min(_STEP, spec.steps)})
    assert spec.clip_norm is not None
    (*_, taken) = gradients(upto, [spec.clip_norm], every=max(1, upto.steps - 1))
    last = taken.clipped[0].numpy().astype(float)
    skew = abs(((last - last.mean(0)) ** 3).mean(0))
    return last[:, np.argsort(-skew)[:_COORDINATES]]


@lru_cache(maxsize=64)
def _curve(spec: RunSpec) -> pd.DataFrame:
    """Bias and variance by b in spreads, measured and in theory."""
    messages = _messages(spec)
    spread = float(messages.std(0).max())
    scales = [float(b) for b in spread * _RATIOS]
    curve = monte_carlo(messages, scales, "gaussian", _DRAWS, spec.seed)
    lines = theory(messages, scales, "gaussian")
    curve["bias_in_theory"], curve["variance_in_theory"] = lines["bias"], lines["variance"]
    curve["gap"] = lines["gap"]
    each = [[median_bias_bound(s, len(messages), b) for s in messages.std(0)] for b in scales]
    curve["bias_bound"] = np.linalg.norm(each, axis=1)
    return curve.set_axis(pd.Index(_RATIOS, name="noise_scale"))


def _measured_best(curve: pd.DataFrame) -> float:
    """Find the b of least squared error, 0 where no noise is better than none."""
    errors = _errors(curve)
    return float(errors.index.to_numpy()[errors.argmin()]) if _gain(curve) > 0 else 0.0


def _errors(curve: pd.DataFrame) -> pd.Series:
    return curve["bias"] ** 2 + curve["variance"]


def _best_in_theory(curve: pd.DataFrame) -> float:
    """Where `A^2 / b^4 + V b^2` is least: at `(2 A^2 / V)^(1/6)`."""
    b = curve.index.to_numpy()
    squared = float((curve["bias_in_theory"].to_numpy()[-1] * b[-1] ** 2) ** 2)
    variance = float(curve["variance_in_theory"].to_numpy()[-1] / b[-1] ** 2)
    return math.pow(2 * squared / variance, 1 / 6)


def _gain(curve: pd.DataFrame) -> float:
    return float(1 - _errors(curve).min() / curve["gap"].iloc[0] ** 2)


def cells(runs: pd.DataFrame) -> pd.DataFrame:
    """Every curve; b in spreads."""
    curves = {(spec.heterogeneity, spec.seed): _curve(spec) for spec in specs(runs)}
    return pd.concat(curves, names=["heterogeneity", "seed"]).reset_index()


def _error_in_training(spec: RunSpec) -> float:
    """Squared error at a b that is good to train with, in units of that without noise."""
    messages = _messages(spec)
    at = monte_carlo(messages, [_GOOD], "gaussian", _DRAWS, spec.seed)
    return float(_errors(at).iloc[0] / theory(messages, [_GOOD], "gaussian")["gap"].iloc[0] ** 2)


def table(runs: pd.DataFrame) -> str:
    """Where the error is least."""
    rows = [
        f"The median of 15 honest gradients at step {min(_STEP, runs['steps'].max())}, with noise, "
        f"as an estimate of their mean, in the {_COORDINATES} coordinates that are most skewed "
        "over workers. Best b are in spreads: units of the largest standard deviation of a "
        "coordinate over workers; 0 where no b has less error than none. Error: bias squared and "
        "variance, over that of the median without noise.",
        "",
        "| heterogeneity | seed | median-mean gap without noise | best b, measured | in theory "
        f"| least error | error at b = {_GOOD:g} |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for spec in specs(runs):
        curve = _curve(spec)
        rows.append(
            f"| {spec.heterogeneity:g} | {spec.seed} | {curve['gap'].iloc[0]:.3g} "
            f"| {_measured_best(curve):.2g} | {_best_in_theory(curve):.2g} "
            f"| {1 - _gain(curve):.2f} | {_error_in_training(spec):.2f} |"
        )
    return "\n".join(rows)


def figure(runs: pd.DataFrame) -> Figure:
    """Bias and variance against b, of the most heterogeneous data and the first seed."""
    spec = max(specs(runs), key=lambda spec: (spec.heterogeneity, -spec.seed))
    return bias_variance_figure(_messages(spec), draws=_DRAWS, seed=spec.seed)


EXPERIMENT = Experiment(claims, table, figure, cells)
