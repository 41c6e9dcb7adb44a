"""What the report says in words: what was run, and what its epsilon promises."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import pandas as pd

from privrobust.core.formatting import counted, number, rounded_up
from privrobust.reporting import tuning
from privrobust.reporting.intervals import TOLD
from privrobust.reporting.legend import BREAKDOWN_NOTE, FEW, FEW_SEEDS, GAP_NOTE
from privrobust.reporting.neighbours import adjacencies, at_length
from privrobust.reporting.report.rows import UNKNOWN, Rows
from privrobust.reporting.scaling import about_scaling
from privrobust.reporting.schemes import charged_for
from privrobust.spec.run_fields import FIELDS

_MOST = 12  # values that a line lists


def listed(values: Iterable[object], most: int = _MOST) -> str:
    """List distinct values, in order of size or of appearance: `0, 2 and 4`."""
    found = list(dict.fromkeys(values))
    if all(isinstance(value, int | float) for value in found):
        found = sorted(found, key=lambda value: float(str(value)))
    texts = [number(value) for value in found[:most]]
    if len(found) > most:
        texts.append(f"{len(found) - most} more")
    if len(texts) < 2:
        return "".join(texts)
    return f"{', '.join(texts[:-1])} and {texts[-1]}"


def _values(runs: pd.DataFrame, field: str) -> list[Any]:
    """Return those of one field, as Python has them, gaps left out."""
    column: list[Any] = runs[field].dropna().tolist()
    return column


def task(runs: pd.DataFrame) -> str:
    """Name the dataset, the model and how many workers there are; nothing of what varies."""
    columns = [_values(runs, field) for field in ("dataset", "model")]
    of_data = [values[0] for values in columns if _is_one(values)]
    workers, honest = (runs["honest"] + runs["byzantine"]).tolist(), _values(runs, "honest")
    if _is_one(workers):
        of_data.append(counted(workers[0], "worker"))
    elif _is_one(honest):
        of_data.append(counted(honest[0], "honest worker"))
    return ", ".join(of_data)


def _is_one(values: list[Any]) -> bool:
    return len(set(values)) == 1


def in_short(runs: pd.DataFrame) -> str:
    """Say in one line what was run: data, models, rules, attackers, seeds."""
    f, workers = _values(runs, "byzantine"), set((runs["honest"] + runs["byzantine"]).tolist())
    of = f" of {workers.pop()}" if len(workers) == 1 else ""
    parts = [
        f"{listed(_values(runs, 'dataset'))}, model {listed(_values(runs, 'model'))}",
        f"methods {listed(_values(runs, 'aggregator'))}",
        f"f = {listed(f)}{of}",
        f"attacks {listed(_values(runs, 'attack')) or 'none'}",
        counted(runs["seed"].nunique(), "seed"),
    ]
    return "; ".join(parts)


def overview(runs: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Say what was run, line by line: a name and its sentence."""

    def each(field: str) -> str:
        return listed(_values(runs, field))

    yield "Data", f"{each('dataset')}; accuracy is that on the {each('evaluate_on')} split"
    yield "Model", f"{each('model')}, trained on the loss {each('loss')}"
    yield "Workers", _workers(runs)
    yield "Data over workers", _partition(runs)
    yield "Methods", f"the server combines messages by {each('aggregator')}"
    attacks = each("attack")
    yield "Attacks", attacks or "none: every worker was honest"
    yield "Noise", _noise(runs)
    yield "Clipping", _clipping(runs)
    yield (
        "Training",
        f"{each('steps')} steps of learning rate {each('learning_rate')}, {_batches(runs)}"
        f"{_local_steps(runs)}",
    )
    seeds = runs["seed"].nunique()
    yield (
        "Seeds",
        f"{each('seed')}"
        + (
            f"; fewer than {FEW_SEEDS}, so chance may explain differences"
            if seeds < FEW_SEEDS
            else ""
        ),
    )


def _workers(runs: pd.DataFrame) -> str:
    honest, byzantine = listed(_values(runs, "honest")), listed(_values(runs, "byzantine"))
    totals = set((runs["honest"] + runs["byzantine"]).tolist())
    if len(totals) < runs["honest"].nunique():
        return f"{listed(totals)} in all, of which f = {byzantine} are Byzantine"
    return f"{honest} honest ones, and f = {byzantine} Byzantine ones beside them"


def _batches(runs: pd.DataFrame) -> str:
    at_rate = runs["sampling_rate"].notna()
    parts = []
    if sizes := listed(_values(runs[~at_rate], "batch_size")):
        parts.append(f"batches of {sizes} examples expected")
    if rates := listed(_values(runs, "sampling_rate")):
        divisors = listed(_values(runs[at_rate], "batch_size"))
        parts.append(f"each example drawn with probability {rates} and sums divided by {divisors}")
    is_poisson = (runs["sampling"] == "poisson").all()
    drawn = "" if is_poisson else f" ({listed(_values(runs, 'sampling'))})"
    return ", or ".join(parts) + drawn


def _local_steps(runs: pd.DataFrame) -> str:
    if runs["local_steps"].max() == 1:
        return ""
    return f"; {listed(_values(runs, 'local_steps'))} local steps a message"


def _partition(runs: pd.DataFrame) -> str:
    similar = runs[runs["partition"] == "similarity"]
    others = listed(_values(runs[runs["partition"] != "similarity"], "partition"))
    parts = [others] if others else []
    if len(similar):
        parts.insert(0, f"heterogeneity {listed(_values(similar, 'heterogeneity'))}")
    return "; ".join(parts)


def _noise(runs: pd.DataFrame) -> str:
    parts = []
    if fixed := listed(_values(runs[runs["target_epsilon"].isna()], "noise_scale")):
        parts.append(f"of scale b = {fixed} in every coordinate")
    if targets := listed(_values(runs, "target_epsilon")):
        parts.append(f"of the least scale b that keeps epsilon within {targets}")
    shared = []
    if ratios := listed(_values(runs, "pairwise_noise")):
        shared.append(f"with noise of {ratios} b that every pair of workers shares")
    return ", ".join([listed(_values(runs, "noise")), " or ".join(parts), *shared])


def _clipping(runs: pd.DataFrame) -> str:
    parts = []
    if clip_norms := listed(_values(runs, "clip_norm")):
        parts.append(
            f"gradients are clipped to norm C = {clip_norms} ({listed(_values(runs, 'clipping'))})"
        )
    if bounds := listed(_values(runs, "grad_norm_bound")):
        parts.append(f"gradient norms are proven to be at most {bounds}")
    if runs[["clip_norm", "grad_norm_bound"]].isna().all(axis=1).any():
        parts.append("some runs do neither" if parts else "none")
    return "; ".join(parts)


def shared(runs: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the fields of a spec that all runs have in common, and what they are."""
    fields = []
    for field in FIELDS:
        if field == "data_dir":  # a folder of whoever ran it
            continue
        values = _values(runs, field)
        if runs[field].isna().all():
            fields.append((field, "none"))
        elif len(set(values)) == 1 and len(values) == len(runs):
            fields.append((field, number(values[0])))
    return fields


def guarantees(runs: pd.DataFrame) -> Iterator[str]:
    """Say what the finite epsilons promise, a sentence a kind."""
    named = runs.assign(adjacency=adjacencies(runs))
    private = named[named["epsilon"] < math.inf]
    kinds = ["accountant_used", "is_upper_bound", "delta", "repeats", "unit", "adjacency"]
    for at, of_kind in private.groupby(kinds, sort=False, dropna=False):
        name, is_bound, delta, repeats, *kind = at
        unit, adjacency = map(str, kind)
        sort = "an upper bound" if is_bound else "an ESTIMATE, which may be smaller than the truth"
        low, high = of_kind["epsilon"].min(), of_kind["epsilon"].max()
        span = rounded_up(high, 3)
        if rounded_up(low, 3) != span:
            span = f"{rounded_up(low, 3)} to {span}"
        rules = of_kind["aggregator"].unique()
        is_all = len(rules) == private["aggregator"].nunique()
        of_rules = "" if is_all else f" of {', '.join(rules)}"
        yield (
            f"{counted(len(of_kind), 'run')}{of_rules}: epsilon = {span} at delta = "
            f"{number(delta)}, {sort}, computed by the accountant {name!r}. Neighbouring data: "
            f"{at_length(unit, adjacency)}."
            + (f" {tuning.counted(repeats)}" if isinstance(repeats, str) else "")
        )
    yield from charged_for(private)
    yield from about_scaling(private, "The")


def odds(runs: pd.DataFrame) -> Iterator[str]:
    """Say how much the least and the largest epsilon allow."""
    epsilons = runs["epsilon"][runs["epsilon"] < math.inf]
    if epsilons.empty:
        return
    for end in dict.fromkeys(rounded_up(end, 3) for end in (epsilons.min(), epsilons.max())):
        yield f"At epsilon = {end} that is {_factor(float(end))}."


def _factor(epsilon: float) -> str:
    if epsilon > math.log(1e6):
        return "more than a million-fold"
    factor = math.exp(epsilon)
    return f"{rounded_up(factor, 3) if factor < 10 else f'{math.ceil(factor):,}'}-fold"


def protected(runs: pd.DataFrame) -> str:
    """Say whom the guarantee is for."""
    names = {"example": "one example of an honest worker", "worker": "one honest worker"}
    units = list(dict.fromkeys(_values(runs, "unit"))) or ["example"]
    return " or ".join(names.get(unit, str(unit)) for unit in units)


def unprotected(runs: pd.DataFrame) -> Iterator[str]:
    """Say why runs are not private, a line a reason."""
    infinite = runs[~(runs["epsilon"] < math.inf)]
    reasons = infinite["not_private"].fillna("they ended without a guarantee")
    for reason, count in reasons.value_counts().items():
        yield f"{counted(count, 'run')}: not private (epsilon = ∞): {reason}."


def notes(rows: Rows, has_best: bool) -> Iterator[str]:
    """Explain what stands in the table, and nothing that does not.

    Args:
        rows: of the table.
        has_best: whether a cell is marked as the best of its column.

    """
    cells = [cell for row in rows.rows for cell in row.cells]
    if has_best:
        yield (
            "Bold: the best of its column among rows on the same data and, under attack, with the "
            "same f."
        )
    if any(cell.finished > 1 for cell in cells):
        yield f"±: half of a {TOLD} Student interval over seeds."
    if any(0 < cell.finished < FEW_SEEDS for cell in cells):
        yield (
            f"Fewer than {FEW_SEEDS} seeds are marked ({FEW} of a gap or breakdown point): chance "
            "may explain differences."
        )
    counts = [count for row in rows.rows for count in row.runs["final_evaluations"].unique()]
    if last := last_evaluations(counts):
        yield f"Accuracy of a run: the mean over {last}; its curve may end elsewhere."
    if any(cell.failed for cell in cells):
        yield "Failed: a run of the cell has no accuracy, so that the cell has none."
    if any(not cell.failed and not cell.holds for cell in cells):
        yield f"{UNKNOWN.capitalize()}: a run of the cell ended without a failure and without one."
    if any(cell.diverged for cell in cells):
        yield "Diverged: in so many runs the model's outputs stopped being finite."
    if any(row.clean is None or len(row.attacked) < len(rows.attacks) for row in rows.rows):
        yield "Not run: the store has no such run."
    if any(row.gap_text for row in rows.rows):
        yield GAP_NOTE
    if any(row.breakdown_text for row in rows.rows):
        yield BREAKDOWN_NOTE
    if rows.about_chance:
        yield rows.about_chance


def last_evaluations(counts: Sequence[int]) -> str:
    """Say over so many evaluations that accuracy is a mean; nothing where it is of the last."""
    return f"the last {listed(counts)} evaluations" if any(count > 1 for count in counts) else ""


def attacks_lacking(rows: Rows) -> str:
    """Say how many worst cases are over fewer attacks than others; nothing if none."""
    attacked = [row for row in rows.rows if row.attacked]
    fewer = sum(len(row.attacked) < len(rows.attacks) for row in attacked)
    return f"{fewer} of {counted(len(attacked), 'worst case')}" if fewer else ""


class Trouble(NamedTuple):
    """What happened to some runs."""

    told: str
    runs: int
    """How many."""
    places: Sequence[tuple[str, str, str]]
    """Their settings, attacks and seeds."""


def troubles(rows: Rows) -> Iterator[Trouble]:
    """Tell why runs failed, then what diverged: of each the commonest first."""
    yield from _troubles(rows, lambda runs: runs["failure"].map("failed: {}".format, "ignore"))
    yield from _troubles(rows, lambda runs: runs["diverged"].map({True: _DIVERGED}).astype(object))


def _troubles(rows: Rows, told: Callable[[pd.DataFrame], pd.Series]) -> list[Trouble]:
    """Tell those of one kind; a run that several rows count, as clean ones are, once."""
    seen: set[str] = set()
    counts: Counter[str] = Counter()
    places: dict[str, list[tuple[str, str, str]]] = {}
    for row in rows.rows:
        if not any(cell.failed or cell.diverged for cell in row.cells):
            continue
        runs = row.runs[~row.runs.index.isin(seen)]
        what = told(runs).dropna()
        runs = runs.loc[what.index]
        seen.update(runs.index)
        attacks = runs["attack"].fillna("none")
        for (attack, happened), alike in runs.groupby([attacks, what], sort=False):
            counts[str(happened)] += len(alike)
            place = row.name, str(attack), listed(_values(alike, "seed"))
            places.setdefault(str(happened), []).append(place)
    return [Trouble(what, count, places[what]) for what, count in counts.most_common()]


_DIVERGED = "diverged: the model's outputs stopped being finite"


def glossary(names: Iterable[str], described: Iterable[str]) -> list[tuple[str, str]]:
    """Return what the suite says of methods or attacks that it knows.

    Args:
        names: as specs write them, with parameters and pre-aggregators.
        described: the lines of `list_attacks` or `list_aggregators`.

    """
    meanings: dict[str, str] = {}
    name = ""
    for line in described:
        if not line.startswith(" "):
            name = line.partition("(")[0].strip()
        elif name and name not in meanings:
            meanings[name] = line.strip()
    used = [part.partition("(")[0].strip() for text in names for part in text.split(" + ")]
    return [(name, meanings[name]) for name in dict.fromkeys(used) if name in meanings]
