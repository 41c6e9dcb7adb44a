"""Hooks of pytest: which skips the gate refuses, and how many workers a run takes."""

import os

import pytest

ACCEPTED_SKIPS = ("needs a CUDA device", "pip install --no-deps byzpy")
"""Reasons for which the gate may skip a test: hardware, and a peer that no index's pins allow."""

MEMORY_OF_A_WORKER = 3 << 30
MOST_WORKERS = 8  # the longest file takes longer than an eighth of all


def pytest_xdist_auto_num_workers(config):
    """Use as many workers as there are cores, and memory, for (`-n auto`, without --pdb)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(cores or 1, memory // MEMORY_OF_A_WORKER, MOST_WORKERS))


def pytest_addoption(parser):
    parser.addoption(
        "--refuse-skips",
        action="store_true",
        help="Fail if a test is skipped for another reason than those in tests/gate.py.",
    )


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    """Fail where a test was skipped that the gate promises to run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.option.refuse_skips and reporter and refused(reporter):
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config):
    for report in refused(terminalreporter) if config.option.refuse_skips else []:
        terminalreporter.write_line(f"refused skip: {report.nodeid}: {report.longrepr[2]}")


def refused(reporter):
    """Return the reports of skips, of tests or of whole files, whose reason is not accepted."""
    return [
        report
        for report in reporter.stats.get("skipped", [])
        if not any(reason in report.longrepr[2] for reason in ACCEPTED_SKIPS)
    ]
