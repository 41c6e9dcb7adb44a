"""Which assignments give a name its value in a function or a module of source that is only read."""

import ast
from collections.abc import Iterator, Mapping, Sequence

Assignment = ast.Assign | ast.AnnAssign
_LOOPS = ast.For | ast.AsyncFor | ast.While
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def bindings(scope: ast.AST) -> dict[str, list[Assignment | None]]:
    """Return by name what binds it in a scope, in order.

    That is plain assignments, one name each; None stands for whatever else may bind it: parameters,
    loops, deletions.
    """
    found: dict[str, list[Assignment | None]] = {}
    if isinstance(scope, FUNCTIONS):
        arguments = scope.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        for parameter in (*every, arguments.vararg, arguments.kwarg):
            if parameter is not None:
                found.setdefault(parameter.arg, []).append(None)
    for node in _within(scope):
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)])
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr())
            ):
                found.setdefault(name, []).append(node)
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


def last_before(
    bound: Sequence[Assignment | None],
    node: ast.AST | None,
    scope: ast.AST,
    parents: Mapping[ast.AST, ast.AST],
) -> Assignment | None:
    """Return the assignment that holds where a node of the same scope stands; None if unsure.

    It is the last before the node, if whoever comes to the node has passed it.

    Args:
        bound: as from `bindings`, of one name.
        node: None for the end of the scope, where functions within it look names up.
        scope: the function or module.
        parents: what each node is part of.

    """
    plain = [each for each in bound if each is not None]
    if len(plain) < len(bound):
        return None
    before = plain
    if node is not None:
        start = (getattr(node, "lineno", 0), getattr(node, "col_offset", 0))
        before = [each for each in plain if _end(each) <= start]
    last = max(before, key=_end, default=None)
    if last is None:
        return None
    way = [] if node is None else list(_way(node, scope, parents))
    block = parents[last]
    if block is not scope and not any(_in_one_list(block, last, each) for each in way):
        return None
    loops = {each for each in way if isinstance(each, _LOOPS)} - set(_way(last, scope, parents))
    later = set(plain) - set(before)
    if any(not loops.isdisjoint(_way(each, scope, parents)) for each in later):
        return None  # it may come back around
    return last


def _way(node: ast.AST, scope: ast.AST, parents: Mapping[ast.AST, ast.AST]) -> Iterator[ast.AST]:
    """Yield a node, and what it is part of up to its scope."""
    while node is not scope:
        yield node
        node = parents[node]


def _in_one_list(block: ast.AST, *nodes: ast.AST) -> bool:
    """Tell whether statements follow each other in a block: not one in `if`, one in `else`."""
    return any(
        isinstance(statements, list)
        and all(any(each is node for each in statements) for node in nodes)
        for _, statements in ast.iter_fields(block)
    )


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
