"""The gate: what it runs may not be skipped, and nobody has to know how many workers it takes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


@pytest.fixture
def outcome(tmp_path):
    """Of one file of tests, with our hooks and options: the exit code, and what was printed."""

    def of(source, *options):
        (tmp_path / "test_one.py").write_text(f"import pytest\n{source}")
        plain = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")}
        # Other plugins take a second each time, and workers one of their own.
        environment = {"PYTHONPATH": str(TESTS), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        command = [sys.executable, "-m", "pytest", "-p", "xdist", "-p", "gate", "-rs"]
        done = subprocess.run(
            [*command, "-p", "no:cacheprovider", *options], cwd=tmp_path, capture_output=True,
            text=True, env=plain | environment,
        )  # fmt: skip
        return done.returncode, done.stdout

    return of


SKIPPED = "def test_it():\n    pytest.skip('{}')\n"


def test_a_skip_is_refused_and_told(outcome):
    code, printed = outcome(SKIPPED.format("no chromium"), "--refuse-skips")
    assert code == 1
    assert "refused skip: test_one.py::test_it: Skipped: no chromium" in printed


def test_a_file_that_skips_itself_is_refused(outcome):
    code, printed = outcome("pytest.importorskip('no_such_package')\n", "--refuse-skips")
    assert code != 0
    assert "refused skip: test_one.py" in printed


@pytest.mark.parametrize("workers", ["0", "2"])
def test_skips_of_workers_are_refused_too(outcome, workers):
    code, _ = outcome(SKIPPED.format("no chromium"), "--refuse-skips", "-n", workers)
    assert code == 1


@pytest.mark.parametrize("reason", ["needs a CUDA device", "pip install --no-deps byzpy"])
def test_accepted_reasons(outcome, reason):
    assert outcome(SKIPPED.format(reason), "--refuse-skips")[0] == 0


def test_elsewhere_skips_are_no_failures(outcome):
    assert outcome(SKIPPED.format("no chromium"))[0] == 0


def test_automatic_workers_share_the_work_and_stay_away_under_pdb(outcome):
    which = "def test_it(): print('worker', __import__('os').environ.get('PYTEST_XDIST_WORKER'))\n"
    options = ("-s", "-n", "auto", "--dist", "loadfile")
    assert "worker None" not in outcome(which, *options)[1]
    assert "worker None" in outcome(which, *options, "--pdb")[1]
