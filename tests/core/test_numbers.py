"""Numbers of every type mean their value, or are refused in one line, wherever they enter."""

import subprocess
import sys
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from privrobust import RunSpec
from privrobust.accountants import (
    Release,
    budget_table,
    delta,
    epsilon,
    get_accountant,
    max_clip_norm,
    max_steps,
    noise_scale,
    noise_table,
    spend,
)
from privrobust.aggregators import Krum, get_aggregator, register_aggregator
from privrobust.attacks import ALIE, get_attack
from privrobust.core.numbers import as_float, as_whole, own, plain, shown
from privrobust.data import Dataset, Scaling, get_dataset
from privrobust.data.partitions import Dirichlet, Labels, get_partition
from privrobust.errors import SpecError
from privrobust.models import get_factory, register_model
from privrobust.reporting.robustness import breakdown
from privrobust.schedules import Drops, Linear, get_schedule
from privrobust.spec import AttackSpec
from privrobust.sweeps.grid import Sweep
from privrobust.sweeps.tuning import candidates, choose

DIGITS = Release(noise_scale=0.1, clip_norm=1.0, batch_size=32, dataset_size=95, steps=300)


class Whole(int):
    """A subclass that prints, and compares, as it likes."""

    def __eq__(self, other):
        return True

    __hash__ = int.__hash__

    def __repr__(self):
        raise RuntimeError


REALS = {
    "int": int,
    "float": float,
    "float64": np.float64,
    "float16": np.float16,
    "float32": np.float32,
    "longdouble": np.longdouble,
    "0-d array": np.array,
    "0-d object array": lambda v: np.array(Fraction(v), dtype=object),
    "0-d tensor": torch.tensor,
    "tensor with a gradient": lambda v: torch.tensor(float(v), requires_grad=True),
    "bfloat16": lambda v: torch.tensor(float(v), dtype=torch.bfloat16),
    "Fraction": Fraction,
    "Decimal": Decimal,
}
WHOLES = {
    **{name: REALS[name] for name in REALS if name != "int"},
    "int subclass": Whole,
    **{kind.__name__: kind for kind in (np.int8, np.int64, np.uint8, np.uint64)},
    "int64 tensor": lambda v: torch.tensor(v, dtype=torch.int64),
    "uint8 tensor": lambda v: torch.tensor(v, dtype=torch.uint8),
}

# What a number of 0.5 leads to, and one of 4, wherever a number enters.
REAL_ENTRIES = {
    "Release.noise_scale": lambda v: Release(
        noise_scale=v, clip_norm=1, batch_size=4, dataset_size=9, steps=3
    ),
    "Release.clip_norm": lambda v: Release(
        noise_scale=1, clip_norm=v, batch_size=4, dataset_size=9, steps=3
    ),
    "Release.batch_size": lambda v: Release(
        noise_scale=1, clip_norm=1, batch_size=v, dataset_size=9, steps=3
    ),
    "Release.sampling_rate": lambda v: Release(
        noise_scale=1, clip_norm=1, batch_size=4, sampling_rate=v, steps=3
    ),
    "Release.worker_sampling_rate": lambda v: Release(
        noise_scale=1, clip_norm=1, unit="worker", worker_sampling_rate=v, steps=3
    ),
    "spend.delta": lambda v: spend(DIGITS, v, "basic"),
    "epsilon.delta": lambda v: epsilon(DIGITS, v, "rdp"),
    "delta.epsilon": lambda v: delta(DIGITS, v, "basic"),
    "Accountant.epsilon": lambda v: get_accountant("rdp").epsilon(DIGITS, v),
    "Accountant.delta": lambda v: get_accountant("basic").delta(DIGITS, v),
    "noise_scale.epsilon": lambda v: noise_scale(DIGITS, v, accountant="rdp"),
    "noise_scale.delta": lambda v: noise_scale(DIGITS, 1.0, v, "rdp"),
    "max_clip_norm.epsilon": lambda v: max_clip_norm(DIGITS, v, accountant="rdp"),
    "max_steps.epsilon": lambda v: max_steps(
        Release(noise_scale=1, clip_norm=1, batch_size=4, dataset_size=99, steps=1),
        v,
        accountant="rdp",
    ),
    "budget_table": lambda v: budget_table(
        noise_scale=v, clip_norm=1, batch_size=4, dataset_size=9, steps=3, accountants=["rdp"]
    ).to_dict(),
    "budget_table.delta": lambda v: budget_table(
        noise_scale=1, clip_norm=1, batch_size=4, dataset_size=9, steps=3, delta=v,
        accountants="rdp",
    ).to_dict(),
    "noise_table": lambda v: noise_table(
        target_epsilon=v, clip_norm=1, batch_size=4, dataset_size=9, steps=3, accountants=["rdp"]
    ).to_dict(),
    "RunSpec.noise_scale": lambda v: RunSpec(noise_scale=v).key,
    "RunSpec.clip_norm": lambda v: RunSpec(clip_norm=v).key,
    "RunSpec.sampling_rate": lambda v: RunSpec(sampling_rate=v).key,
    "RunSpec.model_copy": lambda v: RunSpec().model_copy(update={"momentum": v}).key,
    "RunSpec.attack": lambda v: RunSpec(byzantine=1, attack={"name": "alie", "z": v}).key,
    "RunSpec.partition": lambda v: RunSpec(partition={"name": "dirichlet", "alpha": v}).key,
    "RunSpec.schedule": lambda v: RunSpec(schedule={"name": "linear", "final": v}).key,
    "AttackSpec": lambda v: str(AttackSpec(name="alie", parameters={"z": v}).canonical()),
    "ALIE": lambda v: repr(ALIE(z=v)),
    "Dirichlet": lambda v: repr(Dirichlet(alpha=v)),
    "Linear": lambda v: repr(Linear(final=v)),
    "Sweep": lambda v: [r.key for r in Sweep.from_settings({"grid": {"momentum": [v]}}).runs()],
    "Scaling": lambda v: Scaling(mean=[v], std=[v]),
}  # fmt: skip
WHOLE_ENTRIES = {
    "Release.steps": lambda v: Release(
        noise_scale=1, clip_norm=1, batch_size=4, dataset_size=9, steps=v
    ),
    "Release.dataset_size": lambda v: Release(
        noise_scale=1, clip_norm=1, batch_size=1, dataset_size=v, steps=2
    ),
    "budget_table": lambda v: budget_table(
        noise_scale=1, clip_norm=1, batch_size=4, dataset_size=9, steps=v, accountants=["rdp"]
    ).to_dict(),
    "RunSpec.steps": lambda v: RunSpec(steps=v).key,
    "RunSpec.seed": lambda v: RunSpec(seed=v).key,
    "RunSpec.workers": lambda v: RunSpec(workers=v).key,
    "RunSpec.model_copy": lambda v: RunSpec().model_copy(update={"steps": v}).key,
    "RunSpec.aggregator": lambda v: RunSpec(aggregator={"name": "krum", "f": v}, honest=20).key,
    "Krum": lambda v: repr(Krum(f=v)),
    "Drops": lambda v: repr(Drops(parts=v)),
    "get_aggregator": lambda v: repr(get_aggregator("krum", v)),
    "ALIE()": lambda v: ALIE()(torch.arange(9.0).reshape(9, 1), v).tolist(),
    "Labels.deal": lambda v: [
        share.tolist() for share in Labels(k=1).deal(torch.arange(8) % 4, v, v)
    ],
    "Sweep": lambda v: [r.key for r in Sweep.from_settings({"grid": {"seed": [v]}}).runs()],
}


def takes_one(entry: str) -> bool:
    """Whether 1 is accepted there, and so a whole number that is no 0."""
    below_1 = ("Accountant.epsilon", "RunSpec.model_copy", "Sweep")
    return not (entry.endswith("delta") or entry in below_1)


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        (entry, kind)
        for entry in REAL_ENTRIES
        for kind in REALS
        if kind != "int" or takes_one(entry)
    ],
)
def test_real_numbers_of_every_type_are_their_value(entry: str, kind: str) -> None:
    value = 1 if kind == "int" else 0.5
    enter = REAL_ENTRIES[entry]
    assert enter(REALS[kind](value)) == enter(float(value))


@pytest.mark.parametrize("kind", WHOLES)
@pytest.mark.parametrize("entry", WHOLE_ENTRIES)
def test_whole_numbers_of_every_type_are_their_value(entry: str, kind: str) -> None:
    enter = WHOLE_ENTRIES[entry]
    assert enter(WHOLES[kind](4)) == enter(4)


class Unprintable:
    """Of which no error may try to say more than its type."""

    def __repr__(self):
        raise RuntimeError("no")


class Chatty:
    """Whose repr is long, and of many lines."""

    def __repr__(self):
        return "a line\n" * 10_000


NUMBERS_OF_NOBODY = {
    "True": True,
    "numpy's True": np.True_,
    "0-d array of a truth value": np.array(True),
    "tensor of a truth value": torch.tensor(True),
    "complex": 0.5 + 0j,
    "complex64": np.complex64(0.5),
    "complex tensor": torch.tensor(0.5 + 0j),
    "a list": [0.5],
    "an array": np.array([0.5]),
    "an array of two axes": np.array([[0.5]]),
    "a tensor": torch.tensor([0.5]),
    "a column": pd.Series([0.5]),
    "nan": float("nan"),
    "numpy's nan": np.float32("nan"),
    "infinity": float("inf"),
    "Decimal's nan": Decimal("sNaN"),
    "time": np.timedelta64(1, "s"),
    "a third": Fraction(1, 3),
    "a tenth": Decimal("0.1"),
    "more than a float": np.longdouble(1) / 3,
    "a long whole number": 10**400,
    "one that Python does not write out": 10**5000,
    "a long Decimal": Decimal("1e999999"),
    "a fine Decimal": Decimal("1e-999999"),
    "a long Fraction": Fraction(10**5000, 3),
    "pandas' missing value": pd.NA,
    "no repr": Unprintable(),
    "a long repr": Chatty(),
    "a tensor without values": torch.empty((), device="meta"),
    "bytes": b"0.5",
}


SEVERAL = ("a list", "an array", "a tensor", "a column")
"""Of these, which tables take for the values of their rows."""


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        (entry, kind)
        for entry in [*REAL_ENTRIES, *(f"{name}!" for name in WHOLE_ENTRIES)]
        for kind in NUMBERS_OF_NOBODY
        if not ("table" in entry and kind in SEVERAL)
    ],
)
def test_what_is_no_number_gets_one_short_line(entry: str, kind: str) -> None:
    enter = REAL_ENTRIES.get(entry) or WHOLE_ENTRIES[entry.removesuffix("!")]
    with pytest.raises(SpecError) as raised:
        enter(NUMBERS_OF_NOBODY[kind])
    line = str(raised.value)
    assert "\n" not in line
    assert len(line) < 200


TEXTS = {
    "a text": str,
    "numpy's text": np.str_,
    "0-d array": np.array,
    "0-d array of objects": lambda text: np.array(text, dtype=object),
}

TEXT_ENTRIES = {
    **{
        f"RunSpec.{field}": lambda text, field=field: RunSpec(**{field: text}).key
        for field in (
            "dataset", "model", "loss", "partition", "aggregator", "noise", "unit", "schedule",
            "accountant", "evaluate_on", "device", "clipping", "data_dir",
        )
    },
    "RunSpec.attack": lambda text: RunSpec(byzantine=1, attack=text).key,
    "RunSpec.attack.name": lambda text: RunSpec(byzantine=1, attack={"name": text}).key,
    "RunSpec.attack.against": lambda text: RunSpec(
        byzantine=1, attack={"name": "line_search", "against": text}
    ).key,
    "RunSpec.aggregator.name": lambda text: RunSpec(aggregator={"name": text}).key,
    "RunSpec.dataset.split": lambda text: RunSpec(dataset={"name": "emnist", "split": text}).key,
    "AttackSpec": lambda text: AttackSpec(name=text).build(),
    "get_aggregator": get_aggregator,
    "get_attack": get_attack,
    "get_partition": get_partition,
    "get_schedule": get_schedule,
    "get_accountant": get_accountant,
    "get_factory": get_factory,
    "get_dataset": lambda text: get_dataset(text).name,
    "epsilon": lambda text: epsilon(DIGITS, accountant=text),
    "Release": lambda text: Release(
        clip_norm=1.0, noise_scale=1, batch_size=1, dataset_size=9, steps=1, unit=text
    ),
    "Dataset": lambda text: type(Dataset.from_tensors(text, torch.zeros(40, 2), CODES).name),
}  # fmt: skip
CODES = torch.arange(40) % 2
SAID = {
    "dataset": "digits", "model": "mlp(hidden=3)", "loss": "squared", "partition": "labels(k=2)",
    "aggregator": "krum(f=2)", "noise": "laplace", "unit": "example", "schedule": "cosine",
    "accountant": "rdp", "evaluate_on": "validation", "device": "cpu", "clipping": "flat",
    "data_dir": "/tmp", "attack": "alie(z=1.5)", "name": "alie", "against": "median",
    "split": "letters", "AttackSpec": "alie", "get_aggregator": "krum", "get_attack": "alie",
    "get_partition": "groups", "get_schedule": "cosine", "get_accountant": "rdp",
    "get_factory": "lenet", "get_dataset": "digits", "epsilon": "rdp", "Release": "example",
    "Dataset": "mine", "RunSpec.aggregator.name": "krum",
}  # fmt: skip


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("entry", TEXT_ENTRIES)
def test_texts_of_every_type_are_what_they_say(entry, kind):
    text = SAID.get(entry) or SAID[entry.rpartition(".")[2]]
    if entry == "RunSpec.clipping":
        text = "flat"
    enter = TEXT_ENTRIES[entry]
    assert enter(TEXTS[kind](text)) == enter(text)


@pytest.mark.parametrize("name", [3, np.int64(3), None, np.array(["a", "b"]), b"mlp"])
@pytest.mark.parametrize(
    "enter",
    [
        get_aggregator, get_attack, get_partition, get_schedule, get_accountant, get_factory,
        get_dataset, lambda name: RunSpec(model=name), lambda name: register_model(name, len),
        lambda name: register_aggregator(name, Krum),
        lambda name: Dataset.from_tensors(name, torch.zeros(40, 2), CODES),
    ],
)  # fmt: skip
def test_what_is_no_text_is_no_name(enter, name):
    with pytest.raises(SpecError) as raised:
        enter(name)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("workers", ["12", " 12 ", np.str_("12.0"), np.int64(12), np.array(12)])
def test_workers_are_read_as_honest_workers_are(workers):
    both = {"byzantine": "2", "attack": "alie"}
    assert RunSpec(workers=workers, **both) == RunSpec(honest=10, **both)
    assert RunSpec(honest=workers).honest == RunSpec(workers=workers).honest == 12


@pytest.mark.parametrize("workers", ["many", "", 0, -3, 1.5, None, [3], True])
def test_workers_that_are_no_number_of_workers(workers):
    with pytest.raises(SpecError, match=r"workers: .* is not accepted: give whole numbers"):
        RunSpec(workers=workers)


@pytest.mark.parametrize("text", ["0.5", "fast", ""])
def test_text_is_no_number_but_in_specs(text: str) -> None:
    for enter in (REAL_ENTRIES["Release.clip_norm"], REAL_ENTRIES["spend.delta"]):
        with pytest.raises(SpecError, match=f"{text!r} is not"):
            enter(text)
    if text == "0.5":
        assert RunSpec(noise_scale=text) == RunSpec(noise_scale=0.5)


@pytest.mark.parametrize(
    "zero", [-0.0, "-0.0", np.float32(-0.0), Decimal("-0"), torch.tensor(-0.0)]
)
def test_minus_zero_is_zero(zero) -> None:
    assert RunSpec(noise_scale=zero, momentum=zero).key == RunSpec().key
    linear = RunSpec(schedule={"name": "linear", "final": 0.0})
    if not isinstance(zero, str):
        assert str(plain(zero)).lstrip("0.") == ""
        assert RunSpec(schedule={"name": "linear", "final": zero}).key == linear.key
        made = Release(noise_scale=zero, clip_norm=1, batch_size=1, dataset_size=2, steps=1)
        assert str(made.noise_scale) == "0.0"
    assert RunSpec(schedule="linear(final=-0.0)").key == linear.key


def test_what_hung_or_was_another_number() -> None:
    """Of dp-accounting with numpy's steps, and of arithmetic in types of few digits."""
    expected = epsilon(DIGITS)
    kinds = {"steps": np.int64, "dataset_size": np.uint64, "batch_size": np.float16}
    for field, kind in kinds.items():
        fields = {name: getattr(DIGITS, name) for name in ("noise_scale", "clip_norm", *kinds)}
        assert epsilon(Release(**{**fields, field: kind(fields[field])})) == expected
    narrow = Release(
        noise_scale=np.float16(0.1), clip_norm=1, batch_size=32, dataset_size=95, steps=300
    )
    wide = Release(
        noise_scale=float(np.float16(0.1)), clip_norm=1, batch_size=32, dataset_size=95, steps=300
    )
    assert narrow == wide
    assert spend(narrow, np.float32(1e-5)) == spend(wide, float(np.float32(1e-5)))
    assert max_steps(DIGITS, np.float16(5), accountant="rdp") == max_steps(
        DIGITS, 5.0, accountant="rdp"
    )


@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(st.one_of(st.floats(allow_nan=False), st.integers(), st.fractions(), st.decimals()))
def test_a_number_is_exact_or_refused(value) -> None:
    try:
        number = plain(value)
    except ValueError:
        assert not isinstance(value, int | float)
        return
    assert type(number) in (int, float)
    if number != number:
        assert value.is_nan()
    else:
        assert number == value


@settings(max_examples=100, derandomize=True, deadline=None, database=None)
@given(st.integers())
def test_floats_of_whole_numbers_are_exact_or_refused(value: int) -> None:
    if int(float(value)) == value:
        number = as_float("x", value, "a number")
        assert (type(number), int(number)) == (float, value)
    else:
        with pytest.raises(SpecError, match=r"^x: .* has no exact value in double precision"):
            as_float("x", value, "a number")
    assert as_whole("x", np.array(value, dtype=object), "a whole number") == value


def test_what_is_no_number_stays_as_it_is() -> None:
    kept = [None, "0.5", [1], np.array([1]), object(), Unprintable(), torch.ones(2)]
    assert all(own("x", value) is value for value in kept)
    assert own("x", np.True_) is True
    assert own("x", torch.tensor(False)) is False


def test_values_are_shown_in_one_short_line() -> None:
    assert shown(Unprintable()) == "a Unprintable"
    assert shown(Chatty()).startswith("a line a line")
    assert shown(10**400) == "a number of 1329 bits"
    assert shown(0.1) == "0.1"
    assert len(shown("x" * 10**6)) == 40


def test_tables_take_whatever_holds_several() -> None:
    common = {"clip_norm": 1, "batch_size": 4, "dataset_size": 9, "accountants": ["rdp"]}
    expected = budget_table(noise_scale=[0.5, 1.0], steps=[3, 4], **common)
    for scales, steps in [
        (np.array([0.5, 1]), range(3, 5)),
        (torch.tensor([0.5, 1]), np.arange(3, 5)),
        (pd.Series([0.5, 1.0]), (step for step in (3, 4))),
        ((Fraction(1, 2), Decimal(1)), pd.Index([3.0, 4.0])),
    ]:
        table = budget_table(noise_scale=scales, steps=steps, **common)
        pd.testing.assert_frame_equal(table, expected)
    with pytest.raises(SpecError, match="noise_scale: no value; accepted: one or several"):
        budget_table(noise_scale=[], steps=3, **common)


def test_sweeps_take_whatever_holds_several() -> None:
    expected = Sweep.from_settings({"grid": {"noise_scale": [0.5, 1.0], "seed": [0, 1]}}).runs()
    for scales, seeds in [
        (np.linspace(0.5, 1, 2, dtype=np.float32), range(2)),
        (torch.tensor([0.5, 1]), (seed for seed in (0, 1))),
        (pd.Series([0.5, 1.0]), pd.Index([0, 1])),
    ]:
        runs = Sweep.from_settings({"grid": {"noise_scale": scales, "seed": seeds}}).runs()
        assert [run.key for run in runs] == [run.key for run in expected]
    with pytest.raises(SpecError, match=r"grid\.seed: \{0, 1\} is not accepted; give a list"):
        Sweep.from_settings({"grid": {"seed": {0, 1}}})
    frame = pd.DataFrame({"steps": [3, 4], "noise_scale": [0.5, 1.0]})
    cases = Sweep.from_settings({"cases": frame.to_dict("records")}).runs()
    assert [(run.steps, run.noise_scale) for run in cases] == [(3, 0.5), (4, 1.0)]


def test_tuning_takes_accuracies_of_every_type() -> None:
    sweep = Sweep.from_settings({"tune": {"learning_rate": np.array([0.5, 0.25])}})
    low, high = (run.key for run in candidates(sweep))
    for better, worse in [(np.float16(0.75), 0.5), (Fraction(3, 4), torch.tensor(0.5))]:
        (run,) = choose(sweep, {low: worse, high: better})
        assert run.learning_rate == 0.25
    with pytest.raises(SpecError, match=r"accuracy: '0\.5' is not a number"):
        choose(sweep, {low: "0.5", high: 1})


@pytest.mark.parametrize("fraction", [True, np.True_, "0.5", 0, 1.5, Fraction(1, 3), [0.5]])
def test_a_fraction_that_is_none_is_refused(fraction) -> None:
    with pytest.raises(SpecError, match=r"^fraction: .*accepted: "):
        breakdown(pd.DataFrame(), fraction)


def test_importing_it_is_light() -> None:
    code = (
        "import sys, privrobust.core.numbers, privrobust.accountants;"
        "print([m for m in ('torch', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
