"""What objects show of themselves in a line, whatever they hold."""

import re
from pathlib import Path

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from privrobust import RunSpec
from privrobust.accountants import Release
from privrobust.attacks.examples import Examples
from privrobust.core.displayed import LONGEST, called, told
from privrobust.data import Dataset, Split
from privrobust.federated import Ledger, PrivateUpdates, PrivateWorker, UpdatePrivacy
from privrobust.spec.run_fields import FIELDS
from privrobust.store import Store
from privrobust.sweeps import Sweep, load_sweep

TEXT = st.text(max_size=400)
QUICKSTART = Path(__file__).parents[2] / "experiments" / "quickstart.yaml"
THINGS = st.one_of(
    TEXT, st.integers(), st.floats(), st.lists(st.integers()), st.none(), st.binary()
)


def is_short_line(text):
    """One line that a terminal shows as it is, and an error can hold."""
    return text.isprintable() and len(text) <= LONGEST + 20


@given(TEXT, st.dictionaries(st.sampled_from(sorted(FIELDS)), THINGS))
def test_a_call_is_a_short_line(name, arguments):
    assert is_short_line(called(name, arguments))


@given(TEXT, TEXT, st.lists(TEXT, max_size=20))
def test_what_is_told_is_a_short_line(kind, name, facts):
    assert is_short_line(told(kind, name, facts))


def test_what_does_not_fit_is_counted():
    text = called("Push", {f"field_{place}": place for place in range(40)})
    kept = len(re.findall(r"field_\d+=", text))
    assert text.endswith(f"... {40 - kept} more)")
    assert 5 < kept < 40


SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "aggregator": st.sampled_from(["mean", "nnm + trimmed_mean", "majority_vote"]),
        "noise_scale": st.floats(0.001, 100),
        "clip_norm": st.floats(0.001, 100),
        "steps": st.integers(1, 10**6),
        "heterogeneity": st.floats(0, 1),
        "byzantine": st.integers(0, 3),
        "sampling_rate": st.floats(0.01, 1),
        "seed": st.integers(0, 2**63 - 1),
        "schedule": st.sampled_from(["cosine", "linear(final=0.1)"]),
    },
)


@given(SETTINGS)
@settings(deadline=None)
def test_a_spec_is_the_call_that_makes_it_again(fields):
    spec = RunSpec(attack="alie(z=1.5)", **fields)
    text = repr(spec)
    assert text == str(spec)
    assert is_short_line(text)
    if "more)" not in text:
        assert eval(text, {"RunSpec": RunSpec}).key == spec.key


def test_a_spec_shows_what_differs_from_defaults_alone():
    assert repr(RunSpec()) == "RunSpec()"
    spec = RunSpec(clip_norm=1.0, byzantine=2, attack={"name": "alie", "z": 1.5})
    assert repr(spec) == "RunSpec(byzantine=2, attack='alie(z=1.5)', clip_norm=1.0)"
    found = RunSpec(clip_norm=1.0, target_epsilon=2.0).with_noise(0.3)
    assert "noise_scale" not in repr(found)
    assert eval(repr(found), {"RunSpec": RunSpec}).key == found.key
    assert set(found.changed) <= set(FIELDS)


def test_a_release_is_the_call_that_makes_it_again():
    release = Release(noise_scale=0.1, clip_norm=1, batch_size=32, dataset_size=95, steps=300)
    assert eval(repr(release), {"Release": Release}) == release
    assert "None" not in repr(release)
    assert is_short_line(repr(release))


@given(TEXT)
@settings(deadline=None, max_examples=20)
def test_data_shows_counts_and_no_numbers(name):
    labels = torch.arange(600) % 3
    data = Dataset.from_tensors(name, torch.rand(600, 1, 12, 12), labels)
    assert is_short_line(repr(data))
    assert "420 train, 60 validation, 120 test, 3 classes" in repr(data)
    assert repr(Split(np.zeros((7, 2), np.float32), np.arange(7))) == (
        "<Split: 7 examples, torch.float32 (2,)>"
    )
    assert "tensor" not in repr(data)


def test_a_store_tells_how_many_runs_it_has(location):
    """And nothing of who may open it; a file that is gone is not made again."""
    specs = [RunSpec(clip_norm=1.0, noise_scale=0.1, seed=seed) for seed in range(3)]
    with Store(location) as store:
        assert repr(store).endswith(": no run>")
        store.claim(specs)
        assert repr(store).endswith(": 3 running>")
        store.fail(specs[:2], "no memory")
        assert repr(store).endswith(": 1 running, 2 failed>")
        assert is_short_line(repr(store))
        assert "@" not in repr(store)


def test_a_store_whose_file_is_gone_says_so(tmp_path):
    with Store(tmp_path / "results.db") as store:
        pass
    (tmp_path / "results.db").unlink()
    assert repr(store).endswith(": its database does not answer>")
    assert not list(tmp_path.iterdir())


def test_senders_and_ledgers_show_no_parameters(tmp_path):
    model = torch.nn.Linear(4, 3)
    data = torch.randn(100, 4), torch.arange(100) % 3
    worker = PrivateWorker(model, data, clip_norm=1.0, noise_scale=0.2, batch_size=10)
    worker.message()
    assert repr(worker) == "<PrivateWorker gaussian vector: b = 0.2, C = 1, 1 sent>"
    updates = PrivateUpdates(UpdatePrivacy(clip_norm=1.0, noise_scale=2.0))
    assert repr(updates) == "<PrivateUpdates gaussian vector: b = 2, C = 1, 0 sent>"
    with Ledger(tmp_path / "ledger.db", "ward 7", max_epsilon=3) as ledger:
        assert is_short_line(repr(ledger).replace(str(tmp_path), ""))
        assert ledger.max_epsilon == 3.0
    with Ledger(tmp_path / "other.db", "ward 8") as ledger:
        assert ledger.max_epsilon is None


def test_a_sweep_says_what_varies():
    grid = {"aggregator": ["mean", "median"], "seed": [0, 1, 2]}
    sweep = Sweep.from_settings({"grid": grid, "tune": {"learning_rate": [0.1, 0.5]}})
    assert repr(sweep) == "<Sweep: grid aggregator (2), grid seed (3), tune learning_rate (2)>"
    assert is_short_line(repr(load_sweep(QUICKSTART)))


def test_examples_of_attacks_show_no_numbers():
    examples = Examples(torch.rand(7, 64), torch.zeros(7, dtype=torch.int64), 10)
    assert repr(examples) == "<Examples: torch.float32 (7, 64), 10 classes>"
