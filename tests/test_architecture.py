"""Rooms: who may import from whom, as docs/architecture.md says, and how long a module may be.

And what is written of modules and files: each that is named is there.
"""

import ast
import io
import re
import tokenize
import tomllib

import pytest
from rooms import PICTURE, ROOT, arrows, imported, modules, order, reduced, room, svg

MOST_LINES = 400  # tests may be longer
MODULES = modules()
FOLDERS = ("accountants", "attacks", "benchmarks", "docs", "experiments", "privrobust", "tests")
WRITTEN = sorted(
    path
    for within in [ROOT.glob("*.*"), *(ROOT.joinpath(folder).rglob("*.*") for folder in FOLDERS)]
    for path in within
    if path.suffix in {".md", ".py", ".yaml"}
)
# Of readers and of other libraries.
ELSEWHERE = {"benchmark/train.py", "examples/mnist.py", "mine.py", "my_module.py"}


def test_the_page_lists_every_room():
    assert sorted(order()) == sorted({room(name) for name in MODULES} - {""})


@pytest.mark.parametrize("name", [name for name in MODULES if name])
def test_a_module_imports_from_rooms_above_it_alone(name):
    above = order()[: order().index(room(name)) + 1]
    assert [each for each in imported(MODULES[name]) if room(each) not in above] == []


def test_the_picture_is_of_these_imports():
    assert PICTURE.read_text(encoding="utf-8") == svg(reduced(arrows())), "python docs/rooms.py"


def test_what_the_page_names_is_there():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:accountants|attacks|privrobust|tests|training)/[\w/.]+)`", page)
    places = [f"privrobust/{each}" if each.startswith("training/") else each for each in named]
    assert len(places) > 20
    # a room that grows from a module to a folder keeps its name
    assert [each for each in places if not any(ROOT.glob(f"{each}*"))] == []


def test_no_module_is_long():
    lines = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in WRITTEN
        if path.suffix == ".py" and ROOT / "tests" not in path.parents
    }
    assert [name for name, count in lines.items() if count > MOST_LINES] == []


def test_every_room_is_installed():
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    packages = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    assert sorted(stated) == sorted(f"privrobust.{name}".rstrip(".") for name in packages)


def words(path):
    """Return what people read in a file: of Python docstrings and comments."""
    text = path.read_text(encoding="utf-8")
    if path.name == "CHANGELOG.md":
        return re.sub(r"(?m)^ *\|[^|]*", "", text)  # in the first column is what was
    if path.suffix != ".py":
        return text
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    said = [token.string for token in tokens if token.type == tokenize.COMMENT]
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(docstring))):
                said.append(docstring)
    return "\n".join(said)


def offered(module):
    """Yield the names of a module, those that it exports lazily among them."""
    for statement in ast.parse(MODULES[module].read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.ClassDef | ast.FunctionDef):
            yield statement.name
            continue
        for node in ast.walk(statement):
            match node:
                case ast.Name(id=name, ctx=ast.Store()) | ast.alias(asname=str(name)):
                    yield name
                case ast.alias(name=name) | ast.Constant(value=str(name)):
                    yield name


def is_there(name):
    """Whether a dotted name is a module of the package, or something in one."""
    parts = name.split(".")[1:]
    of_module = max(at for at in range(len(parts) + 1) if ".".join(parts[:at]) in MODULES)
    rest = parts[of_module:]
    return not rest or rest[0] in offered(".".join(parts[:of_module]))


def test_modules_that_are_named_are_there():
    gone = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in WRITTEN
        for name in set(re.findall(r"\bprivrobust(?:\.\w+)+", words(path)))
        if not is_there(name)
    }
    assert not gone


def test_python_files_that_are_named_are_there():
    """By their path, or the end of it where the folder is plain."""
    files = [f"/{path.relative_to(ROOT)}" for path in WRITTEN]
    gone = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in WRITTEN
        for name in set(re.findall(r"[\w./-]*\w\.py\b", words(path))) - ELSEWHERE
        if not any(file.endswith(f"/{name.lstrip('./')}") for file in files)
    }
    assert not gone


def test_one_module_alone_asks_for_another_by_its_name():
    """What is imported by a name in a text, no other test of imports sees."""
    asked = {
        (name, node.args[0].value)
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith("import_module")
        and isinstance(node.args[0], ast.Constant)
        and node.args[0].value.startswith("privrobust")
    }
    assert asked == {("core.displayed", "privrobust.reporting.notebook")}
