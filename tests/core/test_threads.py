"""One layer of threads: torch's or ours, and results that do not know how many."""

import threading
from collections.abc import Callable

import pytest
import torch

from privrobust.core.threads import in_threads, one_layer_of_threads
from privrobust.core.threads import threads as in_use


@pytest.mark.parametrize("count", [1, 2, 3])
def test_torch_keeps_to_the_thread_that_calls_it_and_gets_its_own_back(
    count: int, threads: Callable[[int], None]
) -> None:
    threads(count)
    with one_layer_of_threads():
        assert (torch.get_num_threads(), in_use()) == (1, count)
        with one_layer_of_threads():
            assert (torch.get_num_threads(), in_use()) == (1, count)
        assert torch.get_num_threads() == 1
    assert (torch.get_num_threads(), in_use()) == (count, count)


def test_a_task_has_no_threads_of_torch_under_it(threads: Callable[[int], None]) -> None:
    threads(2)
    in_threads([lambda: torch.ones(1 << 20).sum()] * 4)  # whose threads may have had two
    found: dict[int, int] = {}
    both = threading.Barrier(2, timeout=30)

    def look() -> None:
        both.wait()
        torch.ones(1 << 20).sum()
        found[threading.get_ident()] = torch.get_num_threads()

    with one_layer_of_threads():
        in_threads([look, look])
    assert len(found) == 2
    assert set(found.values()) == {1}


def test_a_failed_task_ends_the_others_before_it_is_told(
    threads: Callable[[int], None],
) -> None:
    threads(2)
    both, done = threading.Barrier(2, timeout=30), []

    def fail() -> None:
        both.wait()
        raise ValueError("of a task")

    def work() -> None:
        both.wait()
        threading.Event().wait(0.05)
        done.append("a long one")

    with pytest.raises(ValueError, match="of a task"):
        in_threads([fail, work, lambda: done.append("one that had not begun")])
    assert done[:1] == ["a long one"]
