"""How an epsilon counts tuning, in words: one place for all that prints one.

>>> counted("constant(count=5)").partition(", ")[2]
'with repeats constant(count=5): the choice of each run among so many, all of which may be seen.'
"""

from collections.abc import Iterable, Iterator

NOT_COUNTED = "Not counted: settings that were tuned on private data."
_NOT_COUNTED_ELSEWHERE = "Not counted, without repeats: settings that were tuned on private data."


def counted(law: str) -> str:
    """Say what is counted with `repeats` of that law."""
    if law.startswith("constant"):  # a store may hold any text
        among = "so many, all of which may be seen"
    else:
        among = (
            "a random number, by validation data, which epsilon does not protect; against "
            "outsiders alone, who see nothing of the others"
        )
    return f"Counted, with repeats {law}: the choice of each run among {among}."


def about_tuning(repeats: Iterable[object]) -> Iterator[str]:
    """Say what is counted, law by law, and whether some is not.

    Args:
        repeats: the law of each run or release; no text where there is none.

    """
    every = list(dict.fromkeys(repeats))
    laws = [law for law in every if isinstance(law, str)]
    yield from map(counted, laws)
    if len(laws) < len(every):
        yield _NOT_COUNTED_ELSEWHERE if laws else NOT_COUNTED
