"""Which assignments give a name its value in a function or a module of source that is only read."""

import ast
from collections.abc import Iterator

Assignment = ast.Assign | ast.AnnAssign
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def bindings(scope: ast.AST) -> dict[str, list[Assignment | None]]:
    """Return by name what binds it in a scope, in order.

    That is plain assignments, one name each, that are passed whenever the scope is; None stands for
    whatever else may bind it: parameters, loops, branches, deletions.
    """
    found: dict[str, list[Assignment | None]] = {}
    if isinstance(scope, FUNCTIONS):
        arguments = scope.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        for parameter in (*every, arguments.vararg, arguments.kwarg):
            if parameter is not None:
                found.setdefault(parameter.arg, []).append(None)
    body = getattr(scope, "body", None)
    passed = {id(each) for each in body} if isinstance(body, list) else set()
    for node in _within(scope):
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)])
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr())
            ):
                found.setdefault(name, []).append(node if id(node) in passed else None)
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                found.setdefault(name, []).append(None)
            case (
                ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
                | ast.ExceptHandler(name=str(name))
            ):
                found.setdefault(name, []).append(None)
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                for name in names:
                    found.setdefault(name, []).append(None)
    return found


def last_before(bound: list[Assignment | None], node: ast.AST | None) -> Assignment | None:
    """Return the assignment that holds where a node of the same scope stands; None if unsure.

    Args:
        bound: as from `bindings`, of one name.
        node: None for the end of the scope, where functions within it look names up.

    """
    plain = [each for each in bound if each is not None]
    if len(plain) < len(bound):
        return None
    if node is not None:
        start = (getattr(node, "lineno", 0), getattr(node, "col_offset", 0))
        plain = [each for each in plain if _end(each) <= start]
    return max(plain, key=_end, default=None)


def _end(node: Assignment) -> tuple[int, int]:
    return node.end_lineno or node.lineno, node.end_col_offset or 0


def _within(scope: ast.AST) -> Iterator[ast.AST]:
    """Yield what is in a scope, and in no function or class within it, in order."""
    waiting = list(ast.iter_child_nodes(scope))[::-1]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, FUNCTIONS | ast.ClassDef):
            continue
        children = list(ast.iter_child_nodes(node))
        match node:
            case (
                ast.Assign(targets=[ast.Name() as target])
                | ast.AnnAssign(target=ast.Name() as target)
            ):
                children.remove(target)  # counted with the assignment
        waiting += children[::-1]
