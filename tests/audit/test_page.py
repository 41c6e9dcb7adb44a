"""What the page on audits shows is what there is."""

import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from privrobust.audit.canaries import CANARIES
from privrobust.audit.observations import Detections
from privrobust.audit.planting import TOO_LARGE
from privrobust.audit.repeated_runs import clopper_pearson_bound
from privrobust.audit.tails import TAILS
from privrobust.audit.verdict import confidence_of_each
from privrobust.audit.watching import OBSERVERS
from privrobust.cli.main import app
from privrobust.sweeps.grid import Sweep

PAGE = (Path(__file__).parents[2] / "docs" / "audit.md").read_text(encoding="utf-8")


def test_the_tables_have_every_observer_and_canary():
    who, planted = PAGE.split("## Who looks")[1].split("## What is planted")
    assert re.findall(r"(?m)^\| `(\w+)` \|", who) == list(OBSERVERS)
    rows = re.findall(r"(?m)^\| (`.*`) \|", planted.split("##")[0])
    assert [name for row in rows for name in re.findall(r"`(\w+)`", row)] == [*CANARIES, TAILS]
    assert f"is {TOO_LARGE:g} times longer" in PAGE


def test_its_options_exist():
    known = CliRunner().invoke(app, ["audit", "--help"], terminal_width=200).stdout
    options = set(re.findall(r"`(--[a-z-]+)", PAGE))
    assert len(options) > 7
    assert options <= set(re.findall(r"--[a-z-]+", known))


def test_the_python_example_runs(capsys):
    example, _ = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names = {}
    exec(example, names)
    assert not names["found"].is_refuted
    assert "Byzantine workers see every message" in capsys.readouterr().out


def test_the_printed_table_is_of_the_sweep_beside_it():
    sweep = Sweep.from_settings(yaml.safe_load(re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[1]))
    rules = [run.aggregator for run in sweep.runs()]
    shown = re.findall(r"(?m)^  (\w+) +coordinate +(\w+) ", PAGE)
    assert shown == [(rule, observer) for rule in rules for observer in OBSERVERS]


@pytest.mark.parametrize(("runs", "shown"), [(1000, "4.1"), (10_000, "6.4"), (100_000, "8.7")])
def test_how_much_runs_can_show(runs, shown):
    each = confidence_of_each(0.95, 1)
    perfect = Detections(3 * runs // 10, 3 * runs // 10, 3 * runs // 10, 0)
    most = clopper_pearson_bound(perfect, 1e-5, each).epsilon_lower_bound
    assert f"{most:.1f}" == shown
    assert re.search(rf"{shown} of {runs:,}".replace("1,000", "1000") + "[ ,.]", PAGE)
