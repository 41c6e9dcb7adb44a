"""Which reader a configuration is for, by what is there."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from privrobust.errors import SpecError, shown
from privrobust.federated.check.claims import Reading
from privrobust.federated.check.findings import Finding
from privrobust.federated.check.flower_app import FILE, read_flower_app
from privrobust.federated.check.nvflare_job import is_configuration, read_nvflare_job
from privrobust.federated.check.verdicts import findings


@dataclass(frozen=True)
class Checked:
    """What was read, and what holds of it."""

    reading: Reading
    findings: tuple[Finding, ...]


def check(path: Path, changes: Sequence[str] = ()) -> Checked:
    """Read a configuration, and say what holds of its claims. Nothing in it is run.

    Args:
        path: a Flower app or its pyproject.toml, an NVFlare job or a configuration in it, or a YAML
            file of our runs.
        changes: answers, `name=value`.

    Raises:
        SpecError: it is none of these, or says what cannot be.

    """
    reading = _read(path, changes)
    return Checked(reading, tuple(findings(reading.claims)))


def _read(path: Path, changes: Sequence[str]) -> Reading:
    if path.suffix == ".toml" or (path.is_dir() and (path / FILE).exists()):
        return read_flower_app(path, changes)
    if path.is_dir() or is_configuration(path) or path.suffix in (".json", ".conf"):
        return read_nvflare_job(path, changes)
    if path.suffix in (".yaml", ".yml"):
        from privrobust.federated.check.own_spec import read_own_spec  # loads what runs need

        return read_own_spec(path, changes)
    there = "is not read here" if path.exists() else "is not there"
    raise SpecError(
        f"{shown(str(path), 200)} {there}; accepted: a Flower app, an NVFlare job, or a YAML file "
        "of runs"
    )
