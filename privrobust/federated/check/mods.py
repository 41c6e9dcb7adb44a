"""Which mods clients have, in source that is only read: `mods=[...]` of an app or a handler."""

import ast
from collections.abc import Sequence

from privrobust.federated.check.source import Call, Module, Source

_KNOWN = ("flwr.", "privrobust.")


def is_among_mods(calls: Sequence[Call], source: Source, *names: str) -> bool | None:
    """Tell whether some `mods=[...]` has one of these; None where some list cannot be read."""
    is_sure = True
    for call in calls:
        node = (call.arguments() or {}).get("mods")
        if node is None:
            continue
        listed, module = source.resolved(node, call.module)
        if not isinstance(listed, ast.List | ast.Tuple):
            is_sure = False
            continue
        for each in listed.elts:
            mod, home = source.resolved(each, module)
            full = home.dotted(mod.func if isinstance(mod, ast.Call) else mod) or ""
            if full.rpartition(".")[2] in names or _uses(full, home, source, names):
                return True
            is_sure = is_sure and full.startswith(_KNOWN)
    return False if is_sure else None


def _uses(full: str, module: Module, source: Source, names: tuple[str, ...]) -> bool:
    """Tell whether a mod is a function of the app that makes use of one of these."""
    function, home = source.defined(full, module)
    if function is None:
        return False
    used = (home.dotted(node) or "" for node in ast.walk(function))
    return any(name.rpartition(".")[2] in names for name in used)
