"""Fixtures of what prints and draws."""

import shutil
import sqlite3
from itertools import product
from pathlib import Path

import pytest
from made_runs import HOSTILE, SWEEP

from privrobust import RunSpec, train
from privrobust.reporting.report.page import write_report
from privrobust.store import Store
from privrobust.store.schema import RUNS
from privrobust.sweeps.grid import Sweep
from privrobust.sweeps.runner import run_sweep


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A store of real runs, their histories among them."""
    file = tmp_path_factory.mktemp("figures") / "results.db"
    axes = product(["median", "mean"], [0.0, 0.1], [0, 2], [0, 1, 2])
    with Store(file) as store:
        for aggregator, b, f, seed in axes:
            spec = RunSpec(
                honest=5, byzantine=f, attack="alie", aggregator=aggregator, noise_scale=b,
                clip_norm=1.0, steps=12, evaluate_every=4, seed=seed,
            )  # fmt: skip
            store.add([train(spec)])
    return file


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A store of 120 runs; copy it to change it."""
    path = tmp_path_factory.mktemp("report") / "results.db"
    with Store(path) as store:
        run_sweep(Sweep.from_settings(SWEEP).runs(), store)
    return path


@pytest.fixture
def changed(made, tmp_path):
    """The same store after some SQL."""

    def change(*statements):
        path = tmp_path / "changed.db"
        shutil.copy(made, path)
        with sqlite3.connect(path) as connection:
            for statement, *values in statements:
                connection.execute(statement, values)
        connection.close()
        return path

    return change


_WORDS = {
    "dataset", "data_dir", "model", "loss", "schedule", "accountant", "accountant_used",
    "not_private", "versions", "aggregator", "partition", "device",
}  # fmt: skip


@pytest.fixture
def hostile(changed):
    """All that a store may say is markup, YAML or a module."""
    words = [column.name for column in RUNS.c if column.name in _WORDS]
    return changed(
        *((f"update runs set {name} = ?", HOSTILE) for name in words),
        ("update runs set aggregator = 'os:system', attack = ? where byzantine > 0", HOSTILE),
        ("update runs set failure = ?, diverged = 1 where seed = 1", f"a\n---\n- !!x {HOSTILE}"),
    )


@pytest.fixture(scope="module")
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_api.sync_playwright() as playwright:
        if path is None and not Path(playwright.chromium.executable_path).exists():
            pytest.skip("no Chromium: neither on the path nor playwright's own")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium):
    """A store's page in the browser, drawn; any problem or request fails the test."""
    troubles = []
    contexts = []

    def open_page(path, **options):
        file = path.with_suffix(".html")
        if not file.exists():
            with Store(path) as store:
                write_report(store, file)
        contexts.append(chromium.new_context(offline=True, **options))
        tab = contexts[-1].new_page()
        tab.on("console", lambda message: troubles.append(message.text))
        tab.on("pageerror", lambda error: troubles.append(str(error)))
        tab.on(
            "request",
            lambda request: (
                request.url.startswith(("file:", "data:")) or troubles.append(request.url)
            ),
        )
        tab.goto(file.as_uri())
        tab.locator("html[data-drawn=yes]").wait_for(state="attached")
        return tab

    yield open_page
    assert troubles == []
    for context in contexts:
        context.close()
