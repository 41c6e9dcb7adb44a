"""Runs benchmarks and writes what they measured into benchmarks/README.md.

python benchmarks/report.py [section ...]

Sections: engine, sweeps, stores, steps, kernels, lanes, library, accounting; all by default.
"""

import os
import platform
import sys
from datetime import date
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

README = Path(__file__).parent / "README.md"
SECTIONS = ("engine", "sweeps", "stores", "steps", "kernels", "lanes", "library", "accounting")
PEERS = ("torch", "numpy", "opacus", "dp-accounting", "byzfl", "byzpy")


def where() -> str:
    """The machine and the versions."""
    found = []
    for name in PEERS:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    threads = f"{torch.get_num_threads()} threads on {os.cpu_count()} cores"
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
    """The page with a section's part between its marks measured anew."""
    start, end = f"<!-- {section} -->", f"<!-- end of {section} -->"
    before, _, rest = text.partition(start)
    _, _, after = rest.partition(end)
    return f"{before}{start}\n{where()}\n\n{measured}\n{end}{after}"


def main() -> None:
    sections = sys.argv[1:] or list(SECTIONS)
    unknown = [section for section in sections if section not in SECTIONS]
    if unknown:
        sys.exit(f"{unknown[0]!r} is no benchmark; accepted: {', '.join(SECTIONS)}")
    for section in sections:
        measured = import_module(section).report()
        print(f"{section}\n\n{measured}\n")
        README.write_text(replaced(README.read_text(), section, measured))


if __name__ == "__main__":
    main()
