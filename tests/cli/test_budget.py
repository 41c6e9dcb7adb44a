import io
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from privrobust.accountants import Release, epsilon
from privrobust.cli.budget import budget
from privrobust.cli.table import print_table
from privrobust.errors import SpecError
from privrobust.reporting.budgets import Budgets, laid_out, largest

DIGITS = ["-C", "1", "-B", "32", "-n", "95", "-T", "300"]
_GIVEN = re.findall(r"\$ privrobust budget ((?:.+\\\n)*.+)", budget.__doc__ or "")
EXAMPLES = [given.replace("\\\n", " ") for given in _GIVEN]


def run(*arguments: str) -> str:
    app = typer.Typer()
    app.command()(budget)
    result = CliRunner().invoke(app, arguments)
    if result.exception:
        raise result.exception
    return result.stdout


EITHER = "either --noise-scale or --target-epsilon"


def test_help_has_three_examples() -> None:
    assert len(EXAMPLES) == 3
    assert all(len(line.strip()) < 60 for given in _GIVEN for line in given.splitlines())


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_of_the_help_run(example: str) -> None:
    output = run(*example.split(), "--accountant", "pld,gdp")
    assert "pld" in output
    assert "gdp (estimate)" in output
    assert "tuned on private data" in output


def test_repeats_have_a_row_each_and_say_what_they_count() -> None:
    laws = "none, poisson(mean=4), negative_binomial(mean=4,shape=0), constant(count=2)"
    output = run(*DIGITS, "-b", "0.4", "--accountant", "pld,rdp", "--repeats", laws)
    rows = {
        line.split("300")[1].split("1e-05")[0].strip(): line for line in output.splitlines()[2:6]
    }
    r = Release(noise_scale=0.4, clip_norm=1, batch_size=32, dataset_size=95, steps=300)
    for law, line in rows.items():
        release = replace(r, repeats=None if law == "none" else law)
        shown = float(line.split()[-1])
        assert 0 <= shown - epsilon(release, accountant="rdp") < 1e-3
        assert (line.split()[-2] == "-") == (release.selection is not None)
        told = " ".join(output.split())
        assert law == "none" or f"Counted, with repeats {law}: the choice of each run" in told
    assert len(rows) == 4
    assert "Not counted, without repeats: settings that were tuned" in " ".join(output.split())
    assert "rdp can do it" in " ".join(output.split())


def test_repeats_leave_less_of_a_target_and_sites_keep_them_apart() -> None:
    laws = ["--repeats", "constant(count=3)", "--repeats", "none"]
    asked = ["-C", "1", "-B", "32", "-n", "95,400", "-T", "300", "--accountant", "pld", *laws]
    output = run(*asked, "--target-epsilon", "2", "--format", "json")
    found = json.loads(output)
    table = pd.DataFrame(found["rows"])
    more = table[table["repeats"].notna()].set_index("dataset_size")["pld"]
    assert (more > table[table["repeats"].isna()].set_index("dataset_size")["pld"]).all()
    federation = pd.DataFrame(found["federation"]).fillna("none").set_index("repeats")["pld"]
    largest_of = table.fillna("none").groupby("repeats")["pld"].max()
    assert federation.to_dict() == largest_of.to_dict()


def test_a_table_never_rounds_down() -> None:
    heading, _, row = run(*DIGITS, "-b", "0.1", "--accountant", "pld").splitlines()[:3]
    shown = dict(zip(heading.split(), row.split(), strict=True))
    r = Release(noise_scale=0.1, clip_norm=1, batch_size=32, dataset_size=95, steps=300)
    assert 0 <= float(shown["pld"]) - epsilon(r) < 1e-3
    assert (shown["b"], shown["sigma"]) == ("0.1", "3.2")


@pytest.mark.parametrize(
    ("format", "sign"), [("table", "∞"), ("markdown", "∞"), ("latex", "infty"), ("html", "∞")]
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


@pytest.mark.parametrize(
    ("arguments", "who"),
    [
        (["--adjacency", "replace-one"], "prv, rdp, moments, gdp, strong, basic"),
        (["--noise", "laplace"], "prv, rdp, moments, gdp, strong"),
    ],
)
def test_what_accountants_say_alike_is_one_note(arguments: list[str], who: str) -> None:
    output = run(*DIGITS, "-b", "0.1,0.2", "--accountant", "all", *arguments)
    notes = [line for line in output.splitlines() if line.startswith("Note: ")]
    assert len(notes) == 1
    assert notes[0].startswith(f"Note: accountant: each of {who} does not support ")


def test_json_has_numbers_with_all_digits_and_says_what_they_hold_for() -> None:
    arguments = ["-C", "1", "-B", "32", "-n", "95,200", "-T", "300", "-b", "0,0.1"]
    arguments += ["--accountant", "pld,prv"]
    found = read_strictly(run(*arguments, "--adjacency", "replace-one", "--format", "json"))
    assert [(row["pld"], row["prv"]) for row in found["rows"][:2]] == [("Infinity", "Infinity")] * 2
    assert found["rows"][2]["prv"] is None
    r = Release(
        noise_scale=0.1, clip_norm=1, batch_size=32, dataset_size=95, steps=300,
        adjacency="replace-one",
    )  # fmt: skip
    assert found["rows"][2]["pld"] == epsilon(r)
    assert [row["dataset_size"] for row in found["federation"]] == ["all", "all"]
    assert found["federation"][1]["pld"] == epsilon(r)
    assert any("(replace-one)" in note for note in found["notes"])
    assert not any("Rounded" in note for note in found["notes"])


def test_signs_have_an_accountant_of_their_own_and_a_remark() -> None:
    output = run(*DIGITS, "-b", "0.1", "--message", "sign")
    heading, _, row = (line.split() for line in output.splitlines()[:3])
    spent = dict(zip(heading, row, strict=False))
    assert float(spent["sign"]) < 0.85 * float(spent["pld"])
    assert "Messages are signs of freshly noised averages, not of momentum" in unfolded(output)
    assert "sign" not in run(*DIGITS, "-b", "0.1")


def unfolded(text: str) -> str:
    """Join the lines of notes."""
    return " ".join(text.split())


def read_strictly(text: str) -> Any:
    """Read JSON as RFC 8259 has it, which knows no NaN and no Infinity."""

    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


def test_a_large_delta_is_pointed_out() -> None:
    assert "delta = 0.05 is not below" in run(
        *DIGITS, "-b", "0.1", "--delta", "0.05", "--accountant", "pld"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-b", "much"], "noise_scale: 'much' is not a number, or several with commas: 1,2"),
        (["-b", "0.1", "-T", "1.5"], "steps: '300,1.5' is not a whole number, or several"),
        (["-b", "0.1", "-T", "1e-3"], "steps: '300,1e-3' is not a whole number"),
        (["-b", "0.1", "-T", "1e400"], "steps: '300,1e400' is not a whole number"),
        ([], f"noise_scale: give {EITHER}; neither is given"),
        (["-b", "1", "--target-epsilon", "1"], f"noise_scale: give {EITHER}; both are given"),
        (["-b", "1", "--format", "tex"], "format: unknown name 'tex'"),
        (["-b", "1", "--accountant", "pdl"], "accountant: unknown name 'pdl'; did you mean 'pld'?"),
        (["-b", "1", "--noise", "laplac"], "noise: unknown name 'laplac'; did you mean 'laplace'?"),
        (["-b", "1", "--noise", "mine:Law"], "noise: unknown name 'mine:Law' (known: gaussian, l"),
        (["-b", "1", "-E", "3"], "steps: give either --steps or --epochs; both are given"),
        (["-b", "1", "--worker-sampling-rate", "0.1"], "worker_sampling_rate: 0.1 needs the unit"),
        (["-b", "1", "--unit", "worker", "-q", "0.1"], "sampling_rate: 0.1 is that of examples"),
        (["-b", "1", "--adjacency", "add-or-remove"], "adjacency: 'add-or-remove' would change q"),
        (["-b", "1" * 5000 + "x"], "noise_scale: '1111"),
    ],
)
def test_bad_input_is_one_clear_line(arguments: list[str], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        run(*DIGITS, *arguments)
    assert str(caught.value).startswith(message)
    assert len(str(caught.value)) < 200


def test_no_module_of_ones_own_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for its noise: nobody knows what that hides."""
    (tmp_path / "law_of_mine.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("law_of_mine:Law", "law_of_mine:Law(std=2)"):
        with pytest.raises(SpecError, match=r"^noise: unknown name 'law_of_mine:Law.*' \(known: "):
            run(*DIGITS, "-b", "1", "--noise", name)
    assert "law_of_mine" not in sys.modules


def table_of(*arguments: str) -> list[dict[str, str]]:
    """The rows above the remarks, as text; a federation's are among them."""
    output = run(*arguments, "--accountant", "pld", "--format", "markdown")
    heading, _, *rows = (line for line in output.splitlines() if line.startswith("| "))
    names = heading.strip("| ").split(" | ")
    return [dict(zip(names, map(str.strip, row[1:-1].split("|")), strict=True)) for row in rows]


# --- who takes part, and which neighbours ----------------------------------------------------


def test_whole_numbers_may_have_exponents() -> None:
    arguments = ["-b", "0.1", "-C", "1", "--accountant", "pld"]
    written = run(*arguments, "-B", "3.2e1", "-n", "1e3", "-T", "3e2")
    assert written == run(*arguments, "-B", "32", "-n", "1000", "-T", "300")


WORKERS = ["-b", "10", "-C", "1", "-B", "64", "-n", "400", "-T", "300", "--unit", "worker"]


def test_workers_are_sampled_only_where_it_is_said() -> None:
    ((q, every),) = [(row["q"], row["pld"]) for row in table_of(*WORKERS)]
    assert q == "1"
    assert "Every worker takes part in every step (q = 1)" in run(*WORKERS, "--accountant", "pld")
    (bare,) = table_of("-b", "10", "-C", "1", "-T", "300", "--unit", "worker")
    assert bare["pld"] == every
    (sampled,) = table_of(*WORKERS, "--worker-sampling-rate", "0.16")
    assert sampled["q"] == "0.16"
    assert float(sampled["pld"]) < 0.5 * float(every)


def test_a_rate_of_examples_needs_no_n_and_speaks_for_other_neighbours() -> None:
    fixed = ["-b", "0.1", "-C", "1", "-B", "32", "-T", "300", "-q", "0.25", "--accountant", "pld"]
    given = table_of("-b", "0.1", "-C", "1", "-B", "32", "-T", "300", "-n", "128")
    assert table_of(*fixed)[0]["pld"] == given[0]["pld"]
    output = unfolded(run(*fixed))
    assert "one example is there or not; q and B are public and fixed in advance" in output
    assert "(add-or-remove)" in output
    chosen = unfolded(run(*fixed, "--adjacency", "zero-out"))
    assert "contribution is set to zero; q and B are public and fixed in advance" in chosen


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-n", "95"], "set to zero; n, and so q = B / n, is public and stays (zero-out)."),
        (["-n", "32", "--sampling", "full"], "set to zero; n is public and stays (zero-out)."),
        (["-n", "95", "--adjacency", "replace-one"], "exchanged for another; n, and so q"),
        (["-n", "95", "--sampling", "shuffled"], "set to zero; n is public and stays (zero-out)."),
        (["-n", "95", "--sampling", "shuffled"], "an epoch is charged as a step that every"),
        (["-n", "95", "--sampling", "fixed"], "Fixed: each step draws B of the n examples anew"),
        (["-n", "95", "-q", "0.1"], "there or not; q and B are public and fixed in advance"),
        (["--unit", "worker"], "one worker's contribution is set to zero; without it"),
    ],
)
@pytest.mark.parametrize("format", ["table", "markdown", "latex", "html"])
def test_every_table_says_which_neighbours_it_speaks_for(
    arguments: list[str], told: str, format: str
) -> None:
    common = ["-b", "0.5", "-C", "1", "-B", "32", "-T", "3", "--accountant", "pld"]
    output = run(*common, *arguments, "--format", format)
    assert told in unfolded(unescape(output))


def test_csv_says_which_neighbours_each_row_speaks_for() -> None:
    output = run(*DIGITS, "-b", "0.1", "--accountant", "pld", "--format", "csv")
    row = pd.read_csv(io.StringIO(output)).iloc[0]
    assert (row["unit"], row["adjacency"], row["noise"]) == ("example", "zero-out", "gaussian")


def test_laplace_noise_says_what_b_and_c_are() -> None:
    common = [*DIGITS, "-b", "1", "--accountant", "pld"]
    assert "L1 norm" in run(*common, "--noise", "laplace")
    assert "L1 norm" not in run(*common)


# --- several sites ---------------------------------------------------------------------------

SITES = ["-C", "1", "-B", "32", "-n", "1000,95,300"]


def test_a_federation_spends_the_most_of_its_sites() -> None:
    rows = table_of(*SITES, "-T", "300", "-b", "0.1,0.3")
    assert [row["n"] for row in rows] == ["1000", "95", "300"] * 2 + ["all"] * 2
    for b in ("0.1", "0.3"):
        *sites, together = (row for row in rows if row["b"] == b)
        assert together["pld"] == max((row["pld"] for row in sites), key=float)
        assert (together["sigma"], together["q"]) == (sites[0]["sigma"], "")


def test_the_noise_of_a_federation_keeps_every_site_within_the_target() -> None:
    rows = table_of(*SITES, "-T", "300", "--target-epsilon", "2,8")
    for target in ("2", "8"):
        *sites, together = (row for row in rows if row["target"] == target)
        assert together["pld"] == max((row["pld"] for row in sites), key=float)


@pytest.mark.parametrize("format", ["table", "latex"])
def test_a_federation_has_a_line_in_what_is_read(format: str) -> None:
    common = [*SITES, "-T", "300", "-b", "0.1", "--accountant", "pld", "--format", format]
    output = run(*common)
    assert "all: the federation of these sites, whose epsilon is the largest of theirs." in output
    assert re.search(r"\ball\b.* 9\.306", output)
    assert "federation" not in run(*DIGITS, "-b", "0.1", "--accountant", "pld")


def test_csv_is_data_of_sites_alone() -> None:
    common = [*SITES, "-T", "300", "-b", "0.1", "--accountant", "pld", "--format", "csv"]
    assert list(pd.read_csv(io.StringIO(run(*common)))["dataset_size"]) == [1000, 95, 300]


def test_sites_may_have_rates_of_their_own() -> None:
    rows = table_of("-C", "1", "-B", "32", "-q", "0.1,0.3", "-b", "0.1", "-T", "30")
    assert [row["q"] for row in rows] == ["0.1", "0.3", "all"]
    assert rows[2]["pld"] == rows[1]["pld"]


def test_infinite_and_missing_values_stay_so_for_a_federation() -> None:
    common = ["-C", "1", "-B", "32", "-n", "95,300", "-T", "3"]
    assert table_of(*common, "-b", "0")[-1]["pld"] == "∞"
    output = run(*common, "-b", "1", "--noise", "laplace", "--accountant", "pld,rdp")
    assert re.search(r"(?m)^.*\ball\b.* 0\.\d+ +-$", output)
    values = pd.Series([1.0, float("nan"), 2.0])
    assert math.isnan(largest(values))
    assert largest(pd.Series([math.inf, float("nan")])) == math.inf


# --- epochs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "steps"),
    [
        (["-B", "32", "-n", "95", "-E", "1"], "3"),
        (["-B", "32", "-n", "96", "-E", "1"], "3"),
        (["-B", "10", "-n", "100", "-E", "0.1"], "1"),
        (["-B", "0.1", "-n", "100", "-E", "0.3"], "300"),
        (["-B", "32", "-n", "95", "-E", "0.001"], "1"),
        (["-B", "32", "-q", "0.1", "-E", "3"], "30"),
        (["-B", "32", "-q", "0.3", "-n", "95", "-E", "1"], "4"),
        (["-n", "100", "--sampling", "full", "-E", "2.5"], "3"),
        (["-B", "32", "-n", "95", "-E", "10", "--sampling", "fixed"], "30"),
        (["-B", "32", "-n", "95", "-E", "100", "--sampling", "fixed"], "297"),
        (["-B", "32", "-n", "95", "-E", "100", "--sampling", "shuffled"], "300"),
        (["-B", "32", "-n", "95", "-E", "0.5", "--sampling", "balls_in_bins"], "2"),
        (["-B", "32", "-n", "95", "-E", "2", "--unit", "worker"], "6"),
    ],
)
def test_epochs_are_rounded_up_to_whole_steps(arguments: list[str], steps: str) -> None:
    (row,) = table_of("-b", "5", "-C", "1", *arguments)
    assert row["T"] == steps
    assert row["epochs"] == arguments[arguments.index("-E") + 1]


def test_each_site_takes_the_steps_of_its_own_epochs() -> None:
    rows = table_of("-b", "0.3", "-C", "1", "-B", "32", "-n", "1000,95", "-E", "9")
    assert [row["T"] for row in rows] == ["282", "27", ""]
    assert rows[2]["pld"] == rows[1]["pld"]
    (alone,) = table_of("-b", "0.3", "-C", "1", "-B", "32", "-n", "95", "-T", "27")
    assert alone["pld"] == rows[1]["pld"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-B", "32", "-n", "95", "-E", "nan"], "epochs: nan is not a finite number above 0"),
        (["-B", "32", "-n", "95", "-E", "inf"], "epochs: inf is not a finite number above 0"),
        (["-B", "32", "-n", "95", "-E", "0"], "epochs: 0 is not a finite number above 0"),
        (["-B", "32", "-n", "95", "-E", "-1"], "epochs: -1 is not a finite number above 0"),
        (["-B", "32", "-n", "95", "-E", "1e300"], "epochs: 1e+300 make T too large; accepted: up"),
        (["-B", "32", "-n", "95", "-E", "all"], "epochs: 'all' is not a number, or several"),
        (["-B", "32", "-n", "0", "-E", "1"], "dataset_size: 0 is not a whole number"),
        (["-B", "0", "-n", "95", "-E", "1"], "batch_size: 0.0 is not"),
        (["-B", "nan", "-n", "95", "-E", "1"], "batch_size: nan is not"),
        (["-B", "32", "-E", "1"], "dataset_size: Poisson sampling needs it"),
        (["-n", "95", "-E", "1"], "batch_size: Poisson sampling needs it"),
        (["--unit", "worker", "-n", "9", "-E", "1"], "batch_size: --epochs needs it"),
        (["--unit", "worker", "-B", "9", "-E", "1"], "dataset_size: --epochs needs it"),
        (["--unit", "worker", "-B", "9", "-n", "4", "-E", "1"], "batch_size: 9 exceeds dataset_s"),
        (["-B", "32", "-n", "95"], "steps: give either --steps or --epochs"),
    ],
)
def test_epochs_that_are_no_number_of_steps(arguments: list[str], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        run("-b", "5", "-C", "1", *arguments)
    assert str(caught.value).startswith(message)


# --- how it is written -----------------------------------------------------------------------


def test_what_was_given_is_printed_as_it_was_given() -> None:
    (row,) = table_of("-b", "0.1234567", "-C", "1", "-B", "32.125", "-n", "1234567", "-T", "3")
    assert (row["b"], row["C"], row["B"], row["n"]) == ("0.1234567", "1", "32.125", "1234567")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_tables_fit_into_terminals(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.DataFrame(
        {
            "noise_scale": [0.1, 0.3], "clip_norm": 1.0, "batch_size": 32.0, "dataset_size": 95,
            "steps": 300, "delta": 1e-5, "noise_multiplier": [3.2, 9.6], "sampling_rate": 32 / 95,
            "pld": 1.5, "prv": 1.5, "rdp": 1.5, "gdp (estimate)": 1.5, "strong (estimate)": 1.5,
            "note": "",
        }
    )  # fmt: skip
    layout = laid_out(Budgets(table, None, "", ["A remark " * 30]))
    monkeypatch.setenv("COLUMNS", str(width))
    print_table(layout)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    assert sum("strong" in line for line in lines) == 1
    assert "\n".join(lines).count("0.3") >= (1 if width == 120 else 2)


def test_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / "epsilon.png"
    run(*DIGITS, "-b", "0.1,0.3,1", "--accountant", "pld,rdp", "--plot", str(file))
    assert file.stat().st_size > 1000


def test_a_plot_says_what_is_released_and_for_which_neighbours(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / "epsilon.svg"
    run(*DIGITS, "-b", "0.1,0.3", "--sampling", "fixed", "--accountant", "pld", "--plot", str(file))
    text = " ".join(re.findall(r">([^<>]+)</t", file.read_text()))
    assert "noise gaussian, message vector, sampling fixed, unit example." in text
    assert "Neighbours: one example's contribution is set to zero" in text.replace("&#x27;", "'")
    assert "Fixed: each step draws B of the n examples anew" in text


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
        "import sys, typer; from privrobust.cli.budget import budget;"
        "app = typer.Typer(); app.command()(budget); app(['--help'], standalone_mode=False);"
        "print([m for m in ('torch', 'opacus', 'pandas', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_page_on_privacy_shows_what_the_command_prints() -> None:
    page = (Path(__file__).parents[2] / "docs" / "privacy.md").read_text()
    command = re.search(r"privrobust budget (.* --format markdown)\n", page)
    assert command
    heading, _, row = (line.split(" | ") for line in run(*command[1].split()).splitlines()[:3])
    first = heading.index("pld")
    for cells in (heading, row):
        assert f"\n| {' | '.join(cells[first:])}\n" in page
