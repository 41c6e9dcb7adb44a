"""`privrobust figure`."""

import sys

import pytest
from typer.testing import CliRunner

from privrobust.cli.main import app
from privrobust.errors import PrivRobustError
from privrobust.reporting.figures import DARK, new_figure
from privrobust.reporting.figures.canvas import ENDINGS
from privrobust.store import Store


def command(*arguments):
    result = CliRunner().invoke(app, ["figure", *map(str, arguments)])
    if isinstance(result.exception, PrivRobustError):
        return str(result.exception)
    assert result.exception is None, result.exception
    return result.output


@pytest.mark.parametrize("kind", ["epsilon", "heatmap", "pareto", "curves", "partitions"])
def test_the_command_draws_what_a_store_holds(trained, tmp_path, kind):
    file = tmp_path / "figure.pdf"
    assert "is drawn in" in command(kind, trained, "-o", file)
    assert file.read_bytes().startswith(b"%PDF")


def test_metric_and_dark_reach_the_figure(trained, tmp_path):
    files = [tmp_path / name for name in ("light.svg", "dark.svg")]
    command("epsilon", trained, "-o", files[0], "--metric", "worst_class_accuracy")
    command("epsilon", trained, "-o", files[1], "--dark")
    light, dark = (file.read_text() for file in files)
    assert "worst class in %" in light
    assert DARK.paper in dark
    assert DARK.paper not in light


def test_where_chooses_runs_as_tables_do(trained, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "privrobust.reporting.figures.epsilon.epsilon_figure",
        lambda runs: seen.append(runs) or new_figure(1, 1),
    )
    wanted = ("--where", "noise_scale=0.10", "--where", "attack=[none, alie]")
    command("epsilon", trained, "-o", tmp_path / "f.png", *wanted)
    assert set(seen[0]["noise_scale"]) == {0.1}
    assert set(seen[0]["byzantine"]) == {0, 2}


def test_endings_are_matplotlibs_and_known_without_it(monkeypatch):
    assert set(ENDINGS) <= set(new_figure(1, 1).canvas.get_supported_filetypes())
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "(.foo is not supported); accepted: eps, jpeg" in command(
        "heatmap", "x.db", "-o", "x.foo"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["epsilom", "{db}"], "figure: unknown name 'epsilom'; did you mean 'epsilon'?"),
        (["epsilon"], "store: epsilon is drawn of results"),
        (["epsilon", "nowhere.db"], "store: 'nowhere.db' does not exist"),
        (
            ["epsilon", "{db}", "-o", "f.foo"],
            "plot: 'f.foo' cannot be written (.foo is not supported)",
        ),
        (["epsilon", "{db}", "-o", "f"], "plot: 'f' is no file name"),
        (["epsilon", "{db}", "-o", "none/f.pdf"], "cannot be written"),
        (["epsilon", "{db}", "--where", "seed"], "where: 'seed' is not accepted: field=value"),
        (
            ["epsilon", "{db}", "--where", "sed=1"],
            "where: unknown name 'sed'; did you mean 'seed'?",
        ),
        (["epsilon", "{db}", "--where", "seed=7"], "where: no run has seed=7"),
        (["epsilon", "{db}", "--measure", "loss"], "measure: 'loss' says nothing of epsilon"),
        (
            ["curves", "{db}", "--measure", "los"],
            "measure: unknown name 'los'; did you mean 'loss'?",
        ),
        (
            ["curves", "{db}", "--measure", "attack_success_rate"],
            "measure: no run has recorded 'attack_success_rate'; accepted: accuracy, ",
        ),
        (["heatmap", "{db}", "--metric", "loss"], "metric: unknown name 'loss'"),
        (
            ["curves", "{db}", "--metric", "final_loss"],
            "metric: 'final_loss' says nothing of curves",
        ),
        (["bias_variance", "{db}"], "says nothing of bias_variance"),
        (["bias_variance", "--noise", "x"], "noise: unknown name 'x'"),
        (["learning_rate", "{db}"], "learning_rate: nothing to draw"),
    ],
)
def test_mistakes_are_one_line(trained, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    told = command(*(str(argument).format(db=trained) for argument in arguments))
    assert message in told
    assert "\n" not in told
    assert not list(tmp_path.iterdir())


def test_an_empty_store_is_one_line(tmp_path):
    with Store(tmp_path / "empty.db"):
        pass
    for kind in ("epsilon", "heatmap", "pareto", "curves", "learning_rate", "partitions"):
        told = command(kind, tmp_path / "empty.db", "-o", tmp_path / "f.png", "--where", "seed=1")
        assert told == f"store: {tmp_path / 'empty.db'} has no finished run yet"


def test_help_teaches():
    text = command("--help")
    for kind in ("epsilon", "heatmap", "pareto", "curves", "learning_rate", "bias_variance"):
        assert kind in text
    assert "$ privrobust figure" in text
    assert "--where 'attack=[none, alie]'" in text
    assert "field=[a, b]" in text
