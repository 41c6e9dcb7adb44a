"""Histories for TensorBoard.

Its event files are read by other trackers too (MLflow and Weights & Biases import them), and torch
keeps the writer.
"""

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from privrobust.core.escaping import in_terminal
from privrobust.errors import PrivRobustError, shown
from privrobust.reporting.neighbours import adjacencies
from privrobust.spec.run_fields import FIELDS

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from privrobust.store import Store

_KEY = re.compile(r"[0-9a-f]{32}")
_RESULTS = (
    "accuracy",
    "final_loss",
    "kappa",
    "calibration_error",
    "attack_success_rate",
    "train_accuracy",
    "train_loss",
    "worst_class_accuracy",
    "worst_worker_accuracy",
    "epsilon",
)


def to_tensorboard(store: "Store", folder: Path) -> int:
    """Write every finished run: its history as scalars, its spec and results as hyperparameters.

    Beside them stands the `adjacency` for which its epsilon holds.

    Args:
        store: of the runs.
        folder: a folder a run is made in it, named by the run's key; those there are kept.

    Returns:
        How many runs were written.

    Raises:
        PrivRobustError: tensorboard is missing, or the folder cannot be written.

    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise PrivRobustError(
            "tensorboard: needs the package tensorboard: pip install 'privrobust[tensorboard]'"
        ) from None
    runs = store.runs()
    runs["adjacency"] = adjacencies(runs)
    runs = runs[runs["status"] == "done"]
    written = 0
    for key, row in runs.iterrows():
        if not _KEY.fullmatch(str(key)):  # of a stranger's store, it may name another folder
            raise PrivRobustError(f"store: {shown(key)} is no key of a run, which names a folder")
        place = folder / str(key)
        if place.exists():
            continue
        part = folder / f"{key}.part"
        try:
            shutil.rmtree(part, ignore_errors=True)
            with SummaryWriter(str(part)) as writer:
                _write(writer, row, store.history(str(key)))
            part.rename(place)  # a run is there whole or not at all
        except OSError as error:
            raise PrivRobustError(
                f"tensorboard: {place} cannot be written ({error.strerror or error})"
            ) from None
        written += 1
    return written


def _write(writer: "SummaryWriter", row: pd.Series, history: pd.DataFrame) -> None:
    """Write one run."""
    for column in history.columns.drop("step"):
        for step, value in zip(history["step"], history[column], strict=True):
            if pd.notna(value):
                writer.add_scalar(column, value, step)
    settings = {
        field: value if isinstance(value, bool | int | float) else in_terminal(str(value))
        for field, value in row[[*FIELDS, "adjacency"]].items()
    }
    results = {f"final/{name}": float(row[name]) for name in _RESULTS if pd.notna(row[name])}
    writer.add_hparams(settings, results, run_name=".")
