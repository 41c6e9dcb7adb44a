"""Python source of others, read and never run: which calls it has, and with what values.

Values are literals, arithmetic of them, names that are assigned on every way to where they stand,
and keys of a run's configuration. All else is `Unknown`, which becomes a question.
"""

import ast
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from privrobust.errors import SpecError, in_short, shown
from privrobust.federated.check.names_bound import FUNCTIONS, Assignment, bindings, last_before
from privrobust.federated.check.unknown import Unknown

_MOST_BYTES = 1_000_000
_MOST_MODULES = 100
_DEEPEST = 40
_CONVERSIONS: Mapping[str, Callable[[Any], object]] = {"float": float, "int": int, "bool": bool}
_OPERATIONS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: math.pow,
}


@dataclass(frozen=True, eq=False)
class Module:
    """One file."""

    name: str
    """Dotted, from the folder of the app."""
    path: Path
    tree: ast.Module
    _bindings: dict[ast.AST, dict[str, list[Assignment | None]]] = field(default_factory=dict)

    @cached_property
    def parents(self) -> dict[ast.AST, ast.AST]:
        """What each node is part of."""
        return {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}

    @cached_property
    def imports(self) -> dict[str, str]:
        """By local name, what it is: `np` is `numpy`, `FedAvg` is `flwr.serverapp...FedAvg`."""
        found: dict[str, str] = {}
        for node in ast.walk(self.tree):
            match node:
                case ast.Import(names=names):
                    for each in names:
                        root = each.name.partition(".")[0]
                        found[each.asname or root] = each.name if each.asname else root
                case ast.ImportFrom(names=names):
                    base = self._base(node)
                    for each in names:
                        found[each.asname or each.name] = f"{base}.{each.name}".lstrip(".")
        return found

    def _base(self, node: ast.ImportFrom) -> str:
        """Return the module that `from ... import` names, relative ones from the folder."""
        parts = self.name.split(".") if node.level else []
        up = node.level - (self.path.name == "__init__.py")
        parts = parts[: max(0, len(parts) - up)]
        return ".".join([*parts, *([node.module] if node.module else [])])

    def dotted(self, node: ast.AST) -> str | None:
        """Return the full name of what a name or an attribute stands for, None of anything else."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return None
        return ".".join([self.imports.get(node.id, node.id), *parts[::-1]])

    def enclosing(self, node: ast.AST) -> Iterator[ast.AST]:
        """Yield what a node is part of, from the inside."""
        while node in self.parents:
            node = self.parents[node]
            yield node

    def assignment(self, node: ast.Name) -> tuple[bool, Assignment | None]:
        """Return whether this module binds a name that stands there, and by which assignment."""
        around = [each for each in self.enclosing(node) if isinstance(each, FUNCTIONS)]
        for place, scope in enumerate([*around, self.tree]):
            bound = self.bound(scope, node.id)
            if bound:
                at = node if place == 0 else None
                return True, last_before(bound, at, scope, self.parents)
        return False, None

    def bound(self, scope: ast.AST, name: str) -> list[Assignment | None]:
        """Return what binds a name in a scope, as `bindings` does."""
        if scope not in self._bindings:
            self._bindings[scope] = bindings(scope)
        return self._bindings[scope].get(name, [])


@dataclass(frozen=True, eq=False)
class Call:
    """A call, in its module."""

    name: str
    """Full, as far as imports tell: `flwr.clientapp.mod.LocalDpMod`."""
    node: ast.Call
    module: Module

    @property
    def where(self) -> str:
        """The file and the line."""
        inside = "/__init__" if self.module.path.name == "__init__.py" else ""
        return f"{self.module.name.replace('.', '/')}{inside}.py, line {self.node.lineno}"

    def arguments(self, names: tuple[str, ...] = ()) -> dict[str, ast.expr] | None:
        """Return its arguments by name; None where it has `*` or `**`.

        Args:
            names: what its positional parameters are called.

        """
        starred = any(isinstance(each, ast.Starred) for each in self.node.args)
        if starred or any(each.arg is None for each in self.node.keywords):
            return None
        given = dict(zip(names, self.node.args, strict=False))
        return given | {each.arg: each.value for each in self.node.keywords if each.arg}


@dataclass(frozen=True, eq=False)
class Source:
    """The modules of a folder."""

    folder: Path
    config: Mapping[str, object] = field(default_factory=dict)
    """What `run_config[...]` has, and options of the command line by their names."""
    rounds: int | None = None
    _modules: dict[str, Module | None] = field(default_factory=dict)
    _values: dict[ast.AST, object] = field(default_factory=dict)

    def module(self, name: str) -> Module | None:
        """Read a module of the folder; None where it has none of that name.

        Raises:
            SpecError: the file is outside of the folder, too large or no Python.

        """
        if name not in self._modules:
            self._modules[name] = self._found(name)
        return self._modules[name]

    def _found(self, name: str) -> Module | None:
        parts = name.split(".")
        if not all(part.isidentifier() for part in parts):
            return None
        stem = self.folder.joinpath(*parts)
        for path in (stem.with_name(f"{stem.name}.py"), stem / "__init__.py"):
            if path.is_file():
                return parsed(path, name, self.folder)
        return None

    def reached(self, names: Iterable[str]) -> list[Module]:
        """Return these modules, and those of the folder that they import, and so on."""
        found: dict[str, Module] = {}
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            module = None if name in found else self.module(name)
            if module is None:
                continue
            found[name] = module
            if len(found) > _MOST_MODULES:
                raise SpecError(
                    f"{shown(str(self.folder), 200)}: more than {_MOST_MODULES} modules "
                    "import each other; accepted: fewer"
                )
            for full in module.imports.values():
                waiting += [full, full.rpartition(".")[0]]
        return list(found.values())

    def given(self, call: Call, names: tuple[str, ...] = ()) -> dict[str, object]:
        """Return what a call is given by name: values, or `Unknown`.

        Args:
            call: it.
            names: what its positional parameters are called.

        """
        arguments = call.arguments(names)
        if arguments is None:
            return dict.fromkeys(names, Unknown("*"))
        return {name: self.value(node, call.module) for name, node in arguments.items()}

    def value(self, node: ast.AST, module: Module, depth: int = 0) -> object:
        """Return what an expression is, or `Unknown`."""
        if node not in self._values:  # names of names of names would be found anew, twice each
            found = self._value(node, module, depth) if depth < _DEEPEST else None
            self._values[node] = Unknown(_written(node)) if found is None else found
        return self._values[node]

    def _value(self, node: ast.AST, module: Module, depth: int) -> object:
        def of(part: ast.AST) -> object:
            return self.value(part, module, depth + 1)

        match node:
            case ast.Constant(value=bool() | int() | float() | str() as value):
                return value
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                positive = of(operand)
                return -positive if isinstance(positive, int | float) else None
            case ast.BinOp(left=left, op=operation, right=right):
                return _computed(type(operation), of(left), of(right))
            case ast.Call(func=ast.Name(id=name), args=[part]) if name in _CONVERSIONS:
                return _converted(name, of(part))
            case ast.Subscript(value=holder, slice=ast.Constant(value=str(key))):
                return self.config.get(key) if self._is_config(holder, module) else None
            case ast.Call(
                func=ast.Attribute(value=holder, attr="get"),
                args=[ast.Constant(value=str(key)), *default],
            ) if self._is_config(holder, module):
                if key in self.config:
                    return self.config[key]
                return of(default[0]) if default else None
            case ast.Attribute(attr="total_rounds"):  # of what NVFlare's clients receive
                return self.rounds
            case ast.Attribute(value=ast.Name() as holder, attr=key):
                return self.config.get(key) if self._is_options(holder, module) else None
            case ast.Name():
                expression, home = self.resolved(node, module)
                return None if expression is node else self.value(expression, home, depth + 1)
        return None

    def _is_config(self, node: ast.AST, module: Module) -> bool:
        """Tell whether an expression is `context.run_config`, or a name for it."""
        node, _ = self.resolved(node, module)
        return isinstance(node, ast.Attribute) and node.attr == "run_config"

    def _is_options(self, node: ast.Name, module: Module) -> bool:
        """Tell whether a name is what `parse_args()` of an ArgumentParser returned."""
        match self.resolved(node, module)[0]:
            case ast.Call(func=ast.Attribute(attr="parse_args")):
                return True
        return False

    def resolved(self, node: ast.AST, module: Module) -> tuple[ast.AST, Module]:
        """Follow a name to the expression that it was given; itself where that cannot be told."""
        for _ in range(_DEEPEST):
            found = self._assigned(node, module) if isinstance(node, ast.Name) else None
            if found is None:
                return node, module
            node, module = found
        return node, module

    def _assigned(self, node: ast.Name, module: Module) -> tuple[ast.AST, Module] | None:
        is_bound, assignment = module.assignment(node)
        if is_bound:
            return None if assignment is None else (_right_side(assignment), module)
        home, _, name = module.imports.get(node.id, "").rpartition(".")
        other = self.module(home) if home else None
        if other is None:
            return None
        last = last_before(other.bound(other.tree, name), None, other.tree, other.parents)
        return None if last is None else (_right_side(last), other)

    def defined(
        self, full: str, module: Module
    ) -> tuple[ast.ClassDef | ast.FunctionDef | None, Module]:
        """Return the class or the function of the folder that has this full name, and its home."""
        home, _, name = full.rpartition(".")
        of = (self.module(home) if home else None) or module
        for node in of.tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
                return node, of
        return None, of


def calls(modules: Iterable[Module]) -> Iterator[Call]:
    """Yield every call of something that has a name."""
    for module in modules:
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.Call):
                continue
            name = module.dotted(node.func)
            if name is None and isinstance(node.func, ast.Attribute):
                name = f"?.{node.func.attr}"  # a method of what another call returned
            if name is not None:
                yield Call(name, node, module)


def option_defaults(of: Iterable[Call]) -> dict[str, object]:
    """Return the defaults of an ArgumentParser's options that are literals, by their names."""
    found: dict[str, object] = {}
    for call in of:
        if not call.name.endswith(".add_argument"):
            continue
        default = (call.arguments() or {}).get("default")
        match call.node.args[:1], default:
            case [ast.Constant(value=str(name))], ast.Constant(value=int() | float() as value):
                found[name.lstrip("-").replace("-", "_")] = value
    return found


def parsed(path: Path, name: str, folder: Path) -> Module:
    """Read a file of Python as a module of the folder.

    Raises:
        SpecError: it is outside of the folder, too large or no Python.

    """
    file = shown(str(path), 200)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise SpecError(f"{file} leads outside of the app; accepted: source in its folder")
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise SpecError(f"{file} is larger than {_MOST_BYTES:,} bytes; accepted: less")
        return Module(name, path, ast.parse(path.read_bytes()))
    except OSError as error:
        raise SpecError(f"{file} cannot be read ({error.strerror})") from None
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise SpecError(f"{file}{line}: not valid Python") from None


def _right_side(assignment: Assignment) -> ast.expr:
    assert assignment.value is not None
    return assignment.value


def _computed(operation: type[ast.operator], left: object, right: object) -> float | None:
    if operation not in _OPERATIONS:
        return None
    if not (isinstance(left, int | float) and isinstance(right, int | float)):
        return None
    try:
        return _OPERATIONS[operation](float(left), float(right))
    except (ArithmeticError, ValueError):
        return None


def _converted(name: str, value: object) -> object:
    if not isinstance(value, int | float | str):
        return None
    try:
        return _CONVERSIONS[name](value)
    except (ArithmeticError, ValueError):
        return None


def _written(node: ast.AST) -> str:
    try:
        return in_short(ast.unparse(node))
    except (RecursionError, ValueError):
        return "an expression"
