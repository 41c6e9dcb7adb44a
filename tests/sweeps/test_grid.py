import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privrobust import RunSpec
from privrobust.errors import SpecError
from privrobust.spec.key import _RESULTS_VERSION
from privrobust.sweeps.grid import Sweep
from privrobust.sweeps.loading import load_sweep
from privrobust.sweeps.run_maker import RunMaker


def expand(**settings):
    return Sweep.from_settings(settings).runs()


def settings_of(runs, *fields):
    return [tuple(getattr(run, field) for field in fields) for run in runs]


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Writes a file into the current folder."""
    monkeypatch.chdir(tmp_path)

    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path.relative_to(tmp_path)

    return write


# ---- what the runs are


def test_a_grid_is_every_combination_without_repeats():
    runs = expand(
        steps=5,
        cases=[{"aggregator": "mean"}, {"aggregator": "median", "learning_rate": 0.1}],
        grid={"byzantine": [0, 2], "attack": ["alie", "sign_flip"], "seed": [0, 1]},
    )
    assert len(runs) == 2 * (1 + 2) * 2  # without a Byzantine worker the attack is irrelevant
    assert set(settings_of(runs, "aggregator", "learning_rate")) == {("mean", 0.5), ("median", 0.1)}
    assert {run.steps for run in runs} == {5}


def test_cases_are_outermost_then_zip_then_grid():
    runs = expand(
        grid={"seed": [1, 0]},
        zip={"honest": [5, 4], "batch_size": [8, 16]},
        cases=[{"momentum": 0.5}, {"momentum": 0.0}],
    )
    assert settings_of(runs, "momentum", "honest", "batch_size", "seed") == [
        (momentum, honest, batch, seed)
        for momentum in (0.5, 0.0)
        for honest, batch in ((5, 8), (4, 16))
        for seed in (1, 0)
    ]


def test_a_sweep_without_a_grid_is_one_run():
    assert expand(seed=3) == [RunSpec(seed=3)]


def test_exclusions_match_all_their_fields_and_any_of_a_list():
    runs = expand(
        grid={"aggregator": ["mean", "median"], "noise_scale": [0, 0.1, 0.2], "seed": [0, 1]},
        exclude=[{"aggregator": "mean", "noise_scale": [0.1, 0.2]}, {"seed": 1, "noise_scale": 0}],
    )
    assert settings_of(runs, "aggregator", "noise_scale", "seed") == [
        ("mean", 0, 0),
        ("median", 0, 0),
        ("median", 0.1, 0),
        ("median", 0.1, 1),
        ("median", 0.2, 0),
        ("median", 0.2, 1),
    ]


def test_impossible_combinations_can_be_excluded():
    crossed = {"workers": [5, 13], "byzantine": [2, 6], "attack": ["sign_flip"]}
    with pytest.raises(SpecError, match="byzantine: 6 of 5 workers"):
        expand(grid=crossed)
    runs = expand(grid=crossed, exclude=[{"workers": 5, "byzantine": 6}])
    assert settings_of(runs, "honest", "byzantine") == [(3, 2), (11, 2), (7, 6)]


def test_one_run_has_one_folder():
    with pytest.raises(SpecError, match="data_dir: 'a' and 'b' for one run; accepted: one folder"):
        expand(grid={"data_dir": ["a", "b"]})


# Fields of which every value makes another run.
AXES = {
    "noise_scale": st.sampled_from([0.0, 0.1, 0.2]),
    "seed": st.integers(0, 5),
    "steps": st.integers(1, 4),
    "aggregator": st.sampled_from(["mean", "median", "majority_vote"]),
}


def axes_of(*names, unique=True):
    lists = {name: st.lists(AXES[name], min_size=1, max_size=3, unique=unique) for name in names}
    return st.fixed_dictionaries({}, optional=lists).filter(bool)


def size(axes):
    count = 1
    for values in axes.values():
        count *= len(set(values))
    return count


@given(axes_of(*AXES, unique=False))
def test_a_grid_of_fields_that_matter_is_their_product(grid):
    runs = expand(grid=grid)
    assert len(runs) == len({run.key for run in runs}) == size(grid)
    assert runs == expand(grid=grid)
    places = [
        tuple(grid[name].index(getattr(run, name)) for name in grid) for run in runs
    ]  # first appearances
    assert places == sorted(places)


@given(st.integers(1, 3), axes_of("seed", "steps"))
def test_a_zip_crosses_a_grid(length, grid):
    pairs = [(5 + place, 8.0 + place) for place in range(length)]
    honest, batches = map(list, zip(*pairs, strict=True))
    runs = expand(zip={"honest": honest, "batch_size": batches}, grid=grid)
    assert len(runs) == length * size(grid)
    assert set(settings_of(runs, "honest", "batch_size")) == set(pairs)


@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True),
    st.lists(st.sampled_from(["alie", "sign_flip", "zero"]), min_size=1, unique=True),
)
def test_without_byzantine_workers_attacks_are_one(byzantine, attacks):
    runs = expand(grid={"byzantine": byzantine, "attack": attacks})
    assert len(runs) == sum(len(attacks) if f else 1 for f in byzantine)


@given(axes_of(*AXES), st.data())
def test_exclusions_and_what_they_leave_are_the_whole(grid, data):
    whole = expand(grid=grid)
    exclusion = {name: data.draw(st.sampled_from(values)) for name, values in grid.items()}
    if len(whole) == 1:
        with pytest.raises(SpecError, match="exclude: leaves no run of the sweep"):
            expand(grid=grid, exclude=[exclusion])
        return
    left = expand(grid=grid, exclude=[exclusion])
    assert [run for run in whole if run not in left] == expand(**exclusion)


# ---- files


BASE = """\
honest: 5
steps: 7
zip: {learning_rate: [0.1, 0.2], momentum: [0.0, 0.5]}
grid:
  noise_scale: [0, 0.1]
  seed: [0, 1]
exclude: [{noise_scale: 0.1, seed: 1}]
"""


@pytest.mark.parametrize("place", ["{}: {}", "grid: {{{}: [{}]}}", "cases: [{{{}: {}}}]"])
@pytest.mark.parametrize("changed", ["steps", "noise_scale", "momentum"])
def test_what_an_extending_file_sets_takes_the_place_of_the_bases(file, place, changed):
    base = load_sweep(file("base.yaml", BASE)).runs()
    value = {"steps": 9, "noise_scale": 0.3, "momentum": 0.7}[changed]
    exclude = "exclude: null\n"
    text = f"extends: base.yaml\n{exclude}{place.format(changed, value)}"
    runs = load_sweep(file("more.yaml", text)).runs()
    assert {getattr(run, changed) for run in runs} == {value}
    others = {"steps", "noise_scale", "seed", "learning_rate", "honest"} - {changed}
    for other in others:
        assert {getattr(run, other) for run in runs} == {getattr(run, other) for run in base}


def test_grids_add_up_and_lists_of_mappings_are_replaced(file):
    file(
        "base.yaml",
        "cases: [{steps: 1}, {steps: 2}]\ngrid: {seed: [0, 1]}\n" + "tune: {momentum: [0.5]}",
    )
    text = "extends: base.yaml\ncases: [{steps: 3}]\ngrid: {noise_scale: [0, 1]}\ntune: null\n"
    sweep = load_sweep(file("more.yaml", text))
    assert sweep.tune is None
    assert settings_of(sweep.runs(), "steps", "seed", "noise_scale") == [
        (3, 0, 0.0), (3, 0, 1.0), (3, 1, 0.0), (3, 1, 1.0),
    ]  # fmt: skip


def test_files_extend_in_chains_relative_to_themselves(file):
    file("low/base.yaml", "seed: 1\nsteps: 1\nhonest: 3")
    file("middle.yaml", "extends: low/base.yaml\nsteps: 2\nhonest: 4")
    path = file("top/top.yaml", "extends: ../middle.yaml\nhonest: 5")
    assert load_sweep(path).runs() == [RunSpec(seed=1, steps=2, honest=5)]


def test_honest_and_workers_take_each_others_place(file):
    file("base.yaml", "grid: {honest: [5, 6]}")
    path = file("more.yaml", "extends: base.yaml\nworkers: 9")
    assert load_sweep(path).runs() == [RunSpec(workers=9)]
    assert load_sweep(path, ["honest=4"]).runs() == [RunSpec(honest=4)]


def test_an_inherited_exclusion_may_lose_what_it_excluded(file):
    path = file("base.yaml", BASE)
    assert {run.seed for run in load_sweep(path, ["seed=0"]).runs()} == {0}
    with pytest.raises(SpecError, match="matches no combination"):
        load_sweep(path, ["exclude=[{seed: 7}]"])


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
def test_set_wins_over_extends(tmp_path_factory, low, high, highest):
    folder = tmp_path_factory.mktemp("files")
    (folder / "base.yaml").write_text(f"seed: {low}\nhonest: 5")
    path = folder / "more.yaml"
    path.write_text(f"extends: base.yaml\ngrid: {{seed: [{high}]}}")
    assert load_sweep(path).runs() == [RunSpec(seed=high, honest=5)]
    assert load_sweep(path, [f"seed={highest}"]).runs() == [RunSpec(seed=highest, honest=5)]
    runs = load_sweep(path, [f"grid.seed=[{highest}, {low}]", "aggregator=krum(f=1)"]).runs()
    assert [run.seed for run in runs] == list(dict.fromkeys([highest, low]))
    assert {run.aggregator for run in runs} == {"krum(f=1)"}


# ---- errors


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"grid": {}}, "grid: {} is not accepted"),
        ({"grid": None}, "grid: nothing is given"),
        ({"grid": {"noise_scale": []}}, r"grid.noise_scale: \[\] is not accepted"),
        ({"grid": {"noise_scale": 0.1}}, "grid.noise_scale: 0.1 is not accepted"),
        ({"grid": {"nois_scale": [1]}}, "grid: unknown name 'nois_scale'; .* 'noise_scale'"),
        ({"zip": {}}, "zip: {} is not accepted"),
        (
            {"zip": {"seed": [0, 1], "steps": [1, 2, 3]}},
            "zip: steps has 3 values and seed 2; accepted: lists of one length",
        ),
        ({"cases": ["mean"]}, "cases: 'mean' is not accepted"),
        ({"cases": []}, r"cases: \[\] is not accepted"),
        ({"cases": [{"stes": 1}]}, r"cases: unknown name 'stes'; did you mean 'steps'\?"),
        ({"seed": 0, "grid": {"seed": [1]}}, "seed: set in fixed and in grid"),
        ({"cases": [{"seed": 0}], "grid": {"seed": [1]}}, "seed: set in cases and in grid"),
        ({"zip": {"seed": [0]}, "grid": {"seed": [1]}}, "seed: set in zip and in grid"),
        ({"steps": 3, "tune": {"steps": [1]}}, "steps: set in fixed and in tune"),
        ({"grid": {"steps": [3]}, "tune": {"steps": [1]}}, "steps: set in grid and in tune"),
        ({"sed": 0, "cases": [{}]}, "field: unknown name 'sed'; did you mean 'seed'"),
        ({"gird": {"seed": [0]}}, r"field: unknown name 'gird'; did you mean 'grid'\?"),
        ({"extends": "base.yaml"}, "extends: only a file extends another"),
        ({"exclude": {"seed": 0}}, "exclude: {'seed': 0} is not accepted; give a list"),
        ({"exclude": [{}]}, "exclude: {} is not accepted"),
        ({"exclude": [{"sed": 1}]}, "exclude: unknown name 'sed'; did you mean 'seed'"),
        ({"seed": 0, "exclude": [{"seed": 1}]}, "exclude: {'seed': 1} matches no combination"),
        ({"exclude": [{"seed": 0}]}, "exclude: {'seed': 0} matches no combination"),
        ({"seed": 0, "exclude": [{"seed": 0}]}, "exclude: leaves no run of the sweep"),
        ({"tune": [1]}, r"tune: \[1\] is not accepted"),
        ({"tune": {}}, "tune: no field to tune"),
        ({"tune": {"by": "worst"}}, "tune: no field to tune"),
        ({"tune": {"stes": [1]}}, "tune: unknown name 'stes'; did you mean 'steps'"),
        ({"tune": {"steps": 1}}, "tune.steps: 1 is not accepted"),
        ({"tune": {"steps": [1], "by": "wurst"}}, "tune.by: unknown name 'wurst'; .* 'worst'"),
        ({"tune": {"steps": [1], "seeds": 3}}, "tune.seeds: 3 is not accepted"),
        ({"tune": {"seed": [1]}}, "tune.seed: says what is compared, .* accepted: .*momentum"),
        ({"tune": {"steps": [1, 2]}}, "tune: which runs there are is known once steps is chosen"),
    ],
)
def test_bad_sweeps_get_one_line(settings, message):
    with pytest.raises(SpecError, match=f"^{message}") as raised:
        expand(**settings)
    assert "\n" not in str(raised.value)


HERE = r"^sweep\.yaml, line {}: "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grid: [1", HERE.format(1) + "not valid YAML"),
        ("", r"^'sweep\.yaml' is empty; accepted: fields and their values"),
        ("# nothing yet", r"^'sweep\.yaml' is empty; accepted"),
        ("- 1", r"^'sweep\.yaml' holds \[1\]; accepted: fields and their values"),
        ("seed", r"^'sweep\.yaml' holds 'seed'; accepted"),
        ("7", r"^'sweep\.yaml' holds 7; accepted"),
        ("7: 1", "7 is not the name of a field"),
        ("seed: 2020-13-45", HERE.format(1) + "seed: '2020-13-45' is not accepted"),
        ("seed: 1\nseed: 2", HERE.format(2) + "not valid YAML .'seed' is given twice"),
        ("grid: {7: [1]}", "7 is not the name of a field"),
        ("cases: [{7: 1}]", "7 is not the name of a field"),
        ("seed: 0\nheterogeneity: 2", HERE.format(2) + "heterogeneity: 2 is not accepted"),
        ("grid:\n  seed: [0]\n  steps: [1, 0]", HERE.format(3) + "steps: 0 is not accepted"),
        ("cases:\n- {steps: 1}\n- {steps: 0}", HERE.format(3) + "steps: 0 is not accepted"),
        ("\nclip_norm: 1\ngrad_norm_bound: 1", HERE.format(2) + "clip_norm, grad_norm_bound: give"),
        ("seed: 0\naggregator: {name: krum, f: x}", HERE.format(2) + "Krum.f: 'x' is not a whole"),
        (
            "byzantine: 1\nattack: {name: alie, z: x}",
            HERE.format(2) + "ALIE.z: 'x' is not a finite",
        ),
        ("seed: 0\npartition: labels(k=0)", HERE.format(2) + "Labels.k: 0 is not a whole"),
        ("seed: 0\nschedule: {name: linear, final: x}", HERE.format(2) + "Linear.final: 'x' is"),
        ("byzantine: 1\nattack: {name: alie, q: 1}", HERE.format(2) + "attack: .*no parameter 'q'"),
        (
            "seed: 0\ngrid:\n  seed: [1]",
            HERE.format(3) + "seed: set in fixed .sweep.yaml, line 1. and in grid",
        ),
        ("seed: 0\ngird:\n  seed: [1]", HERE.format(2) + "field: unknown name 'gird'"),
        ("exclude:\n- seed: 1", HERE.format(2) + "exclude: {'seed': 1} matches no"),
        ("tune:\n  steps: [1]\n  by: no", HERE.format(3) + "tune.by: unknown name false"),
        ("extends: [a]", HERE.format(1) + r"extends: \['a'\] is not accepted"),
        ("extends: sweep.yaml", HERE.format(1) + "extends: 'sweep.yaml' extends this file in turn"),
        ("extends: no.yaml", HERE.format(1) + r"extends: 'no\.yaml' is no file; looked for "),
    ],
)
def test_bad_files_get_one_line(file, text, message):
    path = file("sweep.yaml", text)
    with pytest.raises(SpecError, match=message) as raised:
        load_sweep(path).runs()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"SQLite format 3\0\x88", "'other' is no text; accepted: a sweep, YAML in UTF-8"),
        ("dataset: größe".encode("latin-1"), "'other' is not in UTF-8; accepted: a sweep"),
    ],
)
def test_files_that_are_no_text_say_what_a_sweep_is(file, content, message):
    file("other", "").write_bytes(content)
    with pytest.raises(SpecError, match=message):
        load_sweep(Path("other"))


def test_an_error_names_the_file_that_set_the_field(file):
    file("base.yaml", "seed: 0\nsteps: 0")
    path = file("sweep.yaml", "extends: base.yaml\nseed: 1")
    with pytest.raises(SpecError, match=r"^base\.yaml, line 2: steps: 0 is not accepted"):
        load_sweep(path).runs()
    with pytest.raises(SpecError, match=r"^--set steps=x: steps: 'x' is not accepted"):
        load_sweep(path, ["steps=x"]).runs()


def test_circles_of_files(file):
    file("a.yaml", "extends: b.yaml")
    path = file("b.yaml", "\nextends: a.yaml")
    with pytest.raises(SpecError, match=r"^a\.yaml, line 1: extends: 'b\.yaml' extends this file"):
        load_sweep(path)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["steps"], "--set: 'steps' is not accepted; give field=value or grid.field"),
        (["steps="], "--set: 'steps=' is not accepted"),
        (["=1"], "--set: '=1' is not accepted"),
        (["grid.=[1]"], "--set: 'grid.=.1.' is not accepted"),
        (["grid={seed: [1]}"], "--set: 'grid={seed: .1.}' is not accepted"),
        (["extends=a.yaml"], "--set: 'extends=a.yaml' is not accepted"),
        (["zip.seed=[1]"], r"--set zip.seed=\[1\]: field: unknown name 'zip.seed'"),
        (["stepz=1"], "--set stepz=1: field: unknown name 'stepz'; did you mean 'steps'"),
        (["grid.sed=[1]"], r"--set grid.sed=\[1\]: grid: unknown name 'sed'; did you mean 'seed'"),
        (["grid.seed=1"], "--set grid.seed=1: grid.seed: 1 is not accepted; give a list"),
        (["grid.seed=1\n2"], "--set grid.seed=1 2: grid.seed: '1 2' is not accepted; give a list"),
        (["seed=1", "seed=2"], "--set: seed is given twice"),
        (
            ["seed=1", "grid.seed=[2]"],
            r"--set grid.seed=\[2\]: seed: set in fixed .--set seed=1. and in grid",
        ),
        (["seed=[1"], r"--set seed=\[1: not valid YAML"),
        (
            ["learning_rate=0.3"],
            r"sweep\.yaml, line 1: learning_rate: set in fixed .--set learning_rate=0\.3. and",
        ),
    ],
)
def test_bad_overrides_get_one_line(file, overrides, message):
    path = file("sweep.yaml", "tune: {learning_rate: [0.1, 0.2]}")
    with pytest.raises(SpecError, match=f"^{message}") as raised:
        load_sweep(path, overrides)
    assert "\n" not in str(raised.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(SpecError, match="cannot be read"):
        load_sweep(tmp_path / "none.yaml")


def test_merge_keys_of_yaml(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(
        "cases:\n  - &usual {aggregator: mean, steps: 20}\n  - {<<: *usual, aggregator: median}\n"
    )
    made = [(run.aggregator, run.steps) for run in load_sweep(path).runs()]
    assert made == [("mean", 20), ("median", 20)]
    path.write_text("{steps: 3, steps: 4}")
    with pytest.raises(SpecError, match="'steps' is given twice"):
        load_sweep(path)


CROSSED = {
    "clip_norm": [None, 1],
    "noise_scale": [0, 0.5, "0.5"],
    "partition": ["similarity", "similarity(heterogeneity=0.5)", "labels(k=2)"],
    "workers": [9, 10.0],
    "byzantine": [0, 2],
    "attack": ["alie", {"name": "alie", "z": 1.5}, "sign_flip"],
    "seed": [0, 1],
}


def test_runs_put_together_are_those_checked_one_by_one():
    settings = Sweep.from_settings({"grid": CROSSED}).combinations()
    make = RunMaker()
    for each in settings:
        made, checked = make(each), RunSpec(**each)
        assert made == checked
        assert list(map(type, dict(made).values())) == list(map(type, dict(checked).values()))
        assert made.key == checked.key


def test_what_is_checked_together_is_refused_together():
    """Every part is valid in some run before the two meet that are not."""
    grid = {"warmup_steps": [0, 5], "steps": [10, 5], "seed": [0]}
    with pytest.raises(SpecError, match="warmup_steps: 5 of 5 steps"):
        expand(grid=grid)


def test_keys_are_digests_of_sorted_json():
    for run in [
        *expand(grid=CROSSED),
        RunSpec(clip_norm=1, target_epsilon=2),
        RunSpec(model="mlp"),
    ]:
        left_out = {"device", "data_dir"} | ({"noise_scale"} if run.target_epsilon else set())
        settings = run.model_dump(mode="json", exclude=left_out)
        text = json.dumps([_RESULTS_VERSION, settings], sort_keys=True)
        assert run.key == hashlib.sha256(text.encode()).hexdigest()[:32]
