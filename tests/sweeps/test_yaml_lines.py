"""What people write in YAML, and what a sweep makes of it."""

import math
import time
from pathlib import Path

import pytest
import yaml

from privrobust.errors import SpecError, shown
from privrobust.reporting.report.recipes import recipe
from privrobust.reporting.tables import chosen
from privrobust.spec import RunSpec
from privrobust.store import Store
from privrobust.sweeps.loading import load_sweep
from privrobust.sweeps.runner import run_sweep

PLAIN = {  # https://yaml.org/spec/1.2.2/#1032-tag-resolution
    "1e-3": 0.001, "1E5": 1e5, "-1.5e+3": -1500.0, ".5": 0.5, "5.": 5.0, "+7": 7, "0o17": 15,
    "0x1F": 31, "010": 10, ".inf": math.inf, "-.INF": -math.inf,
}  # fmt: skip
TEXT = ["e5", "1e", "1e-3x", "1.2.3", "1_000", "1:30", "2026-01-02", "0b11", "=", "'1e-3'", '"7"']


def read(tmp_path, text):
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    return load_sweep(path)


def nested(levels, wide=9):
    """Lists of lists of ..., all of them `wide`, in a line for each."""
    lines = [f"a0: &a0 [{', '.join(['lol'] * wide)}]"]
    for level in range(1, levels):
        inside = ", ".join([f"*a{level - 1}"] * wide)
        lines.append(f"a{level}: &a{level} [{inside}]")
    return "\n".join(lines)


@pytest.mark.parametrize(("written", "value"), PLAIN.items())
def test_numbers_are_those_of_yaml_1_2(written, value, tmp_path):
    found = read(tmp_path, f"batch_size: {written}").fixed["batch_size"]
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize("written", TEXT)
def test_text_that_only_resembles_a_number_stays_text(written, tmp_path):
    assert read(tmp_path, f"model: {written}").fixed["model"] == written.strip("'\"")


@pytest.mark.parametrize(
    ("setting", "field", "made"),
    [
        ("partition: {name: dirichlet, alpha: 1e-3}", "partition", "dirichlet(alpha=0.001)"),
        ("byzantine: 1\nattack: {name: alie, z: 1e-3}", "attack", "alie(z=0.001)"),
        (
            "aggregator: {name: centred_clipping, radius: 1e-3}",
            "aggregator",
            "centred_clipping(radius=0.001)",
        ),
        ("schedule: {name: linear, final: 1e-3}", "schedule", "linear(final=0.001)"),
    ],
)
def test_parameters_of_plug_ins_get_numbers_in_scientific_notation(setting, field, made, tmp_path):
    [run] = read(tmp_path, setting).runs()
    assert str(getattr(run, field)) == made
    [changed] = load_sweep(tmp_path / "sweep.yaml", ["learning_rate=1e-2"]).runs()
    assert changed.learning_rate == 0.01


def test_a_name_that_reads_as_a_number_is_told_to_be_quoted(tmp_path):
    with pytest.raises(SpecError, match=r"line 1: model: 1000\.0 is not accepted: text, in quotes"):
        read(tmp_path, "model: 1e3").runs()


def test_runs_are_chosen_by_names_and_by_numbers_however_written():
    import pandas as pd

    runs = pd.DataFrame({"model": ["1e3", "010"], "noise_scale": [0.001, 10.0]})
    for condition, place in (("model=1e3", 0), ("model=[010]", 1), ("noise_scale=1e-3", 0)):
        assert list(chosen(runs, [condition]).index) == [place]


def test_a_recipe_quotes_what_its_reader_would_take_for_a_number(tmp_path):
    with Store(tmp_path / "r.db") as store:
        run_sweep([RunSpec(steps=1, honest=2)], store)
        runs = store.runs().assign(model="1e3", learning_rate=1e-7)
    text = recipe(runs)
    assert yaml.safe_load(text)["model"] == "1e3"
    fixed = read(tmp_path, text).fixed
    assert (fixed["model"], fixed["learning_rate"]) == ("1e3", 1e-7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n[a]: 1", "line 2: not valid YAML .a list is given as the name of a field"),
        ("{a: 1}: 1", "line 1: not valid YAML .a map is given as the name of a field"),
        ("model: {{ name }}", "line 1: not valid YAML .a map is given as the name of a field"),
        ("? !!set {a}\n: 1", "line 1: not valid YAML .a map is given as the name of a field"),
        ("seed: &a [*a]", "line 1: not valid YAML .an anchor that contains itself"),
        ("seed: 1\nseed: 1", "line 2: not valid YAML .'seed' is given twice"),
        ("seed: {<<: 3}", "line 1: not valid YAML .*for merging, but found scalar"),
        ("seed: !!int x", "line 1: not valid YAML .'x' does not read as int"),
        ("seed: !!timestamp x", "line 1: not valid YAML .'x' does not read as timestamp"),
        (f"seed: {'9' * 5000}", "line 1: not valid YAML .'9+\\.\\.\\. does not read as int"),
        (f"seed: *{'a' * 10**5}", "line 1: not valid YAML .found undefined alias"),
        ("[" * 10**5, "not valid YAML .lists in lists, too deep to read"),
        (nested(9) + "\nseed: *a8", "line 6: not valid YAML .more than 100,000 values"),
        (
            f"grid:\n  seed: &a [{', '.join(map(str, range(999)))}]\n  steps: *a\n  batch_size: *a",
            "line 2: grid: 997002999 combinations; accepted: up to 1,000,000",
        ),
        ("seed: [" + "0, " * 10**5 + "0]", "line 1: not valid YAML .more than 100,000 values"),
    ],
)
def test_what_cannot_be_read_gets_one_short_line_soon(text, message, tmp_path):
    started = time.monotonic()
    with pytest.raises(SpecError, match=message) as raised:
        read(tmp_path, text)
    assert time.monotonic() - started < 60
    assert len(str(raised.value)) < 400 + len(str(tmp_path))
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    "setting",
    [
        "{field}: {long}", "{field}: {lists}", "{field}: {{name: krum, f: {lists}}}",
        "{field}: {{name: alie, {long}: 1}}", "{field}: krum({long}=1)", "{field}: nnm + {long}",
        "{field}: a:{long}", "{field}: {{{long}: 1}}", "exclude: [{{{field}: {lists}}}]",
        "cases: [{{{field}: {lists}}}]", "extends: {long}", "{long}: 1",
    ],
)  # fmt: skip
@pytest.mark.parametrize("field", ["steps", "attack", "aggregator", "data_dir", "partition"])
def test_no_error_repeats_a_value_at_length(setting, field, tmp_path):
    *inner, last = nested(4).splitlines()
    lists = last.partition(" ")[2]
    for level, line in reversed(list(enumerate(inner))):
        lists = lists.replace(f"*a{level}", line.partition(" ")[2], 1)
    text = setting.format(field=field, long="x" * 10**5, lists=lists)
    # Any folder may exist until data is read, so that another field is at fault, too.
    with pytest.raises(SpecError) as raised:
        read(tmp_path, f"byzantine: 1\nloss: no\n{text}").runs()
    assert len(str(raised.value)) < 700 + len(str(tmp_path))


def test_a_value_is_shown_without_being_written_out():
    value = ["lol"]
    for _ in range(60):
        value = [value] * 9
    assert shown(value) == "[[[[[...], [...], [...], [...], [...]..."
    assert shown({"b": 1, "a": [2]}) == "{'b': 1, 'a': [2]}"


def test_files_of_the_project_read_as_before():
    for path in (Path(__file__).parents[2] / "experiments").glob("*.yaml"):
        assert load_sweep(path).combinations()
