"""What `privrobust list` shows of something that a spec may name."""

from collections.abc import Mapping
from dataclasses import MISSING
from typing import Any


class Entry(str):
    """Lines for people, which remember what they say: `alie(z=None)`, what it is, remarks."""

    facts: dict[str, Any]
    """The same for programs: `name`, `parameters` (`name`, and `default` if any), `about`."""

    def __new__(
        cls, name: str, about: str, remarks: str = "", parameters: Mapping[str, Any] | None = None
    ) -> "Entry":
        """Write the entry.

        Args:
            name: as a spec has it.
            about: what it is, in one line.
            remarks: what else to know, such as the paper.
            parameters: their defaults, `MISSING` where there is none.

        """
        defaults = parameters or {}
        call = ", ".join(
            each if default is MISSING else f"{each}={default!r}"
            for each, default in defaults.items()
        )
        lines = [f"{name}({call})" if call else name, f"    {about}"]
        made = super().__new__(cls, "\n".join(lines + [f"    {remarks}"] * bool(remarks)))
        made.facts = {
            "name": name,
            "parameters": [
                {"name": each} if default is MISSING else {"name": each, "default": default}
                for each, default in defaults.items()
            ],
            "about": about,
            "remarks": remarks or None,
        }
        return made
