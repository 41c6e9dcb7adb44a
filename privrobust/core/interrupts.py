"""What SIGINT (Ctrl-C), SIGTERM and SIGHUP mean: to a command, one line and the end in a second.

The first that comes decides the word and the exit code, 128 and its number, as shells have it; more
of them change nothing. It is raised in the main thread, so that claims are given back and processes
end. Python raises only between two of its instructions, and other people's code may swallow what is
raised: where the command has not ended in a moment, a thread ends it.

Who imports privrobust keeps the handlers that are there.
"""

import atexit
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from privrobust.core.window import columns_of, wrapped

_WORDS = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "terminated",
    signal.SIGHUP: "hung up",
}
SIGNALS = tuple(_WORDS)

_CLOSING_SECONDS = 0.4  # for what was under way to be given back
_SAYING_SECONDS = 0.2  # for the store to be read, where that was not enough

_CLEAN_LINE = b"\r\x1b[K\x1b[?25h"  # of a terminal: without ^C or half a bar, with a cursor


class Interrupted(BaseException):
    """Ends a command. No KeyboardInterrupt, which libraries answer in ways of their own."""


class _Command:
    """A process that is the command and nothing else: this one."""

    def __init__(self) -> None:
        self.last_words: Callable[[], str] = str
        self._first = signal.SIGINT
        self._came = threading.Event()
        self._is_raised = self._is_leaving = False
        self._saying = threading.Lock()

    def run(self, work: Callable[[], object]) -> NoReturn:
        """Work, and end the process with the exit code of that or of a signal.

        Python's own way out takes up to seconds when torch is loaded, in which it answers signals
        with tracebacks: there is none.
        """
        code = 1
        try:
            self._listen()
            code = _code_of(work)
            if sys.stdout is not None:
                sys.stdout.flush()
            self._is_leaving = True
            atexit._run_exitfuncs()
        except KeyboardInterrupt:  # before there was a handler
            self._is_leaving = True
            self._came.set()
        except BrokenPipeError:  # nobody reads on
            self._is_leaving = True
            code = 1
        except BaseException:
            self._is_leaving = True
            if not self.is_ending():
                sys.excepthook(*sys.exc_info())
            code = 1
        if self.is_ending():
            self._leave()
        os._exit(code)

    def _listen(self) -> None:
        hear, tell = os.pipe()
        os.set_blocking(tell, False)
        threading.Thread(target=self._watch, args=(hear,), daemon=True).start()
        sys.unraisablehook = self._hide
        signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup's stays as it is
                signal.signal(number, self.interrupt)

    def is_ending(self) -> bool:
        """Tell whether a signal came."""
        return self._is_raised or self._came.is_set()

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Raise, the first time."""
        is_late, self._is_raised = self._is_raised or self._is_leaving, True
        if not is_late:
            raise Interrupted

    def _hide(self, unraisable: "sys.UnraisableHookArgs") -> None:
        if not self.is_ending():  # else it was raised where Python has to swallow it
            sys.__unraisablehook__(unraisable)

    def _watch(self, hear: int) -> None:
        """End the process some time after the first signal.

        The number of each is in the pipe as soon as it came, in the order in which they did.
        """
        while not (ours := [each for each in os.read(hear, 4096) if each in _WORDS]):
            pass
        self._first = signal.Signals(ours[0])
        self._came.set()
        time.sleep(_CLOSING_SECONDS)
        threading.Thread(target=self._leave, daemon=True).start()
        time.sleep(_SAYING_SECONDS)
        self._say("")
        os._exit(128 + self._first)

    def _leave(self) -> NoReturn:
        self._came.wait(_CLOSING_SECONDS)
        _kill_children()
        try:
            words = self.last_words()
        except Exception:  # whatever is wrong with the store: it is no time to say so
            words = ""
        self._say(words)
        os._exit(128 + self._first)

    def _say(self, words: str) -> None:
        """Say it once; where nobody listens, or stderr is closed, not at all."""
        if not self._saying.acquire(blocking=False) or sys.stderr is None:
            return
        word = _WORDS[self._first]
        with suppress(OSError, ValueError):
            place = sys.stderr.fileno()
            said = f"{word}: {words}" if words else word
            line = f"{wrapped(said, columns_of(sys.stderr), len(word) + 2)}\n"
            is_plain = os.environ.get("TERM") == "dumb" or not os.isatty(place)
            clean = b"" if is_plain else _CLEAN_LINE
            if select.select([], [place], [], 0)[1]:
                os.write(place, clean + line.encode(sys.stderr.encoding, "replace"))


_command = _Command()


def run_as_process(work: Callable[[], object]) -> NoReturn:
    """Let this process be a command, which ends with it, or in a second of a signal."""
    _command.run(work)


def say_at_end(words: Callable[[], str]) -> None:
    """Say this after "interrupted: ", should a signal come from now on."""
    _command.last_words = words


@contextmanager
def deferred() -> Iterator[None]:
    """Defer what interrupts the main thread meanwhile to the end; a second time, it does at once.

    A database transaction that is torn by an exception between any two lines may stay open and
    lock the database until the process ends. A command, which ends in a second anyway, waits for
    the end however many come.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    holds = True
    handlers = {
        number: handler for number in SIGNALS if callable(handler := signal.getsignal(number))
    }

    def note(number: int, frame: FrameType | None) -> None:
        handler = handlers[signal.Signals(number)]
        if holds and (not came or handler == _command.interrupt):
            came.append(number)
        else:
            handler(number, frame)

    try:
        for number in handlers:
            signal.signal(number, note)
        yield
    finally:
        holds = False
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for heard in came:
            handlers[signal.Signals(heard)](heard, None)


def _code_of(work: Callable[[], object]) -> int:
    try:
        work()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    return 0


def _kill_children() -> None:
    if "multiprocessing" in sys.modules:
        for child in sys.modules["multiprocessing"].active_children():
            child.kill()
