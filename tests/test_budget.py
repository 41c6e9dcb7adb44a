import io
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from privrobust.accountants import Release, epsilon
from privrobust.budget import budget
from privrobust.errors import SpecError

DIGITS = ["-C", "1", "-B", "32", "-n", "95", "-T", "300"]
EXAMPLES = re.findall(r"\$ privrobust budget (.+)", budget.__doc__ or "")


def run(*arguments: str) -> str:
    app = typer.Typer()
    app.command()(budget)
    result = CliRunner().invoke(app, arguments)
    if result.exception:
        raise result.exception
    return result.stdout


def test_help_has_three_examples() -> None:
    assert len(EXAMPLES) == 3
    assert all(len(example) < 60 for example in EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_of_the_help_run(example: str) -> None:
    output = run(*example.split(), "--accountant", "pld,gdp")
    assert "pld" in output
    assert "gdp (estimate)" in output
    assert "tuned on private data" in output


def test_a_table_never_rounds_down() -> None:
    heading, row = run(*DIGITS, "-b", "0.1", "--accountant", "pld").splitlines()[:2]
    shown = dict(zip(heading.split(), row.split(), strict=True))
    r = Release(noise_scale=0.1, clip_norm=1, batch_size=32, dataset_size=95, steps=300)
    assert 0 <= float(shown["pld"]) - epsilon(r) < 1e-3
    assert (shown["b"], shown["sigma"]) == ("0.1", "3.2")


@pytest.mark.parametrize(
    ("format", "sign"), [("table", "∞"), ("markdown", "∞"), ("latex", "infty")]
)
def test_infinity_comes_with_its_reason(format: str, sign: str) -> None:
    output = run(*DIGITS, "-b", "0,0.1", "--accountant", "pld", "--format", format)
    assert sign in output
    assert "no noise (b = 0)" in output


def test_csv_reads_back() -> None:
    output = run(*DIGITS, "-b", "0.1", "-b", "0.3", "--accountant", "pld,rdp", "--format", "csv")
    table = pd.read_csv(io.StringIO(output))
    assert len(table) == 2
    assert (table["rdp"] > table["pld"]).all()


def test_a_large_delta_is_pointed_out() -> None:
    assert "delta = 0.05 is not below" in run(
        *DIGITS, "-b", "0.1", "--delta", "0.05", "--accountant", "pld"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-b", "much"], "noise_scale: 'much' is not a number, or several"),
        (["-b", "0.1", "-T", "1.5"], "steps: '300,1.5' is not a whole number, or several"),
        ([], "noise_scale: give either --noise-scale or --target-epsilon"),
        (["-b", "1", "--target-epsilon", "1"], "noise_scale: give either --noise-scale or"),
        (["-b", "1", "--format", "tex"], "format: unknown name 'tex'"),
        (["-b", "1", "--accountant", "pdl"], "accountant: unknown name 'pdl'; did you mean 'pld'?"),
        (["-b", "1", "--noise", "laplac"], "noise: 'laplac' is not one of gaussian, laplace"),
    ],
)
def test_bad_input_is_one_clear_line(arguments: list[str], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        run(*DIGITS, *arguments)
    assert str(caught.value).startswith(message)


def test_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / "epsilon.png"
    run(*DIGITS, "-b", "0.1,0.3,1", "--accountant", "pld,rdp", "--plot", str(file))
    assert file.stat().st_size > 1000


@pytest.mark.parametrize(
    ("scales", "file", "message"),
    [
        ("0.1", "x.png", "plot: needs two or more values"),
        ("0,0.1", "x.png", "plot: its axes are logarithmic"),
        ("0.1,1", ".", "plot: .* is no file name"),
        ("0.1,1", "x.foo", "plot: .* cannot be written .*not supported"),
        ("0.1,1", "none/x.png", "plot: .* cannot be written .*No such file"),
    ],
)
def test_plots_that_cannot_be_drawn(
    tmp_path: Path, scales: str, file: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(SpecError, match=message):
        run(*DIGITS, "-b", scales, "--accountant", "rdp", "--plot", str(tmp_path / file))
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr().out == ""


def test_plot_without_matplotlib(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(SpecError, match=r"^plot: needs matplotlib"):
        run(*DIGITS, "-b", "0.1,1", "--accountant", "pld", "--plot", str(tmp_path / "x.png"))


def test_help_loads_neither_torch_nor_opacus() -> None:
    code = (
        "import sys, typer; from privrobust.budget import budget;"
        "app = typer.Typer(); app.command()(budget); app(['--help'], standalone_mode=False);"
        "print([m for m in ('torch', 'opacus', 'pandas', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_page_on_privacy_shows_what_the_command_prints() -> None:
    page = (Path(__file__).parent.parent / "docs" / "privacy.md").read_text()
    command = re.search(r"privrobust budget (.* --format markdown)\n", page)
    assert command
    heading, _, row = (line.split(" | ") for line in run(*command[1].split()).splitlines()[:3])
    first = heading.index("pld")
    for cells in (heading, row):
        assert f"\n| {' | '.join(cells[first:])}\n" in page
