"""Ray: the same batches as tasks on one machine or many.

Scheduling, graphics cards by fractions, retries and the loss of nodes are Ray's. The data travels
once a node, into its object store, where tasks read it without a copy.
"""

import os
import socket
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from typing import Any
from uuid import uuid4

import numpy as np
import torch

from privrobust.data import Dataset, Split
from privrobust.errors import PrivRobustError, shown
from privrobust.spec import RunSpec
from privrobust.sweeps.executors.base import OnProgress, Outcome, Supplies, halves, train_batch

_RETRIES = 3  # of a task whose process or node was lost
_AHEAD = 2  # batches waiting in Ray for each that it can run at once


def _refuse_unreachable(address: str) -> None:
    """Refuse an address that does not answer: Ray would try for minutes, whoever interrupts it."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_REACHABLE_SECONDS).close()
    except OSError as error:
        raise PrivRobustError(f"ray: {shown(address)} cannot be reached ({error})") from None


_REACHABLE_SECONDS = 10.0
_SPLITS = ("train", "validation", "test")


class OnRay:
    """An executor of Ray tasks.

    Args:
        address: of a cluster ("auto" finds one that this machine belongs to), or "local" to start
            Ray here.
        cpus: cores, and torch threads, a task.
        gpus: graphics cards a task; a fraction shares one.

    Raises:
        PrivRobustError: Ray is missing, there is no cluster at that address, or no node of it has
            what a task asks for.

    """

    def __init__(self, address: str, cpus: int = 1, gpus: float = 0.0) -> None:
        try:
            import ray
        except ImportError:
            raise PrivRobustError(
                "ray: needs the package ray: pip install 'privrobust[ray]'"
            ) from None
        self._ray: Any = ray
        self._cpus, self._gpus = cpus, gpus
        self._connect(address)
        self.at_once = self._slots()

    def _connect(self, address: str) -> None:
        if self._ray.is_initialized():
            return
        _refuse_unreachable(address)
        here = {} if address != "local" else {"include_dashboard": False}
        path = os.pathsep.join(each or os.getcwd() for each in sys.path)
        try:
            self._ray.init(
                address=address,
                runtime_env={"env_vars": {"PYTHONPATH": path}},
                log_to_driver=False,
                logging_level="ERROR",
                **here,
            )
        except Exception as error:  # whatever the network does
            problem = " ".join(str(error).split())
            raise PrivRobustError(f"ray: {shown(address)} cannot be reached ({problem})") from None

    def run(
        self, batches: Iterable[list[RunSpec]], supplies: Supplies, on_progress: OnProgress
    ) -> Iterator[Outcome]:
        """Train as `Executor.run`.

        Raises:
            PrivRobustError: something that was registered cannot travel.

        """
        ray = self._ray
        supplies.check()
        packed = {place: _packed(dataset) for place, dataset in supplies.datasets.items()}
        shipped = ray.put((uuid4().hex, packed, supplies.registered, supplies.layer_rules))
        task = ray.remote(num_cpus=self._cpus, num_gpus=self._gpus, max_retries=_RETRIES)(_train)
        room = _AHEAD * self.at_once
        under_way: dict[Any, Sequence[RunSpec]] = {}
        fresh = iter(batches)
        try:
            while True:
                while len(under_way) < room and (batch := next(fresh, None)):
                    under_way[task.remote(batch, shipped, self._cpus)] = batch
                if not under_way:
                    return
                [ended], _ = ray.wait(list(under_way))
                specs = under_way.pop(ended)
                try:
                    outcomes = ray.get(ended)
                except ray.exceptions.RayError as error:
                    if len(specs) > 1:
                        for half in halves(specs):
                            under_way[task.remote(half, shipped, self._cpus)] = half
                        continue
                    reason = str(error).splitlines()[0]
                    outcomes = [Outcome(specs, reason=reason, details=str(error))]
                on_progress(float(len(specs)))
                yield from outcomes
        finally:
            for unfinished in under_way:
                ray.cancel(unfinished, force=True)

    def has(self) -> str:
        """Say which nodes are in the cluster, and what they have."""
        kinds = Counter(
            f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in self._nodes()
        )
        return ", ".join(
            f"{count} node{'s' * (count > 1)} of {kind}" for kind, count in kinds.items()
        )

    def close(self) -> None:
        """Leave the cluster, or end the one that was started here."""
        self._ray.shutdown()

    def _slots(self) -> int:
        """Return how many tasks the cluster can run at once."""
        nodes = self._nodes()
        slots = sum(self._slots_of(node) for node in nodes)
        if slots < 1:
            has = ", ".join(f"{node.get('CPU', 0):g} and {node.get('GPU', 0):g}" for node in nodes)
            raise PrivRobustError(
                f"ray: no task of {self._cpus} CPUs and {self._gpus:g} GPUs fits a node; "
                f"they have {has}"
            )
        return slots

    def _nodes(self) -> list[dict[str, float]]:
        """Return the resources of every node that is up."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _slots_of(self, node: dict[str, float]) -> int:
        slots = node.get("CPU", 0) // self._cpus
        return int(min(slots, node.get("GPU", 0) // self._gpus) if self._gpus else slots)


_installed: set[str] = set()


def _train(specs: list[RunSpec], shipped: tuple[str, Any, Any, Any], threads: int) -> list[Outcome]:
    """Train a batch where Ray has sent it: what a task does."""
    torch.set_num_threads(threads)
    name, packed, registered, layer_rules = shipped
    if name not in _installed:  # Ray's processes train one batch after the other
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # such memory is read-only, as it should be
            unpacked = {place: _unpacked(arrays) for place, arrays in packed.items()}
        Supplies(unpacked, registered, layer_rules).install()
        _installed.add(name)
    return list(train_batch(specs, lambda runs: None))


def _packed(dataset: Dataset) -> dict[str, Any]:
    """Return a dataset as arrays, which Ray's processes share."""
    of_dataset = {each.name: getattr(dataset, each.name) for each in fields(Dataset)}
    for name in _SPLITS:
        of_split = {each.name: getattr(of_dataset[name], each.name) for each in fields(Split)}
        of_dataset[name] = {
            key: value.numpy() if isinstance(value, torch.Tensor) else value
            for key, value in of_split.items()
        }
    return of_dataset


def _unpacked(packed: dict[str, Any]) -> Dataset:
    return Dataset(**packed | {name: _split(packed[name]) for name in _SPLITS})


def _split(packed: dict[str, Any]) -> Split:
    fields: dict[str, Any] = {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in packed.items()
    }
    return Split(**fields)
