"""The same results in one process, in many and on Ray, whatever dies on the way."""

import os
import pickle
import re
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from privrobust import RunSpec, train
from privrobust.attacks import Attack, register_attack
from privrobust.data import Dataset, get_dataset, register_dataset
from privrobust.errors import PrivRobustError
from privrobust.gradients.losses import CrossEntropy, register_loss
from privrobust.models import register_model
from privrobust.schedules import Schedule, register_schedule
from privrobust.store import Store
from privrobust.sweeps import packing as batches
from privrobust.sweeps.executors import InProcess, OnRay, Processes, base
from privrobust.sweeps.executors.base import Supplies
from privrobust.sweeps.grid import Sweep
from privrobust.sweeps.progress import Watch
from privrobust.sweeps.runner import run_sweep

SHORT = {"honest": 5, "steps": 12, "clip_norm": 1.0, "noise_scale": 0.1}
RUNS = Sweep.from_settings(
    SHORT
    | {
        "cases": [{"model": "logistic"}, {"model": "mlp"}],
        "grid": {"byzantine": [0, 1], "attack": ["sign_flip", "alie"], "seed": [0, 1]},
    }
).runs()
OF_A_PROCESS = ["seconds", "finished"]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch, threads):
    """Executors agree to the last bit where they use equally many threads."""
    monkeypatch.setattr(batches, "LANES", 3)
    threads(1)


def stored(tmp_path, name, runs, executor):
    with Store(tmp_path / f"{name}.db") as store:
        run_sweep(runs, store, executor)
        return store.runs([run.key for run in runs]).drop(columns=OF_A_PROCESS)


@pytest.fixture(scope="module")
def ray():
    pytest.importorskip("ray", reason="needs ray: pip install 'privrobust[ray]'")
    executor = OnRay("local")
    yield executor
    executor.close()


def test_processes_give_what_this_process_gives(tmp_path):
    here = stored(tmp_path, "here", RUNS, InProcess())
    there = stored(tmp_path, "there", RUNS, Processes(2, threads=1))
    pd.testing.assert_frame_equal(there, here, rtol=1e-4)


def test_ray_gives_what_this_process_gives(tmp_path, ray):
    here = stored(tmp_path, "here", RUNS, InProcess())
    there = stored(tmp_path, "there", RUNS, ray)
    pd.testing.assert_frame_equal(there, here, rtol=1e-4)


@dataclass(frozen=True)
class Deadly(Attack):
    """Kills its process, or raises, as files in a folder tell."""

    folder: str = "."

    def craft(self, seen, byzantine, generator):
        switches = Path(self.folder)
        if seen.shape[-1] > 1:  # not when a spec is checked
            if (switches / "once").exists():
                (switches / "once").unlink()
                os.kill(os.getpid(), signal.SIGKILL)
            if (switches / "logistic").exists() and seen.shape[-1] == 650:
                os.kill(os.getpid(), signal.SIGKILL)
            if (switches / "raise").exists():
                raise ValueError("out of luck\nand of lines")
        return seen[..., :1, :].expand(*seen.shape[:-2], byzantine, seen.shape[-1])


@pytest.fixture
def deadly(tmp_path, monkeypatch):
    """A sweep whose attack is above; processes find this module on their path."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    cases = [{}, {"byzantine": 1, "attack": f"test_executors:Deadly(folder={str(tmp_path)!r})"}]
    grid = {"model": ["logistic", "mlp"], "seed": [0, 1]}
    return Sweep.from_settings(SHORT | {"cases": cases, "grid": grid}).runs()


def test_a_killed_process_costs_nothing(tmp_path, deadly):
    undisturbed = stored(tmp_path, "whole", deadly, InProcess())
    (tmp_path / "once").touch()
    disturbed = stored(tmp_path, "killed", deadly, Processes(2, threads=1))
    assert not (tmp_path / "once").exists()
    pd.testing.assert_frame_equal(disturbed, undisturbed, rtol=1e-4)


@pytest.mark.slow
def test_a_killed_task_of_ray_costs_nothing(tmp_path, ray, deadly):
    undisturbed = stored(tmp_path, "whole", deadly, InProcess())
    (tmp_path / "once").touch()
    disturbed = stored(tmp_path, "killed", deadly, ray)
    assert not (tmp_path / "once").exists()
    pd.testing.assert_frame_equal(disturbed, undisturbed, rtol=1e-4)


@pytest.mark.slow
def test_a_run_that_kills_every_process_fails_alone(tmp_path, deadly):
    (tmp_path / "logistic").touch()
    with Store(tmp_path / "results.db") as store:
        run_sweep(deadly, store, Processes(2, threads=1))
        failed = store.failed()
        done = store.keys()
    fatal = {run.key for run in deadly if run.model == "logistic" and run.byzantine}
    assert set(failed.index) == fatal
    assert set(failed) == {"the process that trained it was killed by SIGKILL, twice"}
    assert done == {run.key for run in deadly} - fatal


def test_a_run_that_raises_takes_no_other_with_it(tmp_path, deadly):
    (tmp_path / "raise").touch()
    with Store(tmp_path / "results.db") as store:
        run_sweep(deadly, store)
        assert store.keys() == {run.key for run in deadly if not run.byzantine}
        (reason,) = set(store.failed())
        assert reason.startswith("Deadly: it failed (out of luck, test_executors.py, line ")
        assert "Traceback" in store.failures().loc[0, "details"]
        (tmp_path / "raise").unlink()
        run_sweep(deadly, store)
        assert len(store.failed()) == sum(run.byzantine for run in deadly)
        run_sweep(deadly, store, retry_failed=True)
        assert store.keys() == {run.key for run in deadly}
        assert store.failed().empty


@pytest.mark.parametrize(
    "shortage",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate"),
        MemoryError(),
    ],
)
def test_a_batch_that_memory_does_not_hold_is_split(tmp_path, monkeypatch, shortage):
    sizes = []
    train_lanes = base.train_lanes

    def with_little_memory(specs, on_step):
        sizes.append(len(specs))
        if len(specs) > 1:
            raise shortage
        return train_lanes(specs, on_step)

    runs = [run for run in RUNS if run.model == "logistic"]
    whole = stored(tmp_path, "whole", runs, InProcess())
    monkeypatch.setattr(base, "train_lanes", with_little_memory)
    split = stored(tmp_path, "split", runs, InProcess())
    assert max(sizes) == 3
    columns = ["status", "accuracy", "final_loss"]
    pd.testing.assert_frame_equal(split[columns], whole[columns], rtol=1e-4)


def test_what_this_process_registered_goes_along(tmp_path):
    inputs = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    register_dataset(Dataset.from_tensors("of_this_test", inputs, (inputs[:, 0] > 0).long()))
    register_model("of_this_module", plain)
    run = RunSpec(dataset="of_this_test", model="of_this_module", honest=2, steps=3)
    there = stored(tmp_path, "there", [run], Processes(1))
    assert there["accuracy"].iloc[0] == pytest.approx(train(run).accuracy)


def plain(shape, classes):
    return nn.Linear(shape.numel(), classes)


@dataclass(frozen=True)
class Still(Attack):
    """Sends zeros."""

    def craft(self, honest, byzantine, generators):
        return torch.zeros_like(honest[..., :1, :]).expand(*honest.shape[:-2], byzantine, -1)


@dataclass(frozen=True)
class Halved(Schedule):
    """Half the rate."""

    def factor(self, done):
        return 0.5


@dataclass(frozen=True)
class Twice(CrossEntropy):
    """Twice the cross-entropy."""

    def values(self, scores, labels):
        return 2 * super().values(scores, labels)

    def errors(self, scores, labels):
        return 2 * super().errors(scores, labels)


def test_what_is_registered_here_goes_along(tmp_path):
    register_attack("still", Still)
    register_schedule("halved", Halved)
    register_loss("twice", Twice)
    names = {"attack": "still", "byzantine": 1, "schedule": "halved", "loss": "twice"}
    run = RunSpec(**SHORT, **names)
    here = stored(tmp_path, "here", [run], InProcess())
    pd.testing.assert_frame_equal(stored(tmp_path, "there", [run], Processes(1)), here)


class Scaled(nn.Linear):
    """Linear, whose type is another."""


def scaled(layer, uses):
    (use,) = uses
    return {"weight": use.errors.unsqueeze(2) * use.inputs.unsqueeze(1), "bias": use.errors}


def test_a_layers_rule_goes_along(monkeypatch):
    monkeypatch.setattr(base, "OWN_RULES", {Scaled: scaled, nn.Bilinear: lambda layer, uses: {}})
    supplies = pickle.loads(pickle.dumps(Supplies.of(RUNS[:1])))
    monkeypatch.setattr(base, "OWN_RULES", {})
    supplies.install()
    assert {Scaled: scaled} == base.OWN_RULES


def test_what_no_run_names_need_not_go_along(tmp_path):
    class OfThisProcess(Attack):
        """Cannot be pickled."""

        craft = Still.craft

    register_attack("of_this_process", OfThisProcess)
    runs = stored(tmp_path, "there", [RunSpec(honest=2, steps=3)], Processes(1))
    assert runs["failure"].isna().all()
    named = RunSpec(honest=2, steps=3, byzantine=1, attack="of_this_process")
    with pytest.raises(PrivRobustError, match="attack: 'of_this_process' is known to this process"):
        stored(tmp_path, "named", [named], Processes(1))


def test_a_model_that_cannot_go_along_is_refused(tmp_path):
    register_model("of_this_process", lambda shape, classes: nn.Linear(shape.numel(), classes))
    run = RunSpec(model="of_this_process", honest=2, steps=3)
    with pytest.raises(PrivRobustError, match="model: 'of_this_process' is known to this process"):
        stored(tmp_path, "there", [run], Processes(1))


def test_processes_hold_one_copy_of_the_data(tmp_path):
    register_dataset(Dataset.from_tensors("shared", torch.randn(60, 2), torch.arange(60) % 2))
    train_split = get_dataset("shared").train
    assert not train_split.inputs.is_shared()
    stored(
        tmp_path,
        "there",
        [RunSpec(dataset="shared", honest=2, steps=2, batch_size=4)],
        Processes(1),
    )
    assert train_split.inputs.is_shared()


def test_ctrl_c_ends_the_processes(tmp_path, monkeypatch):
    slow = [run.model_copy(update={"steps": 100_000}) for run in RUNS]
    started = []

    def interrupt(runs):
        started.extend(torch.multiprocessing.active_children())
        raise KeyboardInterrupt

    executor = Processes(2, threads=1)
    outcomes = executor.run(iter([slow[:2], slow[2:4]]), Supplies.of(slow), interrupt)
    with pytest.raises(KeyboardInterrupt):
        next(outcomes)
    assert len(started) == 2
    deadline = time.monotonic() + 30
    while any(process.is_alive() for process in started) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(process.is_alive() for process in started)


def test_trouble_with_showing_progress_fails_no_run(tmp_path):
    class Broken(Watch):
        def progress(self, runs):
            raise BrokenPipeError

    with Store(tmp_path / "results.db") as store:
        with pytest.raises(BrokenPipeError):
            run_sweep(RUNS, store, watch=Broken())
        assert store.failed().empty
        assert store.claims().empty


@pytest.mark.parametrize("jobs", [0, -1])
def test_processes_are_at_least_one(jobs):
    with pytest.raises(PrivRobustError, match=f"jobs: {jobs} is not accepted: at least 1"):
        Processes(jobs)


def test_a_cluster_that_cannot_run_a_task(ray):
    with pytest.raises(PrivRobustError, match="no task of 1 CPUs and 8 GPUs fits a node"):
        OnRay("local", gpus=8)


def test_a_cluster_says_what_it_has(ray):
    assert re.fullmatch(r"1 node of \d+ CPUs and \d+ GPUs", ray.has())


def test_ray_is_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(PrivRobustError, match=r"pip install 'privrobust\[ray\]'"):
        OnRay("local")
