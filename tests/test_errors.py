"""What errors say of other people's code: what it said, where, and none of Python's words."""

import re
import sys

import pytest

from privrobust import RunSpec
from privrobust.errors import SpecError, failure, in_a_line, is_of_a_user, root, shown

HERE = "test_errors.py"


def caught(raises):
    try:
        raises()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def line_of(error):
    """The line of this file in which an error was raised, as Python's own traceback has it."""
    trace = error.__traceback__
    while trace.tb_next is not None and trace.tb_next.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return trace.tb_lineno


def looks_up():
    return {}["oops"]


def refuses():
    raise ValueError("strength is at most 3\nand at least 1")


def through_the_library():
    int("not a number")
    __import__("json").loads("{")


def opens():
    with open("/no/such/file"):
        pass


@pytest.mark.parametrize(
    ("raises", "said"),
    [
        (looks_up, "KeyError: 'oops'"),
        (refuses, "strength is at most 3"),
        (through_the_library, "invalid literal for int() with base 10: 'not a number'"),
        (opens, "No such file or directory: '/no/such/file'"),
        (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda: exec("raise RuntimeError"), "RuntimeError"),
    ],
)
def test_an_error_of_others_says_what_and_where(raises, said):
    error = caught(raises)
    assert in_a_line(error).startswith(f"{said}, ")
    if "exec" not in said and said != "RuntimeError":
        assert in_a_line(error) == f"{said}, {HERE}, line {line_of(error)}"
    assert is_of_a_user(error)


def test_the_place_is_in_the_users_file_though_the_library_raised():
    def parses():
        return __import__("json").loads("{")

    error = caught(parses)
    assert in_a_line(error).endswith(f", {HERE}, line {line_of(error)}")


def test_errors_of_ours_alone_have_no_place():
    def ours(module="privrobust.aggregators.made_up"):
        exec(compile("raise ValueError('ours')", "made_up.py", "exec"), {"__name__": module})

    error = caught(ours)
    error.__traceback__ = error.__traceback__.tb_next.tb_next  # below this file's own frames
    assert not is_of_a_user(error)
    assert in_a_line(error) == "ours"


def test_what_cannot_be_called_is_told_how_it_is_called():
    class Rule:
        def method(self):
            return None

    try:
        Rule().method(1, 2, 3)
    except TypeError as error:
        made = failure(Rule(), error, "method(self)")
    assert str(made) == "Rule: it cannot be called so; accepted: method(self)"


def test_the_root_of_an_error_is_what_users_code_raised(tmp_path, monkeypatch):
    (tmp_path / "refusing.py").write_text(
        "from privrobust.attacks import SignFlip\n"
        "class No(SignFlip):\n"
        "    def __init__(self):\n"
        "        raise ValueError('not today')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SpecError, match=r"\(not today, refusing\.py, line 4\)$") as raised:
        RunSpec(byzantine=1, attack="refusing:No")
    cause = root(raised.value)
    assert type(cause) is ValueError
    assert str(cause) == "not today"
    sys.modules.pop("refusing")


def test_an_error_that_is_raised_again_from_itself_still_has_its_root():
    def twice():
        try:
            looks_up()
        except KeyError as error:
            made = SpecError("attack: it failed")
            try:
                raise made from error
            except SpecError:
                raise made from made

    again = caught(twice)
    assert again.__cause__ is again
    assert type(root(again)) is KeyError
    alone = SpecError("alone")
    alone.__cause__ = alone
    assert root(alone) is alone


@pytest.mark.parametrize(("value", "text"), [(True, "true"), (False, "false"), (1, "1")])
def test_truth_values_are_shown_as_yaml_has_them(value, text):
    assert shown(value) == text


PYTHON = re.compile(
    r"__\w+__|\bNone(Type)?\b|\b(Type|Key|Value|Attribute|Name|Index)Error\b|Errno|positional"
    r"|\b(str|int|float|dict|bool)\b|Traceback|Input should|constructor|pydantic"
)
"""Words of Python, and of libraries, that nobody who writes a YAML has to know."""

FIELDS = sorted(RunSpec.model_fields)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", [None, [1, 2], {"a": 1}, True, "no such thing", -1, 10**30, ""])
def test_no_field_answers_in_pythons_words(field, value):
    try:
        RunSpec(**{field: value})
    except SpecError as error:
        text = str(error)
        assert len(text.splitlines()) == 1
        assert not PYTHON.search(text.replace(shown(value), "")), text
        assert field in text.partition(":")[0], text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataset": "table"}, r"^dataset: table needs path and label; accepted: table\("),
        ({"dataset": "table(path='a.csv')"}, "^dataset: table needs label; accepted: table"),
        ({"dataset": {"name": "table", "path": None, "label": "y"}}, "Table.path: nothing is giv"),
        ({"dataset": "table(path=3, label='y')"}, "Table.path: 3 is not text$"),
        ({"sampling": "poison"}, r"'poison' is not accepted: .*; did you mean 'poisson'\?$"),
        ({"steps": 10**30}, "steps: .* is not accepted: at most 1000000000$"),
        ({"delta": 1}, "delta: 1 is not accepted: below 1$"),
        ({"device": "gpu"}, "device: 'gpu' is not accepted: auto, cpu, cuda or cuda:1$"),
        ({"attack": 3, "byzantine": 1}, "attack: 3 is not accepted: a name, or a name with its"),
        ({"steps": None}, "^steps: nothing is given; accepted: a whole number$"),
    ],
)
def test_mistakes_are_answered_in_the_suites_own_words(settings, message):
    with pytest.raises(SpecError, match=message):
        RunSpec(**settings)
