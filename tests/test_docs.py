"""What the README and the docstrings show is what the code does."""

import doctest
import importlib
import json
import math
import re
import shlex
from importlib import metadata
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from privrobust import RunSpec, train
from privrobust.accountants import spend
from privrobust.attacks import available_attacks, get_attack
from privrobust.cli.main import app
from privrobust.data import Dataset, Split, get_dataset
from privrobust.data.partitions import available_partitions, get_partition
from privrobust.data.registry import DATASETS
from privrobust.errors import SpecError
from privrobust.federated import Ledger
from privrobust.models import available_models, build_model
from privrobust.reporting.figures import FIGURES
from privrobust.reporting.metrics import METRICS
from privrobust.reporting.tables import PRESETS
from privrobust.store import Store
from privrobust.sweeps.grid import Sweep
from privrobust.sweeps.loading import load_sweep
from privrobust.sweeps.runner import check
from privrobust.sweeps.tuning import choose
from privrobust.training.shares import shares

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FIRST = "pip install -e . && privrobust run experiments/quickstart.yaml"
SECOND = 'pip install -e ".[test]" && pytest'


def test_ci_runs_the_readmes_two_commands():
    pattern = re.search(r"grep -E '(.+)' README.md", (ROOT / ".ci" / "run").read_text()).group(1)
    assert re.findall(f"(?m){pattern}.*$", README) == [FIRST, SECOND]


def test_ci_and_the_hooks_before_a_commit_check_the_same():
    gate = (ROOT / ".ci" / "run").read_text()
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert len(hooks) == 3
    assert all(hook["entry"].removesuffix(" --fix") in gate for hook in hooks)


def test_the_readme_is_whole():
    fences = re.findall(r"(?m)^```(\w*)$", README)
    assert len(fences) % 2 == 0
    assert not any(fences[1::2])  # closing fences name no language
    headings = re.findall(r"(?m)^## (.+)$", re.sub(r"(?s)```.*?```", "", README))
    assert headings == [
        "Start",
        "What one can have",
        "Which guarantee epsilon is",
        "Budgets",
        "Audits",
        "From Python",
        "Your own sweep",
        "The folders",
    ]


@pytest.mark.slow
def test_the_first_table_is_what_its_command_prints(tmp_path):
    command = ["run", str(ROOT / "experiments/quickstart.yaml"), "--store", str(tmp_path / "q.db")]
    printed = CliRunner().invoke(app, command).stdout
    page = (ROOT / "docs" / "first_table.md").read_text(encoding="utf-8")
    shown = re.search(r"quickstart.yaml` printed:\n\n```\n(.*?)\n```", page, re.DOTALL).group(1)
    assert [line.split() for line in shown.splitlines()] == [
        line.split() for line in printed.strip().splitlines()
    ]


def test_the_python_example_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(example, {})
    assert "accuracy" in capsys.readouterr().out


def test_the_readmes_sweep_is_one(tmp_path):
    (settings,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "sweep.yaml").write_text(settings)
    runs = load_sweep(tmp_path / "sweep.yaml").runs()
    assert len(runs) == 3 * 2 * 3 * (1 + 2)
    check(runs)


def test_the_budget_table_is_what_the_command_prints():
    command, shown = re.search(
        r"```\nprivrobust (budget .*?)\n```\n\nIt prints:\n\n```\n(.*?)\n```", README, re.DOTALL
    ).groups()
    assert CliRunner().invoke(app, shlex.split(command)).output.strip("\n") == shown


DATA = (ROOT / "docs" / "data_and_models.md").read_text(encoding="utf-8")


def test_the_spec_of_the_data_page_is_one():
    (settings,) = re.findall(r"```yaml\n(.*?)```", DATA, re.DOTALL)
    spec = RunSpec(**yaml.safe_load(settings))
    assert spec.partition == "dirichlet(alpha=0.3)"


def first_cells(section):
    part = DATA.split(f"## {section}\n")[1].split("\n## ")[0]
    return re.findall(r"(?m)^\| `([^`]*)`", part)


def test_the_data_page_names_all_that_there_is():
    datasets = re.findall(r"`(\w+)", DATA.split("## Datasets\n")[1].split("**Where")[0])
    assert set(DATASETS.built_in) <= set(datasets)
    named = {text.partition("(")[0] for text in first_cells("Partitions")}
    assert named == set(available_partitions())
    assert all(get_partition(text) for text in first_cells("Partitions"))


def test_the_data_page_counts_the_parameters_of_every_model():
    zeros = Split(torch.zeros(10, 1, 28, 28), torch.arange(10))
    data = Dataset("zeros", zeros, zeros, zeros, classes=10)
    counts = re.findall(r"(?m)^\| `([^`]+)` \| ([\d,]+) \|", DATA)
    assert {name.partition("(")[0] for name, _ in counts} == set(available_models())
    for name, count in counts:
        parameters = build_model(name, data, seed=0).parameters()
        assert sum(value.numel() for value in parameters) == int(count.replace(",", "")), name


PRIVACY = (ROOT / "docs" / "privacy.md").read_text(encoding="utf-8")


def test_the_numbers_in_the_privacy_page_are_what_its_code_gives():
    (example,) = re.findall(r"```python\n(.*?)```", PRIVACY, re.DOTALL)
    names = {}
    exec(example, names)
    stated = re.findall(r"(?m)^(\w+\(.*\)) +# ([\d.]+)", example)
    assert len(stated) == 3
    for call, value in stated:
        decimals = len(value.partition(".")[2])
        assert round(eval(call, names), decimals) == float(value)


def test_the_accountants_table_of_the_privacy_page_is_what_its_command_prints():
    (command,) = re.findall(r"```\nprivrobust (budget .* --format markdown)\n```", PRIVACY)
    printed = CliRunner().invoke(app, shlex.split(command)).output.splitlines()
    heading = next(line for line in PRIVACY.splitlines() if line.startswith("| pld |"))
    values = PRIVACY.splitlines()[PRIVACY.splitlines().index(heading) + 2]
    assert printed[0].endswith(heading)
    assert printed[2].endswith(values)


def test_the_price_of_tuning_on_the_privacy_page_is_what_its_command_prints():
    (command,) = re.findall(
        r"```\nprivrobust (budget --format markdown .*?)\n```", PRIVACY, re.DOTALL
    )
    words = shlex.split(command.replace("\\\n", " "))
    printed = CliRunner().invoke(app, words).output.split("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed]
    kept = [cells[0].index(name) for name in ("b", "repeats", "pld", "rdp")]
    table = [f"| {' | '.join(row[place] for place in kept)} |" for row in cells]
    assert len(table) == 2 + 15
    assert "\n".join(table) in PRIVACY


def test_the_page_on_privacy_says_what_the_literal_reading_costs():
    script = importlib.import_module("literal_neighbours")
    heading, _, *rows = re.search(r"\| n \| B \| sigma .*?\n\n", PRIVACY, re.DOTALL)[0].splitlines()
    cells = [row.strip("| ").split(" | ") for row in rows if row]
    assert heading.strip("| ").split(" | ") == script.HEADER
    assert [row[:4] for row in cells] == [[f"{x:g}" for x in each] for each in script.SETTINGS]
    assert all(float(row[5]) > 1.1 * float(row[4]) for row in cells)
    # The one that is computed fast, and losses rounded more coarsely: less by at most that.
    again = script.row(32, 32, 20.0, 100, resolution=0.01)
    (shown,) = (row for row in cells if row[0] == "32")
    assert again[:5] == shown[:5]
    assert 0 <= float(shown[5]) - float(again[5]) < 0.01


SAMPLING = (ROOT / "docs" / "sampling.md").read_text(encoding="utf-8")


def test_the_page_on_sampling_has_what_its_command_and_its_code_give():
    script = importlib.import_module("sampling")
    heading, _, *rows = re.search(r"\| k = n / B .*?\n\n", SAMPLING, re.DOTALL)[0].splitlines()
    cells = {
        tuple(row[:3]): row for row in (each.strip("| ").split(" | ") for each in rows if each)
    }
    assert heading.strip("| ").split(" | ") == script.HEADER
    assert list(cells) == [tuple(f"{x:g}" for x in each) for each in script.SETTINGS]
    for setting in ((10, 1.0, 1), (20, 2.0, 50)):
        assert script.row(*setting) == cells[tuple(f"{x:g}" for x in setting)]
    hidden = [float(row[4]) / float(row[3]) for row in cells.values()]
    assert 13 < max(hidden) < 14
    assert all(float(row[4]) <= float(row[5]) for row in cells.values())
    (example,) = re.findall(r"```python\n(.*?)```", SAMPLING, re.DOTALL)
    names = {}
    exec(example, names)
    assert f"{eval('epsilon(r)', names):.2f}" in example
    assert f"# {eval('max_steps(r, epsilon=8)', names)}: 28 epochs of three steps" in example


NOISE = (ROOT / "docs" / "noise.md").read_text(encoding="utf-8")


def test_the_page_on_noise_has_what_its_command_and_its_code_give():
    (example,) = re.findall(r"```python\n(.*?)```", NOISE, re.DOTALL)
    names = {}
    exec(example, names)
    call, stated = re.search(r"(?m)^(effective_noise_scale\(.*\)) +# ([\d.]+)$", example).groups()
    assert f"{eval(call, names):.4f}" == stated
    (command,) = re.findall(r"```\nprivrobust (budget .*)\n```", NOISE)
    printed = CliRunner().invoke(app, [*shlex.split(command), "--format", "json"]).stdout
    (row,) = json.loads(printed)["rows"]
    shown = re.search(r"(?m)^\| logistic, `rdp` \| ([\d.]+) \|", NOISE).group(1)
    assert f"{row['rdp']:.4f}" == shown


SIGNS = (ROOT / "docs" / "signs.md").read_text(encoding="utf-8")


def test_the_page_on_signs_has_what_its_command_and_its_code_give():
    script = importlib.import_module("signs")
    assert f"{script.report()}\n" in SIGNS
    (example,) = re.findall(r"```python\n(.*?)```", SIGNS, re.DOTALL)
    names = {}
    exec(example, names)
    found = eval("spend(r)", names)
    assert f"epsilon {found.epsilon:.2f}, by '{found.accountant}'" in example
    assert f"# {eval('noise_scale(r, epsilon=8)', names):.4f}," in example


@pytest.mark.parametrize(
    "name",
    [
        "privrobust",
        "privrobust.accountants",
        "privrobust.accountants.calibration",
        "privrobust.accountants.protocol",
        "privrobust.accountants.release",
        "privrobust.accountants.spending",
        "privrobust.reporting.tuning",
        "privrobust.sweeps.repetitions",
        "privrobust.aggregators",
        "privrobust.aggregators.base",
        "privrobust.aggregators.coordinate_wise",
        "privrobust.attacks",
        "privrobust.attacks.alie",
        "privrobust.attacks.base",
        "privrobust.attacks.extremes",
        "privrobust.gradients.clipping",
        "privrobust.core.parameters",
        "privrobust.core.registry",
        "privrobust.data",
        "privrobust.audit",
        "privrobust.audit.corrections",
        "privrobust.audit.mechanism",
        "privrobust.audit.tails",
        "privrobust.audit.one_run",
        "privrobust.audit.repeated_runs",
        "privrobust.audit.trade_offs",
        "privrobust.gradients.layer_rules",
        "privrobust.gradients.losses",
        "privrobust.federated.entries",
        "privrobust.federated.ledger",
        "privrobust.federated.updates",
        "privrobust.federated.worker",
        "privrobust.reporting.figures",
        "privrobust.reporting.neighbours",
        "privrobust.noise.laws",
        "privrobust.noise.vectors",
        "privrobust.data.partitions",
        "privrobust.schedules",
        "privrobust.store",
        "privrobust.store.address",
        "privrobust.store.store",
        "privrobust.aggregators.order_statistics",
        "privrobust.spec",
        "privrobust.sweeps.tuning",
    ],
)
def test_docstring_examples(name):
    outcome = doctest.testmod(importlib.import_module(name))
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_the_page_on_own_data_and_models_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where it keeps a ledger
    page = (ROOT / "docs" / "bring_your_own.md").read_text(encoding="utf-8")
    names = {}
    for example in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(example, names)
    assert names["result"].accuracy > 0.9
    assert 0 < names["result"].epsilon < 100
    assert names["by_clinic"].accuracy > 0.9
    held = shares(names["by_clinic"].spec)
    groups = get_dataset("scans").train.groups
    assert [len(groups[share].unique()) for share in held] == [1] * 6
    assert names["with_gain"].accuracy > 0.9
    assert names["with_own"].spec.loss == "hinge(margin=2.0)"
    assert names["with_own"].accuracy > 0.9
    assert 0 < names["with_own"].epsilon < 100
    assert names["with_noise"].accuracy > 0.9
    assert names["with_noise"].epsilon == float("inf")
    assert "no accountant knows (secant)" in names["with_noise"].spent.reason
    rho = 100 / (2 * (0.05 * 16) ** 2)
    of_theorem = rho + 2 * math.sqrt(rho * math.log(1e5))
    assert names["by_zcdp"].epsilon == pytest.approx(of_theorem)
    assert names["by_zcdp"].is_upper_bound
    assert names["by_pld"].epsilon < names["by_zcdp"].epsilon  # nothing is sampled in a theorem
    assert names["with_zcdp"].spent.accountant == "zcdp"
    assert names["with_zcdp"].epsilon > names["result"].epsilon
    sigma, q = 0.5 * 16, 16 / 100
    of_step = math.log1p(q * math.expm1(1 / sigma))
    on_paper = spend(names["on_paper"], accountant="basic").epsilon
    assert on_paper == pytest.approx(100 * of_step)
    assert names["sent"].shape == (650,)
    assert float((names["sent"] - names["average"]).std()) == pytest.approx(0.1, rel=0.2)
    found = names["model"](names["images"]).argmax(-1)
    assert (found == names["labels"]).double().mean() > 0.9
    assert {worker.release.steps for worker in names["workers"]} == {60}
    with Ledger("ledger.db", "ward 7") as ledger:
        assert 1.9 < ledger.spent.epsilon <= 2
        assert len(ledger.entries) == names["worker"].release.steps


RULES = (ROOT / "docs" / "attacks_and_rules.md").read_text(encoding="utf-8")


def test_the_examples_of_attacks_and_rules_run(tmp_path, monkeypatch, capsys):
    """The page's own module is written beside the spec, as it says, and named in a run."""
    first, mine, over_runs = re.findall(r"```python\n(.*?)```", RULES, re.DOTALL)
    exec(first, {})
    assert float(capsys.readouterr().out.split("(")[1].rstrip(")\n")) > 0
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine.py").write_text(mine)
    settings = {"honest": 12, "byzantine": 3, "clip_norm": 1.0, "steps": 4}
    for snippet in re.findall(r"```yaml\n(.*?)```", RULES, re.DOTALL):
        spec = RunSpec(**(settings | yaml.safe_load(snippet)))
        result = train(spec)
        with Store(tmp_path / "results.db") as store:
            store.add([result])
        assert result.history[["kappa", "cosine"]].notna().all(axis=None)
    exec(over_runs, {})
    assert "point" in capsys.readouterr().out


def test_the_refusal_of_attacks_and_rules_is_what_a_spec_says():
    (shown,) = re.findall(r"```\nerror: (.*)\n```", RULES)
    with pytest.raises(SpecError, match=re.escape(shown)):
        RunSpec(honest=4, byzantine=2, attack="zero", aggregator="krum")


def test_the_table_of_knowledge_is_what_attacks_declare():
    for sees, named in re.findall(r"(?m)^\| `(\w+)` \| .* \| (`.*`) \|$", RULES):
        declared = [name for name in available_attacks() if get_attack(name).sees == sees]
        assert sorted(re.findall(r"`(\w+)`", named)) == declared


SWEEPS = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")


def test_the_sweep_of_the_page_on_sweeps_is_one():
    text, counted = re.findall(r"```yaml\n(.*?)```", SWEEPS, re.DOTALL)
    sweep = Sweep.from_settings(yaml.safe_load(text))
    assert len(choose(Sweep.from_settings(yaml.safe_load(counted)), {})) == 2 * 3
    # mean: clean and f = 2 under two attacks; the vote: clean, and both f under both
    assert len(choose(sweep, {})) == 2 * 3 * (3 + 5)
    zipped = yaml.safe_load(re.search(r"`(zip: {.*?})`", SWEEPS).group(1))
    assert len(Sweep.from_settings(zipped).runs()) == 2


def test_the_examples_of_the_page_on_sweeps_run(tmp_path, monkeypatch, capsys):
    reading, training, watching = re.findall(r"```python\n(.*?)```", SWEEPS, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    here = training.replace("Processes(jobs=2)", "InProcess()")
    exec(here.replace("import Processes", "import InProcess"), names)
    exec(watching, names)
    exec(reading, names)
    assert len(names["runs"]) == 2
    assert "worker" in capsys.readouterr().out


def test_the_options_of_the_page_on_sweeps_exist():
    known = CliRunner().invoke(app, ["run", "--help"], terminal_width=200).stdout
    for command in ("export", "figure", "table"):
        known += CliRunner().invoke(app, [command, "--help"], terminal_width=200).stdout
    options = set(re.findall(r"`(--[a-z-]+)", SWEEPS))
    assert len(options) > 8
    assert options <= set(re.findall(r"--[a-z-]+", known))


def test_no_page_has_a_placeholder_left():
    ours = (path for path in ROOT.rglob("*.md") if not {".venv", "build"} & set(path.parts))
    text = {path: re.findall("@[A-Z]+@", path.read_text(encoding="utf-8")) for path in ours}
    assert not {str(path.relative_to(ROOT)): found for path, found in text.items() if found}


TABLES = (ROOT / "docs" / "tables_and_figures.md").read_text(encoding="utf-8")


def test_the_page_on_tables_names_every_preset_metric_and_figure():
    figures = TABLES.split("## Figures")[1]
    presets, metrics = TABLES.split("## In pandas")[0].split("`--metric` shows")
    assert set(re.findall(r"(?m)^\| `(\w+)` \|", presets)) == set(PRESETS)
    named = " ".join(re.findall(r"(?m)^\| (`.*?) \|", metrics))
    assert set(re.findall(r"`(\w+)`", named)) == set(METRICS)
    assert set(re.findall(r"(?m)^\| `(\w+)` \|", figures)) == set(FIGURES)


def test_the_examples_of_the_page_on_tables_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    specs = [RunSpec(honest=3, steps=2, noise_scale=b, clip_norm=1.0) for b in (0.1, 0.3)]
    with Store("results.db") as store:
        store.add([train(spec) for spec in specs])
    names = {}
    for example in re.findall(r"```python\n(.*?)```", TABLES, re.DOTALL):
        exec(example, names)
    assert "| heterogeneity | method |" in capsys.readouterr().out
    assert Path("epsilon.pdf").read_bytes().startswith(b"%PDF")


def test_the_page_on_auditing_ones_own_finds_what_it_says():
    page = (ROOT / "docs" / "audit_your_own.md").read_text(encoding="utf-8")
    names = {}
    for example in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(example, names)
    assert f"opacus {metadata.version('opacus')}" in page
    broken, finite, tails = (names[each] for each in ("broken", "finite", "tails"))
    assert broken.is_refuted
    assert broken.p_value < 1e-6
    assert re.search("infinity|NaN", broken.canaries)
    assert not finite.is_refuted
    assert tails.is_refuted
