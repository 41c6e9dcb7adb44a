import os
import signal

# The tests' matrices are small: threads would only wait for each other. Processes that tests start
# inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Nor are they run in a window, whatever the shell says of its own.
os.environ.pop("COLUMNS", None)

import postgres
import pytest
import torch
from gate import (
    pytest_addoption,
    pytest_sessionfinish,
    pytest_terminal_summary,
    pytest_xdist_auto_num_workers,
)
from hypothesis import settings

from privrobust.kernels import backend
from privrobust.spec.registries import REGISTRIES
from privrobust.training import loop as training
from privrobust.training import server as byzantine

# pytest finds the hooks of a conftest by their names in it.
__all__ = [
    "pytest_addoption",
    "pytest_sessionfinish",
    "pytest_terminal_summary",
    "pytest_xdist_auto_num_workers",
]

# A script's background jobs ignore SIGINT, and so would processes that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples at every run: a failure is always the code's doing.
settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
settings.load_profile("fixed")


@pytest.fixture(autouse=True)
def own_registries(monkeypatch):
    """What a test registers is gone after it: no test sees what ran before it in its process."""
    for registry in REGISTRIES.values():
        monkeypatch.setattr(registry, "registered", dict(registry.registered))


class Recorder:
    """Keeps the messages of every step and never moves the model."""

    public_examples = 0

    def __init__(self, message):
        self.message = message
        self.seen = []

    def started(self, noise):
        return self

    def __call__(self, messages, generator=None, public=None):
        self.seen.append(messages.clone())
        return torch.zeros(messages.shape[0], messages.shape[-1])


@pytest.fixture(scope="session")
def server():
    """PostgreSQL, while a process of tests needs it."""
    with postgres.server() as started:
        yield started


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request, tmp_path):
    """Where there is no database yet, of either kind."""
    if request.param == "sqlite":
        return tmp_path / "results.db"
    name = f"test_{abs(hash(request.node.nodeid)):x}"
    return request.getfixturevalue("server").new_database(name)


@pytest.fixture
def threads():
    """Sets how many threads torch uses, until the test ends."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=["kernels", "torch"])
def way(request):
    """How rules are computed: by compiled kernels, and as where nothing compiles."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "torch":
            patch.setattr(backend, "are_compiled", lambda: False)
        yield request.param


@pytest.fixture
def messages_of(monkeypatch):
    """Messages `(steps, lanes, workers, dim)` that runs send from their initial parameters."""

    def messages(*specs, message="vector"):
        recorder = Recorder(message)
        with monkeypatch.context() as patch:
            patch.setattr(byzantine, "get_aggregator", lambda name, f: recorder)
            training.train_lanes(specs)
        return torch.stack(recorder.seen)

    return messages
