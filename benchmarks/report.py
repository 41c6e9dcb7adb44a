"""Runs benchmarks and writes what they measured into benchmarks/README.md.

python benchmarks/report.py [section ...] [--page FILE]

Sections: engine, sweeps, stores, startup, steps, noise, kernels, lanes, library, accounting; all
by default.
"""

import argparse
import os
import platform
from collections.abc import Sequence
from datetime import date
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

README = Path(__file__).parent / "README.md"
SECTIONS = (
    "engine",
    "sweeps",
    "stores",
    "startup",
    "steps",
    "noise",
    "kernels",
    "lanes",
    "library",
    "accounting",
)
PEERS = ("torch", "numpy", "opacus", "dp-accounting", "numba", "cryptography", "byzfl", "byzpy")


def where() -> str:
    """Name the machine and the versions."""
    found = []
    for name in PEERS:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    threads = f"{torch.get_num_threads()} threads on {os.cpu_count()} cores if nothing else is said"
    return f"{date.today()}, {platform.machine()} ({processor()}), {threads}; {', '.join(found)}."


def processor() -> str:
    """Its name, where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def replaced(text: str, section: str, measured: str) -> str:
    """Return the page with a section's part between its marks measured anew.

    Raises:
        ValueError: it has no such marks.

    """
    start, end = f"<!-- {section} -->", f"<!-- end of {section} -->"
    before, starts, rest = text.partition(start)
    _, ends, after = rest.partition(end)
    if not (starts and ends):
        raise ValueError(f"the page has no {start} with {end} after it")
    return f"{before}{start}\n{where()}\n\n{measured}\n{end}{after}"


def write(page: Path, section: str, measured: str) -> None:
    """Into the page, between the section's marks."""
    text = replaced(page.read_text(encoding="utf-8"), section, measured)
    page.write_text(text, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sections", nargs="*", metavar="section", help=", ".join(SECTIONS))
    parser.add_argument("--page", type=Path, default=README, help="a page with the same marks")
    asked = parser.parse_args(arguments)
    for section in asked.sections:
        if section not in SECTIONS:
            parser.error(f"{section!r} is no benchmark; accepted: {', '.join(SECTIONS)}")
    for section in asked.sections or SECTIONS:
        measured = import_module(section).report()
        print(f"{section}\n\n{measured}\n")
        write(asked.page, section, measured)


if __name__ == "__main__":
    main()
