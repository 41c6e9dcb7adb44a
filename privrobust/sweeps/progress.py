"""What people see of a sweep that is under way.

Bars on a terminal and in a notebook, plain lines elsewhere, or nothing; and a log.
"""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from privrobust.core.escaping import in_terminal
from privrobust.core.formatting import number, percent
from privrobust.core.window import columns_of, wrapped
from privrobust.errors import PrivRobustError
from privrobust.spec import RunSpec
from privrobust.spec.field_meaning import Role
from privrobust.spec.run_fields import named
from privrobust.sweeps.executors import Outcome

log = logging.getLogger("privrobust")

_LINE_SECONDS = 10.0  # between plain lines
_LEAST_SECONDS = 5.0  # of training, before its rate says anything


class _Cells:
    """Mean accuracies, over the seeds that are in, of the settings that a sweep compares."""

    def __init__(self, runs: Sequence[RunSpec]) -> None:
        self._varies = [
            field
            for field in named(lambda field: field.role not in (Role.SEED, Role.PLACE))
            if any(getattr(run, field) != getattr(runs[0], field) for run in runs)
        ]
        self._runs = {run.key: run for run in runs}
        self._found: dict[str, list[float]] = {}

    def add(self, key: str, accuracy: float) -> None:
        """Count the accuracy of a run that is done."""
        if key in self._runs and not math.isnan(accuracy):
            name = ", ".join(self._told(self._runs[key]))
            self._found.setdefault(name, []).append(accuracy)

    def extremes(self) -> list[str]:
        """Name the best and the worst, a line each, where there are several that differ."""
        found = {name: list(values) for name, values in list(self._found.items())}  # of a thread
        means = {name: sum(values) / len(values) for name, values in found.items() if values}
        if len(means) < 2:
            return []
        best, worst = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
        if means[best] == means[worst]:
            return [f"accuracy so far {percent(means[best])} % in all {len(means)} settings"]
        return [
            f"{word} accuracy so far {percent(means[name])} %: {name}"
            for word, name in (("best", best), ("worst", worst))
        ]

    def _told(self, run: RunSpec) -> Iterator[str]:
        """Say what tells a run from others."""
        for field in self._varies:
            value = getattr(run, field)
            if field == "attack" and value is None:
                yield "no attackers"
            elif field == "byzantine" and value == 0 and "attack" in self._varies:
                continue  # there is no attack then, which says it
            elif value is None:
                yield f"no {field}"
            else:
                yield f"{field} {in_terminal(number(value))}"


class State(NamedTuple):
    """How far a sweep is."""

    total: int
    done: int
    """Runs that are finished, now or before."""
    trained: float
    """Those and the parts of others that were trained."""
    failed: int
    waiting: int
    """Runs that other processes hold, where this one has nothing else to do."""
    rate: float
    """Runs a second that this process trains, NaN while it is too early to tell."""

    def line(self) -> str:
        """Say it in a line."""
        parts = [f"{self.done}/{self.total} runs"]
        if self.rate > 0:
            left = clock((self.total - self.trained) / self.rate)
            parts += [f"{self.rate:.3g} runs/s", f"{left} left"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.waiting:
            parts.append(f"waiting for {self.waiting} that other processes hold")
        return ", ".join(parts)


def clock(seconds: float) -> str:
    """Write seconds as minutes and seconds, or hours too: `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Watch:
    """Watches a sweep and shows nothing; others derive from it and show more."""

    def start(self, runs: Sequence[RunSpec], done: int) -> None:
        """Start with a sweep.

        Args:
            runs: all of it.
            done: how many of them are finished already.

        """
        self._cells = _Cells(runs)
        self._total, self._before, self._done = len(runs), done, done
        self._failed, self._waiting = 0, 0
        self._trained, self._start_up, self._started = 0.0, 0.0, time.monotonic()
        log.info("started: %s", self.state().line())
        self.show()

    def progress(self, runs: float) -> None:
        """Count so many more runs, or such a part of one, as trained."""
        if not self._trained and runs < 1:  # a first step, most of which is starting up
            self._start_up, self._started = runs, time.monotonic()
        self._trained += runs
        self.show()

    def settled(self, outcome: Outcome) -> None:
        """Count runs that are done, or failed."""
        self._waiting = 0
        self._done += len(outcome.specs)
        reasons = [result.failure for result in outcome.results if result.failure]
        reasons += [outcome.reason] * len(outcome.specs) if outcome.reason else []
        self._failed += len(reasons)
        for result in outcome.results:
            self._cells.add(result.spec.key, result.accuracy)
        for reason in dict.fromkeys(reasons):
            log.warning("failed: %s", reason)
        log.info("%d runs in %.1f s: %s", len(outcome.specs), outcome.seconds, self.state().line())
        self.show()

    def wait(self, done: int, held: int) -> None:
        """Wait for runs that others hold, as nothing else is left; so many are done by now."""
        self._done, self._waiting = done, held
        self.show()

    def state(self) -> State:
        """Return how far the sweep is."""
        seconds = time.monotonic() - self._started
        timed = self._trained - self._start_up
        rate = timed / seconds if seconds > _LEAST_SECONDS else math.nan
        trained = min(self._total, max(self._done, self._before + self._trained))
        return State(self._total, self._done, trained, self._failed, self._waiting, rate)

    def show(self) -> None:
        """Show the state; here, nothing."""

    def stop(self) -> None:
        """Stop: the sweep has ended, one way or the other."""
        log.info("ended: %s", self.state().line())


class Lines(Watch):
    """Plain lines, one in ten seconds at most."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._last = -math.inf

    def show(self) -> None:
        """Print a line, if the last is old."""
        if time.monotonic() - self._last > _LINE_SECONDS:
            self._print()

    def stop(self) -> None:
        """Print a last line."""
        super().stop()
        self._print()

    def _print(self) -> None:
        self._last = time.monotonic()
        line = "; ".join([self.state().line(), *self._cells.extremes()])
        with suppress(OSError):  # nobody listens any more: no reason to stop
            print(wrapped(line, columns_of(self._stream)), file=self._stream, flush=True)


class Bars(Watch):
    """A bar with the rate and the time left, and the best and worst setting so far."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def start(self, runs: Sequence[RunSpec], done: int) -> None:
        """Draw the bar."""
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[line]}", markup=False),
        )
        self._task = self._bar.add_task("", total=len(runs), line="")
        super().start(runs, done)
        self._live = Live(console=self._console, get_renderable=self._drawn, refresh_per_second=4)
        self._live.start()

    def _drawn(self) -> Group:
        state = self.state()
        self._bar.update(self._task, completed=state.trained, line=state.line())
        extremes = (wrapped(line, self._console.width) for line in self._cells.extremes())
        return Group(self._bar, *map(Text, extremes))

    def stop(self) -> None:
        """Leave the last picture."""
        super().stop()
        self._live.stop()


def watch_on(console: Console) -> Watch:
    """Return bars where they can be drawn, lines elsewhere."""
    is_drawn = (console.is_terminal and not console.is_dumb_terminal) or console.is_jupyter
    return Bars(console) if is_drawn else Lines(console.file)


@contextmanager
def watching(watch: Watch, runs: Sequence[RunSpec], done: int) -> Iterator[None]:
    """Start the watch and, however the sweep ends, stop it."""
    watch.start(runs, done)
    try:
        yield
    finally:
        watch.stop()


class _LogFile(logging.FileHandler):
    """A log that can be done without."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Say once that it cannot be written any more."""
        log.removeHandler(self)
        log.warning("log: %s cannot be written any more", self.baseFilename)


class _OneLine(logging.Formatter):
    """Lets no name or reason make a line of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return in_terminal(super().format(record))


def log_to(path: Path) -> None:
    """Append all that happens to a file.

    Raises:
        PrivRobustError: it cannot be written.

    """
    try:
        handler = _LogFile(path, encoding="utf-8")
    except OSError as error:
        raise PrivRobustError(f"log: {str(path)!r} cannot be written ({error.strerror})") from None
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
